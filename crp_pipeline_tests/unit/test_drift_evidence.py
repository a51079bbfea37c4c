"""Whose evidence counts, what is done about a proved breach, and that a report knows nothing of what came later."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from crp_pipeline.drift import Action, Market, State, fall_back, gather_evidence, live_facts, measure, outcomes_of, save_report
from crp_pipeline.drift.evidence import FRESH, LIVE, NOTHING, feature_weights
from crp_pipeline.drift.report import ALL, CHAMPION, DRIFTED_SHARE, HIT_RATE, RECIPE, VERSION
from crp_pipeline.errors import RegistryError
from crp_pipeline.gate import Outcome
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry
from crp_pipeline.settings import DriftConfig, LabelConfig, load_settings
from crp_pipeline.shadow import ShadowLog, decide_fresh_bars
from crp_pipeline.storage import write_parquet
from crp_pipeline_tests.drifting import decided
from crp_pipeline_tests.shadows import COIN, HORIZON, KNOWS_SOME, candidate, market, register

LEARNED, LAST = 2_500, 3_300
MARKET = market(LAST, seed=1)
BARS = MARKET.candles.index
CROWNED = (BARS[LEARNED] + pd.Timedelta(15, "min")).to_pydatetime()
SUCCEEDED = CROWNED + timedelta(days=3)
NOW = (BARS[-1] + pd.Timedelta(1, "h")).to_pydatetime()
ROLLS_BACK = DriftConfig(automatic_rollback=True)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return [
        candidate(MARKET.until(LEARNED), tmp_path_factory.mktemp(f"candidate-{seed}"), *KNOWS_SOME, seed=seed)
        for seed in (0, 1)
    ]


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path)


@pytest.fixture
def settings(tmp_path):
    return load_settings(data_dir=tmp_path, horizon=HORIZON, labels=LabelConfig(volatility_window=20))


@pytest.fixture
def book(places, parts):
    """One champion of recipe `a`."""
    made = Registry(places.registry)
    register(made, parts[0], Outcome.PROMOTE, recipe="a", now=CROWNED)
    return made


def succeed(book, parts, *, recipe="b"):
    """A second champion on the throne of the first; both versions."""
    first = book.champion(COIN)
    return first, register(book, parts[1], Outcome.PROMOTE, recipe=recipe, now=SUCCEEDED)


def evidence_of(places, settings, known=MARKET, *, now=NOW):
    tables = known.until(len(known.features))
    return gather_evidence(places, COIN, tables.features, Market(known.candles, known.labels), settings, now=now)


def decide_all(places, known=MARKET):
    log = ShadowLog(places.shadow(COIN))
    tables = known.until(len(known.features))
    decide_fresh_bars(Registry(places.registry), COIN, tables.features, ready=known.ready, interval="1h", log=log, now=NOW)


def live(places, *outcomes):
    write_parquet(places.outcomes(COIN), pd.concat(outcomes, ignore_index=True))


def broken(version, *, after=SUCCEEDED, n=400, hit_rate=0.1):
    """Live decisions of a version that keeps nothing of what it promised."""
    return decided(n, hit_rate=hit_rate, confidence=0.7, version=version, first=pd.Timestamp(after).floor("h"), seed=4)


def report_of(places, settings, config=ROLLS_BACK, **options):
    return measure(COIN, evidence_of(places, settings, **options), config, now=NOW)


# ---- whose evidence -------------------------------------------------------------------------------------------------


def test_where_nobody_reigns_the_report_says_so(places, settings):
    assert evidence_of(places, settings) is None
    report = report_of(places, settings)
    assert report.action is Action.OK
    assert report.of(CHAMPION, ALL).state is State.UNKNOWN
    assert report.of(CHAMPION, ALL).sentence == "champion of all is unknown: nobody reigns"
    assert report.sentence == f"{COIN}: nobody reigns, so there is nothing to measure"
    save_report(places, report)


def test_fresh_decisions_stand_in_for_bars_without_a_live_one(places, settings, book):
    assert evidence_of(places, settings).source == NOTHING
    decide_all(places)
    found = evidence_of(places, settings)
    n = LAST - LEARNED - HORIZON - 1
    assert (found.source, len(found.own)) == (f"{FRESH}: {n}", n)
    signals = broken(book.champion(COIN), n=30)
    live(places, signals)
    filled = evidence_of(places, settings)
    assert (filled.source, len(filled.own)) == (f"{LIVE}: 30, {FRESH}: {n - 30}", n)
    is_live = filled.own["open_time"].isin(signals["open_time"])
    assert_frame_equal(filled.own[is_live].reset_index(drop=True), signals, check_dtype=False)
    assert_frame_equal(filled.own[~is_live], found.own[~is_live])


def test_live_decisions_alone_are_told_as_such(places, settings, book):
    live(places, broken(book.champion(COIN), n=30))
    assert evidence_of(places, settings).source == f"{LIVE}: 30"


def test_fresh_decisions_are_scored_as_their_labels_say(places, settings, book):
    decide_all(places)
    own, labels = evidence_of(places, settings).own, MARKET.labels
    came = labels["signal"].reindex(own["open_time"]).to_numpy()
    np.testing.assert_array_equal(own["outcome"], came)
    np.testing.assert_array_equal(own["hit"], own["signal"].to_numpy() == came)
    assert (own["net_return"][own["signal"] == 0] == 0).all()
    assert (
        np.corrcoef(own["net_return"], own["signal"] * labels["forward_return"].reindex(own["open_time"]).to_numpy())[0, 1]
        > 0.5
    )


def test_a_quiet_market_is_ok_and_every_measure_of_it_is_known(places, settings, book):
    decide_all(places)
    report = report_of(places, settings)
    assert (report.action, report.unknown) == (Action.OK, ())


def test_a_shifted_feature_asks_for_training_and_not_for_another_champion(places, settings, book):
    shifted = MARKET.features.copy()
    shifted.iloc[LEARNED:] += 20
    known = type(MARKET)(MARKET.candles, shifted)
    report = report_of(places, settings, known=known)
    assert report.of(DRIFTED_SHARE, ALL).state is State.DRIFTED
    assert report.action is Action.RETRAIN
    assert fall_back(book, report, ROLLS_BACK, now=NOW, tell=print) is None


def test_features_that_are_computed_otherwise_than_the_champion_learned_are_unknown(places, settings, book):
    tables = MARKET.until(LAST)
    tables.features.attrs["feature_set_id"] = "set-2"
    found = gather_evidence(places, COIN, tables.features, Market(MARKET.candles, MARKET.labels), settings, now=NOW)
    assert found.reference.shape[1] == 0
    unknown = measure(COIN, found, ROLLS_BACK, now=NOW).of(DRIFTED_SHARE, ALL)
    assert unknown.state is State.UNKNOWN
    assert unknown.sentence.endswith("unknown: features are no longer computed as they were when the champion learned")


def test_evidence_belongs_to_the_version_that_decided_and_to_its_reign(places, settings, book, parts):
    first, second = succeed(book, parts)
    before, own = broken(first, after=CROWNED, n=40), broken(second, n=50)
    early = broken(second, after=SUCCEEDED - timedelta(days=1), n=20)
    live(places, before, early, own)
    found = evidence_of(places, settings)
    assert found.version == second
    assert_frame_equal(found.own, own, check_dtype=False)
    assert_frame_equal(found.of_recipe, own, check_dtype=False)


def test_a_refreshed_champion_shares_the_evidence_of_its_recipe_and_not_of_the_version_before(places, settings, book, parts):
    first, second = succeed(book, parts, recipe="a")
    own = broken(second, n=20)
    others = [
        broken(first, after=CROWNED, n=40),
        broken(second, after=CROWNED + timedelta(hours=41), n=20),
        own,
        broken(first, after=SUCCEEDED + timedelta(hours=20), n=10),
    ]
    live(places, *others)
    found = evidence_of(places, settings)
    assert found.version == second
    assert_frame_equal(found.own, own, check_dtype=False)
    assert len(found.of_recipe) == 90
    report = measure(COIN, found, ROLLS_BACK, now=NOW)
    assert report.of(HIT_RATE, VERSION).n < report.of(HIT_RATE, RECIPE).n


def test_features_weigh_what_the_last_explanation_says_and_alike_without_one(places):
    assert feature_weights(places, COIN, ["x0", "x1"]).tolist() == [1.0, 1.0]
    told = pd.DataFrame({"model": "m", "feature": ["x0", "x0", "other"], "share": [0.5, 0.7, 0.4]})
    write_parquet(places.frame("explanation", coin=COIN), told)
    assert feature_weights(places, COIN, ["x0", "x1"]).tolist() == [0.6, 0.0]
    assert feature_weights(places, COIN, ["x1"]).tolist() == [1.0]


# ---- leakage --------------------------------------------------------------------------------------------------------


def same(one, other):
    for name in ("reference", "recent", "past", "own", "of_recipe"):
        assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True)


def test_evidence_does_not_change_when_later_bars_and_outcomes_arrive_or_are_others(places, settings, book):
    decide_all(places)
    cut = LEARNED + 500
    then = (BARS[cut - 1] + pd.Timedelta(1, "h")).to_pydatetime()
    found = evidence_of(places, settings, now=then)
    features = MARKET.features.copy()
    features.iloc[cut:] = np.random.default_rng(5).normal(9, 9, features.iloc[cut:].shape)
    candles = MARKET.candles.copy()
    candles.iloc[cut + 1 :, :4] *= 3
    same(evidence_of(places, settings, type(MARKET)(candles, features), now=then), found)
    assert len(found.own) > 400
    assert (found.own["label_end"] <= then).all()
    assert (found.recent.index + pd.Timedelta(1, "h") <= then).all()


def test_a_live_outcome_counts_once_its_label_has_ended(places, settings, book):
    own = broken(book.champion(COIN), n=60, after=CROWNED)
    live(places, own)
    ends = own["label_end"].iloc[30].to_pydatetime()
    assert len(evidence_of(places, settings, now=ends).own) == 31
    assert len(evidence_of(places, settings, now=ends - timedelta(seconds=1)).own) == 30


def test_the_reference_ends_where_the_champion_stopped_learning_and_nothing_recent_is_in_it(places, settings, book):
    soon, late = (evidence_of(places, settings, now=bar.to_pydatetime()) for bar in (BARS[LEARNED + 200], BARS[-1]))
    for found in (soon, late):
        assert found.reference.index[-1] == BARS[LEARNED - 1]
        assert (found.past["label_end"] <= BARS[LEARNED - 1]).all()
    assert soon.recent.index[0] == BARS[LEARNED]
    assert late.recent.index[0] == BARS[-1] - pd.Timedelta(settings.drift.recent_days, "D") + pd.Timedelta(1, "h")


# ---- breach ---------------------------------------------------------------------------------------------------------


def breach(places, settings, book, parts):
    """Two champions, and live decisions of the second that break its promise."""
    first, second = succeed(book, parts)
    live(places, broken(second))
    return first, second, report_of(places, settings)


def test_a_live_breach_brings_back_the_champion_before_with_the_reason(places, settings, book, parts):
    first, _, report = breach(places, settings, book, parts)
    assert report.action is Action.FALL_BACK
    told = []
    assert fall_back(book, report, ROLLS_BACK, now=NOW, tell=told.append) == first == book.champion(COIN)
    last = book.history(COIN)[-1]
    assert (last.action, last.version) == ("rollback", first)
    assert last.reason.startswith(f"live breach: {HIT_RATE} of {VERSION} is")
    assert len(told) == 1
    book.verify(COIN)


def test_the_same_evidence_rolls_back_no_second_champion(places, settings, book, parts):
    first, second, report = breach(places, settings, book, parts)
    fall_back(book, report, ROLLS_BACK, now=NOW, tell=print)
    again = report_of(places, settings)
    assert (again.version, again.of(HIT_RATE, VERSION).state) == (first, State.UNKNOWN)
    assert again.action is not Action.FALL_BACK
    told = []
    for known in (report, again):
        assert fall_back(book, known, ROLLS_BACK, now=NOW, tell=told.append) is None
    assert book.champion(COIN) == first
    assert [second in it and "does not reign any more" in it for it in told] == [True]


def test_a_version_that_is_promoted_again_on_purpose_begins_anew(places, settings, book, parts):
    _, second, report = breach(places, settings, book, parts)
    fall_back(book, report, ROLLS_BACK, now=NOW, tell=print)
    from crp_pipeline.registry.card import verdict_of

    book.promote(COIN, second, verdict_of(book.card(COIN, second)), again=True, now=NOW)
    found = report_of(places, settings)
    assert (found.version, found.of(HIT_RATE, VERSION).n) == (second, 0)


def test_without_the_setting_a_breach_is_told_and_nothing_moves(places, settings, book, parts):
    _, second, report = breach(places, settings, book, parts)
    told = []
    assert fall_back(book, report, DriftConfig(), now=NOW, tell=told.append) is None
    assert book.champion(COIN) == second
    assert "nothing is rolled back without drift.automatic_rollback" in told[0]


def test_a_first_champion_has_nobody_to_fall_back_on(places, settings, book):
    only = book.champion(COIN)
    live(places, broken(only, after=CROWNED))
    told = []
    assert fall_back(book, report_of(places, settings), ROLLS_BACK, now=NOW, tell=told.append) is None
    assert book.champion(COIN) == only
    assert "there is no earlier champion to go back to" in told[0]


def test_a_champion_that_came_between_is_not_rolled_back(places, settings, book, parts, monkeypatch):
    """The report was about another: the registry itself refuses, even where it moved since the look at the throne."""
    _, second, report = breach(places, settings, book, parts)
    state = book.state(COIN)
    book.rollback(COIN, now=NOW)
    monkeypatch.setattr(book, "state", lambda _: state)
    with pytest.raises(RegistryError, match=second):
        fall_back(book, report, ROLLS_BACK, now=NOW, tell=print)


# ---- numbers --------------------------------------------------------------------------------------------------------


def test_live_facts_are_worked_out_by_hand():
    outcomes = decided(4, horizon=1, confidence=0.6).assign(
        signal=[1, 1, 0, -1], outcome=[1, -1, 0, 1], hit=[True, False, True, False], net_return=[0.03, -0.01, 0.0, -0.02]
    )
    facts = live_facts(outcomes, level=0.95)
    assert (facts["scored"], facts["sides"], facts["coverage"]) == (4, 3, 0.75)
    assert facts["hit_rate"] == pytest.approx(1 / 3)
    # two of three sides are long, and so are two of their three outcomes
    assert facts["zero_skill_hit_rate"] == pytest.approx(2 / 3 * 2 / 3 + 1 / 3 * 1 / 3)
    # the first side and the last one do not overlap
    assert facts["independent_sides"] == 2
    assert facts["payoff"] == pytest.approx(0.03 / 0.02)


def test_outcomes_of_nothing_are_an_empty_frame():
    none = outcomes_of(
        MARKET.features.iloc[:0].assign(signal=0, p_short=0.0, p_neutral=0.0, p_long=0.0, confidence=0.0),
        Market(MARKET.candles, MARKET.labels),
        load_settings(horizon=HORIZON),
        version="v",
        now=NOW,
    )
    assert none.empty
