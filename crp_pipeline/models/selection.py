"""Which features each fold's models learn from, chosen inside its training block and shared by all of them.

Of a block only the rows that a model learns from are looked at: not its test block, and not the tail that early stopping
watches, since features that were chosen for doing well there would keep it from stopping in time. On these rows

1. constant columns and exact duplicates are dropped,
2. of columns whose ranks are correlated too closely one stays: the one with fewest missing values, then the first of the table,
3. what stays is ranked by how much worse a small booster of the earlier rows forecasts the later ones when a column is
   permuted on them; the earlier rows are purged from the later ones,
4. the best are kept.

A feature that is quarantined, because it predicts too well to be believed, is not looked at at all.

A choice is no surer than the data: where little forecasts the label, most of what is kept is luck, and the stability over folds
says so.
"""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd

from crp_pipeline.contracts import FINAL, FeatureStatus, Floats, Ints, Samples, SelectionSchema, check_frame
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.models.base import ModelSpec, samples_of, watched_class_index
from crp_pipeline.models.catalog import from_spec
from crp_pipeline.models.importance import permutation_importance
from crp_pipeline.models.ingredients import of_selection
from crp_pipeline.models.record import Entry, Record
from crp_pipeline.models.redundancy import constant_columns, first_of_same, rank_correlation, representatives
from crp_pipeline.settings import SelectionConfig
from crp_pipeline.splits import folds_of, learnable_rows, purged_tail
from crp_pipeline.storage import read_parquet, write_parquet

RANKER = ModelSpec("lightgbm", params={"n_rounds": 20, "learning_rate": 0.1, "max_depth": 4})
"""About as much as early stopping lets a booster learn from hourly candles, in fewer trees."""

BLOCK = "block.parquet"
"""File of an entry of a record: what became of the features in one block."""

KEPT, OUTRANKED, CORRELATED, DUPLICATE, CONSTANT, QUARANTINED = FeatureStatus


def select_features(  # noqa: PLR0913 - one choice per keyword, most with a default
    history: pd.DataFrame,
    labels: pd.DataFrame,
    roles: pd.DataFrame,
    *,
    config: SelectionConfig,
    seed: int,
    validation_share: float = 0.15,
    n_threads: int = 1,
    excluded: Collection[str] = (),
    progress: Callable[[str], None] | None = None,
    record: Record | None = None,
) -> pd.DataFrame:
    """What became of every feature in every fold and for the final model: frame of `contracts.SelectionSchema`.

    `history` is the feature table, `labels` has the same rows, `roles` is their role table. `validation_share` is the tail of a
    training block that early stopping watches; the final model has none, and its block is every labelled row of the role table.
    `excluded` features are quarantined in every block: nothing is chosen, ranked or represented by them. With a `record` a
    fold's block is read back where it was chosen before; `attrs["blocks_read_back"]` says how many were.
    """
    if not history.index.equals(labels.index):
        raise DataContractError(f"features have {len(history)} rows, labels {len(labels)}: they must be about the same bars")
    times, ends, started = labels.index, labels["label_end"], perf_counter()
    rows_of = {fold.number: purged_tail(fold.train, times, ends, share=validation_share)[0] for fold in folds_of(roles)}
    rows_of[FINAL] = learnable_rows(roles, ends)
    tell = progress if progress is not None else _unheard
    samples, blocks, n_read_back = samples_of(without(history, excluded)), [], 0
    for fold, rows in rows_of.items():
        # the final model has another block each night
        entry = None if fold == FINAL else _entry(record, samples, labels, rows, config, seed)
        past = None if entry is None else entry.read(_read, tell=tell)
        block = past if past is not None else select_block(samples, labels, rows, config=config, seed=seed, n_threads=n_threads)
        if entry is not None and past is None:
            entry.write(partial(_write, block))
        n_read_back += past is not None
        whole = _with_quarantined(block, history.columns)
        blocks.append(whole.assign(fold=fold))
        tell(_progress_line(fold, rows, whole, perf_counter() - started, read_back=past is not None))
    found = pd.concat(blocks, ignore_index=True)[list(SelectionSchema.columns)]
    found.attrs = {"blocks_read_back": n_read_back}
    return check_frame(found, SelectionSchema, what="selection")


