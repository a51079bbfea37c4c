"""A neural network as a model: scaled on its training rows, trained, stored as safetensors and JSON.

torch is imported where it is used: naming the models costs nothing.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from crp_pipeline.contracts import DIRECTIONS, Floats, Samples
from crp_pipeline.errors import InsufficientHistoryError, TrainingError
from crp_pipeline.models.base import Model, Validation, class_index, target_values, watched_class_index, watched_target_values
from crp_pipeline.models.network_parameters import NetworkParams
from crp_pipeline.models.scaling import Scale, fit_scale
from crp_pipeline.storage import write_json

if TYPE_CHECKING:
    import torch

    from crp_pipeline.models.batches import Batches
    from crp_pipeline.models.nets.body import Body
    from crp_pipeline.models.nets.forecaster import Forecaster
    from crp_pipeline.models.nets.heads import Head

WEIGHTS, NETWORK, HISTORY = "weights.safetensors", "network.json", "history.json"
BARS_AT_ONCE = 4_096
"""Bars that are scored in one pass, overlaps included: some 10 MB a layer."""


class Network(Model):
    """Shared manners of all networks; a subclass names its sizes, its body and its reach.

    Learning, watching and scoring see float32. A forecast at a bar is the same whether it is asked for alone or with others,
    to 1e-5: a network with a finite memory is run over whole chunks of bars, any other over each bar's own window.
    """

    fits_side_by_side: ClassVar[bool] = False
    params: Any
    """A `NetworkParams` of the subclass's own kind."""
    is_causal: ClassVar[bool] = True
    """True: a bar's state sees no later bar, and training is dense."""
    has_finite_memory: ClassVar[bool] = True
    """True: a bar's state sees `reach` bars and no more, however long the chunk."""

    def __init__(self, params: NetworkParams) -> None:
        self.params = params
        self._history = pd.DataFrame()
        self._scale: Scale | None = None

    @property
    def reach(self) -> int:
        """Bars of a window."""
        return int(self.params.window)

    @property
    def settled(self) -> Mapping[str, float]:
        """The epoch at which the watched loss was lowest."""
        return {"epochs": self.rounds}

    @property
    def history(self) -> pd.DataFrame:
        """One row per epoch: losses, accuracy, learning rate, gradient norm and seconds."""
        return self._history

    @property
    def n_parameters(self) -> int:
        """Weights and biases of the network."""
        return 0 if self._learned is None else sum(values.numel() for values in self._learned.parameters())

    @abstractmethod
    def body(self, n_features: int) -> Body:
        """The untrained body of the network."""

    def fit(
        self,
        X: Samples,
        y: Floats,
        *,
        weight: Floats | None = None,
        validation: Validation | None = None,
        seed: int = 0,
    ) -> Self:
        """Train until the watched rows no longer improve, or for all `epochs` without such rows."""
        return self._fit_scaled(fit_scale(X.table()), X, y, weight, validation, seed)

    def _fit_scaled(
        self, scale: Scale, X: Samples, y: Floats, weight: Floats | None, validation: Validation | None, seed: int
    ) -> Self:
        """Train on features of a known scale."""
        from crp_pipeline.models.training import repeatable, train_network

        labels = self._checked(y)
        watched = None if validation is None else self._checked(validation.y, is_watched=True)
        self._require_reach(X)
        device = _device(self.params.device)
        with repeatable(seed, self.params.n_threads, device):
            net = self._build(scale).to(device)
            learn = self._batches(X, labels, weight, device)
            self._prepare(net, labels, weight, device)
            watch = None
            if validation is not None and watched is not None:
                self._require_reach(validation.samples)
                watch = self._batches(validation.samples, watched, validation.weight, device)
            course = train_network(net, learn, watch, self.params, name=self.model_type, seed=seed, progress=self.progress)
        return self.holding(net, scale, course.history, course.best_epoch)

    def predict(self, X: Samples) -> Floats:
        """Each output for every sample: (n, len(outputs))."""
        import torch

        from crp_pipeline.models.training import threads

        self._require_fitted()
        if len(X) == 0:
            return np.empty((0, len(self.outputs)))
        self._require_reach(X)
        with torch.inference_mode(), threads(self.params.n_threads):
            answers = self._dense_answers(X) if self.is_causal and self.has_finite_memory else self._window_answers(X)
        return np.asarray(answers, dtype=np.float64)

    def windows_of(self, X: Samples) -> Iterator[torch.Tensor]:
        """Raw windows of all samples, some at a time: (batch, reach, features)."""
        from crp_pipeline.models.batches import as_tensor

        at_once = max(BARS_AT_ONCE // self.reach, 1)
        for first in range(0, len(X), at_once):
            yield as_tensor(X.take(X.rows[first : first + at_once]).windows(self.reach), self._device_of_net())

    def behind(self, scale: Scale) -> Self:
        """The same trained weights behind another scale of the same features."""
        net = self._filled(scale, self._learned.state_dict())
        other = type(self)(self.params)
        other.columns, other.n_features = self.columns, self.n_features
        return other.holding(net.to(self._device_of_net()), scale, self._history, self.rounds)

    def holding(self, net: Forecaster, scale: Scale, history: pd.DataFrame, rounds: int) -> Self:
        """This model with what a fit leaves behind."""
        self._learned, self._scale, self._history, self.rounds = net.eval(), scale, history, rounds
        return self

    def _window_answers(self, X: Samples) -> np.ndarray:
        return np.concatenate([self._learned(windows).cpu().numpy() for windows in self.windows_of(X)])

    def _dense_answers(self, X: Samples) -> np.ndarray:
        """Every bar computed once: chunks behind the bars that their first one sees."""
        from crp_pipeline.models.batches import as_tensor, cut, scored_bars, seen_bars

        starts_of = np.zeros(len(X.history), dtype=np.int64) if X.segment_start is None else X.segment_start
        length = max(self.reach, 128)
        starts, stops = cut(np.unique(X.rows), starts_of, length=length)
        found = np.full((len(X.history), len(self.outputs)), np.nan, dtype=np.float32)
        at_once = max(BARS_AT_ONCE // length, 1)
        for first in range(0, len(starts), at_once):
            begin, end = starts[first : first + at_once], stops[first : first + at_once]
            bars, own = scored_bars(begin, end, length)
            seen = X.history[seen_bars(begin, end, starts_of, reach=self.reach, length=length)]
            answers = self._learned.answers(as_tensor(seen, self._device_of_net()))[:, -length:].cpu().numpy()
            found[bars[own]] = answers[own]
        return found[X.rows]

    def _batches(self, X: Samples, y: Floats, weight: Floats | None, device: torch.device) -> Batches:
        from crp_pipeline.models.batches import Chunks, Windows, lesson_of

        lesson, p = lesson_of(X, y, weight, device), self.params
        if self.is_causal:
            return Chunks(lesson, self.reach, p.chunk, p.batch_size)
        return Windows(lesson, self.reach, p.batch_size, p.windows_per_label)

    def _build(self, scale: Scale) -> Forecaster:
        import torch

        from crp_pipeline.models.nets.forecaster import Forecaster
        from crp_pipeline.models.nets.scaling import Scaling

        scaling = Scaling(*(torch.tensor(values, dtype=torch.float32) for values in (scale.center, scale.spread)))
        body = self.body(len(scale.center))
        return Forecaster(scaling, body, [self._head(target, body.width) for target in self.targets])

    def _filled(self, scale: Scale, weights: Mapping[str, torch.Tensor]) -> Forecaster:
        """A network with these weights; what it is first filled with costs the caller no random number."""
        import torch

        with torch.random.fork_rng(devices=[]):
            net = self._build(scale)
        net.load_state_dict(dict(weights))
        return net

    def _head(self, target: str, width: int) -> Head:
        from crp_pipeline.models.nets.heads import DirectionHead, SignalHead, ValueHead

        if target != "signal":
            return ValueHead(width)
        return DirectionHead(width) if self.outputs == DIRECTIONS else SignalHead(width)

    def _prepare(self, net: Forecaster, y: Floats, weight: Floats | None, device: torch.device) -> None:
        """Let every head start from what the labels say without any feature."""
        from crp_pipeline.models.batches import as_tensor
        from crp_pipeline.models.nets.heads import Head

        mass = as_tensor(np.ones(len(y)) if weight is None else weight, device)
        for number, head in enumerate(net.heads):
            assert isinstance(head, Head)
            head.prepare(as_tensor(y[:, number], device), mass, balanced=self.params.class_weighting)

    def _checked(self, y: Floats, *, is_watched: bool = False) -> Floats:
        """Labels as (n, targets); what lacks further targets has NaN there, which teaches nothing."""
        given = np.asarray(y, dtype=np.float64)
        table = given[:, None] if given.ndim == 1 else given
        first = table[:, 0]
        if self.targets[0] != "signal":
            (watched_target_values if is_watched else target_values)(first)
        elif is_watched:
            watched_class_index(first)
        else:
            class_index(first)
            self._require_both_directions(first)
        missing = np.full((len(table), len(self.targets) - table.shape[1]), np.nan)
        return np.concatenate([table, missing], axis=1)

    def _require_both_directions(self, y: Floats) -> None:
        if self.outputs == DIRECTIONS and len(np.unique(y[y != 0])) < 2:
            raise InsufficientHistoryError(f"{self.model_type} tells up from down and {len(y)} labels do not hold both")

    def _require_reach(self, X: Samples) -> None:
        behind = X.behind()
        if (behind < self.reach - 1).any():
            short = int(np.argmax(behind < self.reach - 1))
            raise InsufficientHistoryError(
                f"{self.model_type}: row {X.rows[short]} has {behind[short]} bars behind it, "
                f"a window of {self.reach} needs {self.reach - 1}"
            )

    def _device_of_net(self) -> torch.device:
        device: torch.device = next(self._learned.parameters()).device
        return device

    def _to_onnx(self) -> Any:
        from crp_pipeline.models.torch_export import torch_to_onnx

        return torch_to_onnx(self.network, reach=self.reach, n_features=self.n_features)

    @property
    def network(self) -> Forecaster:
        """The trained network: raw windows (n, reach, features) to outputs (n, len(outputs))."""
        self._require_fitted()
        net: Forecaster = self._learned
        return net

    def _write(self, folder: Path) -> None:
        from safetensors.torch import save_file

        assert self._scale is not None
        save_file({name: values.cpu().contiguous() for name, values in self._learned.state_dict().items()}, folder / WEIGHTS)
        scale = {"center": self._scale.center.tolist(), "spread": self._scale.spread.tolist()}
        write_json(folder / NETWORK, {"params": asdict(self.params), "rounds": self.rounds, **scale})
        rows = self._history.astype(object).where(self._history.notna(), None).to_numpy().tolist()
        write_json(folder / HISTORY, {"columns": list(self._history.columns), "rows": rows})

    @classmethod
    def _read(cls, folder: Path) -> Self:
        from safetensors.torch import load_file

        stored = json.loads((folder / NETWORK).read_text(encoding="utf-8"))
        model = cls(type(cls.variants["default"])(**stored["params"]))
        scale = Scale(np.array(stored["center"]), np.array(stored["spread"]))
        net = model._filled(scale, load_file(folder / WEIGHTS))
        told = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
        history = pd.DataFrame(told["rows"], columns=told["columns"], dtype=np.float64)
        return model.holding(net, scale, history, stored["rounds"])


def _device(asked: str) -> torch.device:
    import torch

    if asked == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device = 'cuda' was asked for and there is no accelerator: use cpu or auto")
    return torch.device("cuda" if asked == "cuda" or (asked == "auto" and torch.cuda.is_available()) else "cpu")
