"""What every model is: fitted on samples, asked for its outputs or for class probabilities, saved without pickle."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from functools import wraps
from inspect import isabstract
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crp_pipeline.contracts import CLASSES, Floats, Ints, Samples
from crp_pipeline.errors import DataContractError, InsufficientHistoryError, NotFittedError
from crp_pipeline.models.parameters import Parameter
from crp_pipeline.models.readout import Readout
from crp_pipeline.models.search import SearchSpace
from crp_pipeline.storage import write_json

Progress = Callable[[str], None]
Floats32 = NDArray[np.float32]

INPUTS = "inputs.json"
"""File that says which features a stored model was fitted on."""


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
    """A forecaster of the next move.

    A second `fit` takes the place of the first; `predict` gives (n, len(outputs)). What it learns from are the columns
    `targets` of a label frame: (n,) for one target, (n, len(targets)) for several. Where the outputs are classes, each row of
    `predict` sums to 1. Raises `NotFittedError` before fitting, `InsufficientHistoryError` for no rows or a single class and
    `DataContractError` for labels, learned from or watched, that are missing or of another kind, and for features that are not
    those it was fitted on, in their order.
    """

    model_type: ClassVar[str]
    targets: ClassVar[tuple[str, ...]] = ("signal",)
    outputs: ClassVar[tuple[str, ...]] = CLASSES
    is_baseline: ClassVar[bool] = False
    reads_every_feature: ClassVar[bool] = False
    """True for a model that looks for certain columns, whatever was selected for the others."""
    variants: ClassVar[Mapping[str, Any]] = {}
    """Parameters of each variant; empty for a model without parameters."""
    search_space: ClassVar[SearchSpace] = {}
    """Where tuning may look; empty for a model that is not tuned."""
    fits_side_by_side: ClassVar[bool] = True
    """True where two fits in two threads come out as one after the other would."""

    rounds: int = 0
    """Boosting rounds or epochs that the fit settled on."""
    readout: Readout | None = None
    """From outputs to class probabilities; None where the first outputs are those."""
    progress: Progress | None = None
    """Who is told of each epoch of a fit."""
    columns: tuple[str, ...] = ()
    """Names of the features it was fitted on, in their order; empty where the samples named none."""
    n_features: int = 0
    """How many features it was fitted on; 0 before."""
    _learned: Any = None
    """What the fit left behind; None before."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Every kind of model keeps the features it was fitted on and refuses others, however it fits and predicts."""
        super().__init_subclass__(**kwargs)
        for name, guarded in (("fit", _keeping_features), ("predict", _refusing_other_features)):
            if name in vars(cls):
                setattr(cls, name, guarded(vars(cls)[name]))

    @property
    def reach(self) -> int:
        """Bars that a prediction looks at, its own included."""
        return 1

    @property
    def tells_classes(self) -> bool:
        """True where the first outputs are the class probabilities themselves."""
        return self.outputs[: len(CLASSES)] == CLASSES

    @property
    def settled(self) -> Mapping[str, float]:
        """Parameters that the fit found by watching later rows, and that a fit without such rows must be told."""
        return {}

    @property
    def n_parameters(self) -> int:
        """How many numbers the fit learned; 0 before."""
        return 0

    @property
    def history(self) -> pd.DataFrame:
        """One row per epoch of the last fit: loss and learning rate among them; empty where there are no epochs."""
        return pd.DataFrame()

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
        """Each output for every sample: (n, len(outputs)).

        Raises `InsufficientHistoryError` for a row with fewer than `reach - 1` bars behind it.
        """

    def on_one_thread(self) -> Self:
        """The same fitted model, asked on one thread."""
        single = copy(self)
        params = getattr(single, "params", None)
        if hasattr(params, "n_threads"):
            single.params = replace(params, n_threads=1)  # type: ignore[attr-defined, type-var]
        return single

    def probabilities(self, X: Samples) -> Floats:
        """Probability of short, neutral and long for every sample: (n, 3)."""
        return self.read(self.predict(X))

    def read(self, outputs: Floats) -> Floats:
        """Class probabilities of outputs that `predict` gave: (n, 3)."""
        if self.tells_classes:
            return outputs[:, : len(CLASSES)]
        if self.readout is None:
            raise NotFittedError(f"{self.model_type} forecasts {', '.join(self.outputs)} and has no readout into classes yet")
        return self.readout.probabilities(outputs)

    def save(self, folder: str | Path) -> None:
        """Write the fitted model into a folder, which is made when missing, in its library's portable format."""
        self._require_fitted()
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._write(Path(folder))
        write_json(Path(folder) / INPUTS, {"columns": self.columns, "n_features": self.n_features})
        if self.readout is not None:
            self.readout.save(Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The model that `save` wrote, with its `rounds`; what steered its training is not stored."""
        if isabstract(cls):
            raise TypeError(f"{cls.__name__} has no files of its own: load a kind of model, or a bundle")
        model = cls._read(Path(folder))
        inputs = json.loads((Path(folder) / INPUTS).read_text(encoding="utf-8"))
        model.columns, model.n_features = tuple(inputs["columns"]), int(inputs["n_features"])
        model.readout = Readout.load(Path(folder))
        return model

    def to_onnx(self) -> Any:
        """The fitted model as an `onnx.ModelProto`; `export` says what goes in and comes out."""
        self._require_fitted()
        return self._to_onnx()

    @abstractmethod
    def _write(self, folder: Path) -> None:
        """Write what was learned into the folder."""

    @classmethod
    @abstractmethod
    def _read(cls, folder: Path) -> Self:
        """The model that `_write` wrote into the folder."""

    def _to_onnx(self) -> Any:
        """The ONNX graph of the fitted model."""
        raise NotImplementedError(f"{self.model_type} has no ONNX form")

    def _require_fitted(self) -> None:
        if self._learned is None:
            raise NotFittedError(f"{self.model_type} was asked for something it can only know after fit()")


def _keeping_features(fit: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(fit)
    def fit_and_keep(self: Model, X: Samples, y: Floats, *args: Any, **kwargs: Any) -> Any:
        _require_lesson(X, y, kwargs.get("weight"))
        fitted = fit(self, X, y, *args, **kwargs)
        self.columns, self.n_features = tuple(X.columns), X.history.shape[1]
        return fitted

    return fit_and_keep


def _require_lesson(X: Samples, y: Floats, weight: Floats | None) -> None:
    """Raises `DataContractError` unless every row has its label and a weight, which is a number and somewhere above 0."""
    if len(y) != len(X):
        raise DataContractError(f"there are {len(X)} rows to learn from and {len(y)} labels")
    if weight is None or len(X) == 0:
        return
    if len(weight) != len(X):
        raise DataContractError(f"there are {len(X)} rows to learn from and {len(weight)} weights")
    if not (np.isfinite(weight) & (np.asarray(weight) >= 0)).all() or not np.any(weight):
        raise DataContractError("weights must be numbers from 0 on, and one of them above 0")


def _refusing_other_features(predict: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(predict)
    def check_and_predict(self: Model, X: Samples) -> Any:
        if self.n_features:
            _require_same_features(self, X)
        return predict(self, X)

    return check_and_predict


def _require_same_features(model: Model, X: Samples) -> None:
    if model.columns and X.columns and tuple(X.columns) != model.columns:
        pairs = enumerate(zip_longest(model.columns, X.columns), start=1)
        place, (known, shown) = next((place, pair) for place, pair in pairs if pair[0] != pair[1])
        raise DataContractError(f"{model.model_type} learned from {known!r} as feature {place} and was shown {shown!r}")
    if X.history.shape[1] != model.n_features:
        raise DataContractError(
            f"{model.model_type} learned from {model.n_features} features and was shown {X.history.shape[1]}"
        )


def table_of(X: Samples) -> Floats32:
    """One row of features per sample, (n, k), in the precision that an exported model is shown."""
    return np.ascontiguousarray(X.table(), dtype=np.float32)


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


def target_values(y: Floats) -> Floats:
    """Values to regress on, (n,); raises where there are none, they do not vary, or one is missing or infinite."""
    if len(y) == 0:
        raise InsufficientHistoryError("there are no labelled rows to learn from")
    values = watched_target_values(y)
    if (values == values[0]).all():
        raise InsufficientHistoryError(f"all {len(y)} labels are {y[0]:g}: there is nothing to tell apart")
    return values


def watched_target_values(y: Floats) -> Floats:
    """Values to regress on that are only watched, (n,); raises `DataContractError` for one that is missing or infinite."""
    is_wrong = ~np.isfinite(y)
    if is_wrong.any():
        row = int(is_wrong.argmax())
        raise DataContractError(f"labels must be numbers, got {y[row]} in row {row + 1} of {len(y)}")
    return np.asarray(y, dtype=np.float64)


def samples_of(history: pd.DataFrame) -> Samples:
    """All rows of a feature table; a step longer than the shortest one is a hole that no window crosses.

    Raises `DataContractError` naming column and row for an infinite value.
    """
    values = np.ascontiguousarray(history.to_numpy(dtype=np.float64))
    largest = np.finfo(np.float32).max
    infinite = np.abs(values) > largest
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        kind = "infinite" if np.isinf(values[row, column]) else f"{values[row, column]:.2g}, too large for float32,"
        raise DataContractError(f"feature {history.columns[column]} is {kind} at {history.index[row]}")
    return Samples(values, np.arange(len(values)), segment_starts(history.index), tuple(history.columns))


def segment_starts(times: pd.Index) -> Ints:
    """Position of the first row of the stretch without holes that each row lies in: (n,)."""
    steps = np.diff(np.asarray(times.as_unit("ns").asi8 if isinstance(times, pd.DatetimeIndex) else times, dtype=np.int64))
    begins = np.flatnonzero(steps > steps.min(initial=np.iinfo(np.int64).max)) + 1
    first = np.zeros(len(times), dtype=np.int64)
    first[begins] = begins
    return np.asarray(np.maximum.accumulate(first))
