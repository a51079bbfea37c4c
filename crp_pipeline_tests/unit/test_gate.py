"""What must hold for a promotion: every criterion on its own, and numbers worked out by hand."""

import json
import math
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from crp_pipeline.backtest import CostData, ExecutionModel, ExitConfig, Sizing, exit_table, run_backtest, zero_skill
from crp_pipeline.contracts import PROBABILITIES, Fold, Tier
from crp_pipeline.ensemble import Member, Stack
from crp_pipeline.errors import InsufficientHistoryError
from crp_pipeline.gate import Criterion, GateConfig, Outcome, Stage, Verdict, criteria, judge
from crp_pipeline.gate.comparison import compare, daily_net_returns, plain_decisions, rules, with_exits
from crp_pipeline.gate.criteria import FAULTS
from crp_pipeline.gate.economics import stress_evidence, trading_evidence
from crp_pipeline.gate.evidence import forecast_evidence, integrity_evidence
from crp_pipeline.gate.feasibility import feasibility
from crp_pipeline.gate.scores import log_loss_by_fold, scored
from crp_pipeline.gate.verdict import OUTCOME_OF_FAILURE
from crp_pipeline.models.scoring import log_losses
from crp_pipeline.reporting.verdicts import win_rate_phrase
from crp_pipeline.splits import role_table
from crp_pipeline_tests.random_walk import random_walk

CONFIG = GateConfig(n_resamples=200)
ASKED = criteria(CONFIG)
AT_THE_THRESHOLD = {
    criterion.name: math.nextafter(bound, math.inf) if criterion.comparison == ">" else bound
    for criterion in ASKED
    for bound in [criterion.threshold if criterion.standard is None else criterion.standard]
}
"""The worst numbers that still pass, without a stamp."""
some_criterion = st.sampled_from(ASKED)


def worse(criterion):
    """The best number that does not pass."""
    if criterion.comparison == ">":
        return criterion.threshold
    return math.nextafter(criterion.threshold, -math.inf if criterion.comparison == ">=" else math.inf)


def failed(verdict):
    return {finding.criterion.name for finding in verdict.findings if not finding.passed}


# judging


@pytest.mark.parametrize(
    ("comparison", "threshold", "value", "holds"),
    [
        (">=", 200, 200, True),
        (">=", 200, 199.999, False),
        ("<=", 0.05, 0.05, True),
        ("<=", 0.05, 0.0500001, False),
        (">", 0, 1e-12, True),
        (">", 0, 0.0, False),
        (">=", 0, math.nan, False),
        ("<=", 0, math.nan, False),
        (">", 0, math.nan, False),
        (">=", 0, math.inf, False),
        ("<=", 0, -math.inf, False),
    ],
)
def test_a_bound_is_kept_or_not(comparison, threshold, value, holds):
    assert Criterion("number", comparison, threshold, Stage.SKILL).holds(value) is holds


@pytest.mark.parametrize(
    ("changes", "outcome", "reason"),
    [
        ({}, Outcome.PROMOTE, f"all {len(ASKED)} criteria hold"),
        ({"trades": 120}, Outcome.INSUFFICIENT_EVIDENCE, "trades is 120, needs >= 200"),
        ({"trades": math.nan}, Outcome.INSUFFICIENT_EVIDENCE, "trades is not measured, needs >= 200"),
        ({"log_loss_gain": -0.01}, Outcome.REJECT, "log_loss_gain is -0.01, needs > 0"),
        ({"calibration_error": 0.06, "gated_win_rate": 0.5}, Outcome.REJECT, "gated_win_rate is 0.5, needs >= 0.68 (1 more failed)"),
        ({"oracle_ceiling": 0.28, "trades": 3}, Outcome.IMPOSSIBLE, "oracle_ceiling is 0.28, needs >= 0.68 (1 more failed)"),
        ({"challenge_breaches": 1}, Outcome.REJECT, "challenge_breaches is 1, needs <= 0"),
        ({"implausible": 1}, Outcome.SHADOW, "implausible is 1, needs <= 0"),
        ({"e_value_margin": -3.5}, Outcome.SHADOW, "e_value_margin is -3.5, needs >= 0"),
        ({"e_value_margin": -3.5, "trades": 3}, Outcome.INSUFFICIENT_EVIDENCE, "trades is 3, needs >= 200 (1 more failed)"),
        ({"trades": 120, "log_loss_gain": -1}, Outcome.INSUFFICIENT_EVIDENCE, "trades is 120, needs >= 200 (1 more failed)"),
        ({"trades": 120, "leaking_features": 2}, Outcome.REJECT, "leaking_features is 2, needs <= 0 (1 more failed)"),
        (dict.fromkeys(AT_THE_THRESHOLD, math.nan), Outcome.REJECT, f"overlapping_training_labels is not measured, needs <= 0 ({len(ASKED) - 1} more failed)"),
    ],
)  # fmt: skip
def test_the_first_stage_that_fails_decides(changes, outcome, reason):
    verdict = judge({**AT_THE_THRESHOLD, **changes}, ASKED)
    assert (verdict.outcome, verdict.reason) == (outcome, reason)


def test_criteria_come_in_the_order_of_the_stages():
    assert [criterion.stage for criterion in ASKED] == sorted([criterion.stage for criterion in ASKED], key=list(Stage).index)
    assert [stage.value for stage in Stage] == [
        "integrity",
        "feasibility",
        "evidence",
        "skill",
        "economics",
        "calibration",
        "thresholds",
        "risk",
        "plausibility",
        "champion",
    ]
    assert {criterion.stage for criterion in ASKED} == set(Stage)
    assert len(AT_THE_THRESHOLD) == len(ASKED), "every name once"


