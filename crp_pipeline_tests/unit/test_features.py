"""The feature table, its catalogue and its identity."""

import importlib.util
import math
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal

from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.features import (
    CATALOG,
    Bars,
    Family,
    Feature,
    bar_interval,
    compute_features,
    ema_warm_up,
    feature_set_id,
    leak_table,
    ratio,
    ready_rows,
    warm_up_bars,
    wilder_warm_up,
)
from crp_pipeline.features.calendar import CALENDAR
from crp_pipeline.features.feature import remembered
from crp_pipeline.features.feeds import FEEDS
from crp_pipeline.features.rolling import rolling_correlation, rolling_std, rolling_sum, rolling_zscore, shift
from crp_pipeline.features.trend import distance_to_sma
from crp_pipeline.features.volume import log_volume_surprise
from crp_pipeline_tests.random_walk import feed_values, other_coins, random_walk

CANDLES = random_walk(700, seed=1)
MARKET = other_coins(CANDLES)
FIRST, HOLE = 100, slice(640, 650)
FEED_VALUES = feed_values(CANDLES, first=FIRST, hole=HOLE)
BY_NAME = {feature.name: feature for feature in CATALOG}
OWN = [feature for feature in CATALOG if feature.family is not Family.CROSS_MARKET]
every_feature = pytest.mark.parametrize("feature", CATALOG, ids=lambda feature: feature.name)


@pytest.fixture(scope="module")
def table():
    return compute_features(CANDLES, CATALOG, market=MARKET, feeds=FEED_VALUES)


def in_segments(*lengths):
    """Repaired candles: one segment per length, four days apart."""
    whole = random_walk(sum(lengths) + 100 * len(lengths), seed=4)
    starts = np.cumsum([0, *(length + 100 for length in lengths[:-1])])
    parts = [
        whole.iloc[start : start + length].assign(is_repaired=False, segment=number)
        for number, (start, length) in enumerate(zip(starts, lengths, strict=True))
    ]
    return pd.concat(parts)


# ---------------------------------------------------------------- catalogue


def test_the_catalogue_has_every_family():
    families = Counter(feature.family for feature in CATALOG)
    assert len(CATALOG) >= 60
    assert set(families) == set(Family)
    assert min(families.values()) >= 5


def test_names_are_unique_and_in_snake_case():
    assert len(BY_NAME) == len(CATALOG)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in BY_NAME)


@every_feature
def test_a_feature_says_what_it_is(feature):
    assert feature.description.endswith(".")
    assert len(feature.description) > 15


@every_feature
def test_a_feature_is_not_constant_on_noise(feature, table):
    assert table[feature.name].dropna().std() > 0


def test_no_two_features_are_the_same_on_noise(table):
    values = table.dropna().to_numpy()
    assert len(np.unique(values.round(12), axis=1).T) == len(CATALOG)


def test_a_row_needs_fewer_than_three_hundred_bars():
    assert warm_up_bars(CATALOG) == max(feature.lookback + feature.warm_up for feature in CATALOG) < 300


# ---------------------------------------------------------------- table


@every_feature
def test_the_warm_up_is_missing_and_nothing_else(feature, table):
    first_known = feature.lookback + feature.warm_up - 1
    assert table[feature.name].iloc[:first_known].isna().all()
    if feature not in FEEDS:
        assert np.isfinite(table[feature.name].iloc[first_known:]).all()


@pytest.mark.parametrize("feature", FEEDS, ids=lambda feature: feature.name)
def test_what_reads_a_feed_is_missing_where_it_is_unknown_and_known_where_its_whole_window_is(feature, table):
    is_known = FEED_VALUES.notna().all(axis=1)
    has_whole_window = is_known.rolling(feature.bars_needed).sum() == feature.bars_needed
    assert table[feature.name][~is_known].isna().all()
    assert np.isfinite(table[feature.name][has_whole_window]).all()
    assert has_whole_window.iloc[: HOLE.start].sum() > 300


def test_the_table_has_a_row_per_candle_and_a_column_per_feature(table):
    assert table.index.equals(CANDLES.index)
    assert list(table) == [feature.name for feature in CATALOG]
    assert set(table.dtypes) == {np.dtype(np.float64)}


def test_columns_do_not_depend_on_what_else_is_asked(table):
    some = [BY_NAME["rsi_14"], BY_NAME["log_return_1"]]
    assert_frame_equal(compute_features(CANDLES, some), table[["rsi_14", "log_return_1"]], check_exact=True)


def test_segments_never_share_a_window():
    candles = in_segments(320, 40, 400)
    beside = {"market": other_coins(candles), "feeds": feed_values(candles)}
    whole = compute_features(candles, **beside)
    for _, part in candles.groupby("segment"):
        assert_frame_equal(compute_features(part, **beside), whole.loc[part.index], check_exact=True)


def test_candles_without_segments_are_split_at_holes():
    candles = in_segments(320, 40, 400)
    plain = candles[["open", "high", "low", "close", "volume"]]
    assert_frame_equal(compute_features(plain), compute_features(candles), check_exact=True)


