"""Feeds beside the candles: funding, open interest, sentiment, as known when a bar closes.

    read_feed -> align_feed

A feed says when its values are stamped; only its reader can say when they were published. `available_after` is the time
from stamp to publication: a daily mean stamped 00:00 of the day it averages is known one day later, so '1D'. With '0h' it
would show every bar of the day what the day's last hours bring.
"""

import datetime as dt
import re
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crp_pipeline.candles.contract import Moment
from crp_pipeline.candles.feed_files import finite_numbers
from crp_pipeline.candles.files import parsed_times, refuse_first
from crp_pipeline.contracts import Bools, Floats, Ints, interval_length
from crp_pipeline.errors import DataContractError, InsufficientHistoryError

Duration = str | dt.timedelta | np.timedelta64
"""A `Timedelta` or what makes one: '8h', '1D', '500ms'."""

DAYS = re.compile(r"(?<=[\d ])d$")
"""The lower-case day, as intervals spell it: pandas will give it up."""
JITTER = pd.Timedelta(seconds=1)
JITTER_GRID = pd.Timedelta(minutes=1)
"""Every bar closes on a whole minute; a feed's own, coarser step would have to be learned from stamps yet to come."""
STEPS_CARRIED = 3
"""A value that three successors have failed to replace is old."""
STEPS_IN_SIGHT = 30
"""Steps whose median is a feed's step: few enough to follow a change of pace, enough to pass over a hole."""
UNKNOWN_STEP = pd.Timedelta(days=1)
"""Step of a feed while only one of its values is known."""


@dataclass(frozen=True)
class FeedColumn:
    """On how many bars a column has a value, has none yet, and has none that is young enough."""

    name: str
    known: int
    missing_before: int
    stale: int


@dataclass(frozen=True)
class FeedReport:
    """What a feed holds and what of it the bars see."""

    source: str
    rows: int
    first: Moment
    last: Moment
    duplicates: int
    """Rows whose stamp an earlier row has."""
    conflicting: int
    """Values of those that differ from the one that holds."""
    jittered: int
    """Stamps that were taken for the minute before them."""
    jitter: pd.Timedelta
    """Longest time by which one was."""
    columns: tuple[FeedColumn, ...]

    @property
    def missing_before(self) -> int:
        """Cells, bars times columns, before the first known value."""
        return sum(column.missing_before for column in self.columns)

    @property
    def stale(self) -> int:
        """Cells, bars times columns, whose last known value is too old."""
        return sum(column.stale for column in self.columns)

    def summary(self) -> str:
        """One line on the feed, one on each oddity of its stamps, then one per column."""
        lines = [f"{self.source}: {self.rows} rows from {self.first} to {self.last}"]
        if self.duplicates:
            lines.append(f"  {self.duplicates} repeated stamps, {self.conflicting} of them with another value")
        if self.jittered:
            lines.append(f"  {self.jittered} stamps up to {self.jitter.total_seconds():g} s after their minute")
        return "\n".join(lines + [f"  {_sentence(column)}" for column in self.columns])

    def __str__(self) -> str:
        return self.summary()

    def to_frame(self) -> pd.DataFrame:
        """One row per column of the feed: column, known, missing_before, stale."""
        rows = [(column.name, column.known, column.missing_before, column.stale) for column in self.columns]
        return pd.DataFrame(rows, columns=["column", "known", "missing_before", "stale"])


