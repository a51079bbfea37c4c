"""An LSTM and a transformer asked together, each as much as it was worth on rows that neither had learned from."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from crp_pipeline.contracts import CLASSES, Floats, Ints, Samples
from crp_pipeline.models.base import Model, Validation, watched_class_index
from crp_pipeline.models.network import Network
from crp_pipeline.models.network_parameters import (
    HEADS,
    LAYERED_SPACE,
    NetworkParams,
    RecurrentParams,
    TransformerParams,
    check_heads,
)
from crp_pipeline.models.networks import LstmForecaster, Transformer
from crp_pipeline.models.parameters import COUNT, FROM_TWO, SHARE_OR_NONE, ParameterRule
from crp_pipeline.models.search import SearchSpace
from crp_pipeline.storage import write_json

HYBRID = "hybrid.json"
SMALLEST_PROBABILITY = 1e-9
ANY_EPOCHS = 1_000_000
"""No bound of a component's own."""


class SignalLstm(LstmForecaster):
    """The signal, from LSTM layers that read forwards."""

    model_type = "signal_lstm"
    targets: ClassVar[tuple[str, ...]] = ("signal",)
    outputs: ClassVar[tuple[str, ...]] = CLASSES


@dataclass(frozen=True, kw_only=True)
class HybridParams(NetworkParams):
    """Training that both components share, and the size of each."""

    window: int = 100
    """Bars that either component looks at."""
    width: int = 64
    n_layers: int = 2
    n_heads: int = 4
    chunk: int = 128
    lstm_epochs: int = ANY_EPOCHS
    transformer_epochs: int = ANY_EPOCHS
    """Most epochs of each component; `epochs` bounds both."""
    lstm_weight: float = 0.5
    """Weight of the LSTM where no later rows are watched."""

    rules: ClassVar[Mapping[str, ParameterRule]] = {
        **NetworkParams.rules,
        **dict.fromkeys(("window", "width", "n_layers", "n_heads", "lstm_epochs", "transformer_epochs"), COUNT),
        "chunk": FROM_TWO,
        "lstm_weight": SHARE_OR_NONE,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.width, self.n_heads)