def test_ready_rows_have_their_whole_past_inside_their_segment():
    candles, features = in_segments(10, 3, 6), [distance_to_sma(4), BY_NAME["log_return_1"]]
    expected = [False] * 3 + [True] * 7 + [False] * 3 + [False] * 3 + [True] * 3
    assert ready_rows(candles, features).tolist() == expected
    assert compute_features(candles, features).notna().all(axis=1).tolist() == expected


def test_ready_rows_of_no_features_are_all():
    assert ready_rows(CANDLES, []).all()
    assert compute_features(CANDLES, []).shape == (len(CANDLES), 0)


def standing_still():
    flat = random_walk(700, seed=2)
    flat.loc[:, ["open", "high", "low", "close"]] = 123.45
    return flat


def stopping_and_going_on():
    candles = random_walk(900, seed=3)
    candles.iloc[350:500, :4] = candles["close"].iloc[349]
    candles.iloc[350:500, 4] = 0.0
    candles.iloc[600:604, :4] = candles["close"].iloc[599]
    candles.iloc[600:604, 4] = 0.0
    return candles


@pytest.mark.parametrize(
    "candles",
    [
        standing_still(),
        standing_still().assign(volume=0.0),
        random_walk(700).assign(volume=0.0),
        random_walk(700).assign(volume=5.0),
        stopping_and_going_on(),
    ],
    ids=["flat", "dead", "no volume", "constant volume", "outages"],
)
def test_bars_that_stand_still_give_finite_values(candles):
    still = pd.DataFrame({"funding_rate": 0.0, "open_interest": 7.0, "fear_greed": 50.0}, index=candles.index)
    for market in (other_coins(candles), pd.DataFrame({"FLAT": 1.0}, index=candles.index)):
        for feeds in (feed_values(candles), still):
            values = compute_features(candles, market=market, feeds=feeds)[ready_rows(candles)]
            assert np.isfinite(values).all(axis=None)


def test_an_outage_leaves_no_trace_behind_its_windows():
    """Rounding left over from before a flat stretch must not be divided by itself inside it."""
    values = compute_features(stopping_and_going_on(), OWN).iloc[480]
    for name in (
        "efficiency_ratio_20",
        "signed_volume_12",
        "volume_return_correlation_48",
        "rsi_14",
        "traded_share_24",
    ):
        assert values[name] == pytest.approx(0.0, abs=0.35 if name == "rsi_14" else 1e-12)
    for name in ("realised_volatility_48", "excess_kurtosis_48", "bollinger_position_20", "commodity_channel_index_20"):
        assert values[name] == 0.0


@pytest.mark.parametrize("unit", [2.0**-23, 2.0**14, 1e-6])
def test_the_unit_of_price_and_volume_changes_nothing(unit):
    other = CANDLES.assign(**{column: CANDLES[column] * unit for column in ("open", "high", "low", "close")})
    other = other.assign(volume=CANDLES["volume"] / unit)
    ties = {"adx_10", "directional_difference_14", "up_share_12", "engulfing", "money_flow_index_14"}
    exact = unit != 1e-6  # a decimal unit breaks ties between moves that were equal
    features = [feature for feature in OWN if exact or feature.name not in ties]
    expected = compute_features(CANDLES, features)
    assert_frame_equal(compute_features(other, features), expected, check_exact=False, rtol=1e-7, atol=1e-9)


def test_inputs_are_left_as_they_were():
    candles, market, feeds = CANDLES.copy(), MARKET.copy(), FEED_VALUES.copy()
    compute_features(candles, market=market, feeds=feeds)
    assert_frame_equal(candles, CANDLES)
    assert_frame_equal(market, MARKET)
    assert_frame_equal(feeds, FEED_VALUES)


def test_a_feature_cannot_write_to_the_bars():
    def vandal(bars):
        bars.close[0] = 0.0
        return bars.close

    with pytest.raises(ValueError, match="read-only"):
        compute_features(CANDLES, [Feature("vandal", Family.TREND, 1, vandal)])


@pytest.mark.parametrize(
    ("candles", "message"),
    [
        (CANDLES.tz_localize(None), "index must be open_time in UTC"),
        (CANDLES.tz_convert("Asia/Tokyo"), "index must be open_time in UTC"),
        (CANDLES.iloc[::-1], "open_time must increase from row to row, 2024-03-30 02:00"),
        (pd.concat([CANDLES, CANDLES.tail(1)]), "2024-03-30 03:00:00.* does not"),
        (CANDLES.drop(columns="volume"), "candles lack the column volume"),
        (CANDLES.assign(high=np.nan), "high is nan at 2024-03-01 00:00:00.*finite and positive"),
        (CANDLES.assign(low=0.0), "low is 0.0 .*finite and positive"),
        (CANDLES.assign(close=np.inf), "close is inf"),
        (CANDLES.assign(volume=-1.0), "volume is -1.0 .*finite and at least 0"),
    ],
)
def test_candles_that_break_the_contract_are_refused(candles, message):
    with pytest.raises(DataContractError, match=message):
        compute_features(candles)