def select_block(
    samples: Samples, labels: pd.DataFrame, rows: Ints, *, config: SelectionConfig, seed: int, n_threads: int = 1
) -> pd.DataFrame:
    """What became of each feature in one block: one row each, in the order of `samples.columns`.

    Correlations, the ranking model and its scores are taken on rows drawn by the seed where there are more than the settings
    say. Raises `InsufficientHistoryError` where no feature varies.
    """
    n_features, rng = len(samples.columns), np.random.default_rng(seed)
    importance, rank = np.full(n_features, np.nan), np.zeros(n_features, dtype=np.int64)
    if not config.enabled:
        return _block(samples, np.full(n_features, KEPT, dtype=object), np.arange(n_features), importance, rank)
    drawn = _drawn(np.arange(len(rows)), config.correlation_rows, rng)
    status, stands = _screened(samples.history[rows], drawn, config.max_correlation)
    left = np.flatnonzero(status == KEPT)
    if len(left) == 0:
        raise InsufficientHistoryError(f"none of {n_features} features varies on the {len(rows)} rows to learn from")
    importance[left] = _importance(narrowed(samples, left), labels, rows, config, rng, seed, n_threads)
    best_first = left[np.argsort(-importance[left], kind="stable")]
    rank[best_first] = np.arange(1, len(left) + 1)
    status[best_first[config.keep :]] = OUTRANKED
    return _block(samples, status, stands, importance, rank)


def columns_of(selection: pd.DataFrame, fold: int) -> list[str]:
    """The features that a fold's models learn from, or the final model for `FINAL`, in the order of the feature table."""
    block = selection[selection["fold"] == fold]
    if block.empty:
        known = ", ".join(str(number) for number in selection["fold"].unique())
        raise DataContractError(f"no feature was selected for fold {fold}, only for {known}: the selection is of other splits")
    return block.loc[block["status"] == str(KEPT), "feature"].tolist()


def quarantined_in(selection: pd.DataFrame) -> list[str]:
    """The features that a selection keeps from every model, in the order of the feature table."""
    return list(selection.loc[selection["status"] == str(QUARANTINED), "feature"].unique())


def without(history: pd.DataFrame, excluded: Collection[str]) -> pd.DataFrame:
    """The feature table without these columns; raises `DataContractError` for one that it does not have."""
    unknown = sorted(set(excluded) - set(history.columns))
    if unknown:
        raise DataContractError(f"{unknown[0]} is to be kept from the models and is no column of the feature table")
    return history.drop(columns=list(excluded)) if excluded else history


def narrowed(samples: Samples, columns: Ints) -> Samples:
    """The same rows with only these columns of their history."""
    names = tuple(samples.columns[column] for column in columns)
    return Samples(np.ascontiguousarray(samples.history[:, columns]), samples.rows, samples.segment_start, names)


def kept_table(selection: pd.DataFrame) -> pd.DataFrame:
    """True where a block keeps a feature: one row per fold, the final model's last, one column per feature."""
    is_kept = selection.assign(kept=selection["status"] == str(KEPT))
    table = is_kept.pivot_table(index="fold", columns="feature", values="kept", aggfunc="any")
    return table.loc[selection["fold"].unique(), selection["feature"].unique()]


def status_table(selection: pd.DataFrame) -> pd.DataFrame:
    """One row per block: `fold` as a name, and how many features have each status."""
    counts = pd.crosstab(selection["fold"], selection["status"]).loc[selection["fold"].unique()]
    shown = counts.reindex(columns=[str(status) for status in FeatureStatus], fill_value=0)
    return shown.rename(index={FINAL: "final"}).reset_index()


def frequency_table(selection: pd.DataFrame) -> pd.DataFrame:
    """One row per feature, most often kept first: `folds_kept` and the share of them, median rank where ranked, `in_final`."""
    kept = kept_table(selection)
    of_folds = kept.drop(index=FINAL)
    ranks = selection[(selection["fold"] != FINAL) & (selection["rank"] > 0)].groupby("feature")["rank"].median()
    table = pd.DataFrame(
        {
            "feature": kept.columns,
            "folds_kept": of_folds.sum().to_numpy(),
            "share_of_folds": of_folds.mean().to_numpy(),
            "median_rank": ranks.reindex(kept.columns).to_numpy(),
            "in_final": kept.loc[FINAL].to_numpy(),
        }
    )
    return table.sort_values(["folds_kept", "median_rank"], ascending=[False, True], kind="stable", ignore_index=True)


