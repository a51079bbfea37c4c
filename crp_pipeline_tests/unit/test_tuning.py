"""Tuning: what a study may see, what a kill does to it, what is counted, and when its result may be used."""

import fcntl
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.errors import LedgerError, TuningError
from crp_pipeline.ledger import Ledger
from crp_pipeline.models import MODEL_CLASSES, MODEL_TYPES, ModelSpec, StudyConfig, create_model, recipe_facts, recipe_of
from crp_pipeline.models.inner import inner_history
from crp_pipeline.models.search import Choice, FloatRange, IntRange
from crp_pipeline.provenance import candidate_recipe
from crp_pipeline.reporting.tuning import best_trials, study_figure
from crp_pipeline.settings import SentinelConfig
from crp_pipeline.splits import PURGED, folds_of, overlaps, recent_roles
from crp_pipeline.storage import write_json
from crp_pipeline.tuning import TUNABLE, CoinTables, tuned_params, tuned_table
from crp_pipeline_tests.slope import Broken, Slope
from crp_pipeline_tests.tuning import COIN, TRAIN_SIZE, settings_of, store, tables_of, tuned

BASELINES = {name for name in MODEL_TYPES if MODEL_CLASSES[name].is_baseline}
SHARED = {"pooled_transformer"}
REPOSITORY = Path(__file__).parents[2]
every_tunable = pytest.mark.parametrize("model_type", TUNABLE)
UNTIMED = ["trial", "state", "score", "folds", "is_default", "reason", "strength", "wait_ms"]


@pytest.fixture(autouse=True)
def with_models(monkeypatch):
    for model in (Slope, Broken):
        monkeypatch.setitem(MODEL_CLASSES, model.model_type, model)
    monkeypatch.setattr(Slope, "n_fits", 0)


@pytest.fixture
def settings(tmp_path):
    return settings_of(tmp_path)


