"""A feature is a value: a name, a family, a lookback and one line of arithmetic.

>>> import talib
>>> def distance_to_sma(window: int) -> Feature:
...     "Close relative to its simple moving average."
...     return Feature(f"distance_to_sma_{window}", Family.TREND, window,
...                    lambda bars: bars.close / talib.SMA(bars.close, window) - 1)
>>> distance_to_sma(20).description
'Close relative to its simple moving average.'
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property, wraps
from math import ceil, log
from typing import Concatenate, ParamSpec, TypeVar, cast

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Bools, Floats, Ints

START_WEIGHT = 1e-9
"""Weight of its starting value that a recursive indicator still carries at the end of its warm-up.

A thousandth of the 1e-6 by which two starts may differ: a crash of many ordinary bars' size may lie before one.
"""

DIGITS = 10
"""Decimal digits of a price that are told apart: more than any exchange quotes."""
DAY = pd.Timedelta(days=1)

P = ParamSpec("P")
R = TypeVar("R")


class Family(StrEnum):
    """What a feature looks at."""

    TREND = "trend"
    MOMENTUM = "momentum"
    VOLATILITY = "volatility"
    VOLUME = "volume"
    PRICE_ACTION = "price_action"
    STATISTICAL = "statistical"
    CALENDAR = "calendar"
    CROSS_MARKET = "cross_market"


@dataclass(frozen=True, eq=False)
class Bars:
    """The bars of one segment: no hole between them, so that a window is a stretch of time.

    Prices and volume are (n,) float64, C-contiguous, finite and read-only. What several features need is computed once
    and kept. Element 0 of a change (`log_return` ...) has no bar before it and is 0: a lookback of window + 1 keeps it
    out of sight.
    """

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    open_time: pd.DatetimeIndex
    """UTC."""
    interval: pd.Timedelta
    market: pd.DataFrame | None = None
    """Closes of the other coins on these bars: one column each, NaN where a coin has no bar; None without others."""
    feeds: pd.DataFrame | None = None
    """Feed values known at the close of these bars: one column each, NaN where it is unknown; None without feeds."""

    def __len__(self) -> int:
        return len(self.close)

    def part(self, rows: slice) -> "Bars":
        """Some consecutive bars, which know nothing of the others."""
        opening, high, low, close, volume = (
            column[rows] for column in (self.open, self.high, self.low, self.close, self.volume)
        )
        market, feeds = (None if table is None else table.iloc[rows] for table in (self.market, self.feeds))
        return Bars(opening, high, low, close, volume, self.open_time[rows], self.interval, market, feeds)

    def feed(self, name: str) -> Floats:
        """Feed values of that column known at each close: (n,), NaN where unknown, everywhere where there is no such column."""
        if self.feeds is None or name not in self.feeds:
            return np.full(len(self), np.nan)
        return np.ascontiguousarray(self.feeds[name], dtype=np.float64)

    @cached_property
    def relative(self) -> "Bars":
        """The same bars with prices near 1: TA-Lib calls variances and ranges below 1e-14 zero, small coins have them.

        The unit is a power of two, so that no digit is lost and equal moves stay equal wherever the segment starts.
        """
        unit = 2.0 ** np.floor(np.log2(self.close[0]))
        return replace(self, open=self.open / unit, high=self.high / unit, low=self.low / unit, close=self.close / unit)

    @cached_property
    def in_ticks(self) -> "Bars":
        """The same bars with decimal prices as whole numbers: the sums of these are exact, and equal moves stay equal.

        The tick is a power of ten, ten digits below the leading one of the first close. Prices with more digits are
        rounded to it.
        """
        tick = 10.0 ** (np.floor(np.log10(self.close[0])) - DIGITS)
        prices = (np.rint(price / tick) for price in (self.open, self.high, self.low, self.close))
        return replace(self, **dict(zip(("open", "high", "low", "close"), prices, strict=True)))

    @cached_property
    def close_time(self) -> Ints:
        """Moment at which each bar closes and its row becomes known: nanoseconds since 1970, UTC."""
        opens: Ints = self.open_time.as_unit("ns").asi8
        return opens + self.interval.value

    def longer(self, multiple: int) -> "Bars":
        """The whole bars of the clock that are `multiple` times as long and end in this segment; made once.

        Four hourly bars open at 00, 04 ... UTC. One that began before the segment is not whole.
        """
        if multiple not in self._longer:
            self._longer[multiple] = _longer_bars(self, multiple)
        return self._longer[multiple]

    def latest_ended(self, multiple: int) -> Ints:
        """Position in `longer` of the latest one that has ended when each bar closes, -1 before the first: (n,)."""
        since_first = np.arange(1, len(self) + 1) - _first_whole(self, multiple)
        return np.maximum(since_first // multiple - 1, -1)

    @cached_property
    def _longer(self) -> dict[int, "Bars"]:
        return {}

    @cached_property
    def memory(self) -> dict[Hashable, object]:
        """Results of `remembered` functions on these bars, by function and arguments."""
        return {}

    @cached_property
    def bars_per_day(self) -> int:
        """Bars in 24 hours, at least 1."""
        return max(int(DAY / self.interval), 1)

    @cached_property
    def typical_price(self) -> Floats:
        """Mean of high, low and close."""
        return (self.high + self.low + self.close) / 3

    @cached_property
    def log_close(self) -> Floats:
        """Natural logarithm of the close."""
        return np.log(self.close)

    @cached_property
    def log_return(self) -> Floats:
        """Close-to-close log return; 0 on the first bar."""
        return np.diff(self.log_close, prepend=self.log_close[0])

    @cached_property
    def log_range(self) -> Floats:
        """Log of high over low."""
        return np.log(self.high) - np.log(self.low)

    @cached_property
    def previous_close(self) -> Floats:
        """Close of the bar before; the first bar's own open stands in for the missing one."""
        return np.concatenate([self.open[:1], self.close[:-1]])

    @cached_property
    def true_range(self) -> Floats:
        """Largest of high - low and the distances of high and low to the previous close, in price."""
        return np.maximum(self.high, self.previous_close) - np.minimum(self.low, self.previous_close)

    @cached_property
    def is_traded(self) -> Bools:
        """Where anything was traded."""
        return self.volume > 0

    @cached_property
    def traded(self) -> Floats:
        """1 where anything was traded, else 0."""
        return self.is_traded.astype(np.float64)

    @cached_property
    def log_volume(self) -> Floats:
        """Log volume where anything was traded, else 0: to be counted with `traded`."""
        return np.log(np.where(self.is_traded, self.volume, 1.0))

    @cached_property
    def market_log_returns(self) -> Floats:
        """Close-to-close log returns of the other coins: (coins, n), NaN unless a coin has both bars."""
        if self.market is None or self.market.shape[1] == 0:
            return np.full((1, len(self)), np.nan)
        closes = np.log(np.ascontiguousarray(self.market.to_numpy(np.float64).T))
        return np.diff(closes, axis=1, prepend=np.full((len(closes), 1), np.nan))

    @cached_property
    def market_log_return(self) -> Floats:
        """Mean log return of the other coins that have the bar: (n,), NaN where none has it."""
        is_known = np.isfinite(self.market_log_returns)
        n_known = is_known.sum(axis=0)
        total = np.where(is_known, self.market_log_returns, 0.0).sum(axis=0)
        return np.where(n_known > 0, total / np.maximum(n_known, 1), np.nan)


