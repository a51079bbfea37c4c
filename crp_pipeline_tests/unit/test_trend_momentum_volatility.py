"""What trend, momentum and volatility give where a market stands still, at their bounds and after another past."""

import math

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.features import compute_features
from crp_pipeline.features.ichimoku import ichimoku_cloud_distance, ichimoku_cloud_thickness
from crp_pipeline.features.momentum import MOMENTUM, balance_of_power, return_rank, stochastic_rsi, streak, ultimate_oscillator
from crp_pipeline.features.rolling import rolling_rank
from crp_pipeline.features.trend import TREND, vertical_horizontal_filter, vortex_difference
from crp_pipeline.features.volatility import VOLATILITY, jump_share, squeeze, ulcer_index, yang_zhang_volatility
from crp_pipeline_tests.random_walk import random_walk

FEATURES = (*TREND, *MOMENTUM, *VOLATILITY)
PRICES = ["open", "high", "low", "close"]
NEUTRAL = {
    "stochastic_k_14_3": 0.5,
    "stochastic_d_14_3": 0.5,
    "williams_r_14": -0.5,
    "williams_r_48": -0.5,
    "ultimate_oscillator_7_14_28": 0.5,
    "stochastic_rsi_10_14": 0.5,
    "volatility_ratio_4_24": 1.0,
    "volatility_ratio_12_96": 1.0,
    "volatility_ratio_24_168": 1.0,
    "parkinson_ratio_48": 1.0,
    "true_range_trend_6_48": 1.0,
    "downside_share_48": 0.5,
    "supertrend_side_10_3": 1.0,
    "aroon_up_25": 1.0,
    "aroon_down_25": 1.0,
}
"""Values on a market that never moved, where they are not 0; the latest of equal extremes counts as the most recent."""
BOUNDS = {
    "adx_10": (0, 1),
    "plus_di_14": (0, 1),
    "minus_di_14": (0, 1),
    "directional_difference_14": (-1, 1),
    "aroon_up_25": (0, 1),
    "aroon_down_25": (0, 1),
    "aroon_oscillator_14": (-1, 1),
    "trend_correlation_48": (-1, 1),
    "vertical_horizontal_filter_48": (0, 1),
    "efficiency_ratio_20": (-1, 1),
    "supertrend_side_10_3": (-1, 1),
    "rsi_14": (-0.5, 0.5),
    "rsi_change_10_5": (-1, 1),
    "stochastic_rsi_10_14": (0, 1),
    "ultimate_oscillator_7_14_28": (0, 1),
    "balance_of_power_14": (-1, 1),
    "true_strength_index_24_12": (-1, 1),
    "streak_12": (-1, 1),
    "return_rank_12_96": (-1, 1),
    "volatility_rank_12_96": (-1, 1),
    "volatility_ratio_4_24": (0, math.sqrt(6)),
    "volatility_ratio_24_168": (0, math.sqrt(7)),
    "chaikin_volatility_10_10": (-1, 1),
    "jump_share_48": (0, 1),
    "true_range_trend_6_48": (0, 8),
}


def closes(*values):
    """Candles that open at the close before and have no wicks."""
    close = pd.Series(values, index=pd.date_range("2024-03-01", periods=len(values), freq="h", tz="UTC"), dtype=float)
    opening = close.shift().fillna(close.iloc[0])
    high, low = np.maximum(opening, close), np.minimum(opening, close)
    return pd.DataFrame({"open": opening, "high": high, "low": low, "close": close, "volume": 1.0})


def last(feature, candles):
    return compute_features(candles, [feature], interval=pd.Timedelta("1h")).iloc[-1, 0]


def with_an_outage(start=400, stop=550):
    candles = random_walk(900, seed=3)
    candles.iloc[start:stop, :4] = candles["close"].iloc[start - 1]
    candles.iloc[start:stop, 4] = 0.0
    return candles


# ---------------------------------------------------------------- standing still


@pytest.mark.parametrize("price", [123.45, 0.1, 7.3e-7, 61_234.56])
def test_a_market_that_never_moved_gives_neutral_values(price):
    table = compute_features(random_walk(320).assign(**dict.fromkeys(PRICES, price)), FEATURES).dropna()
    assert len(table) > 20
    expected = [NEUTRAL.get(name, 0.0) for name in table]
    assert table.to_numpy() == pytest.approx(np.tile(expected, (len(table), 1)), abs=1e-12)


@pytest.mark.parametrize(
    "feature",
    [
        vortex_difference(14),
        vertical_horizontal_filter(48),
        ultimate_oscillator(7, 14, 28),
        stochastic_rsi(10, 14),
        squeeze(20),
        ulcer_index(14),
        jump_share(48),
        yang_zhang_volatility(96),
        return_rank(12, 96),
        balance_of_power(14),
    ],
    ids=lambda feature: feature.name,
)
def test_an_outage_leaves_no_rounding_in_its_windows(feature):
    value = compute_features(with_an_outage(), [feature])[feature.name].iloc[549]
    assert value == NEUTRAL.get(feature.name, 0.0)


@pytest.mark.parametrize("name", BOUNDS)
def test_a_feature_stays_within_its_bounds(name):
    lowest, highest = BOUNDS[name]
    feature = next(feature for feature in FEATURES if feature.name == name)
    wild = random_walk(900, seed=5, scale=0.2).clip(lower=0.01)
    for candles in (with_an_outage(), random_walk(900, seed=4), wild):
        values = compute_features(candles, [feature])[name].dropna()
        assert values.between(lowest - 1e-12, highest + 1e-12).all()


