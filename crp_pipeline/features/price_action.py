"""What single bars and the extremes before them look like."""

import numpy as np
import talib

from crp_pipeline.contracts import Floats
from crp_pipeline.features.feature import Bars, Family, Feature
from crp_pipeline.features.rolling import highest, lowest, range_position, ratio, rolling_mean, rolling_std, shift


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
        lambda bars: ratio(np.log(bars.open) - np.log(bars.previous_close), rolling_std(bars.log_return, window)),
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
)