def test_the_order_in_which_criteria_are_given_does_not_matter():
    evidence = {**AT_THE_THRESHOLD, "trades": 1, "permutation_p": 1.0}
    turned = judge(evidence, ASKED[::-1])
    assert (turned.outcome, turned.first_failed.criterion.name) == (Outcome.INSUFFICIENT_EVIDENCE, "trades")


@pytest.mark.parametrize(
    ("setting", "value", "name"),
    [
        ("max_control_age_days", 1.5, "control_age_days"),
        ("max_repaired_share", 0.5, "repaired_share"),
        ("level", 0.9, "confidence_level"),
        ("n_resamples", 100, "resamples"),
        ("min_trades", 7, "trades"),
        ("min_effective_n", 7.5, "effective_n"),
        ("min_test_days", 7.5, "test_days"),
        ("min_tier_trades", 7, "gated_trades"),
        ("max_permutation_p", 0.2, "permutation_p"),
        ("min_probabilistic_sharpe", 0.6, "probabilistic_sharpe_ratio"),
        ("min_deflated_sharpe", 0.6, "deflated_sharpe_ratio"),
        ("max_tier_calibration_error", 0.2, "tier_calibration_error"),
        ("max_overfitting_probability", 0.6, "probability_of_backtest_overfitting"),
        ("max_calibration_error", 0.2, "calibration_error"),
        ("max_tier_calibration_error", 0.1, "tier_calibration_error"),
        ("min_challenge_pass_probability", 0.2, "challenge_pass_probability"),
    ],
)
def test_each_threshold_comes_from_its_setting_and_moves_no_other(setting, value, name):
    usual = {criterion.name: criterion.threshold for criterion in ASKED}
    changed = {criterion.name: criterion.threshold for criterion in criteria(replace(CONFIG, **{setting: value}))}
    assert changed == {**usual, name: value}


def test_the_win_rate_that_is_asked_for_is_asked_of_the_oracle_too():
    usual = {criterion.name: criterion.threshold for criterion in ASKED}
    changed = {criterion.name: criterion.threshold for criterion in criteria(replace(CONFIG, min_win_rate=0.6))}
    assert changed == {**usual, "gated_win_rate": 0.6, "oracle_ceiling": 0.6}


def test_what_no_setting_can_change_is_nought():
    faults = {c.name: (c.comparison, c.threshold) for c in ASKED if c.name in FAULTS}
    assert faults == dict.fromkeys(FAULTS, ("<=", 0))
    above = {c.name for c in ASKED if (c.comparison, c.threshold) == (">", 0)}
    assert above == {
        *("accuracy_over_majority", "log_loss_gain", "net_expectancy_lower_bps"),
        *("stressed_expectancy_bps", "late_expectancy_bps", "sharpe", "fresh_gain_bps"),
    }


def test_the_evidence_of_another_recipe_is_asked_for_as_the_setting_says():
    asked = {c.name: c.threshold for c in criteria(replace(CONFIG, min_e_value=5.0, refresh_margins=3.0))}
    assert (asked["e_value_margin"], asked["refresh_margin"]) == (5.0 - 20.0, 1.0 - 3.0)


# loosened bounds


@pytest.mark.parametrize(
    ("setting", "value", "evidence", "told"),
    [
        ("min_trades", 50, {"trades": 120}, "trades is 120, the house asks for >= 200"),
        ("max_permutation_p", 0.2, {"permutation_p": 0.1}, "permutation_p is 0.1, the house asks for <= 0.05"),
        ("level", 0.8, {"confidence_level": 0.8}, "confidence_level is 0.8, the house asks for >= 0.95"),
        ("n_resamples", 100, {"resamples": 100}, "resamples is 100, the house asks for >= 2,000"),
        ("min_e_value", 5.0, {"e_value_margin": -12.5}, "e_value_margin is -12.5, the house asks for >= 0"),
        ("max_control_age_days", 99.0, {"control_age_days": 30.0}, "control_age_days is 30, the house asks for <= 8"),
    ],
)
def test_a_promotion_on_a_loosened_bound_says_so_wherever_it_is_read(setting, value, evidence, told):
    loosened = criteria(replace(CONFIG, **{setting: value}))
    verdict = judge({**AT_THE_THRESHOLD, **evidence}, loosened)
    assert verdict.outcome is Outcome.PROMOTE
    assert verdict.stamp == f"promoted without evidence: {told}"
    assert verdict.stamp in verdict.reason
    assert verdict.to_dict()["stamp"] == verdict.stamp
    assert judge({**AT_THE_THRESHOLD, **evidence}, ASKED).outcome is not Outcome.PROMOTE


@pytest.mark.parametrize(
    ("evidence", "told"),
    [
        ({"house_implausible": 1}, "house_implausible is 1, the house asks for <= 0"),
        ({"alarmed_share_shown": 0.5}, "alarmed_share_shown is 0.5, the house asks for <= 0"),
        ({"house_challenge_breaches": 1}, "house_challenge_breaches is 1, the house asks for <= 0"),
        ({"house_challenge_pass_probability": 0.1}, "house_challenge_pass_probability is 0.1, the house asks for >= 0.5"),
    ],
)
def test_a_promotion_that_only_caps_and_rules_of_ones_own_allow_says_so(evidence, told):
    verdict = judge({**AT_THE_THRESHOLD, **evidence}, ASKED)
    assert (verdict.outcome, verdict.stamp) == (Outcome.PROMOTE, f"promoted without evidence: {told}")