def test_one_bar_has_no_interval_unless_it_is_told():
    with pytest.raises(InsufficientHistoryError, match="bars found: 1"):
        compute_features(CANDLES.tail(1))
    told = compute_features(CANDLES.tail(1), CALENDAR, interval=pd.Timedelta("1h"))
    assert_frame_equal(told, compute_features(CANDLES, CALENDAR).tail(1))


def test_two_features_of_one_name_are_refused():
    with pytest.raises(DataContractError, match="distance_to_sma_10 occur more than once"):
        compute_features(CANDLES, [distance_to_sma(10), distance_to_sma(10)])


def test_a_feature_of_the_wrong_length_is_refused():
    short = Feature("short", Family.TREND, 1, lambda bars: bars.close[1:])
    with pytest.raises(DataContractError, match=r"short gives an array of shape \(299,\) for 300 bars"):
        compute_features(CANDLES.head(300), [short])


@pytest.mark.parametrize(("lookback", "warm_up"), [(0, 0), (1, -1)])
def test_an_impossible_lookback_is_refused(lookback, warm_up):
    with pytest.raises(ValueError, match=f"lookback {lookback} must be at least 1"):
        Feature("impossible", Family.TREND, lookback, lambda bars: bars.close, warm_up)


# ---------------------------------------------------------------- market


def test_without_a_market_cross_market_features_are_missing_and_the_others_the_same(table):
    for market in (None, MARKET[[]]):
        alone = compute_features(CANDLES, market=market)
        assert alone[[f.name for f in CATALOG if f.family is Family.CROSS_MARKET]].isna().all(axis=None)
        assert_frame_equal(alone[[f.name for f in OWN]], table[[f.name for f in OWN]], check_exact=True)


def test_a_coin_without_a_bar_is_absent_from_the_mean_of_that_bar():
    close = pd.DataFrame({"A": [1.0, 2.0, 4.0, 4.0, 8.0], "B": [np.nan, np.nan, 1.0, 3.0, np.nan]}, index=CANDLES.index[:5])
    values = compute_features(CANDLES.head(5), [BY_NAME["market_return_1"]], market=close)["market_return_1"]
    assert values.iloc[1:].tolist() == pytest.approx([math.log(2), math.log(2), math.log(3) / 2, math.log(2)])


def test_a_hole_in_the_market_is_missing_only_as_long_as_a_window_holds_it():
    market = MARKET.copy()
    market.iloc[500] = np.nan
    names = ["market_return_4", "market_correlation_96"]
    holed = compute_features(CANDLES, [BY_NAME[name] for name in names], market=market)
    whole = compute_features(CANDLES, [BY_NAME[name] for name in names], market=MARKET)
    for name, window in zip(names, (4, 96), strict=True):
        is_missing = holed[name].iloc[200:].isna().to_numpy()
        assert np.flatnonzero(is_missing).tolist() == list(range(300, 300 + window + 1))
        assert_series_equal(holed[name][~holed[name].isna()], whole[name][~holed[name].isna()], check_exact=True)


def test_market_rows_are_joined_by_time_not_by_position():
    wider = pd.concat([MARKET.set_axis(MARKET.index - pd.Timedelta("700h")), MARKET])
    assert_frame_equal(compute_features(CANDLES, market=wider), compute_features(CANDLES, market=MARKET), check_exact=True)


def test_the_coin_is_not_its_own_market():
    with pytest.raises(DataContractError, match="BTC-USDT is this coin itself"):
        compute_features(CANDLES, market=MARKET.assign(**{"BTC-USDT": CANDLES["close"]}))


@pytest.mark.parametrize("known", [slice(1, None), slice(None, -1), slice(300, 310)])
def test_the_coin_is_not_its_own_market_where_bars_of_it_are_missing(known):
    market = MARKET.assign(**{"BTC-USDT": CANDLES["close"].iloc[known]})
    with pytest.raises(DataContractError, match="BTC-USDT is this coin itself"):
        compute_features(CANDLES, market=market)


@pytest.mark.parametrize("known", [slice(0), slice(300, 305)])
def test_a_few_equal_closes_do_not_make_it_the_same_coin(known):
    market = MARKET.assign(NEW=CANDLES["close"].iloc[known])
    assert len(compute_features(CANDLES, market=market)) == len(CANDLES)


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf])
def test_a_market_close_that_is_no_price_is_refused(value):
    market = MARKET.copy()
    market.iloc[7, 1] = value
    with pytest.raises(DataContractError, match=f"the close of COIN-1 is {value} at 2024-03-01 07:00"):
        compute_features(CANDLES, market=market)


# ---------------------------------------------------------------- feeds


def test_without_feeds_what_reads_them_is_missing_and_the_others_the_same(table):
    others = [feature.name for feature in CATALOG if feature not in FEEDS]
    for feeds in (None, FEED_VALUES[[]], FEED_VALUES[[]].iloc[:0]):
        alone = compute_features(CANDLES, market=MARKET, feeds=feeds)
        assert alone[[feature.name for feature in FEEDS]].isna().all(axis=None)
        assert_frame_equal(alone[others], table[others], check_exact=True)


