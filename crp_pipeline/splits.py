"""Purged splits: a training label never meets a test label in time.

A label lives from its row's time (the open of the bar at whose close is decided) to its `label_end`. Walking forward, a row may
be learned from only if its label had ended before the first test row's time; the embargo asks for that much more room. Rows
without a label (`label_end` missing) are never learned from but are tested: at the time nobody knew that they would have none.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Bools, Fold, Ints
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.settings import WalkForwardConfig

Times = pd.Index | pd.Series

UNUSED, TRAIN, TEST, PURGED = 0, 1, 2, 3
"""Codes of a role table."""


@dataclass(frozen=True, kw_only=True)
class PurgedWalkForward:
    """Test blocks one after another, each trained on the labels that had ended before it.

    Sizes are rows. Blocks are counted from the start of the history, so that rows added later change no earlier fold. With
    `partial`, a last block shorter than `test_size` is tested too: it grows night by night, but what it trains on is settled.

    >>> times = pd.date_range("2024-01-01", periods=8, freq="h", tz="UTC")
    >>> for fold in PurgedWalkForward(train_size=4, test_size=2).split(times, times + pd.Timedelta("90min")):
    ...     print(fold.train, fold.test)
    [0 1 2] [4 5]
    [0 1 2 3 4] [6 7]
    """

    test_size: int
    train_size: int
    embargo: int = 0
    expanding: bool = True
    anchor: str = "start"
    partial: bool = False

    def __post_init__(self) -> None:
        """Raises `ValueError` for a size below 1, a negative embargo or an unknown anchor."""
        if self.test_size < 1 or self.train_size < 1 or self.embargo < 0:
            raise ValueError(f"sizes must be positive and the embargo not negative, got {self}")
        if self.anchor != "start":
            raise ValueError(f"anchor = {self.anchor!r} is not allowed: only 'start' keeps earlier folds unchanged")

    def split(self, times: Times, label_end: Times) -> list[Fold]:
        """Folds in time order; raises `InsufficientHistoryError` when there is no room for one test block."""
        start, end = _lives(times, label_end)
        if len(start) < self.train_size + (1 if self.partial else self.test_size):
            tested = f"{'up to ' if self.partial else ''}{self.test_size} test rows"
            raise InsufficientHistoryError(
                f"{len(start)} rows are too few for one fold of {self.train_size} training and {tested}"
            )
        return [self._fold(number, first, start, end) for number, first in enumerate(self._block_starts(len(start)))]

    def _block_starts(self, n: int) -> range:
        return range(self.train_size, n if self.partial else n - self.test_size + 1, self.test_size)

    def _fold(self, number: int, first: int, start: Ints, end: Ints) -> Fold:
        test = np.arange(first, min(first + self.test_size, len(start)))
        oldest = 0 if self.expanding else first - self.train_size
        candidates = np.arange(oldest, first)
        frontier = start[max(first - self.embargo, 0)]
        return Fold(number, candidates[_has_label(end[candidates]) & (end[candidates] < frontier)], test)


@dataclass(frozen=True, kw_only=True)
class CombinatorialPurged:
    """Every choice of `n_test_blocks` out of `n_blocks` equal blocks as a test set, the rest purged and embargoed.

    Training rows may lie after test rows, so this measures a recipe's spread and never what could have been traded. The embargo
    is rows after each test block. Source: Lopez de Prado (2018), chapter 12.
    """

    n_blocks: int
    n_test_blocks: int
    embargo: int = 0

    def __post_init__(self) -> None:
        """Raises `ValueError` unless some blocks are tested and some are left to learn from."""
        if not 0 < self.n_test_blocks < self.n_blocks or self.embargo < 0:
            raise ValueError(f"1 to n_blocks - 1 blocks can be tested and the embargo must not be negative, got {self}")

    def split(self, times: Times, label_end: Times) -> list[Fold]:
        """One fold per combination; raises `InsufficientHistoryError` when there are fewer rows than blocks."""
        start, end = _lives(times, label_end)
        if len(start) < self.n_blocks:
            raise InsufficientHistoryError(f"{len(start)} rows are too few for {self.n_blocks} blocks")
        blocks = np.array_split(np.arange(len(start)), self.n_blocks)
        chosen = combinations(range(self.n_blocks), self.n_test_blocks)
        return [self._fold(number, [blocks[i] for i in picks], start, end) for number, picks in enumerate(chosen)]

    def _fold(self, number: int, tests: list[Ints], start: Ints, end: Ints) -> Fold:
        free = _has_label(end)
        for block in tests:
            free &= ~_meets(block, start, end, self.embargo)
        return Fold(number, np.flatnonzero(free), np.concatenate(tests))


def _meets(block: Ints, start: Ints, end: Ints, embargo: int) -> Bools:
    """True for every row whose label's life touches the block's, or that starts within the embargo after it."""
    opens = start[block[0]]
    closes = max(int(end[block][_has_label(end[block])].max(initial=opens)), int(start[block[-1]]))
    after = np.searchsorted(start, closes, side="right") + embargo
    embargoed = np.zeros(len(start), dtype=bool)
    embargoed[block[-1] + 1 : after] = True
    return np.asarray(((end >= opens) & (start <= closes)) | embargoed)


def purged_tail(rows: Ints, times: Times, label_end: Times, *, share: float) -> tuple[Ints, Ints]:
    """Rows to learn from and the latest `share` of them to watch; no label of the first meets one of the second."""
    start, end = _as_ns(times), _as_ns(label_end)
    cut = len(rows) - max(round(share * len(rows)), 1)
    if cut < 1:
        raise InsufficientHistoryError(f"{len(rows)} rows cannot be parted into a learning and a watching part")
    learn, watch = rows[:cut], rows[cut:]
    return learn[end[learn] < start[watch[0]]], watch


def walk_forward(labels: pd.DataFrame, ready: Bools, config: WalkForwardConfig) -> list[Fold]:
    """The folds of a label frame: only rows where `ready` holds are learned from or tested, and the last block may be short."""
    splitter = PurgedWalkForward(
        test_size=config.test_size,
        train_size=config.train_size,
        embargo=config.embargo,
        expanding=config.expanding,
        partial=True,
    )
    folds = splitter.split(labels.index, labels["label_end"].where(ready))
    return _tested_where(folds, ready)


def fold_table(labels: pd.DataFrame, ready: Bools, config: WalkForwardConfig) -> pd.DataFrame:
    """The role table of a label frame: a row that is not `ready` plays no role in any fold."""
    folds = walk_forward(labels, ready, config)
    return role_table(folds, labels.index, labels["label_end"].where(ready))


def _tested_where(folds: list[Fold], ready: Bools) -> list[Fold]:
    """The folds with only the test rows where `ready` holds; a fold without any is left out."""
    kept = (Fold(fold.number, fold.train, fold.test[ready[fold.test]]) for fold in folds)
    return [fold for fold in kept if len(fold.test)]


def recent_roles(roles: pd.DataFrame, days: int, *, fewest: int) -> pd.DataFrame:
    """The role table of the last `days`: no older row plays a role, and a fold that then learns from too few is left out.

    Folds keep their numbers, and the test rows that are young enough. `fewest` is in rows; raises `InsufficientHistoryError`
    when no fold is left.
    """
    kept = roles.copy()
    kept.loc[roles.index <= roles.index[-1] - pd.Timedelta(days=days)] = UNUSED
    n_learned, is_tested = (kept == TRAIN).sum(), (kept == TEST).any()
    columns = [name for name in roles.columns if n_learned[name] >= fewest and is_tested[name]]
    if not columns:
        most = int(n_learned[is_tested].max()) if is_tested.any() else 0
        raise InsufficientHistoryError(
            f"{days} days before {roles.index[-1]} leave no fold with {fewest} rows to learn from: the most is {most}"
        )
    return kept[columns]


def learnable_rows(roles: pd.DataFrame, label_end: Times) -> Ints:
    """Every labelled row that some fold learns from, purges or tests: what the final model is fitted on."""
    return np.flatnonzero((roles != UNUSED).any(axis=1).to_numpy() & _has_label(_as_ns(label_end)))


def overlaps(folds: list[Fold], times: Times, label_end: Times) -> pd.DataFrame:
    """Every training row whose label meets its fold's test block: (fold, open_time, label_end, test_start); empty is good.

    Written apart from the splitters, by comparing each training label with the test block's own times, so that a purge that is
    off by one shows up here.
    """
    start, end = _as_ns(times), _as_ns(label_end)
    found = []
    for fold in folds:
        opens, closes = start[fold.test].min(), np.maximum(end[fold.test], start[fold.test]).max()
        bad = fold.train[~_has_label(end[fold.train]) | ((end[fold.train] >= opens) & (start[fold.train] <= closes))]
        found.append(pd.DataFrame({"fold": fold.number, "open_time": start[bad], "label_end": end[bad], "test_start": opens}))
    table = pd.concat(found, ignore_index=True)
    return table.astype(dict.fromkeys(("open_time", "label_end", "test_start"), "datetime64[ns]"))


def role_table(folds: list[Fold], times: pd.Index, label_end: Times) -> pd.DataFrame:
    """What each row is to each fold: one int8 column `fold_<k>` of UNUSED, TRAIN, TEST or PURGED, indexed by time."""
    end = _as_ns(label_end)
    columns = {}
    for fold in folds:
        role = np.zeros(len(times), dtype=np.int8)
        before = np.arange(fold.test[0])
        role[before[_has_label(end[before])]] = PURGED
        if len(fold.train):
            role[: fold.train[0]] = UNUSED
        role[fold.train] = TRAIN
        role[fold.test] = TEST
        columns[f"fold_{fold.number}"] = role
    return pd.DataFrame(columns, index=times)


def folds_of(roles: pd.DataFrame) -> list[Fold]:
    """The folds that a role table records."""
    return [
        Fold(int(name.removeprefix("fold_")), np.flatnonzero(roles[name] == TRAIN), np.flatnonzero(roles[name] == TEST))
        for name in roles.columns
    ]


def timeline(roles: pd.DataFrame) -> pd.DataFrame:
    """One row per fold: first and last time and number of rows trained on, purged and tested."""
    spans = []
    for fold in folds_of(roles):
        times = roles.index
        spans.append(
            {
                "fold": fold.number,
                "train_start": times[fold.train[0]] if len(fold.train) else pd.NaT,
                "train_end": times[fold.train[-1]] if len(fold.train) else pd.NaT,
                "test_start": times[fold.test[0]],
                "test_end": times[fold.test[-1]],
                "n_train": len(fold.train),
                "n_purged": int((roles[f"fold_{fold.number}"] == PURGED).sum()),
                "n_test": len(fold.test),
            }
        )
    return pd.DataFrame(spans)


def _lives(times: Times, label_end: Times) -> tuple[Ints, Ints]:
    """Start and end of every label's life; raises `DataContractError` where time runs backwards."""
    start, end = _as_ns(times), _as_ns(label_end)
    if len(start) != len(end):
        raise DataContractError(f"there are {len(start)} times and {len(end)} label ends: they must be about the same rows")
    backwards = np.flatnonzero(np.diff(start) <= 0)
    if len(backwards):
        raise DataContractError(f"times must rise from row to row, {pd.Index(times)[backwards[0] + 1]} does not")
    early = np.flatnonzero(_has_label(end) & (end < start))
    if len(early):
        row = early[0]
        raise DataContractError(f"the label of {pd.Index(times)[row]} ends before it starts, at {pd.Index(label_end)[row]}")
    return start, end


def _as_ns(times: Times) -> Ints:
    """Times as nanoseconds; a missing one is the smallest integer."""
    index = pd.DatetimeIndex(times)
    return np.asarray((index if index.tz is None else index.tz_convert("UTC")).as_unit("ns").asi8)


def _has_label(end: Ints) -> Bools:
    return np.asarray(end != np.iinfo(np.int64).min)
