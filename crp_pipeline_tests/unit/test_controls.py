"""What a control run must come to, how its answer is kept, and that a gate without one promotes nothing."""

import json
import math
import os
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
    keep_report,
    read_report,
    write_report,
)
from crp_pipeline.controls.expectation import Expectation, failures
from crp_pipeline.controls.experiments import EXPERIMENTS, is_rejected_on_economics
from crp_pipeline.controls.market import HOURLY_VOLATILITY, control_candles, planted_edge
from crp_pipeline.controls.night import control_settings, sharpe_tests, shuffled_labels
from crp_pipeline.controls.report import report_path
from crp_pipeline.controls.suite import run_suite
from crp_pipeline.gate import GateConfig, criteria, judge
from crp_pipeline.gate import Outcome as Decision
from crp_pipeline.labels import make_labels
from crp_pipeline.provenance import source_hash
from crp_pipeline.settings import PipelineSettings
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
        (Expectation("promoted", at_least=0.9), 16, 20, True),  # one run in eight comes out so
        (Expectation("promoted", at_least=0.9), 13, 20, False),
        (Expectation("rejected", at_least=1.0, is_strict=True), 19, 20, False),
        (Expectation("passes", at_most=0.05), 4, 60, True),
        (Expectation("passes", at_most=0.05), 1, 2, True),  # one lucky best of a hundred, on a night of two
        (Expectation("passes", at_most=0.05), 2, 2, False),
        (Expectation("promoted", at_most=0.0, is_strict=True), 1, 2, False),
        (Expectation("passes", at_most=0.05), 10, 60, False),
        (Expectation("promoted", at_most=0.0, is_strict=True), 0, 0, False),
    ],
)
def test_an_expectation_is_refuted_or_not(expected, successes, n, holds):
    assert expected.holds(successes, n) is holds


@pytest.mark.parametrize("n", [1, 2, 4, 12, 60])
@pytest.mark.parametrize("control", [name for name, it in EXPECTATIONS.items() if not it.is_strict])
def test_chance_refutes_a_control_in_order_at_most_once_in_a_hundred_runs(control, n):
    """Happening exactly as often as expected: every possible count, weighed by how likely it is."""
    expected = EXPECTATIONS[control]
    rate = expected.at_most if expected.at_most < 1 else expected.at_least
    likely = {k: math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(n + 1)}
    assert sum(chance for k, chance in likely.items() if not expected.holds(k, n)) <= 0.0100001


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


@pytest.mark.parametrize("at", ["-20", "no zone"])
def test_a_damaged_report_is_told_and_missing(tmp_path, at):
    path = write_report(report(as_they_must()), tmp_path)
    text = path.read_text(encoding="utf-8")
    path.write_text(text[:-20] if at == "-20" else text.replace("+00:00", ""), encoding="utf-8")
    told = []
    assert read_report(tmp_path, "0123456789abcdef", tell=told.append) is None
    assert f"{path.name} holds no control report" in told[0]
    assert read_report(tmp_path, "0123456789abcdef") is None
    kept = keep_report(report(as_they_must()), tmp_path, tell=told.append)
    assert read_report(tmp_path, kept.source).failures == ()


def test_the_report_of_other_code_does_not_pass_for_this_one(tmp_path):
    told = write_report(report(as_they_must()), tmp_path)
    told.rename(report_path(tmp_path, "fedcba9876543210"))
    said = []
    assert read_report(tmp_path, "fedcba9876543210", tell=said.append) is None
    assert "is the report of 0123456789abcdef" in said[0]


def test_a_short_green_run_does_not_replace_a_long_red_one(tmp_path):
    red = [it for it in as_they_must() if it.control != "null market"] + outcomes("null market", 1, 60)
    keep_report(report(red), tmp_path, tell=print)
    later = NOW + timedelta(days=2)
    others = [Outcome("null market", seed, False, "REJECT", "", {}) for seed in (60, 61)]
    whole = keep_report(report(others, at=later), tmp_path, tell=print)
    assert whole == read_report(tmp_path, whole.source)
    assert (whole.failures, whole.null_markets, whole.seconds) == (("null market",), 62, 25.0)
    assert control_evidence(whole, now=later) == {"control_failures": 1.0, "control_age_days": 0.0, "control_runs": 62.0}
    again = keep_report(report(others[:1] + outcomes("null market", 0, 1), at=later), tmp_path, tell=print)
    assert (again.failures, again.null_markets) == ((), 62), "the red seed was run again, and came out otherwise"


