"""Arithmetic over trailing windows that stays finite where a market stands still.

Every function takes and returns (n,) arrays; value `t` depends on elements up to `t` only, bit for bit, and is NaN
where the window reaches back before the first element.
"""

import numpy as np
import talib

from crp_pipeline.contracts import Floats
from crp_pipeline.features.kernels import sum_by_doubling

ROUNDING = 1e-13
"""A variance below this share of the mean square is what rounding leaves of none."""


def ratio(numerator: Floats, denominator: Floats, otherwise: float = 0.0) -> Floats:
    """`numerator / denominator`, and `otherwise` where the denominator is zero: a flat bar, a bar without volume."""
    is_zero = denominator == 0
    return np.where(is_zero, otherwise, numerator / np.where(is_zero, 1.0, denominator))


def shift(values: Floats, bars: int) -> Floats:
    """The value `bars` bars ago."""
    shifted = np.full_like(values, np.nan)
    shifted[bars:] = values[: max(len(values) - bars, 0)]
    return shifted


def highest(values: Floats, window: int) -> Floats:
    """Largest value of the window."""
    result: Floats = talib.MAX(values, window)
    return result


def lowest(values: Floats, window: int) -> Floats:
    """Smallest value of the window."""
    result: Floats = talib.MIN(values, window)
    return result


def rolling_sum(values: Floats, window: int, step: int = 1) -> Floats:
    """Sum of the `window` elements that lie `step` apart and end here, made of those elements alone.

    A running sum keeps a rounding trace of everything that ever passed through it: after a busy hour a window of zeros
    does not sum to zero, and one NaN never leaves. See `kernels.sum_by_doubling` for what is done instead.
    """
    return sum_by_doubling(np.ascontiguousarray(values, dtype=np.float64), window, step)


def rolling_mean(values: Floats, window: int) -> Floats:
    """Mean of the window; exactly zero for a window of zeros."""
    return rolling_sum(values, window) / window


def rolling_variance(values: Floats, window: int) -> Floats:
    """Population variance of the window; exactly zero for a constant one."""
    return variance_of(rolling_mean(values, window), rolling_mean(values * values, window))


def variance_of(mean: Floats, mean_square: Floats) -> Floats:
    """Population variance of windows with this mean and mean square; exactly zero where only rounding is left."""
    variance = mean_square - mean * mean
    variance[variance <= ROUNDING * mean_square] = 0.0
    return variance


def rolling_std(values: Floats, window: int) -> Floats:
    """Population standard deviation of the window; exactly zero for a constant one."""
    return np.sqrt(rolling_variance(values, window))


def rolling_covariance(one: Floats, other: Floats, window: int) -> Floats:
    """Population covariance of two series over the window."""
    return rolling_mean(one * other, window) - rolling_mean(one, window) * rolling_mean(other, window)


def rolling_correlation(one: Floats, other: Floats, window: int) -> Floats:
    """Pearson correlation over the window, in [-1, 1]; 0 where one of the two stands still."""
    mean, other_mean = rolling_mean(one, window), rolling_mean(other, window)
    variance = variance_of(mean, rolling_mean(one * one, window))
    other_variance = variance_of(other_mean, rolling_mean(other * other, window))
    covariance = rolling_mean(one * other, window) - mean * other_mean
    return np.clip(ratio(covariance, np.sqrt(variance * other_variance)), -1.0, 1.0)


def rolling_zscore(values: Floats, window: int) -> Floats:
    """Distance of the last value to the window's mean, in its standard deviations; 0 in a constant window."""
    mean = rolling_mean(values, window)
    return ratio(values - mean, np.sqrt(variance_of(mean, rolling_mean(values * values, window))))


def rolling_rank(values: Floats, window: int) -> Floats:
    """Share of the `window` values before that lie below the last one less the share above it, -1 to 1."""
    below: Floats = talib.PERCENTRANK(values, window)
    above: Floats = talib.PERCENTRANK(-values, window)
    return (below - above) / 100


def range_position(close: Floats, high: Floats, low: Floats, window: int) -> Floats:
    """Where the close lies between the window's lowest low (0) and highest high (1); one half in a flat window."""
    bottom = lowest(low, window)
    return ratio(close - bottom, highest(high, window) - bottom, otherwise=0.5)
