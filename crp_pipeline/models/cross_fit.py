"""Out-of-fold predictions: every row is scored by a model that could not have seen its label.

`history` is the feature table, one row per bar; `labels` has the same rows; fold positions count in both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import pandas as pd

from crp_pipeline.contracts import FINAL, PROBABILITIES, Fold, Ints, PredictionSchema, Samples, check_frame
from crp_pipeline.errors import DataContractError
from crp_pipeline.models.base import Model, ModelSpec, Validation, samples_of
from crp_pipeline.models.catalog import from_spec
from crp_pipeline.models.selection import columns_of, narrowed
from crp_pipeline.splits import folds_of, learnable_rows, purged_tail

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """What one recipe learned on one coin."""

    predictions: pd.DataFrame
    """Out of fold, `contracts.PredictionSchema`."""
    model: Model
    """Fitted on all labelled rows, for production."""
    features: tuple[str, ...]
    """What the final model learned from and must be shown, in this order."""
    rounds: int
    n_learned: int


def train(
    spec: ModelSpec,
    history: pd.DataFrame,
    labels: pd.DataFrame,
    roles: pd.DataFrame,
    *,
    seed: int,
    selection: pd.DataFrame | None = None,
    validation_share: float = 0.15,
    progress: Progress | None = None,
) -> Trained:
    """Out-of-fold predictions over the folds of a role table, then the final model on every labelled row of it.

    `selection` (`contracts.SelectionSchema`) says which features each fold's model and the final one learn from; None: all.
    """
    folds = folds_of(roles)
    predictions = cross_fit(
        spec, history, labels, folds, seed=seed, selection=selection, validation_share=validation_share, progress=progress
    )
    rows, rounds = learnable_rows(roles, labels["label_end"]), typical_rounds(predictions)
    model = final_fit(spec, history, labels, rows, rounds=rounds, seed=seed, selection=selection)
    features = tuple(history.columns) if selection is None else tuple(columns_of(selection, FINAL))
    return Trained(check_frame(predictions, PredictionSchema, what=spec.model_type), model, features, rounds, len(rows))


def cross_fit(
    spec: ModelSpec,
    history: pd.DataFrame,
    labels: pd.DataFrame,
    folds: Sequence[Fold],
    *,
    seed: int,
    selection: pd.DataFrame | None = None,
    validation_share: float = 0.15,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Probability of each class for every row (`contracts.PredictionSchema`); NaN and fold -1 where no fold tests the row.

    Each fold's model learns from the fold's training rows only; early stopping watches their latest `validation_share`, purged
    from the rest. `rounds` is what each fold's fit settled on. With a `selection` it sees only what was selected for its fold.
    """
    if not history.index.equals(labels.index):
        raise DataContractError(f"features have {len(history)} rows, labels {len(labels)}: they must be about the same bars")
    samples = samples_of(history)
    out = pd.DataFrame(np.nan, index=history.index, columns=list(PROBABILITIES)).assign(fold=-1, rounds=0)
    probabilities, fold_of, rounds = (
        out[list(PROBABILITIES)].to_numpy(copy=True),
        np.full(len(out), -1),
        np.zeros(len(out), int),
    )
    started = perf_counter()
    for done, fold in enumerate(folds):
        shown = _selected(samples, selection, fold.number)
        model = fit_block(spec, shown, labels, fold.train, seed=seed, validation_share=validation_share)
        probabilities[fold.test] = model.predict(shown.take(fold.test))
        fold_of[fold.test], rounds[fold.test] = fold.number, model.rounds
        if progress is not None:
            progress(_progress_line(spec, fold, model, done + 1, len(folds), perf_counter() - started))
    out[list(PROBABILITIES)] = probabilities
    return out.assign(fold=fold_of, rounds=rounds)


def fit_block(
    spec: ModelSpec, samples: Samples, labels: pd.DataFrame, rows: Ints, *, seed: int, validation_share: float
) -> Model:
    """A model of one training block, stopped early on the block's own purged tail."""
    learn, watch = purged_tail(rows, labels.index, labels["label_end"], share=validation_share)
    y, weight = labels["signal"].to_numpy(), labels["weight"].to_numpy()
    validation = Validation(samples.take(watch), y[watch], weight[watch])
    return from_spec(spec).fit(samples.take(learn), y[learn], weight=weight[learn], validation=validation, seed=seed)


def final_fit(
    spec: ModelSpec,
    history: pd.DataFrame,
    labels: pd.DataFrame,
    rows: Ints,
    *,
    rounds: int,
    seed: int,
    selection: pd.DataFrame | None = None,
) -> Model:
    """The model that goes to production: all labelled rows, for as many rounds as the folds settled on."""
    shown = _selected(samples_of(history), selection, FINAL)
    params = {"n_rounds": rounds} if rounds else {}
    y, weight = labels["signal"].to_numpy()[rows], labels["weight"].to_numpy()[rows]
    return from_spec(spec, **params).fit(shown.take(rows), y, weight=weight, seed=seed)


def typical_rounds(predictions: pd.DataFrame) -> int:
    """Median over folds of the rounds that early stopping chose."""
    per_fold = predictions.loc[predictions["fold"] >= 0].groupby("fold")["rounds"].first()
    return int(per_fold.median()) if len(per_fold) else 0


def _selected(samples: Samples, selection: pd.DataFrame | None, fold: int) -> Samples:
    """The samples with the features that were selected for a fold; raises `DataContractError` where one is missing."""
    if selection is None:
        return samples
    place = {name: column for column, name in enumerate(samples.columns)}
    names = columns_of(selection, fold)
    unknown = [name for name in names if name not in place]
    if unknown:
        raise DataContractError(f"{unknown[0]} was selected for fold {fold} and is no column of the feature table")
    return narrowed(samples, np.array([place[name] for name in names]))


def _progress_line(spec: ModelSpec, fold: Fold, model: Model, done: int, total: int, seconds: float) -> str:
    left = seconds / done * (total - done)
    return (
        f"{spec.model_type}: fold {done} of {total}, {len(fold.train):,} rows learned, {model.rounds} rounds, "
        f"{len(fold.test):,} rows tested; {seconds:.0f} s gone, {left:.0f} s left"
    )
