"""What the three libraries have in common: parameters, the way through a fit, and the two things they learn."""

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Floats, Samples
from crp_pipeline.models.base import (
    Floats32,
    Model,
    Validation,
    class_index,
    table_of,
    target_values,
    watched_class_index,
    watched_target_values,
)
from crp_pipeline.models.gbdt.forest import Forest, forest_model
from crp_pipeline.models.parameters import COUNT, NOT_NEGATIVE, POSITIVE, SHARE, ParameterRule, Parameters
from crp_pipeline.models.search import FloatRange, IntRange, SearchSpace
from crp_pipeline.storage import write_json


@dataclass(frozen=True, kw_only=True)
class GbdtParams(Parameters):
    """What the three libraries have in common, under one name each; raises `ValueError` for a value out of its range."""

    rules: ClassVar[Mapping[str, ParameterRule]] = {
        **dict.fromkeys(("n_rounds", "max_depth", "min_leaf_rows", "patience", "n_threads"), COUNT),
        **dict.fromkeys(("row_share", "column_share"), SHARE),
        "learning_rate": POSITIVE,
        "l2": NOT_NEGATIVE,
    }

    n_rounds: int = 400
    """Most boosting rounds; early stopping usually ends sooner."""
    learning_rate: float = 0.05
    max_depth: int = 5
    row_share: float = 0.7
    column_share: float = 0.5
    """Not of CatBoost."""
    l2: float = 5.0
    min_leaf_rows: int = 100
    """Not of CatBoost, whose trees are symmetric."""
    patience: int = 40
    """Rounds without improvement on the validation slice before stopping."""
    n_threads: int = 1


VARIANTS: dict[str, GbdtParams] = {
    "default": GbdtParams(),
    "lightweight": GbdtParams(n_rounds=150, learning_rate=0.1, max_depth=3, patience=15),
    "deep": GbdtParams(n_rounds=1_000, learning_rate=0.02, max_depth=8, min_leaf_rows=50, patience=80),
}


SEARCH_SPACE: SearchSpace = {
    "n_rounds": IntRange(100, 500),
    "learning_rate": FloatRange(0.01, 0.3, log=True),
    "max_depth": IntRange(3, 10),
    "row_share": FloatRange(0.5, 1.0),
    "column_share": FloatRange(0.3, 1.0),
    "l2": FloatRange(0.1, 30.0, log=True),
    "min_leaf_rows": IntRange(20, 500, log=True),
}
"""Of XGBoost; the others differ where their trees do."""


class Table(NamedTuple):
    """What a library is shown: (n, k) features, (n,) labels and weights."""

    features: Floats32
    labels: np.ndarray
    weight: Floats | None


class Boosted(NamedTuple):
    """What a library gives back: its booster, the rounds it settled on and the loss after each round it tried."""

    booster: Any
    rounds: int
    loss: Sequence[float]
    """On the rows learned from."""
    watched_loss: Sequence[float]
    """On the validation slice; empty without one."""