class Hybrid(Model):
    """The signal, as the weighted geometric mean of an LSTM's and a transformer's probabilities, summing to 1.

    Source of the pool: Genest and Zidek (1986).
    """

    model_type = "hybrid"
    variants: ClassVar[Mapping[str, Any]] = {
        "default": HybridParams(),
        "lightweight": HybridParams(width=32, n_layers=1, n_heads=2),
        "deep": HybridParams(width=128, n_layers=3, n_heads=8, dropout=0.2),
    }
    search_space: ClassVar[SearchSpace] = {**LAYERED_SPACE, "n_heads": HEADS}
    fits_side_by_side: ClassVar[bool] = False
    params: HybridParams
    lstm_weight: float
    """Weight of the LSTM; the transformer has the rest."""

    def __init__(self, params: HybridParams) -> None:
        self.params = params
        self.lstm_weight = params.lstm_weight

    def on_one_thread(self) -> Self:
        """The same fitted model, components included, on one thread."""
        return super().on_one_thread().made_of({name: model.on_one_thread() for name, model in self.components.items()})

    def made_of(self, components: Mapping[str, Model]) -> Self:
        """This hybrid with these fitted components."""
        self._learned = dict(components)
        return self

    @property
    def components(self) -> Mapping[str, Model]:
        """The fitted models behind it, by name."""
        self._require_fitted()
        return dict(self._learned)

    @property
    def reach(self) -> int:
        """Bars that either component looks at."""
        return self.params.window

    @property
    def settled(self) -> Mapping[str, float]:
        """Best epoch of each component and the weight of the LSTM."""
        epochs = {f"{name}_epochs": model.rounds for name, model in self.components.items()}
        return {**epochs, "lstm_weight": self.lstm_weight}

    @property
    def history(self) -> pd.DataFrame:
        """One row per component and epoch."""
        parts = [model.history.assign(component=name) for name, model in self.components.items()]
        return pd.concat(parts, ignore_index=True)

    @property
    def n_parameters(self) -> int:
        """Those of the components, and their weight."""
        return 0 if self._learned is None else 1 + sum(model.n_parameters for model in self._learned.values())

    def fit(
        self,
        X: Samples,
        y: Floats,
        *,
        weight: Floats | None = None,
        validation: Validation | None = None,
        seed: int = 0,
    ) -> Self:
        """Train each component, then learn their weights on the watched rows."""
        components = self._unfitted()
        for model in components.values():
            model.progress = self.progress
            model.fit(X, y, weight=weight, validation=validation, seed=seed)
        self._learned, self.rounds = components, max(model.rounds for model in components.values())
        self.lstm_weight = self.params.lstm_weight
        if validation is not None:
            came = watched_class_index(np.asarray(validation.y))
            self.lstm_weight = _best_weight(*self._logs(validation.samples), came, validation.weight)
        return self

    def predict(self, X: Samples) -> Floats:
        """Probability of short, neutral and long: (n, 3)."""
        self._require_fitted()
        return _pooled(*self._logs(X), self.lstm_weight)

    def _to_onnx(self) -> Any:
        from crp_pipeline.models.nets.mixture import LogPool
        from crp_pipeline.models.torch_export import torch_to_onnx

        nets = [self._learned[name].network for name in ("lstm", "transformer")]
        pool = LogPool(nets, [self.lstm_weight, 1 - self.lstm_weight], smallest=SMALLEST_PROBABILITY)
        return torch_to_onnx(pool, reach=self.reach, n_features=self.n_features)

    def _unfitted(self) -> dict[str, Network]:
        p = self.params
        shared = {name: getattr(p, name) for name in (*vars(NetworkParams()), "window", "width", "n_layers", "chunk")}
        lstm = RecurrentParams(**{**shared, "epochs": min(p.epochs, p.lstm_epochs)})
        transformer = TransformerParams(**{**shared, "n_heads": p.n_heads, "epochs": min(p.epochs, p.transformer_epochs)})
        return {"lstm": SignalLstm(lstm), "transformer": Transformer(transformer)}

    def _logs(self, X: Samples) -> tuple[Floats, Floats]:
        """Log-probabilities of LSTM and transformer: (n, 3) each."""
        found = (self._learned[name].probabilities(X) for name in ("lstm", "transformer"))
        lstm, transformer = (np.log(np.maximum(values, SMALLEST_PROBABILITY)) for values in found)
        return lstm, transformer

    def _write(self, folder: Path) -> None:
        for name, model in self._learned.items():
            model.save(folder / name)
        weights = {"lstm": self.lstm_weight, "transformer": 1 - self.lstm_weight}
        write_json(folder / HYBRID, {"params": asdict(self.params), "rounds": self.rounds, "weights": weights})

    @classmethod
    def _read(cls, folder: Path) -> Self:
        stored = json.loads((folder / HYBRID).read_text(encoding="utf-8"))
        model = cls(HybridParams(**stored["params"]))
        model.rounds, model.lstm_weight = stored["rounds"], stored["weights"]["lstm"]
        model._learned = {name: kind.load(folder / name) for name, kind in (("lstm", SignalLstm), ("transformer", Transformer))}
        return model


def _pooled(lstm: Floats, transformer: Floats, lstm_weight: float) -> Floats:
    from scipy.special import softmax

    return np.asarray(softmax(lstm_weight * lstm + (1 - lstm_weight) * transformer, axis=1))


def _best_weight(lstm: Floats, transformer: Floats, came: Ints, weight: Floats | None) -> float:
    """Weight of the LSTM in [0, 1] whose pool has the lowest log-loss; the log-loss is convex in it."""
    from scipy.optimize import minimize_scalar

    def loss(lstm_weight: float) -> float:
        pooled = _pooled(lstm, transformer, lstm_weight)
        return float(-np.average(np.log(pooled[np.arange(len(came)), came]), weights=weight))

    return float(minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded").x)
