"""Shape and memory of the returns."""

import numpy as np
import pandas as pd

from crp_pipeline_tests.plain.bars import Plain, PlainBars, Series


def skewness(values: Series, window: int) -> Series:
    """pandas corrects for the size of the sample; the population's is without."""
    return values.rolling(window).skew() * (window - 2) / np.sqrt(window * (window - 1))


def excess_kurtosis(values: Series, window: int) -> Series:
    sample = values.rolling(window).kurt()
    return (sample * (window - 2) * (window - 3) / (window - 1) - 6) / (window + 1)


def zscore(values: Series, window: int) -> Series:
    return (values - values.rolling(window).mean()) / values.rolling(window).std(ddof=0)


def direction_entropy(bars: PlainBars) -> Series:
    up = (bars.change > 0).rolling(24).mean()
    terms = pd.concat([up, 1 - up], axis=1)
    return -(terms * np.log2(terms.where(terms > 0, 1.0))).sum(axis=1)


def range_over_volatility(bars: PlainBars) -> Series:
    level = np.log(bars.close).rolling(96)
    return (level.max() - level.min()) / (bars.change.rolling(96).std(ddof=0) * np.sqrt(96))


def fractionally_differenced_price(bars: PlainBars) -> Series:
    weights = [1.0]
    for lag in range(1, 168):
        weights.append(-weights[-1] * (0.4 - lag + 1) / lag)
    oldest_first = np.array(weights[::-1])
    differenced = np.log(bars.close).rolling(168).apply(lambda x: oldest_first @ (x - x[0]), raw=True)
    return differenced / bars.change.rolling(167).std(ddof=0)


def permutation_entropy(bars: PlainBars) -> Series:
    triples = np.lib.stride_tricks.sliding_window_view(bars.close.to_numpy(), 3)
    order = pd.Series(np.argsort(triples, axis=1, kind="stable") @ [9, 3, 1], index=bars.close.index[2:])
    shares = pd.get_dummies(order).rolling(48).mean().reindex(bars.close.index)
    return -(shares * np.log(shares.where(shares > 1e-9, 1.0))).sum(axis=1, skipna=False) / np.log(6)


def hurst_exponent(bars: PlainBars) -> Series:
    lags = [1, 2, 4, 8, 16]
    size = pd.concat([np.sqrt((np.log(bars.close).diff(lag) ** 2).rolling(96).mean()) for lag in lags], axis=1).dropna()
    slope = np.polyfit(np.log(lags), np.log(size.to_numpy()).T, 1)[0]
    return pd.Series(slope, index=size.index).clip(0, 1).reindex(bars.close.index)


def wavelet_energy(bars: PlainBars, level: int) -> Series:
    smooth = [np.log(bars.close)]
    for number in range(5):
        smooth.append((smooth[-1] + smooth[-1].shift(2**number)) / 2)
    energy = [(smooth[number] - smooth[number + 1]).pow(2).rolling(96).sum() for number in range(5)]
    return energy[level - 1] / sum(energy)


def mean_reversion_speed(bars: PlainBars) -> Series:
    before = np.log(bars.close / bars.close.iloc[0]).shift()
    return -bars.change.rolling(96).cov(before) / before.rolling(96).var()


def quantile_skewness(bars: PlainBars) -> Series:
    lower, middle, upper = (bars.change.rolling(96).quantile(share) for share in (0.05, 0.5, 0.95))
    return (upper + lower - 2 * middle) / (upper - lower)


PLAIN: dict[str, Plain] = {
    "skewness_48": lambda bars: skewness(bars.change, 48),
    "skewness_168": lambda bars: skewness(bars.change, 168),
    "excess_kurtosis_48": lambda bars: excess_kurtosis(bars.change, 48),
    "excess_kurtosis_168": lambda bars: excess_kurtosis(bars.change, 168),
    "autocorrelation_48_1": lambda bars: bars.change.rolling(48).corr(bars.change.shift(1)),
    "autocorrelation_48_2": lambda bars: bars.change.rolling(48).corr(bars.change.shift(2)),
    "autocorrelation_96_24": lambda bars: bars.change.rolling(96).corr(bars.change.shift(24)),
    "volatility_clustering_96": lambda bars: bars.change.abs().rolling(96).corr(bars.change.abs().shift()),
    "return_zscore_48": lambda bars: zscore(bars.change, 48),
    "price_zscore_96": lambda bars: zscore(np.log(bars.close), 96),
    "variance_ratio_4_96": lambda bars: np.log(bars.close).diff(4).rolling(96).var() / (4 * bars.change.rolling(96).var()),
    "direction_entropy_24": direction_entropy,
    "reversal_share_24": lambda bars: (bars.change * bars.change.shift() < 0).rolling(24).mean(),
    "largest_move_share_24": lambda bars: bars.change.abs().rolling(24).max() / bars.change.abs().rolling(24).sum(),
    "range_over_volatility_96": range_over_volatility,
    "fractionally_differenced_price_168": fractionally_differenced_price,
    "permutation_entropy_48": permutation_entropy,
    "hurst_exponent_96": hurst_exponent,
    "wavelet_energy_1_96": lambda bars: wavelet_energy(bars, 1),
    "wavelet_energy_2_96": lambda bars: wavelet_energy(bars, 2),
    "wavelet_energy_3_96": lambda bars: wavelet_energy(bars, 3),
    "wavelet_energy_4_96": lambda bars: wavelet_energy(bars, 4),
    "price_rank_96": lambda bars: (bars.close.rolling(96).rank() - 1) / 95,
    "mean_reversion_speed_96": mean_reversion_speed,
    "quantile_skewness_96": quantile_skewness,
    "leverage_effect_96": lambda bars: bars.change.abs().rolling(96).corr(bars.change.shift()),
}