def _screened(table: Floats, drawn: Ints, max_correlation: float) -> tuple[np.ndarray, Ints]:
    """Status and representative of each column; correlations are taken on the drawn rows, all else on every row."""
    status, stands = np.full(table.shape[1], KEPT, dtype=object), first_of_same(table)
    status[stands != np.arange(len(stands))] = DUPLICATE
    constant = constant_columns(table)
    status[constant] = CONSTANT
    stands[constant] = np.flatnonzero(constant)
    left = np.flatnonzero(status == KEPT)
    fewest_missing_first = np.argsort(np.isnan(table[:, left]).sum(axis=0), kind="stable")
    nearest = representatives(rank_correlation(table[np.ix_(drawn, left)]), fewest_missing_first, limit=max_correlation)
    status[left[nearest != np.arange(len(left))]] = CORRELATED
    stands[left] = left[nearest]
    return status, stands[stands]


def _importance(
    samples: Samples,
    labels: pd.DataFrame,
    rows: Ints,
    config: SelectionConfig,
    rng: np.random.Generator,
    seed: int,
    n_threads: int,
) -> Floats:
    """What permuting each column costs a model of the earlier rows on the later ones, in nats: (k,)."""
    learn, watch = purged_tail(rows, labels.index, labels["label_end"], share=config.watch_share)
    learn, watch = _drawn(learn, config.learn_rows, rng), _drawn(watch, config.watch_rows, rng)
    y, weight = labels["signal"].to_numpy(), labels["weight"].to_numpy()
    model = from_spec(RANKER, n_threads=n_threads).fit(samples.take(learn), y[learn], weight=weight[learn], seed=seed)
    permutations = np.array([rng.permutation(len(watch)) for _ in range(config.n_repeats)])

    def predict(table: Floats) -> Floats:
        return model.predict(Samples(table, np.arange(len(table)), columns=samples.columns))

    return permutation_importance(
        predict, samples.history[watch], watched_class_index(y[watch]), permutations, weight=weight[watch]
    )


def _drawn(rows: Ints, most: int, rng: np.random.Generator) -> Ints:
    """All rows, or `most` of them drawn without replacement, in their order.

    At random and not every so many, or with 24 hourly bars between them all would be of one hour of the day.
    """
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def _block(samples: Samples, status: np.ndarray, stands: Ints, importance: Floats, rank: Ints) -> pd.DataFrame:
    names = np.array(samples.columns, dtype=object)
    return pd.DataFrame(
        {
            "feature": pd.Series(names, dtype="str"),
            "status": pd.Series([str(it) for it in status], dtype="str"),
            "representative": pd.Series(np.where(stands == np.arange(len(stands)), "", names[stands]), dtype="str"),
            "importance": importance,
            "rank": rank,
        }
    )


def _with_quarantined(block: pd.DataFrame, columns: pd.Index) -> pd.DataFrame:
    """The block with a row for every column of the feature table: what was not shown to it is quarantined."""
    if len(block) == len(columns):
        return block
    every = block.set_index("feature").reindex(columns.rename("feature")).reset_index()
    filled = every.fillna({"status": str(QUARANTINED), "representative": "", "rank": 0})
    return filled.astype(block.dtypes.to_dict())


def _entry(
    record: Record | None, samples: Samples, labels: pd.DataFrame, rows: Ints, config: SelectionConfig, seed: int
) -> Entry | None:
    """Where the record keeps the block of these rows; None without a record."""
    if record is None:
        return None
    return record.entry(of_selection(samples, labels, rows, config=config, ranker=RANKER, seed=seed))


def _read(folder: Path) -> pd.DataFrame:
    return read_parquet(folder / BLOCK)


def _write(block: pd.DataFrame, folder: Path) -> None:
    write_parquet(folder / BLOCK, block)


def _unheard(line: str) -> None:
    """Nobody listens."""


def _progress_line(fold: int, rows: Ints, block: pd.DataFrame, seconds: float, *, read_back: bool) -> str:
    counts = block["status"].value_counts()
    told = ", ".join(f"{counts.get(str(status), 0)} {status}" for status in FeatureStatus)
    name = "the final model" if fold == FINAL else f"fold {fold}"
    shown = f"{len(block)} features on {len(rows):,} rows{', read back' if read_back else ''}"
    return f"selection for {name}: {shown}: {told}; {seconds:.0f} s gone"
