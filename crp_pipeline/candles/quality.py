"""What is suspicious in the raw candles of a coin: by themselves, beside the night before, and beside the market.

The issues of `validate_candles` are taken over; this adds what keeps the contract and is wrong all the same. A finding
either warns or blocks, and what blocks is refused before anything is stored (`refuse_blocked`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from crp_pipeline.candles.clock import clock_shift, mean_return
from crp_pipeline.candles.contract import (
    Issue,
    IssueKind,
    Moment,
    Span,
    is_repaired,
    nanoseconds,
    on_grid,
    possible,
    require_candles,
    spans_of,
    validate_candles,
)
from crp_pipeline.candles.prints import bad_prints, typical_return, without_movement, without_trades
from crp_pipeline.contracts import OHLCV, Bools, Floats, Ints, interval_length
from crp_pipeline.errors import DataContractError

SAME_VALUE = 1e-9
"""Relative difference that a decimal text may leave between two copies of a number."""
OTHER_LEVEL = np.log(1.1)
"""Median distance of log closes from the stored ones: one coin's prices at other exchanges, in other dollars, are nearer."""
OTHER_LEVEL_AT_A_STEP = np.log(2)
"""The same from one bar to a new one, besides `FAR_MOVE`: over a long hole a coin may well have doubled."""
FAR_MOVE = 10.0
"""Typical returns, growing with the root of time, by which a price does not move unseen."""
LATE_BARS, LATE = 3, pd.Timedelta(days=2)
"""A history ends tonight when it ends within both: dumps of a day are published in the course of the next one."""


class Severity(StrEnum):
    """What a finding does to the night."""

    WARN = "warn"
    BLOCK = "block"
    """The coin's stored candles stay those of the night before, and nothing is trained on these."""


class Suspicion(StrEnum):
    """What can be wrong with candles that keep the contract."""

    ZERO_VOLUME_RUN = "zero_volume_run"
    """Bars without a trade, too many in a row for chance, or beside a hole: an outage, not a quiet market."""
    BAD_PRINT = "bad_print"
    """Bars with a price that was gone at the next one, as no market moves."""
    STALE_PRICE = "stale_price"
    """Bars with volume whose price stands still for longer than chance allows."""
    RESTATED_BAR = "restated_bar"
    """Bars that had other values in the night before, or when they were downloaded."""
    VANISHED_BAR = "vanished_bar"
    """Bars that the night before had and that are gone."""
    STALE_END = "stale_end"
    """The last bar, where it closed long before now."""
    SHIFTED_CLOCK = "shifted_clock"
    """Bars whose returns agree with the market, or with the night before, only when stamped otherwise."""
    OTHER_COIN = "other_coin"
    """Bars whose prices are not those of the coin that is stored under this name."""


BLOCKING = frozenset({Suspicion.SHIFTED_CLOCK, Suspicion.OTHER_COIN})
"""Kinds that would train a model on another market, or on the future."""

ISSUE_MEANING = {
    IssueKind.EMPTY: "there is no bar",
    IssueKind.OUT_OF_ORDER: "rows go back in time; they are sorted",
    IssueKind.DUPLICATE: "rows repeat the time of an earlier one; the first is kept",
    IssueKind.CONFLICTING_DUPLICATE: "rows contradict an earlier one of their time; the first is kept",
    IssueKind.GAP: "bars are missing: an outage of the exchange, or of the download",
    IssueKind.IMPOSSIBLE_BAR: "values cannot be those of a bar; they are dropped",
    IssueKind.OFF_GRID: "open times do not lie on the interval's grid; the bars are dropped",
    IssueKind.UNFINISHED_BAR: "bars close after now; they are dropped",
    IssueKind.VOLUME_UNIT_SWITCH: "volume is in quote units where the rest is in base units",
}


