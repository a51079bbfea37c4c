"""Volatility."""

import numpy as np

from crp_pipeline_tests.plain.bars import Plain, PlainBars, Series
from crp_pipeline_tests.plain.trend import ema, sma, true_range, wilder


def std(values: Series, window: int) -> Series:
    return values.rolling(window).std(ddof=0)


def zscore(values: Series, window: int) -> Series:
    return (values - sma(values, window)) / std(values, window)


def volatility_ratio(change: Series, fast: int, slow: int) -> Series:
    return std(change, fast) / std(change, slow)


def parkinson(bars: PlainBars, window: int) -> Series:
    return np.sqrt(sma(np.log(bars.high / bars.low) ** 2, window) / (4 * np.log(2)))


def garman_klass(bars: PlainBars, window: int) -> Series:
    daily = np.log(bars.high / bars.low) ** 2 / 2 - (2 * np.log(2) - 1) * np.log(bars.close / bars.open) ** 2
    return np.sqrt(sma(daily, window))


def rogers_satchell_variance(bars: PlainBars, window: int) -> Series:
    above = np.log(bars.high / bars.close) * np.log(bars.high / bars.open)
    below = np.log(bars.low / bars.close) * np.log(bars.low / bars.open)
    return sma(above + below, window)


def yang_zhang(bars: PlainBars, window: int) -> Series:
    gap, body = np.log(bars.open / bars.close.shift()), np.log(bars.close / bars.open)
    k = 0.34 / (1.34 + (window + 1) / (window - 1))
    within = rogers_satchell_variance(bars, window)
    return np.sqrt(gap.rolling(window).var() + k * body.rolling(window).var() + (1 - k) * within)


def squeeze(bars: PlainBars, window: int) -> Series:
    bollinger_width = 4 * std(bars.close, window)
    keltner_width = 2 * 1.5 * sma(true_range(bars), window)
    return bollinger_width / keltner_width


def volatility_rank(change: Series, fast: int, slow: int) -> Series:
    """-1 is the lowest of the window, 1 the highest."""
    return 2 * (std(change, fast).rolling(slow + 1).rank() - 1) / slow - 1


def volatility_of_volatility(change: Series, fast: int, slow: int) -> Series:
    volatility = std(change, fast)
    return std(volatility, slow) / sma(volatility, slow)


def ulcer_index(close: Series, window: int) -> Series:
    drawdown = close / close.rolling(window).max() - 1
    return np.sqrt(sma(drawdown**2, window))


def jump_share(change: Series, window: int) -> Series:
    realised = (change**2).rolling(window).sum()
    bipower = np.pi / 2 * (change.abs() * change.abs().shift()).rolling(window - 1).sum() * window / (window - 1)
    return (1 - bipower / realised).clip(lower=0)


def chaikin_volatility(bars: PlainBars, window: int, step: int) -> Series:
    average = ema(bars.high - bars.low, window)
    return (average - average.shift(step)) / (average + average.shift(step))


def mass_index(bars: PlainBars, window: int, total: int) -> Series:
    average = ema(bars.high - bars.low, window)
    return sma(average / ema(average, window), total) - 1


def downside_share(change: Series, window: int) -> Series:
    return (change.clip(upper=0) ** 2).rolling(window).sum() / (change**2).rolling(window).sum()


PLAIN: dict[str, Plain] = {
    "realised_volatility_12": lambda bars: std(bars.change, 12),
    "realised_volatility_24": lambda bars: std(bars.change, 24),
    "realised_volatility_48": lambda bars: std(bars.change, 48),
    "realised_volatility_168": lambda bars: std(bars.change, 168),
    "volatility_ratio_4_24": lambda bars: volatility_ratio(bars.change, 4, 24),
    "volatility_ratio_12_96": lambda bars: volatility_ratio(bars.change, 12, 96),
    "volatility_ratio_24_168": lambda bars: volatility_ratio(bars.change, 24, 168),
    "average_true_range_14": lambda bars: wilder(true_range(bars), 14) / bars.close,
    "true_range_ratio_14": lambda bars: true_range(bars) / sma(true_range(bars), 14),
    "bollinger_width_20": lambda bars: 4 * std(bars.close, 20) / sma(bars.close, 20),
    "bollinger_position_20": lambda bars: zscore(bars.close, 20),
    "keltner_position_20": lambda bars: (bars.close - ema(bars.close, 20)) / sma(true_range(bars), 20),
    "parkinson_volatility_24": lambda bars: parkinson(bars, 24),
    "garman_klass_volatility_24": lambda bars: garman_klass(bars, 24),
    "rogers_satchell_volatility_24": lambda bars: np.sqrt(rogers_satchell_variance(bars, 24)),
    "yang_zhang_volatility_96": lambda bars: yang_zhang(bars, 96),
    "squeeze_20": lambda bars: squeeze(bars, 20),
    "volatility_zscore_24_168": lambda bars: zscore(std(bars.change, 24), 168),
    "volatility_rank_12_96": lambda bars: volatility_rank(bars.change, 12, 96),
    "volatility_of_volatility_12_48": lambda bars: volatility_of_volatility(bars.change, 12, 48),
    "volatility_of_volatility_24_96": lambda bars: volatility_of_volatility(bars.change, 24, 96),
    "ulcer_index_14": lambda bars: ulcer_index(bars.close, 14),
    "jump_share_48": lambda bars: jump_share(bars.change, 48),
    "chaikin_volatility_10_10": lambda bars: chaikin_volatility(bars, 10, 10),
    "mass_index_9_25": lambda bars: mass_index(bars, 9, 25),
    "parkinson_ratio_48": lambda bars: parkinson(bars, 48) / std(bars.change, 48),
    "true_range_trend_6_48": lambda bars: sma(true_range(bars), 6) / sma(true_range(bars), 48),
    "downside_share_48": lambda bars: downside_share(bars.change, 48),
    "range_zscore_48": lambda bars: zscore(np.log(bars.high / bars.low), 48),
}
