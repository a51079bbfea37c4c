"""Trend. Exponential averages start at the first value instead of a simple average: after the warm-up nothing is left of that."""

import numpy as np
import pandas as pd

from crp_pipeline_tests.plain.bars import Plain, PlainBars, Series


def sma(values: Series, window: int) -> Series:
    return values.rolling(window).mean()


def ema(values: Series, window: int) -> Series:
    return values.ewm(span=window, adjust=False).mean()


def wilder(values: Series, window: int) -> Series:
    return values.ewm(alpha=1 / window, adjust=False).mean()


def wma(values: Series, window: int) -> Series:
    weights = np.arange(1, window + 1) / (window * (window + 1) / 2)
    return values.rolling(window).apply(lambda x: x @ weights, raw=True)


def dema(values: Series, window: int) -> Series:
    once = ema(values, window)
    return 2 * once - ema(once, window)


def tema(values: Series, window: int) -> Series:
    once = ema(values, window)
    twice = ema(once, window)
    return 3 * once - 3 * twice + ema(twice, window)


def t3(values: Series, window: int, volume_factor: float = 0.7) -> Series:
    for _ in range(3):
        once = ema(values, window)
        values = (1 + volume_factor) * once - volume_factor * ema(once, window)
    return values


def trima(values: Series, window: int) -> Series:
    return sma(sma(values, (window + 1) // 2), window // 2 + 1)


def hma(values: Series, window: int) -> Series:
    return wma(2 * wma(values, window // 2) - wma(values, window), int(window**0.5))


def macd(close: Series, fast: int, slow: int) -> Series:
    return ema(close, fast) - ema(close, slow)


def trix(close: Series, window: int) -> Series:
    return 100 * ema(ema(ema(close, window), window), window).pct_change()


def true_range(bars: PlainBars) -> Series:
    previous = bars.close.shift()
    ends = [bars.high - bars.low, (bars.high - previous).abs(), (bars.low - previous).abs()]
    return pd.concat(ends, axis=1).max(axis=1)


def directional_indicators(bars: PlainBars, window: int) -> tuple[Series, Series]:
    up, down = bars.high.diff(), -bars.low.diff()
    moves = wilder(up.where((up > down) & (up > 0), 0.0), window), wilder(down.where((down > up) & (down > 0), 0.0), window)
    average_range = wilder(true_range(bars), window)
    return moves[0] / average_range, moves[1] / average_range


def directional_difference(bars: PlainBars, window: int) -> Series:
    plus, minus = directional_indicators(bars, window)
    return plus - minus


def adx(bars: PlainBars, window: int) -> Series:
    plus, minus = directional_indicators(bars, window)
    return wilder((plus - minus).abs() / (plus + minus), window)


def vortex_difference(bars: PlainBars, window: int) -> Series:
    up, down = (bars.high - bars.low.shift()).abs(), (bars.low - bars.high.shift()).abs()
    total = true_range(bars).rolling(window).sum()
    return up.rolling(window).sum() / total - down.rolling(window).sum() / total


def aroon_up(bars: PlainBars, window: int) -> Series:
    bars_since = bars.high.rolling(window + 1).apply(lambda x: x[::-1].argmax(), raw=True)
    return 1 - bars_since / window


def aroon_down(bars: PlainBars, window: int) -> Series:
    bars_since = bars.low.rolling(window + 1).apply(lambda x: x[::-1].argmin(), raw=True)
    return 1 - bars_since / window


def time(close: Series) -> Series:
    return pd.Series(np.arange(len(close), dtype=float), index=close.index)


def slope(close: Series, window: int) -> Series:
    return close.rolling(window).cov(time(close), ddof=0) / ((window**2 - 1) / 12)


def regression_end(close: Series, window: int) -> Series:
    return close.rolling(window).mean() + slope(close, window) * (window - 1) / 2


def regression_deviation(close: Series, window: int) -> Series:
    explained = close.rolling(window).corr(time(close)) ** 2
    return close.rolling(window).std(ddof=0) * np.sqrt(1 - explained)


def middle(bars: PlainBars, window: int) -> Series:
    return (bars.high.rolling(window).max() + bars.low.rolling(window).min()) / 2


def leading_spans(bars: PlainBars) -> tuple[Series, Series]:
    return ((middle(bars, 9) + middle(bars, 26)) / 2).shift(26), middle(bars, 52).shift(26)


def cloud_distance(bars: PlainBars) -> Series:
    spans = pd.concat(leading_spans(bars), axis=1)
    top, bottom = spans.max(axis=1, skipna=False), spans.min(axis=1, skipna=False)
    return ((bars.close - top).clip(lower=0) + (bars.close - bottom).clip(upper=0)) / bars.close


def cloud_thickness(bars: PlainBars) -> Series:
    span_a, span_b = leading_spans(bars)
    return (span_a - span_b) / bars.close


def vertical_horizontal_filter(close: Series, window: int) -> Series:
    span = close.rolling(window).max() - close.rolling(window).min()
    return span / close.diff().abs().rolling(window).sum()


def efficiency_ratio(change: Series, window: int) -> Series:
    return change.rolling(window).sum() / change.abs().rolling(window).sum()


def supertrend(bars: PlainBars, window: int, multiplier: float) -> pd.DataFrame:
    """Band and side of walks that start at every 64th bar since 1970 and count from their 64th bar on."""
    reach = multiplier * true_range(bars).rolling(window).mean()
    middle_price = (bars.high + bars.low) / 2
    lower, upper = (middle_price - reach).to_list(), (middle_price + reach).to_list()
    close, centre = bars.close.to_list(), middle_price.to_list()
    opens, interval = bars.close.index, bars.close.index[1] - bars.close.index[0]
    numbers = (opens - pd.Timestamp("1970-01-01", tz="UTC")) // interval
    found = {}
    for start in np.flatnonzero(numbers % 64 == 0):
        if start < window:
            continue
        floor, ceiling, side = lower[start], upper[start], 1 if close[start] >= centre[start] else -1
        for t in range(start + 1, min(start + 128, len(close))):
            floor = lower[t] if close[t - 1] < floor else max(lower[t], floor)
            ceiling = upper[t] if close[t - 1] > ceiling else min(upper[t], ceiling)
            if side == 1 and close[t] < floor:
                side = -1
            elif side == -1 and close[t] > ceiling:
                side = 1
            if t >= start + 64:
                found[t] = (floor if side == 1 else ceiling, side)
    values = pd.DataFrame.from_dict(found, orient="index", columns=["band", "side"], dtype=float)
    return values.reindex(range(len(close))).set_index(opens)


PLAIN: dict[str, Plain] = {
    "distance_to_sma_10": lambda bars: bars.close / sma(bars.close, 10) - 1,
    "distance_to_sma_20": lambda bars: bars.close / sma(bars.close, 20) - 1,
    "distance_to_sma_50": lambda bars: bars.close / sma(bars.close, 50) - 1,
    "distance_to_sma_100": lambda bars: bars.close / sma(bars.close, 100) - 1,
    "distance_to_sma_200": lambda bars: bars.close / sma(bars.close, 200) - 1,
    "distance_to_ema_12": lambda bars: bars.close / ema(bars.close, 12) - 1,
    "distance_to_ema_26": lambda bars: bars.close / ema(bars.close, 26) - 1,
    "distance_to_wma_14": lambda bars: bars.close / wma(bars.close, 14) - 1,
    "distance_to_dema_20": lambda bars: bars.close / dema(bars.close, 20) - 1,
    "distance_to_tema_15": lambda bars: bars.close / tema(bars.close, 15) - 1,
    "distance_to_t3_12": lambda bars: bars.close / t3(bars.close, 12) - 1,
    "distance_to_trima_30": lambda bars: bars.close / trima(bars.close, 30) - 1,
    "distance_to_hma_20": lambda bars: bars.close / hma(bars.close, 20) - 1,
    "sma_cross_10_50": lambda bars: sma(bars.close, 10) / sma(bars.close, 50) - 1,
    "sma_cross_20_100": lambda bars: sma(bars.close, 20) / sma(bars.close, 100) - 1,
    "sma_slope_20_5": lambda bars: sma(bars.close, 20).pct_change(5),
    "ema_slope_20_5": lambda bars: ema(bars.close, 20).pct_change(5),
    "macd_line_12_26_9": lambda bars: macd(bars.close, 12, 26) / bars.close,
    "macd_histogram_12_26_9": lambda bars: (macd(bars.close, 12, 26) - ema(macd(bars.close, 12, 26), 9)) / bars.close,
    "adx_10": lambda bars: adx(bars, 10),
    "directional_difference_14": lambda bars: directional_difference(bars, 14),
    "plus_di_14": lambda bars: directional_indicators(bars, 14)[0],
    "minus_di_14": lambda bars: directional_indicators(bars, 14)[1],
    "vortex_difference_14": lambda bars: vortex_difference(bars, 14),
    "aroon_oscillator_14": lambda bars: aroon_up(bars, 14) - aroon_down(bars, 14),
    "aroon_up_25": lambda bars: aroon_up(bars, 25),
    "aroon_down_25": lambda bars: aroon_down(bars, 25),
    "regression_slope_14": lambda bars: slope(bars.close, 14) / bars.close,
    "regression_slope_48": lambda bars: slope(bars.close, 48) / bars.close,
    "distance_to_regression_48": lambda bars: bars.close / regression_end(bars.close, 48) - 1,
    "regression_deviation_48": lambda bars: regression_deviation(bars.close, 48) / bars.close,
    "trend_correlation_48": lambda bars: bars.close.rolling(48).corr(time(bars.close)),
    "trix_15": lambda bars: trix(bars.close, 15),
    "ichimoku_cross_9_26": lambda bars: (middle(bars, 9) - middle(bars, 26)) / bars.close,
    "ichimoku_line_distance_9": lambda bars: (bars.close - middle(bars, 9)) / bars.close,
    "ichimoku_line_distance_26": lambda bars: (bars.close - middle(bars, 26)) / bars.close,
    "ichimoku_cloud_distance_9_26_52": cloud_distance,
    "ichimoku_cloud_thickness_9_26_52": cloud_thickness,
    "supertrend_distance_10_3": lambda bars: (bars.close - supertrend(bars, 10, 3)["band"]) / bars.close,
    "supertrend_side_10_3": lambda bars: supertrend(bars, 10, 3)["side"],
    "efficiency_ratio_20": lambda bars: efficiency_ratio(bars.change, 20),
    "vertical_horizontal_filter_48": lambda bars: vertical_horizontal_filter(bars.close, 48),
}
