"""What a control run must come to, how its answer is kept, and that a gate without one promotes nothing."""

import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.candles.demo import bayes_accuracy
from crp_pipeline.controls import (
    EXPECTATIONS,
    ControlReport,
    Outcome,
    control_evidence,
    control_table,
    read_report,
    write_report,
)
from crp_pipeline.controls.expectation import Expectation, failures
from crp_pipeline.controls.market import HOURLY_VOLATILITY, control_candles, planted_edge
from crp_pipeline.controls.night import control_settings, sharpe_tests, shuffled_labels
from crp_pipeline.controls.report import report_path
from crp_pipeline.controls.suite import run_suite
from crp_pipeline.errors import DataContractError
from crp_pipeline.gate import GateConfig, criteria, judge
from crp_pipeline.gate import Outcome as Decision
from crp_pipeline.labels import make_labels
from crp_pipeline.provenance import source_hash
from crp_pipeline_tests.random_walk import random_walk

NOW = datetime(2024, 5, 8, 12, tzinfo=UTC)


def outcomes(control, happened, n, **numbers):
    return [Outcome(control, seed, seed < happened, "REJECT", "", {"trades": 10.0, **numbers}) for seed in range(n)]


def as_they_must():
    """Three runs of every control, all of them right."""
    return [
        outcome
        for control, expected in EXPECTATIONS.items()
        for outcome in outcomes(control, 0 if expected.at_most < 1 else 3, 3)
    ]


def report(found, at=NOW, source="0123456789abcdef"):
    return ControlReport(source, at.isoformat(timespec="seconds"), 12.5, tuple(found))


# expectations


@pytest.mark.parametrize(
    ("expected", "successes", "n", "holds"),
    [
        (Expectation("promoted", at_most=0.0, is_strict=True), 0, 60, True),
        (Expectation("promoted", at_most=0.0, is_strict=True), 1, 60, False),
        (Expectation("promoted", at_least=0.9), 20, 20, True),
        (Expectation("promoted", at_least=0.9), 16, 20, True),  # 80 %, but the interval reaches 92 %
        (Expectation("promoted", at_least=0.9), 13, 20, False),
        (Expectation("rejected", at_least=1.0, is_strict=True), 19, 20, False),
        (Expectation("passes", at_most=0.05), 4, 60, True),
        (Expectation("passes", at_most=0.05), 10, 60, False),
        (Expectation("promoted", at_most=0.0, is_strict=True), 0, 0, False),
    ],
)
def test_an_expectation_is_refuted_or_not(expected, successes, n, holds):
    assert expected.holds(successes, n) is holds


def test_controls_that_come_out_as_they_must_leave_no_failure():
    assert failures(as_they_must()) == ()


@pytest.mark.parametrize("control", list(EXPECTATIONS))
def test_each_control_can_fail(control):
    expected = EXPECTATIONS[control]
    wrong = outcomes(control, 40 if expected.at_most < 1 else 0, 40)
    assert failures([it for it in as_they_must() if it.control != control] + wrong) == (control,)


def test_a_run_without_any_outcome_has_failed_everything():
    assert failures([]) == tuple(EXPECTATIONS)


def test_a_control_that_did_not_run_has_failed():
    assert failures([it for it in as_they_must() if it.control != "null market"]) == ("null market",)


def test_the_table_counts_with_intervals_and_tells_medians():
    found = outcomes("null market", 1, 60, win_rate=0.5) + outcomes("best of 100", 60, 60)
    rows = control_table(found).set_index("control")
    assert rows.loc["null market", ["runs", "happened", "holds", "win_rate"]].tolist() == [60, 1, "NO", 0.5]
    assert rows.loc["null market", "rate"] == pytest.approx(1 / 60)
    assert rows.loc["null market", "low"] < 1 / 60 < rows.loc["null market", "high"] < 0.1
    assert rows.loc["best of 100", ["expected", "holds"]].tolist() == ["-", "-"]


# the report


def test_a_report_comes_back_as_it_was_kept(tmp_path):
    told = report([*as_they_must(), Outcome("null market", 9, False, "REJECT", "why", {"win_rate": math.nan})])
    write_report(told, tmp_path)
    again = read_report(tmp_path, told.source)
    pd.testing.assert_frame_equal(again.table(), told.table())
    assert (again.at, again.seconds, again.failures) == (told.at, told.seconds, told.failures)
    assert math.isnan(again.outcomes[-1].numbers["win_rate"])


def test_code_that_was_never_tried_has_no_report(tmp_path):
    write_report(report(as_they_must()), tmp_path)
    assert read_report(tmp_path, "fedcba9876543210") is None


def test_a_damaged_report_is_named(tmp_path):
    path = write_report(report(as_they_must()), tmp_path)
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    with pytest.raises(DataContractError, match=f"{path.name} holds no control report"):
        read_report(tmp_path, "0123456789abcdef")


def test_the_report_of_other_code_does_not_pass_for_this_one(tmp_path):
    told = write_report(report(as_they_must()), tmp_path)
    told.rename(report_path(tmp_path, "fedcba9876543210"))
    with pytest.raises(DataContractError, match="is the report of 0123456789abcdef"):
        read_report(tmp_path, "fedcba9876543210")


