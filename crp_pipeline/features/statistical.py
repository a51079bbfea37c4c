"""Shape and memory of the returns."""

import numpy as np

from crp_pipeline.contracts import Floats
from crp_pipeline.features.feature import Bars, Family, Feature, remembered
from crp_pipeline.features.kernels import rolling_entropy, rolling_percentile, rolling_quantiles, weighted_sum
from crp_pipeline.features.moments import rolling_excess_kurtosis, rolling_skewness
from crp_pipeline.features.returns import return_std, return_variance
from crp_pipeline.features.rolling import (
    highest,
    lowest,
    ratio,
    rolling_correlation,
    rolling_covariance,
    rolling_mean,
    rolling_sum,
    rolling_variance,
    rolling_zscore,
    shift,
)

HURST_LAGS = (1, 2, 4, 8, 16)
HAAR_LEVELS = 5
TAIL = 0.05


def skewness(window: int) -> Feature:
    """Population skewness of the log returns; 0 in a flat window."""
    return Feature(f"skewness_{window}", Family.STATISTICAL, window + 1, lambda bars: rolling_skewness(bars.log_return, window))


def excess_kurtosis(window: int) -> Feature:
    """Population kurtosis of the log returns less 3; 0 in a flat window."""
    return Feature(
        f"excess_kurtosis_{window}",
        Family.STATISTICAL,
        window + 1,
        lambda bars: rolling_excess_kurtosis(bars.log_return, window),
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
            step * return_variance(bars, window),
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
            return_std(bars, window) * np.sqrt(window),
        ),
    )


def fractionally_differenced_price(window: int, order: float = 0.4) -> Feature:
    """Log close differenced a fraction of once, weights cut off at the window, in volatilities; 0 in a flat window.

    Stationary, but it remembers the way here, which a return forgets (Lopez de Prado 2018, chapter 5). The price counts
    from the window's oldest close, so that its level has no weight.
    """
    return Feature(
        f"fractionally_differenced_price_{window}",
        Family.STATISTICAL,
        window,
        lambda bars: ratio(weighted_sum(bars.log_return, _weights_of_returns(order, window)), return_std(bars, window - 1)),
    )


def permutation_entropy(window: int) -> Feature:
    """Entropy of the orders in which three closes in a row lie, 1 when all six are as frequent, 0 when there is one.

    Equal closes count as rising (Bandt & Pompe 2002, order 3).
    """
    return Feature(
        f"permutation_entropy_{window}", Family.STATISTICAL, window + 2, lambda bars: _permutation_entropy(bars.close, window)
    )


def hurst_exponent(window: int) -> Feature:
    """Power of the lag with which root mean squared moves grow, 0 to 1: above 1/2 trends, below reverts; 1/2 when flat.

    The slope in logarithms over lags of 1, 2, 4, 8 and 16 bars (Di Matteo 2007, of second order).
    """
    return Feature(
        f"hurst_exponent_{window}", Family.STATISTICAL, window + HURST_LAGS[-1], lambda bars: _hurst_exponent(bars, window)
    )


def wavelet_energy(level: int, window: int) -> Feature:
    """Share of the window's Haar wavelet energy at swings of about 2^level bars, of five levels; 0 in a flat window.

    The wavelet of a bar looks back from it (a trous, without the centring of a smoother).
    """
    return Feature(
        f"wavelet_energy_{level}_{window}",
        Family.STATISTICAL,
        window + 2**HAAR_LEVELS - 1,
        lambda bars: _wavelet_energy(bars, level, window),
    )


def price_rank(window: int) -> Feature:
    """Share of the window's other closes that lie below the last one, equal ones counted half: 0 to 1."""
    return Feature(f"price_rank_{window}", Family.STATISTICAL, window, lambda bars: rolling_percentile(bars.close, window))


def mean_reversion_speed(window: int) -> Feature:
    """Share of its distance to the mean that the log close makes up per bar, by AR(1); below 0 it runs away, 0 when flat."""
    return Feature(
        f"mean_reversion_speed_{window}",
        Family.STATISTICAL,
        window + 1,
        lambda bars: _mean_reversion_speed(np.log(bars.relative.close), window),
    )


