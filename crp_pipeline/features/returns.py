"""The coin's log returns over trailing windows, on which features of most families stand."""

from crp_pipeline.contracts import Floats
from crp_pipeline.features.feature import Bars, remembered
from crp_pipeline.features.rolling import rolling_std, rolling_variance


@remembered
def return_variance(bars: Bars, window: int) -> Floats:
    """Population variance of the log returns in the window."""
    return rolling_variance(bars.log_return, window)


@remembered
def return_std(bars: Bars, window: int) -> Floats:
    """Population standard deviation of the log returns in the window, per bar."""
    return rolling_std(bars.log_return, window)
