"""How far and how fast the price moved."""

import numpy as np
import talib

from crp_pipeline.contracts import Floats
from crp_pipeline.features.feature import Bars, Family, Feature, wilder_warm_up
from crp_pipeline.features.rolling import (
    highest,
    lowest,
    range_position,
    ratio,
    rolling_mean,
    rolling_std,
    rolling_sum,
    shift,
)


def log_return(bars_back: int) -> Feature:
    """Log return of the close over the last bars."""
    return Feature(
        f"log_return_{bars_back}",
        Family.MOMENTUM,
        bars_back + 1,
        lambda bars: bars.log_close - shift(bars.log_close, bars_back),
    )


def rate_of_change(bars_back: int) -> Feature:
    """Relative change of the close over the last bars."""
    return Feature(
        f"rate_of_change_{bars_back}",
        Family.MOMENTUM,
        bars_back + 1,
        lambda bars: talib.ROC(bars.close, bars_back) / 100,
    )


def return_over_volatility(window: int) -> Feature:
    """Return over the window in standard deviations of a random walk of as many bars; 0 in a flat window."""
    return Feature(
        f"return_over_volatility_{window}",
        Family.MOMENTUM,
        window + 1,
        lambda bars: ratio(rolling_sum(bars.log_return, window), rolling_std(bars.log_return, window) * np.sqrt(window)),
    )


def acceleration(window: int) -> Feature:
    """Log return over the window less that of the window before."""
    return Feature(
        f"acceleration_{window}",
        Family.MOMENTUM,
        2 * window + 1,
        lambda bars: bars.log_close - 2 * shift(bars.log_close, window) + shift(bars.log_close, 2 * window),
    )


def rsi(window: int) -> Feature:
    """Relative strength index around its middle, -1/2 to 1/2; 0 when nothing ever moved (Wilder 1978)."""
    # talib.RSI calls a flat market fully oversold; Chande's CMO is twice the centred RSI and calls it neutral
    return Feature(
        f"rsi_{window}",
        Family.MOMENTUM,
        window + 1,
        lambda bars: talib.CMO(bars.relative.close, window) / 200,
        warm_up=wilder_warm_up(window),
    )


def stochastic_k(window: int, smoothing: int) -> Feature:
    """Mean over a few bars of the close's place in the window's range, 0 to 1 (Lane's slow %K)."""
    return Feature(
        f"stochastic_k_{window}_{smoothing}",
        Family.MOMENTUM,
        window + smoothing - 1,
        lambda bars: rolling_mean(range_position(bars.close, bars.high, bars.low, window), smoothing),
    )


def stochastic_d(window: int, smoothing: int) -> Feature:
    """Slow %K averaged once more, 0 to 1 (Lane's slow %D)."""
    return Feature(
        f"stochastic_d_{window}_{smoothing}",
        Family.MOMENTUM,
        window + 2 * (smoothing - 1),
        lambda bars: _twice_smoothed(range_position(bars.close, bars.high, bars.low, window), smoothing),
    )


def williams_r(window: int) -> Feature:
    """Close below the window's highest high in units of its range, -1 to 0; -1/2 in a flat window (Williams 1973)."""
    return Feature(
        f"williams_r_{window}",
        Family.MOMENTUM,
        window,
        lambda bars: range_position(bars.close, bars.high, bars.low, window) - 1,
    )


def commodity_channel_index(window: int) -> Feature:
    """Typical price against its mean in mean deviations, over 100; 0 in a flat window (Lambert 1980)."""
    return Feature(
        f"commodity_channel_index_{window}",
        Family.MOMENTUM,
        window,
        lambda bars: _commodity_channel_index(bars, window),
    )


def up_share(window: int) -> Feature:
    """Share of bars in the window that closed above the bar before."""
    return Feature(
        f"up_share_{window}",
        Family.MOMENTUM,
        window + 1,
        lambda bars: rolling_mean((bars.log_return > 0).astype(np.float64), window),
    )


def _twice_smoothed(values: Floats, smoothing: int) -> Floats:
    return rolling_mean(rolling_mean(values, smoothing), smoothing)


def _commodity_channel_index(bars: Bars, window: int) -> Floats:
    # in a flat window talib.CCI divides one rounding error by another
    is_flat = highest(bars.typical_price, window) == lowest(bars.typical_price, window)
    return np.where(is_flat, 0.0, talib.CCI(bars.high, bars.low, bars.close, window) / 100)


MOMENTUM = (
    *(log_return(bars_back) for bars_back in (1, 2, 4, 24, 72)),
    rate_of_change(10),
    *(return_over_volatility(window) for window in (12, 48)),
    acceleration(12),
    *(rsi(window) for window in (7, 14)),
    stochastic_k(14, 3),
    stochastic_d(14, 3),
    williams_r(14),
    commodity_channel_index(20),
    up_share(12),
)
