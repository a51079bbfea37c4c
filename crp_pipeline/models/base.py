"""What every model is: fitted on samples, asked for class probabilities, saved without pickle."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import numpy as np

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

    `fit` may be called once; `predict` gives (n, 3) probabilities in the order of `outputs`, each row summing to 1. Labels are
    signals in {-1, 0, 1}. Raises `NotFittedError` before fitting, `InsufficientHistoryError` for no rows or a single class and
    `DataContractError` for labels that are missing or of another kind.
    """

    model_type: ClassVar[str]
    outputs: ClassVar[tuple[str, ...]] = CLASSES
    is_baseline: ClassVar[bool] = False

    rounds: int = 0
    """Boosting rounds or epochs that the fit settled on."""

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

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the fitted model into an existing folder, in its library's portable format."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """The model that `save` wrote."""

    def _require_fitted(self, fitted: object) -> None:
        if fitted is None:
            raise NotFittedError(f"{self.model_type} was asked for something it can only know after fit()")


def class_index(y: Floats) -> Ints:
    """Class positions 0, 1, 2 of signals -1, 0, 1; raises when there is nothing to tell apart."""
    if len(y) == 0:
        raise InsufficientHistoryError("there are no labelled rows to learn from")
    signals = np.unique(y)
    if not np.isin(signals, (-1.0, 0.0, 1.0)).all():
        raise DataContractError(f"labels must be -1, 0 or 1, got {signals[~np.isin(signals, (-1.0, 0.0, 1.0))][0]}")
    if len(signals) == 1:
        raise InsufficientHistoryError(f"all {len(y)} labels are {signals[0]:+.0f}: there is nothing to tell apart")
    return np.asarray(y, dtype=np.int64) + 1