@dataclass(frozen=True)
class Finding:
    """One kind of fault: how many bars in how many stretches, from where to where, and what it means."""

    kind: IssueKind | Suspicion
    severity: Severity
    count: int
    stretches: int
    first: Moment
    last: Moment
    meaning: str
    spans: tuple[Span, ...] = ()
    """Open times of the first and last bar of each stretch, of the first thousand."""

    def __str__(self) -> str:
        where = f"at {self.first}" if self.first == self.last else f"from {self.first} to {self.last}"
        runs = f" in {self.stretches} stretches" if self.stretches > 1 else ""
        return f"{self.kind} ({self.severity}): {self.count}{runs} {where}: {self.meaning}"


@dataclass(frozen=True)
class QualityReport:
    """Everything suspicious in one table of candles, at most one `Finding` of each kind."""

    source: str
    interval: str
    n_rows: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True when nothing blocks; warnings leave the candles usable."""
        return all(finding.severity is not Severity.BLOCK for finding in self.findings)

    def of(self, *kinds: IssueKind | Suspicion) -> tuple[Finding, ...]:
        """Findings of these kinds."""
        return tuple(finding for finding in self.findings if finding.kind in kinds)

    def count(self, kind: IssueKind | Suspicion) -> int:
        """Bars that have this fault; 0 where there are none."""
        return sum(finding.count for finding in self.of(kind))

    def summary(self) -> str:
        """One line on the table, then one per finding."""
        n_found = len(self.findings)
        verdict = f"{n_found} finding{'s' if n_found > 1 else ''}" if n_found else "clean"
        return "\n".join([f"{self.source}: {self.n_rows} bars of {self.interval}: {verdict}", *map(str, self.findings)])

    def __str__(self) -> str:
        return self.summary()

    def to_frame(self) -> pd.DataFrame:
        """One row per finding: kind, severity, count, stretches, first, last, meaning."""
        columns = ["kind", "severity", "count", "stretches", "first", "last", "meaning"]
        rows = [(str(f.kind), str(f.severity), f.count, f.stretches, f.first, f.last, f.meaning) for f in self.findings]
        return pd.DataFrame(rows, columns=columns)


def quality(
    candles: pd.DataFrame,
    interval: str,
    *,
    earlier: pd.DataFrame | None = None,
    market: pd.DataFrame | None = None,
    restated: pd.DatetimeIndex | None = None,
    now: pd.Timestamp | None = None,
    source: str = "candles",
) -> QualityReport:
    """Report on raw candles of any row order; bad data are findings, never raised.

    `earlier` are the coin's stored candles of the night before, of the same interval, `market` the closes of other coins,
    one column each, `restated` the bars of which an exchange says something else than when they were downloaded. What needs
    `earlier`, `market` or `now` is not looked for without it. Raises `DataContractError`,
    beginning with `source`, when there is no OHLCV table on a UTC index to look at.
    """
    contract = validate_candles(candles, interval, now=now, source=source)
    findings = [_of_issue(issue) for issue in contract.issues if issue.kind in ISSUE_MEANING]
    bars, step = _sound(require_candles(candles, source=source), interval), interval_length(interval)
    findings += _restated_since(restated if restated is not None else pd.DatetimeIndex([]))
    if not bars.empty:
        stored = None if earlier is None else _sound(require_candles(earlier, source=f"earlier {source}"), interval)
        findings += [*_in_itself(bars, step), *_beside_others(bars, stored, market, step), *_recency(bars, step, now)]
    return QualityReport(source, interval, contract.n_rows, tuple(findings))


def refuse_blocked(candles: pd.DataFrame, report: QualityReport) -> None:
    """Nothing, when no finding of the report on these candles blocks.

    Raises `DataContractError` naming source, row, close and rule; rows are those of the table as given, counted from 1.
    """
    blocking = next((finding for finding in report.findings if finding.severity is Severity.BLOCK), None)
    if blocking is None:
        return
    row = int((pd.DatetimeIndex(candles.index) == blocking.first).argmax())
    raise DataContractError(
        f"{report.source}: row {row + 1}, at {blocking.first}: close = {candles['close'].iloc[row]} breaks "
        f"'{blocking.kind}', as do {blocking.count} of {len(candles)} rows: {blocking.meaning}; "
        "what is stored stays, and must be moved away by hand if it is the wrong one"
    )


def _of_issue(issue: Issue) -> Finding:
    where = (issue.count, issue.stretches, issue.first, issue.last)
    return Finding(issue.kind, Severity.WARN, *where, ISSUE_MEANING[issue.kind], issue.spans)


def _finding(kind: Suspicion, times: pd.DatetimeIndex, mask: Bools, meaning: str) -> Iterator[Finding]:
    """The finding, where `mask` holds anywhere."""
    if mask.any():
        stretches, spans = spans_of(times, mask)
        severity = Severity.BLOCK if kind in BLOCKING else Severity.WARN
        concerned = times[mask]
        yield Finding(kind, severity, len(concerned), stretches, concerned[0], concerned[-1], meaning, spans)


def _sound(candles: pd.DataFrame, interval: str) -> pd.DataFrame:
    """Possible bars on the grid in time order, each time once: the bars that a repair would keep, none that it filled in."""
    kept = candles[possible(candles) & on_grid(candles, interval) & ~is_repaired(candles)].sort_index(kind="stable")
    return kept[~kept.index.duplicated(keep="first")]


def _in_itself(bars: pd.DataFrame, step: pd.Timedelta) -> Iterator[Finding]:
    times, follows = pd.DatetimeIndex(bars.index), _follows(bars, step)
    quiet, stale, prints = without_trades(bars, follows), without_movement(bars), bad_prints(bars, follows)
    yield from _finding(Suspicion.ZERO_VOLUME_RUN, times, quiet, "nothing was traded: an outage, not a quiet market")
    yield from _finding(Suspicion.STALE_PRICE, times, stale, "trades, but a price that stands still: the feed hung")
    yield from _finding(Suspicion.BAD_PRINT, times, prints, "a price far off both its neighbours: nobody could trade there")


def _follows(bars: pd.DataFrame, step: pd.Timedelta) -> Bools:
    """(n,) True where the bar before is in the table."""
    return np.concatenate([[False], np.diff(nanoseconds(bars)) == step.value])


def _recency(bars: pd.DataFrame, step: pd.Timedelta, now: pd.Timestamp | None) -> Iterator[Finding]:
    if now is not None:
        last_close = bars.index[-1] + step
        is_last = np.arange(len(bars)) == len(bars) - 1
        is_late = now - last_close > max(LATE, LATE_BARS * step)
        meaning = f"the history ends {(now - last_close).floor('h')} before now"
        yield from _finding(Suspicion.STALE_END, pd.DatetimeIndex(bars.index), is_last & is_late, meaning)


def _restated_since(times: pd.DatetimeIndex) -> Iterator[Finding]:
    meaning = "the exchange says something else than when they were downloaded, which is what stays"
    yield from _finding(Suspicion.RESTATED_BAR, times, np.ones(len(times), dtype=bool), meaning)


def _beside_others(
    bars: pd.DataFrame, stored: pd.DataFrame | None, market: pd.DataFrame | None, step: pd.Timedelta
) -> Iterator[Finding]:
    """One cause is one finding: a clock that is off, or another coin, would also restate every bar."""
    shifted = list(_shifted(bars, stored, market, step))
    yield from shifted
    if stored is not None and not stored.empty:
        common = _common(bars, stored)
        other = [] if shifted else list(_other_coin(bars, stored, common, step))
        yield from other
        if not shifted and not other:
            yield from _rewritten(bars, stored, common)


def _shifted(
    bars: pd.DataFrame, stored: pd.DataFrame | None, market: pd.DataFrame | None, step: pd.Timedelta
) -> Iterator[Finding]:
    """Against the night before first: it is the same coin, so that its agreement is complete."""
    references = {
        "the stored candles of the night before": None if stored is None else stored[["close"]],
        "the market": None if market is None else market,
    }
    own = mean_return(bars[["close"]])
    for name, closes in references.items():
        if closes is None or closes.empty or closes.shape[1] == 0:
            continue
        shift = clock_shift(nanoseconds(bars), own, nanoseconds(closes), mean_return(closes), step=step.value)
        if shift.rows.any():
            off = f"{abs(shift.n_bars) * step} {'late' if shift.n_bars > 0 else 'early'}"
            reference = name if name != "the market" else f"the market ({', '.join(map(str, closes.columns))})"
            meaning = f"stamps are {off} against {reference}: close instead of open times, or a local clock"
            yield from _finding(Suspicion.SHIFTED_CLOCK, pd.DatetimeIndex(bars.index), shift.rows, meaning)
            return


def _other_coin(bars: pd.DataFrame, stored: pd.DataFrame, common: tuple[Ints, Ints], step: pd.Timedelta) -> Iterator[Finding]:
    """By the level where both have bars, else by the step from the last stored close to the first new open."""
    rows, stored_rows = common
    is_new = np.asarray(bars.index > stored.index[-1])
    if len(rows) and _level_differs(ours := bars["close"].to_numpy()[rows], theirs := stored["close"].to_numpy()[stored_rows]):
        where, prices = np.isin(np.arange(len(bars)), rows), (np.median(ours), np.median(theirs))
    elif is_new.any() and _breaks(first := bars[is_new].iloc[:1], stored, step):
        where, prices = is_new, (first["open"].item(), stored["close"].iloc[-1])
    else:
        return
    meaning = "{:.6g} where {:.6g} is stored: the prices of another coin, or in another unit".format(*prices)
    yield from _finding(Suspicion.OTHER_COIN, pd.DatetimeIndex(bars.index), where, meaning)


def _level_differs(ours: Floats, theirs: Floats) -> bool:
    return bool(abs(np.median(np.log(ours / theirs))) > OTHER_LEVEL)


def _breaks(first: pd.DataFrame, stored: pd.DataFrame, step: pd.Timedelta) -> bool:
    """Whether the price jumps between two bars, and further than the stored one ever would in that time.

    From close to open: a crash happens inside bars, even one to a hundredth.
    """
    n_steps = (first.index[0] - stored.index[-1]) / step
    unlikely = FAR_MOVE * typical_return(stored)[-1] * np.sqrt(n_steps)
    return bool(abs(np.log(first["open"].item() / stored["close"].iloc[-1])) > max(OTHER_LEVEL_AT_A_STEP, unlikely))


def _rewritten(bars: pd.DataFrame, stored: pd.DataFrame, common: tuple[Ints, Ints]) -> Iterator[Finding]:
    rows, stored_rows = common
    differs = np.zeros(len(bars), dtype=bool)
    for name in OHLCV:
        differs[rows] |= _differ(bars[name].to_numpy()[rows], stored[name].to_numpy()[stored_rows])
    is_gone = ~np.isin(np.arange(len(stored)), stored_rows)
    restated = "values differ from those stored the night before: the source corrected its history, or is another one"
    yield from _finding(Suspicion.RESTATED_BAR, pd.DatetimeIndex(bars.index), differs, restated)
    gone = "stored the night before and gone tonight: the history got shorter"
    yield from _finding(Suspicion.VANISHED_BAR, pd.DatetimeIndex(stored.index), is_gone, gone)


def _common(bars: pd.DataFrame, stored: pd.DataFrame) -> tuple[Ints, Ints]:
    """Positions in either of the times that both have."""
    _, rows, stored_rows = np.intersect1d(nanoseconds(bars), nanoseconds(stored), assume_unique=True, return_indices=True)
    return rows, stored_rows


def _differ(ours: Floats, theirs: Floats) -> Bools:
    return np.asarray(np.abs(ours - theirs) > SAME_VALUE * np.abs(theirs))
