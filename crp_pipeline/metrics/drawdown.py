"""How deep an equity curve fell below its peaks, and for how long. NaN without a curve or with a missing value."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from crp_pipeline.contracts import Floats, Ints

_DAY = pd.Timedelta(days=1)


def max_drawdown(equity: ArrayLike) -> float:
    """Deepest fall from a running peak, as a positive fraction of it; 0 for a curve that never falls, NaN for none."""
    depth = _depth(equity)
    return float(depth.max()) if len(depth) else float("nan")


def average_drawdown(equity: ArrayLike) -> float:
    """Mean depth of the drawdown episodes, each measured at its deepest.

    An episode runs from a peak to the recovery or the end. A positive fraction; 0 for a curve that never falls, NaN for
    none.
    """
    depth = _depth(equity)
    if not len(depth) or np.isnan(depth).any():
        return float("nan")
    episodes = _episodes(depth)
    return float(np.mean(np.maximum.reduceat(depth, episodes.first))) if len(episodes.first) else 0.0


def longest_drawdown_days(equity: "pd.Series[float]", *, initial: float | None = None) -> float:
    """Days of the longest time below a peak: from the last moment at the peak to the recovery, or to the end without one.

    `equity` is indexed by the open time of each bar and holds the value at its close; with `initial`, the equity at the
    first open, the curve can fall from there. 0 for a curve that never falls, NaN for none.
    """
    return float(_drawdown_days(equity, initial).max(initial=0.0))


def average_drawdown_days(equity: "pd.Series[float]", *, initial: float | None = None) -> float:
    """Mean days of the times below a peak, as `longest_drawdown_days` measures them; 0 for a curve that never falls."""
    days = _drawdown_days(equity, initial)
    return float(days.mean()) if len(days) else 0.0


def curve_days(equity: "pd.Series[float]") -> float:
    """Days from the first bar's open to the last bar's close; NaN below two bars, which do not say how long a bar is."""
    time = pd.DatetimeIndex(equity.index)
    return (time[-1] - time[0] + _bar(time)) / _DAY if len(time) > 1 else float("nan")


class _Episodes(NamedTuple):
    """First row below each peak, and the row of the recovery or the last row, (episodes,) each."""

    first: Ints
    end: Ints


def _depth(equity: ArrayLike) -> Floats:
    values = np.asarray(equity, dtype=float)
    return 1 - values / np.maximum.accumulate(values)


def _episodes(depth: Floats) -> _Episodes:
    under = np.r_[False, depth > 0, False]
    change = np.flatnonzero(under[1:] != under[:-1])
    return _Episodes(change[::2], np.minimum(change[1::2], len(depth) - 1))


def _drawdown_days(equity: "pd.Series[float]", initial: float | None) -> Floats:
    """Days of each episode, (episodes,); one NaN where they cannot be told."""
    time, values = pd.DatetimeIndex(equity.index), equity.to_numpy(dtype=float)
    if initial is not None and len(time) > 1:
        # the first open is where the close of a bar before it would be
        time, values = time.insert(0, time[0] - _bar(time)), np.r_[initial, values]
    depth = _depth(values)
    if len(depth) < 2 or np.isnan(depth).any():
        return np.full(1, np.nan)
    episodes = _episodes(depth)
    days: Floats = np.asarray((time[episodes.end] - time[episodes.first - 1]) / _DAY, dtype=float)
    return days


def _bar(time: pd.DatetimeIndex) -> pd.Timedelta:
    """How long a bar lasts: the shortest step, as holes only lengthen steps."""
    return pd.Timedelta(np.diff(time.asi8).min(), unit=time.unit)
