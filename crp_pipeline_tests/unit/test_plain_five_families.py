"""Volume, price action, statistics, calendar and the market equal plain pandas formulas of their descriptions."""

import pandas as pd
import pytest

from crp_pipeline.features import CATALOG, Family, compute_features
from crp_pipeline_tests.benchmarks.market import real_hourly
from crp_pipeline_tests.plain import calendar, cross_market, price_action, statistical, volume
from crp_pipeline_tests.plain.bars import PlainBars
from crp_pipeline_tests.random_walk import other_coins, random_walk

PLAIN = {
    Family.VOLUME: volume.PLAIN,
    Family.PRICE_ACTION: price_action.PLAIN,
    Family.STATISTICAL: statistical.PLAIN,
    Family.CALENDAR: calendar.PLAIN,
    Family.CROSS_MARKET: cross_market.PLAIN,
}
FEATURES = [feature for feature in CATALOG if feature.family in PLAIN]
BY_NAME = {feature.name: feature for feature in FEATURES}
each = pytest.mark.parametrize("feature", [f for f in FEATURES if f.name in PLAIN[f.family]], ids=lambda feature: feature.name)


def _late_and_holed(market):
    """One coin lists later and another misses bars."""
    market = market.copy()
    market.iloc[:150, 0] = float("nan")
    market.iloc[600:603, 1] = float("nan")
    return market


@pytest.fixture(scope="module")
def hourly():
    candles = random_walk(900, seed=11)
    market = _late_and_holed(other_coins(candles))
    return PlainBars(candles, market), compute_features(candles, FEATURES, market=market)


@pytest.fixture(scope="module")
def five_minutes():
    candles = random_walk(900, seed=12, freq="5min", scale=0.002, start="2024-12-30 18:00")
    market = other_coins(candles)
    return PlainBars(candles, market), compute_features(candles, FEATURES, market=market)


@pytest.fixture(scope="module")
def real():
    folder = real_hourly()
    if folder is None:
        pytest.skip("no real candles: set CRP_MARKET_DATA")
    coins = {coin: pd.read_parquet(folder / f"{coin}-USDT.parquet").set_index("timestamp") for coin in ("SOL", "BTC", "ETH")}
    coins = {coin: candles[(candles.index >= "2022-10-20") & (candles.index < "2022-12-20")] for coin, candles in coins.items()}
    market = pd.DataFrame({coin: coins[coin]["close"] for coin in ("BTC", "ETH")})
    return PlainBars(coins["SOL"], market), compute_features(coins["SOL"], FEATURES, market=market)


def _assert_equal(feature, bars, table):
    ready = slice(feature.bars_needed - 1, None)
    plain = PLAIN[feature.family][feature.name](bars).iloc[ready].to_numpy()
    assert table[feature.name].iloc[ready].to_numpy() == pytest.approx(plain, rel=1e-7, abs=1e-9)


def test_every_feature_has_a_plain_version_and_every_plain_version_a_feature():
    assert {family: set(plain) for family, plain in PLAIN.items()} == {
        family: {feature.name for feature in FEATURES if feature.family is family} for family in PLAIN
    }


@each
def test_a_feature_equals_its_plain_version_on_hours(feature, hourly):
    _assert_equal(feature, *hourly)


@each
def test_a_feature_equals_its_plain_version_on_five_minutes(feature, five_minutes):
    _assert_equal(feature, *five_minutes)


@pytest.mark.market_data
@each
def test_a_feature_equals_its_plain_version_on_real_candles(feature, real):
    _assert_equal(feature, *real)
