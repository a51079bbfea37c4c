"""What each sentinel measures, when it cries, and what a quarantine keeps from whom."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

import crp_pipeline.defs.sentinels as sentinel_room
from crp_pipeline.backtest import CostData, run_backtest
from crp_pipeline.contracts import FINAL, PROBABILITIES, SelectionSchema, check_frame
from crp_pipeline.defs.models import SELECTION, TrainingConfig
from crp_pipeline.defs.pool import _members
from crp_pipeline.defs.sentinels import BROKEN, CHECKS
from crp_pipeline.defs.sentinels import assets as sentinel_assets
from crp_pipeline.errors import DataContractError
from crp_pipeline.gate.sentinels import (
    Canary,
    DelayReading,
    LeakReading,
    Watch,
    alarms_of,
    delay_reading,
    delayed,
    feature_readings,
    plausibility,
    quarantined,
    sentinel_evidence,
    sentinel_table,
    shift_profile,
    shift_reading,
)
from crp_pipeline.gate.sentinels.label_shift import shifts_of
from crp_pipeline.gate.sentinels.single_feature import auc_of_ranks, significant_z
from crp_pipeline.models import columns_of, quarantined_in, select_features, without
from crp_pipeline.models.pooled import PoolMember, shared_features
from crp_pipeline.models.record import Record
from crp_pipeline.reporting.figures import png
from crp_pipeline.reporting.sentinels import feature_alarm_figure, label_shift_figure, leak_meter_figure
from crp_pipeline.settings import ExecutionModel, SelectionConfig, SentinelConfig, Sizing, load_settings
from crp_pipeline.splits import PurgedWalkForward, role_table
from crp_pipeline_tests.recording import learnable_history, wide_history

HOUR = pd.Timedelta(hours=1)
CONFIG = SentinelConfig()


def times_of(n):
    return pd.date_range("2024-01-01", periods=n, freq="h", tz="UTC", name="open_time", unit="ns")


def label_frame(signal, *, weight=1.0, horizon=1):
    times = times_of(len(signal))
    end = times + (horizon + 1) * HOUR
    return pd.DataFrame({"signal": signal, "forward_return": signal, "label_end": end, "weight": weight}, index=times)


def decision_frame(signal, *, p_long=None):
    """Decisions with all confidence on their side, or with `p_long` told."""
    signal = np.asarray(signal, dtype=np.int64)
    p_long = np.where(signal > 0, 0.6, 0.4) if p_long is None else p_long
    columns = dict(zip(PROBABILITIES, (1 - p_long, 0.0 * p_long, p_long), strict=True))
    return pd.DataFrame({"signal": signal, **columns, "confidence": 0.6, "tier": "none"}, index=times_of(len(signal)))


def directions(n, seed=0):
    return np.random.default_rng(seed).choice([-1.0, 1.0], n)


# single features


@pytest.mark.parametrize("ties", [False, True])
def test_auc_and_z_of_independent_labels_are_those_of_mann_and_whitney(ties):
    rng = np.random.default_rng(1)
    values, is_up = rng.normal(size=(400, 5)), rng.random(400) < 0.4
    values[:, 1] += 0.3 * is_up
    values = np.round(values) if ties else values
    auc, z = auc_of_ranks(pd.DataFrame(values).rank().to_numpy(), is_up, np.ones(400))
    np.testing.assert_allclose(auc, [roc_auc_score(is_up, column) for column in values.T])
    told = [mannwhitneyu(up, down, method="asymptotic", use_continuity=False) for up, down in columns_by_side(values, is_up)]
    np.testing.assert_allclose(2 * (1 - normal_cdf(np.abs(z))), [it.pvalue for it in told], rtol=1e-6, atol=1e-12)


def columns_by_side(values, is_up):
    return [(column[is_up], column[~is_up]) for column in values.T]


def normal_cdf(x):
    from scipy.stats import norm

    return norm.cdf(x)


def test_a_missing_value_is_left_out_of_its_own_column_only():
    rng = np.random.default_rng(2)
    values, signal = rng.normal(size=(300, 2)), directions(300)
    values[rng.random(300) < 0.4, 0] = np.nan
    known = ~np.isnan(values[:, 0])
    found = feature_readings(pd.DataFrame(values, times_of(300), ["a", "b"]), label_frame(signal), CONFIG)
    assert found.loc["a", "auc"] == pytest.approx(roc_auc_score(signal[known], values[known, 0]))
    assert found.loc["b", "auc"] == pytest.approx(roc_auc_score(signal, values[:, 1]))


def test_neutral_and_missing_labels_are_left_out():
    rng = np.random.default_rng(3)
    signal = rng.choice([-1.0, 0.0, 1.0, np.nan], 500)
    values, directed = pd.Series(rng.normal(size=500) + 0.2 * np.nan_to_num(signal), times_of(500)), np.abs(signal) == 1
    found = feature_readings(values.to_frame("a"), label_frame(signal), CONFIG)
    assert found.loc["a", "auc"] == pytest.approx(roc_auc_score(signal[directed], values[directed]))


def test_labels_that_live_a_quarter_alone_double_the_standard_error():
    rng = np.random.default_rng(4)
    signal = directions(4_000)
    values = pd.DataFrame({"a": rng.normal(size=4_000) + 0.1 * signal}, times_of(4_000))
    alone, shared = (feature_readings(values, label_frame(signal, weight=w), CONFIG).loc["a"] for w in (1.0, 0.25))
    assert alone["auc"] == shared["auc"]
    assert alone["z"] / shared["z"] == pytest.approx(2, rel=1e-3)


def test_a_feature_that_says_nothing_has_no_distance_and_no_alarm():
    values = pd.DataFrame(
        {"flat": 3.0, "nothing": np.nan, "one_side": np.where(directions(100) > 0, 1.0, np.nan)}, times_of(100)
    )
    found = feature_readings(values, label_frame(directions(100)), CONFIG)
    assert found["z"].isna().all()
    assert not found["alarm"].any()
    assert found.loc["flat", "auc"] == 0.5


@pytest.mark.parametrize(
    ("strength", "n", "weight", "alarm"),
    [(1.0, 2_000, 1.0, True), (-1.0, 2_000, 1.0, True), (0.15, 40_000, 1.0, True), (0.0, 40_000, 1.0, False)],
    ids=["ranks well", "ranks well the other way", "a little, beyond all doubt", "not at all"],
)
def test_a_feature_that_tells_too_much_sets_off_the_alarm(strength, n, weight, alarm):
    signal = directions(n, seed=5)
    values = pd.DataFrame({"a": np.random.default_rng(6).normal(size=n) + strength * signal}, times_of(n))
    found = feature_readings(values, label_frame(signal, weight=weight), CONFIG)
    assert bool(found.loc["a", "alarm"]) is alarm
    assert quarantined(found) == (("a",) if alarm else ())


def test_a_high_auc_on_few_independent_labels_is_luck_and_no_alarm():
    signal = directions(600, seed=7)
    values = pd.DataFrame({"a": np.random.default_rng(8).normal(size=600) + 0.5 * signal}, times_of(600))
    many, few = (feature_readings(values, label_frame(signal, weight=w), CONFIG).loc["a"] for w in (1.0, 0.04))
    assert many["auc"] == few["auc"] > CONFIG.max_feature_auc
    assert many["alarm"]
    assert abs(few["z"]) < significant_z(1, CONFIG.false_alarm_level)
    assert not few["alarm"]


def test_the_more_features_the_more_is_asked_of_the_best():
    assert significant_z(1, 0.05) == pytest.approx(1.959964)
    assert 260 * 2 * (1 - normal_cdf(significant_z(260, 0.01))) == pytest.approx(0.01)


def test_a_released_feature_cries_but_is_not_quarantined():
    signal = directions(2_000)
    values = pd.DataFrame({"leak": signal, "seen": signal}, times_of(2_000))
    found = feature_readings(values, label_frame(signal), SentinelConfig(released=("seen",)))
    assert found["alarm"].tolist() == [True, True]
    assert quarantined(found) == ("leak",)


def test_a_released_name_that_is_no_feature_is_refused():
    with pytest.raises(DataContractError, match=r"sentinels.released names typo, which is none of the 1 features"):
        feature_readings(pd.DataFrame({"a": 1.0}, times_of(9)), label_frame(directions(9)), SentinelConfig(released=("typo",)))


# quarantine

FEATURES, LABELS = wide_history(1_400)
ROLES = role_table(
    PurgedWalkForward(train_size=800, test_size=250).split(LABELS.index, LABELS["label_end"]), LABELS.index, LABELS["label_end"]
)
FOUR = SelectionConfig(keep=4)


def test_a_quarantined_feature_is_in_no_block_and_stands_for_no_other():
    found = check_frame(
        select_features(FEATURES, LABELS, ROLES, config=FOUR, seed=0, excluded=("x0",)), SelectionSchema, what="selection"
    )
    assert quarantined_in(found) == ["x0"]
    assert "x0" not in set(found["representative"])
    for fold in (0, 1, FINAL):
        assert "x0" not in columns_of(found, fold)
        assert found.loc[found["fold"] == fold, "feature"].tolist() == list(FEATURES.columns)


def test_what_is_quarantined_is_as_good_as_never_made():
    with_it = select_features(FEATURES, LABELS, ROLES, config=FOUR, seed=0, excluded=("x0", "near"))
    without_it = select_features(FEATURES.drop(columns=["x0", "near"]), LABELS, ROLES, config=FOUR, seed=0)
    rest = with_it[with_it["status"] != "quarantined"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, without_it)


def test_without_a_quarantine_nothing_changes():
    found = select_features(FEATURES, LABELS, ROLES, config=FOUR, seed=0)
    pd.testing.assert_frame_equal(found, select_features(FEATURES, LABELS, ROLES, config=FOUR, seed=0, excluded=()))
    assert quarantined_in(found) == []


def test_a_record_of_nights_without_the_quarantine_is_not_read_back(tmp_path):
    record = Record(folder=tmp_path, feature_set_id="set", label_settings={}, bundle=None)
    given = {"config": FOUR, "seed": 0, "record": record}
    select_features(FEATURES, LABELS, ROLES, **given)
    first, second = (select_features(FEATURES, LABELS, ROLES, excluded=("x0",), **given) for _ in range(2))
    assert (first.attrs["blocks_read_back"], second.attrs["blocks_read_back"]) == (0, 2)
    pd.testing.assert_frame_equal(first, second)
    assert quarantined_in(second) == ["x0"]


def test_to_quarantine_what_is_no_feature_is_refused():
    with pytest.raises(DataContractError, match=r"^typo is to be kept from the models and is no column"):
        without(FEATURES, ["x0", "typo"])


def test_what_one_coin_has_quarantined_no_coin_of_a_pool_shows():
    free, bound = (select_features(FEATURES, LABELS, ROLES, config=FOUR, seed=0, excluded=it) for it in ((), ("x0",)))
    assert "x0" in columns_of(free, FINAL)
    members = {name: PoolMember(FEATURES, LABELS, ROLES, it) for name, it in (("A", free), ("B", free), ("C", bound))}
    assert "x0" not in shared_features(members, None)
    assert "x0" not in shared_features(members, LABELS.index[0]), "no coin has a selection by then"
    assert "x0" in shared_features({"A": members["A"]}, None)


@pytest.mark.parametrize("all_features", [True, False])
def test_the_pool_is_not_shown_what_a_coin_has_quarantined(all_features):
    free, bound = (select_features(FEATURES, LABELS, ROLES, config=FOUR, seed=0, excluded=it) for it in ((), ("x0",)))
    given = {"features": FEATURES, "labels": LABELS, "splits": ROLES}
    tables = {"A": {**given, SELECTION: free}, "B": {**given, SELECTION: bound}}
    members = _members(tables, TrainingConfig(all_features=all_features), load_settings())
    shown = shared_features(members, None)
    assert "x0" not in shown
    assert shown
    assert ("x0" in members["A"].history) is not all_features


@pytest.mark.parametrize(
    ("source", "quarantine", "expected"), [("demo", True, False), ("files", True, True), ("files", False, False)]
)
def test_a_planted_edge_is_never_quarantined(source, quarantine, expected):
    settings = load_settings(source=source, sentinels=SentinelConfig(quarantine=quarantine))
    assert settings.quarantines is expected
    assert settings.edge_is_planted is (source == "demo")


# shifted labels


@pytest.mark.parametrize("horizon", [1, 2, 24, 100])
def test_the_shifts_span_two_horizons_and_hold_the_ends_of_a_label(horizon):
    shifts = shifts_of(horizon)
    assert {0, -horizon - 1, horizon + 1} <= set(shifts.tolist())
    assert (shifts == -shifts[::-1]).all()
    assert len(shifts) <= 27


def test_agreement_is_counted_against_the_label_so_many_bars_later():
    labels = label_frame([1, 1, -1, 0, np.nan, -1, 1, 1])
    decisions = decision_frame([1, -1, -1, 1, 1, 0, 1, -1])
    profile = shift_profile(decisions, labels, horizon=1, interval=HOUR).set_index("shift")
    # own: rows 0, 1, 2, 6, 7 have both sides: right, wrong, right, right, wrong
    assert profile.loc[0, ["accuracy", "n_effective"]].tolist() == [3 / 5, 5.0]
    # one later: 0 against row 1, 1 against row 2, 4 against row 5, 6 against row 7
    assert profile.loc[1, "accuracy"] == 3 / 4
    # sides of those rows: 2 of 5 long, labels 4 of 5 up
    assert profile.loc[0, "chance"] == pytest.approx(2 / 5 * 4 / 5 + 3 / 5 * 1 / 5)


def test_a_bias_in_a_rising_market_is_no_agreement():
    signal = np.where(np.random.default_rng(9).random(4_000) < 0.8, 1.0, -1.0)
    always_long = decision_frame(np.ones(4_000))
    profile = shift_profile(always_long, label_frame(signal), horizon=6, interval=HOUR)
    np.testing.assert_allclose(profile["accuracy"], profile["chance"])


def noisy(signal, share, seed=0):
    """The signal, right in that share of cases."""
    return np.where(np.random.default_rng(seed).random(len(signal)) < share, signal, -signal)


@pytest.mark.parametrize(("lag", "peak"), [(0, 0), (-24, -24), (12, 12)])
def test_the_profile_peaks_where_the_decisions_look(lag, peak):
    signal = directions(8_000, seed=10)
    decisions = decision_frame(noisy(np.roll(signal, -lag), 0.7))
    reading = shift_reading(shift_profile(decisions, label_frame(signal), horizon=12, interval=HOUR), horizon=12)
    assert reading.peak == peak
    assert (reading.z > CONFIG.max_shift_z) is (abs(lag) > 12), "a shift within the label's life is no other time"


def test_nothing_to_compare_is_nan():
    reading = shift_reading(
        shift_profile(decision_frame(np.zeros(50)), label_frame(directions(50)), horizon=6, interval=HOUR), horizon=6
    )
    assert all(np.isnan(value) for value in vars(reading).values())


# plausibility


@pytest.mark.parametrize(
    ("right", "bars", "planted", "expected"),
    [(0.7, 1, False, True), (0.55, 1, False, False), (0.7, 2, False, False), (0.7, 1, True, False)],
    ids=["too good", "possible", "too good for an hour, not for two", "known to be so good"],
)
def test_skill_is_implausible_only_above_the_caps_and_where_they_hold(right, bars, planted, expected):
    signal = directions(4_000, seed=11)
    decisions = decision_frame(noisy(signal, right))
    found = plausibility(decisions, label_frame(signal), holding=bars * HOUR, config=CONFIG, edge_is_planted=planted)
    assert found.accuracy == pytest.approx(right, abs=0.03)
    assert found.is_implausible is expected


def test_a_ranking_that_is_too_good_is_implausible_whatever_sides_were_taken():
    signal = directions(2_000, seed=12)
    p_long = np.clip(0.4 + 0.08 * signal + np.random.default_rng(13).normal(0, 0.1, 2_000), 0, 1)
    found = plausibility(
        decision_frame(np.zeros(2_000), p_long=p_long), label_frame(signal), holding=HOUR, config=CONFIG, edge_is_planted=False
    )
    assert np.isnan(found.accuracy)
    assert found.auc == pytest.approx(roc_auc_score(signal, p_long))
    assert found.is_implausible


# delay


def bars_frame(opens, **more):
    """Bars that close where the next opens."""
    opens = np.asarray(opens, dtype=float)
    close = np.append(opens[1:], opens[-1])
    low, high = np.minimum(opens, close), np.maximum(opens, close)
    columns = {"open": opens, "high": high, "low": low, "close": close, "volume": 1.0, **more}
    return pd.DataFrame(columns, index=times_of(len(opens)))


FREE = ExecutionModel(fee_bps=0, spread_bps=0, slippage_bps=0, horizon=1)


def test_a_late_decision_is_that_of_the_bar_before_with_its_exits():
    candles = bars_frame([100.0, 101, 102, 103], segment=[0, 0, 1, 1])
    decisions = decision_frame([1, -1, 1, -1]).assign(stop_distance=[0.1, 0.2, 0.3, 0.4])
    found = delayed(decisions, candles)
    assert found.index.tolist() == [candles.index[1], candles.index[3]], "one lapses at the hole and one at the end"
    assert found["signal"].tolist() == [1, 1]
    assert found["stop_distance"].tolist() == [0.1, 0.3]


def test_an_edge_of_one_bar_is_gone_a_bar_later():
    rng = np.random.default_rng(14)
    move = rng.choice([-0.01, 0.01], 400)
    candles = bars_frame(100 * np.exp(np.cumsum(np.append(0.0, move))))
    # the open of bar t+1 to that of t+2 is move[t+1]: known at t by magic
    decisions = decision_frame(np.append(np.sign(np.append(move[1:], 1.0)), 0))
    found = delay_reading(candles, decisions, execution=FREE, sizing=Sizing())
    assert found.expectancy_bps == pytest.approx(100, abs=2)
    assert found.edge_lost == pytest.approx(1.0, abs=0.25)


def test_an_edge_that_lasts_is_still_there_a_bar_later():
    candles = bars_frame(100 * 1.001 ** np.arange(400))
    found = delay_reading(candles, decision_frame(np.ones(400)), execution=FREE, sizing=Sizing())
    assert found.edge_lost == pytest.approx(0.0, abs=0.01)
    on_time = run_backtest(candles, decision_frame(np.ones(400)), execution=FREE, sizing=Sizing())
    assert found.expectancy_bps == on_time.metrics["expectancy_bps"]


def test_both_walks_pay_the_funding_and_the_delay_that_the_backtest_pays():
    """A long held over one stamp of 10 bps; an order that is half a bar late pays the finer price, 20 bps off."""
    candles = bars_frame(np.full(40, 100.0))
    candles["high"], candles["low"] = 101.0, 99.0
    longs = decision_frame(np.r_[np.ones(30), np.zeros(10)])
    execution = replace(FREE, latency_ms=1_800_000)
    funding = pd.Series(0.001, candles.index + pd.Timedelta(minutes=30))
    finer = pd.DataFrame(100.2, candles.index + pd.Timedelta(minutes=30), ["open", "high", "low", "close"])
    told = {"execution": execution, "sizing": Sizing()}
    assert delay_reading(candles, longs, **told) == DelayReading(0.0, 0.0)
    found = delay_reading(candles, longs, **told, data=CostData(funding, finer))
    assert found.expectancy_bps == pytest.approx(-30, abs=0.1)
    assert found.delayed_expectancy_bps == pytest.approx(-30, abs=0.1)


def test_the_night_watches_with_the_coins_own_costs_and_finer_candles(tmp_path, monkeypatch):
    bars_frame(np.full(5, 100.0)).rename_axis("open_time").reset_index().to_csv(tmp_path / "SOL-USDT.csv", index=False)
    settings = load_settings(finer_dir=tmp_path, coin_overrides={"SOL-USDT": {"execution": {"fee_bps": 9.0}}})
    seen, behind = [], [pd.DataFrame() for _ in range(6)]
    monkeypatch.setattr(sentinel_room, "keep_watch", lambda *told: seen.append(told) or {}["stop here"])
    [asset] = sentinel_assets(settings)
    with pytest.raises(KeyError, match="stop here"):
        asset.op.compute_fn.decorated_fn(SimpleNamespace(partition_key="SOL-USDT"), *behind)
    [(watched, own)] = seen
    assert own.execution.fee_bps == 9
    assert len(watched.costs.finer) == 5
    assert watched.decisions is behind[-1]


@pytest.mark.parametrize(
    ("on_time", "late", "lost"), [(10.0, 4.0, 0.6), (10.0, -5.0, 1.5), (-1.0, 4.0, np.nan), (0.0, 1.0, np.nan)]
)
def test_only_a_profit_can_be_lost(on_time, late, lost):
    assert DelayReading(on_time, late).edge_lost == pytest.approx(lost, nan_ok=True)


# all of them


@pytest.fixture(scope="module")
def seen():
    return watch_of()


def watch_of(**changes):
    """A watch in which nothing is wrong, but for the changes."""
    signal = directions(3_000, seed=15)
    profile = shift_profile(decision_frame(noisy(signal, 0.6)), label_frame(signal), horizon=6, interval=HOUR)
    features, labels = learnable_history(600, strength=0.0)
    values = {
        "leak": LeakReading(0.75, 0.5, 1_000),
        "profile": profile,
        "shift": shift_reading(profile, horizon=6),
        "features": feature_readings(features, labels, CONFIG),
        "quarantined": (),
        "plausibility": plausibility(
            decision_frame(noisy(signal, 0.55)), label_frame(signal), holding=HOUR, config=CONFIG, edge_is_planted=False
        ),
        "canaries": (Canary("a", caught=True), Canary("b", caught=True)),
        "delay": DelayReading(10.0, 8.0),
    }
    return Watch(**{**values, **changes})


def test_a_quiet_night_has_no_alarm_and_a_number_for_every_check(seen):
    table = sentinel_table(seen, CONFIG)
    assert not table["alarm"].any()
    assert {number for number, _ in CHECKS.values()} <= set(table["name"])
    assert table["name"].is_unique
    evidence = sentinel_evidence(table)
    assert evidence["leak_gap"] == 0.25
    assert evidence["canaries_missed"] == 0
    assert evidence["edge_lost_with_delay"] == pytest.approx(0.2)
    assert all(isinstance(value, float) for value in evidence.values())


def test_a_missed_canary_is_named_and_is_the_one_error():
    table = sentinel_table(watch_of(canaries=(Canary("a", caught=True), Canary("b", caught=False))), CONFIG)
    assert sentinel_evidence(table) | {
        "canaries_planted": 2.0,
        "canaries_caught": 1.0,
        "canaries_missed": 1.0,
    } == sentinel_evidence(table)
    assert alarms_of(table, "canaries_missed") == ["not caught: b"]
    assert BROKEN == ("canaries_are_caught",)


def test_an_edge_that_turns_into_a_loss_is_an_alarm():
    table = sentinel_table(watch_of(delay=DelayReading(10.0, -2.0)), CONFIG)
    assert alarms_of(table, "edge_lost_with_delay") == ["120% of 10.0 bps per trade are gone one bar later"]


def test_what_could_not_be_measured_is_nan_and_no_alarm(seen):
    nothing = watch_of(
        leak=LeakReading(np.nan, np.nan, 0),
        shift=shift_reading(seen.profile.assign(accuracy=np.nan), horizon=6),
        delay=DelayReading(np.nan, np.nan),
        features=seen.features.assign(auc=np.nan, z=np.nan, alarm=False),
    )
    table = sentinel_table(nothing, CONFIG)
    assert not table["alarm"].any()
    evidence = sentinel_evidence(table)
    assert all(np.isnan(evidence[name]) for name in ("leak_gap", "shift_z", "largest_feature_z", "edge_lost_with_delay"))


def test_the_pictures_say_what_was_found(seen):
    assert "peaks at +0 bars" in label_shift_figure(seen.profile, seen.shift, horizon=6).axes[0].get_title(loc="left")
    assert "0 of 3 features" in feature_alarm_figure(seen.features, CONFIG).axes[0].get_title()
    assert "25 points, 1,000 bars" in leak_meter_figure(seen.leak).axes[0].get_title()
    empty = shift_reading(seen.profile.assign(accuracy=np.nan), horizon=6)
    for figure in (label_shift_figure(seen.profile, empty, horizon=6), leak_meter_figure(LeakReading(np.nan, np.nan, 0))):
        assert len(png(figure)) > 5_000
