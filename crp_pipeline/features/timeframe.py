"""Longer bars seen from shorter ones: out of hourly bars, those of four hours and of a day.

A longer bar is known when it ends, not when it opens: each bar sees the latest one that has ended by its own close. Longer
bars are those of the UTC clock, so that a bar's value does not depend on where its segment starts.
"""

import numpy as np

from crp_pipeline.contracts import Floats, Ints
from crp_pipeline.features.feature import Bars, Family, Feature
from crp_pipeline.features.momentum import log_return, return_over_volatility, up_share
from crp_pipeline.features.price_action import body_share, channel_position, close_location
from crp_pipeline.features.trend import distance_to_sma, efficiency_ratio
from crp_pipeline.features.volatility import bollinger_position, realised_volatility, volatility_ratio
from crp_pipeline.features.volume import chaikin_money_flow, log_volume_deviation


def at_timeframe(feature: Feature, multiple: int) -> Feature:
    """The feature on bars `multiple` times as long, as of the latest of them that has ended."""
    return Feature(
        f"{feature.name}_x{multiple}",
        feature.family,
        (feature.lookback + 1) * multiple - 1,
        lambda bars: _as_of(feature.compute(bars.longer(multiple)), bars.latest_ended(multiple)),
        warm_up=feature.warm_up * multiple,
        summary=f"{feature.description.removesuffix('.')}; on bars {multiple} times as long, the latest that has ended.",
    )


def pivot_distance(multiple: int) -> Feature:
    """Close relative to the typical price of the latest longer bar that has ended: of hourly bars, yesterday's pivot."""
    return Feature(
        f"pivot_distance_x{multiple}",
        Family.PRICE_ACTION,
        2 * multiple - 1,
        lambda bars: bars.close / _as_of(bars.longer(multiple).typical_price, bars.latest_ended(multiple)) - 1,
    )


def return_so_far(multiple: int) -> Feature:
    """Log of the close over the open of the longer bar under way: of hourly bars, today's return so far."""
    return Feature(
        f"return_so_far_x{multiple}",
        Family.MOMENTUM,
        multiple,
        lambda bars: bars.log_close - np.log(bars.open[_opened(bars, multiple)]),
    )


def _as_of(values: Floats, position: Ints) -> Floats:
    """(n,) of the longer bars' values; NaN where none has ended."""
    if not len(values):
        return np.full(len(position), np.nan)
    return np.where(position >= 0, values[position], np.nan)


def _opened(bars: Bars, multiple: int) -> Ints:
    """Bar with which the longer bar under way opened; the segment's first where that lies before it: (n,)."""
    opens: Ints = bars.open_time.as_unit("ns").asi8
    opened: Ints = np.maximum(np.arange(len(bars)) - opens // bars.interval.value % multiple, 0)
    return opened


TIMEFRAMES = (
    *(at_timeframe(log_return(bars_back), 4) for bars_back in (1, 6)),
    at_timeframe(return_over_volatility(12), 4),
    at_timeframe(up_share(12), 4),
    *(at_timeframe(distance_to_sma(window), 4) for window in (10, 50)),
    at_timeframe(efficiency_ratio(20), 4),
    at_timeframe(bollinger_position(20), 4),
    at_timeframe(volatility_ratio(12, 48), 4),
    at_timeframe(chaikin_money_flow(20), 4),
    at_timeframe(body_share(), 4),
    pivot_distance(24),
    return_so_far(24),
    *(at_timeframe(log_return(bars_back), 24) for bars_back in (1, 5)),
    at_timeframe(distance_to_sma(10), 24),
    at_timeframe(efficiency_ratio(10), 24),
    at_timeframe(channel_position(10), 24),
    at_timeframe(realised_volatility(10), 24),
    at_timeframe(body_share(), 24),
    at_timeframe(close_location(3), 24),
    at_timeframe(log_volume_deviation(7), 24),
)