def test_a_coin_without_feeds_keeps_all_its_rows():
    known = compute_features(CANDLES, market=MARKET)[ready_rows(CANDLES)].drop(columns=[feature.name for feature in FEEDS])
    assert len(known) == len(CANDLES) - warm_up_bars(CATALOG) + 1
    assert np.isfinite(known).all(axis=None)


def test_a_feature_may_read_any_column_of_the_feeds():
    own = Feature("dominance", Family.CROSS_MARKET, 1, lambda bars: bars.feed("dominance") + bars.feed("nobody_has_this"))
    read = Feature("read", Family.CROSS_MARKET, 1, lambda bars: bars.feed("dominance"))
    dominance = pd.DataFrame({"dominance": np.arange(700.0)}, index=CANDLES.index)
    values = compute_features(CANDLES, [own, read], feeds=dominance)
    assert values["dominance"].isna().all()
    assert values["read"].tolist() == dominance["dominance"].tolist()


def test_feed_rows_are_joined_by_time_not_by_position():
    wider = pd.concat([FEED_VALUES.set_axis(FEED_VALUES.index - pd.Timedelta("700h")), FEED_VALUES])
    expected = compute_features(CANDLES, FEEDS, feeds=FEED_VALUES)
    assert_frame_equal(compute_features(CANDLES, FEEDS, feeds=wider), expected, check_exact=True)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        (FEED_VALUES.tz_localize(None), "feeds: the index must be open_time in UTC"),
        (FEED_VALUES.iloc[::-1], "feeds: open_time must increase"),
        (FEED_VALUES.drop(CANDLES.index[5]), "feeds: no row for the bar of 2024-03-01 05:00:00.*; align them to these candles"),
        (FEED_VALUES.assign(fear_greed=40), "feeds: the column fear_greed is int64, it must be float64"),
        (FEED_VALUES.assign(fear_greed="calm"), "feeds: the column fear_greed is str, it must be float64"),
        (FEED_VALUES.assign(open_interest=-np.inf), "feeds: open_interest is -inf at 2024-03-01 00:00:00.* finite or missing"),
        (pd.concat([FEED_VALUES] * 2, axis=1), "feeds: more than one column is called funding_rate"),
    ],
)
def test_feeds_that_break_the_contract_are_refused(feeds, message):
    with pytest.raises(DataContractError, match=message):
        compute_features(CANDLES, FEEDS, feeds=feeds)


# ---------------------------------------------------------------- what the values are


def _pandas(candles, market):
    """The same features in plain pandas, from their descriptions."""
    close, high, low, volume = (candles[column] for column in ("close", "high", "low", "volume"))
    change, log_volume = np.log(close).diff(), np.log(volume)
    market_change = np.log(market).diff().mean(axis=1)
    typical = (high + low + close) / 3
    previous = close.shift()
    true_range = pd.concat([high - low, (high - previous).abs(), (low - previous).abs()], axis=1).max(axis=1)
    same_hour = pd.concat([log_volume.shift(24 * day) for day in range(1, 4)], axis=1).mean(axis=1)
    spread = (change - market_change).rolling(24).sum()
    return {
        "distance_to_sma_50": close / close.rolling(50).mean() - 1,
        "sma_slope_20_5": close.rolling(20).mean().pct_change(5),
        "ichimoku_cross_9_26": (
            (high.rolling(9).max() + low.rolling(9).min()) / 2 - (high.rolling(26).max() + low.rolling(26).min()) / 2
        )
        / close,
        "efficiency_ratio_20": change.rolling(20).sum() / change.abs().rolling(20).sum(),
        "trend_correlation_48": close.rolling(48).corr(pd.Series(range(len(close)), index=close.index, dtype=float)),
        "log_return_24": np.log(close / close.shift(24)),
        "acceleration_12": np.log(close).diff(12) - np.log(close).diff(12).shift(12),
        "return_over_volatility_12": change.rolling(12).sum() / (change.rolling(12).std(ddof=0) * math.sqrt(12)),
        "up_share_12": (change > 0).rolling(12).mean(),
        "realised_volatility_48": change.rolling(48).std(ddof=0),
        "volatility_ratio_12_96": change.rolling(12).std(ddof=0) / change.rolling(96).std(ddof=0),
        "true_range_ratio_14": true_range / true_range.rolling(14).mean(),
        "parkinson_volatility_24": np.sqrt((np.log(high / low) ** 2).rolling(24).mean() / (4 * math.log(2))),
        "downside_share_48": (change.clip(upper=0) ** 2).rolling(48).sum() / (change**2).rolling(48).sum(),
        "log_volume_zscore_48": (log_volume - log_volume.rolling(48).mean()) / log_volume.rolling(48).std(ddof=0),
        "log_volume_trend_6_48": log_volume.rolling(6).mean() - log_volume.rolling(48).mean(),
        "log_volume_surprise_3d": log_volume - same_hour,
        "signed_volume_12": (np.sign(change) * volume).rolling(12).sum() / volume.rolling(12).sum(),
        "vwap_distance_24": close / ((typical * volume).rolling(24).sum() / volume.rolling(24).sum()) - 1,
        "volume_return_correlation_48": change.abs().rolling(48).corr(volume),
        "breakout_up_24": close / high.shift().rolling(24).max() - 1,
        "channel_position_24": (close - low.rolling(24).min()) / (high.rolling(24).max() - low.rolling(24).min()),
        "drawdown_96": close / close.rolling(96).max() - 1,
        "skewness_48": change.rolling(48).apply(lambda x: ((x - x.mean()) ** 3).mean() / x.std(ddof=0) ** 3),
        "excess_kurtosis_48": change.rolling(48).apply(lambda x: ((x - x.mean()) ** 4).mean() / x.var(ddof=0) ** 2 - 3),
        "autocorrelation_48_1": change.rolling(48).corr(change.shift()),
        "price_zscore_96": (np.log(close) - np.log(close).rolling(96).mean()) / np.log(close).rolling(96).std(ddof=0),
        "variance_ratio_4_96": np.log(close).diff(4).rolling(96).var(ddof=0) / (4 * change.rolling(96).var(ddof=0)),
        "market_return_24": market_change.rolling(24).sum(),
        "market_correlation_96": change.rolling(96).corr(market_change),
        "market_beta_96": change.rolling(96).cov(market_change) / market_change.rolling(96).var(),
        "spread_zscore_24_96": (spread - spread.rolling(96).mean()) / spread.rolling(96).std(ddof=0),
        "market_breadth_12": (np.log(market).diff() > 0).mean(axis=1).rolling(12).mean(),
    }