def test_evidence_counts_failures_and_whole_days():
    told = report(as_they_must(), at=NOW - timedelta(days=3, hours=20))
    assert control_evidence(told, now=NOW) == {"control_failures": 0.0, "control_age_days": 3.0}
    red = report(outcomes("null market", 1, 2))
    assert control_evidence(red, now=NOW)["control_failures"] == len(EXPECTATIONS)


@pytest.mark.parametrize(
    ("told", "failed"),
    [
        (None, "control_failures is not measured, needs <= 0"),
        (report(outcomes("null market", 1, 2)), f"control_failures is {len(EXPECTATIONS)}, needs <= 0"),
        (report(as_they_must(), at=NOW - timedelta(days=30)), "control_age_days is 30, needs <= 8"),
        (report(as_they_must()), None),
    ],
    ids=["never run", "red", "too old", "green"],
)
def test_a_gate_promotes_only_on_a_green_and_young_report_of_its_own_code(told, failed):
    asked = criteria(GateConfig())
    perfect = {it.name: math.nextafter(it.threshold, math.inf) if it.comparison == ">" else it.threshold for it in asked}
    verdict = judge({**perfect, **control_evidence(told, now=NOW)}, asked)
    if failed is None:
        assert verdict.outcome is Decision.PROMOTE
    else:
        assert (verdict.outcome, verdict.first_failed.sentence) == (Decision.REJECT, failed)


def test_the_hash_of_the_source_knows_every_byte(tmp_path, monkeypatch):
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    for name in ("provenance.py", "inner/gate.py"):
        (package / name).write_text("x = 1\n", encoding="utf-8")
    monkeypatch.setattr("crp_pipeline.provenance.__file__", str(package / "provenance.py"))
    before = source_hash()
    (package / "inner" / "notes.txt").write_text("not code", encoding="utf-8")
    assert source_hash() == before
    (package / "inner" / "gate.py").write_text("x = 2\n", encoding="utf-8")
    changed = source_hash()
    (package / "inner" / "gate.py").rename(package / "inner" / "door.py")
    assert len({before, changed, source_hash()}) == 3


# markets and arithmetic


@pytest.mark.parametrize("accuracy", [0.5, 0.6, 0.7, 0.75])
def test_a_planted_edge_has_the_accuracy_that_it_was_planted_for(accuracy):
    assert bayes_accuracy(planted_edge(accuracy)) == pytest.approx(accuracy)


def test_a_control_market_moves_as_much_as_the_costs_of_its_edge_assume():
    candles = control_candles(0.5, n_bars=6_000, seed=3)
    assert np.log(candles["close"]).diff().std() == pytest.approx(HOURLY_VOLATILITY, rel=0.1)
    assert candles.attrs["coin"] == "CONTROL"


def test_shuffled_labels_are_the_same_labels_on_other_bars():
    candles = random_walk(600).assign(is_repaired=False, segment=0)
    labels = make_labels(candles, control_settings(0).labels)
    dealt = shuffled_labels(labels, seed=1)
    told = ["signal", "forward_return", "trend_strength"]
    assert dealt.drop(columns=told).equals(labels.drop(columns=told))
    assert dealt["signal"].isna().equals(labels["signal"].isna())
    assert sorted(dealt["forward_return"].dropna()) == sorted(labels["forward_return"].dropna())
    rows = [tuple(row) for row in labels[told].dropna().to_numpy()]
    assert {tuple(row) for row in dealt[told].dropna().to_numpy()} == set(rows), "a return keeps its signal"
    assert dealt["forward_return"].corr(labels["forward_return"]) == pytest.approx(0, abs=0.15)


def test_the_best_of_many_coins_fools_the_plain_test_and_not_the_deflated_one():
    rng = np.random.default_rng(0)
    fooled = [sharpe_tests(pd.DataFrame(rng.normal(0, 0.01, (500, 100)))) for _ in range(40)]
    assert np.mean([plain >= 0.95 for plain, _ in fooled]) > 0.95
    assert np.mean([deflated >= 0.95 for _, deflated in fooled]) <= 0.1


def test_controls_do_not_follow_the_settings_of_an_installation(monkeypatch):
    usual = control_settings(7)
    monkeypatch.setenv("CRP_GATE__MIN_TRADES", "1")
    monkeypatch.setenv("CRP_EXECUTION__FEE_BPS", "0")
    monkeypatch.setenv("CRP_HORIZON", "48")
    monkeypatch.setenv("CRP_SENTINELS__MAX_ACCURACY", "0.9")
    monkeypatch.setenv("CRP_PROP_FIRM__DAILY_LOSS", "0.5")
    assert json.loads(control_settings(7).model_dump_json()) == json.loads(usual.model_dump_json())


def test_a_suite_of_no_runs_is_refused():
    with pytest.raises(ValueError, match="runs must be at least 1, got 0"):
        run_suite(runs=0)
