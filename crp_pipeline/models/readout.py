"""From what a model forecasts to the probabilities of short, neutral and long.

A forecast of a return or of a direction says little about costs and the neutral band. The readout learns, on rows that the
model did not learn from, how often each class came at each height of the forecast; what it knows is a handful of numbers.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from crp_pipeline.contracts import CLASSES, DIRECTIONS, Floats
from crp_pipeline.storage import write_json

READOUT = "readout.json"
FEWEST_ROWS = 60
"""Rows below which only the class frequencies are learned."""
SMALLEST_PROBABILITY = 1e-6


@dataclass(frozen=True)
class Readout:
    """A multinomial logistic regression of the class on the standardised forecasts and their magnitudes."""

    outputs: tuple[str, ...]
    center: Floats
    scale: Floats
    weights: Floats
    """(3, 2 * forecasts): each forecast, then its magnitude."""
    intercept: Floats

    def probabilities(self, outputs: Floats) -> Floats:
        """Class probabilities of (n, len(outputs)) forecasts: (n, 3)."""
        from scipy.special import softmax

        z = _terms(_scores(outputs, self.outputs), self.center, self.scale)
        return np.asarray(softmax(z @ self.weights.T + self.intercept, axis=1))

    def save(self, folder: Path) -> None:
        """Write the readout as JSON."""
        values = {name: getattr(self, name).tolist() for name in ("center", "scale", "weights", "intercept")}
        write_json(folder / READOUT, {"outputs": list(self.outputs), **values})

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """The readout that `save` wrote; None where there is none."""
        if not (folder / READOUT).exists():
            return None
        stored = json.loads((folder / READOUT).read_text(encoding="utf-8"))
        values = {name: np.asarray(stored[name], dtype=np.float64) for name in ("center", "scale", "weights", "intercept")}
        return cls(tuple(stored["outputs"]), **values)


def fit_readout(
    outputs: Floats, names: Sequence[str], signal: Floats, weight: Floats | None = None, *, seed: int = 0
) -> Readout:
    """How often each class came at each height of the forecasts, learned from rows that the model did not learn from.

    `outputs` is (n, len(names)), `signal` the class that came in {-1, 0, 1}. With too few rows, or a class that never came, it
    knows the class frequencies only.
    """
    weight = np.ones(len(signal)) if weight is None else weight
    scores = _scores(outputs, names)
    center, scale = scores.mean(axis=0), scores.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    counts = np.array([weight[signal == value].sum() for value in (-1.0, 0.0, 1.0)]) + 1
    n_terms = 2 * scores.shape[1]
    if len(signal) < FEWEST_ROWS or len(np.unique(signal)) < 2:
        weights, intercept = np.zeros((len(CLASSES), n_terms)), np.log(counts / counts.sum())
    else:
        weights, intercept = multinomial_regression(_terms(scores, center, scale), signal, weight, C=0.1, seed=seed)
    return Readout(tuple(names), center, scale, weights, intercept)


def multinomial_regression(terms: Floats, signal: Floats, weight: Floats, *, C: float, seed: int) -> tuple[Floats, Floats]:
    """Weights (3, terms) and intercept (3,) of a logistic regression; a class that never came is out of reach.

    `C` is the weight of a row's log-loss beside half the squared weights, as scikit-learn has it. One thread, so that the same
    rows give the same bits on any number of cores.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        fitted = LogisticRegression(C=C, max_iter=1_000, random_state=seed).fit(terms, signal, weight)
    weights, intercept = np.zeros((len(CLASSES), terms.shape[1])), np.full(len(CLASSES), np.log(SMALLEST_PROBABILITY))
    came = fitted.classes_.astype(np.int64) + 1
    if len(came) == 2:  # one row of weights, for the second class against the first
        weights[came], intercept[came] = np.vstack([-fitted.coef_, fitted.coef_]) / 2, np.append(-1, 1) * fitted.intercept_ / 2
    else:
        weights[came], intercept[came] = fitted.coef_, fitted.intercept_
    return weights, intercept


def _scores(outputs: Floats, names: Sequence[str]) -> Floats:
    """Forecasts on a scale without bounds: the log-odds of up for directions, anything else as it is; (n, forecasts)."""
    if tuple(names) != DIRECTIONS:
        return np.asarray(outputs, dtype=np.float64)
    kept = np.maximum(outputs, SMALLEST_PROBABILITY)
    return np.asarray(np.log(kept[:, 1:]) - np.log(kept[:, :1]))


def _terms(scores: Floats, center: Floats, scale: Floats) -> Floats:
    z = np.clip((scores - center) / scale, -5.0, 5.0)
    return np.concatenate([z, np.abs(z)], axis=1)
