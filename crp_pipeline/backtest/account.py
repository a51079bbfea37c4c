"""An account as a prop firm sees it: balance and worst equity of every bar, and the firm's days.

Bars are stamped by their open and know their equity at their close. Midnights of a time zone whose offset is whole
hours fall between bars of up to an hour. A longer bar that straddles a midnight is held against the limits of both
days, and the balance at the midnight inside it is the higher of those before and after its exits.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crp_pipeline.backtest.execution import bar_length_ns
from crp_pipeline.contracts import Bools, Floats, Ints
from crp_pipeline.errors import DataContractError

_SAME_BOOKS = 1e-6
"""Share of the initial balance by which equity and closed trades may differ; a balance of no more is none."""


@dataclass(frozen=True, eq=False)
class AccountPath:
    """n bars and m closed trades; a day is the number of its date since 1970 in the firm's time zone."""

    time: pd.DatetimeIndex
    worst: Floats
    """(n,) lowest known equity of each bar, its close included."""
    before: Floats
    """(n,) balance without the bar's own exits."""
    after: Floats
    """(n,) balance with them."""
    opens: Ints
    """(n,) day in which each bar opens."""
    closes: Ints
    """(n,) day in which it closes."""
    entry: Ints
    """(m,) bar of each entry."""
    leave: Ints
    """(m,) bar of each exit."""
    at_open: Bools
    """(m,) whether the exit was at the bar's open: the next position opens there."""
    balance: Floats
    """(m,) balance after each exit."""


@dataclass(frozen=True, eq=False)
class AccountDays:
    """What each of d days did to an account that began it with a balance of 1, (d,) each."""

    gain: Floats
    """Return of balance."""
    drop: Floats
    """Deepest fall of equity below the balance of the midnight before; negative where it stayed above."""
    opened: Bools
    closed: Bools


def account_path(
    equity: "pd.Series[float]", worst_equity: "pd.Series[float]", trades: pd.DataFrame, *, initial: float, timezone: str
) -> AccountPath:
    """Bars and trades as arrays; arguments as in `rules.challenge`.

    Raises `DataContractError` where they contradict each other.
    """
    time = _times(equity, worst_equity)
    if not (math.isfinite(initial) and initial > 0):
        raise DataContractError(f"initial = {initial} is not a balance: it must be positive")
    entry, leave = _bars_of(trades, time)
    balance = initial + np.cumsum(trades["pnl"].to_numpy(dtype=float))
    at_open = np.r_[entry[1:] == leave[:-1], False][: len(entry)]
    _require_same_books(equity, balance[~at_open], leave[~at_open], initial)
    course, bars = np.r_[initial, balance], np.arange(len(time))
    return AccountPath(
        time=time,
        worst=np.minimum(worst_equity.to_numpy(dtype=float), equity.to_numpy(dtype=float)),
        before=course[np.searchsorted(leave, bars, side="left")],
        after=course[np.searchsorted(leave, bars, side="right")],
        opens=_day(time, timezone),
        closes=_day(time + pd.Timedelta(bar_length_ns(time) - 1, "ns"), timezone),
        entry=entry,
        leave=leave,
        at_open=at_open,
        balance=balance,
    )


def midnight_balance(path: AccountPath, start: int, base: float) -> Floats:
    """Balance that each bar's daily limit is taken from, (n - start,), of an account that begins bar `start` with `base`."""
    before, after = path.before[start:].copy(), path.after[start:]
    before[:1] = base
    opens, closes = path.opens[start:], path.closes[start:]
    straddles, follows = opens != closes, np.r_[True, opens[1:] == closes[:-1]][: len(after)]
    begins = np.r_[True, np.diff(closes) > 0][: len(after)]
    of_day = np.where(straddles, np.maximum(before, after), before)[begins][np.cumsum(begins) - 1]
    of_day_before = np.where(follows, np.r_[base, of_day[:-1]][: len(after)], before)
    return np.asarray(np.where(straddles, np.maximum(of_day, of_day_before), of_day))