def test_a_loosened_bound_that_was_not_needed_is_not_stamped():
    assert judge(AT_THE_THRESHOLD, criteria(replace(CONFIG, min_trades=50))).stamp == ""


def test_what_was_not_promoted_carries_no_stamp():
    verdict = judge({**AT_THE_THRESHOLD, "trades": 120, "log_loss_gain": -1}, criteria(replace(CONFIG, min_trades=50)))
    assert (verdict.outcome, verdict.stamp) == (Outcome.REJECT, "")


def test_the_users_own_thresholds_are_nobody_elses_affair():
    verdict = judge({**AT_THE_THRESHOLD, "gated_win_rate": 0.55}, criteria(replace(CONFIG, min_win_rate=0.5)))
    assert (verdict.outcome, verdict.stamp) == (Outcome.PROMOTE, "")


def test_an_ideal_is_a_badge_and_decides_nothing():
    ideal = {"gated_win_rate": 0.70, "calibration_error": 0.03, "sharpe": 1.51, "probability_of_backtest_overfitting": 0.2}
    short = {"gated_win_rate": 0.699, "calibration_error": 0.031, "sharpe": 1.5, "probability_of_backtest_overfitting": 0.21}
    verdicts = [judge({**AT_THE_THRESHOLD, **numbers}, ASKED) for numbers in (ideal, short)]
    assert [verdict.outcome for verdict in verdicts] == [Outcome.PROMOTE] * 2
    assert [set(verdict.badges) for verdict in verdicts] == [set(ideal), set()]
    remarks = {finding.criterion.name: finding.remark for finding in verdicts[1].findings if finding.remark}
    assert remarks["probability_of_backtest_overfitting"] == "ideal is <= 0.2"
    assert set(remarks) == set(ideal)


@given(some_criterion)
def test_a_number_just_across_its_threshold_fails_that_finding_alone(criterion):
    assert judge(AT_THE_THRESHOLD, ASKED).outcome is Outcome.PROMOTE
    verdict = judge({**AT_THE_THRESHOLD, criterion.name: worse(criterion)}, ASKED)
    assert failed(verdict) == {criterion.name}
    assert verdict.outcome is OUTCOME_OF_FAILURE.get(criterion.stage, Outcome.REJECT)


@given(st.sets(some_criterion, min_size=1), st.sampled_from(["absent", math.nan, math.inf, -math.inf]))
def test_a_number_that_was_not_measured_never_promotes(missing, how):
    evidence = {**AT_THE_THRESHOLD, **dict.fromkeys([criterion.name for criterion in missing], how)}
    verdict = judge({name: value for name, value in evidence.items() if value != "absent"}, ASKED)
    assert verdict.outcome is not Outcome.PROMOTE
    assert failed(verdict) == {criterion.name for criterion in missing}


numbers = st.one_of(st.floats(-300, 300), st.just(math.nan), st.sampled_from([0.0, 0.05, 0.68, 0.95, 200.0]))


@given(st.dictionaries(st.sampled_from(sorted(AT_THE_THRESHOLD)), numbers))
def test_a_verdict_promotes_exactly_when_every_criterion_holds(changes):
    evidence = {**AT_THE_THRESHOLD, **changes}
    holds = {
        criterion: eval(f"value {criterion.comparison} threshold", {"value": evidence[criterion.name], "threshold": criterion.threshold})
        for criterion in ASKED
    }  # fmt: skip
    verdict = judge(evidence, ASKED)
    assert (verdict.outcome is Outcome.PROMOTE) is all(holds.values())
    first = next((criterion for criterion in ASKED if not holds[criterion]), None)
    assert (verdict.first_failed and verdict.first_failed.criterion) == first


@given(st.dictionaries(st.sampled_from(sorted(AT_THE_THRESHOLD)), st.one_of(numbers, st.just(math.inf))))
@hypothesis_settings(deadline=None)
def test_a_verdict_survives_json(changes):
    verdict = judge({**AT_THE_THRESHOLD, **changes}, ASKED, subject={"coin": "BTC-USDT"})
    again = Verdict.from_dict(json.loads(json.dumps(verdict.to_dict(), allow_nan=False)))
    assert again.to_dict() == verdict.to_dict()
    assert (again.outcome, failed(again), again.subject) == (verdict.outcome, failed(verdict), verdict.subject)
    for name, value in verdict.evidence.items():
        assert again.evidence[name] == value or not math.isfinite(value)
    assert not any(finding.passed and not math.isfinite(finding.value) for finding in again.findings)


@pytest.mark.parametrize(
    ("altered", "says"),
    [
        ({"outcome": "REJECT"}, "outcome = 'REJECT' does not follow"),
        ({"stamp": "promoted without evidence"}, "is_stamped = True does not follow"),
        ({"badges": ["moon"]}, "badges"),
        ({"findings": "passed"}, "passed"),
        ({"findings": "value"}, "outcome"),
    ],
)
def test_a_verdict_that_does_not_follow_from_its_numbers_is_refused(altered, says):
    stored = judge(AT_THE_THRESHOLD, ASKED).to_dict()
    if altered == {"findings": "passed"}:
        altered = {"findings": [{**it, "passed": False} for it in stored["findings"]]}
    if altered == {"findings": "value"}:
        altered = {"findings": [{**it, "value": None} for it in stored["findings"]]}
    with pytest.raises(ValueError, match=says):
        Verdict.from_dict({**stored, **altered})


