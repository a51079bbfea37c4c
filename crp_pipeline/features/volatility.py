"""How much the price moves, whichever way. Volatilities are per bar, in log returns."""

import numpy as np
import talib

from crp_pipeline.contracts import Floats
from crp_pipeline.features.feature import Bars, Family, Feature, ema_warm_up, wilder_warm_up
from crp_pipeline.features.returns import return_std
from crp_pipeline.features.rolling import (
    highest,
    ratio,
    rolling_mean,
    rolling_rank,
    rolling_std,
    rolling_sum,
    rolling_zscore,
    shift,
)


def realised_volatility(window: int) -> Feature:
    """Standard deviation of the log returns in the window, per bar."""
    return Feature(
        f"realised_volatility_{window}",
        Family.VOLATILITY,
        window + 1,
        lambda bars: return_std(bars, window),
    )


def volatility_ratio(fast: int, slow: int) -> Feature:
    """Volatility of the short window over that of the long one; 1 when both are flat."""
    return Feature(
        f"volatility_ratio_{fast}_{slow}",
        Family.VOLATILITY,
        slow + 1,
        lambda bars: ratio(return_std(bars, fast), return_std(bars, slow), otherwise=1.0),
    )


def average_true_range(window: int) -> Feature:
    """Wilder's average true range over the close (Wilder 1978)."""
    return Feature(
        f"average_true_range_{window}",
        Family.VOLATILITY,
        window + 1,
        lambda bars: talib.NATR(bars.relative.high, bars.relative.low, bars.relative.close, window) / 100,
        warm_up=wilder_warm_up(window),
    )


def true_range_ratio(window: int) -> Feature:
    """True range of the bar over its mean; 0 in a flat window."""
    return Feature(
        f"true_range_ratio_{window}",
        Family.VOLATILITY,
        window + 1,
        lambda bars: ratio(bars.true_range, rolling_mean(bars.true_range, window)),
    )


def bollinger_width(window: int) -> Feature:
    """Four standard deviations of the close over its mean (Bollinger 1992)."""
    return Feature(
        f"bollinger_width_{window}",
        Family.VOLATILITY,
        window,
        lambda bars: 4 * rolling_std(bars.relative.close, window) / talib.SMA(bars.relative.close, window),
    )


def bollinger_position(window: int) -> Feature:
    """Close against its mean in standard deviations; 2 is the upper band, 0 in a flat window (Bollinger 1992)."""
    return Feature(
        f"bollinger_position_{window}",
        Family.VOLATILITY,
        window,
        lambda bars: rolling_zscore(bars.relative.close, window),
    )


def keltner_position(window: int) -> Feature:
    """Close against its exponential average in mean true ranges; 0 in a flat window (Keltner 1960)."""
    return Feature(
        f"keltner_position_{window}",
        Family.VOLATILITY,
        window + 1,
        lambda bars: ratio(bars.close - talib.EMA(bars.close, window), rolling_mean(bars.true_range, window)),
        warm_up=ema_warm_up(window),
    )


def parkinson_volatility(window: int) -> Feature:
    """Volatility from highs and lows, per bar (Parkinson 1980)."""
    return Feature(
        f"parkinson_volatility_{window}",
        Family.VOLATILITY,
        window,
        lambda bars: _parkinson_volatility(bars, window),
    )


def garman_klass_volatility(window: int) -> Feature:
    """Volatility from open, high, low and close without drift, per bar (Garman & Klass 1980)."""
    return Feature(
        f"garman_klass_volatility_{window}",
        Family.VOLATILITY,
        window,
        lambda bars: np.sqrt(rolling_mean(_garman_klass_variance(bars), window)),
    )


def rogers_satchell_volatility(window: int) -> Feature:
    """Volatility from open, high, low and close whatever the drift, per bar (Rogers & Satchell 1991)."""
    return Feature(
        f"rogers_satchell_volatility_{window}",
        Family.VOLATILITY,
        window,
        lambda bars: np.sqrt(rolling_mean(_rogers_satchell_variance(bars), window)),
    )