def test_evidence_counts_failures_and_begun_days():
    told = report(as_they_must(), at=NOW - timedelta(days=3, hours=20))
    assert control_evidence(told, now=NOW) == {"control_failures": 0.0, "control_age_days": 4.0, "control_runs": 3.0}
    red = report(outcomes("null market", 1, 2))
    assert control_evidence(red, now=NOW)["control_failures"] == len(EXPECTATIONS)


def test_an_experiment_that_came_to_nothing_fails_its_control_and_counts_as_no_run():
    lost = Outcome("null market", 99, False, "", "", {}, error="null on seed 99 came to nothing: its process died")
    told = report([*as_they_must(), lost])
    assert told.failures == ("null market",)
    assert told.errors == (lost.error,)
    assert told.null_markets == 3
    assert told.table().set_index("control").loc["null market", ["runs", "holds"]].tolist() == [3, "NO"]


def one_that_dies(name, seed):
    """In place of an experiment: one raises, one takes its process with it."""
    if (name, seed) == ("shuffled", 0):
        raise ValueError("no bars")
    if (name, seed) == ("null", 1):
        os._exit(1)
    return tuple(Outcome(control, seed, True, "done", "", {}) for control in EXPERIMENTS[name].controls)


@pytest.mark.slow
def test_a_process_that_dies_fails_its_own_control_and_no_other(monkeypatch):
    tried = {name: EXPERIMENTS[name] for name in ("null", "shuffled")}
    monkeypatch.setattr("crp_pipeline.controls.suite.EXPERIMENTS", tried)
    monkeypatch.setattr("crp_pipeline.controls.suite.run_experiment", one_that_dies)
    lines = []
    found = run_suite(runs=3, workers=2, progress=lines.append, now=NOW)
    assert len(lines) == 3 + 1
    lost = {(it.control, it.seed): it.error for it in found.outcomes if it.error}
    assert {control for control, _ in lost} == {*EXPERIMENTS["null"].controls, "shuffled labels"}
    assert lost["null market", 1] == "null on seed 1 came to nothing: its process died"
    assert lost["shuffled labels", 0] == "shuffled on seed 0 came to nothing: ValueError('no bars')"
    assert [it.seed for it in found.outcomes if it.control == "null market"] == [0, 1, 2]
    assert {*lost.values()} == {*found.errors}


@pytest.mark.parametrize(
    ("told", "failed"),
    [
        (None, "control_failures is not measured, needs <= 0"),
        (report(outcomes("null market", 1, 2)), f"control_failures is {len(EXPECTATIONS)}, needs <= 0"),
        (report(as_they_must(), at=NOW - timedelta(days=30)), "control_age_days is 30, needs <= 8"),
        (report(as_they_must(), at=NOW - timedelta(days=8, hours=1)), "control_age_days is 9, needs <= 8"),
        (report(as_they_must(), at=NOW + timedelta(hours=1)), "control_failures is not measured, needs <= 0"),
        (report(as_they_must()), None),
    ],
    ids=["never run", "red", "too old", "an hour too old", "of the future", "green"],
)
def test_a_gate_promotes_only_on_a_green_and_young_report_of_its_own_code(told, failed):
    asked = criteria(GateConfig())
    perfect = {it.name: math.nextafter(it.threshold, math.inf) if it.comparison == ">" else it.threshold for it in asked}
    verdict = judge({**perfect, **control_evidence(told, now=NOW)}, asked)
    if failed is None:
        assert verdict.outcome is Decision.PROMOTE
    else:
        assert (verdict.outcome, verdict.first_failed.sentence) == (Decision.REJECT, failed)


