"""How much was traded, on which side, and against what is usual at that hour.

A bar without trades has no log volume: it counts in no mean of log volumes, and its own feature is 0.
"""

import numpy as np
import talib

from crp_pipeline.contracts import Floats
from crp_pipeline.features.feature import Bars, Family, Feature, ema_warm_up, remembered
from crp_pipeline.features.kernels import rolling_percentile
from crp_pipeline.features.moments import rolling_skewness
from crp_pipeline.features.returns import return_std
from crp_pipeline.features.rolling import (
    ROUNDING,
    ratio,
    rolling_correlation,
    rolling_mean,
    rolling_sum,
    shift,
)

HOURS_PER_DAY = 24


def log_volume_deviation(window: int) -> Feature:
    """Log volume less its mean over the window; 0 without trades."""
    return Feature(
        f"log_volume_deviation_{window}",
        Family.VOLUME,
        window,
        lambda bars: (bars.log_volume - _mean_log_volume(bars, window)) * bars.traded,
    )


def log_volume_zscore(window: int) -> Feature:
    """Log volume against its mean over the window, in standard deviations; 0 without trades."""
    return Feature(f"log_volume_zscore_{window}", Family.VOLUME, window, lambda bars: _log_volume_zscore(bars, window))


def log_volume_trend(fast: int, slow: int) -> Feature:
    """Mean log volume of the short window less that of the long one."""
    return Feature(
        f"log_volume_trend_{fast}_{slow}",
        Family.VOLUME,
        slow,
        lambda bars: _mean_log_volume(bars, fast) - _mean_log_volume(bars, slow),
    )


def log_volume_change(bars_back: int) -> Feature:
    """Change of the log volume over the last bars; 0 unless both bars were traded."""
    return Feature(
        f"log_volume_change_{bars_back}", Family.VOLUME, bars_back + 1, lambda bars: _log_volume_change(bars, bars_back)
    )


def log_volume_surprise(days: int) -> Feature:
    """Log volume less its mean at the same time of the previous days: without the day's season; 0 without trades.

    The lookback is counted in hourly bars. Where fewer days fit into it, those are taken; where none does (below 15
    minutes for ten days), the bars of the lookback stand in, which at such intervals are all close to the same time of
    day.
    """
    return Feature(
        f"log_volume_surprise_{days}d",
        Family.VOLUME,
        days * HOURS_PER_DAY + 1,
        lambda bars: _log_volume_surprise(bars, days, days * HOURS_PER_DAY),
    )


def log_volume_dispersion(window: int) -> Feature:
    """Standard deviation of the log volumes in the window; 0 when fewer than two bars were traded."""
    return Feature(
        f"log_volume_dispersion_{window}",
        Family.VOLUME,
        window,
        lambda bars: np.sqrt(_log_volume_variance(bars, window)),
    )


def signed_volume(window: int) -> Feature:
    """Volume of rising less that of falling bars over all of it, -1 to 1: the window's change of on-balance volume."""
    return Feature(
        f"signed_volume_{window}",
        Family.VOLUME,
        window + 1,
        lambda bars: ratio(rolling_sum(np.sign(bars.log_return) * bars.volume, window), rolling_sum(bars.volume, window)),
    )


def signed_surprise(window: int) -> Feature:
    """Log-volume z-score with the sign of the bar's return."""
    return Feature(
        f"signed_surprise_{window}",
        Family.VOLUME,
        max(window, 2),
        lambda bars: np.sign(bars.log_return) * _log_volume_zscore(bars, window),
    )


def chaikin_money_flow(window: int) -> Feature:
    """Volume weighted by where each bar closed in its range, over all volume, -1 to 1 (Chaikin)."""
    return Feature(
        f"chaikin_money_flow_{window}",
        Family.VOLUME,
        window,
        lambda bars: ratio(rolling_sum(_money_flow_volume(bars), window), rolling_sum(bars.volume, window)),
    )


def chaikin_oscillator(fast: int, slow: int, scale: int) -> Feature:
    """Chaikin's oscillator of accumulation and distribution over the mean volume; 0 without volume."""
    return Feature(
        f"chaikin_oscillator_{fast}_{slow}",
        Family.VOLUME,
        max(slow, scale),
        lambda bars: ratio(
            talib.ADOSC(bars.high, bars.low, bars.close, bars.volume, fast, slow), rolling_mean(bars.volume, scale)
        ),
        warm_up=ema_warm_up(slow),
    )


