"""What candles must hold, and the report of where they do not.

UTC open times rise strictly on the interval's grid; prices are finite and positive with
`low <= min(open, close) <= max(open, close) <= high`; volume is finite and not negative; the last bar is closed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import pandas as pd
from pandas.api.typing import NaTType

from crp_pipeline.candles.volume_units import quote_volume_rows
from crp_pipeline.contracts import OHLCV, Bools, Ints, interval_length
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.settings import INTERVALS

Moment = pd.Timestamp | NaTType
"""An open time; NaT where there is no bar."""
Span = tuple[Moment, Moment]
"""Open times of the first and the last bar of a stretch."""
MOST_SPANS = 1_000
"""Stretches that an issue remembers one by one: more than a picture can show."""


class IssueKind(StrEnum):
    """What can be wrong with candles; the last two are warnings."""

    EMPTY = "empty"
    OUT_OF_ORDER = "out_of_order"
    """Rows that go back in time, in a table that is not wholly newest-first."""
    DUPLICATE = "duplicate"
    """Rows whose time an earlier row has."""
    CONFLICTING_DUPLICATE = "conflicting_duplicate"
    """Those duplicates that differ from the first row of their time."""
    GAP = "gap"
    """Missing bars between two bars."""
    IMPOSSIBLE_BAR = "impossible_bar"
    """Bars that break one of `BAR_RULES`."""
    OFF_GRID = "off_grid"
    """Open times that are not a multiple of the interval."""
    UNFINISHED_BAR = "unfinished_bar"
    """Bars that close after `now`."""
    ZERO_VOLUME = "zero_volume"
    """Bars without a trade, other than filled ones."""
    VOLUME_UNIT_SWITCH = "volume_unit_switch"
    """Bars with volume in quote units where the rest has it in base units."""


WARNINGS = frozenset({IssueKind.ZERO_VOLUME, IssueKind.VOLUME_UNIT_SWITCH})
"""Kinds that leave the contract standing."""


@dataclass(frozen=True)
class Issue:
    """One kind of fault: how many bars it concerns, and the open times of the first and last of them."""

    kind: IssueKind
    count: int
    first: Moment
    last: Moment
    stretches: int = 1
    """Runs of neighbours: 20 missing bars may be 10 outages."""
    spans: tuple[Span, ...] = field(default=(), compare=False, repr=False)
    """The first `MOST_SPANS` of those runs."""

    def __str__(self) -> str:
        where = f"at {self.first}" if self.first == self.last else f"from {self.first} to {self.last}"
        runs = f" in {self.stretches} stretches" if self.stretches > 1 else ""
        return f"{self.kind}: {self.count}{runs} {where}"


@dataclass(frozen=True)
class CandleReport:
    """Every fault found in one table of candles, at most one `Issue` of each kind."""

    interval: str
    n_rows: int
    first: Moment
    last: Moment
    issues: list[Issue]

    @property
    def ok(self) -> bool:
        """True when the contract holds; warnings do not break it."""
        return all(issue.kind in WARNINGS for issue in self.issues)

    def count(self, kind: IssueKind) -> int:
        """Bars that have this fault; 0 where there are none."""
        return sum(issue.count for issue in self.issues if issue.kind == kind)

    def summary(self) -> str:
        """One line on the table, then one per issue."""
        verdict = "contract holds" if self.ok else "contract broken"
        return "\n".join(
            [
                f"{self.n_rows} bars of {self.interval} from {self.first} to {self.last}: {verdict}",
                *(f"  {issue}{' (warning)' if issue.kind in WARNINGS else ''}" for issue in self.issues),
            ]
        )

    def __str__(self) -> str:
        return self.summary()

    def to_frame(self) -> pd.DataFrame:
        """One row per issue: kind, count, stretches, first, last, is_warning."""
        rows = [(str(i.kind), i.count, i.stretches, i.first, i.last, i.kind in WARNINGS) for i in self.issues]
        return pd.DataFrame(rows, columns=["kind", "count", "stretches", "first", "last", "is_warning"])


@dataclass(frozen=True)
class BarRule:
    """A rule on one bar's values and the column to show where it is broken."""

    sentence: str
    column: str
    holds: Callable[[pd.DataFrame], pd.Series]


