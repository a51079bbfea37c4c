"""What an explanation is: contributions that add up to a score, and what speaks for one decision rather than another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crp_pipeline.contracts import CLASSES, DIRECTIONS, Floats
from crp_pipeline.models.base import Model

LOG_ODDS = "log-odds"
SMALLEST_PROBABILITY = 1e-9


@dataclass(frozen=True)
class Explanation:
    """What every feature of every row adds to the scores of that row: `base + values.sum(axis=1)` is the score.

    The scores of a classifier are its log-probabilities less their mean over the classes, so that the difference of two scores
    is the log-odds of one class against the other, whatever the model. The score of a regressor is its forecast.
    """

    values: Floats
    """(n, k, outputs)"""
    base: Floats
    """(n, outputs): the score where nothing is known of the row."""
    columns: tuple[str, ...]
    outputs: tuple[str, ...]
    """What is scored: the classes, down and up, or the first thing that is forecast."""
    method: str
    unit: str
    lags: Floats | None = None
    """(bars, k), the row's own bar first: mean size of what each bar of the window added; None where only one bar is seen."""

    @property
    def scores(self) -> Floats:
        """(n, outputs): what the contributions add up to."""
        return np.asarray(self.base + self.values.sum(axis=1))

    def importance(self) -> Floats:
        """Mean size of each feature's contribution over rows and outputs: (k,)."""
        return np.asarray(np.abs(self.values).mean(axis=(0, 2)))


def explained_outputs(model: Model) -> tuple[str, ...]:
    """The outputs of a model that an explanation is about."""
    if model.tells_classes:
        return CLASSES
    return DIRECTIONS if model.outputs == DIRECTIONS else model.outputs[:1]


def unit_of(outputs: Sequence[str]) -> str:
    """What contributions to these outputs are counted in."""
    return LOG_ODDS if tuple(outputs) in {CLASSES, DIRECTIONS} else outputs[0].replace("_", " ")


def scores_of(answers: Floats, outputs: Sequence[str]) -> Floats:
    """Scores (n, outputs) of what a model answered, whose first outputs these are."""
    kept = answers[:, : len(outputs)]
    if unit_of(outputs) != LOG_ODDS:
        return kept
    logs = np.log(np.maximum(kept, SMALLEST_PROBABILITY))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True))


def contrast(outputs: Sequence[str], signal: int) -> Floats:
    """Weights of the scores, (outputs,), whose sum says how far a model leans towards a signal.

    Long and short are held against each other, neutral against the mean of both. A model without a neutral class leans up or
    down; to it neutral is asked as up.
    """
    if tuple(outputs) == CLASSES:
        return np.array({-1: (1.0, 0.0, -1.0), 0: (-0.5, 1.0, -0.5), 1: (-1.0, 0.0, 1.0)}[signal])
    side = -1.0 if signal < 0 else 1.0
    return side * (np.array([-1.0, 1.0]) if tuple(outputs) == DIRECTIONS else np.eye(len(outputs))[0])
