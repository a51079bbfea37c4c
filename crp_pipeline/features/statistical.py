"""Shape and memory of the returns."""

import numpy as np

from crp_pipeline.contracts import Floats
from crp_pipeline.features.feature import Bars, Family, Feature
from crp_pipeline.features.rolling import (
    highest,
    lowest,
    ratio,
    rolling_correlation,
    rolling_mean,
    rolling_std,
    rolling_sum,
    rolling_variance,
    rolling_zscore,
    shift,
)


def skewness(window: int) -> Feature:
    """Population skewness of the log returns; 0 in a flat window."""
    return Feature(f"skewness_{window}", Family.STATISTICAL, window + 1, lambda bars: _skewness(bars.log_return, window))


def excess_kurtosis(window: int) -> Feature:
    """Population kurtosis of the log returns less 3; 0 in a flat window."""
    return Feature(
        f"excess_kurtosis_{window}",
        Family.STATISTICAL,
        window + 1,
        lambda bars: _excess_kurtosis(bars.log_return, window),
    )


def autocorrelation(window: int, lag: int) -> Feature:
    """Correlation of the log returns with those some bars before, -1 to 1."""
    return Feature(
        f"autocorrelation_{window}_{lag}",
        Family.STATISTICAL,
        window + lag + 1,
        lambda bars: rolling_correlation(bars.log_return, shift(bars.log_return, lag), window),
    )


def volatility_clustering(window: int) -> Feature:
    """Correlation of the absolute log returns with those of the bar before, -1 to 1."""
    return Feature(
        f"volatility_clustering_{window}",
        Family.STATISTICAL,
        window + 2,
        lambda bars: rolling_correlation(np.abs(bars.log_return), shift(np.abs(bars.log_return), 1), window),
    )


def return_zscore(window: int) -> Feature:
    """The bar's log return against those of the window, in standard deviations; 0 in a flat window."""
    return Feature(
        f"return_zscore_{window}", Family.STATISTICAL, window + 1, lambda bars: rolling_zscore(bars.log_return, window)
    )


def price_zscore(window: int) -> Feature:
    """Log close against its mean over the window, in standard deviations; 0 in a flat window."""
    return Feature(
        f"price_zscore_{window}",
        Family.STATISTICAL,
        window,
        lambda bars: rolling_zscore(np.log(bars.relative.close), window),
    )


def variance_ratio(step: int, window: int) -> Feature:
    """Variance of several bars' returns over a random walk's: above 1 trends, below 1 reverts (Lo & MacKinlay 1988)."""
    return Feature(
        f"variance_ratio_{step}_{window}",
        Family.STATISTICAL,
        window + step,
        lambda bars: ratio(
            rolling_variance(bars.log_close - shift(bars.log_close, step), window),
            step * rolling_variance(bars.log_return, window),
            otherwise=1.0,
        ),
    )


def direction_entropy(window: int) -> Feature:
    """Entropy in bits of up against not-up bars: 1 when even, 0 when all alike."""
    return Feature(f"direction_entropy_{window}", Family.STATISTICAL, window + 1, lambda bars: _direction_entropy(bars, window))


def reversal_share(window: int) -> Feature:
    """Share of bars in the window that went against the bar before."""
    return Feature(
        f"reversal_share_{window}",
        Family.STATISTICAL,
        window + 2,
        lambda bars: rolling_mean((bars.log_return * shift(bars.log_return, 1) < 0).astype(np.float64), window),
    )


def largest_move_share(window: int) -> Feature:
    """Largest absolute return over the sum of all in the window, 1/window to 1; 0 in a flat window."""
    return Feature(
        f"largest_move_share_{window}",
        Family.STATISTICAL,
        window + 1,
        lambda bars: ratio(highest(np.abs(bars.log_return), window), rolling_sum(np.abs(bars.log_return), window)),
    )


def range_over_volatility(window: int) -> Feature:
    """Range of the log closes over that of a random walk's scale, volatility times sqrt(window); 0 in a flat window."""
    return Feature(
        f"range_over_volatility_{window}",
        Family.STATISTICAL,
        window + 1,
        lambda bars: ratio(
            highest(bars.log_close, window) - lowest(bars.log_close, window),
            rolling_std(bars.log_return, window) * np.sqrt(window),
        ),
    )


def _skewness(values: Floats, window: int) -> Floats:
    square = values * values
    mean, mean_square, mean_cube = (rolling_mean(power, window) for power in (values, square, values * square))
    third_moment = mean_cube - 3 * mean * mean_square + 2 * mean * mean * mean
    return ratio(third_moment, rolling_variance(values, window) * rolling_std(values, window))


def _excess_kurtosis(values: Floats, window: int) -> Floats:
    square = values * values
    mean, mean_square = rolling_mean(values, window), rolling_mean(square, window)
    mean_cube, mean_fourth = rolling_mean(values * square, window), rolling_mean(square * square, window)
    squared_mean = mean * mean
    fourth_moment = mean_fourth - 4 * mean * mean_cube + 6 * squared_mean * mean_square - 3 * squared_mean * squared_mean
    return ratio(fourth_moment, rolling_variance(values, window) ** 2, otherwise=3.0) - 3


def _direction_entropy(bars: Bars, window: int) -> Floats:
    from scipy.special import entr

    up = rolling_mean((bars.log_return > 0).astype(np.float64), window)
    entropy: Floats = (entr(up) + entr(1 - up)) / np.log(2)
    return entropy


STATISTICAL = (
    skewness(48),
    excess_kurtosis(48),
    autocorrelation(48, 1),
    volatility_clustering(96),
    return_zscore(48),
    price_zscore(96),
    variance_ratio(4, 96),
    direction_entropy(24),
    reversal_share(24),
    largest_move_share(24),
    range_over_volatility(96),
)
