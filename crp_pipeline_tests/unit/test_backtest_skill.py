"""What chance would have earned, on trades few enough to deal their sides by hand."""

import math

import numpy as np
import pytest

from crp_pipeline.backtest import ExecutionModel, run_backtest, zero_skill
from crp_pipeline_tests.unit.test_backtest import DOWN, FLAT, FREE, LEVERED, UP, decide, market, three_trades


def test_zero_skill_is_the_mean_over_all_ways_to_deal_the_sides():
    candles, decisions, _ = three_trades()
    decisions = decisions.assign(signal=[1, -1, 1, 0, 0])
    result = run_backtest(candles, decisions, execution=FREE, sizing=LEVERED)
    assert result.metrics["win_rate"] == 1
    chance = zero_skill(result, candles, decisions, FREE, n_permutations=20_000, seed=1)
    # one short among three: dealt right it wins all three, dealt wrong one of three
    assert chance.observed_win_rate == 1
    assert chance.observed_expectancy_bps == pytest.approx(result.metrics["expectancy_bps"])
    assert chance.win_rate == pytest.approx((3 + 1 + 1) / 9)
    assert chance.expectancy_bps == pytest.approx(200 * (1 - 1 / 3 - 1 / 3) / 3)
    assert chance.p_value == pytest.approx(1 / 3, abs=0.02)
    assert (chance.win_rate_low, chance.win_rate_high) == pytest.approx((1 / 3, 1))


@pytest.mark.parametrize("sides", [[1] * 60, [1, -1, -1] * 20], ids=["one side only", "every bar alike"])
def test_dealings_that_are_all_alike_cannot_be_told_from_chance(sides):
    candles, costly = market(FLAT, *[UP] * 60), ExecutionModel(horizon=None)
    decisions = decide(candles, dict(enumerate(sides)))
    result = run_backtest(candles, decisions, execution=costly, sizing=LEVERED)
    chance = zero_skill(result, candles, decisions, costly, n_permutations=100)
    assert chance.p_value == 1
    assert chance.win_rate == pytest.approx(chance.observed_win_rate)


def test_no_p_value_is_smaller_than_the_permutations_allow():
    candles = market(FLAT, *[UP, DOWN] * 10)
    decisions = decide(candles, {bar: 1 if bar % 2 == 0 else -1 for bar in range(20)})
    result = run_backtest(candles, decisions, execution=FREE, sizing=LEVERED)
    assert zero_skill(result, candles, decisions, FREE, n_permutations=99).p_value == 1 / 100


def test_zero_skill_of_a_subset_and_of_nothing():
    candles, decisions, result = three_trades()
    high = (result.trades["tier"] == "high").to_numpy()
    assert zero_skill(result, candles, decisions, FREE, subset=high, n_permutations=10).trades == 2
    nothing = zero_skill(result, candles, decisions, FREE, subset=np.zeros(3, bool), n_permutations=10)
    assert nothing.trades == 0
    assert nothing.p_value == 1
    assert math.isnan(nothing.win_rate)
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 2"):
        zero_skill(result, candles, decisions, FREE, level=2)