PLAIN = _pandas(CANDLES, MARKET)


@pytest.mark.parametrize("name", PLAIN)
def test_value_equals_the_plain_pandas_formula(name, table):
    ready = slice(BY_NAME[name].bars_needed - 1, None)
    assert table[name].iloc[ready].to_numpy() == pytest.approx(PLAIN[name].iloc[ready].to_numpy(), rel=1e-7, abs=1e-10)


def test_rsi_equals_a_plain_wilder_loop(table):
    change = CANDLES["close"].diff().to_numpy()
    gain, loss = np.clip(change[1:15], 0, None).mean(), np.clip(-change[1:15], 0, None).mean()
    for step in change[15:]:
        gain, loss = (13 * gain + max(step, 0)) / 14, (13 * loss + max(-step, 0)) / 14
    assert table["rsi_14"].iloc[-1] == pytest.approx(gain / (gain + loss) - 0.5, rel=1e-9)


def test_an_exponential_average_equals_a_plain_loop(table):
    close = CANDLES["close"].to_numpy()
    average = close[:26].mean()
    for price in close[26:]:
        average += 2 / 27 * (price - average)
    assert table["distance_to_ema_26"].iloc[-1] == pytest.approx(close[-1] / average - 1, rel=1e-9)


def test_volume_shows_a_state_that_hides_behind_the_season_of_the_day():
    """The demo market's state is an AR(1) of phi 0.9 in log volume under a daily season."""
    rng = np.random.default_rng(0)
    state = np.zeros(3_000)
    for t in range(1, len(state)):
        state[t] = 0.9 * state[t - 1] + math.sqrt(1 - 0.81) * rng.standard_normal()
    candles = random_walk(len(state), seed=6)
    season = 2 * np.sin(2 * np.pi * candles.index.hour.to_numpy() / 24)
    candles["volume"] = np.exp(5 + season + 0.5 * state)
    table = compute_features(candles, [BY_NAME["log_volume_surprise_10d"], BY_NAME["log_volume_zscore_168"]])
    correlation = table.corrwith(pd.Series(state, index=table.index))
    assert correlation["log_volume_surprise_10d"] > 0.9
    assert 0.1 < correlation["log_volume_zscore_168"] < 0.5


@pytest.mark.parametrize(
    ("freq", "lags"), [("1h", (24, 48, 72)), ("30min", (48,)), ("4h", (6, 12, 18)), ("5min", range(1, 73))]
)
def test_the_previous_days_are_as_many_as_fit_into_the_lookback(freq, lags):
    candles = random_walk(200, freq=freq)
    log_volume = np.log(candles["volume"])
    usual = pd.concat([log_volume.shift(lag) for lag in lags], axis=1).mean(axis=1)
    values = compute_features(candles, [log_volume_surprise(3)])["log_volume_surprise_3d"]
    assert_series_equal(values.iloc[72:], (log_volume - usual).iloc[72:], check_names=False)


def test_bars_without_trades_count_in_no_mean_of_log_volumes():
    candles = random_walk(60).assign(volume=math.e)
    candles.iloc[30:40, 4] = 0.0
    candles.iloc[50, 4] = math.e**2
    deviation = compute_features(candles, [BY_NAME["log_volume_deviation_24"]])["log_volume_deviation_24"]
    assert deviation.iloc[30:40].tolist() == [0.0] * 10
    assert deviation.iloc[50] == pytest.approx(1 - 1 / 14)


