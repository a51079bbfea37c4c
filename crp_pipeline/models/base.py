"""What every model is: fitted on samples, asked for class probabilities, saved without pickle."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import isabstract
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import pandas as pd

from crp_pipeline.contracts import CLASSES, Floats, Ints, Samples
from crp_pipeline.errors import DataContractError, InsufficientHistoryError, NotFittedError

Parameter = int | float | str | bool


class Validation(NamedTuple):
    """Later rows of the training block, purged from it, that early stopping watches."""

    samples: Samples
    y: Floats
    weight: Floats | None = None


@dataclass(frozen=True)
class ModelSpec:
    """A recipe: which model, which variant and what differs from its defaults."""

    model_type: str
    variant: str = "default"
    params: Mapping[str, Parameter] = field(default_factory=dict)


class Model(ABC):
    """A classifier of the next move into short, neutral and long.

    A second `fit` takes the place of the first; `predict` gives (n, 3) probabilities in the order of `outputs`, each row
    summing to 1. Labels are signals in {-1, 0, 1}. Raises `NotFittedError` before fitting, `InsufficientHistoryError` for no
    rows or a single class and `DataContractError` for labels, learned from or watched, that are missing or of another kind.
    """

    model_type: ClassVar[str]
    outputs: ClassVar[tuple[str, ...]] = CLASSES
    is_baseline: ClassVar[bool] = False

    rounds: int = 0
    """Boosting rounds or epochs that the fit settled on."""
    _learned: Any = None
    """What the fit left behind; None before."""

    @abstractmethod
    def fit(
        self,
        X: Samples,
        y: Floats,
        *,
        weight: Floats | None = None,
        validation: Validation | None = None,
        seed: int = 0,
    ) -> Self:
        """Learn from the samples; with `validation`, stop when it no longer improves."""

    @abstractmethod
    def predict(self, X: Samples) -> Floats:
        """Probability of each output for every sample: (n, 3)."""

    def save(self, folder: str | Path) -> None:
        """Write the fitted model into a folder, which is made when missing, in its library's portable format."""
        self._require_fitted()
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._write(Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The model that `save` wrote, with its `rounds`; what steered its training is not stored."""
        if isabstract(cls):
            raise TypeError(f"{cls.__name__} has no files of its own: load a kind of model, or a bundle")
        return cls._read(Path(folder))

    @abstractmethod
    def _write(self, folder: Path) -> None:
        """Write what was learned into the folder."""

    @classmethod
    @abstractmethod
    def _read(cls, folder: Path) -> Self:
        """The model that `_write` wrote into the folder."""

    def _require_fitted(self) -> None:
        if self._learned is None:
            raise NotFittedError(f"{self.model_type} was asked for something it can only know after fit()")


def class_index(y: Floats) -> Ints:
    """Class positions 0, 1, 2 of signals -1, 0, 1; raises when there is nothing to tell apart."""
    if len(y) == 0:
        raise InsufficientHistoryError("there are no labelled rows to learn from")
    index = watched_class_index(y)
    if (index == index[0]).all():
        raise InsufficientHistoryError(f"all {len(y)} labels are {y[0]:+.0f}: there is nothing to tell apart")
    return index


def watched_class_index(y: Floats) -> Ints:
    """Class positions of signals that are only watched: one class will do; raises `DataContractError` for another label."""
    is_wrong = ~np.isin(y, (-1.0, 0.0, 1.0))
    if is_wrong.any():
        row = int(is_wrong.argmax())
        raise DataContractError(f"labels must be -1, 0 or 1, got {y[row]} in row {row + 1} of {len(y)}")
    return np.asarray(y, dtype=np.int64) + 1


def samples_of(history: pd.DataFrame) -> Samples:
    """All rows of a feature table; raises `DataContractError` naming column and row for an infinite value."""
    values = np.ascontiguousarray(history.to_numpy(dtype=np.float64))
    infinite = np.isinf(values)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise DataContractError(f"feature {history.columns[column]} is infinite at {history.index[row]}")
    return Samples(values, np.arange(len(values)), columns=tuple(history.columns))
