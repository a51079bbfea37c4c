"""Supertrend: the band as defined, whatever the start."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import talib

from crp_pipeline.features import compute_features, feature_set_id, supertrend
from crp_pipeline.features.supertrend import supertrend_distance, supertrend_side
from crp_pipeline_tests.random_walk import random_walk

DISTANCE, SIDE = supertrend_distance(10, 3), supertrend_side(10, 3)
PAIR = (DISTANCE, SIDE)


def numbered(candles):
    """Number of each bar since 1970."""
    interval = candles.index[1] - candles.index[0]
    return ((candles.index - pd.Timestamp("1970-01-01", tz="UTC")) // interval).to_numpy()


def as_defined(candles, row, multiplier, window=10):
    """Distance and side of one bar, walked to it from the right start, one step after the other."""
    start = row - (64 + numbered(candles)[row] % 64)
    high, low, close = (candles[name].to_numpy() for name in ("high", "low", "close"))
    side = floor = ceiling = None
    for t in range(start, row + 1):
        ranges = [max(high[i], close[i - 1]) - min(low[i], close[i - 1]) for i in range(t - window + 1, t + 1)]
        reach, middle = multiplier * sum(ranges) / window, (high[t] + low[t]) / 2
        if side is None:
            floor, ceiling, side = middle - reach, middle + reach, 1 if close[t] >= middle else -1
            continue
        floor = middle - reach if close[t - 1] < floor else max(floor, middle - reach)
        ceiling = middle + reach if close[t - 1] > ceiling else min(ceiling, middle + reach)
        if side == 1 and close[t] < floor:
            side = -1
        elif side == -1 and close[t] > ceiling:
            side = 1
    band = floor if side == 1 else ceiling
    return (close[row] - band) / close[row], side


@pytest.mark.parametrize(("freq", "start"), [("1h", "2024-03-01"), ("5min", "2024-03-01 00:35"), ("4h", "2021-11-07 08:00")])
@pytest.mark.parametrize("multiplier", [3, 15])
def test_every_bar_equals_a_plain_walk_to_it(freq, start, multiplier):
    candles = random_walk(420, seed=5, freq=freq, start=start)
    pair = (supertrend_distance(10, multiplier), supertrend_side(10, multiplier))
    rows = range(DISTANCE.lookback - 1, len(candles))
    expected = np.array([as_defined(candles, row, multiplier) for row in rows])
    assert set(expected[:, 1]) == {-1.0, 1.0}
    np.testing.assert_allclose(compute_features(candles, pair).iloc[rows[0] :], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("multiplier", [3, 15])  # a wide band remembers its start for longer than a walk lasts
def test_a_value_is_the_same_to_the_bit_wherever_the_history_starts(multiplier):
    candles, pair = random_walk(600, seed=6), (supertrend_distance(10, multiplier), supertrend_side(10, multiplier))
    whole = compute_features(candles, pair).to_numpy()
    for start in (1, 17, 63, 64, 65, 200, 400):
        later = compute_features(candles.iloc[start:], pair).to_numpy()[DISTANCE.lookback - 1 :]
        assert np.array_equal(later, whole[start + DISTANCE.lookback - 1 :])


def test_the_declared_bars_are_needed_by_some_row_and_enough_for_every():
    candles, interval = random_walk(400, seed=7), pd.Timedelta("1h")
    shorter = replace(DISTANCE, lookback=DISTANCE.lookback - 1)
    for feature, some_is_missing in ((DISTANCE, False), (shorter, True)):
        ends = range(feature.lookback, feature.lookback + 64)
        last = [
            compute_features(candles.iloc[end - feature.lookback : end], [feature], interval=interval).iloc[-1, 0]
            for end in ends
        ]
        assert np.isnan(last).any() == some_is_missing


def test_the_side_is_that_of_the_distance():
    table = compute_features(random_walk(2_000, seed=8), PAIR).dropna()
    assert (np.sign(table[DISTANCE.name]) == table[SIDE.name]).all()


@pytest.mark.parametrize(("drift", "side"), [(0.004, 1), (-0.004, -1)])
def test_a_steady_trend_is_followed_on_its_side(drift, side):
    candles, path = random_walk(300, seed=9, scale=0.001), np.exp(drift * np.arange(300))
    moved = candles.assign(**{name: candles[name] * path for name in ("open", "high", "low", "close")})
    table = compute_features(moved, PAIR).dropna()
    assert (table[SIDE.name] == side).all()


def test_a_flat_market_lies_on_its_band():
    candles = random_walk(300).assign(open=7.3, high=7.3, low=7.3, close=7.3)
    table = compute_features(candles, PAIR).dropna()
    assert (set(table[DISTANCE.name]), set(table[SIDE.name])) == ({0.0}, {1.0})


def test_the_side_is_mostly_that_of_talib_whose_range_is_wilders_and_whose_walk_never_restarts():
    candles = random_walk(5_000, seed=10)
    side = compute_features(candles, [SIDE])[SIDE.name]
    theirs = talib.SUPERTREND(*(candles[name].to_numpy() for name in ("high", "low", "close")), 10, 3.0)[1]
    assert (side == theirs)[side.notna()].mean() > 0.85


def test_the_compiled_walk_is_part_of_the_identity(monkeypatch):
    before = feature_set_id(PAIR)
    monkeypatch.setattr(supertrend, "_walk_twice", lambda *_: None)
    assert feature_set_id(PAIR) != before
    monkeypatch.undo()
    monkeypatch.setattr(supertrend, "WALK", 32)
    assert feature_set_id(PAIR) != before