@dataclass(frozen=True, eq=False)
class _Bars:
    close: Ints
    """(bars,) nanoseconds since 1970, UTC."""
    interval: pd.Timedelta


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of a feed in the order of their stamps, those of one stamp in the order of the table."""

    stamp: Ints
    """(rows,) nanoseconds since 1970, UTC."""
    known: Ints
    """(rows,) when each became known, likewise."""
    jitter: Ints
    """(rows,) nanoseconds by which each stamp was moved to its minute."""
    columns: dict[Hashable, Floats]
    """(rows,) of each column."""


@dataclass(frozen=True, eq=False)
class _Aligned:
    """One column on the bars."""

    numbers: Floats
    """(bars,) NaN before the first known value and where the latest is too old."""
    is_before: Bools
    """(bars,) True before the first known value."""
    n_conflicting: int


def align_feed(
    index: pd.Index,
    feed: pd.DataFrame | pd.Series,
    *,
    available_after: Duration,
    interval: Duration | None = None,
    max_age: Duration | None = None,
    jitter: Duration = JITTER,
    source: str = "feed",
) -> pd.DataFrame:
    """Latest values known at each bar's close: one row per open time of `index`, one float64 column per feed column.

    A value is known from `stamp + available_after` on, and a bar sees it when that is not after its close, `open_time +
    interval`, by default the shortest step of the index. A bar's value depends on nothing that becomes known later.

    - Before the first known value a row is NaN, never filled from behind.
    - A missing value tells nothing: the one before it stays, column by column, until it is too old.
    - A value is too old more than `max_age` after it became known; by default three steps of the feed, or three bars
      where these are longer. The step is the median of the last 30 known by then; one day while there is only one value.
    - A stamp up to `jitter` after a whole minute is that minute: a value may be seen that much too early, never more. The
      delay is added after that and is not forgiven. '0s' takes every stamp as it is.
    - Of rows with one stamp the first that has a value holds: a second one is a restatement, which nobody knew yet.

    Raises `DataContractError` for bars that are not in order on a UTC index, a feed without UTC stamps, and a value that
    is no number or infinite; `InsufficientHistoryError` for a single bar of unknown interval.
    """
    return align_feed_with_report(
        index,
        feed,
        available_after=available_after,
        interval=interval,
        max_age=max_age,
        jitter=jitter,
        source=source,
    )[0]


def align_feed_with_report(
    index: pd.Index,
    feed: pd.DataFrame | pd.Series,
    *,
    available_after: Duration,
    interval: Duration | None = None,
    max_age: Duration | None = None,
    jitter: Duration = JITTER,
    source: str = "feed",
) -> tuple[pd.DataFrame, FeedReport]:
    """`align_feed`, and what the feed holds, what is odd about it and how many rows it leaves missing."""
    bars = _bars(index, interval)
    rows = _rows(feed, _duration(available_after, "available_after"), _tolerance(jitter), source)
    age = None if max_age is None else _duration(max_age, "max_age")
    columns = {name: _aligned(bars, rows, numbers, age) for name, numbers in rows.columns.items()}
    table = pd.DataFrame({name: column.numbers for name, column in columns.items()}, index=index)
    return table, _report(rows, columns, source)


def _sentence(column: FeedColumn) -> str:
    return f"{column.name}: known on {column.known} bars, not yet known on {column.missing_before}, too old on {column.stale}"


def _aligned(bars: _Bars, rows: _Rows, numbers: Floats, max_age: pd.Timedelta | None) -> _Aligned:
    has_value = np.flatnonzero(~np.isnan(numbers))
    is_first = ~pd.Index(rows.stamp[has_value]).duplicated()
    kept = has_value[is_first]
    if not len(kept):
        return _Aligned(np.full(len(bars.close), np.nan), np.ones(len(bars.close), dtype=bool), 0)
    known, value = rows.known[kept], numbers[kept]
    n_conflicting = int((numbers[has_value] != value[np.cumsum(is_first) - 1]).sum())
    latest = np.searchsorted(known, bars.close, side="right") - 1
    is_before = latest < 0
    is_stale = bars.close - known[latest] > _age_limits(rows.stamp[kept], bars.interval, max_age)[latest]
    return _Aligned(np.where(is_before | is_stale, np.nan, value[latest]), is_before, n_conflicting)


def _age_limits(stamps: Ints, interval: pd.Timedelta, max_age: pd.Timedelta | None) -> Floats:
    """(rows,) nanoseconds for which each value is carried: from the steps up to it, since later ones are not known."""
    if max_age is not None:
        return np.full(len(stamps), float(max_age.value))
    steps = pd.Series(np.diff(stamps).astype(np.float64)).rolling(STEPS_IN_SIGHT, min_periods=1).median().to_numpy()
    limits: Floats = STEPS_CARRIED * np.maximum(np.concatenate([[UNKNOWN_STEP.value], steps]), interval.value)
    return limits


def _report(rows: _Rows, columns: dict[Hashable, _Aligned], source: str) -> FeedReport:
    n_rows = len(rows.stamp)
    return FeedReport(
        source=source,
        rows=n_rows,
        first=_moment(rows.stamp[0]) if n_rows else pd.NaT,
        last=_moment(rows.stamp[-1]) if n_rows else pd.NaT,
        duplicates=int((np.diff(rows.stamp) == 0).sum()),
        conflicting=sum(column.n_conflicting for column in columns.values()),
        jittered=int((rows.jitter > 0).sum()),
        jitter=pd.Timedelta(int(rows.jitter.max(initial=0)), unit="ns"),
        columns=tuple(_counts(name, column) for name, column in columns.items()),
    )


def _counts(name: Hashable, column: _Aligned) -> FeedColumn:
    known, before = int((~np.isnan(column.numbers)).sum()), int(column.is_before.sum())
    return FeedColumn(str(name), known, before, len(column.numbers) - known - before)


def _moment(nanoseconds: int) -> pd.Timestamp:
    return pd.Timestamp(nanoseconds, unit="ns", tz="UTC")


# ---- bars -----------------------------------------------------------------------------------------------------------


def _bars(index: pd.Index, interval: Duration | None) -> _Bars:
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise DataContractError(f"bars are indexed by {index.dtype}, not by UTC open times")
    opens: Ints = parsed_times(index.to_series(name="open_time"), "bars").asi8
    steps = np.diff(opens)
    _refuse_bar(steps <= 0, index, "is not after the one before it")
    length = _shortest(opens) if interval is None else _bar_length(interval)
    _refuse_bar(steps < length.value, index, f"lies inside the bar before it, interval = {interval}")
    return _Bars(opens + length.value, length)


def _refuse_bar(is_wrong: Bools, index: pd.DatetimeIndex, rule: str) -> None:
    """Wrong steps: (bars - 1,)."""
    refuse_first(np.concatenate([[False], is_wrong]), index.to_series(name="open_time"), "bars", rule)


def _shortest(opens: Ints) -> pd.Timedelta:
    if len(opens) == 1:
        raise InsufficientHistoryError("bars found: 1; to know their interval takes 2, or interval=")
    return pd.Timedelta(int(np.diff(opens).min(initial=pd.Timedelta.max.value)), unit="ns")


def _bar_length(interval: Duration) -> pd.Timedelta:
    length = interval_length(interval) if isinstance(interval, str) else _duration(interval, "interval")
    if length == pd.Timedelta(0):
        raise DataContractError(f"interval = {interval} must be positive")
    return length


def _duration(value: Duration, name: str) -> pd.Timedelta:
    length = _timedelta(value)
    if length is None:
        raise DataContractError(f"{name} = {value} is not a length of time")
    if length < pd.Timedelta(0):
        raise DataContractError(f"{name} = {value} must not be negative")
    return length


def _timedelta(value: Duration) -> pd.Timedelta | None:
    """Length of time, None where it is none; a bare number would be nanoseconds, which nobody means."""
    if not isinstance(value, Duration):
        return None
    try:
        length = pd.Timedelta(DAYS.sub("D", value) if isinstance(value, str) else value)
        return None if pd.isna(length) else length.as_unit("ns")
    except ValueError:
        return None


def _tolerance(jitter: Duration) -> pd.Timedelta:
    tolerance = _duration(jitter, "jitter")
    if tolerance >= JITTER_GRID:
        raise DataContractError(f"jitter = {jitter} must be shorter than 1 minute, the grid of stamps")
    return tolerance


# ---- rows -----------------------------------------------------------------------------------------------------------


def _rows(feed: pd.DataFrame | pd.Series, delay: pd.Timedelta, tolerance: pd.Timedelta, source: str) -> _Rows:
    table = _table(feed, source)
    unsorted = _stamps(table.index, source)
    order = np.argsort(unsorted, kind="stable")
    stamp = unsorted[order]
    after_minute = stamp % JITTER_GRID.value
    jitter = np.where(after_minute <= tolerance.value, after_minute, 0)
    known = pd.to_datetime(stamp - jitter) + delay  # unlike numpy, pandas raises where the sum overflows
    return _Rows(stamp, known.asi8, jitter, {name: finite_numbers(table[name], source)[order] for name in table})


def _table(feed: pd.DataFrame | pd.Series, source: str) -> pd.DataFrame:
    table = feed.to_frame("value" if feed.name is None else feed.name) if isinstance(feed, pd.Series) else feed
    if not len(table.columns):
        raise DataContractError(f"{source} has no column of values")
    if not table.columns.is_unique:
        raise DataContractError(f"{source} has more than one column {table.columns[table.columns.duplicated()][0]}")
    return table


def _stamps(index: pd.Index, source: str) -> Ints:
    if len(index) and not (isinstance(index, pd.DatetimeIndex) and index.tz is not None):
        raise DataContractError(f"{source} is indexed by {index.dtype}, not by UTC stamps")
    return parsed_times(pd.DatetimeIndex(index).to_series(name=index.name or "index"), source).asi8