class Booster(Model):
    """Shared manners of the three libraries; a subclass trains, predicts and stores."""

    file_name: ClassVar[str]
    variants: ClassVar[Mapping[str, Any]] = VARIANTS
    search_space: ClassVar[SearchSpace] = SEARCH_SPACE
    _history: pd.DataFrame | None = None

    def __init__(self, params: GbdtParams) -> None:
        self.params = params

    def fit(
        self,
        X: Samples,
        y: Floats,
        *,
        weight: Floats | None = None,
        validation: Validation | None = None,
        seed: int = 0,
    ) -> Self:
        """Boost until the validation slice no longer improves, or for `n_rounds` without one."""
        learned, watched = Table(table_of(X), self._labels(y), weight), None
        if validation is not None:
            watched = Table(table_of(validation.samples), self._watched_labels(validation.y), validation.weight)
        boosted = self._train(learned, watched, seed)
        self._learned, self.rounds = boosted.booster, boosted.rounds
        self._history = _history(boosted, self.step_size)
        return self

    @property
    def step_size(self) -> float:
        """Share of each tree that is added."""
        return self.params.learning_rate

    @property
    def settled(self) -> Mapping[str, float]:
        """The rounds that early stopping chose."""
        return {"n_rounds": self.rounds}

    @property
    def history(self) -> pd.DataFrame:
        """One row per round that was tried: `epoch`, `loss`, `validation_loss`, `learning_rate`; empty after loading."""
        return pd.DataFrame() if self._history is None else self._history

    def predict(self, X: Samples) -> Floats:
        """Each output for every sample: (n, len(outputs))."""
        self._require_fitted()
        if len(X) == 0:
            return np.empty((0, len(self.outputs)))
        return np.asarray(self._answers(table_of(X)), dtype=np.float64).reshape(-1, len(self.outputs))

    def _write(self, folder: Path) -> None:
        self._learned.save_model(str(folder / self.file_name))

    @classmethod
    def _read(cls, folder: Path) -> Self:
        model = cls(cls.variants["default"])
        model._learned, model.rounds = cls._booster(str(folder / cls.file_name))
        return model

    @abstractmethod
    def _labels(self, y: Floats) -> np.ndarray:
        """Labels to learn from as the library wants them."""

    @abstractmethod
    def _watched_labels(self, y: Floats) -> np.ndarray:
        """Labels that are only watched, as the library wants them."""

    @abstractmethod
    def _train(self, learned: Table, watched: Table | None, seed: int) -> Boosted: ...

    @abstractmethod
    def _answers(self, features: Floats32) -> np.ndarray:
        """What the library says of each row: (n, len(outputs)), or (n,) for one output."""

    @classmethod
    @abstractmethod
    def _booster(cls, path: str) -> tuple[Any, int]:
        """The stored booster and its rounds."""

    @property
    def n_parameters(self) -> int:
        """Thresholds and leaf values of all trees."""
        return 0 if self._learned is None else self._forest().n_parameters

    @abstractmethod
    def _forest(self) -> Forest:
        """The trees, whose sums are the class scores or the library's answer."""


class Classification(Booster):
    """A booster of the three classes."""

    def _labels(self, y: Floats) -> np.ndarray:
        return class_index(y)

    def _watched_labels(self, y: Floats) -> np.ndarray:
        return watched_class_index(y)

    def _to_onnx(self) -> Any:
        return forest_model(self._forest(), n_features=self.n_features, is_softmax=True)


class Regression(Booster):
    """A booster of the forward return, under squared error.

    Squared error because its best forecast is the mean, which is what a position earns; a loss that is milder on large moves
    forecasts something nearer the median, and most of what a coin earns comes in large moves. The library sees the target in
    spreads of the training rows, so that its parameters mean the same on any coin, and the loss in `history` is the root of the
    mean squared error in spreads.
    """

    targets = ("forward_return",)
    outputs = ("forward_return",)
    spread: float = 1.0
    """Standard deviation of the target over the training rows."""
    spread_file: ClassVar[str] = "spread.json"

    def fit(
        self,
        X: Samples,
        y: Floats,
        *,
        weight: Floats | None = None,
        validation: Validation | None = None,
        seed: int = 0,
    ) -> Self:
        """Boost until the validation slice no longer improves, or for `n_rounds` without one."""
        spread = float(target_values(y).std())
        later = validation and validation._replace(y=watched_target_values(validation.y) / spread)
        super().fit(X, y / spread, weight=weight, validation=later, seed=seed)
        self.spread = spread
        return self

    def predict(self, X: Samples) -> Floats:
        """Expected forward return of every sample: (n, 1)."""
        return super().predict(X) * self.spread

    def _labels(self, y: Floats) -> np.ndarray:
        return y

    def _watched_labels(self, y: Floats) -> np.ndarray:
        return y

    def _to_onnx(self) -> Any:
        return forest_model(self._forest().scaled(self.spread), n_features=self.n_features, is_softmax=False)

    def _write(self, folder: Path) -> None:
        super()._write(folder)
        write_json(folder / self.spread_file, {"spread": self.spread})

    @classmethod
    def _read(cls, folder: Path) -> Self:
        model = super()._read(folder)
        model.spread = float(json.loads((folder / cls.spread_file).read_text(encoding="utf-8"))["spread"])
        return model


def _history(boosted: Boosted, step_size: float) -> pd.DataFrame:
    n = len(boosted.loss)
    return pd.DataFrame(
        {
            "epoch": np.arange(1, n + 1),
            "loss": np.asarray(boosted.loss, dtype=np.float64),
            "validation_loss": np.asarray(boosted.watched_loss or [np.nan] * n, dtype=np.float64),
            "learning_rate": step_size,
        }
    )