def _positive(column: str) -> BarRule:
    return BarRule(f"{column} must be finite and positive", column, lambda bars: (bars[column] > 0) & (bars[column] < np.inf))


# a comparison with NaN is False, so a missing value breaks its rule
BAR_RULES = (
    *(_positive(column) for column in ("open", "high", "low", "close")),
    BarRule("low <= min(open, close)", "low", lambda bars: (bars.low <= bars.open) & (bars.low <= bars.close)),
    BarRule("high >= max(open, close)", "high", lambda bars: (bars.high >= bars.open) & (bars.high >= bars.close)),
    BarRule("volume must be finite and >= 0", "volume", lambda bars: (bars.volume >= 0) & (bars.volume < np.inf)),
)


def validate_candles(
    df: pd.DataFrame, interval: str, *, now: pd.Timestamp | None = None, source: str = "candles"
) -> CandleReport:
    """Report on candles of any row order; bad values are counted, never raised.

    A hole between two values of a `segment` column is declared and no issue. With `now`, a bar that closes after it is
    unfinished. Raises `DataContractError`, beginning with `source`, when there is no OHLCV table on a UTC index to look at.
    """
    candles = require_candles(df, source=source)
    bars = candles.sort_index(kind="stable")
    is_possible, repeated, off_grid = possible(bars), np.asarray(bars.index.duplicated()), ~on_grid(bars, interval)
    traded = bars[is_possible & (bars.volume > 0)]
    found = [
        Issue(IssueKind.EMPTY, 0, pd.NaT, pd.NaT) if bars.empty else None,
        _issue(IssueKind.OUT_OF_ORDER, candles, _goes_back(candles)),
        _issue(IssueKind.DUPLICATE, bars, repeated),
        _issue(IssueKind.CONFLICTING_DUPLICATE, bars, _differs_from_first(bars, repeated)),
        _gap_issue(bars[~repeated & ~off_grid], interval_length(interval)),
        _issue(IssueKind.IMPOSSIBLE_BAR, bars, ~is_possible),
        _issue(IssueKind.OFF_GRID, bars, off_grid),
        _issue(IssueKind.UNFINISHED_BAR, bars, ~closed(bars, interval, now)),
        _issue(IssueKind.ZERO_VOLUME, bars, (bars.volume == 0).to_numpy() & ~is_repaired(bars)),
        _issue(IssueKind.VOLUME_UNIT_SWITCH, traded, quote_volume_rows(traded.close.to_numpy(), traded.volume.to_numpy())),
    ]
    issues = [issue for issue in found if issue]
    return CandleReport(interval, len(bars), bars.index.min(), bars.index.max(), issues)


def require_candles(df: pd.DataFrame, *, source: str = "candles") -> pd.DataFrame:
    """Table with float64 OHLCV on a UTC nanosecond index; raises `DataContractError` where it has none."""
    missing = [name for name in OHLCV if name not in df.columns]
    if missing:
        raise DataContractError(f"{source} has no column {', '.join(missing)}, found: {', '.join(map(str, df.columns))}")
    if not isinstance(df.index, pd.DatetimeIndex) or df.index.tz is None:
        raise DataContractError(f"{source} is indexed by {df.index.dtype}, not by UTC open times")
    try:
        candles = df.astype(dict.fromkeys(OHLCV, "float64"))
    except (TypeError, ValueError) as error:
        raise DataContractError(f"{source} has a price or volume that is not a number: {error}") from error
    return candles.set_axis(df.index.tz_convert("UTC").as_unit("ns").rename("open_time"))


def require_history(bars: pd.DataFrame, n_bars: int, *, source: str, setting: str = "walk_forward.train_size") -> pd.DataFrame:
    """The bars, unchanged, when there are at least `n_bars`; else `InsufficientHistoryError` names the `setting`."""
    if len(bars) < n_bars:
        raise InsufficientHistoryError(f"{source}: {len(bars):,} bars are too few, at least {n_bars:,} are needed ({setting})")
    return bars