def money_flow_index(window: int) -> Feature:
    """Share of the money that flowed in rising bars, around its middle, -1/2 to 1/2 (Quong & Soudack 1989)."""
    return Feature(f"money_flow_index_{window}", Family.VOLUME, window + 1, lambda bars: _money_flow_share(bars, window) - 0.5)


def vwap_distance(window: int) -> Feature:
    """Close relative to the volume-weighted typical price of the window; 0 without volume."""
    return Feature(
        f"vwap_distance_{window}",
        Family.VOLUME,
        window,
        lambda bars: (
            ratio(
                bars.close * rolling_sum(bars.volume, window),
                rolling_sum(bars.typical_price * bars.volume, window),
                otherwise=1.0,
            )
            - 1
        ),
    )


def volume_return_correlation(window: int) -> Feature:
    """Correlation of the absolute return with the volume over the window, -1 to 1; 0 where one stands still."""
    return Feature(
        f"volume_return_correlation_{window}",
        Family.VOLUME,
        window + 1,
        lambda bars: rolling_correlation(np.abs(bars.log_return), bars.volume, window),
    )


def traded_share(window: int) -> Feature:
    """Share of the window's volume that its last bar traded; 0 without volume."""
    return Feature(
        f"traded_share_{window}",
        Family.VOLUME,
        window,
        lambda bars: ratio(bars.volume, rolling_sum(bars.volume, window)),
    )


def volume_ratio(fast: int, slow: int) -> Feature:
    """Mean volume of the short window over that of the long one; 1 without volume."""
    return Feature(
        f"volume_ratio_{fast}_{slow}",
        Family.VOLUME,
        slow,
        lambda bars: ratio(rolling_mean(bars.volume, fast), rolling_mean(bars.volume, slow), otherwise=1.0),
    )


def volume_rank(window: int) -> Feature:
    """Share of the window's other bars that traded less, equal ones counted half: 0 to 1."""
    return Feature(f"volume_rank_{window}", Family.VOLUME, window, lambda bars: rolling_percentile(bars.volume, window))


def volume_concentration(window: int) -> Feature:
    """Chance that two trades of the window fall into the same bar, 1/window to 1 (Herfindahl); 0 without volume."""
    return Feature(
        f"volume_concentration_{window}",
        Family.VOLUME,
        window,
        lambda bars: ratio(rolling_sum(bars.volume * bars.volume, window), rolling_sum(bars.volume, window) ** 2),
    )


def volume_skewness(window: int) -> Feature:
    """Population skewness of the volume; 0 where it is constant."""
    return Feature(f"volume_skewness_{window}", Family.VOLUME, window, lambda bars: rolling_skewness(bars.volume, window))


def up_volume_ratio(window: int) -> Feature:
    """Log of the mean volume of rising bars over that of falling ones; 0 unless both traded in the window."""
    return Feature(f"up_volume_ratio_{window}", Family.VOLUME, window + 1, lambda bars: _up_volume_ratio(bars, window))


def volume_weighted_return(window: int) -> Feature:
    """Mean log return weighted by volume, in volatilities of the window; 0 in a flat one or without volume."""
    return Feature(
        f"volume_weighted_return_{window}",
        Family.VOLUME,
        window + 1,
        lambda bars: ratio(
            ratio(rolling_sum(bars.log_return * bars.volume, window), rolling_sum(bars.volume, window)),
            return_std(bars, window),
        ),
    )


def force_index(window: int, scale: int) -> Feature:
    """Exponential average of price change times volume, in its mean size; 0 where there was none (Elder 1993)."""
    return Feature(
        f"force_index_{window}",
        Family.VOLUME,
        max(window, scale) + 1,
        lambda bars: _force_index(bars, window, scale),
        warm_up=ema_warm_up(window),
    )


def ease_of_movement(window: int) -> Feature:
    """Way of the middle price times range over volume, the net sum over that of the sizes, -1 to 1 (Arms 1996)."""
    return Feature(
        f"ease_of_movement_{window}",
        Family.VOLUME,
        window + 1,
        lambda bars: _ease_of_movement(bars, window),
    )


