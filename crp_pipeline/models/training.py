"""The training loop of every network: epochs, early stopping on later rows, a record of each epoch.

The same rows, parameters, threads and seed give the same weights bit for bit on a processor. On an accelerator the order of
floating-point sums is not fixed, and repeats agree to about 1e-3.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LambdaLR, LRScheduler, ReduceLROnPlateau

from crp_pipeline.errors import TrainingError
from crp_pipeline.models.base import Progress
from crp_pipeline.models.batches import Batch, Batches
from crp_pipeline.models.nets.forecaster import Forecaster
from crp_pipeline.models.network_parameters import NetworkParams

RESTART_AFTER, RESTART_GROWTH, LOWEST_LEARNING_RATE = 10, 2, 1e-6
"""Epochs of the first cosine, how much longer each next one is, and where it ends. Source: Loshchilov and Hutter (2017)."""
PLATEAU_EPOCHS, PLATEAU_FACTOR = 3, 0.5
"""Epochs without improvement after which the plateau schedule takes smaller steps, and how much smaller."""


@dataclass(frozen=True)
class Course:
    """What a fit went through."""

    history: pd.DataFrame
    """One row per epoch: epoch, loss, validation_loss, validation_accuracy, learning_rate, gradient_norm, seconds."""
    best_epoch: int
    """Counted from 1; the last one where nothing was watched."""


def train_network(
    net: Forecaster,
    learn: Batches,
    watch: Batches | None,
    params: NetworkParams,
    *,
    name: str,
    seed: int,
    progress: Progress | None = None,
) -> Course:
    """Train until the watched loss no longer improves and go back to the best epoch, or for all epochs where none is watched.

    Raises `TrainingError` for a loss that is not a number or a batch that does not fit in memory.
    """
    optimizer = torch.optim.AdamW(net.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay)
    schedule, rng = _schedule(optimizer, params), np.random.default_rng(seed)
    rows: list[dict[str, float]] = []
    best, best_loss, kept = 0, math.inf, net.state_dict()
    with _told_what_to_lower(params, name):
        for epoch in range(1, params.epochs + 1):
            row = {"epoch": epoch, **_epoch(net, learn, watch, optimizer, params, rng, name)}
            rows.append(row)
            _step(schedule, row["validation_loss"])
            if watch is None or row["validation_loss"] < best_loss:
                best, best_loss = epoch, row["validation_loss"]
                kept = deepcopy(net.state_dict()) if watch is not None else kept
            if progress is not None:
                progress(_progress_line(name, rows, best, params))
            if epoch - best >= params.patience:
                break
    if watch is not None:
        net.load_state_dict(kept)
    return Course(pd.DataFrame(rows), best)


def _epoch(
    net: Forecaster,
    learn: Batches,
    watch: Batches | None,
    optimizer: torch.optim.Optimizer,
    params: NetworkParams,
    rng: np.random.Generator,
    name: str,
) -> dict[str, float]:
    started = perf_counter()
    net.train()
    total, mass, norms = 0.0, 0.0, []
    for batch in learn.epoch(rng):
        optimizer.zero_grad(set_to_none=True)
        loss = _mean_loss(net, batch, params)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"{name}: the loss is {float(loss.detach())} at a learning rate of {optimizer.param_groups[0]['lr']:g}: "
                f"lower learning_rate or clip_norm"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        norms.append(torch.nn.utils.clip_grad_norm_(net.parameters(), params.clip_norm))
        optimizer.step()
        seen = float(batch.weight.sum())
        total, mass = total + float(loss.detach()) * seen, mass + seen
    watched, accuracy = watched_loss(net, watch, params) if watch is not None else (math.nan, math.nan)
    return {
        "loss": total / mass,
        "validation_loss": watched,
        "validation_accuracy": accuracy,
        "learning_rate": optimizer.param_groups[0]["lr"],
        "gradient_norm": float(torch.stack(norms).mean()),
        "seconds": perf_counter() - started,
    }


def _mean_loss(net: Forecaster, batch: Batch, params: NetworkParams) -> Tensor:
    with autocast(batch.x.device, params.precision):
        loss, mass, _ = net.losses(*batch)
    return (loss / mass.clamp_min(1e-12)).sum()


def watched_loss(net: Forecaster, watch: Batches, params: NetworkParams) -> tuple[float, float]:
    """Mean loss, summed over heads, and share of right answers of the first head over all rows."""
    net.eval()
    with torch.inference_mode(), autocast(next(net.parameters()).device, params.precision):
        sums = [torch.stack(net.losses(*batch)) for batch in watch.in_order()]
    loss, mass, right = torch.stack(sums).sum(dim=0).double()
    mass = mass.clamp_min(1e-12)
    return float((loss / mass).sum()), float(right[0] / mass[0])


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision where it pays: bfloat16 on an accelerator, float32 on a processor unless bfloat16 is asked for."""
    wanted = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)


def _schedule(optimizer: torch.optim.Optimizer, params: NetworkParams) -> LRScheduler:
    if params.schedule == "cosine":
        return CosineAnnealingWarmRestarts(optimizer, RESTART_AFTER, RESTART_GROWTH, eta_min=LOWEST_LEARNING_RATE)
    if params.schedule == "plateau":
        return ReduceLROnPlateau(optimizer, factor=PLATEAU_FACTOR, patience=PLATEAU_EPOCHS, min_lr=LOWEST_LEARNING_RATE)
    return LambdaLR(optimizer, lambda _: 1.0)


def _step(schedule: LRScheduler, watched: float) -> None:
    if not isinstance(schedule, ReduceLROnPlateau):
        schedule.step()
    elif math.isfinite(watched):
        schedule.step(watched)


@contextmanager
def repeatable(seed: int, n_threads: int, device: torch.device) -> Iterator[None]:
    """The same random numbers for the same seed, on so many threads; what was before is put back."""
    with threads(n_threads), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def threads(n_threads: int) -> Iterator[None]:
    """As many threads as told; what was before is put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _told_what_to_lower(params: NetworkParams, name: str) -> Iterator[None]:
    """An allocation that fails says which parameters make it smaller."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
            raise
        raise TrainingError(f"{name}: a batch does not fit in memory: lower {params.what_to_lower}") from error


def _progress_line(name: str, rows: list[dict[str, float]], best: int, params: NetworkParams) -> str:
    row, mean_seconds = rows[-1], sum(row["seconds"] for row in rows) / len(rows)
    watched = "" if math.isnan(row["validation_loss"]) else f", watched {row['validation_loss']:.4f} (best at {best})"
    left = mean_seconds * (params.epochs - len(rows))
    return (
        f"{name}: epoch {len(rows)} of at most {params.epochs}, loss {row['loss']:.4f}{watched}, "
        f"learning rate {row['learning_rate']:.2g}; {row['seconds']:.1f} s, at most {left:.0f} s left"
    )
