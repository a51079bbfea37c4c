"""What trading costs and how far a trade moves the price, estimated from bars alone."""

import numpy as np

from crp_pipeline.contracts import Floats
from crp_pipeline.features.feature import Bars, Family, Feature
from crp_pipeline.features.returns import return_std
from crp_pipeline.features.rolling import (
    ratio,
    rolling_covariance,
    rolling_mean,
    rolling_sum,
    rolling_variance,
    rolling_zscore,
    shift,
)

CORWIN_SCHULTZ = 3 - 2 * np.sqrt(2)
"""Constant of the estimator: two bars' common range counts the variance twice and the spread once."""


def illiquidity_ratio(fast: int, slow: int) -> Feature:
    """Absolute return per money traded, short window over long (Amihud 2002); 1 when neither moved."""
    return Feature(
        f"illiquidity_ratio_{fast}_{slow}",
        Family.VOLUME,
        slow + 1,
        lambda bars: ratio(rolling_mean(_illiquidity(bars), fast), rolling_mean(_illiquidity(bars), slow), otherwise=1.0),
    )


def illiquidity_zscore(window: int) -> Feature:
    """The bar's absolute return per money traded against the window's, in standard deviations (Amihud 2002)."""
    return Feature(
        f"illiquidity_zscore_{window}", Family.VOLUME, window + 1, lambda bars: rolling_zscore(_illiquidity(bars), window)
    )


def kyle_lambda(window: int) -> Feature:
    """Slope of the returns on the volume signed by them, for the mean volume, in volatilities (Kyle 1985); 0 when flat."""
    return Feature(f"kyle_lambda_{window}", Family.VOLUME, window + 1, lambda bars: _kyle_lambda(bars, window))


def roll_spread(window: int) -> Feature:
    """Spread that makes successive returns bounce as they do, as a share of the price (Roll 1984); 0 where they do not."""
    return Feature(f"roll_spread_{window}", Family.VOLUME, window + 2, lambda bars: _roll_spread(bars, window))


def corwin_schultz_spread(window: int) -> Feature:
    """Mean spread of the window by highs and lows of one and of two bars, as a share of the price, each at least 0.

    The range of two bars holds their variance twice, but the spread only once (Corwin & Schultz 2012).
    """
    return Feature(
        f"corwin_schultz_spread_{window}",
        Family.VOLUME,
        window + 1,
        lambda bars: rolling_mean(_corwin_schultz_spread(bars), window),
    )


def order_imbalance(window: int) -> Feature:
    """Volume that buyers or sellers have too much, over all volume, 0 to 1; 0 without volume.

    Of each bar's volume the buyers' share is the normal probability of its return in volatilities (bulk classification,
    Easley, Lopez de Prado & O'Hara 2012, in bars of time).
    """
    return Feature(f"order_imbalance_{window}", Family.VOLUME, 2 * window, lambda bars: _order_imbalance(bars, window))


def _illiquidity(bars: Bars) -> Floats:
    return ratio(np.abs(bars.log_return), bars.close * bars.volume)


def _kyle_lambda(bars: Bars, window: int) -> Floats:
    signed_volume = np.sign(bars.log_return) * bars.volume
    impact = rolling_covariance(bars.log_return, signed_volume, window) * rolling_mean(bars.volume, window)
    return ratio(impact, rolling_variance(signed_volume, window) * return_std(bars, window))


def _roll_spread(bars: Bars, window: int) -> Floats:
    covariance = rolling_covariance(bars.log_return, shift(bars.log_return, 1), window)
    return 2 * np.sqrt(np.maximum(-covariance, 0.0))


def _corwin_schultz_spread(bars: Bars) -> Floats:
    single = bars.log_range**2 + shift(bars.log_range, 1) ** 2
    high, low = np.maximum(bars.high, shift(bars.high, 1)), np.minimum(bars.low, shift(bars.low, 1))
    alpha = (np.sqrt(2 * single) - np.sqrt(single)) / CORWIN_SCHULTZ - (np.log(high) - np.log(low)) / np.sqrt(CORWIN_SCHULTZ)
    spread: Floats = 2 * np.tanh(alpha / 2)
    return np.maximum(spread, 0.0)


def _order_imbalance(bars: Bars, window: int) -> Floats:
    from scipy.special import erf

    # 2 * Phi(z) - 1 is the buyers' share less the sellers'
    one_sided = np.abs(erf(ratio(bars.log_return, return_std(bars, window)) / np.sqrt(2)))
    return ratio(rolling_sum(one_sided * bars.volume, window), rolling_sum(bars.volume, window))


LIQUIDITY = (
    illiquidity_ratio(12, 96),
    illiquidity_zscore(96),
    kyle_lambda(48),
    roll_spread(96),
    corwin_schultz_spread(24),
    order_imbalance(48),
)