@pytest.mark.parametrize(
    ("closes_at", "tokyo", "london", "new_york"),
    [
        ("2024-01-15 00:00", 1, 0, 0),  # 09:00 in Tokyo
        ("2024-01-15 08:00", 1, 1, 0),
        ("2024-01-15 09:00", 0, 1, 0),  # 18:00 in Tokyo
        ("2024-01-15 12:30", 0, 1, 0),  # 07:30 in New York
        ("2024-01-15 13:00", 0, 1, 1),
        ("2024-01-15 17:00", 0, 0, 1),
        ("2024-01-15 22:00", 0, 0, 0),
        ("2024-07-01 07:00", 1, 1, 0),  # London by summer time
        ("2024-07-01 12:00", 0, 1, 1),
        ("2024-07-01 16:00", 0, 0, 1),
        ("2024-03-20 12:00", 0, 1, 1),  # New York already by summer time, London not yet
        ("2024-03-20 07:00", 1, 0, 0),
    ],
)
def test_sessions_follow_local_clocks_at_the_bars_close(closes_at, tokyo, london, new_york):
    closes = pd.date_range(pd.Timestamp(closes_at, tz="UTC") - pd.Timedelta("1h"), periods=2, freq="30min")
    candles = CANDLES.head(3).set_axis(pd.DatetimeIndex([closes[0] - pd.Timedelta("30min"), *closes]))
    row = compute_features(candles, CALENDAR).iloc[-1]
    assert row[["session_tokyo", "session_london", "session_new_york"]].tolist() == [tokyo, london, new_york]
    assert row["sessions_open"] == pytest.approx((tokyo + london + new_york) / 3)


def test_hour_and_weekday_are_those_of_the_close():
    candles = CANDLES.head(24 * 7).set_axis(pd.date_range("2024-03-03 23:00", periods=24 * 7, freq="h", tz="UTC"))
    table = compute_features(candles, CALENDAR)
    monday, saturday = table.iloc[0], table.iloc[24 * 5]
    assert monday[["hour_sine", "hour_cosine", "weekday_sine", "weekday_cosine"]].tolist() == pytest.approx([0, 1, 0, 1])
    assert table["hour_sine"].iloc[6] == pytest.approx(1.0)
    assert (monday["is_weekend"], saturday["is_weekend"], table["is_weekend"].sum()) == (0, 1, 48)


# ---------------------------------------------------------------- arithmetic over windows


@pytest.mark.parametrize("window", [1, 2, 3, 7, 24, 31, 168])
def test_a_rolling_sum_equals_that_of_pandas(window):
    values = np.random.default_rng(window).standard_normal(400)
    expected = pd.Series(values).rolling(window).sum().to_numpy()
    assert rolling_sum(values, window) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert np.isnan(rolling_sum(values[: window - 1], window)).all()


def test_a_rolling_sum_of_spaced_elements_takes_those_alone():
    values = np.arange(20.0)
    assert rolling_sum(values, 3, step=4)[8:].tolist() == [(3 * t - 12.0) for t in range(8, 20)]
    assert np.isnan(rolling_sum(values, 3, step=4)[:8]).all()


def test_a_rolling_sum_is_the_same_to_the_bit_wherever_the_series_starts():
    values = np.random.default_rng(0).lognormal(sigma=8, size=300)
    assert np.array_equal(rolling_sum(values, 24)[100:], rolling_sum(values[77:], 24)[23:])


def test_a_rolling_sum_forgets_what_left_its_window():
    values = np.array([1e18, np.nan, 3.3, *np.zeros(5)])
    assert rolling_sum(values, 3)[-3:].tolist() == [0.0, 0.0, 0.0]


def test_constant_windows_have_no_deviation():
    values = np.full(50, 0.1)
    assert rolling_std(values, 20)[19:].tolist() == [0.0] * 31
    assert rolling_zscore(values, 20)[19:].tolist() == [0.0] * 31
    assert rolling_correlation(values, np.arange(50.0), 20)[19:].tolist() == [0.0] * 31


def test_nothing_over_nothing_is_what_was_said():
    assert ratio(np.array([1.0, 0.0, 3.0]), np.array([2.0, 0.0, 0.0]), otherwise=0.5).tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("bars", [1, 3, 5])
def test_a_shift_looks_back(bars):
    assert shift(np.arange(3.0), bars).tolist()[bars:] == [0.0, 1.0][: 3 - bars]
    assert np.isnan(shift(np.arange(3.0), bars)[:bars]).all()


def test_the_warm_up_leaves_a_billionth_of_the_start():
    assert (1 - 2 / 27) ** ema_warm_up(26) < 1e-9 < (1 - 2 / 27) ** (ema_warm_up(26) - 1)
    assert (1 - 1 / 14) ** wilder_warm_up(14) < 1e-9 < (1 - 1 / 14) ** (wilder_warm_up(14) - 1)