def test_a_verdict_is_read_in_its_own_words_and_with_what_a_later_release_tells_beside_it():
    stored = judge({**AT_THE_THRESHOLD, "trades": 120}, ASKED).to_dict()
    later = {**stored, "reason": "too few trades", "mood": "fair", "findings": [{**it, "mood": 1} for it in stored["findings"]]}
    again = Verdict.from_dict(later)
    assert (again.reason, again.to_dict()) == ("too few trades", {**stored, "reason": "too few trades"})


def test_a_verdict_says_by_how_much():
    verdict = judge({**AT_THE_THRESHOLD, "trades": 120, "calibration_error": 0.07, "permutation_p": math.nan}, ASKED)
    shortfall = {finding.criterion.name: finding.shortfall for finding in verdict.findings}
    assert shortfall["trades"] == 80
    assert shortfall["calibration_error"] == pytest.approx(0.02)
    assert math.isnan(shortfall["permutation_p"])
    assert shortfall["test_days"] == 0


def test_nothing_is_promoted_without_criteria():
    with pytest.raises(ValueError, match="at least one criterion"):
        judge(AT_THE_THRESHOLD, ())


# integrity

HOURS = pd.date_range("2024-01-01", periods=10, freq="h", tz="UTC", name="open_time", unit="ns")
LABELS = pd.DataFrame({"label_end": HOURS + pd.Timedelta("2h")}, index=HOURS)


def member(office, learned):
    nothing = np.zeros(3)
    return Member(
        in_office_from=HOURS[office], learned_until=HOURS[learned], combination="mean", weights=nothing, intercept=nothing,
        temperature=1.0, tier_cuts=(0.4, 0.5), class_return=nothing, n_rows=1, n_calibration=1, log_loss_stack=1.0, log_loss_mean=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("train", "offices", "lineage", "expected"),
    [
        ([0, 1, 2], [(5, 4)], {"candles": ["a"]}, (0, 0, 0)),
        ([0, 1, 2, 3], [(5, 4)], {"candles": ["a"]}, (1, 0, 0)),
        ([0, 1, 2, 3, 4], [(5, 4)], {"candles": ["a"]}, (2, 0, 0)),
        ([0, 1, 2], [(5, 5), (7, 6), (8, 9)], {"candles": ["a"]}, (0, 2, 0)),
        ([0, 1, 2], [(5, 4)], {"candles": ["a", "b"]}, (0, 0, 1)),
        ([0, 1, 2], [(5, 4)], {"candles": ["a", "b", "c"], "labels": ["a"], "models/lightgbm.bundle": ["a", "b"]}, (0, 0, 2)),
    ],
)
def test_faults_of_integrity_are_counted(train, offices, lineage, expected):
    """Labels live for two hours and the test block begins at 5: rows 3 and 4 are too late to learn from."""
    roles = role_table([Fold(0, np.array(train), np.array([5, 6]))], HOURS, LABELS["label_end"])
    stack = Stack(("m",), tuple(member(*office) for office in offices))
    found = integrity_evidence(roles, LABELS, stack, leaking_features=3, lineage=lineage)
    names = ("overlapping_training_labels", "late_stack_members", "mismatched_ingredients")
    assert tuple(found[name] for name in names) == expected
    assert found["leaking_features"] == 3


def test_ingredients_without_a_lineage_were_not_measured():
    roles = role_table([Fold(0, np.array([0]), np.array([5]))], HOURS, LABELS["label_end"])
    found = integrity_evidence(roles, LABELS, Stack((), ()), leaking_features=0, lineage={})
    assert math.isnan(found["mismatched_ingredients"])


# forecasts


def decisions_of(index, rows):
    """Decisions from (p_short, p_neutral, p_long, tier); None where nothing was decided."""
    nothing = (math.nan,) * 3
    p = np.array([nothing if row is None else row[:3] for row in rows])
    known = ~np.isnan(p).any(axis=1)
    chosen = np.where(known, np.nan_to_num(p).argmax(axis=1) - 1, 0)
    confidence = np.where(known, np.nan_to_num(p).max(axis=1), np.nan)
    tier = ["none" if row is None else row[3] for row in rows]
    return pd.DataFrame(p, index=index, columns=list(PROBABILITIES)).assign(
        signal=chosen, confidence=confidence, expected_return=0.0, tier=pd.array(tier, dtype="str")
    )


def labels_of(index, signals, weights):
    return pd.DataFrame(
        {"signal": signals, "weight": weights, "forward_return": 0.0, "label_end": index, "volatility": 0.01}, index=index
    )


EIGHT_DAYS = pd.date_range("2024-01-01", periods=8, freq="D", tz="UTC", name="open_time", unit="ns")
EIGHT = decisions_of(
    EIGHT_DAYS,
    [
        None,
        (0.1, 0.1, 0.8, "high"),  # came: long, a hit
        (0.1, 0.1, 0.8, "high"),  # came: long, a hit
        (0.6, 0.2, 0.2, "low"),  # came: short, a hit
        (0.6, 0.2, 0.2, "low"),  # came: long, a miss
        (0.2, 0.5, 0.3, "none"),  # came: neutral, a hit
        (0.2, 0.5, 0.3, "none"),  # came: short, a miss
        (0.1, 0.1, 0.8, "high"),  # no label
    ],
)
CAME = labels_of(EIGHT_DAYS, [1.0, 1.0, 1.0, -1.0, 1.0, 0.0, -1.0, math.nan], [1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, math.nan])
KNOWING_NOTHING = decisions_of(EIGHT_DAYS, [(1 / 3, 1 / 3, 1 / 3, "none")] * 8)