def account_days(path: AccountPath) -> AccountDays:
    """The days that have bars, in order, up to ruin; a bar belongs to the day that it closes in."""
    first = np.flatnonzero(np.r_[True, np.diff(path.closes) > 0])
    day = np.searchsorted(first, np.arange(len(path.time)), side="right") - 1
    initial = float(path.before[0])
    start, end = path.before[first], path.after[np.r_[first[1:] - 1, len(path.time) - 1]]
    fall = np.maximum.reduceat(midnight_balance(path, 0, initial) - path.worst, first)
    # the results of a ruined account add up to nothing but for their rounding
    ruined = start <= _SAME_BOOKS * initial
    alive = int(np.argmax(ruined)) if ruined.any() else len(start)
    opened, closed = (np.bincount(day[bars], minlength=len(first)) > 0 for bars in (path.entry, path.leave))
    start, end, fall = start[:alive], end[:alive], fall[:alive]
    return AccountDays(gain=end / start - 1, drop=fall / start, opened=opened[:alive], closed=closed[:alive])


def _times(equity: "pd.Series[float]", worst_equity: "pd.Series[float]") -> pd.DatetimeIndex:
    """The bars' open times, when both series can be a path over them."""
    time = equity.index
    if not isinstance(time, pd.DatetimeIndex) or time.tz is None or not len(time):
        raise DataContractError(f"equity: must have rows indexed by open_time in UTC, got {len(time)} of {time.dtype}")
    if not (time.is_monotonic_increasing and time.is_unique):
        raise DataContractError("equity: open_time is not strictly increasing")
    if not time.equals(worst_equity.index):
        raise DataContractError(f"worst_equity: its {len(worst_equity)} rows are not the {len(time)} bars of equity")
    for name, values in (("equity", equity), ("worst_equity", worst_equity)):
        if not (known := np.isfinite(values)).all():
            raise DataContractError(f"{name}: {values[~known].iloc[0]} at {time[~known][0]} is not an amount of money")
    return time.as_unit("ns")


def _bars_of(trades: pd.DataFrame, time: pd.DatetimeIndex) -> tuple[Ints, Ints]:
    """Bars of the entries and the exits, (m,) each."""
    entry, leave = (time.get_indexer(pd.DatetimeIndex(trades[name])).astype(np.int64) for name in ("entry_time", "exit_time"))
    lost = (entry < 0) | (leave < 0)
    if lost.any():
        raise DataContractError(f"trades: row {int(np.argmax(lost))} enters or leaves at a time that is no bar of equity")
    overlaps = np.r_[False, (entry[1:] < leave[:-1]) | (entry[1:] == entry[:-1])][: len(entry)] | (leave < entry)
    if overlaps.any():
        raise DataContractError(
            f"trades: row {int(np.argmax(overlaps))} enters before the row above it, or it itself, has left"
        )
    return entry, leave


def _require_same_books(equity: "pd.Series[float]", balance: Floats, flat: Ints, initial: float) -> None:
    """Raises `DataContractError` unless equity is the balance at the close of each bar that leaves the account flat.

    After the last exit a position may have been opened at the same open and still be there, so that bar is not asked.
    """
    asked = slice(0, len(flat) - 1) if len(flat) else slice(0)
    wrong = np.abs(equity.to_numpy(dtype=float)[flat[asked]] - balance[asked]) > _SAME_BOOKS * initial
    if wrong.any():
        bar, expected = int(flat[asked][wrong][0]), float(balance[asked][wrong][0])
        raise DataContractError(
            f"equity: {equity.iloc[bar]:.8g} at {equity.index[bar]}, where initial and the closed trades give {expected:.8g}"
        )


def _day(time: pd.DatetimeIndex, timezone: str) -> Ints:
    """Number of each moment's local date, counted from 1970."""
    local = time.tz_convert(timezone).tz_localize(None).as_unit("ns")
    return np.asarray(local.asi8 // pd.Timedelta("1D").value)