def test_the_interval_is_the_shortest_step():
    assert bar_interval(CANDLES.index[[0, 1, 5]]) == pd.Timedelta("1h")


# ---------------------------------------------------------------- identity

MODULE = '''
"""A user's own features."""
from crp_pipeline.features import Family, Feature
import numpy as np

WINDOW = 20

def _scaled(values, factor=2.0):
    """Scale."""
    return values * factor

def scaled_close(window):
    """Close, scaled."""
    return Feature("scaled_close", Family.TREND, 5, lambda bars: _scaled(bars.log_return) + WINDOW + window)
'''


def identity_of(source, folder):
    path = folder / f"own_features_{len(list(folder.iterdir()))}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("own_features", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return feature_set_id([module.scaled_close(3)])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("+ window)", "+ window * 1.0)"),
        ("WINDOW = 20", "WINDOW = 21"),
        ("values * factor", "values / factor"),
        ("factor=2.0", "factor=2.5"),
        ("bars.log_return", "bars.log_close"),
        ('"scaled_close", Fam', '"rescaled_close", Fam'),
        ("Family.TREND", "Family.VOLUME"),
        ("TREND, 5", "TREND, 6"),
        ("+ window)", "+ window, 7)"),
    ],
    ids=["expression", "constant", "helper", "default", "intermediate", "name", "family", "lookback", "warm-up"],
)
def test_the_identity_changes_with_the_definition(old, new, tmp_path):
    assert MODULE.count(old) >= 1
    assert identity_of(MODULE, tmp_path) != identity_of(MODULE.replace(old, new), tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("WINDOW = 20", "# twenty bars\n\n\nWINDOW = 20"),
        ('"""Scale."""', '"""Multiply by a factor."""  # as the name says'),
        ('"""Close, scaled."""', '"""The close, scaled."""'),
        (
            "_scaled(bars.log_return) + WINDOW + window",
            "(\n        _scaled( bars.log_return )\n        + WINDOW + window\n    )",
        ),
        ("import numpy as np", "import numpy as np\nOTHER = 5"),
    ],
    ids=["comment", "docstring", "factory's docstring", "layout", "constant it does not use"],
)
def test_the_identity_stays_when_the_definition_does(old, new, tmp_path):
    assert MODULE.count(old) == 1
    assert identity_of(MODULE, tmp_path) == identity_of(MODULE.replace(old, new), tmp_path)


def test_the_identity_changes_with_the_value_that_a_factory_was_given():
    one, other = distance_to_sma(10), distance_to_sma(11)
    assert feature_set_id([one]) != feature_set_id([replace(other, name=one.name, lookback=one.lookback)])


def test_the_identity_depends_on_which_features_and_in_which_order():
    one, other = CATALOG[:2]
    ids = [feature_set_id(features) for features in ([one], [other], [one, other], [other, one], [])]
    assert len(set(ids)) == len(ids)
    assert feature_set_id([distance_to_sma(10)]) == feature_set_id([CATALOG[0]])


def test_the_identity_changes_with_the_version_of_talib(monkeypatch):
    before = feature_set_id(CATALOG[:1])
    monkeypatch.setattr("talib.__version__", "9.9.9")
    assert feature_set_id(CATALOG[:1]) != before


def _feed_or_zero(bars, name):
    return np.nan_to_num(bars.feeds[name].to_numpy())


def _feed_or_one(bars, name):
    return np.nan_to_num(bars.feeds[name].to_numpy(), nan=1.0)


def test_the_identity_changes_with_the_code_of_a_method_of_bars_that_is_called(monkeypatch):
    reading, not_reading = [BY_NAME["fear_greed"]], [BY_NAME["rsi_14"]]
    ids = [(feature_set_id(reading), feature_set_id(not_reading))]
    for method in (_feed_or_zero, _feed_or_one):
        monkeypatch.setattr(method, "__module__", Bars.__module__)  # or only its name would count
        monkeypatch.setattr(Bars, "feed", method)
        ids.append((feature_set_id(reading), feature_set_id(not_reading)))
    assert len({reads for reads, _ in ids}) == 3
    assert len({does_not for _, does_not in ids}) == 1


def test_two_lambdas_on_one_line_are_told_apart():
    one, other = (Feature("f", Family.TREND, 1, compute) for compute in (lambda bars: bars.close, lambda bars: bars.open))  # fmt: skip
    assert feature_set_id([one]) != feature_set_id([other])


def test_the_identity_is_that_of_another_process():
    code = "from crp_pipeline.features import CATALOG, feature_set_id; print(feature_set_id(CATALOG))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "7"},
    )
    assert done.stdout.strip() == feature_set_id(CATALOG)
    assert re.fullmatch("[0-9a-f]{16}", done.stdout.strip())


