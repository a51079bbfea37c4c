"""Finds stamps that are bars or hours off, by asking at which lag the returns of two price histories agree.

Returns of one bar in one market, or in one coin on two nights, agree at lag 0. A file that stamps a bar by its close, or
by a local clock, agrees at another lag, wherever that clock was in force: so each block of bars is asked by itself.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Bools, Floats, Ints

LARGEST_UTC_OFFSET = pd.Timedelta(hours=14)
"""No local clock is further from UTC."""
MIN_BLOCK = 512
"""Bars that are judged together: correlations of unrelated returns then have a standard error of 0.044."""
MIN_AGREEMENT = 0.3
"""Correlation at the best lag: seven standard errors. Large coins agree at 0.5 to 0.9 within any three weeks of hours."""
MAX_SHARE_IN_PLACE = 0.5
"""Correlation at lag 0 over that at the best lag: followers that trail the market by a bar stay above this."""
MIN_COMMON = MIN_BLOCK // 2
"""Bars of a block that both histories must have."""
CLIP = 5.0
"""Returns beyond this many typical ones count as this many, so that one crash does not decide a block."""


class Shift(NamedTuple):
    """Where one history's stamps are off against another's, and by how much."""

    rows: Bools
    """(n,) True in blocks that agree best at another lag."""
    n_bars: int
    """Bars by which the history is late there, negative where it is early; the most frequent, 0 where there is none."""


def clock_shift(times: Ints, returns: Floats, reference_times: Ints, reference: Floats, *, step: int) -> Shift:
    """Blocks in which returns (n,) agree with a reference at a lag of some bars and not at the same time.

    `times` and `reference_times` are open times in nanoseconds, strictly rising on the grid of `step`; lags reach as far
    as `LARGEST_UTC_OFFSET`, one bar at least. A return that is NaN is not there. Blocks are counted back from the newest
    bar that both have, so that it is the oldest ones that may be too few to be judged.
    """
    max_lag = max(1, int(LARGEST_UTC_OFFSET.value // step))
    rows = np.zeros(len(times), dtype=bool)
    if not len(times) or not len(reference_times):
        return Shift(rows, 0)
    size, end = max(MIN_BLOCK, 4 * max_lag), int(min(times[-1], reference_times[-1])) + step
    n_blocks = max(1, -(-(end - int(times[0])) // (step * size)))
    start = end - n_blocks * size * step
    position = (times - start) // step
    own = _on_grid(position, returns, n_blocks * size)
    other = _on_grid((reference_times - start) // step, reference, n_blocks * size)
    lag = _lags(own.reshape(n_blocks, size), other.reshape(n_blocks, size), max_lag)
    if not lag.any():
        return Shift(rows, 0)
    found, counts = np.unique(lag[lag != 0], return_counts=True)
    rows = np.asarray(lag[np.clip(position // size, 0, n_blocks - 1)] != 0)
    return Shift(rows, int(found[counts.argmax()]))


def mean_return(closes: pd.DataFrame) -> Floats:
    """(n,) mean over the columns of each one's return in typical returns; NaN where no column has one."""
    returns = np.log(closes.to_numpy(dtype="float64"))
    returns = np.diff(returns, axis=0, prepend=np.nan)
    typical = np.array([_typical(column) for column in returns.T])
    clipped = np.clip(returns / typical, -CLIP, CLIP)
    n_known = (~np.isnan(clipped)).sum(axis=1)
    return np.asarray(np.where(n_known > 0, np.nansum(clipped, axis=1) / np.maximum(n_known, 1), np.nan))


def _on_grid(position: Ints, values: Floats, length: int) -> Floats:
    """(length,) clipped values at their positions, NaN where there is none."""
    inside = (position >= 0) & (position < length)
    grid = np.full(length, np.nan)
    grid[position[inside]] = np.clip(values[inside] / _typical(values), -CLIP, CLIP)
    return grid


def _typical(values: Floats) -> float:
    moved = np.abs(values[np.isfinite(values) & (values != 0)])
    return float(np.median(moved)) if len(moved) else 1.0


def _lags(own: Floats, other: Floats, max_lag: int) -> Ints:
    """(n_blocks,) lag of agreement; 0 where no other is better than that in place, or the block has too few bars."""
    both = np.asarray(np.isfinite(own) & np.isfinite(other)).sum(axis=1)
    judged = both >= MIN_COMMON
    agreement = _agreement(np.nan_to_num(own), np.nan_to_num(other), max_lag)
    best = agreement.argmax(axis=1)
    highest, in_place = agreement[np.arange(len(own)), best], agreement[:, max_lag]
    is_off = judged & (highest >= MIN_AGREEMENT) & (in_place < MAX_SHARE_IN_PLACE * highest)
    return np.where(is_off, best - max_lag, 0)


def _agreement(own: Floats, other: Floats, max_lag: int) -> Floats:
    """(n_blocks, 2 * max_lag + 1) correlation of each block's own returns with those of the other `lag` bars before."""
    length = 1 << int(np.ceil(np.log2(own.shape[1] + max_lag + 1)))
    product = np.fft.rfft(own, length) * np.conj(np.fft.rfft(other, length))
    circular = np.fft.irfft(product, length)
    lags = np.concatenate([circular[:, -max_lag:], circular[:, : max_lag + 1]], axis=1)
    norm = np.sqrt((own**2).sum(axis=1) * (other**2).sum(axis=1))
    return np.asarray(lags / np.maximum(norm, np.finfo(float).tiny)[:, None])
