"""Features of longer bars: stamped at the end of their bar, on the clock, the same wherever the segment starts."""

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.features import CATALOG, Family, Feature, compute_features
from crp_pipeline.features.momentum import log_return
from crp_pipeline.features.price_action import channel_position
from crp_pipeline.features.timeframe import TIMEFRAMES, at_timeframe, pivot_distance, return_so_far
from crp_pipeline.features.trend import distance_to_sma
from crp_pipeline.features.volume import chaikin_money_flow
from crp_pipeline_tests.random_walk import random_walk

CANDLES = random_walk(900, seed=2, start="2024-02-20 07:00")
CASES = [("1h", 4), ("1h", 24), ("5min", 12), ("15min", 3), ("4h", 6)]


def resampled(candles, freq, multiple):
    """Longer bars by pandas, indexed by the moment at which each ends; the first and last are whole."""
    length = multiple * pd.Timedelta(freq)
    rows = candles.resample(length, label="right", closed="left")
    bars = rows.agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"})
    return bars[rows.size() == multiple]


def known_at_close(candles, freq, values):
    """Latest value whose stamp is not after each bar's close."""
    closes = candles.index + pd.Timedelta(freq)
    return values.reindex(values.index.union(closes)).ffill().reindex(closes).to_numpy()


@pytest.mark.parametrize(("freq", "multiple"), CASES)
@pytest.mark.parametrize(
    "feature", [log_return(1), distance_to_sma(5), channel_position(4), chaikin_money_flow(3)], ids=lambda feature: feature.name
)
def test_value_is_that_of_the_latest_longer_bar_that_has_ended(feature, freq, multiple):
    candles = random_walk(900, seed=3, freq=freq, start="2024-02-20 07:00")
    longer = resampled(candles, freq, multiple)
    plain = {
        "log_return_1": lambda bars: np.log(bars["close"]).diff(),
        "distance_to_sma_5": lambda bars: bars["close"] / bars["close"].rolling(5).mean() - 1,
        "channel_position_4": lambda bars: (
            (bars["close"] - bars["low"].rolling(4).min()) / (bars["high"].rolling(4).max() - bars["low"].rolling(4).min())
        ),
        "chaikin_money_flow_3": lambda bars: (
            ((2 * bars["close"] - bars["high"] - bars["low"]) / (bars["high"] - bars["low"]) * bars["volume"]).rolling(3).sum()
            / bars["volume"].rolling(3).sum()
        ),
    }[feature.name]
    lifted = at_timeframe(feature, multiple)
    ready = slice(lifted.bars_needed - 1, None)
    values = compute_features(candles, [lifted])[lifted.name]
    expected = known_at_close(candles, freq, plain(longer))
    assert np.isfinite(expected[ready]).all()
    assert values.to_numpy()[ready] == pytest.approx(expected[ready], rel=1e-9, abs=1e-12)


def test_value_changes_only_when_a_longer_bar_ends():
    values = compute_features(CANDLES, [at_timeframe(log_return(1), 4)]).iloc[:, 0].dropna()
    changes = values.index[1:][np.diff(values) != 0]
    assert len(changes) > 200
    assert {(time + pd.Timedelta("1h")).hour for time in changes} == {0, 4, 8, 12, 16, 20}


def test_declared_bars_are_those_of_the_worst_place_on_the_clock():
    lifted = at_timeframe(distance_to_sma(5), 4)
    assert lifted.bars_needed == 23
    values = compute_features(CANDLES, [lifted]).iloc[:, 0]
    for row in range(200, 208):
        fresh = compute_features(CANDLES.iloc[row - 22 : row + 1], [lifted]).iloc[-1, 0]
        assert fresh == pytest.approx(values.iloc[row], rel=1e-12)
    too_short = [compute_features(CANDLES.iloc[row - 21 : row + 1], [lifted]).iloc[-1, 0] for row in range(200, 208)]
    assert np.isnan(too_short).all()


def test_pivot_is_the_typical_price_of_yesterday():
    candles = random_walk(96, start="2024-03-01")
    yesterday = candles.loc["2024-03-02"]
    pivot = (yesterday["high"].max() + yesterday["low"].min() + yesterday["close"].iloc[-1]) / 3
    values = compute_features(candles, [pivot_distance(24)])["pivot_distance_x24"]
    expected = candles["close"].loc["2024-03-02 23:00":"2024-03-03 22:00"] / pivot - 1
    assert len(expected) == 24
    assert values.loc[expected.index].to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-12)


def test_return_so_far_begins_anew_each_day():
    candles = random_walk(72, start="2024-03-01")
    values = compute_features(candles, [return_so_far(24)])["return_so_far_x24"]
    first, last = candles.loc["2024-03-03 00:00"], candles.loc["2024-03-03 15:00"]
    assert values["2024-03-03 00:00"] == pytest.approx(np.log(first["close"] / first["open"]))
    assert values["2024-03-03 15:00"] == pytest.approx(np.log(last["close"] / first["open"]))


def test_no_longer_bar_reaches_over_a_hole():
    candles = random_walk(300, start="2024-03-01").drop(
        pd.date_range("2024-03-05 02:00", "2024-03-05 03:00", freq="h", tz="UTC")
    )
    values = compute_features(candles, [at_timeframe(log_return(1), 4)])["log_return_1_x4"]
    ready = pd.Timestamp("2024-03-05 14:00", tz="UTC")  # the eleventh bar of its segment
    assert values.loc["2024-03-05 04:00":].first_valid_index() == ready
    moved = candles["close"]["2024-03-05 11:00"] / candles["close"]["2024-03-05 07:00"]
    assert values[ready] == pytest.approx(np.log(moved))


def test_a_warm_up_is_as_much_longer():
    slow = Feature("slow", Family.TREND, 3, lambda bars: bars.close, warm_up=5, summary="A value.")
    lifted = at_timeframe(slow, 4)
    assert (lifted.lookback, lifted.warm_up, lifted.family) == (15, 20, Family.TREND)
    assert lifted.description == "A value; on bars 4 times as long, the latest that has ended."


def test_every_timeframe_feature_is_in_the_catalogue():
    assert set(TIMEFRAMES) <= set(CATALOG)
    assert {feature.name.rsplit("_x", 1)[1] for feature in TIMEFRAMES} == {"4", "24"}
