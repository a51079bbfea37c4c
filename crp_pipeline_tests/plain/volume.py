"""Volume and liquidity."""

import numpy as np
import pandas as pd
from scipy.stats import norm

from crp_pipeline_tests.plain.bars import Plain, PlainBars, Series


def deviation(bars: PlainBars, window: int) -> Series:
    log_volume = np.log(bars.volume)
    return log_volume - log_volume.rolling(window).mean()


def zscore(values: Series, window: int) -> Series:
    return (values - values.rolling(window).mean()) / values.rolling(window).std(ddof=0)


def surprise(bars: PlainBars, days: int) -> Series:
    """The lookback is that of hourly bars; where not one day fits into it, all its bars stand in."""
    log_volume, longest = np.log(bars.volume), days * 24
    per_day = int(pd.Timedelta("1D") / bars.candles.index.to_series().diff().min())
    lags = [day * per_day for day in range(1, days + 1) if day * per_day <= longest] or range(1, longest + 1)
    return log_volume - pd.concat([log_volume.shift(lag) for lag in lags], axis=1).mean(axis=1)


def signed_volume(bars: PlainBars, window: int) -> Series:
    return (np.sign(bars.change) * bars.volume).rolling(window).sum() / bars.volume.rolling(window).sum()


def money_flow_volume(bars: PlainBars) -> Series:
    return ((bars.close - bars.low) - (bars.high - bars.close)) / (bars.high - bars.low) * bars.volume


def chaikin_oscillator(bars: PlainBars) -> Series:
    line = money_flow_volume(bars).cumsum()
    return (line.ewm(span=3, adjust=False).mean() - line.ewm(span=10, adjust=False).mean()) / bars.volume.rolling(24).mean()


def money_flow_index(bars: PlainBars) -> Series:
    typical = (bars.high + bars.low + bars.close) / 3
    flow, rise = typical * bars.volume, typical.diff()
    inflow, outflow = flow.where(rise > 0, 0.0).rolling(14).sum(), flow.where(rise < 0, 0.0).rolling(14).sum()
    return inflow / (inflow + outflow) - 0.5


def vwap_distance(bars: PlainBars, window: int) -> Series:
    typical = (bars.high + bars.low + bars.close) / 3
    return bars.close / ((typical * bars.volume).rolling(window).sum() / bars.volume.rolling(window).sum()) - 1


def illiquidity(bars: PlainBars) -> Series:
    return bars.change.abs() / (bars.close * bars.volume)


def kyle_lambda(bars: PlainBars) -> Series:
    signed = np.sign(bars.change) * bars.volume
    slope = bars.change.rolling(48).cov(signed) / signed.rolling(48).var()
    return slope * bars.volume.rolling(48).mean() / bars.change.rolling(48).std(ddof=0)


def roll_spread(bars: PlainBars) -> Series:
    return 2 * np.sqrt(-bars.change.rolling(96).cov(bars.change.shift(), ddof=0).clip(upper=0))


def corwin_schultz_spread(bars: PlainBars) -> Series:
    single = np.log(bars.high / bars.low) ** 2
    beta = single + single.shift()
    gamma = np.log(bars.high.rolling(2).max() / bars.low.rolling(2).min()) ** 2
    constant = 3 - 2 * np.sqrt(2)
    alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / constant - np.sqrt(gamma / constant)
    return (2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha))).clip(lower=0).rolling(24).mean()


def order_imbalance(bars: PlainBars) -> Series:
    bought = pd.Series(norm.cdf(bars.change / bars.change.rolling(48).std(ddof=0)), index=bars.change.index)
    imbalance = (bought * bars.volume - (1 - bought) * bars.volume).abs()
    return imbalance.rolling(48).sum() / bars.volume.rolling(48).sum()


def skewness_of_volume(bars: PlainBars) -> Series:
    return bars.volume.rolling(96).skew() * 94 / np.sqrt(96 * 95)