def calibrated_on(n_rows):
    """A stack whose one member was in office all the time."""
    return Stack(("m",), (replace(member(5, 4), in_office_from=pd.Timestamp(0, tz="UTC"), n_calibration=n_rows),))


MANY = calibrated_on(1_000_000)


def wilson_by_hand(share, n, z=1.959963984540054):
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - reach, middle + reach


def test_forecast_evidence_by_hand():
    found = forecast_evidence(EIGHT, KNOWING_NOTHING, CAME, stack=MANY, horizon_days=1.0, config=CONFIG, seed=0)
    # six bars are scored, four of them hit; their labels' uniqueness sums to 2
    assert found["effective_n"] == 2.0
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert (found["accuracy_low"], found["accuracy_high"]) == pytest.approx(wilson_by_hand(4 / 6, 2.0))
    # long came three times in six
    assert found["majority_share"] == 0.5
    assert found["accuracy_over_majority"] == pytest.approx(wilson_by_hand(4 / 6, 2.0)[0] - 0.5)
    # bars 1 and 2 in the bin of 0.8 hit both, bars 3 and 4 in that of 0.6 hit once
    assert found["calibration_error"] == pytest.approx((2 * 0.2 + 2 * 0.1) / 4)
    assert found["tier_calibration_error"] == pytest.approx((2 * 0.2 + 2 * 0.1) / 4)
    assert found["directed_share"] == pytest.approx(4 / 6)
    assert found["test_days"] == 7.0
    given_to_what_came = np.array([0.8, 0.8, 0.6, 0.2, 0.5, 0.2])
    assert found["log_loss_gain_mean"] == pytest.approx(np.log(3 * given_to_what_came).mean())
    assert found["log_loss_gain"] < found["log_loss_gain_mean"] < found["log_loss_gain_high"]


def test_a_stricter_level_excuses_no_larger_calibration_error():
    floors = {
        level: forecast_evidence(
            EIGHT, KNOWING_NOTHING, CAME, stack=MANY, horizon_days=1.0, config=replace(CONFIG, level=level), seed=0
        )["tier_calibration_floor"]
        for level in (0.5, 0.95, 0.999)
    }
    assert floors[0.5] < floors[0.95] == floors[0.999]


def test_confidences_that_were_learned_from_few_rows_are_excused_more_and_never_above_the_limit():
    told = {"horizon_days": 1.0, "config": CONFIG, "seed": 0}
    few, many = (forecast_evidence(EIGHT, KNOWING_NOTHING, CAME, stack=stack, **told) for stack in (calibrated_on(4), MANY))
    assert few["tier_calibration_floor"] > many["tier_calibration_floor"]
    assert few["tier_calibration_error"] == many["tier_calibration_error"]
    wrong = {**AT_THE_THRESHOLD, "tier_calibration_error": 0.051, "tier_calibration_excess": -1.0}
    assert judge(wrong, ASKED).outcome is Outcome.REJECT


def test_bars_of_a_day_count_as_one_in_the_gain():
    hours = pd.DatetimeIndex([EIGHT_DAYS[0] + pd.Timedelta(hours=hour) for hour in (0, 1, 2, 24)], name="open_time")
    forecast = decisions_of(hours, [(0.1, 0.1, 0.8, "high")] * 3 + [(0.8, 0.1, 0.1, "high")])
    prior = decisions_of(hours, [(1 / 3, 1 / 3, 1 / 3, "none")] * 4)
    found = forecast_evidence(
        forecast, prior, labels_of(hours, [1.0] * 4, [1.0] * 4), stack=MANY, horizon_days=0.1, config=CONFIG, seed=0
    )
    assert found["log_loss_gain_mean"] == pytest.approx((math.log(2.4) + math.log(0.3)) / 2)


def test_nothing_decided_is_no_evidence_and_no_error():
    empty = decisions_of(EIGHT_DAYS, [None] * 8)
    found = forecast_evidence(empty, KNOWING_NOTHING, CAME, stack=MANY, horizon_days=1.0, config=CONFIG, seed=0)
    assert (found["effective_n"], found["test_days"]) == (0.0, 0.0)
    for name in ("accuracy", "accuracy_over_majority", "log_loss_gain", "calibration_error", "tier_calibration_error"):
        assert math.isnan(found[name]), name
    assert judge({**AT_THE_THRESHOLD, **found}, ASKED).outcome is Outcome.INSUFFICIENT_EVIDENCE


def test_scored_decisions_are_those_with_a_label():
    assert scored(EIGHT, CAME).index.equals(EIGHT_DAYS[1:7])
    assert scored(EIGHT, CAME)["hit"].tolist() == [True, True, True, False, True, False]


def test_log_loss_by_hand_and_by_fold():
    np.testing.assert_allclose(log_losses(EIGHT, CAME), -np.log([0.8, 0.8, 0.6, 0.2, 0.5, 0.2]))
    by_fold = log_loss_by_fold(EIGHT.assign(fold=[-1, 0, 0, 0, 1, 1, 1, 1]), KNOWING_NOTHING, CAME)
    assert by_fold["n"].tolist() == [3, 3]
    np.testing.assert_allclose(by_fold["log_loss"], [-np.log([0.8, 0.8, 0.6]).mean(), -np.log([0.2, 0.5, 0.2]).mean()])
    np.testing.assert_allclose(by_fold["prior"], np.log(3))


# trading


def flat_market(closes):
    """Bars that open where the one before closed."""
    close = np.asarray(closes, dtype=float)
    opening = np.r_[close[0], close[:-1]]
    index = pd.date_range("2024-01-01", periods=len(close), freq="D", tz="UTC", name="open_time", unit="ns")
    prices = {"open": opening, "high": np.maximum(opening, close), "low": np.minimum(opening, close), "close": close}
    return pd.DataFrame(prices, index=index).assign(volume=1.0, is_repaired=False, segment=0)