@dataclass(frozen=True, eq=False)
class Feature:
    """One column of the table that models learn from: `compute` takes `Bars` and gives (n,) floats.

    A value needs `lookback` bars, its own among them. A recursive indicator (EMA, Wilder) remembers its start for
    longer: `warm_up` more bars bring values with different starts to 1e-6 of each other. Before both have passed a row
    is NaN. A feature has no unit of price or volume, so that one year's values can be compared with another's.
    """

    name: str
    family: Family
    lookback: int
    compute: Callable[[Bars], Floats]
    warm_up: int = 0
    summary: str = ""

    def __post_init__(self) -> None:
        if self.lookback < 1 or self.warm_up < 0:
            raise ValueError(f"{self.name}: lookback {self.lookback} must be at least 1, warm_up {self.warm_up} at least 0")

    @property
    def bars_needed(self) -> int:
        """Bars that a value needs in all: lookback and warm-up."""
        return self.lookback + self.warm_up

    @property
    def description(self) -> str:
        """The `summary`, or the first line of the docstring of `compute` or of the factory that made it."""
        return self.summary or _first_line(self.compute) or _first_line(_factory(self.compute))


def remembered(compute: Callable[Concatenate[Bars, P], R]) -> Callable[Concatenate[Bars, P], R]:
    """The function, whose result is made once for the same bars and arguments: several features stand on it."""

    @wraps(compute)
    def look_up(bars: Bars, /, *arguments: P.args, **named: P.kwargs) -> R:
        key = (compute, arguments, tuple(named.items()))
        if key not in bars.memory:
            bars.memory[key] = compute(bars, *arguments, **named)
        return cast("R", bars.memory[key])

    return cast("Callable[Concatenate[Bars, P], R]", look_up)


def _first_whole(bars: Bars, multiple: int) -> int:
    """First bar that opens together with one `multiple` times as long."""
    into = int(bars.open_time[:1].as_unit("ns").asi8[0]) // bars.interval.value % multiple
    return -into % multiple


def _longer_bars(bars: Bars, multiple: int) -> Bars:
    first = _first_whole(bars, multiple)
    n_whole = max(len(bars) - first, 0) // multiple
    rows = slice(first, first + n_whole * multiple)
    opening, high, low, close, volume = (
        column[rows].reshape(n_whole, multiple) for column in (bars.open, bars.high, bars.low, bars.close, bars.volume)
    )
    last = slice(first + multiple - 1, rows.stop, multiple)
    return Bars(
        opening[:, 0].copy(),
        high.max(axis=1),
        low.min(axis=1),
        close[:, -1].copy(),
        volume.sum(axis=1),
        open_time=bars.open_time[rows][::multiple],
        interval=bars.interval * multiple,
        market=None if bars.market is None else bars.market.iloc[last],
        feeds=None if bars.feeds is None else bars.feeds.iloc[last],
    )


def ema_warm_up(window: int) -> int:
    """Bars until an exponential average of smoothing 2 / (window + 1) has forgotten its start."""
    return ceil(log(START_WEIGHT) / log(1 - 2 / (window + 1)))


def wilder_warm_up(window: int) -> int:
    """Bars until a Wilder average, smoothing 1 / window, has forgotten its start (Wilder 1978)."""
    return ceil(log(START_WEIGHT) / log(1 - 1 / window))


def _factory(compute: object) -> object:
    name = getattr(compute, "__qualname__", "").split(".<locals>")[0]
    return getattr(compute, "__globals__", {}).get(name)


def _first_line(thing: object) -> str:
    return (getattr(thing, "__doc__", None) or "").strip().split("\n")[0]
