"""One model's forecasts against every criterion: by hand, against all shuffles, and never a win rate on its own."""

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.contracts import PROBABILITIES
from crp_pipeline.gate import GateConfig, Outcome, Stage
from crp_pipeline.gate.evaluation import call_evidence, evaluate_forecast, forecast_criteria
from crp_pipeline.metrics import wilson_interval
from crp_pipeline.models.diagnosis import FLAGS
from crp_pipeline.reporting.scoreboard import call_phrase, evaluation_page
from crp_pipeline_tests.forecasts import guesses, prediction_frame, sharpened, stacking_problem

SIX = pd.date_range("2024-01-01", periods=6, freq="h", tz="UTC", name="open_time", unit="ns")
CALLS = pd.DataFrame(
    [[0.1, 0.1, 0.8], [0.8, 0.1, 0.1], [0.2, 0.2, 0.6], [0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [math.nan] * 3],
    index=SIX,
    columns=list(PROBABILITIES),
)
CAME = pd.DataFrame(
    {
        "signal": [1.0, 1.0, 0.0, -1.0, 1.0, 1.0],
        "weight": [0.5, 0.5, 0.25, 0.25, 1.0, 1.0],
        "forward_return": [0.02, 0.01, -0.0005, -0.04, 0.5, 0.5],
    },
    index=SIX,
)


def measured(calls=CALLS, cost=10.0):
    return call_evidence(calls, CAME, round_trip_cost_bps=cost, level=0.95)


def test_calls_by_hand():
    found = measured()
    # long +2 % wins, short +1 % loses, long -0.05 % loses and would not pay 0.1 % short, short -4 % wins; the fifth is neutral
    net = np.array([0.019, -0.011, -0.0015, 0.039])
    assert (found["calls"], found["calls_effective_n"], found["coverage"]) == (4, 1.5, 4 / 5)
    assert found["win_rate"] == 0.5
    assert (found["win_rate_low"], found["win_rate_high"]) == pytest.approx(wilson_interval(0.75, 1.5))
    assert found["payoff_ratio"] == pytest.approx(net[net > 0].mean() / -net[net < 0].mean())
    assert found["net_expectancy_bps"] == pytest.approx(1e4 * net.mean())
    # confidences 0.8, 0.8 hit once, 0.6, 0.6 hit once
    assert found["calls_calibration_error"] == pytest.approx((2 * 0.3 + 2 * 0.1) / 4)


def test_the_zero_skill_rate_is_the_mean_over_every_way_to_deal_the_sides():
    move, sides, cost = CAME["forward_return"].to_numpy()[:4], [1, -1, 1, -1], 0.001
    rates = [np.mean(np.array(dealt) * move > cost) for dealt in permutations(sides)]
    assert measured()["zero_skill_win_rate"] == pytest.approx(np.mean(rates))
    assert measured()["win_rate_over_zero_skill"] == pytest.approx(measured()["win_rate_low"] - np.mean(rates))


def test_a_higher_cost_wins_no_more():
    rates = [measured(cost=cost)["win_rate"] for cost in (0, 10, 300, 500)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0


def test_without_a_call_that_takes_a_side_nothing_is_measured():
    found = measured(CALLS.assign(p_short=0.1, p_neutral=0.8, p_long=0.1).where(CALLS.notna()))
    assert (found["calls"], found["coverage"]) == (0, 0)
    assert math.isnan(found["win_rate"])
    assert math.isnan(found["win_rate_over_zero_skill"])
    assert call_phrase({**found, "n": 5.0}) == "no call takes a side on 5 bars"


def test_a_win_rate_is_never_shown_without_what_it_must_be_read_with():
    shown = call_phrase({**measured(), "n": 5.0})
    assert shown == "50.0% (7.6% to 92.4%, n 4, 2 independent); zero skill 37.5%, payoff 4.64, coverage 80%"


FRAMES, LABELS, FOLDS = stacking_problem(
    6_000,
    train_size=600,
    test_size=900,
    models={"good": lambda p: p, "guesses": lambda p: guesses(len(p), seed=5)},
    strength=2.0,
)
PRIOR = prediction_frame(np.tile([0.4, 0.2, 0.4], (len(LABELS), 1)), FOLDS, LABELS.index)
CONFIG = GateConfig(n_resamples=200, min_win_rate=0.6, max_calibration_error=0.05)


def evaluated(predictions, config=CONFIG, **options):
    choices = {"horizon": 6, "round_trip_cost_bps": 5.0, "config": config, **options}
    return evaluate_forecast(predictions, PRIOR, LABELS, **choices)


def failing(evaluation):
    return {finding.criterion.name for finding in evaluation.verdict.findings if not finding.passed}


def test_a_model_that_knows_the_odds_passes_every_criterion():
    assert failing(evaluated(FRAMES["good"])) == set()


def test_guesses_fail_wherever_skill_is_asked():
    assert failing(evaluated(FRAMES["guesses"])) - {"auc"} == {
        *("worse_than_prior", "log_loss_gain_low", "brier_gain", "directional_accuracy_low", "win_rate_over_zero_skill"),
        *("calibration_error", "calls_calibration_error", "win_rate"),
    }


def test_the_prior_itself_fails():
    assert failing(evaluated(PRIOR)) >= {"worse_than_prior", "constant", "log_loss_gain_low", "brier_gain", "auc"}


def test_too_much_confidence_fails_calibration_alone_among_the_bounds():
    sure = FRAMES["good"].copy()
    sure[list(PROBABILITIES)] = sharpened(sure[list(PROBABILITIES)].to_numpy(), 6)
    assert {"calibration_error", "calls_calibration_error"} <= failing(evaluated(sure))
    assert "win_rate" not in failing(evaluated(sure))


@pytest.mark.parametrize(
    ("setting", "value", "names"),
    [
        ("min_trades", 10**6, {"calls"}),
        ("min_effective_n", 1e6, {"calls_effective_n"}),
        ("min_win_rate", 0.9, {"win_rate"}),
        ("max_calibration_error", 0.0001, {"calibration_error", "calls_calibration_error"}),
    ],
)
def test_each_bound_of_the_settings_can_fail_what_it_names_and_nothing_else(setting, value, names):
    assert failing(evaluated(FRAMES["good"], replace(CONFIG, **{setting: value}))) == names


def test_a_win_rate_that_no_oracle_reaches_is_impossible_and_not_a_fault_of_the_model():
    asked = replace(CONFIG, min_win_rate=0.9)
    possible, dear = evaluated(FRAMES["good"], asked), evaluated(FRAMES["good"], asked, round_trip_cost_bps=150.0)
    assert possible.verdict.outcome is Outcome.REJECT
    ceiling = dear.verdict.evidence["oracle_ceiling"]
    moves = LABELS["forward_return"].dropna().abs()
    assert dear.verdict.evidence["oracle_win_rate"] == pytest.approx((moves > 0.015).mean(), abs=0.03)
    assert ceiling == pytest.approx(min(1.0, dear.verdict.evidence["oracle_win_rate"] / dear.verdict.evidence["coverage"]))
    assert ceiling < 0.9
    assert dear.verdict.outcome is Outcome.IMPOSSIBLE


def test_every_number_of_the_criteria_is_measured():
    evidence = evaluated(FRAMES["good"]).verdict.evidence
    assert {criterion.name for criterion in forecast_criteria(CONFIG)} <= set(evidence)
    assert all(math.isfinite(value) for value in evidence.values())
    stages = [criterion.stage for criterion in forecast_criteria(CONFIG)]
    assert stages == sorted(stages, key=list(Stage).index)


def test_both_are_judged_on_the_bars_that_both_forecast():
    """A model that is silent on the hard half is not held against the prior of the easy one."""
    half = FRAMES["good"].copy()
    half.iloc[: len(half) // 2, :3] = np.nan
    evidence = evaluated(half).verdict.evidence
    times = half.index[half["p_short"].notna() & LABELS["signal"].notna()]
    came = LABELS.loc[times, "signal"].to_numpy().astype(int) + 1
    naive = ((PRIOR.loc[times, list(PROBABILITIES)].to_numpy() - np.eye(3)[came]) ** 2).sum(axis=1).mean()
    assert evidence["n"] == len(times)
    assert evidence["brier_gain"] == pytest.approx(naive - evidence["brier"])


def test_the_page_shows_every_criterion_every_flag_and_the_win_rate_with_all_that_belongs_to_it():
    good = evaluated(FRAMES["good"])
    page = evaluation_page(good, title="BTC-USDT lightgbm")
    assert page.startswith("BTC-USDT lightgbm\n")
    for name in (*(criterion.name for criterion in forecast_criteria(CONFIG)), *FLAGS):
        assert name in page
    assert call_phrase(good.verdict.evidence) in page
    assert page.endswith(f"all {len(forecast_criteria(CONFIG))} criteria hold")
    assert f"{len(failing(evaluated(PRIOR)))} of" in evaluation_page(evaluated(PRIOR), title="prior")