FREE = ExecutionModel(fee_bps=0, spread_bps=0, slippage_bps=0, horizon=1)


def traded(candles, signals, tiers, execution=FREE):
    decisions = pd.DataFrame({"signal": signals, "confidence": 0.6, "tier": pd.array(tiers, dtype="str")}, index=candles.index)
    result = run_backtest(candles, decisions, execution=execution, sizing=Sizing(initial_equity=1_000))
    chances = [
        zero_skill(result, candles, decisions, execution, subset=subset, n_permutations=200)
        for subset in (None, (result.trades["tier"] == Tier.HIGH).to_numpy())
    ]
    return result, chances


def test_trading_evidence_by_hand():
    """Long 100 to 110, short 110 to 99, long 99 to 88: two winners of three, one of two on the high tier."""
    result, chances = traded(flat_market([100, 110, 99, 88, 88]), [1, -1, 1, 0, 0], ["high", "low", "high", "none", "none"])
    found = trading_evidence(result, *chances, config=CONFIG, seed=0)
    assert (found["trades"], found["effective_trades"], found["win_rate"]) == (3.0, 3.0, pytest.approx(2 / 3))
    assert (found["win_rate_low"], found["win_rate_high"]) == pytest.approx(wilson_by_hand(2 / 3, 3))
    assert (found["high_tier_trades"], found["high_tier_win_rate"]) == (2.0, 0.5)
    assert (found["high_tier_win_rate_low"], found["high_tier_win_rate_high"]) == pytest.approx(wilson_by_hand(1 / 2, 2))
    # +10 %, +10 %, -1/9
    returns = [0.1, 0.1, -1 / 9]
    assert found["net_expectancy_bps"] == pytest.approx(1e4 * np.mean(returns))
    assert found["net_expectancy_lower_bps"] < found["net_expectancy_bps"] < found["net_expectancy_upper_bps"]
    # all on equity: 1,000, 1,100, 1,210, 1,075.56
    assert found["payoff_ratio"] == pytest.approx(105 / (1_210 / 9))
    assert found["pnl"] == pytest.approx(1_210 * 8 / 9 - 1_000)
    # two long and one short: the moves are up, down, down, so a shuffle wins 1, 1 or 2 of 3 times ... in the mean
    # 2/3 long times 1/3 up plus 1/3 short times 2/3 down
    assert found["zero_skill_win_rate"] == pytest.approx(2 / 3 * 1 / 3 + 1 / 3 * 2 / 3)
    assert (found["coverage"], found["high_tier_coverage"]) == pytest.approx((3 / 5, 2 / 5))


def test_winners_in_a_row_count_less_than_their_number_wherever_a_win_rate_is_shown():
    """Twenty longs win, then twenty lose, ten times over."""
    moves = np.tile(np.r_[np.full(20, 1.01), np.full(20, 1 / 1.01)], 10)
    candles = flat_market(np.r_[100, 100 * np.cumprod(moves)])
    result, chances = traded(candles, [1] * 401, ["high"] * 401)
    found = trading_evidence(result, *chances, config=CONFIG, seed=0)
    assert found["trades"] == 400
    assert found["effective_trades"] == found["high_tier_effective_trades"] < 100
    expected = wilson_by_hand(found["win_rate"], found["effective_trades"])
    assert (found["win_rate_low"], found["win_rate_high"]) == pytest.approx(expected)
    assert f"n 400, effective {found['effective_trades']:.0f})" in win_rate_phrase(found)
    exits = pd.DataFrame({"stop_distance": 0.9, "target_distance": 0.9}, index=candles.index)
    longs = {"always_long": rules(candles, horizon=1)["always_long"]}
    labels = labels_of(candles.index, [1.0] * 401, [1.0] * 401)
    [row] = compare(longs, candles, labels, exits, execution=FREE, sizing=Sizing(), config=CONFIG, seed=0).to_dict("records")
    assert row["effective_trades"] == pytest.approx(found["effective_trades"])
    assert (row["win_rate_low"], row["win_rate_high"]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("whose", "bound", "trades", "rate"),
    [
        ("high", "point", 2.0, 0.5),
        ("all", "point", 3.0, 2 / 3),
        ("high", "lower", 2.0, wilson_by_hand(1 / 2, 2)[0]),
        ("all", "lower", 3.0, wilson_by_hand(2 / 3, 3)[0]),
    ],
)
def test_the_users_win_rate_is_of_the_trades_and_at_the_bound_that_he_chose(whose, bound, trades, rate):
    result, chances = traded(flat_market([100, 110, 99, 88, 88]), [1, -1, 1, 0, 0], ["high", "low", "high", "none", "none"])
    config = replace(CONFIG, win_rate_of=whose, win_rate_bound=bound)
    found = trading_evidence(result, *chances, config=config, seed=0)
    assert (found["gated_trades"], found["gated_win_rate"]) == (trades, pytest.approx(rate))


