"""Out-of-fold predictions: every row is scored by a model that could not have seen its label.

`history` is the feature table, one row per bar; `labels` has the same rows; fold positions count in both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import pandas as pd

from crp_pipeline.contracts import (
    CLASSES,
    FINAL,
    FORECAST,
    PROBABILITIES,
    Floats,
    Fold,
    Ints,
    PredictionSchema,
    Samples,
    check_frame,
)
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.models.base import Model, ModelSpec, Progress, Validation, samples_of
from crp_pipeline.models.catalog import from_spec
from crp_pipeline.models.readout import fit_readout
from crp_pipeline.models.selection import columns_of, narrowed
from crp_pipeline.splits import folds_of, learnable_rows, purged_tail


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
    folds: tuple[FoldResult, ...]
    seconds: float
    """Of the final fit."""


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
    results = fold_results(
        spec, history, labels, folds, seed=seed, selection=selection, validation_share=validation_share, progress=progress
    )
    predictions = prediction_frame(history.index, results)
    rows, started = learnable_rows(roles, labels["label_end"]), perf_counter()
    model = final_fit(spec, history, labels, rows, results, seed=seed, selection=selection, progress=progress)
    return Trained(
        predictions=check_frame(predictions, PredictionSchema, what=spec.model_type),
        model=model,
        features=tuple(history.columns) if selection is None else tuple(columns_of(selection, FINAL)),
        rounds=model.rounds,
        n_learned=len(rows),
        folds=tuple(results),
        seconds=perf_counter() - started,
    )


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
    results = fold_results(
        spec, history, labels, folds, seed=seed, selection=selection, validation_share=validation_share, progress=progress
    )
    return prediction_frame(history.index, results)


def fold_results(
    spec: ModelSpec,
    history: pd.DataFrame,
    labels: pd.DataFrame,
    folds: Sequence[Fold],
    *,
    seed: int,
    selection: pd.DataFrame | None = None,
    validation_share: float = 0.15,
    progress: Progress | None = None,
) -> list[FoldResult]:
    """What the model of each fold forecast on its test rows; see `cross_fit`."""
    if not history.index.equals(labels.index):
        raise DataContractError(f"features have {len(history)} rows, labels {len(labels)}: they must be about the same bars")
    samples, results, started = samples_of(history), [], perf_counter()
    for done, fold in enumerate(folds, start=1):
        shown = selected(samples, selection, fold.number)
        result = _fold_result(spec, shown, labels, fold, seed, validation_share, progress)
        results.append(result)
        if progress is not None:
            progress(_progress_line(spec, result, done, len(folds), perf_counter() - started))
    return results


def _fold_result(
    spec: ModelSpec,
    shown: Samples,
    labels: pd.DataFrame,
    fold: Fold,
    seed: int,
    validation_share: float,
    progress: Progress | None,
) -> FoldResult:
    started = perf_counter()
    model = fit_block(spec, shown, labels, fold.train, seed=seed, validation_share=validation_share, progress=progress)
    outputs = predict_reached(model, shown.take(fold.test))
    known = np.isfinite(outputs).all(axis=1)
    probabilities = np.full((len(outputs), len(CLASSES)), np.nan)
    probabilities[known] = model.read(outputs[known])
    return FoldResult(
        fold=fold,
        outputs=outputs,
        probabilities=probabilities,
        names=model.outputs,
        rounds=model.rounds,
        settled=model.settled,
        history=model.history,
        n_learned=len(fold.train),
        seconds=perf_counter() - started,
    )


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


def fit_block(
    spec: ModelSpec,
    samples: Samples,
    labels: pd.DataFrame,
    rows: Ints,
    *,
    seed: int,
    validation_share: float,
    progress: Progress | None = None,
) -> Model:
    """A model of one training block, stopped early and read out on the block's own purged tail."""
    model = from_spec(spec)
    model.progress = progress
    rows = _reached(samples, rows, model.reach, spec)
    learn, watch = purged_tail(rows, labels.index, labels["label_end"], share=validation_share)
    y, weight = target_table(labels, model.targets), labels["weight"].to_numpy()
    validation = Validation(samples.take(watch), y[watch], weight[watch])
    model.fit(samples.take(learn), y[learn], weight=weight[learn], validation=validation, seed=seed)
    if not model.tells_classes:
        signal = labels["signal"].to_numpy()[watch]
        model.readout = fit_readout(model.predict(samples.take(watch)), model.outputs, signal, weight[watch], seed=seed)
    return model