def test_code_typed_at_a_prompt_has_an_identity_too():
    scope = {"np": np}
    exec("def typed(bars): return np.sqrt(bars.close)\ndef other(bars): return np.sqrt(bars.close) + 1", scope)
    ids = [feature_set_id([Feature("typed", Family.TREND, 1, scope[name])]) for name in ("typed", "other", "typed")]
    assert ids[0] == ids[2] != ids[1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("lambda bars: bars.open", "lambda bars: bars.close"),
        ("lambda bars: [b for b in (bars.open,)][0]", "lambda bars: [b for b in (bars.close,)][0]"),
        ("lambda bars: (lambda b: b.open)(bars)", "lambda bars: (lambda b: b.close)(bars)"),
        ("lambda bars: bars.open + 1", "lambda bars: bars.open + 2"),
        ("lambda bars: bars.open * (bars.tag in {'a', 'b'})", "lambda bars: bars.open * (bars.tag in {'a', 'c'})"),
    ],
)
def test_code_without_source_that_differs_in_a_name_differs_in_identity(one, other):
    first, again, second = (Feature("f", Family.TREND, 1, eval(code, {})) for code in (one, one, other))
    assert feature_set_id([first]) == feature_set_id([again]) != feature_set_id([second])


def test_sets_in_code_without_source_are_the_same_in_another_process():
    typed = """eval("lambda bars: bars.open * (bars.tag in {'a', 'b', 'c', 'd'})", {})"""
    code = "from crp_pipeline.features import Family, Feature, feature_set_id as identity; "
    code += f"print(identity([Feature('f', Family.TREND, 1, {typed})]))"
    found = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=env).stdout
        for env in (os.environ | {"PYTHONHASHSEED": seed} for seed in ("1", "2", "3"))
    }
    assert len(found) == 1


@dataclass(frozen=True)
class Weighted:
    weight: float

    def close(self, bars):
        return self.weight * bars.close

    __call__ = close


@pytest.mark.parametrize(
    "compute", [Weighted(1.0).close, Weighted(1.0), lambda bars: 2 * HEAVY(bars), lambda bars: 2 * WEIGH(bars)]
)
def test_the_code_of_methods_has_no_identity(compute):
    with pytest.raises(TypeError, match=r"a (method|Weighted) without stable content"):
        feature_set_id([Feature("f", Family.TREND, 1, compute)])


HEAVY, WEIGH = Weighted(9.0), Weighted(9.0).close


@lru_cache
def _doubled(number):
    return number * 2


@lru_cache
def _tripled(number):
    return number * 3


def test_code_behind_a_cache_is_part_of_the_identity():
    def feature(cached):
        return Feature("f", Family.TREND, 1, lambda bars: bars.close * cached(1))

    assert feature_set_id([feature(_doubled)]) == feature_set_id([feature(_doubled)])
    assert feature_set_id([feature(_doubled)]) != feature_set_id([feature(_tripled)])


def _powered(bars, weights, *, power):
    return bars.close**power * weights[0]


def test_arguments_that_are_bound_are_part_of_the_identity():
    def bound(weight, power):
        return Feature("powered", Family.TREND, 1, partial(_powered, weights=np.array([weight]), power=power))

    ids = [feature_set_id([bound(*args)]) for args in ((1.0, 2), (1.0, 3), (2.0, 2), (1.0, 2))]
    assert ids[0] == ids[3]
    assert len(set(ids)) == 3


def test_code_that_depends_on_something_without_content_is_refused(tmp_path):
    with (tmp_path / "open").open("w") as file:
        unstable = Feature("unstable", Family.TREND, 1, lambda bars: bars.close + file.tell())
        with pytest.raises(TypeError, match="TextIOWrapper without stable content"):
            feature_set_id([unstable])


def test_descriptions_come_from_the_factory_the_function_or_the_summary():
    def plain(bars: Bars):
        """Plainly the close."""
        return bars.close

    assert distance_to_sma(10).description == "Close relative to its simple moving average."
    assert Feature("plain", Family.TREND, 1, plain).description == "Plainly the close."
    assert Feature("told", Family.TREND, 1, plain, summary="What it is.").description == "What it is."


def test_a_table_of_no_leaks_is_empty():
    assert leak_table(()).columns.tolist() == ["feature", "kind", "at", "difference"]
    assert leak_table(()).empty


# ---------------------------------------------------------------- what is made once


def test_what_is_remembered_is_made_once_per_bars_and_arguments():
    made = []

    @remembered
    def mean_close(bars, window):
        made.append(window)
        return bars.close + window

    def features_of(*windows):
        return [Feature(f"f{n}_{w}", Family.TREND, 1, lambda bars, w=w: mean_close(bars, w)) for n, w in enumerate(windows)]

    table = compute_features(CANDLES.head(300), features_of(3, 4, 3))
    assert made == [3, 4]
    assert table["f2_3"].equals(table["f0_3"].rename("f2_3"))
    compute_features(CANDLES.head(200), features_of(3))
    assert made == [3, 4, 3]


def test_the_identity_knows_what_is_remembered():
    @remembered
    def three(bars):
        return bars.close * 3

    @remembered
    def four(bars):
        return bars.close * 4

    ids = {feature_set_id([Feature("f", Family.TREND, 1, lambda bars, made=made: made(bars))]) for made in (three, four, three)}
    assert len(ids) == 2