def test_dearer_and_later_worlds_are_told_apart_from_the_usual_one():
    rng = np.random.default_rng(0)
    candles = flat_market(100 * np.exp(np.cumsum(rng.normal(0, 0.01, 300))))
    decisions = pd.DataFrame({"signal": rng.choice([-1, 1], 300), "confidence": 0.6}, index=candles.index)
    costs = ExecutionModel(fee_bps=10, spread_bps=4, slippage_bps=3, horizon=1)

    def expectancy(execution):
        return run_backtest(candles, decisions, execution=execution, sizing=Sizing()).metrics["expectancy_bps"]

    found = stress_evidence(
        candles, decisions, execution=costs, sizing=Sizing(), data=CostData(), latency_p90_ms=3_600_000 / 2, config=CONFIG
    )
    assert found["stressed_expectancy_bps"] == pytest.approx(expectancy(costs.scaled(1.5)))
    assert found["late_expectancy_bps"] == pytest.approx(expectancy(replace(costs, latency_ms=1_800_000)))
    assert max(found["stressed_expectancy_bps"], found["late_expectancy_bps"]) < expectancy(costs)
    assert found["latency_p90_ms"] == 1_800_000
    assert found["penalised_pnl"] < run_backtest(candles, decisions, execution=costs, sizing=Sizing()).metrics["pnl"]
    # an inference that is in the execution model already is not counted twice
    known = replace(costs, latency_ms=1_800_000)
    again = stress_evidence(
        candles, decisions, execution=known, sizing=Sizing(), data=CostData(), latency_p90_ms=1_800_000, config=CONFIG
    )
    assert again["late_expectancy_bps"] == found["late_expectancy_bps"]


def test_a_win_rate_is_shown_with_all_it_must_be_read_with():
    result, chances = traded(flat_market([100, 110, 99, 88, 88]), [1, -1, 1, 0, 0], ["high", "low", "high", "none", "none"])
    found = trading_evidence(result, *chances, config=CONFIG, seed=0)
    assert win_rate_phrase(found) == "66.7% (20.8% to 93.9%, n 3); zero skill 44.4%, payoff 0.78, coverage 60%"
    high_tier = win_rate_phrase(found, prefix="high_tier_")
    assert high_tier == "50.0% (9.5% to 90.5%, n 2); zero skill 50.0%, payoff 0.74, coverage 40%"
    assert win_rate_phrase({**found, "trades": 0.0}) == "no trades"


def test_no_trades_are_no_evidence_and_no_error():
    result, chances = traded(flat_market([100] * 30), [0] * 30, ["none"] * 30)
    found = trading_evidence(result, *chances, config=CONFIG, seed=0)
    for name in ("win_rate", "gated_win_rate", "net_expectancy_lower_bps"):
        assert math.isnan(found[name]), name
    assert win_rate_phrase(found) == "no trades"
    assert judge({**AT_THE_THRESHOLD, **found}, ASKED).outcome is Outcome.INSUFFICIENT_EVIDENCE


# strategies without skill


@cache
def coin_flips(stop, target, seed=0):
    """Evidence on random sides over a walk without drift or costs, with stop and target that far away."""
    n_bars = 6_000
    walk = random_walk(n_bars, seed=seed, scale=0.01)
    rng = np.random.default_rng(seed)
    candles = walk.assign(is_repaired=False, segment=0)
    confidence = rng.uniform(0.6, 0.9, n_bars)
    side = rng.choice([-1, 1], n_bars)
    tier = np.where(confidence > 0.8, "high", "low")
    shares = np.column_stack([np.where(side < 0, confidence, 0), np.zeros(n_bars), np.where(side > 0, confidence, 0)])
    shares[np.arange(n_bars), 1 - side] = 0
    shares[:, 1] = 1 - confidence
    decisions = pd.DataFrame(shares, index=walk.index, columns=list(PROBABILITIES)).assign(
        signal=side, confidence=confidence, tier=pd.array(tier, dtype="str"), stop_distance=stop, target_distance=target
    )
    labels = labels_of(walk.index, rng.choice([-1.0, 1.0], n_bars), np.full(n_bars, 0.1))
    prior = decisions_of(walk.index, [(0.45, 0.1, 0.45, "none")] * n_bars)
    execution = replace(FREE, horizon=None)
    result = run_backtest(candles, decisions, execution=execution, sizing=Sizing())
    chance, high = (
        zero_skill(result, candles, decisions, execution, subset=subset, n_permutations=500)
        for subset in (None, (result.trades["tier"] == Tier.HIGH).to_numpy())
    )
    return {
        **AT_THE_THRESHOLD,
        **forecast_evidence(decisions, prior, labels, stack=MANY, horizon_days=1.0, config=CONFIG, seed=seed),
        **trading_evidence(result, chance, high, config=CONFIG, seed=seed),
    }


def test_exits_as_far_on_either_side_win_half_the_time_without_skill():
    evidence = coin_flips(0.03, 0.03)
    assert evidence["trades"] > 300
    assert evidence["zero_skill_win_rate"] == pytest.approx(0.5, abs=0.03)
    assert judge(evidence, ASKED).outcome is Outcome.REJECT


def test_a_stop_four_times_as_far_wins_four_in_five_times_without_skill_and_is_not_promoted():
    evidence = coin_flips(0.08, 0.02)
    assert evidence["zero_skill_win_rate"] == pytest.approx(0.8, abs=0.04)
    verdict = judge(evidence, ASKED)
    passed = {finding.criterion.name for finding in verdict.findings if finding.passed}
    assert {"gated_win_rate", "trades", "gated_trades", "test_days", "effective_n"} <= passed
    assert evidence["gated_win_rate"] == evidence["high_tier_win_rate"] > 0.68
    assert verdict.outcome is Outcome.REJECT
    assert {"log_loss_gain", "permutation_p", "net_expectancy_lower_bps"} <= failed(verdict)


# candidates side by side


