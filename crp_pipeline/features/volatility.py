"""How much the price moves, whichever way. Volatilities are per bar, in log returns."""

import numpy as np
import talib

from crp_pipeline.contracts import Floats
from crp_pipeline.features.feature import Bars, Family, Feature, ema_warm_up, wilder_warm_up
from crp_pipeline.features.rolling import ratio, rolling_mean, rolling_std, rolling_sum, rolling_zscore


def realised_volatility(window: int) -> Feature:
    """Standard deviation of the log returns in the window, per bar."""
    return Feature(
        f"realised_volatility_{window}",
        Family.VOLATILITY,
        window + 1,
        lambda bars: rolling_std(bars.log_return, window),
    )


def volatility_ratio(fast: int, slow: int) -> Feature:
    """Volatility of the short window over that of the long one; 1 when both are flat."""
    return Feature(
        f"volatility_ratio_{fast}_{slow}",
        Family.VOLATILITY,
        slow + 1,
        lambda bars: ratio(rolling_std(bars.log_return, fast), rolling_std(bars.log_return, slow), otherwise=1.0),
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
        lambda bars: np.sqrt(rolling_mean(bars.log_range**2, window) / (4 * np.log(2))),
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
        lambda bars: _variation_coefficient(rolling_std(bars.log_return, fast), slow),
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
    *(realised_volatility(window) for window in (12, 48, 168)),
    volatility_ratio(12, 96),
    average_true_range(14),
    true_range_ratio(14),
    bollinger_width(20),
    bollinger_position(20),
    keltner_position(20),
    parkinson_volatility(24),
    garman_klass_volatility(24),
    rogers_satchell_volatility(24),
    volatility_of_volatility(24, 96),
    downside_share(48),
    range_zscore(48),
)