def up_volume_ratio(bars: PlainBars) -> Series:
    up = bars.volume.where(bars.change > 0).rolling(48, min_periods=1).mean()
    return np.log(up / bars.volume.where(bars.change < 0).rolling(48, min_periods=1).mean())


def volume_weighted_return(bars: PlainBars) -> Series:
    mean = (bars.change * bars.volume).rolling(24).sum() / bars.volume.rolling(24).sum()
    return mean / bars.change.rolling(24).std(ddof=0)


def force_index(bars: PlainBars) -> Series:
    force = bars.close.diff() * bars.volume
    return force.ewm(span=13, adjust=False).mean() / force.abs().rolling(48).mean()


def ease_of_movement(bars: PlainBars) -> Series:
    ease = ((bars.high + bars.low) / 2).diff() * (bars.high - bars.low) / bars.volume
    return ease.rolling(14).sum() / ease.abs().rolling(14).sum()


PLAIN: dict[str, Plain] = {
    "log_volume_deviation_24": lambda bars: deviation(bars, 24),
    "log_volume_deviation_168": lambda bars: deviation(bars, 168),
    "log_volume_zscore_12": lambda bars: zscore(np.log(bars.volume), 12),
    "log_volume_zscore_48": lambda bars: zscore(np.log(bars.volume), 48),
    "log_volume_zscore_168": lambda bars: zscore(np.log(bars.volume), 168),
    "log_volume_trend_6_48": lambda bars: np.log(bars.volume).rolling(6).mean() - np.log(bars.volume).rolling(48).mean(),
    "log_volume_change_1": lambda bars: np.log(bars.volume).diff(1),
    "log_volume_change_4": lambda bars: np.log(bars.volume).diff(4),
    "log_volume_change_24": lambda bars: np.log(bars.volume).diff(24),
    "log_volume_surprise_3d": lambda bars: surprise(bars, 3),
    "log_volume_surprise_10d": lambda bars: surprise(bars, 10),
    "log_volume_dispersion_48": lambda bars: np.log(bars.volume).rolling(48).std(ddof=0),
    "signed_volume_12": lambda bars: signed_volume(bars, 12),
    "signed_volume_48": lambda bars: signed_volume(bars, 48),
    "signed_surprise_48": lambda bars: np.sign(bars.change) * zscore(np.log(bars.volume), 48),
    "chaikin_money_flow_20": lambda bars: money_flow_volume(bars).rolling(20).sum() / bars.volume.rolling(20).sum(),
    "chaikin_oscillator_3_10": chaikin_oscillator,
    "money_flow_index_14": money_flow_index,
    "vwap_distance_24": lambda bars: vwap_distance(bars, 24),
    "vwap_distance_96": lambda bars: vwap_distance(bars, 96),
    "volume_return_correlation_48": lambda bars: bars.change.abs().rolling(48).corr(bars.volume),
    "traded_share_24": lambda bars: bars.volume / bars.volume.rolling(24).sum(),
    "volume_ratio_6_24": lambda bars: bars.volume.rolling(6).mean() / bars.volume.rolling(24).mean(),
    "volume_rank_96": lambda bars: (bars.volume.rolling(96).rank() - 1) / 95,
    "volume_concentration_24": lambda bars: (bars.volume**2).rolling(24).sum() / bars.volume.rolling(24).sum() ** 2,
    "volume_skewness_96": skewness_of_volume,
    "up_volume_ratio_48": up_volume_ratio,
    "volume_weighted_return_24": volume_weighted_return,
    "force_index_13": force_index,
    "ease_of_movement_14": ease_of_movement,
    "illiquidity_ratio_12_96": lambda bars: illiquidity(bars).rolling(12).mean() / illiquidity(bars).rolling(96).mean(),
    "illiquidity_zscore_96": lambda bars: zscore(illiquidity(bars), 96),
    "kyle_lambda_48": kyle_lambda,
    "roll_spread_96": roll_spread,
    "corwin_schultz_spread_24": corwin_schultz_spread,
    "order_imbalance_48": order_imbalance,
}
