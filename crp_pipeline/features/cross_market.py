"""This coin against the mean of the others.

A coin that lists later or misses a bar is absent from the mean of that bar. Where no other coin is known throughout
the window the value is NaN; without a market every column is.
"""

import numpy as np

from crp_pipeline.contracts import Floats
from crp_pipeline.features.feature import Bars, Family, Feature
from crp_pipeline.features.kernels import deepest_fall
from crp_pipeline.features.returns import return_std
from crp_pipeline.features.rolling import (
    ratio,
    rolling_correlation,
    rolling_covariance,
    rolling_mean,
    rolling_std,
    rolling_sum,
    rolling_variance,
    rolling_zscore,
    shift,
)


def market_return(bars_back: int) -> Feature:
    """Mean log return of the other coins over the last bars."""
    return Feature(
        f"market_return_{bars_back}",
        Family.CROSS_MARKET,
        bars_back + 1,
        lambda bars: rolling_sum(bars.market_log_return, bars_back),
    )


def relative_strength(bars_back: int) -> Feature:
    """Log return of the coin less the mean of the others over the last bars."""
    return Feature(
        f"relative_strength_{bars_back}",
        Family.CROSS_MARKET,
        bars_back + 1,
        lambda bars: rolling_sum(bars.log_return - bars.market_log_return, bars_back),
    )


def market_correlation(window: int) -> Feature:
    """Correlation of the coin's log returns with the others' mean, -1 to 1; 0 where one stands still."""
    return Feature(
        f"market_correlation_{window}",
        Family.CROSS_MARKET,
        window + 1,
        lambda bars: rolling_correlation(bars.log_return, bars.market_log_return, window),
    )


def market_beta(window: int) -> Feature:
    """Slope of the coin's log returns on the others' mean; 0 where the others stand still."""
    return Feature(
        f"market_beta_{window}",
        Family.CROSS_MARKET,
        window + 1,
        lambda bars: _beta(bars, window),
    )


def market_lead(window: int) -> Feature:
    """Correlation of the coin's log return with the others' mean one bar earlier, -1 to 1."""
    return Feature(
        f"market_lead_{window}",
        Family.CROSS_MARKET,
        window + 2,
        lambda bars: rolling_correlation(bars.log_return, shift(bars.market_log_return, 1), window),
    )


def spread_zscore(bars_back: int, window: int) -> Feature:
    """Relative strength over the last bars against its own window, in standard deviations; 0 when constant."""
    return Feature(
        f"spread_zscore_{bars_back}_{window}",
        Family.CROSS_MARKET,
        bars_back + window,
        lambda bars: rolling_zscore(rolling_sum(bars.log_return - bars.market_log_return, bars_back), window),
    )


def market_volatility_ratio(window: int) -> Feature:
    """Volatility of the coin over that of the others' mean; 1 where the others stand still."""
    return Feature(
        f"market_volatility_ratio_{window}",
        Family.CROSS_MARKET,
        window + 1,
        lambda bars: ratio(return_std(bars, window), rolling_std(bars.market_log_return, window), otherwise=1.0),
    )


def market_breadth(window: int) -> Feature:
    """Share of the other coins that rose, averaged over the window."""
    return Feature(
        f"market_breadth_{window}", Family.CROSS_MARKET, window + 1, lambda bars: rolling_mean(_share_up(bars), window)
    )


def market_dispersion(window: int) -> Feature:
    """Mean spread of the others' log returns around their mean, in volatilities of the coin; 0 when it is flat."""
    return Feature(
        f"market_dispersion_{window}",
        Family.CROSS_MARKET,
        window + 1,
        lambda bars: ratio(rolling_mean(_dispersion(bars), window), return_std(bars, window)),
    )


def return_rank(bars_back: int) -> Feature:
    """Share of the other coins that the coin beat over the last bars, equal ones counted half: 0 to 1.

    Counted are the coins that have every bar of the window.
    """
    return Feature(f"return_rank_{bars_back}", Family.CROSS_MARKET, bars_back + 1, lambda bars: _return_rank(bars, bars_back))


def residual_return(bars_back: int, window: int) -> Feature:
    """Log return of the coin over the last bars less that of the others' mean times its beta over the window."""
    return Feature(
        f"residual_return_{bars_back}_{window}",
        Family.CROSS_MARKET,
        window + 1,
        lambda bars: (
            rolling_sum(bars.log_return, bars_back) - _beta(bars, window) * rolling_sum(bars.market_log_return, bars_back)
        ),
    )


