"""Ichimoku: middles of ranges, and the cloud between two of them that is drawn ahead (Hosoda 1969).

A chart draws the leading spans as many bars ahead as the base line is long: the cloud at a bar was computed that many bars
before it, and only this part is read. The lagging span, today's close drawn into the past, is not.
"""

import numpy as np
import talib

from crp_pipeline.contracts import Floats
from crp_pipeline.features.feature import Bars, Family, Feature
from crp_pipeline.features.rolling import shift


def ichimoku_cross(fast: int, slow: int) -> Feature:
    """Conversion line less base line of Ichimoku, over the close; no span is shifted."""
    return Feature(
        f"ichimoku_cross_{fast}_{slow}",
        Family.TREND,
        slow,
        lambda bars: (_line(bars, fast) - _line(bars, slow)) / bars.close,
    )


def ichimoku_line_distance(window: int) -> Feature:
    """Close less the middle of the window's range, over the close: Ichimoku's conversion line (9) or base line (26)."""
    return Feature(f"ichimoku_line_distance_{window}", Family.TREND, window, lambda bars: 1 - _line(bars, window) / bars.close)


def ichimoku_cloud_distance(fast: int, slow: int, slowest: int) -> Feature:
    """Close above or below Ichimoku's cloud as it stands at the bar, over the close; 0 inside it."""
    return Feature(
        f"ichimoku_cloud_distance_{fast}_{slow}_{slowest}",
        Family.TREND,
        slowest + slow,
        lambda bars: _distance_to_cloud(bars.close, *_cloud(bars, fast, slow, slowest)),
    )


def ichimoku_cloud_thickness(fast: int, slow: int, slowest: int) -> Feature:
    """Leading span A less B of Ichimoku as they stand at the bar, over the close: above 0 in a rising cloud."""
    return Feature(
        f"ichimoku_cloud_thickness_{fast}_{slow}_{slowest}",
        Family.TREND,
        slowest + slow,
        lambda bars: np.subtract(*_cloud(bars, fast, slow, slowest)) / bars.close,
    )


def _line(bars: Bars, window: int) -> Floats:
    line: Floats = talib.MIDPRICE(bars.high, bars.low, window)
    return line


def _cloud(bars: Bars, fast: int, slow: int, slowest: int) -> tuple[Floats, Floats]:
    """Leading spans A and B at each bar, (n,) each."""
    span_a = (_line(bars, fast) + _line(bars, slow)) / 2
    return shift(span_a, slow), shift(_line(bars, slowest), slow)


def _distance_to_cloud(close: Floats, span_a: Floats, span_b: Floats) -> Floats:
    above = np.maximum(close - np.maximum(span_a, span_b), 0.0)
    below = np.minimum(close - np.minimum(span_a, span_b), 0.0)
    return (above + below) / close
