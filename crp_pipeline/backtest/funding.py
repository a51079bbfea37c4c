"""Funding of perpetual contracts: what a position pays, or gets, for being held over a stamp of the exchange.

At each stamp a long pays `rate` times the notional at that moment to a short, the other way round for a negative rate. A stamp
belongs to the bar that it falls into. A position that was entered before the stamp and not left before it pays: one entered at
the open of the bar that begins at the stamp does not, one that leaves at that open does.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from crp_pipeline.backtest.execution import BPS, Bars, bar_length_ns
from crp_pipeline.candles.feeds import JITTER, JITTER_GRID
from crp_pipeline.contracts import Bools, Floats, Ints
from crp_pipeline.errors import DataContractError
from crp_pipeline.settings import ExecutionModel

EVERY = pd.Timedelta(hours=8)
"""The exchanges' usual stamps: 00, 08 and 16 UTC."""


class Funding(NamedTuple):
    """What one unit that is held long owes, in money, per bar; all of length 0 where nothing is ever charged."""

    at_open: Floats
    """(n,) At stamps that are the open of the bar."""
    inside: Floats
    """(n,) At stamps within the bar."""
    at_most: Floats
    """(n, 2) The most that a long and a short could owe of `inside`: whoever was stopped in the bar gets nothing of it."""


_NONE = Funding(np.empty(0), np.empty(0), np.empty((0, 2)))


def settled_rates(values: "pd.Series[float]") -> "pd.Series[float]":
    """Rates at the exchange's stamps from a feed of funding: missing ones and repeated stamps dropped, the first holds.

    A feed with one value per day, or any step beyond eight hours, holds means of the eight-hourly rate over the stretch that
    begins with the stamp: each is charged at every eight-hour stamp up to the next.
    """
    known = values.dropna()
    times = _without_jitter(pd.DatetimeIndex(known.index))
    known = known.set_axis(times)[~times.duplicated()].sort_index()
    if len(known) < 2:
        return known
    step = pd.Timedelta(int(np.median(np.diff(pd.DatetimeIndex(known.index).as_unit("ns").asi8))), unit="ns")
    if step <= EVERY:
        return known
    stamps = pd.date_range(known.index[0].ceil(EVERY), known.index[-1] + step, freq=EVERY, inclusive="left")
    return known.reindex(stamps, method="ffill", tolerance=step)


def funding_of(candles: pd.DataFrame, bars: Bars, execution: ExecutionModel, rates: "pd.Series[float] | None") -> Funding:
    """Rates laid over the candles; without a series the constant `funding_bps` at 00, 08 and 16 UTC.

    The price at a stamp within a bar lies on the straight line from its open to its close. Raises `DataContractError` for
    stamps that are not in UTC or not strictly increasing, and for a rate that is not within -1 and 1.
    """
    if rates is None and execution.funding_bps == 0:
        return _NONE
    index = pd.DatetimeIndex(candles.index)
    stamps, rate = _constant(index, execution) if rates is None else _checked(rates, execution)
    start, length = index.as_unit("ns").asi8, bar_length_ns(index)
    bar = np.searchsorted(start, stamps, side="right") - 1
    held: Bools = (bar >= 0) & (stamps < start[bar] + length)
    bar, rate, into = bar[held], rate[held], (stamps - start[bar])[held] / length
    paid = rate * (bars.open[bar] + into * (bars.close[bar] - bars.open[bar]))
    return _per_bar(bar, paid, into == 0, len(index))


def _per_bar(bar: Ints, paid: Floats, is_open: Bools, n: int) -> Funding:
    def total(which: Bools, money: Floats) -> Floats:
        return np.asarray(np.bincount(bar[which], money[which], minlength=n), dtype=np.float64)

    most = [total(~is_open, np.maximum(side * paid, 0.0)) for side in (1, -1)]
    return Funding(total(is_open, paid), total(~is_open, paid), np.ascontiguousarray(np.stack(most, axis=1)))


def _constant(index: pd.DatetimeIndex, execution: ExecutionModel) -> tuple[Ints, Floats]:
    times = index.tz_convert("UTC")
    if not len(times):
        return np.empty(0, np.int64), np.empty(0)
    last = times[-1] + pd.Timedelta(bar_length_ns(index), unit="ns")
    stamps = pd.date_range(times[0].floor(EVERY), last, freq=EVERY).as_unit("ns").asi8
    return stamps, np.full(len(stamps), execution.funding_bps * BPS)


def _checked(rates: "pd.Series[float]", execution: ExecutionModel) -> tuple[Ints, Floats]:
    index = rates.index
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise DataContractError(f"funding: the index must be stamps in UTC, got {index.dtype}")
    stamps: Ints = _without_jitter(index).as_unit("ns").asi8
    values: Floats = np.asarray(rates, dtype=np.float64)
    if (bad := ~(np.abs(values) < 1)).any():
        raise DataContractError(f"funding: the rate is {values[bad][0]} at {index[bad][0]}, not a fraction within -1 and 1")
    if (np.diff(stamps) <= 0).any():
        place = int(np.argmax(np.diff(stamps) <= 0)) + 1
        raise DataContractError(f"funding: the stamp {index[place]} is not after {index[place - 1]}")
    return stamps, execution.cost_factor * values


def _without_jitter(stamps: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """Stamps up to a second after a whole minute are that minute."""
    minute = stamps.floor(JITTER_GRID)
    return minute.where(stamps - minute <= JITTER, stamps)
