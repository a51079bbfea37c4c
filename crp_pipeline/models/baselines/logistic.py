"""Multinomial logistic regression on robustly scaled features: what a straight line in every feature knows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from crp_pipeline.contracts import CLASSES, Floats, Samples
from crp_pipeline.models.base import Floats32, Model, Validation, class_index, table_of, watched_class_index
from crp_pipeline.models.onnx_graph import DOUBLE, FEATURES, FLOAT, OUTPUTS, node, table_model
from crp_pipeline.models.parameters import POSITIVE, SWITCH, ParameterRule, Parameters
from crp_pipeline.models.readout import multinomial_regression
from crp_pipeline.storage import write_json

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""What is tried where the strength is chosen on watched rows."""
LARGEST = 5.0
"""Scaled features beyond this many interquartile ranges are cut off."""
ARRAYS = ("center", "scale", "weights", "intercept")


@dataclass(frozen=True, kw_only=True)
class LogisticParams(Parameters):
    """How much the weights are held back, and which terms there are."""

    rules: ClassVar[Mapping[str, ParameterRule]] = {"l2": POSITIVE, "is_tuned": SWITCH, "has_magnitudes": SWITCH}

    l2: float = 0.1
    """Strength of the penalty beside the mean log-loss of a row, so that it means the same for any number of rows."""
    is_tuned: bool = True
    """True: with watched rows, the best of `STRENGTHS` on them."""
    has_magnitudes: bool = False
    """True: also the magnitude of each scaled feature, so that quiet and wild can differ whatever the direction."""


class Logistic(Model):
    """Weights on features scaled by median and interquartile range of the training rows; a missing value is the median."""

    model_type = "logistic"
    is_baseline = True
    variants: ClassVar[Mapping[str, LogisticParams]] = {
        "default": LogisticParams(),
        "lightweight": LogisticParams(l2=0.3, is_tuned=False),
        "deep": LogisticParams(has_magnitudes=True),
    }
    file_name = "logistic.json"
    _settled: Mapping[str, float] = {}

    def __init__(self, params: LogisticParams) -> None:
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
        """Scale and regress on the training rows, with the penalty that the validation slice likes best."""
        class_index(y)
        if validation is not None:
            watched_class_index(validation.y)
        weight = np.ones(len(y)) if weight is None else weight
        is_tuned = self.params.is_tuned and validation is not None
        lines = self._lines(table_of(X), y, weight, STRENGTHS if is_tuned else (self.params.l2,), seed)
        self._learned = lines[0] if validation is None else min(lines, key=lambda line: _loss(line, validation))
        self._settled = {"l2": self._learned.l2} if is_tuned else {}
        return self

    def _lines(self, table: Floats32, y: Floats, weight: Floats, strengths: Sequence[float], seed: int) -> "list[_Line]":
        scaling, has_magnitudes = _scaling(table), self.params.has_magnitudes
        terms, total, lines = _terms(table, *scaling, has_magnitudes=has_magnitudes), weight.sum(), []
        for l2 in strengths:
            fitted = multinomial_regression(terms, y, weight, C=1 / (l2 * total), seed=seed)
            lines.append(_Line(*scaling, *fitted, has_magnitudes, l2))
        return lines

    @property
    def settled(self) -> Mapping[str, float]:
        """The penalty that the watched rows liked best."""
        return self._settled

    @property
    def n_parameters(self) -> int:
        """Scaling, weights and intercepts."""
        return 0 if self._learned is None else sum(getattr(self._learned, name).size for name in ARRAYS)

    def predict(self, X: Samples) -> Floats:
        """Probability of short, neutral and long: (n, 3)."""
        self._require_fitted()
        line: _Line = self._learned
        return line.probabilities(table_of(X))

    def _write(self, folder: Path) -> None:
        line = self._learned
        arrays = {name: getattr(line, name).tolist() for name in ARRAYS}
        write_json(folder / self.file_name, {**arrays, "has_magnitudes": line.has_magnitudes, "l2": line.l2})

    @classmethod
    def _read(cls, folder: Path) -> Self:
        stored = json.loads((folder / cls.file_name).read_text(encoding="utf-8"))
        model = cls(LogisticParams(l2=stored["l2"], is_tuned=False, has_magnitudes=stored["has_magnitudes"]))
        arrays = {name: np.array(stored[name], dtype=np.float64) for name in ARRAYS}
        model._learned = _Line(**arrays, has_magnitudes=stored["has_magnitudes"], l2=stored["l2"])
        return model

    def _to_onnx(self) -> Any:
        line = self._learned
        nodes = [
            node("Cast", [FEATURES], "exact", to=DOUBLE),
            node("Sub", ["exact", "center"], "shifted"),
            node("Div", ["shifted", "scale"], "scaled"),
            node("IsNaN", ["scaled"], "is_missing"),
            node("Where", ["is_missing", "zero", "scaled"], "known"),
            node("Clip", ["known", "least", "largest"], "z"),
            *([node("Abs", ["z"], "magnitudes")] if line.has_magnitudes else []),
            node("Concat", ["z", *(["magnitudes"] if line.has_magnitudes else [])], "terms", axis=1),
            node("MatMul", ["terms", "weights"], "pull"),
            node("Add", ["pull", "intercept"], "score"),
            node("Softmax", ["score"], "probabilities", axis=1),
            node("Cast", ["probabilities"], OUTPUTS, to=FLOAT),
        ]
        constants = {name: getattr(line, name) for name in ("center", "scale", "intercept")}
        limits = {"zero": np.array(0.0), "least": np.array(-LARGEST), "largest": np.array(LARGEST)}
        constants |= {"weights": np.ascontiguousarray(line.weights.T), **limits}
        return table_model(nodes, constants, n_features=self.n_features, n_outputs=len(CLASSES))


class _Line(NamedTuple):
    center: Floats
    """(k,)"""
    scale: Floats
    """(k,)"""
    weights: Floats
    """(3, terms)"""
    intercept: Floats
    """(3,)"""
    has_magnitudes: bool
    l2: float

    def probabilities(self, table: Floats32) -> Floats:
        from scipy.special import softmax

        terms = _terms(table, self.center, self.scale, has_magnitudes=self.has_magnitudes)
        return np.asarray(softmax(terms @ self.weights.T + self.intercept, axis=1))


def _scaling(table: Floats32) -> tuple[Floats, Floats]:
    """Median and interquartile range of each column's known values; a range of nothing is 1."""
    is_unknown = np.isnan(table).all(axis=0)
    low, center, high = np.nanquantile(np.where(is_unknown, 0.0, table.astype(np.float64)), [0.25, 0.5, 0.75], axis=0)
    return center, np.where(high > low, high - low, 1.0)


def _terms(table: Floats32, center: Floats, scale: Floats, *, has_magnitudes: bool) -> Floats:
    scaled = (table.astype(np.float64) - center) / scale
    z = np.clip(np.where(np.isnan(scaled), 0.0, scaled), -LARGEST, LARGEST)
    return np.concatenate([z, np.abs(z)], axis=1) if has_magnitudes else z


def _loss(line: _Line, validation: Validation) -> float:
    """Weighted mean log-loss on the watched rows."""
    came = watched_class_index(validation.y)
    found = line.probabilities(table_of(validation.samples))[np.arange(len(came)), came]
    return float(np.average(-np.log(np.maximum(found, 1e-15)), weights=validation.weight))
