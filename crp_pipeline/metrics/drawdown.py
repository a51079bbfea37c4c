"""How deep an equity curve fell below its peaks, and for how long. NaN without a curve or with a missing value."""

from math import nan
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from crp_pipeline.contracts import Floats, Ints

_DAY = pd.Timedelta(days=1)


class Drawdowns(NamedTuple):
    """The times that a curve spent below its peaks; depths are positive fractions of the peak, 0 for a curve that never falls.

    An episode runs from a peak to the recovery, or to the end without one.
    """

    deepest: float
    average: float
    """Mean over the episodes, each at its deepest."""
    longest_days: float
    """From the last moment at a peak to the recovery or the end."""
    average_days: float


def max_drawdown(equity: ArrayLike) -> float:
    """Deepest fall from a running peak, as a positive fraction of it; 0 for a curve that never falls, NaN for none."""
    depth = _depth(equity)
    return float(depth.max()) if len(depth) else nan


def drawdowns(equity: "pd.Series[float]", *, initial: float | None = None) -> Drawdowns:
    """Depths and days of every time below a peak.

    `equity` is indexed by the open time of each bar and holds the value at its close; with `initial`, the equity at the
    first open, the curve can fall from there. Days are NaN below two bars, which do not say how long a bar is.
    """
    values, time = equity.to_numpy(dtype=float), pd.DatetimeIndex(equity.index)
    depth = _depth(values if initial is None else np.r_[initial, values])
    if not len(values) or np.isnan(depth).any():
        return Drawdowns(nan, nan, nan, nan)
    episodes = _episodes(depth)
    if not len(episodes.first):
        return Drawdowns(0.0, 0.0, *((0.0, 0.0) if len(time) > 1 else (nan, nan)))
    deepest, days = np.maximum.reduceat(depth, episodes.first), _days(episodes, time, has_initial=initial is not None)
    return Drawdowns(float(deepest.max()), float(deepest.mean()), float(days.max()), float(days.mean()))


def curve_days(equity: "pd.Series[float]") -> float:
    """Days from the first bar's open to the last bar's close; NaN below two bars, which do not say how long a bar is."""
    time = pd.DatetimeIndex(equity.index)
    return (time[-1] - time[0] + _bar(time)) / _DAY if len(time) > 1 else nan


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


def _days(episodes: _Episodes, time: pd.DatetimeIndex, *, has_initial: bool) -> Floats:
    """Days of each episode, (episodes,); one NaN where a bar has no length."""
    if len(time) < 2:
        return np.full(1, nan)
    # the first open is where the close of a bar before it would be
    at = time.insert(0, time[0] - _bar(time)) if has_initial else time
    days: Floats = np.asarray((at[episodes.end] - at[episodes.first - 1]) / _DAY, dtype=float)
    return days


def _bar(time: pd.DatetimeIndex) -> pd.Timedelta:
    """How long a bar lasts: the shortest step, as holes only lengthen steps."""
    return pd.Timedelta(np.diff(time.asi8).min(), unit=time.unit)
