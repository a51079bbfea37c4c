"""No feature looks ahead, none looks back further than it says, and what does is caught."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import talib
from pandas.testing import assert_frame_equal

from crp_pipeline.errors import InsufficientHistoryError
from crp_pipeline.features import (
    CATALOG,
    Family,
    Feature,
    LeakKind,
    compute_features,
    nightly_cuts,
    prove_causal,
    prove_nightly,
    spread_cuts,
    warm_up_bars,
)
from crp_pipeline_tests.random_walk import feed_values, other_coins, random_walk

N_BARS = 700
CUTS = (296, 301, 401, 479, 480, 481, 612)
CANDLES = random_walk(N_BARS)
MARKET = other_coins(CANDLES)
MARKET.iloc[:150, 0] = np.nan  # lists later
MARKET.iloc[400:403, 1] = np.nan  # misses bars
HOLE = slice(640, 650)
FEED_VALUES = feed_values(CANDLES, first=100, hole=HOLE)
AT_HOLES = (99, 100, 639, 640, 645, 649, 650)
"""Rows where the feeds become known, and known again."""
every_feature = pytest.mark.parametrize("feature", CATALOG, ids=lambda feature: feature.name)


@pytest.fixture(scope="module")
def known_now():
    return compute_features(CANDLES, CATALOG, market=MARKET, feeds=FEED_VALUES)


@cache
def known_then(cut: int) -> pd.DataFrame:
    """The whole catalogue as it was known at a bar's close."""
    known = slice(cut + 1)
    return compute_features(CANDLES.iloc[known], CATALOG, market=MARKET.iloc[known], feeds=FEED_VALUES.iloc[known])


@cache
def known_elsewhere(cut: int) -> pd.DataFrame:
    """The whole catalogue up to a bar after which everything came otherwise."""
    candles, market, feeds = CANDLES.copy(), MARKET.copy(), FEED_VALUES.copy()
    candles.iloc[cut + 1 :] = random_walk(N_BARS, seed=5, scale=0.05).iloc[cut + 1 :] * 3
    market.iloc[cut + 1 :] = np.random.default_rng(5).lognormal(size=market.iloc[cut + 1 :].shape)
    feeds.iloc[cut + 1 :] = np.random.default_rng(6).lognormal(size=feeds.iloc[cut + 1 :].shape)
    return compute_features(candles, CATALOG, market=market, feeds=feeds).iloc[: cut + 1]


@every_feature
def test_value_does_not_change_when_the_future_arrives(feature, known_now):
    for cut in (*CUTS, *AT_HOLES):
        now = known_now[[feature.name]].iloc[: cut + 1]
        assert_frame_equal(known_then(cut)[[feature.name]], now, check_exact=True)


@every_feature
def test_value_does_not_change_when_the_future_is_another(feature, known_now):
    for cut in (*CUTS, *AT_HOLES)[::3]:
        now = known_now[[feature.name]].iloc[: cut + 1]
        assert_frame_equal(known_elsewhere(cut)[[feature.name]], now, check_exact=True)


@every_feature
def test_what_a_feature_says_does_not_depend_on_the_others(feature, known_now):
    alone = compute_features(CANDLES, [feature], market=MARKET, feeds=FEED_VALUES)
    assert_frame_equal(alone, known_now[[feature.name]], check_exact=True)


@every_feature
def test_the_declared_bars_are_enough(feature, known_now):
    column = known_now[feature.name]
    interval = CANDLES.index[1] - CANDLES.index[0]
    for cut in CUTS:
        declared = slice(cut + 1 - feature.bars_needed, cut + 1)
        bars = CANDLES.iloc[declared]
        fresh = compute_features(bars, [feature], market=MARKET, feeds=FEED_VALUES, interval=interval)
        assert np.isfinite(column.iloc[cut])
        assert fresh.iloc[-1, 0] == pytest.approx(column.iloc[cut], rel=1e-6, abs=1e-6 * column.abs().mean())


