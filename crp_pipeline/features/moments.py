"""Third and fourth moments over trailing windows, for returns and for volumes."""

import numpy as np

from crp_pipeline.contracts import Floats
from crp_pipeline.features.rolling import ratio, rolling_mean, variance_of


def rolling_skewness(values: Floats, window: int) -> Floats:
    """Population skewness of the window; 0 in a constant one."""
    square = values * values
    mean, mean_square, mean_cube = (rolling_mean(power, window) for power in (values, square, values * square))
    third_moment = mean_cube - 3 * mean * mean_square + 2 * mean * mean * mean
    variance = variance_of(mean, mean_square)
    return ratio(third_moment, variance * np.sqrt(variance))


def rolling_excess_kurtosis(values: Floats, window: int) -> Floats:
    """Population kurtosis of the window less 3; 0 in a constant one."""
    square = values * values
    mean, mean_square = rolling_mean(values, window), rolling_mean(square, window)
    mean_cube, mean_fourth = rolling_mean(values * square, window), rolling_mean(square * square, window)
    squared_mean = mean * mean
    fourth_moment = mean_fourth - 4 * mean * mean_cube + 6 * squared_mean * mean_square - 3 * squared_mean * squared_mean
    return ratio(fourth_moment, variance_of(mean, mean_square) ** 2, otherwise=3.0) - 3
