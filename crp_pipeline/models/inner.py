"""The history that tuning may see, and the purged folds inside it.

It ends with the last row that the first outer fold learns from: every label in it had ended before that fold's first test bar,
with the outer embargo in between. What follows is cut off before anything is computed, so that no choice of the study can know
of a bar that an outer fold tests.
"""

from collections.abc import Collection
from dataclasses import dataclass
from time import perf_counter
from typing import Literal, get_args

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Bools, Fold, Samples
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.metrics import accuracy, directional_accuracy
from crp_pipeline.models.base import Model, Progress, samples_of
from crp_pipeline.models.block import fit_block, training_block
from crp_pipeline.models.cross_fit import fold_result, selected
from crp_pipeline.models.forecast import FoldResult
from crp_pipeline.models.selection import select_features, without
from crp_pipeline.settings import SelectionConfig
from crp_pipeline.splits import PurgedWalkForward, folds_of, role_table

Objective = Literal["log_loss", "accuracy"]
OBJECTIVES: tuple[str, ...] = get_args(Objective)
ACCURACY_SHARE = 0.7
"""Of the accuracy score; the rest is directional accuracy."""
SMALLEST_PROBABILITY = 1e-15
SHARE_TESTED = 0.5
"""Of the history: its later half is tested in equal blocks, its earlier half is only learned from."""


@dataclass(frozen=True)
class InnerHistory:
    """The bars before the first outer test block, with the folds of the study."""

    features: pd.DataFrame
    labels: pd.DataFrame
    roles: pd.DataFrame
    """What each bar is to each inner fold."""
    learned_until: pd.Timestamp
    """When the last label ended that the study learns from or scores."""
    first_test: pd.Timestamp
    """Open time of the first bar that an outer fold tests."""

    @property
    def folds(self) -> list[Fold]:
        """The inner folds, in time order."""
        return folds_of(self.roles)


def inner_history(
    history: pd.DataFrame, labels: pd.DataFrame, roles: pd.DataFrame, *, n_folds: int, embargo: int
) -> InnerHistory:
    """What lies before the first outer test block, in `n_folds` purged folds of its own.

    `roles` is the outer role table, `embargo` that of the outer folds in rows. Raises `InsufficientHistoryError` where the
    first outer fold learns from too few rows.
    """
    if not history.index.equals(labels.index) or not history.index.equals(roles.index):
        raise DataContractError("features, labels and splits must be about the same bars")
    outer = min(folds_of(roles), key=lambda fold: int(fold.test[0]))
    end = int(outer.train.max(initial=-1)) + 1
    is_usable = np.isin(np.arange(end), outer.train)
    known = labels.iloc[:end].where(np.repeat(is_usable[:, None], labels.shape[1], axis=1))
    folds = _folds(known, is_usable, n_folds=n_folds, embargo=embargo)
    return InnerHistory(
        features=history.iloc[:end],
        labels=known,
        roles=role_table(folds, known.index, known["label_end"]),
        learned_until=known["label_end"].max(),
        first_test=history.index[outer.test[0]],
    )


def _folds(labels: pd.DataFrame, is_usable: Bools, *, n_folds: int, embargo: int) -> list[Fold]:
    """Test blocks of one size at the end of the history, each with the usable rows that it tests."""
    size = int(SHARE_TESTED * is_usable.sum() / n_folds) if len(is_usable) else 0
    if size < 1:
        raise InsufficientHistoryError(
            f"{int(is_usable.sum())} rows before the first test block are too few for {n_folds} folds"
        )
    splitter = PurgedWalkForward(train_size=len(labels) - n_folds * size, test_size=size, embargo=embargo)
    folds = splitter.split(labels.index, labels["label_end"])
    tested = [Fold(fold.number, fold.train, fold.test[is_usable[fold.test]]) for fold in folds]
    empty = [fold.number for fold in tested if not len(fold.test) or not len(fold.train)]
    if empty:
        raise InsufficientHistoryError(f"inner fold {empty[0]} of {n_folds} has no row to learn from or none to score")
    return tested


@dataclass(frozen=True)
class Lesson:
    """One inner fold as every trial is shown it."""

    fold: Fold
    shown: Samples
    """The history with the features that were chosen inside the fold's training block."""
    is_scored: Bools
    """(n_test,) rows with as many bars behind them as any model of the study looks at: all trials are scored on the same."""


def lessons_of(
    inner: InnerHistory,
    *,
    selection: SelectionConfig | None,
    longest_reach: int,
    validation_share: float,
    excluded: Collection[str],
    seed: int,
    n_threads: int,
    progress: Progress | None,
) -> list[Lesson]:
    """The inner folds with their features, which are chosen once for all trials; None: every feature."""
    table = without(inner.features, excluded)
    samples, chosen = samples_of(table), None
    if selection is not None:
        chosen = select_features(
            table,
            inner.labels,
            inner.roles,
            config=selection,
            seed=seed,
            validation_share=validation_share,
            n_threads=n_threads,
            progress=progress,
        )
    scored = [samples.take(fold.test).behind() >= longest_reach - 1 for fold in inner.folds]
    if not all(rows.any() for rows in scored):
        raise InsufficientHistoryError(f"no row of an inner fold has {longest_reach - 1} bars behind it")
    shown = [selected(samples, chosen, fold.number) for fold in inner.folds]
    return [Lesson(*parts) for parts in zip(inner.folds, shown, scored, strict=True)]


def learned(model: Model, lesson: Lesson, labels: pd.DataFrame, *, validation_share: float, seed: int) -> FoldResult:
    """What the model, fitted on the lesson's training rows, forecasts on its test rows."""
    begun = perf_counter()
    block = training_block(model, lesson.shown, labels, lesson.fold.train, validation_share=validation_share)
    fit_block(model, block, seed=seed)
    return fold_result(model, lesson.fold, block, begun)


def score_of(result: FoldResult, lesson: Lesson, labels: pd.DataFrame, objective: Objective) -> float:
    """Score of a fold's forecasts on the rows that every trial is scored on; NaN where there is no direction to tell.

    The log-loss counts each label by its average uniqueness, as the fit does.
    """
    known = labels.iloc[lesson.fold.test[lesson.is_scored]]
    probability, signal = result.probabilities[lesson.is_scored], known["signal"].to_numpy(dtype=np.float64)
    if objective == "log_loss":
        came = probability[np.arange(len(signal)), signal.astype(np.int64) + 1]
        return float(np.average(-np.log(np.maximum(came, SMALLEST_PROBABILITY)), weights=known["weight"]))
    went = signal != 0
    right_way = directional_accuracy((probability[:, -1] - probability[:, 0])[went], signal[went])
    return ACCURACY_SHARE * accuracy(probability, signal + 1) + (1 - ACCURACY_SHARE) * right_way