# ---------------------------------------------------------------- another past


RECURSIVE = [feature for feature in FEATURES if feature.warm_up > 0]


@pytest.mark.parametrize("feature", RECURSIVE, ids=lambda feature: feature.name)
@pytest.mark.parametrize("level", [0.3, 4.0])
def test_a_crash_before_the_declared_bars_is_forgotten(feature, level):
    """The start's weight is a thousandth of the tolerance, so that even another price level before it does no harm."""
    candles = random_walk(700, seed=12)
    before, declared = candles.iloc[: -feature.bars_needed], candles.iloc[-feature.bars_needed :]
    other = pd.concat([before.assign(**{name: before[name] * level for name in PRICES}), declared])
    typical = compute_features(candles, [feature])[feature.name].abs().mean()
    assert last(feature, other) == pytest.approx(last(feature, declared), rel=1e-6, abs=1e-6 * typical)


# ---------------------------------------------------------------- by hand


def test_a_streak_counts_equal_moves_in_a_row_up_to_its_cap():
    candles = closes(5, 6, 7, 8, 8, 7, 6, 7, 8, 9, 10, 11, 12)
    expected = [np.nan, np.nan, np.nan, 1, 0, -1 / 3, -2 / 3, 1 / 3, 2 / 3, 1, 1, 1, 1]
    assert compute_features(candles, [streak(3)])["streak_3"].tolist() == pytest.approx(expected, nan_ok=True)


def test_a_rank_is_the_share_below_less_the_share_above():
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 0.0, 3.0, 3.0, 3.0, 3.0, 3.0])
    assert rolling_rank(values, 4).tolist() == pytest.approx([*[np.nan] * 4, 1, -1, -0.25, -0.25, 0, 0.25, 0], nan_ok=True)


def test_the_best_return_of_its_window_ranks_first_and_the_worst_last():
    quiet = [100 + 0.1 * (-1) ** bar for bar in range(40)]
    assert last(return_rank(2, 20), closes(*quiet, 110)) == 1.0
    assert last(return_rank(2, 20), closes(*quiet, 90)) == -1.0


def test_the_cloud_at_a_bar_does_not_know_the_bars_since_it_was_drawn():
    candles, distance, thickness = (
        random_walk(200, seed=2),
        ichimoku_cloud_distance(9, 26, 52),
        ichimoku_cloud_thickness(9, 26, 52),
    )
    spike = candles.copy()
    spike.iloc[-26:-1, 1] *= 2
    spike.iloc[-1, 1] *= 3
    assert last(thickness, spike) == last(thickness, candles)
    assert last(distance, spike) == last(distance, candles)
    spike.iloc[-27, 1] *= 2
    assert last(thickness, spike) != last(thickness, candles)


def test_the_cloud_and_the_distance_to_it_by_hand():
    candles = closes(*[1.0] * 52, *[2.0] * 25, 4.0)
    candles.iloc[51, 1] = 3.0  # high of the last bar that today's cloud knows
    # conversion and base line (3 + 1) / 2 = 2, span B too: a cloud without thickness at 2
    assert last(ichimoku_cloud_thickness(9, 26, 52), candles) == 0.0
    assert last(ichimoku_cloud_distance(9, 26, 52), candles) == (4 - 2) / 4
    candles.iloc[0, 1] = 5.0  # only span B reaches back there: 3
    assert last(ichimoku_cloud_thickness(9, 26, 52), candles) == (2 - 3) / 4
    assert last(ichimoku_cloud_distance(9, 26, 52), candles) == (4 - 3) / 4
    candles.iloc[-1, 3] = 2.5
    assert last(ichimoku_cloud_distance(9, 26, 52), candles) == 0.0


def test_one_jump_among_small_moves_is_most_of_the_variance():
    quiet = np.exp(np.cumsum(0.001 * np.random.default_rng(0).standard_normal(60)))
    assert last(jump_share(48), closes(*quiet)) < 0.3
    quiet[40:] *= 1.2
    assert last(jump_share(48), closes(*quiet)) > 0.9


def test_the_ulcer_index_by_hand():
    # below the highest close of three: 0, 10 %, 20 %
    assert last(ulcer_index(3), closes(90, 95, 100, 90, 80)) == pytest.approx(math.sqrt((0.1**2 + 0.2**2) / 3))


def test_yang_zhang_measures_gaps_that_ranges_do_not_see():
    rng = np.random.default_rng(1)
    level = np.exp(np.cumsum(0.01 * rng.standard_normal(400)))
    gaps = closes(*level).assign(**dict.fromkeys(PRICES, level))
    assert last(yang_zhang_volatility(96), gaps) == pytest.approx(np.diff(np.log(level))[-96:].std(ddof=1))


def test_yang_zhang_estimates_the_volatility_of_a_walk_seen_at_every_step():
    steps = 0.001 * np.random.default_rng(2).standard_normal((97, 400))
    path = np.exp(np.cumsum(steps).reshape(97, 400))
    opening = np.concatenate([[1.0], path[:-1, -1]])
    candles = closes(*path[:, -1]).assign(
        open=opening, high=np.maximum(path.max(axis=1), opening), low=np.minimum(path.min(axis=1), opening)
    )
    assert last(yang_zhang_volatility(96), candles) == pytest.approx(0.001 * math.sqrt(400), rel=0.1)
