"""Where the price stands against its own averages and how straight it came there."""

import numpy as np
import talib

from crp_pipeline.contracts import Floats
from crp_pipeline.features.feature import Bars, Family, Feature, ema_warm_up, wilder_warm_up
from crp_pipeline.features.rolling import highest, lowest, ratio, rolling_std, rolling_sum, shift


def distance_to_sma(window: int) -> Feature:
    """Close relative to its simple moving average."""
    return Feature(
        f"distance_to_sma_{window}", Family.TREND, window, lambda bars: bars.close / talib.SMA(bars.close, window) - 1
    )


def distance_to_ema(window: int) -> Feature:
    """Close relative to its exponential moving average."""
    return Feature(
        f"distance_to_ema_{window}",
        Family.TREND,
        window,
        lambda bars: bars.close / talib.EMA(bars.close, window) - 1,
        warm_up=ema_warm_up(window),
    )


def distance_to_wma(window: int) -> Feature:
    """Close relative to its linearly weighted moving average."""
    return Feature(
        f"distance_to_wma_{window}", Family.TREND, window, lambda bars: bars.close / talib.WMA(bars.close, window) - 1
    )


def distance_to_dema(window: int) -> Feature:
    """Close relative to its double exponential moving average (Mulloy 1994)."""
    return Feature(
        f"distance_to_dema_{window}",
        Family.TREND,
        2 * window - 1,
        lambda bars: bars.close / talib.DEMA(bars.close, window) - 1,
        warm_up=ema_warm_up(window) + window,
    )


def sma_cross(fast: int, slow: int) -> Feature:
    """Fast simple moving average relative to the slow one."""
    return Feature(
        f"sma_cross_{fast}_{slow}",
        Family.TREND,
        slow,
        lambda bars: talib.SMA(bars.close, fast) / talib.SMA(bars.close, slow) - 1,
    )


def sma_slope(window: int, step: int) -> Feature:
    """Relative change of the simple moving average over the last few bars."""
    return Feature(
        f"sma_slope_{window}_{step}",
        Family.TREND,
        window + step,
        lambda bars: _change(talib.SMA(bars.close, window), step),
    )


def macd_line(fast: int, slow: int, signal: int) -> Feature:
    """Difference of two exponential averages over the close (Appel's MACD line)."""
    return Feature(
        f"macd_line_{fast}_{slow}_{signal}",
        Family.TREND,
        slow + signal - 1,
        lambda bars: talib.MACD(bars.close, fast, slow, signal)[0] / bars.close,
        warm_up=ema_warm_up(slow) - signal,
    )


def macd_histogram(fast: int, slow: int, signal: int) -> Feature:
    """MACD line less its own exponential average, over the close."""
    return Feature(
        f"macd_histogram_{fast}_{slow}_{signal}",
        Family.TREND,
        slow + signal - 1,
        lambda bars: talib.MACD(bars.close, fast, slow, signal)[2] / bars.close,
        warm_up=ema_warm_up(slow) - signal,
    )


def adx(window: int) -> Feature:
    """Average directional index, 0 (no trend) to 1 (Wilder 1978)."""
    return Feature(
        f"adx_{window}",
        Family.TREND,
        2 * window,
        lambda bars: talib.ADX(bars.relative.high, bars.relative.low, bars.relative.close, window) / 100,
        warm_up=wilder_warm_up(window) + 3 * window,
    )


def directional_difference(window: int) -> Feature:
    """Positive less negative directional indicator, -1 to 1 (Wilder 1978)."""
    return Feature(
        f"directional_difference_{window}",
        Family.TREND,
        window + 1,
        lambda bars: _directional_difference(bars.relative, window),
        warm_up=wilder_warm_up(window),
    )


def aroon_oscillator(window: int) -> Feature:
    """How much more recent the highest high is than the lowest low, -1 to 1 (Chande 1995)."""
    return Feature(
        f"aroon_oscillator_{window}",
        Family.TREND,
        window + 1,
        lambda bars: talib.AROONOSC(bars.high, bars.low, window) / 100,
    )


def regression_slope(window: int) -> Feature:
    """Slope of the least-squares line through the closes, per bar and over the close."""
    return Feature(
        f"regression_slope_{window}",
        Family.TREND,
        window,
        lambda bars: talib.LINEARREG_SLOPE(bars.relative.close, window) / bars.relative.close,
    )


def trend_correlation(window: int) -> Feature:
    """Correlation of the close with time over the window, -1 to 1; 0 in a flat window."""
    return Feature(f"trend_correlation_{window}", Family.TREND, window, lambda bars: _trend_correlation(bars, window))


def trix(window: int) -> Feature:
    """Change of a triple exponential average in percent per bar (Hutson 1983)."""
    return Feature(
        f"trix_{window}",
        Family.TREND,
        3 * window - 1,
        lambda bars: talib.TRIX(bars.close, window),
        warm_up=ema_warm_up(window) + 3 * window,
    )


def ichimoku_cross(fast: int, slow: int) -> Feature:
    """Conversion line less base line of Ichimoku, over the close; no span is shifted."""
    return Feature(
        f"ichimoku_cross_{fast}_{slow}",
        Family.TREND,
        slow,
        lambda bars: (_midpoint(bars, fast) - _midpoint(bars, slow)) / bars.close,
    )


def efficiency_ratio(window: int) -> Feature:
    """Net move over the path travelled, -1 to 1 (Kaufman 1995, with the sign kept); 0 in a flat window."""
    return Feature(
        f"efficiency_ratio_{window}",
        Family.TREND,
        window + 1,
        lambda bars: ratio(rolling_sum(bars.log_return, window), rolling_sum(np.abs(bars.log_return), window)),
    )


def _change(values: Floats, step: int) -> Floats:
    return values / shift(values, step) - 1


def _directional_difference(bars: Bars, window: int) -> Floats:
    plus: Floats = talib.PLUS_DI(bars.high, bars.low, bars.close, window)
    minus: Floats = talib.MINUS_DI(bars.high, bars.low, bars.close, window)
    return (plus - minus) / 100


def _trend_correlation(bars: Bars, window: int) -> Floats:
    slope: Floats = talib.LINEARREG_SLOPE(bars.relative.close, window)
    std_of_time = np.sqrt((window**2 - 1) / 12)
    return np.clip(ratio(slope * std_of_time, rolling_std(bars.relative.close, window)), -1.0, 1.0)


def _midpoint(bars: Bars, window: int) -> Floats:
    return (highest(bars.high, window) + lowest(bars.low, window)) / 2


TREND = (
    *(distance_to_sma(window) for window in (10, 50, 200)),
    *(distance_to_ema(window) for window in (12, 26)),
    distance_to_wma(14),
    distance_to_dema(20),
    sma_cross(10, 50),
    sma_slope(20, 5),
    macd_line(12, 26, 9),
    macd_histogram(12, 26, 9),
    adx(10),
    directional_difference(14),
    aroon_oscillator(14),
    regression_slope(14),
    trend_correlation(48),
    trix(15),
    ichimoku_cross(9, 26),
    efficiency_ratio(20),
)