def final_fit(
    spec: ModelSpec,
    history: pd.DataFrame,
    labels: pd.DataFrame,
    rows: Ints,
    results: Sequence[FoldResult],
    *,
    seed: int,
    selection: pd.DataFrame | None = None,
    progress: Progress | None = None,
) -> Model:
    """The model that goes to production: all labelled rows, for as long as the folds settled on.

    Its readout is learned from the out-of-fold forecasts, which no model of theirs had learned from.
    """
    shown, model = selected(samples_of(history), selection, FINAL), from_spec(spec, **typical(results))
    model.progress = progress
    rows = _reached(shown, rows, model.reach, spec)
    y, weight = target_table(labels, model.targets), labels["weight"].to_numpy()
    model.fit(shown.take(rows), y[rows], weight=weight[rows], seed=seed)
    if not model.tells_classes:
        tested, outputs = _labelled_forecasts(results, labels)
        model.readout = fit_readout(outputs, model.outputs, labels["signal"].to_numpy()[tested], weight[tested], seed=seed)
    return model


def predict_reached(model: Model, X: Samples) -> Floats:
    """Outputs for every sample, NaN where fewer bars lie behind it than the model looks at: (n, len(outputs))."""
    reached = X.behind() >= model.reach - 1
    outputs = np.full((len(X), len(model.outputs)), np.nan)
    if reached.any():
        outputs[reached] = model.predict(X.take(X.rows[reached]))
    return outputs


def typical(results: Sequence[FoldResult]) -> dict[str, float]:
    """Median over folds of every parameter that the fits settled on; whole numbers stay whole."""
    names = results[0].settled if results else {}
    return {name: _median([result.settled[name] for result in results]) for name in names}


def target_table(labels: pd.DataFrame, targets: Sequence[str]) -> Floats:
    """What a model learns from: (n,) for one target, (n, len(targets)) for several; NaN in a column that labels do not have."""
    values = labels.reindex(columns=list(targets)).to_numpy(dtype=np.float64)
    return values[:, 0] if len(targets) == 1 else values


def selected(samples: Samples, selection: pd.DataFrame | None, fold: int) -> Samples:
    """The samples with the features that were selected for a fold; raises `DataContractError` where one is missing."""
    if selection is None:
        return samples
    place = {name: column for column, name in enumerate(samples.columns)}
    names = columns_of(selection, fold)
    unknown = [name for name in names if name not in place]
    if unknown:
        raise DataContractError(f"{unknown[0]} was selected for fold {fold} and is no column of the feature table")
    return narrowed(samples, np.array([place[name] for name in names]))


def _reached(samples: Samples, rows: Ints, reach: int, spec: ModelSpec) -> Ints:
    """The rows that have as many bars behind them as the model looks at."""
    kept = rows[samples.take(rows).behind() >= reach - 1]
    if len(rows) and not len(kept):
        raise InsufficientHistoryError(
            f"{spec.model_type} looks at {reach} bars and none of {len(rows)} rows to learn from has {reach - 1} behind it"
        )
    return kept


def _labelled_forecasts(results: Sequence[FoldResult], labels: pd.DataFrame) -> tuple[Ints, Floats]:
    tested = np.concatenate([result.fold.test for result in results])
    outputs = np.concatenate([result.outputs for result in results])
    known = labels["signal"].notna().to_numpy()[tested] & np.isfinite(outputs).all(axis=1)
    return tested[known], outputs[known]


def _median(values: Sequence[float]) -> float:
    middle = float(np.median(values))
    return int(middle) if all(isinstance(value, int) for value in values) else middle


def _progress_line(spec: ModelSpec, result: FoldResult, done: int, total: int, seconds: float) -> str:
    left = seconds / done * (total - done)
    return (
        f"{spec.model_type}: fold {done} of {total}, {result.n_learned:,} rows learned, {result.rounds} rounds, "
        f"{len(result.fold.test):,} rows tested; {seconds:.0f} s gone, {left:.0f} s left"
    )