@pytest.mark.parametrize(
    ("spoiled", "expected"),
    [
        ({}, False),
        ({"net_expectancy_lower_bps": -1.0}, True),
        ({"net_expectancy_lower_bps": -1.0, "log_loss_gain": -1.0}, True),
        ({"log_loss_gain": -1.0}, False),
        ({"net_expectancy_lower_bps": -1.0, "trades": 3.0}, False),
    ],
    ids=["promoted", "too dear", "too dear, skill not shown", "skill not shown", "too few trades"],
)
def test_what_earns_too_little_is_rejected_on_economics(spoiled, expected):
    asked = criteria(GateConfig())
    perfect = {it.name: math.nextafter(it.threshold, math.inf) if it.comparison == ">" else it.threshold for it in asked}
    assert is_rejected_on_economics(judge({**perfect, **spoiled}, asked)) is expected


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


@pytest.mark.parametrize("horizon", [1, 6])
@pytest.mark.parametrize("accuracy", [0.5, 0.6, 0.7, 0.75])
def test_a_planted_edge_has_the_accuracy_that_it_was_planted_for(accuracy, horizon):
    assert bayes_accuracy(planted_edge(accuracy, horizon), horizon) == pytest.approx(accuracy)


def test_every_experiment_names_its_controls_and_every_expectation_has_one():
    named = [control for experiment in EXPERIMENTS.values() for control in experiment.controls]
    assert len(named) == len(set(named))
    assert set(named) == {*EXPECTATIONS, "best of 100"}


def test_labels_of_a_control_six_bars_ahead_overlap_and_those_of_the_next_bar_do_not():
    candles = random_walk(600).assign(is_repaired=False, segment=0)
    alone, overlapping = (
        make_labels(candles, control_settings(0, horizon=horizon).labels)["weight"].mean() for horizon in (1, 6)
    )
    assert alone == pytest.approx(1.0)
    assert overlapping < 0.3


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


HOSTILE_VARIABLES = {
    "CRP_SOURCE": "exchange",
    "CRP_COINS": '["ETH-USDT"]',
    "CRP_HORIZON": "48",
    "CRP_SEED": "99",
    "CRP_MAX_GAP": "0",
    "CRP_DATA_DIR": "elsewhere",
    "CRP_COIN_OVERRIDES": '{"BTC-USDT": {"execution": {"horizon": 24}}}',
    "CRP_FEEDS": '{"funding": {"path": "funding.csv", "available_after": "1D"}}',
    "CRP_GATE__MIN_TRADES": "1",
    "CRP_EXECUTION__FEE_BPS": "0",
    "CRP_SENTINELS__MAX_ACCURACY": "0.9",
    "CRP_PROP_FIRM__DAILY_LOSS": "0.5",
    "CRP_DEMO__SEED": "no number",
    "CRP_NO_SETTING": "1",
}
HOSTILE_TOML = """
[tool.crp_pipeline]
seed = 98
horizon = 36
max_gap = 1
finer_dir = "finer"
roster = ["catboost"]
no_setting = 1
gate = { min_trades = 2, level = 0.51 }
labels = { horizon = 3 }
feeds.rates = { path = "rates.csv", available_after = "1h" }
coin_overrides.ETH-USDT = { sizing = { no_field = 1 } }
"""


@pytest.mark.parametrize("seed", [3, 7])
def test_controls_do_not_follow_the_settings_of_an_installation(seed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.upper().startswith("CRP_")]:
        monkeypatch.delenv(variable)
    alone = control_settings(seed)
    (tmp_path / "pyproject.toml").write_text(HOSTILE_TOML)
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in HOSTILE_VARIABLES.items()))
    for name, value in HOSTILE_VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert control_settings(seed) == alone
    assert json.loads(control_settings(seed).model_dump_json()) == json.loads(alone.model_dump_json())


def test_controls_read_no_variable_of_any_setting_and_no_file(tmp_path, monkeypatch):
    alone = control_settings(0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("this is no TOML")
    for field in PipelineSettings.model_fields:
        monkeypatch.setenv(f"CRP_{field.upper()}", "no such value")
    assert control_settings(0) == alone
    assert control_settings(0).of("BTC-USDT") == alone


def test_a_suite_of_no_runs_is_refused():
    with pytest.raises(ValueError, match="runs must be at least 1, got 0"):
        run_suite(runs=0)
