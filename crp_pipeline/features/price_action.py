"""What single bars and the extremes before them look like."""

import numpy as np
import talib

from crp_pipeline.contracts import Bools, Floats
from crp_pipeline.features.feature import Bars, Family, Feature
from crp_pipeline.features.kernels import age_of_highest, share_of_bars_across
from crp_pipeline.features.returns import return_std
from crp_pipeline.features.rolling import (
    highest,
    lowest,
    range_position,
    ratio,
    rolling_mean,
    rolling_sum,
    shift,
)


def body_share() -> Feature:
    """Close less open over the bar's range, -1 to 1; 0 in a flat bar."""
    return Feature("body_share", Family.PRICE_ACTION, 1, lambda bars: ratio(bars.close - bars.open, bars.high - bars.low))


def upper_wick_share() -> Feature:
    """Range above the body over the bar's range, 0 to 1; 0 in a flat bar."""
    return Feature(
        "upper_wick_share",
        Family.PRICE_ACTION,
        1,
        lambda bars: ratio(bars.high - np.maximum(bars.open, bars.close), bars.high - bars.low),
    )


def lower_wick_share() -> Feature:
    """Range below the body over the bar's range, 0 to 1; 0 in a flat bar."""
    return Feature(
        "lower_wick_share",
        Family.PRICE_ACTION,
        1,
        lambda bars: ratio(np.minimum(bars.open, bars.close) - bars.low, bars.high - bars.low),
    )


def close_location(window: int) -> Feature:
    """Mean over the window of where each bar closed in its own range, 0 to 1; one half for a flat bar."""
    return Feature(
        f"close_location_{window}",
        Family.PRICE_ACTION,
        window,
        lambda bars: rolling_mean(ratio(bars.close - bars.low, bars.high - bars.low, otherwise=0.5), window),
    )


def opening_gap(window: int) -> Feature:
    """Log of the open over the close before, in standard deviations of the window's returns; 0 in a flat window."""
    return Feature(
        f"opening_gap_{window}",
        Family.PRICE_ACTION,
        window + 1,
        lambda bars: ratio(np.log(bars.open) - np.log(bars.previous_close), return_std(bars, window)),
    )


def breakout_up(window: int) -> Feature:
    """Close relative to the highest high of the bars before it; positive on a break."""
    return Feature(
        f"breakout_up_{window}",
        Family.PRICE_ACTION,
        window + 1,
        lambda bars: bars.close / shift(highest(bars.high, window), 1) - 1,
    )


def breakout_down(window: int) -> Feature:
    """Close relative to the lowest low of the bars before it; negative on a break."""
    return Feature(
        f"breakout_down_{window}",
        Family.PRICE_ACTION,
        window + 1,
        lambda bars: bars.close / shift(lowest(bars.low, window), 1) - 1,
    )


def drawdown(window: int) -> Feature:
    """Close relative to the highest close of the window, at most 0."""
    return Feature(f"drawdown_{window}", Family.PRICE_ACTION, window, lambda bars: bars.close / highest(bars.close, window) - 1)


def recovery(window: int) -> Feature:
    """Close relative to the lowest close of the window, at least 0."""
    return Feature(f"recovery_{window}", Family.PRICE_ACTION, window, lambda bars: bars.close / lowest(bars.close, window) - 1)


def channel_position(window: int) -> Feature:
    """Place of the close in the window's range, 0 to 1; one half in a flat window (Donchian channel)."""
    return Feature(
        f"channel_position_{window}",
        Family.PRICE_ACTION,
        window,
        lambda bars: range_position(bars.close, bars.high, bars.low, window),
    )


def overlap_share() -> Feature:
    """Part of the bar's range that lies inside the range of the bar before, 0 to 1; 1 in a flat bar."""
    return Feature(
        "overlap_share",
        Family.PRICE_ACTION,
        2,
        lambda bars: ratio(_overlap(bars), bars.high - bars.low, otherwise=1.0),
    )


def engulfing() -> Feature:
    """Engulfing candlestick: 1 bullish, -1 bearish, 0.8 in size when one end only touches, else 0."""
    return Feature(
        "engulfing",
        Family.PRICE_ACTION,
        3,
        lambda bars: talib.CDLENGULFING(bars.open, bars.high, bars.low, bars.close) / 100,
    )


def bars_since_high(window: int) -> Feature:
    """Bars since the window's highest high, the latest among equals, over the window: 0 for the bar itself, 1 at its start."""
    return Feature(
        f"bars_since_high_{window}",
        Family.PRICE_ACTION,
        window,
        lambda bars: age_of_highest(bars.high, window) / (window - 1),
    )


