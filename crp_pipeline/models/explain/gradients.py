"""Expected gradients of a network: integrated gradients from a few real windows of the background to each window.

The path runs through scaled features, where a missing value is the centre: a feature that is missing in both windows adds
exactly nothing. It begins at real windows because one where every feature lies at its centre is none: a layer normalisation
turns it into noise. Sources: Sundararajan, Taly and Yan (2017); Erion, Janizek, Sturmfels, Lundberg and Lee (2021).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from crp_pipeline.contracts import Floats, Samples
from crp_pipeline.models.explain.explanation import LOG_ODDS, SMALLEST_PROBABILITY, explained_outputs, unit_of
from crp_pipeline.models.nets.attention import BandedAttention
from crp_pipeline.models.nets.forecaster import Forecaster
from crp_pipeline.models.nets.heads import Head
from crp_pipeline.models.network import Network
from crp_pipeline.models.training import threads


class Path(NamedTuple):
    """Places on the way from a background window (0) to a window (1), and the weight of each."""

    places: Floats
    weights: Floats


def expected_gradients(
    model: Network, X: Samples, background: Samples, *, n_starts: int, n_steps: int
) -> tuple[Floats, Floats, Floats]:
    """Contributions (n, k, outputs), mean score of the background (outputs,), and mean sizes by bar and feature (bars, k).

    `n_starts` windows of the background, spread evenly over its rows, are what a window is held against. Some windows at a
    time, so that those of all rows never exist at once. Contributions miss the score by what `n_steps` of Gauss-Legendre
    quadrature miss of the paths.
    """
    outputs, net = explained_outputs(model), model.network
    chosen = np.unique(np.linspace(0, len(background) - 1, n_starts).round().astype(np.int64))
    # cuDNN has no gradients outside training
    with threads(model.params.n_threads), torch.backends.cudnn.flags(enabled=False), _without_denormals():
        starts = net.scaling(torch.cat(list(model.windows_of(background.take(background.rows[chosen]))))).detach()
        found = [_of_batch(net, windows, starts, outputs, _path(n_steps)) for windows in model.windows_of(X)]
        with torch.inference_mode():
            base = _scores(net, starts, outputs).mean(dim=0)
    values = np.concatenate([part.sum(axis=1) for part in found])
    sizes = np.sum([np.abs(part).mean(axis=3).sum(axis=0) for part in found], axis=0) / len(X)
    return values, np.asarray(base.cpu().numpy(), dtype=np.float64), sizes[::-1]


def attention_by_lag(model: Network, X: Samples) -> Floats | None:
    """Share of its attention that each sample's bar gives to the bar so many bars back, itself first: (n, bars).

    The mean over heads and over layers of attention; None for a network without attention.
    """
    layers = [layer for layer in model.network.modules() if isinstance(layer, BandedAttention)]
    if not layers:
        return None
    seen: list[Tensor] = []
    hooks = [layer.register_forward_pre_hook(lambda layer, given: seen.append(_last_bar(layer, given[0]))) for layer in layers]
    try:
        with torch.inference_mode(), threads(model.params.n_threads):
            for windows in model.windows_of(X):
                model.network(windows)
    finally:
        for hook in hooks:
            hook.remove()
    by_batch = [torch.stack(seen[first : first + len(layers)]).mean(dim=0) for first in range(0, len(seen), len(layers))]
    return np.asarray(torch.cat(by_batch).flip(1).cpu().numpy(), dtype=np.float64)


def _last_bar(layer: torch.nn.Module, x: Tensor) -> Tensor:
    """Attention of the last bar, (batch, time), mean over heads."""
    assert isinstance(layer, BandedAttention)
    return layer.weights(x)[:, :, -1].mean(dim=1)


@contextmanager
def _without_denormals() -> Iterator[None]:
    """Gradients of distant bars shrink below the smallest normal number, where a processor counts 10 times as long."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _path(n_steps: int) -> Path:
    places, weights = np.polynomial.legendre.leggauss(n_steps)
    return Path((places + 1) / 2, weights / 2)


def _of_batch(net: Forecaster, windows: Tensor, starts: Tensor, outputs: tuple[str, ...], path: Path) -> Floats:
    """Contributions of every bar and feature of some windows: (batch, bars, k, outputs)."""
    scaled = net.scaling(windows).detach()
    # scores of classes sum to nought, and so do contributions to them
    n_free = len(outputs) - (unit_of(outputs) == LOG_ODDS)
    found = torch.zeros((*scaled.shape, n_free), dtype=scaled.dtype, device=scaled.device)
    for start in starts:
        way = scaled - start
        for place, weight in zip(path.places, path.weights / len(starts), strict=True):
            point = (start + place * way).requires_grad_()
            scores = _scores(net, point, outputs)
            for output in range(n_free):
                slope = torch.autograd.grad(scores[:, output].sum(), point, retain_graph=output < n_free - 1)[0]
                found[..., output] += weight * slope * way
    whole = found if n_free == len(outputs) else torch.cat([found, -found.sum(dim=-1, keepdim=True)], dim=-1)
    return np.asarray(whole.cpu().numpy(), dtype=np.float64)


def _scores(net: Forecaster, scaled: Tensor, outputs: tuple[str, ...]) -> Tensor:
    """Scores of the last bar of scaled windows: (batch, outputs)."""
    states = net.body(scaled)[:, -1:]
    heads = [head for head in net.heads if isinstance(head, Head)]
    answers = torch.cat([head.answer(head(states)) for head in heads], dim=-1)[:, 0, : len(outputs)]
    if unit_of(outputs) != LOG_ODDS:
        return answers
    logs = answers.clamp_min(SMALLEST_PROBABILITY).log()
    return logs - logs.mean(dim=1, keepdim=True)