def downside_beta(window: int) -> Feature:
    """Slope through 0 of the coin's log returns on the others' mean in bars where that fell; 0 where it never did.

    The semi-beta of Bawa & Lindenberg (1977).
    """
    return Feature(
        f"downside_beta_{window}",
        Family.CROSS_MARKET,
        window + 1,
        lambda bars: ratio(
            rolling_sum(bars.log_return * _market_fall(bars), window),
            rolling_sum(_market_fall(bars) ** 2, window),
        ),
    )


def market_lead_over(bars_ahead: int, window: int) -> Feature:
    """Correlation of the coin's log return with the others' mean over the bars before it, -1 to 1."""
    return Feature(
        f"market_lead_{bars_ahead}_{window}",
        Family.CROSS_MARKET,
        window + bars_ahead + 1,
        lambda bars: rolling_correlation(bars.log_return, shift(rolling_sum(bars.market_log_return, bars_ahead), 1), window),
    )


def market_drawdown(window: int) -> Feature:
    """Log of the others' mean level over its highest in the window, at most 0."""
    return Feature(
        f"market_drawdown_{window}",
        Family.CROSS_MARKET,
        window,
        lambda bars: deepest_fall(bars.market_log_return, window - 1),
    )


def market_volatility_change(fast: int, slow: int) -> Feature:
    """Volatility of the others' mean in the short window over that in the long one; 1 when both are flat."""
    return Feature(
        f"market_volatility_change_{fast}_{slow}",
        Family.CROSS_MARKET,
        slow + 1,
        lambda bars: ratio(rolling_std(bars.market_log_return, fast), rolling_std(bars.market_log_return, slow), otherwise=1.0),
    )


def market_dispersion_change(fast: int, slow: int) -> Feature:
    """Mean spread of the others' log returns around their mean, short window over long; 1 when all move alike."""
    return Feature(
        f"market_dispersion_change_{fast}_{slow}",
        Family.CROSS_MARKET,
        slow + 1,
        lambda bars: _change_of_mean(_dispersion(bars), fast, slow),
    )


def market_cohesion(window: int) -> Feature:
    """Share of the others' squared log returns that their mean explains, 0 to 1: how much they move as one; 1 when flat."""
    return Feature(
        f"market_cohesion_{window}",
        Family.CROSS_MARKET,
        window + 1,
        lambda bars: ratio(
            rolling_sum(bars.market_log_return**2, window),
            rolling_sum(_mean_of_known(bars.market_log_returns**2), window),
            otherwise=1.0,
        ),
    )


def _beta(bars: Bars, window: int) -> Floats:
    covariance = rolling_covariance(bars.log_return, bars.market_log_return, window)
    return ratio(covariance, rolling_variance(bars.market_log_return, window))


def _market_fall(bars: Bars) -> Floats:
    return np.minimum(bars.market_log_return, 0.0)


def _change_of_mean(values: Floats, fast: int, slow: int) -> Floats:
    return ratio(rolling_mean(values, fast), rolling_mean(values, slow), otherwise=1.0)


def _return_rank(bars: Bars, bars_back: int) -> Floats:
    own = rolling_sum(bars.log_return, bars_back)
    beaten, n_known = np.zeros(len(bars)), np.zeros(len(bars))
    for returns in bars.market_log_returns:
        other = rolling_sum(returns, bars_back)
        beaten += (other < own) + 0.5 * (other == own)
        n_known += ~np.isnan(other)
    return ratio(beaten, n_known, otherwise=np.nan)


def _mean_of_known(values: Floats) -> Floats:
    is_known = np.isfinite(values)
    n_known = is_known.sum(axis=0)
    return np.where(n_known > 0, np.where(is_known, values, 0.0).sum(axis=0) / np.maximum(n_known, 1), np.nan)


def _share_up(bars: Bars) -> Floats:
    returns = bars.market_log_returns
    return _mean_of_known(np.where(np.isfinite(returns), returns > 0, np.nan))


def _dispersion(bars: Bars) -> Floats:
    return np.sqrt(_mean_of_known((bars.market_log_returns - bars.market_log_return) ** 2))


CROSS_MARKET = (
    *(market_return(bars_back) for bars_back in (1, 4, 24)),
    *(relative_strength(bars_back) for bars_back in (4, 24)),
    *(market_correlation(window) for window in (24, 96)),
    *(market_beta(window) for window in (24, 96)),
    market_lead(96),
    spread_zscore(24, 96),
    market_volatility_ratio(48),
    *(market_breadth(window) for window in (12, 48)),
    market_dispersion(24),
    return_rank(24),
    residual_return(24, 96),
    downside_beta(96),
    market_lead_over(4, 96),
    market_drawdown(96),
    market_volatility_change(48, 168),
    market_dispersion_change(24, 168),
    market_cohesion(48),
)
