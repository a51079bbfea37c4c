"""Price action; candlesticks by their rules, on prices in whole hundred-millionths, so that a tie is a tie."""

import numpy as np
import pandas as pd

from crp_pipeline_tests.plain.bars import Plain, PlainBars, Series


def span(bars: PlainBars) -> Series:
    return bars.high - bars.low


def upper_wick(bars: PlainBars) -> Series:
    return bars.high - bars.candles[["open", "close"]].max(axis=1)


def lower_wick(bars: PlainBars) -> Series:
    return bars.candles[["open", "close"]].min(axis=1) - bars.low


def opening_gap(bars: PlainBars) -> Series:
    return np.log(bars.open / bars.close.shift()) / bars.change.rolling(24).std(ddof=0)


def channel_position(bars: PlainBars, window: int) -> Series:
    lowest = bars.low.rolling(window).min()
    return (bars.close - lowest) / (bars.high.rolling(window).max() - lowest)


def overlap_share(bars: PlainBars) -> Series:
    common = np.minimum(bars.high, bars.high.shift()) - np.maximum(bars.low, bars.low.shift())
    return common.clip(lower=0) / span(bars)


def inside_bar_share(bars: PlainBars) -> Series:
    return ((bars.high <= bars.high.shift()) & (bars.low >= bars.low.shift())).rolling(24).mean()


def outside_bar_share(bars: PlainBars) -> Series:
    return ((bars.high > bars.high.shift()) & (bars.low < bars.low.shift())).rolling(24).mean()


def swing_balance(bars: PlainBars) -> Series:
    high, low = bars.high.diff(), bars.low.diff()
    return ((high > 0) & (low > 0)).rolling(24).mean() - ((high < 0) & (low < 0)).rolling(24).mean()


def gap_share(bars: PlainBars) -> Series:
    previous = bars.close.shift()
    true_range = pd.concat([span(bars), (bars.high - previous).abs(), (bars.low - previous).abs()], axis=1).max(axis=1)
    return (bars.open - previous).abs().rolling(24).sum() / true_range.rolling(24).sum()


def congestion(bars: PlainBars) -> Series:
    across = [(bars.low.shift(lag) <= bars.close) & (bars.close <= bars.high.shift(lag)) for lag in range(1, 48)]
    return pd.concat(across, axis=1).mean(axis=1)


class Candle:
    """What the rules speak of; means are of the bars before, "short" and "long" compare bodies with their mean of ten."""

    def __init__(self, bars: PlainBars) -> None:
        self.open, self.high, self.low, self.close = (
            (bars.candles[name] * 1e8).round() for name in ("open", "high", "low", "close")
        )
        self.top, self.bottom = np.maximum(self.open, self.close), np.minimum(self.open, self.close)
        self.body, self.range = self.top - self.bottom, self.high - self.low
        self.upper, self.lower = self.high - self.top, self.bottom - self.low
        self.is_white = self.close >= self.open
        mean_body, mean_range = self.body.rolling(10).mean().shift(), self.range.rolling(10).mean().shift()
        self.is_long, self.is_short = self.body > mean_body, self.body < mean_body
        self.is_not_long = self.body <= mean_body
        self.is_doji = self.body <= 0.1 * mean_range
        self.has_no_upper, self.has_no_lower = self.upper < 0.1 * mean_range, self.lower < 0.1 * mean_range
        self.has_upper, self.has_lower = self.upper > 0.1 * mean_range, self.lower > 0.1 * mean_range
        self.near = 0.2 * self.range.rolling(5).mean().shift()


def signed(bullish: "pd.Series[bool]", bearish: "pd.Series[bool]") -> Series:
    return bullish.astype(float) - bearish.astype(float)


def was(condition: "pd.Series[bool]", bars_ago: int) -> "pd.Series[bool]":
    return condition.shift(bars_ago, fill_value=False)


def engulfing(bars: PlainBars) -> Series:
    candle = Candle(bars)
    holds = (candle.top >= candle.top.shift()) & (candle.bottom <= candle.bottom.shift())
    touches = (candle.top == candle.top.shift()).astype(int) + (candle.bottom == candle.bottom.shift())
    size = touches.map({0: 1.0, 1: 0.8, 2: 0.0})
    rising = candle.is_white & was(~candle.is_white, 1) & holds
    falling = ~candle.is_white & was(candle.is_white, 1) & holds
    return signed(rising, falling) * size


def doji(bars: PlainBars) -> Series:
    return Candle(bars).is_doji.astype(float)


def dragonfly(bars: PlainBars) -> Series:
    candle = Candle(bars)
    at_top, at_bottom = candle.has_no_upper & candle.has_lower, candle.has_no_lower & candle.has_upper
    return signed(candle.is_doji & at_top, candle.is_doji & at_bottom)


