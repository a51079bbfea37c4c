"""Where the price stands against its own averages and how straight it came there."""

from math import isqrt

import numpy as np
import talib

from crp_pipeline.contracts import Floats
from crp_pipeline.features.feature import Bars, Family, Feature, ema_warm_up, wilder_warm_up
from crp_pipeline.features.ichimoku import (
    ichimoku_cloud_distance,
    ichimoku_cloud_thickness,
    ichimoku_cross,
    ichimoku_line_distance,
)
from crp_pipeline.features.rolling import highest, lowest, ratio, rolling_std, rolling_sum, rolling_variance, shift
from crp_pipeline.features.supertrend import supertrend_distance, supertrend_side


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


def distance_to_tema(window: int) -> Feature:
    """Close relative to its triple exponential moving average (Mulloy 1994)."""
    return Feature(
        f"distance_to_tema_{window}",
        Family.TREND,
        3 * window - 2,
        lambda bars: bars.close / talib.TEMA(bars.close, window) - 1,
        warm_up=ema_warm_up(window) + 3 * window,
    )


def distance_to_t3(window: int) -> Feature:
    """Close relative to Tillson's T3, six exponential averages in a row (Tillson 1998)."""
    return Feature(
        f"distance_to_t3_{window}",
        Family.TREND,
        6 * window - 5,
        lambda bars: bars.close / talib.T3(bars.close, window) - 1,
        warm_up=ema_warm_up(window) + 6 * window,
    )


def distance_to_trima(window: int) -> Feature:
    """Close relative to its triangular moving average."""
    return Feature(
        f"distance_to_trima_{window}", Family.TREND, window, lambda bars: bars.close / talib.TRIMA(bars.close, window) - 1
    )


def distance_to_hma(window: int) -> Feature:
    """Close relative to its moving average without lag (Hull 2005)."""
    return Feature(
        f"distance_to_hma_{window}",
        Family.TREND,
        window + isqrt(window) - 1,
        lambda bars: bars.close / talib.HMA(bars.close, window) - 1,
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


def ema_slope(window: int, step: int) -> Feature:
    """Relative change of the exponential moving average over the last few bars."""
    return Feature(
        f"ema_slope_{window}_{step}",
        Family.TREND,
        window + step,
        lambda bars: _change(talib.EMA(bars.close, window), step),
        warm_up=ema_warm_up(window),
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


def plus_di(window: int) -> Feature:
    """Positive directional indicator, 0 to 1 (Wilder 1978)."""
    return Feature(
        f"plus_di_{window}",
        Family.TREND,
        window + 1,
        lambda bars: talib.PLUS_DI(bars.relative.high, bars.relative.low, bars.relative.close, window) / 100,
        warm_up=wilder_warm_up(window),
    )


def minus_di(window: int) -> Feature:
    """Negative directional indicator, 0 to 1 (Wilder 1978)."""
    return Feature(
        f"minus_di_{window}",
        Family.TREND,
        window + 1,
        lambda bars: talib.MINUS_DI(bars.relative.high, bars.relative.low, bars.relative.close, window) / 100,
        warm_up=wilder_warm_up(window),
    )


def vortex_difference(window: int) -> Feature:
    """Positive less negative vortex indicator; 0 in a flat window (Botes & Siepman 2010)."""
    return Feature(f"vortex_difference_{window}", Family.TREND, window + 1, lambda bars: _vortex_difference(bars, window))


def aroon_up(window: int) -> Feature:
    """How recent the highest high is, 0 to 1 (Chande 1995)."""
    return Feature(
        f"aroon_up_{window}", Family.TREND, window + 1, lambda bars: talib.AROON(bars.high, bars.low, window)[1] / 100
    )


def aroon_down(window: int) -> Feature:
    """How recent the lowest low is, 0 to 1 (Chande 1995)."""
    return Feature(
        f"aroon_down_{window}", Family.TREND, window + 1, lambda bars: talib.AROON(bars.high, bars.low, window)[0] / 100
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


def distance_to_regression(window: int) -> Feature:
    """Close relative to the end of the least-squares line through the closes."""
    return Feature(
        f"distance_to_regression_{window}",
        Family.TREND,
        window,
        lambda bars: bars.relative.close / talib.LINEARREG(bars.relative.close, window) - 1,
    )


def regression_deviation(window: int) -> Feature:
    """Standard deviation of the closes around their least-squares line, over the close."""
    return Feature(
        f"regression_deviation_{window}", Family.TREND, window, lambda bars: _regression_deviation(bars.relative, window)
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


def vertical_horizontal_filter(window: int) -> Feature:
    """Range of the window's closes over the path of as many moves, 0 to 1: high in a trend; 0 in a flat window (White 1991)."""
    return Feature(
        f"vertical_horizontal_filter_{window}",
        Family.TREND,
        window + 1,
        lambda bars: _vertical_horizontal_filter(bars, window),
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


def _vortex_difference(bars: Bars, window: int) -> Floats:
    up = np.abs(bars.high - shift(bars.low, 1))
    down = np.abs(bars.low - shift(bars.high, 1))
    return ratio(rolling_sum(up - down, window), rolling_sum(bars.true_range, window))


def _regression_deviation(bars: Bars, window: int) -> Floats:
    slope: Floats = talib.LINEARREG_SLOPE(bars.close, window)
    explained = slope**2 * (window**2 - 1) / 12
    return np.sqrt(np.maximum(rolling_variance(bars.close, window) - explained, 0.0)) / bars.close


def _vertical_horizontal_filter(bars: Bars, window: int) -> Floats:
    spread = highest(bars.close, window) - lowest(bars.close, window)
    return ratio(spread, rolling_sum(np.abs(np.diff(bars.close, prepend=bars.close[0])), window))


TREND = (
    *(distance_to_sma(window) for window in (10, 20, 50, 100, 200)),
    *(distance_to_ema(window) for window in (12, 26)),
    distance_to_wma(14),
    distance_to_dema(20),
    distance_to_tema(15),
    distance_to_t3(12),
    distance_to_trima(30),
    distance_to_hma(20),
    sma_cross(10, 50),
    sma_cross(20, 100),
    sma_slope(20, 5),
    ema_slope(20, 5),
    macd_line(12, 26, 9),
    macd_histogram(12, 26, 9),
    adx(10),
    directional_difference(14),
    plus_di(14),
    minus_di(14),
    vortex_difference(14),
    aroon_oscillator(14),
    aroon_up(25),
    aroon_down(25),
    regression_slope(14),
    regression_slope(48),
    distance_to_regression(48),
    regression_deviation(48),
    trend_correlation(48),
    trix(15),
    ichimoku_cross(9, 26),
    *(ichimoku_line_distance(window) for window in (9, 26)),
    ichimoku_cloud_distance(9, 26, 52),
    ichimoku_cloud_thickness(9, 26, 52),
    supertrend_distance(10, 3),
    supertrend_side(10, 3),
    efficiency_ratio(20),
    vertical_horizontal_filter(48),
)