def quantile_skewness(window: int) -> Feature:
    """How much further the upper 5% quantile of the log returns lies from the median than the lower one, -1 to 1.

    Skewness that no single bar decides (Hinkley 1975); 0 in a flat window.
    """
    return Feature(
        f"quantile_skewness_{window}",
        Family.STATISTICAL,
        window + 1,
        lambda bars: _quantile_skewness(bars.log_return, window),
    )


def leverage_effect(window: int) -> Feature:
    """Correlation of the absolute log returns with the log return of the bar before, -1 to 1 (Black 1976)."""
    return Feature(
        f"leverage_effect_{window}",
        Family.STATISTICAL,
        window + 2,
        lambda bars: rolling_correlation(np.abs(bars.log_return), shift(bars.log_return, 1), window),
    )


def _weights_of_returns(order: float, window: int) -> Floats:
    """Weights of the returns, the latest first, that weight the prices as the binomial series of (1 - lag)^order does."""
    lags = np.arange(1, window - 1)
    of_prices = np.concatenate([[1.0], np.cumprod((lags - 1 - order) / lags)])
    return np.cumsum(of_prices)


def _permutation_entropy(close: Floats, window: int) -> Floats:
    first, second = shift(close, 2), shift(close, 1)
    order = 4 * (first <= second) + 2 * (first <= close) + (second <= close)
    entropy: Floats = rolling_entropy(order, 8, window) / np.log(6)
    return entropy


def _hurst_exponent(bars: Bars, window: int) -> Floats:
    """Half the least-squares slope of the log of the squared moves on the log of the lag."""
    distance = np.log(HURST_LAGS) - np.log(HURST_LAGS).mean()
    slope, is_flat = np.zeros(len(bars)), np.zeros(len(bars), dtype=bool)
    for lag, weight in zip(HURST_LAGS, distance / np.sum(distance**2), strict=True):
        move = bars.log_close - shift(bars.log_close, lag)
        energy = rolling_sum(move * move, window)
        is_flat |= energy == 0
        slope += weight * np.log(np.where(is_flat, 1.0, energy))
    return np.where(is_flat, 0.5, np.clip(slope / 2, 0.0, 1.0))


def _wavelet_energy(bars: Bars, level: int, window: int) -> Floats:
    energies = _haar_energies(bars)
    return ratio(rolling_sum(energies[level - 1], window), _haar_total(bars, window))


@remembered
def _haar_energies(bars: Bars) -> list[Floats]:
    """Squared details of the a trous Haar transform of the log closes, level by level."""
    smooth, energies = bars.log_close, []
    for number in range(HAAR_LEVELS):
        before = shift(smooth, 2**number)
        energies.append(((smooth - before) / 2) ** 2)
        smooth = (smooth + before) / 2
    return energies


@remembered
def _haar_total(bars: Bars, window: int) -> Floats:
    return rolling_sum(np.sum(_haar_energies(bars), axis=0), window)


def _mean_reversion_speed(log_close: Floats, window: int) -> Floats:
    before = shift(log_close, 1)
    return -ratio(rolling_covariance(log_close - before, before, window), rolling_variance(before, window))


def _quantile_skewness(values: Floats, window: int) -> Floats:
    lower, median, upper = rolling_quantiles(values, window, np.array([TAIL, 0.5, 1 - TAIL]))
    return ratio((upper - median) - (median - lower), upper - lower)


def _direction_entropy(bars: Bars, window: int) -> Floats:
    from scipy.special import entr

    up = rolling_mean((bars.log_return > 0).astype(np.float64), window)
    entropy: Floats = (entr(up) + entr(1 - up)) / np.log(2)
    return entropy


STATISTICAL = (
    *(skewness(window) for window in (48, 168)),
    *(excess_kurtosis(window) for window in (48, 168)),
    *(autocorrelation(48, lag) for lag in (1, 2)),
    autocorrelation(96, 24),
    volatility_clustering(96),
    return_zscore(48),
    price_zscore(96),
    variance_ratio(4, 96),
    direction_entropy(24),
    reversal_share(24),
    largest_move_share(24),
    range_over_volatility(96),
    fractionally_differenced_price(168),
    permutation_entropy(48),
    hurst_exponent(96),
    *(wavelet_energy(level, 96) for level in (1, 2, 3, 4)),
    price_rank(96),
    mean_reversion_speed(96),
    quantile_skewness(96),
    leverage_effect(96),
)
