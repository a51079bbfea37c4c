"""How far and how fast the price moved."""

import numpy as np
import talib

from crp_pipeline.contracts import Floats
from crp_pipeline.features.feature import Bars, Family, Feature, ema_warm_up, wilder_warm_up
from crp_pipeline.features.returns import return_std
from crp_pipeline.features.rolling import (
    highest,
    lowest,
    range_position,
    ratio,
    rolling_mean,
    rolling_rank,
    rolling_sum,
    shift,
)

STILL = 1e-6
"""Range of an index of -100 to 100 that rounding alone makes while the market is flat."""


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
        lambda bars: ratio(rolling_sum(bars.log_return, window), return_std(bars, window) * np.sqrt(window)),
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


def ultimate_oscillator(fast: int, middle: int, slow: int) -> Feature:
    """Buying pressure over three windows, weighted 4 : 2 : 1, 0 to 1; one half in a flat window (Williams 1985)."""
    return Feature(
        f"ultimate_oscillator_{fast}_{middle}_{slow}",
        Family.MOMENTUM,
        slow + 1,
        lambda bars: _ultimate_oscillator(bars, (fast, middle, slow)),
    )


def awesome_oscillator(fast: int, slow: int) -> Feature:
    """Difference of two simple averages of the bars' middles, over the close (Williams 1998)."""
    return Feature(
        f"awesome_oscillator_{fast}_{slow}",
        Family.MOMENTUM,
        slow,
        lambda bars: talib.AO(bars.high, bars.low, fast, slow) / bars.close,
    )


def balance_of_power(window: int) -> Feature:
    """Mean over the window of close less open over the bar's range, -1 to 1; 0 for a flat bar (Livshin 2001)."""
    return Feature(
        f"balance_of_power_{window}",
        Family.MOMENTUM,
        window,
        lambda bars: rolling_mean(ratio(bars.close - bars.open, bars.high - bars.low), window),
    )


def stochastic_rsi(window: int, range_window: int) -> Feature:
    """Place of the relative strength index in its own range, 0 to 1; one half where it stands still (Chande & Kroll 1994)."""
    return Feature(
        f"stochastic_rsi_{window}_{range_window}",
        Family.MOMENTUM,
        window + range_window,
        lambda bars: _stochastic_rsi(bars, window, range_window),
        warm_up=wilder_warm_up(window),
    )


def rsi_change(window: int, bars_back: int) -> Feature:
    """Change of the relative strength index over the last bars, -1 to 1."""
    return Feature(
        f"rsi_change_{window}_{bars_back}",
        Family.MOMENTUM,
        window + 1 + bars_back,
        lambda bars: _difference(talib.CMO(bars.relative.close, window) / 200, bars_back),
        warm_up=wilder_warm_up(window),
    )


def true_strength_index(slow: int, fast: int) -> Feature:
    """Twice averaged change of the close over its twice averaged size, -1 to 1; 0 when nothing ever moved (Blau 1991)."""
    return Feature(
        f"true_strength_index_{slow}_{fast}",
        Family.MOMENTUM,
        slow + fast,
        lambda bars: talib.TSI(bars.relative.close, slow, fast) / 100,
        warm_up=ema_warm_up(slow) + fast,
    )


def streak(longest: int) -> Feature:
    """Consecutive rising closes, falling ones counted below 0, over the longest that counts, -1 to 1."""
    return Feature(f"streak_{longest}", Family.MOMENTUM, longest + 1, lambda bars: _streak(bars.close, longest) / longest)


def return_rank(bars_back: int, window: int) -> Feature:
    """Share of the window's returns over as many bars that the last one exceeds, less the share above it, -1 to 1."""
    return Feature(
        f"return_rank_{bars_back}_{window}",
        Family.MOMENTUM,
        bars_back + window + 1,
        lambda bars: rolling_rank(_difference(bars.log_close, bars_back), window),
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


def _difference(values: Floats, bars_back: int) -> Floats:
    return values - shift(values, bars_back)


def _ultimate_oscillator(bars: Bars, windows: tuple[int, int, int]) -> Floats:
    # talib.ULTOSC divides running sums, which in a flat window keep the rounding of what passed through them
    pressure = bars.close - np.minimum(bars.low, bars.previous_close)
    fast, middle, slow = (
        ratio(rolling_sum(pressure, window), rolling_sum(bars.true_range, window), otherwise=0.5) for window in windows
    )
    return (4 * fast + 2 * middle + slow) / 7


def _stochastic_rsi(bars: Bars, window: int, range_window: int) -> Floats:
    strength: Floats = talib.CMO(bars.relative.close, window)
    bottom, top = lowest(strength, range_window), highest(strength, range_window)
    width = top - bottom
    return ratio(strength - bottom, np.where(width < STILL, 0.0, width), otherwise=0.5)


def _streak(close: Floats, longest: int) -> Floats:
    direction, position = np.sign(np.diff(close, prepend=close[0])), np.arange(len(close))
    turns = np.diff(direction, prepend=0.0) != 0
    since = np.maximum.accumulate(np.where(turns, position, 0))
    return np.minimum(position - since + 1, longest) * direction


MOMENTUM = (
    *(log_return(bars_back) for bars_back in (1, 2, 4, 8, 12, 24, 48, 72, 168)),
    rate_of_change(10),
    *(return_over_volatility(window) for window in (12, 48)),
    acceleration(12),
    *(rsi(window) for window in (7, 14)),
    stochastic_k(14, 3),
    stochastic_d(14, 3),
    williams_r(14),
    williams_r(48),
    commodity_channel_index(20),
    ultimate_oscillator(7, 14, 28),
    awesome_oscillator(5, 34),
    balance_of_power(14),
    stochastic_rsi(10, 14),
    rsi_change(10, 5),
    true_strength_index(24, 12),
    up_share(12),
    streak(12),
    return_rank(12, 96),
)