def bars_since_low(window: int) -> Feature:
    """Bars since the window's lowest low, the latest among equals, over the window: 0 for the bar itself, 1 at its start."""
    return Feature(
        f"bars_since_low_{window}",
        Family.PRICE_ACTION,
        window,
        lambda bars: age_of_highest(-bars.low, window) / (window - 1),
    )


def inside_bar_share(window: int) -> Feature:
    """Share of bars in the window that stayed within the range of the bar before."""
    return Feature(
        f"inside_bar_share_{window}",
        Family.PRICE_ACTION,
        window + 1,
        lambda bars: _share(
            (bars.high <= shift(bars.high, 1)) & (bars.low >= shift(bars.low, 1)),
            window,
        ),
    )


def outside_bar_share(window: int) -> Feature:
    """Share of bars in the window that went beyond the range of the bar before on both sides."""
    return Feature(
        f"outside_bar_share_{window}",
        Family.PRICE_ACTION,
        window + 1,
        lambda bars: _share((bars.high > shift(bars.high, 1)) & (bars.low < shift(bars.low, 1)), window),
    )


def swing_balance(window: int) -> Feature:
    """Share of bars with a higher high and a higher low than the bar before less that with both lower, -1 to 1."""
    return Feature(f"swing_balance_{window}", Family.PRICE_ACTION, window + 1, lambda bars: _swing_balance(bars, window))


def wick_balance(window: int) -> Feature:
    """Lower less upper wicks over the ranges, both summed over the window, -1 to 1; 0 in a flat window."""
    return Feature(
        f"wick_balance_{window}",
        Family.PRICE_ACTION,
        window,
        lambda bars: ratio(
            rolling_sum(_lower_wick(bars) - _upper_wick(bars), window), rolling_sum(bars.high - bars.low, window)
        ),
    )


def wick_share(window: int) -> Feature:
    """Wicks over the ranges, both summed over the window, 0 to 1; 0 in a flat window."""
    return Feature(
        f"wick_share_{window}",
        Family.PRICE_ACTION,
        window,
        lambda bars: ratio(
            rolling_sum(_lower_wick(bars) + _upper_wick(bars), window), rolling_sum(bars.high - bars.low, window)
        ),
    )


def gap_share(window: int) -> Feature:
    """Distances of the opens to the closes before over the true ranges, both summed over the window, 0 to 1."""
    return Feature(
        f"gap_share_{window}",
        Family.PRICE_ACTION,
        window + 1,
        lambda bars: ratio(rolling_sum(np.abs(bars.open - bars.previous_close), window), rolling_sum(bars.true_range, window)),
    )


def congestion(window: int) -> Feature:
    """Share of the window's other bars that traded at the last close, 0 to 1: 0 in open space, 1 in a narrow range."""
    return Feature(
        f"congestion_{window}",
        Family.PRICE_ACTION,
        window,
        lambda bars: share_of_bars_across(bars.close, bars.high, bars.low, window),
    )


def _lower_wick(bars: Bars) -> Floats:
    return np.minimum(bars.open, bars.close) - bars.low


def _upper_wick(bars: Bars) -> Floats:
    return bars.high - np.maximum(bars.open, bars.close)


def _share(is_so: Bools, window: int) -> Floats:
    return rolling_mean(is_so.astype(np.float64), window)


def _swing_balance(bars: Bars, window: int) -> Floats:
    high, low = shift(bars.high, 1), shift(bars.low, 1)
    is_higher, is_lower = (bars.high > high) & (bars.low > low), (bars.high < high) & (bars.low < low)
    return _share(is_higher, window) - _share(is_lower, window)


def _overlap(bars: Bars) -> Floats:
    overlap: Floats = np.minimum(bars.high, shift(bars.high, 1)) - np.maximum(bars.low, shift(bars.low, 1))
    return np.maximum(overlap, 0.0)


PRICE_ACTION = (
    body_share(),
    upper_wick_share(),
    lower_wick_share(),
    close_location(6),
    opening_gap(24),
    breakout_up(24),
    breakout_down(24),
    drawdown(96),
    recovery(96),
    *(channel_position(window) for window in (24, 96)),
    overlap_share(),
    engulfing(),
    bars_since_high(96),
    bars_since_low(96),
    inside_bar_share(24),
    outside_bar_share(24),
    swing_balance(24),
    wick_balance(12),
    wick_share(12),
    gap_share(24),
    congestion(48),
)
