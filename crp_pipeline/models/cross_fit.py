"""Out-of-fold predictions: every row is scored by a model that could not have seen its label.

`history` is the feature table, one row per bar; `labels` has the same rows; fold positions count in both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

import numpy as np
import pandas as pd

from crp_pipeline.contracts import CLASSES, FINAL, Floats, Fold, Ints, PredictionSchema, Samples, check_frame
from crp_pipeline.errors import DataContractError
from crp_pipeline.models.base import Model, ModelSpec, Progress, samples_of
from crp_pipeline.models.block import Block, fit_block, training_block
from crp_pipeline.models.catalog import from_spec
from crp_pipeline.models.forecast import FoldResult, forecast, prediction_frame
from crp_pipeline.models.ingredients import digest, of_fit
from crp_pipeline.models.readout import fit_readout
from crp_pipeline.models.recall import recalled, remember, stored_final
from crp_pipeline.models.record import Entry, Record
from crp_pipeline.models.selection import columns_of, narrowed
from crp_pipeline.splits import folds_of, learnable_rows


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
    """Of the final fit, or of reading it back."""
    made_from: str | None = None
    """Key of the final model in a record; None without one."""
    reused: bool = False
    """True where the final model was fitted in an earlier run and read back."""

    @property
    def folds_read_back(self) -> int:
        """Folds whose model was fitted in an earlier run."""
        return sum(result.reused for result in self.folds)


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
    record: Record | None = None,
) -> Trained:
    """Out-of-fold predictions over the folds of a role table, then the final model on every labelled row of it.

    `selection` (`contracts.SelectionSchema`) says which features each fold's model and the final one learn from; None: all.
    What a `record` holds from earlier runs is read back and not fitted again; None: nothing is remembered.
    """
    results = fold_results(
        spec,
        history,
        labels,
        folds_of(roles),
        seed=seed,
        selection=selection,
        validation_share=validation_share,
        progress=progress,
        record=record,
    )
    predictions, started = prediction_frame(history.index, results), perf_counter()
    rows, shown = learnable_rows(roles, labels["label_end"]), selected(samples_of(history), selection, FINAL)
    final = final_fit(spec, shown, labels, rows, results, seed=seed, progress=progress, record=record)
    return Trained(
        predictions=check_frame(predictions, PredictionSchema, what=spec.model_type),
        model=final.model,
        features=tuple(history.columns) if selection is None else tuple(columns_of(selection, FINAL)),
        rounds=final.model.rounds,
        n_learned=len(rows),
        folds=tuple(results),
        seconds=perf_counter() - started,
        made_from=final.made_from,
        reused=final.reused,
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
    record: Record | None = None,
) -> pd.DataFrame:
    """Probability of each class for every row (`contracts.PredictionSchema`); NaN and fold -1 where no fold tests the row.

    Each fold's model learns from the fold's training rows only; early stopping watches their latest `validation_share`, purged
    from the rest. `rounds` is what each fold's fit settled on. With a `selection` it sees only what was selected for its fold.
    With a `record`, what it holds from earlier runs is read back and not fitted again.
    """
    results = fold_results(
        spec,
        history,
        labels,
        folds,
        seed=seed,
        selection=selection,
        validation_share=validation_share,
        progress=progress,
        record=record,
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
    record: Record | None = None,
) -> list[FoldResult]:
    """What the model of each fold forecast on its test rows; see `cross_fit`."""
    if not history.index.equals(labels.index):
        raise DataContractError(f"features have {len(history)} rows, labels {len(labels)}: they must be about the same bars")
    samples, results, started = samples_of(history), [], perf_counter()
    for done, fold in enumerate(folds, start=1):
        begun, model = perf_counter(), _unfitted(spec, progress)
        shown = selected(samples, selection, fold.number)
        block = training_block(model, shown, labels, fold.train, validation_share=validation_share)
        entry = entry_of(record, spec, block, model, seed=seed, validation_share=validation_share)
        result = _past_result(entry, model, fold, block, labels.index, progress)
        if result is None:
            fit_block(model, block, seed=seed)
            result = fold_result(model, fold, block, begun)
            if entry is not None:
                remember(entry, model, result, shown.take(fold.test), labels.index[fold.test])
        results.append(result)
        _tell(progress, _progress_line(spec, result, done, len(folds), perf_counter() - started))
    return results


@dataclass(frozen=True)
class Final:
    """The model for production; `made_from` is its key in a record, `reused` whether it was read back."""

    model: Model
    made_from: str | None
    reused: bool


def final_fit(
    spec: ModelSpec,
    shown: Samples,
    labels: pd.DataFrame,
    rows: Ints,
    results: Sequence[FoldResult],
    *,
    seed: int,
    progress: Progress | None = None,
    record: Record | None = None,
) -> Final:
    """The model that goes to production: these labelled rows, for as long as the folds settled on.

    Its readout is learned from the out-of-fold forecasts, which no model of theirs had learned from. Where the bundle of a
    `record` holds the model of these very ingredients, that one is read back.
    """
    spec = replace(spec, params={**spec.params, **typical(results)})
    model = _unfitted(spec, progress)
    block = training_block(model, shown, labels, rows)
    tested, outputs = _labelled_forecasts(model, results, block)
    entry = entry_of(record, spec, block, model, seed=seed, readout=digest(outputs, block.signal[tested], block.weight[tested]))
    if record is not None and entry is not None:
        stored = stored_final(record.bundle, entry.key, tell=partial(_tell, progress))
        if stored is not None:
            return Final(stored, entry.key, reused=True)
    fit_block(model, block, seed=seed)
    if not model.tells_classes:
        model.readout = fit_readout(outputs, model.outputs, block.signal[tested], block.weight[tested], seed=seed)
    return Final(model, None if entry is None else entry.key, reused=False)


def typical(results: Sequence[FoldResult]) -> dict[str, float]:
    """Median over folds of every parameter that the fits settled on; whole numbers stay whole."""
    names = results[0].settled if results else {}
    return {name: _median([result.settled[name] for result in results]) for name in names}


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


def _unfitted(spec: ModelSpec, progress: Progress | None) -> Model:
    model = from_spec(spec)
    model.progress = progress
    return model


def entry_of(
    record: Record | None,
    spec: ModelSpec,
    block: Block,
    model: Model,
    *,
    seed: int,
    validation_share: float | None = None,
    **more: str,
) -> Entry | None:
    """Where the record keeps a model of this block; None without a record."""
    if record is None:
        return None
    return record.entry({**of_fit(spec, block, model.reach, seed=seed, validation_share=validation_share), **more})


def _past_result(
    entry: Entry | None, model: Model, fold: Fold, block: Block, times: pd.Index, progress: Progress | None
) -> FoldResult | None:
    if entry is None:
        return None
    return recalled(entry, model, fold, block.samples.take(fold.test), times[fold.test], tell=partial(_tell, progress))


def fold_result(model: Model, fold: Fold, block: Block, begun: float) -> FoldResult:
    """What a model that was fitted on a fold's block forecasts on its test rows; `begun` is when its fit began."""
    outputs, probabilities = forecast(model, block.samples.take(fold.test))
    return FoldResult(
        fold=fold,
        outputs=outputs,
        probabilities=probabilities,
        names=model.outputs,
        rounds=model.rounds,
        settled=model.settled,
        history=model.history,
        n_learned=len(fold.train),
        seconds=perf_counter() - begun,
    )


