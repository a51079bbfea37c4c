"""Every feature of the catalogue equals its plain version: pandas, written from the description alone."""

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.features import CATALOG, compute_features
from crp_pipeline_tests.benchmarks.market import real_hourly
from crp_pipeline_tests.plain import PLAIN
from crp_pipeline_tests.plain.bars import PlainBars
from crp_pipeline_tests.random_walk import feed_values, other_coins, random_walk

each = pytest.mark.parametrize("feature", CATALOG, ids=lambda feature: feature.name)


def made(candles, market, feeds):
    """Both sides: what the plain versions are written in, and our table."""
    return PlainBars(candles, market, feeds), compute_features(candles, market=market, feeds=feeds)


@pytest.fixture(scope="module")
def hours():
    """One coin lists later and another misses bars; feeds begin later and have a hole."""
    candles = random_walk(900, seed=11)
    market = other_coins(candles)
    market.iloc[:150, 0] = float("nan")
    market.iloc[600:603, 1] = float("nan")
    return made(candles, market, feed_values(candles, first=120, hole=slice(640, 650)))


@pytest.fixture(scope="module")
def five_minutes():
    candles = random_walk(900, seed=12, freq="5min", scale=0.002, start="2024-12-30 18:00")
    return made(candles, other_coins(candles), feed_values(candles))


@pytest.fixture(scope="module")
def real():
    folder = real_hourly()
    if folder is None:
        pytest.skip("no real candles: set CRP_MARKET_DATA")
    coins = {coin: pd.read_parquet(folder / f"{coin}-USDT.parquet").set_index("timestamp") for coin in ("SOL", "BTC", "ETH")}
    coins = {coin: bars[(bars.index >= "2022-10-20") & (bars.index < "2022-12-20")] for coin, bars in coins.items()}
    market = pd.DataFrame({coin: coins[coin]["close"] for coin in ("BTC", "ETH")})
    return made(coins["SOL"], market, feed_values(coins["SOL"]))


def share_of_equal(feature, bars, table):
    ready = slice(feature.bars_needed - 1, None)
    ours, plain = table[feature.name].iloc[ready], PLAIN[feature.name](bars).iloc[ready]
    return np.isclose(ours, plain, rtol=1e-6, atol=1e-9, equal_nan=True).mean()


def test_every_feature_has_a_plain_version_and_every_plain_version_a_feature():
    assert sorted(PLAIN) == sorted(feature.name for feature in CATALOG)


@each
def test_a_feature_equals_its_plain_version_on_hours(feature, hours):
    assert share_of_equal(feature, *hours) == 1


@each
def test_a_feature_equals_its_plain_version_on_five_minutes(feature, five_minutes):
    assert share_of_equal(feature, *five_minutes) == 1


@pytest.mark.market_data
@each
def test_a_feature_equals_its_plain_version_on_real_candles(feature, real):
    # prices on a tick tie, and rounding decides which of two equal values ranks first
    assert share_of_equal(feature, *real) > 0.998
