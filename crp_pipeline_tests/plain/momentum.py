"""Momentum."""

import numpy as np

from crp_pipeline_tests.plain.bars import Plain, PlainBars, Series
from crp_pipeline_tests.plain.trend import ema, sma, true_range, wilder


def rsi(close: Series, window: int) -> Series:
    """0 to 1."""
    change = close.diff()
    gain, loss = wilder(change.clip(lower=0), window), wilder(-change.clip(upper=0), window)
    return gain / (gain + loss)


def place(values: Series, window: int) -> Series:
    """Of the last value in the range of the window, 0 to 1."""
    bottom, top = values.rolling(window).min(), values.rolling(window).max()
    return (values - bottom) / (top - bottom)


def place_in_range(bars: PlainBars, window: int) -> Series:
    bottom, top = bars.low.rolling(window).min(), bars.high.rolling(window).max()
    return (bars.close - bottom) / (top - bottom)


def return_over_volatility(change: Series, window: int) -> Series:
    return change.rolling(window).sum() / (change.rolling(window).std(ddof=0) * np.sqrt(window))


def commodity_channel_index(bars: PlainBars, window: int) -> Series:
    typical = (bars.high + bars.low + bars.close) / 3
    mean_deviation = typical.rolling(window).apply(lambda x: np.abs(x - x.mean()).mean(), raw=True)
    return (typical - sma(typical, window)) / (0.015 * mean_deviation)


def buying_pressure(bars: PlainBars, window: int) -> Series:
    pressure = bars.close - np.minimum(bars.low, bars.close.shift())
    return pressure.rolling(window).sum() / true_range(bars).rolling(window).sum()


def awesome_oscillator(bars: PlainBars, fast: int, slow: int) -> Series:
    middle = (bars.high + bars.low) / 2
    return sma(middle, fast) - sma(middle, slow)


def true_strength_index(close: Series, slow: int, fast: int) -> Series:
    change = close.diff()
    return ema(ema(change, slow), fast) / ema(ema(change.abs(), slow), fast)


def streak(close: Series) -> Series:
    direction = np.sign(close.diff())
    return direction * (direction.groupby((direction != direction.shift()).cumsum()).cumcount() + 1)


def return_rank(close: Series, bars_back: int, window: int) -> Series:
    """-1 is the lowest of the window, 1 the highest."""
    return 2 * (np.log(close).diff(bars_back).rolling(window + 1).rank() - 1) / window - 1


PLAIN: dict[str, Plain] = {
    "log_return_1": lambda bars: np.log(bars.close / bars.close.shift(1)),
    "log_return_2": lambda bars: np.log(bars.close / bars.close.shift(2)),
    "log_return_4": lambda bars: np.log(bars.close / bars.close.shift(4)),
    "log_return_8": lambda bars: np.log(bars.close / bars.close.shift(8)),
    "log_return_12": lambda bars: np.log(bars.close / bars.close.shift(12)),
    "log_return_24": lambda bars: np.log(bars.close / bars.close.shift(24)),
    "log_return_48": lambda bars: np.log(bars.close / bars.close.shift(48)),
    "log_return_72": lambda bars: np.log(bars.close / bars.close.shift(72)),
    "log_return_168": lambda bars: np.log(bars.close / bars.close.shift(168)),
    "rate_of_change_10": lambda bars: bars.close.pct_change(10),
    "return_over_volatility_12": lambda bars: return_over_volatility(bars.change, 12),
    "return_over_volatility_48": lambda bars: return_over_volatility(bars.change, 48),
    "acceleration_12": lambda bars: np.log(bars.close).diff(12).diff(12),
    "rsi_7": lambda bars: rsi(bars.close, 7) - 0.5,
    "rsi_14": lambda bars: rsi(bars.close, 14) - 0.5,
    "stochastic_k_14_3": lambda bars: sma(place_in_range(bars, 14), 3),
    "stochastic_d_14_3": lambda bars: sma(sma(place_in_range(bars, 14), 3), 3),
    "williams_r_14": lambda bars: place_in_range(bars, 14) - 1,
    "williams_r_48": lambda bars: place_in_range(bars, 48) - 1,
    "commodity_channel_index_20": lambda bars: commodity_channel_index(bars, 20) / 100,
    "ultimate_oscillator_7_14_28": lambda bars: (
        (4 * buying_pressure(bars, 7) + 2 * buying_pressure(bars, 14) + buying_pressure(bars, 28)) / 7
    ),
    "awesome_oscillator_5_34": lambda bars: awesome_oscillator(bars, 5, 34) / bars.close,
    "balance_of_power_14": lambda bars: sma((bars.close - bars.open) / (bars.high - bars.low), 14),
    "stochastic_rsi_10_14": lambda bars: place(rsi(bars.close, 10), 14),
    "rsi_change_10_5": lambda bars: rsi(bars.close, 10).diff(5),
    "true_strength_index_24_12": lambda bars: true_strength_index(bars.close, 24, 12),
    "up_share_12": lambda bars: (bars.change > 0).rolling(12).mean(),
    "streak_12": lambda bars: streak(bars.close).clip(-12, 12) / 12,
    "return_rank_12_96": lambda bars: return_rank(bars.close, 12, 96),
}
