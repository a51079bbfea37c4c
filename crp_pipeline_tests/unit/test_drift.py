"""Drift of a coin: distances against the history's own, live decisions against the promise, rules, history, rollback."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.contracts import PROBABILITIES, LiveOutcomeSchema, check_frame
from crp_pipeline.drift import (
    RULES,
    Action,
    DriftReport,
    Reading,
    State,
    measured_coins,
    one_at_a_time,
    read_history,
    read_report,
)
from crp_pipeline.drift.distance import FEWEST_ROWS, STRETCHES, recent_rows
from crp_pipeline.drift.features import feature_readings
from crp_pipeline.drift.live import (
    FEWEST_DECISIONS,
    calibration_reading,
    deepest_fall,
    drawdown_reading,
    forecast_readings,
    hit_rate_reading,
    known_shortfall,
)
from crp_pipeline.drift.report import (
    ALL,
    CALIBRATION,
    DRAWDOWN,
    DRIFTED_SHARE,
    FEATURE_PSI,
    FORECAST_SHIFT,
    HIT_RATE,
    RECIPE,
    VERSION,
)
from crp_pipeline.drift.stored import save_report, with_report
from crp_pipeline.errors import DataContractError
from crp_pipeline.metrics import shortfall_e_process
from crp_pipeline.places import Places
from crp_pipeline.settings import DriftConfig
from crp_pipeline.storage import write_parquet
from crp_pipeline_tests.drifting import alike, autoregressive, decided

CONFIG = DriftConfig()
NOW = datetime(2024, 6, 3, 0, 15, tzinfo=UTC)


def summary_of(readings):
    return readings[0]


def features_of(n, *, k=12, memory=0.97, seed=0):
    return autoregressive(n, k=k, memory=memory, seed=seed)


def shares(reference, recent, **config):
    return summary_of(feature_readings(reference, recent, alike(reference), replace(CONFIG, **config)))


# ---- features -------------------------------------------------------------------------------------------------------


def test_a_market_that_never_changes_is_ok_in_nearly_all_of_forty_histories():
    states = []
    for seed in range(40):
        table = features_of(4_200, seed=seed)
        states.append(shares(table.iloc[:4_000], table.iloc[4_000:]).state)
    assert states.count(State.DRIFTED) <= 1
    assert states.count(State.WARN) <= 4


@pytest.mark.parametrize(
    "change",
    [lambda it: it + 3 * it.std(), lambda it: 8 * it, lambda it: it * 0.1],
    ids=["shifted", "rescaled", "gone flat"],
)
def test_features_that_changed_are_found_and_those_that_did_not_are_not_named(change):
    table = features_of(4_200, memory=0.9)
    recent = table.iloc[4_000:].copy()
    changed = list(table.columns[:5])
    recent[changed] = change(recent[changed])
    share, *single = feature_readings(table.iloc[:4_000], recent, alike(table), CONFIG)
    assert (share.state, share.value) == (State.DRIFTED, pytest.approx(5 / 12))
    named = {it.subject for it in single if it.measure == FEATURE_PSI and it.state is State.DRIFTED}
    assert named == set(changed)


def test_a_feature_weighs_what_it_matters():
    table = features_of(4_200)
    recent = table.iloc[4_000:].copy()
    recent["x0"] += 10 * table["x0"].std()
    heavy, light = (alike(table).where(table.columns != "x0", weight) for weight in (20.0, 0.1))
    found = [summary_of(feature_readings(table.iloc[:4_000], recent, weight, CONFIG)) for weight in (heavy, light)]
    assert [it.state for it in found] == [State.DRIFTED, State.OK]
    assert found[0].value == pytest.approx(20 / 31, abs=1e-9)


def test_a_history_that_always_drifted_does_not_cry_wolf_over_the_next_step():
    """A walk without end is far from its past in each of its stretches: the thresholds alone would call every one of them."""
    table = features_of(8_400, memory=0.9999, k=12)
    reference, recent = table.iloc[:8_000], table.iloc[8_000:]
    share, *single = feature_readings(reference, recent, alike(reference), CONFIG)
    beyond_threshold = [it for it in single if it.measure == FEATURE_PSI and it.value > CONFIG.max_psi]
    assert len(beyond_threshold) > 6
    assert share.state is State.OK


def test_the_order_of_columns_and_the_scale_of_weights_change_no_reading():
    table = features_of(4_200)
    reference, recent = table.iloc[:4_000], table.iloc[4_000:]
    weight = pd.Series(np.arange(1.0, 13.0), index=table.columns)
    turned = table.columns[::-1]
    found = feature_readings(reference, recent, weight, CONFIG)
    assert found == feature_readings(reference[turned], recent[turned], 7 * weight, CONFIG)


@pytest.mark.parametrize(
    ("n_reference", "n_recent", "missing"),
    [(10_000, 99, 1), (10_000, 0, 100), (1_999, 500, 1), (0, 100, 2_000), (2_000, 100, 0)],
)
def test_too_few_bars_are_unknown_with_the_number_that_is_missing_and_never_ok(n_reference, n_recent, missing):
    table = features_of(n_reference + n_recent + 1, k=2).iloc[:-1]
    found = feature_readings(table.iloc[:n_reference], table.iloc[n_reference:], alike(table), CONFIG)
    assert (found[0].state is State.UNKNOWN, found[0].missing) == (missing > 0, missing)
    assert len(found) == (1 if missing else 5)


def test_no_more_is_compared_than_the_history_holds_twenty_of():
    assert recent_rows(20_000, 720) == 720
    assert recent_rows(6_000, 720) == 6_000 // STRETCHES
    assert recent_rows(STRETCHES * FEWEST_ROWS, 10_000) == FEWEST_ROWS


# ---- live decisions -------------------------------------------------------------------------------------------------


def test_decisions_one_at_a_time_share_no_hour_and_are_taken_as_soon_as_the_one_before_is_known():
    outcomes = decided(30, horizon=3)
    outcomes.loc[outcomes.index[4], "signal"] = 0
    alone = one_at_a_time(outcomes)
    # each label ends 4 bars after its decision's bar opens; the fifth bar takes no side
    assert alone["open_time"].tolist() == outcomes["open_time"].iloc[[0, 5, 9, 13, 17, 21, 25, 29]].tolist()
    assert (alone["open_time"].to_numpy()[1:] >= alone["label_end"].to_numpy()[:-1]).all()


def test_no_outcome_after_a_decision_changes_which_ones_before_it_count():
    outcomes = decided(200, seed=3)
    whole = one_at_a_time(outcomes)
    for cut in (1, 17, 120):
        pd.testing.assert_frame_equal(
            one_at_a_time(outcomes.iloc[:cut]), whole[whole["open_time"] < outcomes["open_time"].iloc[cut]]
        )


def test_made_up_outcomes_are_of_the_schema_that_the_signals_write():
    check_frame(decided(50), LiveOutcomeSchema, what="made up")


def test_the_hit_rate_is_held_against_the_promise_less_what_it_always_lacked():
    past = decided(4_000, confidence=0.62, hit_rate=0.58, seed=1)
    assert known_shortfall(past) == pytest.approx((0.62 - past["hit"]).mean(), abs=1e-12)
    live = decided(500, confidence=0.62, hit_rate=0.3, seed=2)
    alone = one_at_a_time(live)
    expected = shortfall_e_process(np.full(len(alone), 0.62 - known_shortfall(past)), alone["hit"].to_numpy()).max()
    assert hit_rate_reading(past, live, CONFIG).value == pytest.approx(expected, rel=1e-12)
    assert known_shortfall(decided(4_000, confidence=0.5, hit_rate=0.7)) == 0


def test_who_keeps_the_promise_is_alarmed_in_fewer_than_one_of_twenty_reigns_looked_at_every_night():
    past = decided(2_000, seed=0, horizon=1)
    breaches = [
        hit_rate_reading(past, decided(150, horizon=1, seed=seed), CONFIG).state is State.BREACH for seed in range(1, 121)
    ]
    assert np.mean(breaches) < 0.05


def test_a_vanished_edge_is_a_breach_and_no_edge_regained_takes_the_proof_back():
    past = decided(2_000, confidence=0.6, hit_rate=0.6)
    vanished = decided(1_500, confidence=0.6, hit_rate=0.35, seed=5)
    regained = decided(600, confidence=0.6, hit_rate=0.9, seed=6, first=vanished["open_time"].iloc[-1] + pd.Timedelta(2, "D"))
    found = [hit_rate_reading(past, it, CONFIG) for it in (vanished, pd.concat([vanished, regained], ignore_index=True))]
    assert [it.state for it in found] == [State.BREACH, State.BREACH]
    assert found[0].value == found[1].value


def test_few_live_decisions_are_unknown_and_not_ok_unless_they_prove_a_breach():
    past = decided(2_000)
    few = decided(5 * 7, horizon=6)
    found = hit_rate_reading(past, few, CONFIG)
    assert (found.state, found.n, found.missing) == (State.UNKNOWN, 5, FEWEST_DECISIONS - 5)
    proved = hit_rate_reading(past, decided(10 * 7, horizon=6, confidence=0.9, hit_rate=0.0), CONFIG)
    assert (proved.state, proved.n) == (State.BREACH, 10)
    assert hit_rate_reading(past, few.iloc[:0], CONFIG).missing == FEWEST_DECISIONS


def test_the_deepest_fall_is_worked_out_by_hand():
    # 1, 1.1, 0.99, 0.891, 1.0692: a fall from 1.1 to 0.891
    assert deepest_fall(np.array([0.1, -0.1, -0.1, 0.2])) == pytest.approx(1 - 0.891 / 1.1)
    assert deepest_fall(np.array([-0.5])) == pytest.approx(0.5)
    assert deepest_fall(np.array([0.2, 0.1])) == 0


def test_a_drawdown_is_a_breach_only_beyond_all_that_resampled_past_trades_showed():
    past = decided(1_500, horizon=3, hit_rate=0.6, size=0.01)
    same = drawdown_reading(past, decided(400, horizon=3, hit_rate=0.6, size=0.01, seed=9), seed=0)
    worse = drawdown_reading(past, decided(400, horizon=3, hit_rate=0.1, size=0.02, seed=9), seed=0)
    assert (same.state, worse.state) == (State.OK, State.BREACH)
    assert same.limit == worse.limit > same.warn
    assert drawdown_reading(past.iloc[:100], same_live := decided(400, horizon=3), seed=0).state is State.UNKNOWN
    assert drawdown_reading(past, same_live, seed=0) == drawdown_reading(past, same_live, seed=0)


def test_confidences_that_stopped_coming_true_are_found_and_the_noise_of_few_is_not():
    past = decided(8_000, confidence=0.6, hit_rate=0.6, horizon=1)
    kept, broken = (decided(400, confidence=0.6, hit_rate=rate, seed=4, horizon=1) for rate in (0.6, 0.4))
    assert calibration_reading(past, kept, seed=0).state is State.OK
    assert calibration_reading(past, broken, seed=0).state is State.DRIFTED
    assert calibration_reading(past, broken.iloc[:50], seed=0).missing == 50


def test_forecasts_that_moved_are_found_and_those_that_did_not_are_ok():
    past, recent = decided(4_000, spread=0.05), decided(200, spread=0.05, seed=7)
    assert summary_of(forecast_readings(past, recent, CONFIG)).state is State.OK
    moved = recent.assign(p_long=1.0, p_short=0.0, p_neutral=0.0)
    found = forecast_readings(past, moved, CONFIG)
    assert summary_of(found).state is State.DRIFTED
    assert {it.subject for it in found[1:]} == set(PROBABILITIES)


# ---- rules ----------------------------------------------------------------------------------------------------------


def reading(measure=DRIFTED_SHARE, subject=ALL, state=State.OK, value=0.4):
    return Reading(measure, subject, value, 0.1, 0.25, state, 50)


def report(*readings, version="a" * 16, at=NOW):
    return DriftReport("BTC-USDT", at, version, readings)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.measure} of {rule.subject} {rule.state}")
def test_each_rule_by_itself_asks_for_its_action_and_says_why(rule):
    found = report(reading(rule.measure, rule.subject, rule.state))
    assert found.action is rule.action
    assert len(found.reasons) == 1
    assert rule.measure in found.sentence


def test_the_strongest_action_is_the_reports_and_only_its_reasons_are_told():
    found = report(
        reading(state=State.WARN), reading(CALIBRATION, VERSION, State.DRIFTED), reading(HIT_RATE, VERSION, State.BREACH)
    )
    assert found.action is Action.FALL_BACK
    assert [HIT_RATE in it for it in found.reasons] == [True]


def test_only_live_evidence_of_the_version_itself_makes_anyone_fall_back():
    asked = {(rule.measure, rule.subject) for rule in RULES if rule.action is Action.FALL_BACK}
    assert asked == {(HIT_RATE, VERSION), (DRAWDOWN, VERSION)}
    assert {rule.subject for rule in RULES if rule.state is State.BREACH} == {VERSION, RECIPE}


def test_single_features_tell_and_never_ask():
    assert report(reading(FEATURE_PSI, "rsi_14", State.DRIFTED)).action is Action.OK


def test_what_is_unknown_asks_for_nothing_and_is_told():
    found = report(Reading.unknown(HIT_RATE, VERSION, n=3, missing=17), reading(FORECAST_SHIFT, ALL))
    assert found.action is Action.OK
    assert "1 of 2 unknown" in found.sentence
    assert "3 are there, 17 more are needed" in found.unknown[0].sentence


@pytest.mark.parametrize(
    ("value", "state"),
    [(0.1, State.OK), (0.11, State.WARN), (0.25, State.WARN), (0.26, State.BREACH), (math.nan, State.UNKNOWN)],
)
def test_a_state_begins_above_its_limit(value, state):
    assert Reading.held(HIT_RATE, VERSION, value, warn=0.1, limit=0.25, n=1, worst=State.BREACH).state is state


@pytest.mark.parametrize(("warn", "limit"), [(math.nan, 0.25), (0.1, math.nan)])
def test_a_number_without_a_limit_to_hold_it_against_is_unknown_and_never_ok(warn, limit):
    found = Reading.held(HIT_RATE, VERSION, 0.05, warn=warn, limit=limit, n=50, worst=State.BREACH)
    assert found.state is State.UNKNOWN
    assert found.sentence.endswith("is unknown: the number or one of its limits is not a number")


def test_what_no_number_of_rows_would_tell_says_why_also_when_it_is_read_back(tmp_path):
    places, found = Places(tmp_path), Reading.unknown(DRIFTED_SHARE, ALL, why="features are computed otherwise")
    assert found.sentence == "drifted_share of all is unknown: features are computed otherwise"
    save_report(places, report(found))
    assert read_report(places, "BTC-USDT").readings[0].sentence == found.sentence


# ---- history --------------------------------------------------------------------------------------------------------


def test_a_night_that_runs_twice_replaces_its_own_rows_and_no_other(tmp_path):
    places = Places(tmp_path)
    first, again = report(reading(value=0.1)), report(reading(value=0.2), at=NOW + timedelta(hours=3))
    other, later = report(reading(value=0.3), version="b" * 16), report(reading(value=0.4), at=NOW + timedelta(days=1))
    for it in (first, other, again, later, later):
        history = save_report(places, it)
    assert sorted(history["value"]) == [0.2, 0.3, 0.4]
    assert history["at"].is_monotonic_increasing
    pd.testing.assert_frame_equal(read_history(places, "BTC-USDT"), history)


def test_the_latest_report_comes_back_as_it_was(tmp_path):
    places = Places(tmp_path)
    assert read_report(places, "BTC-USDT") is None
    told = report(reading(), Reading.unknown(HIT_RATE, VERSION, n=3, missing=17), at=NOW + timedelta(days=2))
    save_report(places, report(reading(state=State.WARN)))
    save_report(places, told)
    found = read_report(places, "BTC-USDT")
    assert (found.version, found.at, found.action) == (told.version, told.at, told.action)
    pd.testing.assert_frame_equal(found.table(), told.table())


@pytest.mark.parametrize("damage", ["torn", "another table"])
def test_a_damaged_history_makes_way_and_tonights_report_is_kept(tmp_path, damage):
    places, told = Places(tmp_path), []
    path = places.frame("drift", coin="BTC-USDT")
    write_parquet(path, pd.DataFrame({"other": [1.0]}))
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:40])
    before = path.read_bytes()
    with pytest.raises(DataContractError, match=r"BTC-USDT\.parquet"):
        read_report(places, "BTC-USDT")
    save_report(places, report(reading()), tell=told.append)
    assert len(read_history(places, "BTC-USDT")) == 1
    assert path.with_name("BTC-USDT.damaged.parquet").read_bytes() == before
    assert ["is laid aside as BTC-USDT.damaged.parquet" in it for it in told] == [True]
    assert measured_coins(places) == ["BTC-USDT"]


def test_a_history_that_was_stored_without_reasons_reads_as_one_without(tmp_path):
    places = Places(tmp_path)
    history = save_report(places, report(reading()))
    write_parquet(places.frame("drift", coin="BTC-USDT"), history.drop(columns="why"))
    pd.testing.assert_frame_equal(read_history(places, "BTC-USDT"), history)
    assert len(save_report(places, report(reading(), at=NOW + timedelta(days=1)))) == 2


def test_one_row_is_kept_per_night_and_measure():
    history = with_report(
        with_report(pd.DataFrame(columns=["at", "version"]).astype({"at": "datetime64[ns, UTC]"}), report(reading())),
        report(reading()),
    )
    assert len(history) == 1
