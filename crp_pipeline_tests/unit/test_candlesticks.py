"""Candlesticks on prices with ticks: what decides a tie is the prices, not where the bars start."""

import numpy as np
import pytest

from crp_pipeline.features import Bars, compute_features
from crp_pipeline.features.candlesticks import BALANCE, CANDLESTICKS
from crp_pipeline_tests.random_walk import random_walk

PRICES = ["open", "high", "low", "close"]
STARTS = range(1, 400, 7)


def on_ticks(step, *, level=100.0, n_bars=900, seed=5):
    """A random walk whose prices are whole multiples of the step: full of equal bodies, shadows and ranges."""
    candles = random_walk(n_bars, seed=seed)
    return candles.assign(**{name: (candles[name] * level / 100 / step).round().mul(step).round(9) for name in PRICES})


def bars_of(candles):
    columns = (candles[name].to_numpy(np.float64) for name in (*PRICES, "volume"))
    return Bars(*columns, open_time=candles.index, interval=candles.index[1] - candles.index[0])


def crashed(candles, divisor, at=300):
    """The same, but from one bar on at a fraction of the price, on a tick that is as much finer."""
    after = candles[PRICES].iloc[at:] / divisor
    after.iloc[0, 0] = after.iloc[0, 1] = candles["close"].iloc[at - 1]
    return candles.assign(**{name: np.append(candles[name].iloc[:at], after[name].round(9)) for name in PRICES})


TICKS = {
    "coarse": on_ticks(0.5),
    "tenths": on_ticks(0.1),
    "cents": on_ticks(0.01),
    "dear coin": on_ticks(0.5, level=60_000.0),
    "cheap coin": on_ticks(1e-6, level=0.0009),
    "a tenth after a crash": crashed(on_ticks(0.5), 10),
    "a thousandth after a crash": crashed(on_ticks(0.5), 1_000),
}


@pytest.mark.parametrize("name", TICKS)
def test_a_pattern_on_ticks_is_the_same_wherever_the_bars_start(name):
    whole = compute_features(TICKS[name], CANDLESTICKS)
    assert (whole.abs().sum() > 0).sum() >= 8
    for start in STARTS:
        part = compute_features(TICKS[name].iloc[start:], CANDLESTICKS)
        known = part.notna().to_numpy()
        assert np.array_equal(part.to_numpy()[known], whole.to_numpy()[start:][known])


@pytest.mark.parametrize("feature", CANDLESTICKS, ids=lambda feature: feature.name)
def test_the_declared_bars_are_enough_at_every_row(feature):
    """A pattern is rare: a lookback that is too short shows at few rows."""
    candles = on_ticks(0.1, n_bars=1_500)
    whole, n_bars = feature.compute(bars_of(candles)), feature.bars_needed
    fresh = [feature.compute(bars_of(candles.iloc[end - n_bars : end]))[-1] for end in range(n_bars, len(candles) + 1)]
    assert fresh == whole[n_bars - 1 :].tolist()


def test_prices_as_they_are_would_let_earlier_bars_decide_a_tie():
    columns = [TICKS["a tenth after a crash"][name].to_numpy() for name in PRICES]
    differs = 0
    for start in STARTS:
        for pattern in BALANCE:
            whole, part = pattern(*columns), pattern(*(column[start:] for column in columns))
            differs += np.sum(part[12:] != whole[start + 12 :])
    assert differs > 0


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 100.0, 1e5])
def test_another_decimal_unit_of_price_changes_no_pattern(unit):
    candles = on_ticks(0.1)
    other = candles.assign(**{name: candles[name] * unit for name in PRICES})
    expected, found = compute_features(candles, CANDLESTICKS), compute_features(other, CANDLESTICKS)
    assert np.array_equal(found.to_numpy(), expected.to_numpy(), equal_nan=True)


@pytest.mark.parametrize(("step", "level"), [(0.5, 60_000.0), (0.01, 100.0), (1e-8, 0.00002)])
def test_decimal_prices_are_whole_numbers_of_ticks(step, level):
    candles = on_ticks(step, level=level)
    for start in (0, 100, 800):
        ticks = bars_of(candles.iloc[start:]).in_ticks
        per_step = ticks.close / (candles["close"].to_numpy()[start:] / step).round()
        assert per_step == pytest.approx(per_step[0], rel=1e-12)
        assert per_step[0] == pytest.approx(round(per_step[0]), rel=1e-12)
        assert all(np.array_equal(prices, np.rint(prices)) for prices in (ticks.open, ticks.high, ticks.low, ticks.close))


def _after_ordinary_bars(*last):
    """Twenty rising bars of body 1 and range 2, then these."""
    candles = random_walk(20 + len(last))
    steps = [(100 + k, 101.5 + k, 99.5 + k, 101 + k) for k in range(20)]
    candles[PRICES] = np.array([*steps, *last], dtype=np.float64)
    return compute_features(candles, CANDLESTICKS).iloc[-1]


@pytest.mark.parametrize(
    ("name", "last", "expected"),
    [
        ("doji", [(121, 122, 120, 121.2)], 1.0),  # a tenth of the mean range of 2: equal is enough
        ("doji", [(121, 122, 120, 121.21)], 0.0),
        ("dragonfly", [(121, 121.1, 119, 121)], 1.0),
        ("dragonfly", [(121, 123, 120.9, 121)], -1.0),
        ("hammer", [(120.9, 121.2, 119, 121.1)], -1.0),  # near the high before it: a hanging man
        ("marubozu", [(121, 124, 121, 124)], 1.0),
        ("marubozu", [(121, 121, 118, 118)], -1.0),
        ("harami", [(121, 124, 121, 124), (123, 123.5, 122, 122.5)], -1.0),
        ("harami", [(121, 124, 121, 124), (124, 124.0, 123, 123.5)], -0.8),
        ("shooting_star", [(122, 124, 121.95, 122.3)], -1.0),
        ("three_outside", [(121, 121, 119, 119.5), (119, 123, 118.5, 122.5), (122.5, 125, 122, 124)], 1.0),
        ("day_star", [(121, 126, 121, 126), (126.3, 127, 126.1, 126.5), (126, 126, 120, 121.5)], -1.0),
    ],
)
def test_a_pattern_is_found_where_its_rule_says(name, last, expected):
    assert _after_ordinary_bars(*last)[name] == expected