def _labelled_forecasts(model: Model, results: Sequence[FoldResult], block: Block) -> tuple[Ints, Floats]:
    """Rows that have both a forecast and a label, and these forecasts; none where no readout is learned from them."""
    if model.tells_classes:
        return np.empty(0, dtype=np.int64), np.empty((0, len(CLASSES)))
    tested = np.concatenate([result.fold.test for result in results])
    outputs = np.concatenate([result.outputs for result in results])
    known = ~np.isnan(block.signal[tested]) & np.isfinite(outputs).all(axis=1)
    return tested[known], outputs[known]


def _median(values: Sequence[float]) -> float:
    middle = float(np.median(values))
    return int(middle) if all(isinstance(value, int) for value in values) else middle


def _tell(progress: Progress | None, line: str) -> None:
    if progress is not None:
        progress(line)


def _progress_line(spec: ModelSpec, result: FoldResult, done: int, total: int, seconds: float) -> str:
    left, read_back = seconds / done * (total - done), "read back, " if result.reused else ""
    return (
        f"{spec.model_type}: fold {done} of {total}, {read_back}{result.n_learned:,} rows learned, "
        f"{result.rounds} rounds, {len(result.fold.test):,} rows tested; {seconds:.0f} s gone, {left:.0f} s left"
    )
