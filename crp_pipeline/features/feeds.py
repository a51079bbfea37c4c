"""Funding, open interest and sentiment, as known at each close.

A feed has a step of its own, often longer than a bar: its latest value stands until the next one is known. Where it is
unknown the value is NaN, and so is that of every window that holds an unknown one; a change needs both of its ends. Without
the feed the whole column is NaN.
"""

import numpy as np

from crp_pipeline.contracts import Floats
from crp_pipeline.features.feature import Bars, Family, Feature
from crp_pipeline.features.rolling import rolling_correlation, rolling_mean, rolling_zscore, shift

FUNDING_RATE, OPEN_INTEREST, FEAR_GREED = "funding_rate", "open_interest", "fear_greed"
"""The feed columns that the catalogue reads: share of notional per funding period, any unit, 0 to 100."""


def funding_bps_mean(window: int) -> Feature:
    """Mean funding rate over the window."""
    return Feature(
        f"funding_bps_mean_{window}", Family.CROSS_MARKET, window, lambda bars: rolling_mean(_funding_bps(bars), window)
    )


def funding_bps_change(bars_back: int) -> Feature:
    """Funding rate less that of some bars ago."""
    return Feature(
        f"funding_bps_change_{bars_back}",
        Family.CROSS_MARKET,
        bars_back + 1,
        lambda bars: _change(_funding_bps(bars), bars_back),
    )


def funding_zscore(window: int) -> Feature:
    """Funding rate against its window, in standard deviations; 0 when constant."""
    return Feature(
        f"funding_zscore_{window}", Family.CROSS_MARKET, window, lambda bars: rolling_zscore(_funding_bps(bars), window)
    )


def open_interest_change(bars_back: int) -> Feature:
    """Log change of open interest over the last bars."""
    return Feature(
        f"open_interest_change_{bars_back}",
        Family.CROSS_MARKET,
        bars_back + 1,
        lambda bars: _change(_log_open_interest(bars), bars_back),
    )


def open_interest_zscore(window: int) -> Feature:
    """Log open interest against its window, in standard deviations; 0 when constant."""
    return Feature(
        f"open_interest_zscore_{window}",
        Family.CROSS_MARKET,
        window,
        lambda bars: rolling_zscore(_log_open_interest(bars), window),
    )


def open_interest_return_correlation(window: int) -> Feature:
    """Correlation of the log changes of open interest and price, -1 to 1; 0 where one of the two stands still."""
    return Feature(
        f"open_interest_return_correlation_{window}",
        Family.CROSS_MARKET,
        window + 1,
        lambda bars: rolling_correlation(_change(_log_open_interest(bars), 1), bars.log_return, window),
    )


def fear_greed_change(bars_back: int) -> Feature:
    """Fear and greed index less that of some bars ago."""
    return Feature(
        f"fear_greed_change_{bars_back}", Family.CROSS_MARKET, bars_back + 1, lambda bars: _change(_fear_greed(bars), bars_back)
    )


def _funding_bps(bars: Bars) -> Floats:
    """Funding rate that longs pay, per funding period."""
    return 1e4 * bars.feed(FUNDING_RATE)


def _log_open_interest(bars: Bars) -> Floats:
    """Unknown where it is not positive."""
    open_interest = bars.feed(OPEN_INTEREST)
    return np.log(np.where(open_interest > 0, open_interest, np.nan))


def _fear_greed(bars: Bars) -> Floats:
    """Fear and greed index, 0 for extreme fear to 1 for extreme greed."""
    return bars.feed(FEAR_GREED) / 100


def _change(values: Floats, bars_back: int) -> Floats:
    return values - shift(values, bars_back)


FEEDS = (
    Feature("funding_bps", Family.CROSS_MARKET, 1, _funding_bps),
    funding_bps_mean(72),
    funding_bps_change(24),
    funding_zscore(168),
    open_interest_change(24),
    open_interest_zscore(168),
    open_interest_return_correlation(48),
    Feature("fear_greed", Family.CROSS_MARKET, 1, _fear_greed),
    *(fear_greed_change(bars_back) for bars_back in (24, 168)),
)