def volatility_of_volatility(fast: int, slow: int) -> Feature:
    """Variation coefficient over the long window of the volatility of the short one; 0 when flat."""
    return Feature(
        f"volatility_of_volatility_{fast}_{slow}",
        Family.VOLATILITY,
        fast + slow,
        lambda bars: _variation_coefficient(return_std(bars, fast), slow),
    )


def downside_share(window: int) -> Feature:
    """Share of the squared returns in the window that fell; one half in a flat window."""
    return Feature(
        f"downside_share_{window}",
        Family.VOLATILITY,
        window + 1,
        lambda bars: ratio(
            rolling_sum(np.minimum(bars.log_return, 0.0) ** 2, window),
            rolling_sum(bars.log_return**2, window),
            otherwise=0.5,
        ),
    )


def range_zscore(window: int) -> Feature:
    """The bar's log range against those of the window, in standard deviations; 0 when all are equal."""
    return Feature(f"range_zscore_{window}", Family.VOLATILITY, window, lambda bars: rolling_zscore(bars.log_range, window))


def yang_zhang_volatility(window: int) -> Feature:
    """Volatility from opening gaps, open-to-close moves and ranges, whatever the drift, per bar (Yang & Zhang 2000)."""
    return Feature(
        f"yang_zhang_volatility_{window}",
        Family.VOLATILITY,
        window + 1,
        lambda bars: np.sqrt(_yang_zhang_variance(bars, window)),
    )


def squeeze(window: int) -> Feature:
    """Width of the Bollinger bands over that of a Keltner channel: low before a breakout; 0 in a flat window (Carter 2005)."""
    return Feature(
        f"squeeze_{window}",
        Family.VOLATILITY,
        window + 1,
        lambda bars: ratio(2 * rolling_std(bars.close, window), 1.5 * rolling_mean(bars.true_range, window)),
    )


def volatility_zscore(fast: int, slow: int) -> Feature:
    """Volatility of the short window against those of the long one, in standard deviations; 0 when all are equal."""
    return Feature(
        f"volatility_zscore_{fast}_{slow}",
        Family.VOLATILITY,
        fast + slow,
        lambda bars: rolling_zscore(return_std(bars, fast), slow),
    )


def volatility_rank(fast: int, slow: int) -> Feature:
    """Share of the long window's volatilities that that of the short one exceeds, less the share above it, -1 to 1."""
    return Feature(
        f"volatility_rank_{fast}_{slow}",
        Family.VOLATILITY,
        fast + slow + 1,
        lambda bars: rolling_rank(return_std(bars, fast), slow),
    )


def ulcer_index(window: int) -> Feature:
    """Root mean square of the closes' distances below the highest close of a window (Martin 1987)."""
    return Feature(
        f"ulcer_index_{window}",
        Family.VOLATILITY,
        2 * window - 1,
        lambda bars: np.sqrt(rolling_mean((bars.close / highest(bars.close, window) - 1) ** 2, window)),
    )


def jump_share(window: int) -> Feature:
    """Part of the squared returns that comes from jumps, 0 to 1; 0 in a flat window (Barndorff-Nielsen & Shephard 2004)."""
    return Feature(f"jump_share_{window}", Family.VOLATILITY, window + 1, lambda bars: _jump_share(bars, window))


def chaikin_volatility(window: int, step: int) -> Feature:
    """Change of the averaged range over the last bars, over the sum of both averages, -1 to 1 (Chaikin)."""
    return Feature(
        f"chaikin_volatility_{window}_{step}",
        Family.VOLATILITY,
        window + step,
        lambda bars: _relative_change(talib.EMA(bars.high - bars.low, window), step),
        warm_up=ema_warm_up(window),
    )


def mass_index(window: int, total: int) -> Feature:
    """Mean of the averaged range over its average, less 1: above 0 while ranges grow (Dorsey 1992)."""
    return Feature(
        f"mass_index_{window}_{total}",
        Family.VOLATILITY,
        2 * window + total - 2,
        lambda bars: _mass_index(bars, window, total),
        warm_up=ema_warm_up(window) + 2 * window,
    )