@pytest.fixture
def places(tmp_path, settings):
    return store(tmp_path, tables_of(settings))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that came to its end, compared out of sample: (places, settings, result). Nobody writes there."""
    root = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODEL_CLASSES, "slope", Slope)
        settings = settings_of(root)
        places = store(root, tables_of(settings))
        yield places, settings, tuned(places, settings, n_trials=20, compare=True)


def trials_of(result):
    return result.found.trials[UNTIMED]


# what is searched


def test_every_trainable_type_has_a_space_and_no_baseline_has():
    assert set(TUNABLE) == set(MODEL_TYPES) - BASELINES - SHARED


@every_tunable
def test_every_end_of_every_range_is_allowed_by_the_parameter(model_type):
    for name, found in MODEL_CLASSES[model_type].search_space.items():
        for end in found.ends:
            assert getattr(create_model(model_type, **{name: end}).params, name) == end


@every_tunable
def test_every_corner_of_the_space_is_a_model(model_type):
    space = MODEL_CLASSES[model_type].search_space
    rng = np.random.default_rng(0)
    for _ in range(30):
        create_model(model_type, **{name: found.ends[rng.integers(2)] for name, found in space.items()})


@pytest.mark.parametrize(
    ("model_type", "name", "ends"),
    [
        ("xgboost", "max_depth", (3, 10)),
        ("xgboost", "learning_rate", (0.01, 0.3)),
        ("xgboost", "n_rounds", (100, 500)),
        ("lightgbm", "n_leaves", (20, 100)),
        ("catboost", "max_depth", (4, 10)),
        ("lstm", "n_layers", (2, 4)),
        ("lstm", "width", (32, 256)),
        ("lstm", "dropout", (0.1, 0.5)),
    ],
)
def test_the_spaces_are_those_that_were_asked_for(model_type, name, ends):
    assert MODEL_CLASSES[model_type].search_space[name].ends == ends


def test_leaves_that_are_not_told_follow_from_the_depth():
    assert [create_model("lightgbm", max_depth=depth).params.most_leaves for depth in (3, 5, 8)] == [7, 31, 255]
    assert create_model("lightgbm", n_leaves=20).params.most_leaves == 20


@pytest.mark.parametrize("leaves", [1, -1, 2.5])
def test_a_tree_has_two_leaves_or_as_many_as_its_depth_allows(leaves):
    with pytest.raises(ValueError, match=r"n_leaves = .* 0 or a whole number from 2 on"):
        create_model("lightgbm", n_leaves=leaves)


@pytest.mark.parametrize(
    ("found", "value", "nearest"),
    [
        (IntRange(20, 100), 0, 20),
        (IntRange(20, 100), 31, 31),
        (FloatRange(0.1, 0.5), 0.7, 0.5),
        (Choice(8, 16, 32), 25, 32),
        (Choice("cosine", "plateau"), "constant", "cosine"),
    ],
)
def test_a_default_outside_of_the_space_is_told_as_its_nearest_point(found, value, nearest):
    assert found.nearest(value) == nearest


@pytest.mark.parametrize("make", [lambda: IntRange(3, 3), lambda: FloatRange(0.0, 1.0, log=True), lambda: Choice(1, 1)])
def test_a_range_without_room_is_refused(make):
    with pytest.raises(ValueError, match=r"needs low < high|two values"):
        make()


@pytest.mark.parametrize(
    ("model_type", "why"),
    [("prior", "a baseline has nothing to tune"), ("pooled_transformer", "shared by all coins"), ("x", "there are")],
)
def test_what_is_not_tuned_says_why(model_type, why, places, settings):
    with pytest.raises(TuningError, match=why):
        tuned(places, settings, model_type)


# what the study may see


@pytest.mark.parametrize("embargo", [0, 6, 30])
@pytest.mark.parametrize("n_folds", [2, 5])
def test_no_label_of_the_study_reaches_the_first_test_bar_or_its_own_folds_test(settings, embargo, n_folds):
    tables = tables_of(settings)
    inner = inner_history(tables["features"], tables["labels"], tables["splits"], n_folds=n_folds, embargo=embargo)
    used = np.concatenate([np.concatenate([fold.train, fold.test]) for fold in inner.folds])
    ends = tables["labels"]["label_end"].iloc[used]
    assert inner.first_test == tables["splits"].index[TRAIN_SIZE]
    assert (ends + pd.Timedelta(hours=settings.walk_forward.embargo) <= inner.first_test).all()
    assert inner.learned_until == ends.max() < inner.first_test
    assert overlaps(inner.folds, tables["labels"].index, tables["labels"]["label_end"]).empty
    assert len(inner.folds) == n_folds
    assert len(np.unique(np.concatenate([fold.test for fold in inner.folds]))) == sum(len(fold.test) for fold in inner.folds)
    for fold in inner.folds:
        assert fold.test[0] - fold.train.max() > embargo


def test_what_comes_after_the_first_test_bar_changes_nothing(tmp_path, settings):
    known = tables_of(settings)
    changed = {name: table.copy() for name, table in known.items()}
    rng, first = np.random.default_rng(1), TRAIN_SIZE
    changed["features"].iloc[first:] = rng.normal(size=(len(changed["features"]) - first, 3))
    purged = np.flatnonzero(known["splits"]["fold_0"].to_numpy() == PURGED)
    later = np.concatenate([purged, np.arange(first, len(known["labels"]))])
    for column in ("signal", "forward_return", "weight", "volatility"):
        values = changed["labels"][column].to_numpy().copy()
        values[later] = rng.permutation(values[later])
        changed["labels"][column] = values
    changed["candles"].iloc[first:, :4] *= 3.0
    found = []
    for name, tables in (("known", known), ("changed", changed)):
        own = settings_of(tmp_path / name, sentinels=SentinelConfig(max_feature_z=1.0))
        found.append((store(tmp_path / name, tables), tuned(store(tmp_path / name, tables), own)))
    (places_a, a), (places_b, b) = found
    assert a.found.key == b.found.key
    pd.testing.assert_frame_equal(trials_of(a), trials_of(b), check_exact=True)
    assert a.document == b.document
    looks = [[look for event in Ledger(it.ledger).events(COIN) for look in event.looks] for it in (places_a, places_b)]
    assert [it.earned for it in looks[0]] == [it.earned for it in looks[1]]


def test_a_bar_before_the_first_test_bar_changes_the_study(tmp_path, settings):
    known, changed = tables_of(settings), tables_of(settings)
    changed["features"].iloc[TRAIN_SIZE - 20, 0] += 1.0
    keys = {
        tuned(store(tmp_path / name, it), settings_of(tmp_path / name), n_trials=1).found.key
        for name, it in (("a", known), ("b", changed))
    }
    assert len(keys) == 2


def test_too_short_a_history_is_refused_in_a_sentence(settings):
    tables = tables_of(settings)
    with pytest.raises(Exception, match=r"rows before the first test block are too few for 700 folds"):
        inner_history(tables["features"], tables["labels"], tables["splits"], n_folds=700, embargo=0)


# what is tried


def test_the_default_is_tried_first_and_the_best_is_never_worse(finished):
    places, settings, found = *finished[:2], finished[2].found
    first = found.trials.iloc[0]
    assert first["is_default"]
    assert first["state"] == "complete"
    assert not found.trials["is_default"].iloc[1:].any()
    by_hand = score_by_hand(CoinTables.load(places, COIN), settings, {})
    assert found.default_score == pytest.approx(by_hand) == first["score"]
    assert found.score == pytest.approx(score_by_hand(CoinTables.load(places, COIN), settings, found.params))
    assert found.score <= found.default_score
    assert found.score == found.trials.loc[found.trials["state"] == "complete", "score"].min()


def score_by_hand(tables, settings, params):
    """Mean over the inner folds of the weighted log-loss, in plain numpy."""
    inner = inner_history(tables.features, tables.labels, tables.splits, n_folds=3, embargo=settings.walk_forward.embargo)
    pull = {"strength": 0.5, **params}["strength"] * tables.features["x0"].to_numpy()
    odds = np.exp(np.column_stack([-pull, 0 * pull, pull]))
    losses = -np.log(odds / odds.sum(axis=1, keepdims=True))
    means = []
    for fold in inner.folds:
        signal, weight = (tables.labels[name].to_numpy()[fold.test] for name in ("signal", "weight"))
        of_rows = losses[fold.test, signal.astype(int) + 1]
        means.append((weight * of_rows).sum() / weight.sum())
    return np.mean(means)


def test_the_slope_that_made_the_labels_is_found(finished):
    assert 1.0 < finished[2].found.params["strength"] < 4.0, "the signals were drawn with 2"


def test_the_accuracy_score_is_seventy_to_thirty(places, settings):
    found = tuned(places, settings, objective="accuracy", n_trials=3).found
    tables = CoinTables.load(places, COIN)
    inner = inner_history(tables.features, tables.labels, tables.splits, n_folds=3, embargo=settings.walk_forward.embargo)
    scores = []
    for fold in inner.folds:
        signal, lean = tables.labels["signal"].to_numpy()[fold.test], tables.features["x0"].to_numpy()[fold.test]
        right, went = np.mean(np.sign(lean) == signal), signal != 0
        scores.append(0.7 * right + 0.3 * np.mean(np.sign(lean[went]) == signal[went]))
    assert found.default_score == pytest.approx(np.mean(scores)), "a slope never calls the middle class the most probable"
    assert found.score >= found.default_score


def test_the_same_seed_tries_the_same_and_another_seed_something_else(tmp_path):
    tables = tables_of(settings_of(tmp_path))
    runs = {name: settings_of(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))}
    found = {name: trials_of(tuned(store(tmp_path / name, tables), it)) for name, it in runs.items()}
    pd.testing.assert_frame_equal(found["a"], found["b"], check_exact=True)
    assert not found["a"]["strength"].iloc[1:].isin(found["c"]["strength"]).any()


def test_trials_that_do_worse_than_the_median_are_pruned_and_the_default_never(finished):
    found = finished[2].found.trials
    pruned = found[found["state"] == "pruned"]
    assert len(pruned) > 2
    assert (pruned["folds"] < 3).all()
    assert not pruned["is_default"].any()
    assert not set(pruned["trial"]) & {1, 2, 3, 4, 5}, "the first five set the median"


def test_no_trial_begins_after_the_time_is_over(places, settings, monkeypatch):
    monkeypatch.setattr(Slope, "pause_s", 0.05)
    found = tuned(places, settings, n_trials=500, timeout_s=0.5).found
    assert 1 <= len(found.trials) < 20


def test_progress_tells_the_trial_the_best_and_the_time_left(places, settings):
    lines = []
    tuned(places, settings, n_trials=4, progress=lines.append)
    told = [line for line in lines if line.startswith("slope: trial 3 of 4: log-loss ")]
    assert len(told) == 1
    assert "(best " in told[0]
    assert told[0].endswith("s left")


# kills


def test_a_study_killed_in_mid_trial_ends_as_one_that_was_not(tmp_path):
    tables = tables_of(settings_of(tmp_path))
    killed, whole = (store(tmp_path / name, tables) for name in ("killed", "whole"))
    before = kill_after(killed.root, lines=6)
    after = tuned(killed, settings_of(killed.root), n_trials=14)
    undisturbed = tuned(whole, settings_of(whole.root), n_trials=14)
    pd.testing.assert_frame_equal(trials_of(after), trials_of(undisturbed), check_exact=True)
    kept = pd.read_sql("SELECT number, state FROM trials", f"sqlite:///{killed.root}/tuning/{COIN}/slope.db")
    assert before >= 6
    assert len(kept) == 14
    assert kept["number"].is_unique
    assert set(kept["state"]) <= {"COMPLETE", "PRUNED"}
    for places in (killed, whole):
        looks = [look.made for event in Ledger(places.ledger).events(COIN) for look in event.looks]
        assert len(looks) == len(set(looks)) == Ledger(places.ledger).count(COIN) == 14


def kill_after(root, *, lines):
    """Begin a study of 14 trials in another process and kill it after so many have ended; how many it told."""
    command = [sys.executable, "-c", f"from crp_pipeline_tests.tuning import victim; victim({str(root)!r}, 14, 0.02)"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    victim = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=REPOSITORY)
    told = 0
    with victim.stdout as out:
        for line in out:
            told += ": trial " in line
            if told == lines:
                victim.send_signal(signal.SIGKILL)
                break
    assert victim.wait() == -signal.SIGKILL
    return told


@pytest.mark.parametrize("known_by_then", [3, 4])
def test_a_kill_before_or_after_the_ledger_counts_the_trial_once(known_by_then, places, settings, monkeypatch):
    appended = []

    def append_and_die(self, *args, **kwargs):
        appended.append(args)
        if len(appended) == 4 and known_by_then == 3:
            raise KeyboardInterrupt
        head = append(self, *args, **kwargs)
        if len(appended) == 4:
            raise KeyboardInterrupt
        return head

    append = Ledger.append
    monkeypatch.setattr(Ledger, "append", append_and_die)
    with pytest.raises(KeyboardInterrupt):
        tuned(places, settings)
    assert Ledger(places.ledger).count(COIN) == known_by_then
    found = tuned(places, settings).found
    assert len(found.trials) == 8 == Ledger(places.ledger).count(COIN)


def test_a_study_that_has_its_trials_fits_nothing_more_and_one_that_is_to_have_more_goes_on(places, settings):
    first = tuned(places, settings)
    fits, ledger = Slope.n_fits, Ledger(places.ledger).count(COIN)
    again = tuned(places, settings)
    assert Slope.n_fits == fits
    assert again.document == first.document
    assert Ledger(places.ledger).count(COIN) == ledger == 8
    more = tuned(places, settings, n_trials=11)
    pd.testing.assert_frame_equal(trials_of(more).head(8), trials_of(first), check_exact=True)
    assert Ledger(places.ledger).count(COIN) == 11


def test_other_ingredients_are_another_study(places, settings):
    keys = {
        tuned(places, settings, n_trials=1).found.key,
        tuned(places, settings, n_trials=1, objective="accuracy").found.key,
        tuned(places, settings, n_trials=1, seed=5).found.key,
        tuned(places, settings_of(places.root, selection=replace(settings.selection, keep=2)), n_trials=1).found.key,
    }
    assert len(keys) == 4


def test_one_study_is_not_run_by_two_processes_at_once(places, settings):
    folder = places.root / "tuning" / COIN
    folder.mkdir(parents=True)
    with (folder / ".slope.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TuningError, match=r"BTC-USDT: slope is being tuned by another process"):
            tuned(places, settings)
    assert len(tuned(places, settings).found.trials) == 8


# failures


def test_a_study_whose_every_trial_failed_is_one_sentence(places, settings):
    with pytest.raises(
        TuningError, match=r"BTC-USDT: broken: every one of 3 trials failed, .*MemoryError: no room for so many trees"
    ):
        tuned(places, settings, "broken", n_trials=3)
    assert tuned_table(places, COIN).empty


def test_a_trial_that_fails_holds_up_no_other_and_keeps_its_reason(places, settings, monkeypatch):
    def fit(self, X, y, **more):
        if self.params.strength > 4:
            raise ValueError("too steep")
        return real(self, X, y, **more)

    real = Slope.fit
    monkeypatch.setattr(Slope, "fit", fit)
    lines = []
    found = tuned(places, settings, progress=lines.append).found
    failed = found.trials[found.trials["state"] == "failed"]
    assert len(failed) >= 1
    assert set(failed["reason"]) == {"ValueError: too steep"}
    assert len(found.trials) - len(failed) == 8
    assert sum("too steep" in line for line in lines) == len(failed)
    assert found.params["strength"] <= 4


def test_a_damaged_ledger_stops_the_study_before_a_trial_goes_uncounted(places, settings):
    tuned(places, settings, n_trials=3)
    lines = places.ledger / COIN / "trials.jsonl"
    lines.write_text(lines.read_text().replace("slope", "other", 1))
    with pytest.raises(LedgerError):
        tuned(places, settings, n_trials=6)


def test_more_threads_than_cores_and_networks_side_by_side_are_refused(places, settings):
    with pytest.raises(TuningError, match=r"threads on .* cores"):
        tuned(places, settings, n_jobs=1_000)
    if len(os.sched_getaffinity(0)) >= 2:
        with pytest.raises(TuningError, match=r"tcn draws from one stream of random numbers"):
            tuned(places, settings, "tcn", n_jobs=2)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two trials at a time need two cores")
def test_two_trials_at_a_time_are_counted_once_each(places, settings):
    found = tuned(places, settings, n_jobs=2).found
    assert len(found.trials) == 8 == Ledger(places.ledger).count(COIN)


@pytest.mark.parametrize("changes", [{"objective": "profit"}, {"n_folds": 1}, {"n_jobs": 0}])
def test_a_study_of_another_kind_is_refused(changes):
    with pytest.raises(ValueError, match=r"objective = 'profit'|two folds"):
        StudyConfig(**changes)


def test_a_coin_without_tables_is_one_sentence(places, settings):
    places.frame("labels", coin=COIN).unlink()
    with pytest.raises(TuningError, match=r"BTC-USDT has no labels yet"):
        tuned(places, settings)


# what is counted


def test_every_trial_is_in_the_ledger_pruned_or_not(finished):
    places, _, result = finished
    found = result.found
    looks = [look for event in Ledger(places.ledger).events(COIN) for look in event.looks if look.name == "tuning/slope"]
    assert (found.trials["state"] == "pruned").sum() > 0
    strengths = [look.recipe["model.parameters.strength"] for look in looks]
    assert strengths == [0.5, *found.trials["strength"].iloc[1:]], "the default by its own value"
    assert not any(look.is_baseline for look in looks)
    assert max(look.last_day for look in looks) <= str(found.first_test.date())


# when it may be used


def stored(places, finished, **changes):
    """What a study stores, some of its facts others."""
    document = {**finished[2].document, **changes}
    write_json(places.root / "tuning" / COIN / "slope.json", document)
    return document


def applied(places, settings, *, variant="default", feature_set_id="0a", roles=None):
    tables = CoinTables.load(places, COIN)
    tables.features.attrs["feature_set_id"] = feature_set_id
    roles = tables.splits if roles is None else roles
    return tuned_params(places, settings, "slope", variant=variant, features=tables.features, roles=roles)


def test_the_best_parameters_are_used_where_they_may_be(places, settings, finished):
    document, found = stored(places, finished), applied(places, settings)
    assert found.params == document["params"] != {}
    assert list(found.files) == ["tuning/slope"]


def test_without_a_study_nothing_is_used(places, settings):
    assert applied(places, settings) == type(applied(places, settings))({}, "not tuned", {})


@pytest.mark.parametrize(
    ("changes", "asked", "why"),
    [
        (
            {"learned_until": "2024-01-26T00:00:00+00:00"},
            {},
            "they know labels until 2024-01-26.*first bar that is tested opens at",
        ),
        ({}, {"variant": "deep"}, "the variant default, not to deep"),
        ({}, {"feature_set_id": "0b"}, "the features 0a, not on 0b"),
        ({"params": {"slant": 1}}, {}, "parameter 'slant' does not exist"),
    ],
)
def test_what_was_tuned_for_something_else_is_not_used_and_says_why(changes, asked, why, places, settings, finished):
    stored(places, finished, **changes)
    found = applied(places, settings, **asked)
    assert (found.params, found.files) == ({}, {})
    assert pd.Series([found.told]).str.contains(why).all(), found.told


def test_parameters_for_another_horizon_are_not_used(places, settings, finished):
    stored(places, finished)
    assert "horizon = 6, which is 12 here" in applied(places, settings_of(places.root, horizon=12)).told


def test_parameters_that_know_the_first_bar_that_is_tested_are_not_used(places, settings, finished):
    """A run on other splits may test bars that the study learned from."""
    stored(places, finished)
    tables = CoinTables.load(places, COIN)
    earlier = tables.splits.shift(-100, fill_value=0)
    assert applied(places, settings, roles=earlier).params == {}
    later = recent_roles(tables.splits, 25, fewest=50)
    assert applied(places, settings, roles=later).params != {}


def test_a_file_that_cannot_be_read_is_one_sentence(places, settings, finished):
    stored(places, finished)
    (places.root / "tuning" / COIN / "slope.json").write_text("{")
    with pytest.raises(TuningError, match=r"slope.json cannot be read"):
        applied(places, settings)


def test_tuned_parameters_yield_to_what_is_asked_for():
    tuned_ones = {"n_rounds": 300, "max_depth": 4, "l2": 2.0}
    spec = recipe_of("lightgbm", "deep", asked={"epochs": 7}, params={"max_depth": 9}, tuned=tuned_ones, n_threads=1)
    assert {name: spec.params[name] for name in tuned_ones} == {"n_rounds": 7, "max_depth": 9, "l2": 2.0}


def test_a_tuned_model_is_another_recipe_for_the_gate(settings):
    def card(**params):
        return {**recipe_facts(ModelSpec("lightgbm", params=params)), "days_of_history": None, "all_features": False}

    assert candidate_recipe(settings, COIN, [card()]) != candidate_recipe(settings, COIN, [card(n_leaves=40)])


# what it is worth


def test_tuned_and_default_are_compared_out_of_sample_and_both_are_counted(finished):
    places, document = finished[0], finished[2].document
    compared, tables = document["comparison"], CoinTables.load(places, COIN)
    losses = {}
    for name, strength in (("default", 0.5), ("tuned", document["params"]["strength"])):
        rows = np.unique(np.concatenate([fold.test for fold in folds_of(tables.splits)]))
        rows = rows[tables.labels["signal"].notna().to_numpy()[rows]]
        pull = strength * tables.features["x0"].to_numpy()[rows]
        odds = np.exp(np.column_stack([-pull, 0 * pull, pull]))
        came = tables.labels["signal"].to_numpy()[rows].astype(int) + 1
        losses[name] = -np.log((odds / odds.sum(axis=1, keepdims=True))[np.arange(len(rows)), came]).mean()
    assert compared["default_log_loss"] == pytest.approx(losses["default"])
    assert compared["tuned_log_loss"] == pytest.approx(losses["tuned"])
    assert compared["gain"] == pytest.approx(losses["default"] - losses["tuned"])
    assert compared["gain_low"] < compared["gain"] < compared["gain_high"]
    assert compared["trials_in_ledger"] == Ledger(places.ledger).count(COIN) == 22


def test_the_table_has_a_row_per_tuned_model_and_none_where_nothing_was_tuned(places, finished):
    assert tuned_table(places, COIN).empty
    table = tuned_table(finished[0], COIN)
    row = table.iloc[0]
    assert len(table) == 1
    assert (row["model"], row["trials"], row["failed"]) == ("slope", 20, 0)
    assert row["inner_tuned"] <= row["inner_default"]
    assert row["gain_low"] <= row["gain"] <= row["gain_high"]


def test_a_study_is_drawn_with_its_numbers_in_the_title(finished):
    trials = finished[2].found.trials
    figure = study_figure(trials, name="BTC-USDT slope", objective="log_loss")
    assert f"{(trials['state'] == 'complete').sum()} complete" in figure.get_suptitle()
    best = best_trials(trials, lowers=True)
    assert best["score"].is_monotonic_increasing
    assert len(best) <= 10


# the shell


@pytest.fixture
def crp(tmp_path, crp, monkeypatch):
    """`crp tune` on the stored coin."""
    found = settings_of(tmp_path)
    monkeypatch.setattr("crp_pipeline.cli.tune.load_settings", lambda: found)
    return partial(crp, "tune")


def test_a_coin_is_tuned_from_the_shell_and_ends_with_tuned_against_default(places, crp):
    code, out, _ = crp("--coin", COIN, "--model", "slope", "--trials", "8")
    assert code == 0
    assert f"{COIN} slope: trial 8 of 8" in out
    assert "default_log_loss" in out
    assert "out of sample" in out
    assert tuned_table(places, COIN)["trials"].tolist() == [8]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--coin", "ETH-USDT", "--model", "slope"), "crp: ETH-USDT has no candles yet"),
        (("--coin", COIN, "--model", "prior"), "crp: prior is not tuned: a baseline has nothing to tune"),
        (("--coin", "../x", "--model", "slope"), "crp: '../x' is not the name of a coin"),
    ],
)
def test_what_cannot_be_tuned_is_one_sentence_and_exit_code_1(words, told, places, crp):
    code, _, err = crp(*words)
    assert code == 1
    assert told in err
    assert len(err.strip().splitlines()) == 1
    assert tuned_table(places, COIN).empty


def test_a_model_that_fails_holds_up_no_other(places, crp):
    code, out, err = crp("--coin", COIN, "--model", "broken", "--model", "slope", "--trials", "3", "--no-compare")
    assert code == 1
    assert "every one of 3 trials failed" in err
    assert "slope: trial 3 of 3" in out
    assert tuned_table(places, COIN)["model"].tolist() == ["slope"]


@pytest.mark.parametrize("words", [(), ("--coin", COIN), ("--coin", COIN, "--model", "slope", "--objective", "profit")])
def test_what_is_to_be_tuned_must_be_told(words, places, crp):
    code, _, err = crp(*words)
    assert code == 2
    assert "--all" in err or "--objective" in err