def hammer(bars: PlainBars) -> Series:
    candle = Candle(bars)
    shape = candle.is_short & (candle.lower > candle.body) & candle.has_no_upper
    near_low = candle.bottom <= (candle.low + candle.near).shift()
    near_high = candle.bottom >= (candle.high - candle.near).shift()
    return signed(shape & near_low, shape & near_high)


def shooting_star(bars: PlainBars) -> Series:
    candle = Candle(bars)
    shape = candle.is_short & (candle.upper > candle.body) & candle.has_no_lower
    return signed(shape & (candle.top < candle.bottom.shift()), shape & (candle.bottom > candle.top.shift()))


def marubozu(bars: PlainBars) -> Series:
    candle = Candle(bars)
    shape = candle.is_long & candle.has_no_upper & candle.has_no_lower
    return signed(shape & candle.is_white, shape & ~candle.is_white)


def harami(bars: PlainBars) -> Series:
    candle = Candle(bars)
    inside = (candle.top <= candle.top.shift()) & (candle.bottom >= candle.bottom.shift())
    touches = (candle.top == candle.top.shift()).astype(int) + (candle.bottom == candle.bottom.shift())
    size = touches.map({0: 1.0, 1: 0.8, 2: 0.0})
    shape = was(candle.is_long, 1) & candle.is_not_long & inside
    return signed(shape & was(~candle.is_white, 1), shape & was(candle.is_white, 1)) * size


def three_outside(bars: PlainBars) -> Series:
    candle = Candle(bars)
    holds = (candle.top > candle.top.shift()) & (candle.bottom < candle.bottom.shift())
    up = was(candle.is_white & was(~candle.is_white, 1) & holds, 1) & (candle.close > candle.close.shift())
    down = was(~candle.is_white & was(candle.is_white, 1) & holds, 1) & (candle.close < candle.close.shift())
    return signed(up, down)


def day_star(bars: PlainBars) -> Series:
    candle = Candle(bars)
    back = 0.3 * candle.body.shift(2)
    shape = was(candle.is_long, 2) & was(candle.is_not_long, 1) & candle.is_long
    morning = was(~candle.is_white, 2) & was(candle.top < candle.bottom.shift(), 1) & candle.is_white
    evening = was(candle.is_white, 2) & was(candle.bottom > candle.top.shift(), 1) & ~candle.is_white
    rises, falls = candle.close > candle.close.shift(2) + back, candle.close < candle.close.shift(2) - back
    return signed(shape & morning & rises, shape & evening & falls)


def candlestick_balance(bars: PlainBars) -> Series:
    patterns = (engulfing, harami, hammer, shooting_star, day_star)
    return sum(pattern(bars) for pattern in patterns).rolling(12).mean()


PLAIN: dict[str, Plain] = {
    "body_share": lambda bars: (bars.close - bars.open) / span(bars),
    "upper_wick_share": lambda bars: upper_wick(bars) / span(bars),
    "lower_wick_share": lambda bars: lower_wick(bars) / span(bars),
    "close_location_6": lambda bars: ((bars.close - bars.low) / span(bars)).rolling(6).mean(),
    "opening_gap_24": opening_gap,
    "breakout_up_24": lambda bars: bars.close / bars.high.shift().rolling(24).max() - 1,
    "breakout_down_24": lambda bars: bars.close / bars.low.shift().rolling(24).min() - 1,
    "drawdown_96": lambda bars: bars.close / bars.close.rolling(96).max() - 1,
    "recovery_96": lambda bars: bars.close / bars.close.rolling(96).min() - 1,
    "channel_position_24": lambda bars: channel_position(bars, 24),
    "channel_position_96": lambda bars: channel_position(bars, 96),
    "overlap_share": overlap_share,
    "engulfing": engulfing,
    "bars_since_high_96": lambda bars: bars.high.rolling(96).apply(lambda x: x[::-1].argmax() / 95, raw=True),
    "bars_since_low_96": lambda bars: bars.low.rolling(96).apply(lambda x: x[::-1].argmin() / 95, raw=True),
    "inside_bar_share_24": inside_bar_share,
    "outside_bar_share_24": outside_bar_share,
    "swing_balance_24": swing_balance,
    "wick_balance_12": lambda bars: (lower_wick(bars) - upper_wick(bars)).rolling(12).sum() / span(bars).rolling(12).sum(),
    "wick_share_12": lambda bars: (lower_wick(bars) + upper_wick(bars)).rolling(12).sum() / span(bars).rolling(12).sum(),
    "gap_share_24": gap_share,
    "congestion_48": congestion,
    "doji": doji,
    "dragonfly": dragonfly,
    "hammer": hammer,
    "shooting_star": shooting_star,
    "marubozu": marubozu,
    "harami": harami,
    "three_outside": three_outside,
    "day_star": day_star,
    "candlestick_balance_12": candlestick_balance,
}