def test_candidates_are_compared_on_the_bars_that_all_of_them_decided():
    candles = flat_market([100, 110, 99, 88, 96.8, 96.8, 96.8, 96.8])
    index = candles.index
    late = decisions_of(index, [None, None, *[(0.1, 0.1, 0.8, "high")] * 6])
    candidates = {"late": late, "prior": plain_decisions(late), **rules(candles, horizon=1)}
    labels = labels_of(index, [1.0, -1.0, -1.0, 1.0, 0.0, math.nan, math.nan, math.nan], [0.5] * 8)
    exits = pd.DataFrame({"stop_distance": 0.9, "target_distance": 0.9}, index=index)
    found = compare(candidates, candles, labels, exits, execution=FREE, sizing=Sizing(), config=CONFIG, seed=0).set_index(
        "candidate"
    )
    assert found.index.tolist() == ["late", "prior", "always_long", "last_move"]
    # labels of bars 2, 3 and 4 are known: -1, 1, 0
    assert found.loc["always_long", "accuracy"] == pytest.approx(1 / 3)
    assert found.loc["always_long", "effective_n"] == pytest.approx(1.5)
    # the direction of the bar before: down, down, up
    assert found.loc["last_move", "accuracy"] == pytest.approx(1 / 3)
    assert found.loc["late", "log_loss"] == pytest.approx(-np.log([0.1, 0.8, 0.1]).mean())
    assert math.isnan(found.loc["always_long", "log_loss"])
    # long from bar 3 on: a fall, a rise and three bars that stand still, which are no wins; the last entry is bar 7
    assert (found.loc["late", "trades"], found.loc["late", "win_rate"]) == (5, 0.2)
    assert (found.loc["late", "win_rate_low"], found.loc["late", "win_rate_high"]) == pytest.approx(wilson_by_hand(0.2, 5))


def test_the_first_day_is_in_what_the_ledger_keeps_and_in_the_daily_sharpe_ratio():
    candles = flat_market([100, 110, 99, 88, 96.8, 96.8])
    longs = {"always_long": rules(candles, horizon=1)["always_long"].iloc[:-1]}
    exits = pd.DataFrame({"stop_distance": 0.9, "target_distance": 0.9}, index=candles.index[:-1])
    labels = labels_of(candles.index, [1.0] * 6, [1.0] * 6)
    told = {"execution": FREE, "sizing": Sizing()}
    earned = daily_net_returns(longs, candles, exits, **told)["always_long"]
    assert earned.index.to_list() == candles.index.to_list()
    [row] = compare(longs, candles, labels, exits, **told, config=CONFIG, seed=0).to_dict("records")
    assert row["daily_sharpe"] == pytest.approx(earned.mean() / earned.std())
    assert row["sharpe"] == pytest.approx(row["daily_sharpe"] * math.sqrt(365))


def test_no_side_is_taken_where_the_stop_is_unknown():
    exits = pd.DataFrame({"stop_distance": [0.1] * 4 + [math.nan] * 4, "target_distance": 0.1}, index=EIGHT_DAYS)
    found = with_exits(EIGHT, exits)
    assert found.index.equals(EIGHT_DAYS[1:])
    assert found["signal"].tolist() == [1, 1, -1, 0, 0, 0, 0]
    assert found["stop_distance"].tolist()[:3] == [0.1] * 3


def test_no_side_is_taken_and_no_oracle_asked_where_the_stop_would_lie_a_whole_price_away():
    """Daily bars held for 60 days: at 8 % a day the stop lies 93 % away, at 9 % it lies 105 % away."""
    candles = random_walk(400, freq="D")
    volatility = pd.Series(np.where(np.arange(400) % 2, 0.08, 0.09), candles.index)
    exits = exit_table(volatility, 60, ExitConfig())
    forecasts = rules(candles, horizon=60)
    told = {"execution": ExecutionModel(horizon=60), "sizing": Sizing()}
    result = run_backtest(candles, with_exits(forecasts["always_long"], exits), **told)
    decided = candles.index.get_indexer(pd.DatetimeIndex(result.trades["decision_time"]))
    assert len(decided) >= 6
    assert (decided % 2 == 1).all()
    labels = labels_of(candles.index, [1.0] * 400, [1.0] * 400)
    found = compare(forecasts, candles, labels, exits, **told, config=CONFIG, seed=0).set_index("candidate")
    assert found.loc["always_long", "trades"] == len(decided)
    whole = {"horizon": 60, "costs": told["execution"]}
    oracle = feasibility(candles, **whole, exits=ExitConfig(), volatility=volatility)
    assert oracle.n == pytest.approx(feasibility(candles, **whole).n / 2, abs=1)
    far = ExitConfig(stop_volatility_multiple=20)
    with pytest.raises(InsufficientHistoryError, match="none of 400 bars has a known future of 60 bars and a stop above zero"):
        feasibility(candles, **whole, exits=far, volatility=volatility)
    assert (with_exits(forecasts["always_long"], exit_table(volatility, 60, far))["signal"] == 0).all()


def test_candidates_that_share_no_bar_are_compared_without_an_error():
    candles = flat_market([100.0, 101.0, 100.0, 101.0])
    nobody = decisions_of(candles.index, [None] * 4)
    labels = labels_of(candles.index, [1.0] * 4, [1.0] * 4)
    exits = pd.DataFrame({"stop_distance": math.nan, "target_distance": math.nan}, index=candles.index)
    found = compare({"nobody": nobody}, candles, labels, exits, execution=FREE, sizing=Sizing(), config=CONFIG, seed=0)
    assert (found["trades"].item(), found["effective_n"].item()) == (0, 0)
    assert math.isnan(found["accuracy"].item())