@remembered
def _mean_log_volume(bars: Bars, window: int) -> Floats:
    return ratio(rolling_sum(bars.log_volume, window), rolling_sum(bars.traded, window))


@remembered
def _log_volume_variance(bars: Bars, window: int) -> Floats:
    n_traded = rolling_sum(bars.traded, window)
    mean_square = ratio(rolling_sum(bars.log_volume**2, window), n_traded)
    variance = mean_square - _mean_log_volume(bars, window) ** 2
    return np.where(variance <= ROUNDING * mean_square, 0.0, variance)


def _log_volume_zscore(bars: Bars, window: int) -> Floats:
    deviation = (bars.log_volume - _mean_log_volume(bars, window)) * bars.traded
    return ratio(deviation, np.sqrt(_log_volume_variance(bars, window)))


def _log_volume_change(bars: Bars, bars_back: int) -> Floats:
    both_traded = bars.traded * shift(bars.traded, bars_back)
    return (bars.log_volume - shift(bars.log_volume, bars_back)) * both_traded


def _log_volume_surprise(bars: Bars, days: int, bars_behind: int) -> Floats:
    n_days = min(days, bars_behind // bars.bars_per_day)
    step, n_steps = (bars.bars_per_day, n_days) if n_days else (1, bars_behind)
    total = shift(rolling_sum(bars.log_volume, n_steps, step), step)
    n_traded = shift(rolling_sum(bars.traded, n_steps, step), step)
    usual = ratio(total, n_traded)
    return np.where(bars.is_traded & (n_traded != 0), bars.log_volume - usual, 0.0)


def _money_flow_volume(bars: Bars) -> Floats:
    return ratio(2 * bars.close - bars.high - bars.low, bars.high - bars.low) * bars.volume


def _money_flow_share(bars: Bars, window: int) -> Floats:
    # talib.MFI calls a flow below one unit of money none at all, which depends on the unit
    rise = np.diff(bars.typical_price, prepend=bars.typical_price[0])
    flow = bars.typical_price * bars.volume
    inflow, outflow = rolling_sum(flow * (rise > 0), window), rolling_sum(flow * (rise < 0), window)
    return ratio(inflow, inflow + outflow, otherwise=0.5)


def _up_volume_ratio(bars: Bars, window: int) -> Floats:
    rising, falling = bars.log_return > 0, bars.log_return < 0
    up, down = (
        ratio(rolling_sum(bars.volume * side, window), rolling_sum(side.astype(np.float64), window))
        for side in (rising, falling)
    )
    both = (up > 0) & (down > 0)
    return np.log(np.where(both, up, 1.0)) - np.log(np.where(both, down, 1.0))


def _force_index(bars: Bars, window: int, scale: int) -> Floats:
    force = np.diff(bars.close, prepend=bars.close[0]) * bars.volume
    return ratio(talib.EMA(force, window), rolling_mean(np.abs(force), scale))


def _ease_of_movement(bars: Bars, window: int) -> Floats:
    middle = (bars.high + bars.low) / 2
    ease = ratio(np.diff(middle, prepend=middle[0]) * (bars.high - bars.low), bars.volume)
    return ratio(rolling_sum(ease, window), rolling_sum(np.abs(ease), window))


VOLUME = (
    *(log_volume_deviation(window) for window in (24, 168)),
    *(log_volume_zscore(window) for window in (12, 48, 168)),
    log_volume_trend(6, 48),
    *(log_volume_change(bars_back) for bars_back in (1, 4, 24)),
    *(log_volume_surprise(days) for days in (3, 10)),
    log_volume_dispersion(48),
    *(signed_volume(window) for window in (12, 48)),
    signed_surprise(48),
    chaikin_money_flow(20),
    chaikin_oscillator(3, 10, 24),
    money_flow_index(14),
    *(vwap_distance(window) for window in (24, 96)),
    volume_return_correlation(48),
    traded_share(24),
    volume_ratio(6, 24),
    volume_rank(96),
    volume_concentration(24),
    volume_skewness(96),
    up_volume_ratio(48),
    volume_weighted_return(24),
    force_index(13, 48),
    ease_of_movement(14),
)
