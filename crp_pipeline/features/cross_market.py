"""This coin against the mean of the others.

A coin that lists later or misses a bar is absent from the mean of that bar. Where no other coin is known throughout
the window the value is NaN; without a market every column is.
"""

import numpy as np

from crp_pipeline.contracts import Floats
from crp_pipeline.features.feature import Bars, Family, Feature
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
        lambda bars: ratio(
            rolling_covariance(bars.log_return, bars.market_log_return, window),
            rolling_variance(bars.market_log_return, window),
        ),
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
        lambda bars: ratio(rolling_std(bars.log_return, window), rolling_std(bars.market_log_return, window), otherwise=1.0),
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
        lambda bars: ratio(rolling_mean(_dispersion(bars), window), rolling_std(bars.log_return, window)),
    )


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
    market_correlation(96),
    market_beta(96),
    market_lead(96),
    spread_zscore(24, 96),
    market_volatility_ratio(48),
    market_breadth(12),
    market_dispersion(24),
)