def test_the_catalogue_is_causal_on_candles_with_a_hole():
    candles = CANDLES.drop(CANDLES.index[340:350])
    cuts = spread_cuts(len(candles), 4, seed=1)
    assert prove_causal(CATALOG, candles, market=MARKET, feeds=FEED_VALUES, cuts=cuts, seed=2) == ()


def test_the_catalogue_is_causal_on_bars_of_five_minutes():
    candles = random_walk(400, freq="5min", scale=0.001, seed=8)
    assert prove_causal(CATALOG, candles, cuts=(1, 330, 398, 399), seed=2) == ()


def _planted(name, lookback, compute):
    return Feature(name, Family.STATISTICAL, lookback, compute, summary="A planted leak.")


def _four_hours_stamped_at_their_start(bars):
    group = np.arange(len(bars)) // 4
    return pd.Series(bars.close).groupby(group).transform("last").to_numpy() / bars.close


PLANTED = [
    (
        _planted("centred_mean", 21, lambda b: pd.Series(b.close).rolling(21, center=True).mean().to_numpy()),
        LeakKind.FUTURE_ARRIVES,
    ),
    (_planted("next_open", 1, lambda b: np.append(b.open[1:], np.nan) / b.close), LeakKind.FUTURE_ARRIVES),
    (
        _planted("next_open_forward_filled", 1, lambda b: np.append(b.open[1:], b.close[-1]) / b.close),
        LeakKind.FUTURE_ARRIVES,
    ),
    (_planted("global_zscore", 30, lambda b: (b.close - b.close.mean()) / b.close.std()), LeakKind.FUTURE_ARRIVES),
    (_planted("global_scale", 1, lambda b: b.close / b.close.max()), LeakKind.SCRAMBLED_FUTURE),
    (_planted("four_hours_too_early", 4, _four_hours_stamped_at_their_start), LeakKind.FUTURE_ARRIVES),
    (
        _planted("back_filled_market", 2, lambda b: b.market.bfill().ffill().mean(axis=1).to_numpy()),
        LeakKind.FUTURE_ARRIVES,
    ),
    (
        _planted("interpolated_market", 2, lambda b: b.market.interpolate().iloc[:, 1].to_numpy()),
        LeakKind.FUTURE_ARRIVES,
    ),
    (
        _planted("back_filled_feed", 2, lambda b: b.feeds["fear_greed"].bfill().ffill().to_numpy()),
        LeakKind.FUTURE_ARRIVES,
    ),
    (
        _planted("interpolated_feed", 2, lambda b: b.feeds["open_interest"].interpolate().to_numpy()),
        LeakKind.FUTURE_ARRIVES,
    ),
    (
        _planted(
            "scaled_by_all_funding", 1, lambda b: b.feed("funding_rate") / (1 + np.nan_to_num(b.feed("funding_rate")).max())
        ),
        LeakKind.SCRAMBLED_FUTURE,
    ),
    (_planted("window_longer_than_said", 10, lambda b: b.close / talib.SMA(b.close, 20)), LeakKind.SHORT_LOOKBACK),
    (_planted("average_without_warm_up", 20, lambda b: b.close / talib.EMA(b.close, 20)), LeakKind.SHORT_LOOKBACK),
    (_planted("level_since_the_start", 2, lambda b: np.cumsum(b.log_return)), LeakKind.SHORT_LOOKBACK),
    (_planted("position_in_the_file", 1, lambda b: np.arange(len(b)) / 100.0), LeakKind.SHORT_LOOKBACK),
]


@pytest.mark.parametrize(("leaking", "kind"), PLANTED, ids=[feature.name for feature, _ in PLANTED])
def test_a_planted_leak_is_caught_and_named(leaking, kind):
    honest = CATALOG[:3]
    cuts = (99, 120, 401, 480, 645)
    leaks = prove_causal((*honest, leaking), CANDLES, market=MARKET, feeds=FEED_VALUES, cuts=cuts, seed=0)
    assert {leak.feature for leak in leaks} == {leaking.name}
    assert kind in {leak.kind for leak in leaks}
    assert all(leak.difference > 0 for leak in leaks)


