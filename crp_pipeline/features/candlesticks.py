"""Candlestick patterns by TA-Lib: 1 bullish, -1 bearish, 0 none.

TA-Lib compares a body or a shadow with a share of the mean of up to ten bars before, which it keeps as a running sum, and
on prices with a tick the two are often equal. On prices as they are the binary fractions nearest to the decimal ones
would decide such a tie, and after a crash what earlier bars left in the sum. `Bars.in_ticks` gives it whole numbers,
whose sums are exact.

A lookback is TA-Lib's own and the bar itself. Patterns in which a bar opens away from the close before it (piercing line,
dark cloud cover, three black crows, kicking ...) are left out: where trading never pauses they occur once in thousands of
bars. Of the stars, whose bodies need only just miss each other, there are some in a thousand.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import talib

from crp_pipeline.contracts import Floats, Ints
from crp_pipeline.features.feature import Bars, Family, Feature, remembered
from crp_pipeline.features.rolling import rolling_mean

Pattern = Callable[[Floats, Floats, Floats, Floats], Any]
"""Open, high, low, close -> (n,) whole numbers, 100 where the pattern is bullish, -100 where it is bearish."""
BALANCE: tuple[Pattern, ...] = (
    talib.CDLENGULFING,
    talib.CDLHARAMI,
    talib.CDLHAMMER,
    talib.CDLHANGINGMAN,
    talib.CDLSHOOTINGSTAR,
    talib.CDLINVERTEDHAMMER,
    talib.CDLMORNINGSTAR,
    talib.CDLEVENINGSTAR,
)


def doji() -> Feature:
    """1 where the body is at most a tenth of the mean range of the ten bars before, else 0."""
    return Feature("doji", Family.PRICE_ACTION, 11, lambda bars: _found(bars, talib.CDLDOJI))


def dragonfly() -> Feature:
    """Doji at one end of its range: 1 at the top (dragonfly), -1 at the bottom (gravestone), else 0."""
    return Feature(
        "dragonfly",
        Family.PRICE_ACTION,
        11,
        lambda bars: _found(bars, talib.CDLDRAGONFLYDOJI) - _found(bars, talib.CDLGRAVESTONEDOJI),
    )


def hammer() -> Feature:
    """Small body over a long lower shadow: 1 near the low before it (hammer), -1 near the high (hanging man), else 0."""
    return Feature(
        "hammer",
        Family.PRICE_ACTION,
        12,
        lambda bars: _found(bars, talib.CDLHAMMER, talib.CDLHANGINGMAN),
    )


def shooting_star() -> Feature:
    """Small body under a long upper shadow: -1 above the body before it, 1 below it (inverted hammer), else 0."""
    return Feature(
        "shooting_star",
        Family.PRICE_ACTION,
        12,
        lambda bars: _found(bars, talib.CDLSHOOTINGSTAR, talib.CDLINVERTEDHAMMER),
    )


def marubozu() -> Feature:
    """Long body without shadows: 1 rising, -1 falling, else 0."""
    return Feature("marubozu", Family.PRICE_ACTION, 11, lambda bars: _found(bars, talib.CDLMARUBOZU))


def harami() -> Feature:
    """Small body inside the long one before it: 1 after a fall, -1 after a rise, 0.8 in size when ends touch, else 0."""
    return Feature("harami", Family.PRICE_ACTION, 12, lambda bars: _found(bars, talib.CDLHARAMI))


def three_outside() -> Feature:
    """Engulfing that the next bar confirms: 1 up, -1 down, else 0."""
    return Feature("three_outside", Family.PRICE_ACTION, 4, lambda bars: _found(bars, talib.CDL3OUTSIDE))


def day_star() -> Feature:
    """Long body, a small one beyond it, one back into the first: 1 morning star, -1 evening star, else 0."""
    return Feature(
        "day_star",
        Family.PRICE_ACTION,
        13,
        lambda bars: _found(bars, talib.CDLMORNINGSTAR, talib.CDLEVENINGSTAR),
    )


def candlestick_balance(window: int) -> Feature:
    """Mean over the window of bullish less bearish patterns: engulfing, harami, hammers, shooting and day stars."""
    return Feature(
        f"candlestick_balance_{window}",
        Family.PRICE_ACTION,
        window + 12,
        lambda bars: rolling_mean(_found(bars, *BALANCE), window),
    )


def _found(bars: Bars, *patterns: Pattern) -> Floats:
    """Sum of the patterns, each 1, -1 or 0, in whole hundredths until the end."""
    found: Floats = np.sum([_hundredths(bars, pattern) for pattern in patterns], axis=0) / 100
    return found


@remembered
def _hundredths(bars: Bars, pattern: Pattern) -> Ints:
    ticks = bars.in_ticks
    found: Ints = pattern(ticks.open, ticks.high, ticks.low, ticks.close)
    return found


CANDLESTICKS = (
    doji(),
    dragonfly(),
    hammer(),
    shooting_star(),
    marubozu(),
    harami(),
    three_outside(),
    day_star(),
    candlestick_balance(12),
)