def parkinson_ratio(window: int) -> Feature:
    """Volatility from highs and lows over that from closes: high where bars take back what they moved; 1 when closes rest."""
    return Feature(
        f"parkinson_ratio_{window}",
        Family.VOLATILITY,
        window + 1,
        lambda bars: ratio(_parkinson_volatility(bars, window), return_std(bars, window), otherwise=1.0),
    )


def true_range_trend(fast: int, slow: int) -> Feature:
    """Mean true range of the short window over that of the long one; 1 when both are flat."""
    return Feature(
        f"true_range_trend_{fast}_{slow}",
        Family.VOLATILITY,
        slow + 1,
        lambda bars: ratio(rolling_mean(bars.true_range, fast), rolling_mean(bars.true_range, slow), otherwise=1.0),
    )


def _jump_share(bars: Bars, window: int) -> Floats:
    size = np.abs(bars.log_return)
    neighbours = size * shift(size, 1)
    bipower = np.pi / 2 * rolling_sum(neighbours, window - 1) * window / (window - 1)
    return np.maximum(1 - ratio(bipower, rolling_sum(size**2, window), otherwise=1.0), 0.0)


def _relative_change(values: Floats, step: int) -> Floats:
    before = shift(values, step)
    return ratio(values - before, values + before)


def _mass_index(bars: Bars, window: int, total: int) -> Floats:
    once: Floats = talib.EMA(bars.high - bars.low, window)
    twice: Floats = talib.EMA(once, window)
    return rolling_mean(ratio(once, twice, otherwise=1.0), total) - 1


def _yang_zhang_variance(bars: Bars, window: int) -> Floats:
    opening = np.log(bars.open)
    gap, body = opening - np.log(bars.previous_close), bars.log_close - opening
    weight, unbiased = 0.34 / (1.34 + (window + 1) / (window - 1)), window / (window - 1)
    squares = unbiased * (gap**2 + weight * body**2) + (1 - weight) * _rogers_satchell_variance(bars)
    drift = rolling_mean(gap, window) ** 2 + weight * rolling_mean(body, window) ** 2
    return np.maximum(rolling_mean(squares, window) - unbiased * drift, 0.0)


def _parkinson_volatility(bars: Bars, window: int) -> Floats:
    volatility: Floats = np.sqrt(rolling_mean(bars.log_range**2, window) / (4 * np.log(2)))
    return volatility


def _garman_klass_variance(bars: Bars) -> Floats:
    body = bars.log_close - np.log(bars.open)
    variance: Floats = bars.log_range**2 / 2 - (2 * np.log(2) - 1) * body**2
    return np.maximum(variance, 0.0)


def _rogers_satchell_variance(bars: Bars) -> Floats:
    high, low, opening = np.log(bars.high), np.log(bars.low), np.log(bars.open)
    variance: Floats = (high - bars.log_close) * (high - opening) + (low - bars.log_close) * (low - opening)
    return np.maximum(variance, 0.0)


def _variation_coefficient(values: Floats, window: int) -> Floats:
    return ratio(rolling_std(values, window), rolling_mean(values, window))


VOLATILITY = (
    *(realised_volatility(window) for window in (12, 24, 48, 168)),
    volatility_ratio(4, 24),
    volatility_ratio(12, 96),
    volatility_ratio(24, 168),
    average_true_range(14),
    true_range_ratio(14),
    bollinger_width(20),
    bollinger_position(20),
    keltner_position(20),
    parkinson_volatility(24),
    garman_klass_volatility(24),
    rogers_satchell_volatility(24),
    yang_zhang_volatility(96),
    squeeze(20),
    volatility_zscore(24, 168),
    volatility_rank(12, 96),
    volatility_of_volatility(12, 48),
    volatility_of_volatility(24, 96),
    ulcer_index(14),
    jump_share(48),
    chaikin_volatility(10, 10),
    mass_index(9, 25),
    parkinson_ratio(48),
    true_range_trend(6, 48),
    downside_share(48),
    range_zscore(48),
)