def commonest_interval(open_time: pd.Index) -> str:
    """The commonest step between open times, in any order; raises `DataContractError` where it is none of `INTERVALS`."""
    steps = open_time.sort_values().to_series().diff().value_counts()
    known = {interval_length(interval): interval for interval in INTERVALS}
    if steps.empty or steps.index[0] not in known:
        step = "no step" if steps.empty else f"a step of {steps.index[0]}"
        raise DataContractError(f"candles have {step}, which is none of {', '.join(INTERVALS)}: say interval=")
    return known[steps.index[0]]


def nanoseconds(bars: pd.DataFrame) -> Ints:
    """(n,) open times since 1970-01-01 UTC."""
    return bars.index.to_numpy(dtype="datetime64[ns]").astype(np.int64)


def on_grid(bars: pd.DataFrame, interval: str) -> Bools:
    """(n,) True where the open time is a whole number of intervals after 1970-01-01 UTC."""
    return np.asarray(bars.index.notna() & (nanoseconds(bars) % interval_length(interval).value == 0))


def possible(bars: pd.DataFrame) -> Bools:
    """(n,) True where a bar keeps every one of `BAR_RULES`."""
    return np.asarray(np.all([rule.holds(bars) for rule in BAR_RULES], axis=0))


def closed(bars: pd.DataFrame, interval: str, now: pd.Timestamp | None) -> Bools:
    """(n,) True where a bar is over at `now`; without `now`, every bar is."""
    if now is None:
        return np.ones(len(bars), dtype=bool)
    if now.tzinfo is None:
        raise DataContractError(f"now = {now} has no time zone, and bars are in UTC")
    return np.asarray(pd.DatetimeIndex(bars.index) + interval_length(interval) <= now)


def is_repaired(bars: pd.DataFrame) -> Bools:
    """(n,) True where a bar was filled in by an earlier repair."""
    if "is_repaired" not in bars:
        return np.zeros(len(bars), dtype=bool)
    return np.asarray(bars["is_repaired"], dtype=bool)


def spans_of(times: pd.Index, mask: Bools) -> tuple[int, tuple[Span, ...]]:
    """Number of runs of neighbours where `mask` holds, and the first `MOST_SPANS` of them."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    first, last = edges[::2], edges[1::2] - 1
    return len(first), tuple(zip(times[first[:MOST_SPANS]], times[last[:MOST_SPANS]], strict=True))


def _goes_back(bars: pd.DataFrame) -> Bools:
    steps = np.diff(nanoseconds(bars))
    is_newest_first = not (steps > 0).any()
    return np.concatenate([np.zeros(min(len(bars), 1), dtype=bool), (steps < 0) & (not is_newest_first)])


def _differs_from_first(bars: pd.DataFrame, repeated: Bools) -> Bools:
    if not repeated.any():
        return repeated
    first = np.maximum.accumulate(np.where(repeated, 0, np.arange(len(bars))))
    values = bars[list(OHLCV)].to_numpy()
    same = (values == values[first]) | (np.isnan(values) & np.isnan(values[first]))
    return np.asarray(repeated & ~same.all(axis=1))


def _issue(kind: IssueKind, bars: pd.DataFrame, mask: Bools) -> Issue | None:
    if not mask.any():
        return None
    concerned = bars.index[mask]
    return Issue(kind, int(mask.sum()), concerned.min(), concerned.max(), *spans_of(bars.index, mask))


def _gap_issue(bars: pd.DataFrame, step: pd.Timedelta) -> Issue | None:
    steps = np.diff(nanoseconds(bars)) // step.value
    if "segment" in bars:
        steps = np.where(np.diff(bars["segment"].to_numpy()) != 0, 1, steps)
    before = np.flatnonzero(steps > 1)
    if not len(before):
        return None
    missing = int((steps[before] - 1).sum())
    times = pd.DatetimeIndex(bars.index)
    first, last = times[before] + step, times[before + 1] - step
    spans = tuple(zip(first[:MOST_SPANS], last[:MOST_SPANS], strict=True))
    return Issue(IssueKind.GAP, missing, first[0], last[-1], len(before), spans)
