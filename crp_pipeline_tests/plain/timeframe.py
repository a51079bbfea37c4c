"""Longer bars by `resample`, stamped at their end, and brought back by the latest stamp that is not after the close."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from crp_pipeline_tests.plain.bars import Plain, PlainBars, Series

HOW = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}


def longer(bars: PlainBars, multiple: int) -> pd.DataFrame:
    """Whole longer bars, indexed by the moment at which each ends."""
    step = bars.candles.index[1] - bars.candles.index[0]
    rows = bars.candles.resample(multiple * step, label="right", closed="left")
    return rows.agg(HOW)[rows.size() == multiple]


def as_of_close(bars: PlainBars, values: Series) -> Series:
    closes = bars.candles.index + (bars.candles.index[1] - bars.candles.index[0])
    return values.reindex(values.index.union(closes)).ffill().reindex(closes).set_axis(bars.candles.index)


def lifted(multiple: int, formula: Callable[[pd.DataFrame], Series]) -> Plain:
    return lambda bars: as_of_close(bars, formula(longer(bars, multiple)))


def change(bars: pd.DataFrame) -> Series:
    return np.log(bars["close"]).diff()


def place(bars: pd.DataFrame, window: int) -> Series:
    low = bars["low"].rolling(window).min()
    return (bars["close"] - low) / (bars["high"].rolling(window).max() - low)


def efficiency(bars: pd.DataFrame, window: int) -> Series:
    return change(bars).rolling(window).sum() / change(bars).abs().rolling(window).sum()


def money_flow(bars: pd.DataFrame, window: int) -> Series:
    share = (2 * bars["close"] - bars["high"] - bars["low"]) / (bars["high"] - bars["low"])
    return (share * bars["volume"]).rolling(window).sum() / bars["volume"].rolling(window).sum()


def body(bars: pd.DataFrame) -> Series:
    return (bars["close"] - bars["open"]) / (bars["high"] - bars["low"])


def to_average(bars: pd.DataFrame, window: int) -> Series:
    return bars["close"] / bars["close"].rolling(window).mean() - 1


def today(bars: PlainBars) -> Series:
    step = bars.candles.index[1] - bars.candles.index[0]
    opened = bars.open.groupby(bars.candles.index.floor(24 * step)).transform("first")
    return np.log(bars.close / opened)


PLAIN: dict[str, Plain] = {
    "log_return_1_x4": lifted(4, change),
    "log_return_6_x4": lifted(4, lambda bars: np.log(bars["close"]).diff(6)),
    "return_over_volatility_12_x4": lifted(
        4, lambda bars: change(bars).rolling(12).sum() / (change(bars).rolling(12).std(ddof=0) * np.sqrt(12))
    ),
    "up_share_12_x4": lifted(4, lambda bars: (change(bars) > 0).astype(float).rolling(12).mean()),
    "distance_to_sma_10_x4": lifted(4, lambda bars: to_average(bars, 10)),
    "distance_to_sma_50_x4": lifted(4, lambda bars: to_average(bars, 50)),
    "efficiency_ratio_20_x4": lifted(4, lambda bars: efficiency(bars, 20)),
    "bollinger_position_20_x4": lifted(
        4, lambda bars: (bars["close"] - bars["close"].rolling(20).mean()) / bars["close"].rolling(20).std(ddof=0)
    ),
    "volatility_ratio_12_48_x4": lifted(
        4, lambda bars: change(bars).rolling(12).std(ddof=0) / change(bars).rolling(48).std(ddof=0)
    ),
    "chaikin_money_flow_20_x4": lifted(4, lambda bars: money_flow(bars, 20)),
    "body_share_x4": lifted(4, body),
    "pivot_distance_x24": lambda bars: (
        bars.close / as_of_close(bars, longer(bars, 24)[["high", "low", "close"]].mean(axis=1)) - 1
    ),
    "return_so_far_x24": today,
    "log_return_1_x24": lifted(24, change),
    "log_return_5_x24": lifted(24, lambda bars: np.log(bars["close"]).diff(5)),
    "distance_to_sma_10_x24": lifted(24, lambda bars: to_average(bars, 10)),
    "efficiency_ratio_10_x24": lifted(24, lambda bars: efficiency(bars, 10)),
    "channel_position_10_x24": lifted(24, lambda bars: place(bars, 10)),
    "realised_volatility_10_x24": lifted(24, lambda bars: change(bars).rolling(10).std(ddof=0)),
    "body_share_x24": lifted(24, body),
    "close_location_3_x24": lifted(
        24, lambda bars: ((bars["close"] - bars["low"]) / (bars["high"] - bars["low"])).rolling(3).mean()
    ),
    "log_volume_deviation_7_x24": lifted(24, lambda bars: np.log(bars["volume"]) - np.log(bars["volume"]).rolling(7).mean()),
}
