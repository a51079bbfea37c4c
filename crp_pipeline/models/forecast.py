"""What models forecast out of fold: per fold, and as one frame over all bars."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crp_pipeline.contracts import CLASSES, FORECAST, PROBABILITIES, Floats, Fold, Samples
from crp_pipeline.models.base import Model


@dataclass(frozen=True)
class FoldResult:
    """What the model of one fold forecast on the fold's test rows."""

    fold: Fold
    outputs: Floats
    """(n_test, len(outputs)); NaN where a row has fewer bars behind it than the model looks at."""
    probabilities: Floats
    """(n_test, 3)"""
    names: tuple[str, ...]
    """Names of the outputs."""
    rounds: int
    settled: Mapping[str, float]
    history: pd.DataFrame
    """One row per epoch; empty where there are none."""
    n_learned: int
    seconds: float
    """That fit and forecasts took when they were made."""
    reused: bool = False
    """True where the model was fitted in an earlier run and read back."""


def forecast(model: Model, X: Samples) -> tuple[Floats, Floats]:
    """Outputs (n, len(outputs)) and class probabilities (n, 3); NaN where a row has too few bars behind it."""
    reached = X.behind() >= model.reach - 1
    outputs, probabilities = np.full((len(X), len(model.outputs)), np.nan), np.full((len(X), len(CLASSES)), np.nan)
    if reached.any():
        outputs[reached] = model.predict(X.take(X.rows[reached]))
        probabilities[reached] = model.read(outputs[reached])
    return outputs, probabilities


def prediction_frame(times: pd.Index, results: Sequence[FoldResult]) -> pd.DataFrame:
    """The out-of-fold forecasts of all folds as one frame of `contracts.PredictionSchema`."""
    names = results[0].names if results else CLASSES
    told = [place for place, name in enumerate(names) if name not in CLASSES]
    columns = [*PROBABILITIES, *(FORECAST + names[place] for place in told)]
    values, fold_of, rounds = np.full((len(times), len(columns)), np.nan), np.full(len(times), -1), np.zeros(len(times), int)
    for result in results:
        test = result.fold.test
        values[test] = np.concatenate([result.probabilities, result.outputs[:, told]], axis=1)
        fold_of[test], rounds[test] = result.fold.number, result.rounds
    return pd.DataFrame(values, index=times, columns=columns).assign(fold=fold_of, rounds=rounds)


def fold_table(results: Sequence[FoldResult]) -> pd.DataFrame:
    """One row per fold: rows learned from and tested, rounds, seconds of the fit, and whether it was read back."""
    return pd.DataFrame(
        {
            "fold": [result.fold.number for result in results],
            "learned": [result.n_learned for result in results],
            "tested": [len(result.fold.test) for result in results],
            "rounds": [result.rounds for result in results],
            "seconds": [round(result.seconds, 1) for result in results],
            "read_back": [result.reused for result in results],
        }
    )
