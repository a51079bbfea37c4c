"""Supertrend, the trailing band that a close must break to turn the trend (Seban), without a memory of its start.

Each band follows from the one before, so that as usually written a value depends on where the history begins. Here the
walk starts anew at every 64th bar of the clock and is read from 64 to 127 bars after its start: two walks overlap, and a
value is the same to the bit wherever the segment starts. The range is a plain mean of true ranges for the same reason.
"""

from collections.abc import Callable
from functools import cache
from typing import cast

import numpy as np

from crp_pipeline.contracts import Floats
from crp_pipeline.features.feature import Bars, Family, Feature, remembered
from crp_pipeline.features.rolling import rolling_mean

WALK = 64
"""Bars from one start to the next; walks start at bars that open a multiple of 64 intervals after 1970."""

Walk = Callable[[Floats, Floats, Floats, int, int, Floats, Floats], None]


def supertrend_distance(window: int, multiplier: float) -> Feature:
    """Close less its supertrend band, over the close: above 0 in a rising trend, below in a falling one."""
    return Feature(
        f"supertrend_distance_{window}_{multiplier:g}",
        Family.TREND,
        _lookback(window),
        lambda bars: 1 - _supertrend(bars, window, multiplier)[0] / bars.close,
    )


def supertrend_side(window: int, multiplier: float) -> Feature:
    """Side of the supertrend: 1 while its band lies below the close, -1 while it lies above."""
    return Feature(
        f"supertrend_side_{window}_{multiplier:g}",
        Family.TREND,
        _lookback(window),
        lambda bars: _supertrend(bars, window, multiplier)[1],
    )


def _lookback(window: int) -> int:
    """The longest walk, the ranges at its first bar and the close before these."""
    return 2 * WALK + window


@remembered
def _supertrend(bars: Bars, window: int, multiplier: float) -> tuple[Floats, Floats]:
    """Band and side, (n,) each; NaN where the walk would start before the first known range."""
    band, side = np.full(len(bars), np.nan), np.full(len(bars), np.nan)
    clock = bars.open_time[0].value // bars.interval.value
    first = window + -(clock + window) % WALK
    _compiled_walk()(
        bars.close, (bars.high + bars.low) / 2, multiplier * rolling_mean(bars.true_range, window), first, WALK, band, side
    )
    return band, side


@cache
def _compiled_walk() -> Walk:
    from numba import njit

    return cast("Walk", njit(cache=True)(_walk_twice))


def _walk_twice(close: Floats, middle: Floats, reach: Floats, first: int, walk: int, band: Floats, side: Floats) -> None:
    """From `first` and every `walk` bars on, walk twice as far and write the second half."""
    n = len(close)
    for start in range(first, n - walk, walk):
        below, above = middle[start] - reach[start], middle[start] + reach[start]
        rises = close[start] >= middle[start]
        for t in range(start + 1, min(start + 2 * walk, n)):
            if close[t - 1] < below or middle[t] - reach[t] > below:
                below = middle[t] - reach[t]
            if close[t - 1] > above or middle[t] + reach[t] < above:
                above = middle[t] + reach[t]
            rises = close[t] >= below if rises else close[t] > above
            if t >= start + walk:
                band[t], side[t] = (below, 1.0) if rises else (above, -1.0)