@pytest.mark.parametrize("leaking", [feature for feature, _ in PLANTED], ids=lambda feature: feature.name)
def test_a_planted_leak_is_caught_every_night(leaking):
    leaks = prove_nightly((*CATALOG[:3], leaking), CANDLES, market=MARKET, feeds=FEED_VALUES, seed=0)
    assert {leak.feature for leak in leaks} == {leaking.name}


def test_the_catalogue_is_proved_every_night_on_a_history_of_any_length():
    for n_bars in (3, 40, N_BARS):
        assert prove_nightly(CATALOG, CANDLES.iloc[:n_bars], market=MARKET, feeds=FEED_VALUES, seed=1) == ()


def _next_return(bars):
    return np.append(np.diff(bars.log_close), 0.0)


SILENT = [
    _planted("next_return_where_silent", 2, lambda b: np.where(b.volume == 0, _next_return(b), 0.0)),
    _planted("filled_from_behind_where_silent", 2, lambda b: pd.Series(b.log_return).where(b.volume > 0).bfill().to_numpy()),
]


@pytest.mark.parametrize("leaking", SILENT, ids=lambda feature: feature.name)
def test_a_leak_at_bars_without_a_trade_is_caught_every_night(leaking):
    candles = random_walk(4_000, seed=3)
    candles.iloc[[500, 501, 2_222, 3_100], 4] = 0.0
    assert {leak.feature for leak in prove_nightly((*CATALOG[:3], leaking), candles, seed=0)} == {leaking.name}


def test_a_leak_at_the_latest_bars_alone_is_caught():
    late = CANDLES.index[-30]

    def compute(bars):
        return np.where(bars.open_time >= late, np.append(bars.close[1:], bars.close[-1]), bars.close) / bars.close

    assert {leak.feature for leak in prove_nightly([_planted("late", 1, compute)], CANDLES, seed=0)} == {"late"}


@pytest.mark.parametrize("beside", ["market", "feeds"])
def test_a_table_filled_from_behind_in_a_single_place_of_a_long_history_is_caught_every_night(beside):
    candles = random_walk(6_000)
    values = feed_values(candles, first=20, hole=slice(3_000, 3_030)).abs()
    filled = _planted("filled", 1, lambda bars: getattr(bars, beside)["fear_greed"].bfill().to_numpy())
    leaks = prove_nightly([filled], candles, **{beside: values}, seed=0)
    assert {candles.index[19], candles.index[3_029]} <= {leak.at for leak in leaks}


def test_the_cuts_of_a_night_hold_the_last_row_before_anything_is_known():
    values = feed_values(CANDLES, first=100)
    values.iloc[300:310, 1] = np.nan
    alone = {cut for cuts in nightly_cuts(CANDLES, None, feeds=values, seed=0)[:-1] for cut in cuts}
    assert {99, 309} <= alone
    assert len(alone) <= 26 + 10 + 2


def test_a_leak_says_where_it_starts():
    next_open = PLANTED[1][0]
    (leak, *_) = prove_causal([next_open], CANDLES, cuts=[400], seed=0)
    assert (leak.at, leak.difference) == (CANDLES.index[400], np.inf)


def test_a_cut_that_is_no_row_is_refused():
    with pytest.raises(IndexError, match="cut 700 is not a row after the first of 700"):
        prove_causal(CATALOG, CANDLES, cuts=[N_BARS], seed=0)


def test_cuts_are_rows_in_order():
    cuts = spread_cuts(500, 8, seed=3)
    assert list(cuts) == sorted(set(cuts))
    assert 1 <= cuts[0] < cuts[-1] < 500
    assert cuts == spread_cuts(500, 8, seed=3)


@pytest.mark.parametrize("n_rows", [0, 1, 2])
def test_too_few_rows_have_no_cut(n_rows):
    with pytest.raises(InsufficientHistoryError, match=f"rows found: {n_rows}; a cut with rows on both sides takes 3"):
        spread_cuts(n_rows, 4, seed=0)
    assert spread_cuts(3, 4, seed=0) == (1,)


def test_every_value_is_ready_at_the_first_cut():
    assert warm_up_bars(CATALOG) - 1 <= CUTS[0]
