"""What is read back from a record and what is made again: every ingredient on its own, damage, growth, restated inputs."""

import importlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from crp_pipeline.contracts import Samples
from crp_pipeline.errors import BundleError, DiskError
from crp_pipeline.models import (
    MADE_FROM,
    ModelSpec,
    Record,
    cross_fit,
    fold_table,
    samples_of,
    save_bundle,
    select_features,
    train,
)
from crp_pipeline.models.base import Model
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.models.gbdt import LightGBM
from crp_pipeline.models.ingredients import code, looked_at
from crp_pipeline.models.record import Entry, key_of
from crp_pipeline.settings import SelectionConfig
from crp_pipeline.splits import PurgedWalkForward, role_table
from crp_pipeline.storage import MANIFEST, read_parquet, seal, write_json
from crp_pipeline_tests.recording import Recording, learnable_history, wide_history

cross_fitting = importlib.import_module("crp_pipeline.models.cross_fit")
selecting = importlib.import_module("crp_pipeline.models.selection")
ingredients = importlib.import_module("crp_pipeline.models.ingredients")

QUICK = {"n_rounds": 6, "max_depth": 3, "min_leaf_rows": 10, "learning_rate": 0.2, "patience": 3}
LIGHT = ModelSpec("lightgbm", params=QUICK)
N_BARS, LATER = 690, 760
"""Four whole folds and a last one of 80 test rows; seventy bars later it has 90 and another has 60."""
WHOLE = PurgedWalkForward(train_size=250, test_size=90, embargo=7, partial=True)


class Drift(Model):
    """The mean of `x0` over five bars times a slope: looks back, forecasts a return and is read out into classes."""

    model_type = "drift"
    targets = ("forward_return",)
    outputs = ("forward_return",)
    window = 5

    @property
    def reach(self):
        return self.window

    @property
    def settled(self):
        return {}

    @property
    def history(self):
        return pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.25]})

    def fit(self, X, y, *, weight=None, validation=None, seed=0):
        del weight, validation, seed
        means = X.windows(self.reach)[:, :, 0].mean(axis=1)
        self._learned = float(means @ y / (means @ means))
        self.rounds = 2
        return self

    def predict(self, X):
        return self._learned * X.windows(self.reach)[:, :, :1].mean(axis=1)

    def _write(self, folder):
        write_json(folder / "slope.json", {"slope": self._learned})

    @classmethod
    def _read(cls, folder):
        model = cls()
        model._learned, model.rounds = json.loads((folder / "slope.json").read_text())["slope"], 2
        return model


@pytest.fixture(autouse=True)
def models_of_the_test(monkeypatch):
    monkeypatch.setattr(Recording, "fits", [])
    monkeypatch.setitem(MODEL_CLASSES, "recording", Recording)
    monkeypatch.setitem(MODEL_CLASSES, "drift", Drift)


@pytest.fixture
def fits(monkeypatch):
    """Grows by one model type per fit."""
    found = []

    def counted(model, block, *, seed):
        found.append(model.model_type)
        return fit_block(model, block, seed=seed)

    fit_block = cross_fitting.fit_block
    monkeypatch.setattr(cross_fitting, "fit_block", counted)
    return found


def market(n_bars=N_BARS, unlabelled=(30, 31, 250)):
    """(features, labels): those of fewer bars are the beginning of those of more, but for what had no label yet."""
    features, labels = learnable_history(LATER + 40, unlabelled=unlabelled)
    return features.iloc[:n_bars], market_labels(labels, n_bars)


def market_labels(labels, n_bars):
    """The first labels, as they were known then."""
    labels = labels.iloc[:n_bars].copy()
    labels.iloc[-7:, labels.columns.get_indexer(["signal", "forward_return", "trend_strength", "weight"])] = np.nan
    labels.iloc[-7:, labels.columns.get_loc("label_end")] = pd.NaT
    return labels


def roles_of(labels):
    return role_table(WHOLE.split(labels.index, labels["label_end"]), labels.index, labels["label_end"])


def record_in(folder, *, feature_set_id="fs", labels=None, bundle=None):
    return Record(folder=folder, feature_set_id=feature_set_id, label_settings=labels or {"horizon": 6}, bundle=bundle)


def trained(folder, spec=LIGHT, data=None, *, seed=3, share=0.2, tell=None, **definitions):
    features, labels = market() if data is None else data
    record = None if folder is None else record_in(folder, **definitions)
    return train(
        spec,
        features,
        labels,
        roles_of(labels),
        seed=seed,
        validation_share=share,
        record=record,
        progress=tell or (lambda _: None),
    )


def entries(folder):
    return sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))


# the same again


@pytest.mark.parametrize(
    "spec", [LIGHT, ModelSpec("xgboost", params=QUICK), ModelSpec("catboost", params=QUICK), ModelSpec("recording"), ModelSpec("drift")],
    ids=lambda spec: spec.model_type,
)  # fmt: skip
def test_what_was_trained_is_not_trained_again_and_comes_back_bit_for_bit(spec, tmp_path, fits):
    first = trained(tmp_path, spec)
    n_folds = len(first.folds)
    assert len(fits) == n_folds + 1 == 6
    again = trained(tmp_path, spec)
    assert len(fits) == n_folds + 2, "only the final model, which no bundle holds"
    assert_frame_equal(again.predictions, first.predictions, check_exact=True)
    assert [result.reused for result in first.folds] == [False] * n_folds
    assert (again.folds_read_back, again.reused) == (n_folds, False)
    for one, other in zip(first.folds, again.folds, strict=True):
        np.testing.assert_array_equal(one.outputs, other.outputs)
        assert (one.rounds, one.settled, one.names, one.n_learned) == (
            other.rounds,
            other.settled,
            other.names,
            other.n_learned,
        )
        assert [type(it) for it in one.settled.values()] == [type(it) for it in other.settled.values()]
        assert_frame_equal(one.history, other.history)


@pytest.mark.parametrize("spec", [LIGHT, ModelSpec("drift")], ids=lambda spec: spec.model_type)
def test_predictions_read_back_are_those_made_without_a_record(spec, tmp_path):
    trained(tmp_path, spec)
    assert_frame_equal(trained(tmp_path, spec).predictions, trained(None, spec).predictions, check_exact=True)


def test_without_a_record_nothing_is_kept(tmp_path, fits):
    assert trained(None).made_from is None
    assert len(fits) == 6
    assert list(tmp_path.iterdir()) == []


def test_cross_fitting_alone_uses_the_record_too(tmp_path, fits):
    features, labels = market()
    folds = WHOLE.split(labels.index, labels["label_end"])
    one, other = (cross_fit(LIGHT, features, labels, folds, seed=0, record=record_in(tmp_path)) for _ in range(2))
    assert len(fits) == len(folds)
    assert_frame_equal(one, other, check_exact=True)


def test_progress_says_which_folds_were_read_back(tmp_path):
    told = []
    trained(tmp_path, tell=told.append)
    assert not any("read back" in line for line in told)
    trained(tmp_path, tell=told.append)
    assert [line.split(", ")[:2] for line in told[5:]] == [[f"lightgbm: fold {n} of 5", "read back"] for n in range(1, 6)]


def test_the_table_of_folds_says_it_too(tmp_path):
    trained(tmp_path)
    table = fold_table(trained(tmp_path).folds)
    assert table["fold"].tolist() == [0, 1, 2, 3, 4]
    assert table["read_back"].all()
    assert table["learned"].is_monotonic_increasing
    assert (table["rounds"] > 0).all()


# the night after


def test_new_bars_train_only_the_new_fold_and_the_final_model(tmp_path, fits):
    first = trained(tmp_path)
    assert [len(result.fold.test) for result in first.folds] == [90, 90, 90, 90, 80]
    fits.clear()
    later = trained(tmp_path, data=market(LATER))
    assert [len(result.fold.test) for result in later.folds] == [90, 90, 90, 90, 90, 60]
    assert [result.reused for result in later.folds] == [True] * 5 + [False]
    assert len(fits) == 2
    assert_frame_equal(later.predictions.iloc[:N_BARS], first.predictions, check_exact=True)


@pytest.mark.parametrize("spec", [LIGHT, ModelSpec("drift")], ids=lambda spec: spec.model_type)
@pytest.mark.parametrize("n_bars", [620, 660, 689])
def test_the_last_fold_grows_without_a_fit_and_as_if_it_had_been_whole_from_the_start(tmp_path, fits, spec, n_bars):
    first = trained(tmp_path, spec, market(n_bars))
    fits.clear()
    grown = trained(tmp_path, spec)
    assert fits == [spec.model_type]
    assert all(result.reused for result in grown.folds)
    assert_frame_equal(grown.predictions.iloc[:n_bars], first.predictions, check_exact=True)
    assert_frame_equal(grown.predictions, trained(None, spec).predictions, check_exact=True)
    assert_frame_equal(trained(tmp_path, spec).predictions, grown.predictions, check_exact=True)
    assert len(entries(tmp_path)) == 5, "the longer entry took the place of the shorter one"


def test_a_shorter_history_takes_nothing_out_of_the_record(tmp_path, fits):
    first = trained(tmp_path)
    trained(tmp_path, data=market(660))
    fits.clear()
    assert_frame_equal(trained(tmp_path).predictions, first.predictions, check_exact=True)
    assert len(fits) == 1


def test_forecasts_that_were_made_stay_though_the_library_would_forecast_otherwise_today(tmp_path, monkeypatch):
    first = trained(tmp_path, data=market(660))
    predict = LightGBM.predict
    monkeypatch.setattr(LightGBM, "predict", lambda self, X: predict(self, X)[:, ::-1])
    later = trained(tmp_path)
    assert_frame_equal(later.predictions.iloc[:660], first.predictions, check_exact=True)
    monkeypatch.undo()
    assert not later.predictions.iloc[660:, :3].equals(trained(None).predictions.iloc[660:, :3]), "new rows are forecast today"


# the ingredients


def changed(table, row, column, value):
    return table.assign(**{column: table[column].where(np.arange(len(table)) != row, value)})


def of_learned_row(change):
    """A change of the tables in a row that every fold learns from."""
    return lambda features, labels: change(features, labels, 40)


def with_another_version(monkeypatch):
    monkeypatch.setattr(ingredients, "library_versions", lambda: {"lightgbm": "99"})


def with_other_code(monkeypatch):
    bare = ingredients._bare
    monkeypatch.setattr(ingredients, "_bare", lambda source: bare(source) + ("\nX = 1" if "class LightGBM" in source else ""))


TABLES = {
    "a feature": lambda features, labels: (changed(features, 40, "noise", 0.5), labels),
    "a label": lambda features, labels: (features, changed(labels, 40, "signal", -labels["signal"].iloc[40] or 1.0)),
    "a weight": lambda features, labels: (features, changed(labels, 40, "weight", 0.123)),
    "the name of a column": lambda features, labels: (features.rename(columns={"noise": "din"}), labels),
    "the order of the columns": lambda features, labels: (features[["noise", "x0", "scale"]], labels),
    "a row without a label": lambda *_: market(unlabelled=(30, 31, 32, 250)),
}
ASKED = {
    "the feature set": {"feature_set_id": "other"},
    "the label settings": {"labels": {"horizon": 12}},
    "the seed": {"seed": 4},
    "the share that is watched": {"share": 0.25},
    "the variant": {"spec": replace(LIGHT, variant="deep")},
    "a parameter": {"spec": replace(LIGHT, params={**QUICK, "l2": 6.0})},
    "the model type": {"spec": ModelSpec("xgboost", params=QUICK)},
}
WORLD = {"a library's version": with_another_version, "the code": with_other_code}


@pytest.mark.parametrize("ingredient", [*TABLES, *ASKED, *WORLD])
def test_every_ingredient_alone_trains_every_fold_again(tmp_path, fits, monkeypatch, ingredient):
    trained(tmp_path)
    fits.clear()
    if ingredient in WORLD:
        WORLD[ingredient](monkeypatch)
    data = TABLES[ingredient](*market()) if ingredient in TABLES else None
    found = trained(tmp_path, data=data, **ASKED.get(ingredient, {}))
    assert (len(fits), found.folds_read_back) == (6, 0)
    assert len(entries(tmp_path)) == 10


def watched_label(features, labels):
    """The label of a row that the first fold watches and that the others learn from."""
    return features, changed(labels, 235, "signal", -labels["signal"].iloc[235] or 1.0)


def test_a_label_that_is_only_watched_counts(tmp_path):
    trained(tmp_path)
    assert trained(tmp_path, data=watched_label(*market())).folds_read_back == 0


def test_what_only_the_latest_fold_learns_from_trains_no_earlier_fold_again(tmp_path, fits):
    trained(tmp_path)
    fits.clear()
    features, labels = market()
    found = trained(tmp_path, data=(features, changed(labels, 540, "weight", 0.5)))
    assert [result.reused for result in found.folds] == [True] * 4 + [False]


UNIMPORTANT = {
    "the label of a test row": lambda features, labels: (features, changed(labels, 650, "signal", -labels["signal"].iloc[650] or 1.0)),
    "the weight of a test row": lambda features, labels: (features, changed(labels, 650, "weight", 0.5)),
    "a return that is not learned from": lambda features, labels: (features, changed(labels, 40, "forward_return", 0.5)),
    "a later bar": lambda *_: market(N_BARS + 1),
}  # fmt: skip


@pytest.mark.parametrize("change", [*UNIMPORTANT, "the threads"])
def test_what_no_fold_learns_from_trains_none_again(tmp_path, fits, change):
    first = trained(tmp_path)
    fits.clear()
    spec = replace(LIGHT, params={**QUICK, "n_threads": 2}) if change == "the threads" else LIGHT
    found = trained(tmp_path, spec, UNIMPORTANT[change](*market()) if change in UNIMPORTANT else None)
    assert all(result.reused for result in found.folds[:5])
    assert_frame_equal(found.predictions.iloc[:N_BARS], first.predictions, check_exact=True)


def test_bars_before_the_first_row_that_is_learned_from_do_not_matter(tmp_path):
    """The same rows at another position of a longer table, as when the history is stored from an earlier day on."""
    features, labels = market()
    roles = roles_of(labels)
    roles.iloc[:20] = 0
    record = record_in(tmp_path)
    first = train(LIGHT, features, labels, roles, seed=0, record=record)
    again = train(LIGHT, features.iloc[20:], labels.iloc[20:], roles.iloc[20:], seed=0, record=record)
    assert again.folds_read_back == 5
    assert_frame_equal(again.predictions, first.predictions.iloc[20:], check_exact=True)


def test_the_manifest_names_every_ingredient(tmp_path):
    trained(tmp_path)
    manifest = json.loads((entries(tmp_path)[0] / MANIFEST).read_text())
    assert sorted(manifest["ingredients"]) == [
        "code", "columns", "feature_set_id", "labels", "libraries", "recipe", "rows", "seed", "targets", "validation_share",
        "values", "weights",
    ]  # fmt: skip
    assert manifest["ingredients"]["recipe"]["parameters"]["l2"] == 5.0, "resolved, not only what was asked for"
    assert "n_threads" not in manifest["ingredients"]["recipe"]["parameters"]
    assert {"numpy", "lightgbm", "torch"} <= set(manifest["ingredients"]["libraries"])
    assert key_of(manifest["ingredients"]) == entries(tmp_path)[0].name


def test_the_bars_of_a_window_before_the_block_are_an_ingredient(tmp_path):
    """The first row that is learned from looks at four bars that are none of the block's rows."""
    features, labels = market()
    roles = roles_of(labels)
    roles.iloc[:20] = 0
    record = record_in(tmp_path)
    train(ModelSpec("drift"), features, labels, roles, seed=0, record=record)
    seen, unseen = changed(features, 16, "x0", 9.0), changed(features, 15, "x0", 9.0)
    assert train(ModelSpec("drift"), seen, labels, roles, seed=0, record=record).folds_read_back == 0
    assert train(ModelSpec("drift"), unseen, labels, roles, seed=0, record=record).folds_read_back == 5


# the code as an ingredient


def test_the_code_of_a_model_is_its_own_and_that_of_the_fit_and_no_other_models():
    names = set(ingredients._with_imports([LightGBM.__module__, "crp_pipeline.models.block"]))
    assert {LightGBM.__module__, "crp_pipeline.models.base", "crp_pipeline.models.readout", "crp_pipeline.contracts"} <= names
    assert not any(
        name.startswith(("crp_pipeline.models.catalog", "crp_pipeline.settings", "crp_pipeline.models.record"))
        for name in names
    )
    prior = set(ingredients._with_imports(["crp_pipeline.models.baselines", "crp_pipeline.models.block"]))
    assert LightGBM.__module__ not in prior


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("def f(x):\n    return x + 1\n", False),
        ('"""Module."""\n\n\ndef f(x):\n    """Doc."""\n    # why\n    return (x + 1)\n', False),
        ("def f(x):\n    return x + 2\n", True),
        ("def f(x, *, y=1):\n    return x + 1\n", True),
    ],
)
def test_comments_and_docstrings_are_no_code(tmp_path, monkeypatch, text, counts):
    module = tmp_path / "made_up.py"
    monkeypatch.setattr(ingredients, "_file", lambda name: module if name == "made_up" else None)
    module.write_text("def f(x):\n    return x + 1\n")
    before = code("made_up")
    module.write_text(text)
    assert (code("made_up") != before) == counts


# damage


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def drop_ingredient(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["ingredients"]["seed"] = 99
    write_json(folder / MANIFEST, manifest)


DAMAGE = {
    "a flipped byte in the forecasts": lambda folder: flip(folder / "forecasts.parquet"),
    "a flipped byte in the model": lambda folder: flip(folder / "model" / "model.txt"),
    "a flipped byte in the facts": lambda folder: flip(folder / "facts.json"),
    "a flipped byte in the manifest": lambda folder: flip(folder / MANIFEST),
    "truncated forecasts": lambda folder: (folder / "forecasts.parquet").write_bytes((folder / "forecasts.parquet").read_bytes()[:50]),
    "an empty manifest": lambda folder: (folder / MANIFEST).write_text(""),
    "no manifest": lambda folder: (folder / MANIFEST).unlink(),
    "no model": lambda folder: shutil.rmtree(folder / "model"),
    "no forecasts": lambda folder: (folder / "forecasts.parquet").unlink(),
    "a foreign file": lambda folder: (folder / "model" / "more.txt").write_text("x"),
    "other ingredients than the key's": drop_ingredient,
    "a file in place of the folder": lambda folder: (shutil.rmtree(folder), folder.write_text("x")),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_told_made_again_and_replaced(tmp_path, fits, damage):
    first = trained(tmp_path)
    victim = entries(tmp_path)[2]
    DAMAGE[damage](victim)
    fits.clear()
    told = []
    again = trained(tmp_path, tell=told.append)
    assert len(fits) == 2
    assert again.folds_read_back == 4
    [sentence] = [line for line in told if "damaged" in line]
    assert str(victim) in sentence
    assert_frame_equal(again.predictions, first.predictions, check_exact=True)
    fits.clear()
    assert trained(tmp_path).folds_read_back == 5


def test_an_entry_under_the_name_of_another_is_not_taken_for_it(tmp_path):
    trained(tmp_path)
    one, other, *_ = entries(tmp_path)
    shutil.rmtree(other)
    shutil.copytree(one, other)
    told = []
    assert trained(tmp_path, tell=told.append).folds_read_back == 4
    assert any("other ingredients than its name says" in line for line in told)


def test_restated_inputs_of_test_rows_are_forecast_anew_by_the_stored_model_and_told(tmp_path, fits):
    first = trained(tmp_path)
    features, labels = market()
    restated = changed(changed(features, 640, "x0", 3.0), 650, "x0", -3.0)
    told = []
    fits.clear()
    found = trained(tmp_path, data=(restated, labels), tell=told.append)
    assert len(fits) == 1, "the final model"
    [sentence] = [line for line in told if "other values" in line]
    assert sentence.startswith("lightgbm: 2 test rows of fold 4 look at other values than when they were forecast")
    differs = (found.predictions != first.predictions).iloc[:, :3].any(axis=1) & found.predictions["p_short"].notna()
    assert np.flatnonzero(differs).tolist() == [640, 650]
    assert_frame_equal(found.predictions, trained(None, data=(restated, labels)).predictions, check_exact=True)
    told.clear()
    assert_frame_equal(trained(tmp_path, data=(restated, labels), tell=told.append).predictions, found.predictions)
    assert not any("other values" in line for line in told)


def test_a_restated_bar_concerns_every_window_that_holds_it(tmp_path):
    trained(tmp_path, ModelSpec("drift"))
    features, labels = market()
    told = []
    found = trained(tmp_path, ModelSpec("drift"), (changed(features, 640, "x0", 3.0), labels), tell=told.append)
    assert any(line.startswith("drift: 5 test rows of fold 4") for line in told)
    assert_frame_equal(
        found.predictions, trained(None, ModelSpec("drift"), (changed(features, 640, "x0", 3.0), labels)).predictions
    )


def test_a_row_without_enough_bars_behind_it_is_kept_as_missing(tmp_path):
    features, labels = market()
    hole = np.arange(620, 640)
    features, labels = features.drop(features.index[hole]), labels.drop(labels.index[hole])
    first, again = (trained(tmp_path, ModelSpec("drift"), (features, labels)) for _ in range(2))
    assert first.predictions["p_long"].iloc[250:].isna().sum() == Drift.window - 1
    assert again.folds_read_back == 5
    assert_frame_equal(again.predictions, first.predictions, check_exact=True)


def test_what_is_looked_at_is_the_window_and_nothing_else():
    history = np.random.default_rng(0).normal(size=(50, 3))
    samples = Samples(history, np.arange(10, 50))
    before = looked_at(samples, 4)
    assert len(set(before.tolist())) == 40
    for bar in (0, 12, 30, 49):
        other = history.copy()
        other[bar, 1] += 1e-12
        saw = np.flatnonzero(looked_at(Samples(other, samples.rows), 4) != before) + 10
        assert saw.tolist() == [row for row in range(10, 50) if row - 4 < bar <= row]
    assert (looked_at(samples.take(np.arange(20, 30)), 4) == before[10:20]).all()


# the final model


def night(folder, spec=LIGHT, data=None, **asked):
    """A training whose final model lies in a bundle afterwards, as the asset leaves it."""
    features, labels = market() if data is None else data
    bundle = folder / "bundle"
    found = train(spec, features, labels, roles_of(labels), seed=3, record=record_in(folder / "record", bundle=bundle), **asked)
    if not found.reused:
        golden = samples_of(features).take(np.arange(len(features) - 20, len(features)))
        save_bundle(found.model, bundle, card={MADE_FROM: found.made_from}, golden=golden)
    return found


@pytest.mark.parametrize(
    "spec", [LIGHT, ModelSpec("catboost", params=QUICK), ModelSpec("drift")], ids=lambda spec: spec.model_type
)
def test_a_second_try_of_the_same_night_trains_nothing_at_all(tmp_path, fits, spec):
    first = night(tmp_path, spec)
    fits.clear()
    again = night(tmp_path, spec)
    assert fits == []
    assert again.reused
    assert (again.rounds, again.n_learned, again.made_from) == (first.rounds, first.n_learned, first.made_from)
    samples = samples_of(market()[0]).take(np.arange(300, N_BARS))
    np.testing.assert_array_equal(again.model.probabilities(samples), first.model.probabilities(samples))


@pytest.mark.parametrize(
    "data",
    [lambda: market(N_BARS + 1), lambda: (changed(market()[0], 640, "noise", 1.0), market()[1])],
    ids=["a bar", "a value"],
)
def test_the_final_model_is_trained_on_whatever_is_new(tmp_path, fits, data):
    night(tmp_path)
    fits.clear()
    assert not night(tmp_path, data=data()).reused
    assert len(fits) == 1


def test_a_readout_of_other_forecasts_is_another_final_model(tmp_path):
    """Fold models that learned from fewer rows forecast otherwise, and the final model's readout is learned from forecasts."""
    first = night(tmp_path, ModelSpec("drift"), validation_share=0.2)
    other = night(tmp_path, ModelSpec("drift"), validation_share=0.4)
    samples = samples_of(market()[0]).take(np.arange(300, N_BARS))
    np.testing.assert_array_equal(other.model.predict(samples), first.model.predict(samples))
    assert np.abs(other.model.probabilities(samples) - first.model.probabilities(samples)).max() > 1e-6
    assert not other.reused
    assert night(tmp_path, ModelSpec("drift"), validation_share=0.4).reused


def test_a_last_bar_that_has_no_label_yet_changes_no_final_model(tmp_path):
    first = night(tmp_path, ModelSpec("drift"))
    features, labels = market()
    assert night(tmp_path, ModelSpec("drift"), (changed(features, N_BARS - 1, "x0", 5.0), labels)).made_from == first.made_from


def test_a_damaged_final_model_is_told_and_trained_again(tmp_path, fits):
    night(tmp_path)
    flip(tmp_path / "bundle" / "model.txt")
    fits.clear()
    told = []
    assert not night(tmp_path, progress=told.append).reused
    assert fits == ["lightgbm"]
    assert [line for line in told if "the final model is damaged and is made anew" in line]
    assert night(tmp_path).reused


def test_a_bundle_of_unknown_origin_is_not_taken(tmp_path, fits):
    found = night(tmp_path)
    save_bundle(found.model, tmp_path / "bundle", card={}, golden=samples_of(market()[0].tail(20)))
    fits.clear()
    assert not night(tmp_path).reused
    assert fits == ["lightgbm"]


# entries


def test_an_entry_is_whole_or_not_there(tmp_path):
    def break_off(folder):
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    entry = record_in(tmp_path).entry({"a": 1})
    with pytest.raises(KeyboardInterrupt):
        entry.write(break_off)
    assert list(tmp_path.iterdir()) == []
    assert entry.read(lambda _: "found", tell=print) is None


def test_an_entry_that_cannot_be_put_in_its_place_is_an_error(tmp_path, monkeypatch):
    def full(staging, folder):
        raise OSError("no space left")

    monkeypatch.setattr("crp_pipeline.storage.replace_folder", full)
    with pytest.raises(DiskError, match="no space left"):
        record_in(tmp_path).entry({"a": 1}).write(lambda folder: (folder / "value").write_text("1"))


def test_many_who_write_and_read_the_same_entry_at_once_never_find_half_of_it(tmp_path):
    entry, told, found, failed = record_in(tmp_path).entry({"a": 1}), [], [], []

    def write(folder):
        for number in range(4):
            (folder / f"part_{number}").write_text("x" * 5_000)

    def load(folder):
        return "".join((folder / f"part_{number}").read_text() for number in range(4))

    def work():
        try:
            for _ in range(25):
                entry.write(write)
                found.append(entry.read(load, tell=told.append))
        except (OSError, BundleError) as error:
            failed.append(error)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(found) == 100
    assert set(found) <= {"x" * 20_000, None}
    assert entry.read(load, tell=pytest.fail) == "x" * 20_000
    assert [path for path in tmp_path.iterdir() if path.name.endswith(".new")] == []


def test_a_seal_is_needed(tmp_path):
    entry = Entry(tmp_path / key_of({"a": 1}), {"a": 1})
    entry.folder.mkdir()
    told = []
    assert entry.read(lambda _: "found", tell=told.append) is None
    assert len(told) == 1
    seal(entry.folder, {"ingredients": {"a": 1}})
    assert entry.read(lambda _: "found", tell=told.append) == "found"


def test_forecasts_in_an_entry_say_what_they_looked_at(tmp_path):
    trained(tmp_path)
    table = read_parquet(entries(tmp_path)[0] / "forecasts.parquet")
    assert table.columns.tolist() == [
        "inputs", "output_short", "output_neutral", "output_long", "p_short", "p_neutral", "p_long"
    ]  # fmt: skip
    assert table["inputs"].is_unique


# selections

CHOICE = SelectionConfig(keep=4, watch_share=0.3)


def chosen(folder, data=None, *, config=CHOICE, seed=3, share=0.2, tell=None, n_threads=1, **definitions):
    features, labels = wide(N_BARS) if data is None else data
    record = None if folder is None else record_in(folder, **definitions)
    asked = {"config": config, "seed": seed, "validation_share": share, "n_threads": n_threads, "progress": tell}
    return select_features(features, labels, roles_of(labels), record=record, **asked)


def wide(n_bars):
    features, labels = wide_history(LATER + 40, seed=5, n_noise=4)
    return features.iloc[:n_bars], market_labels(labels, n_bars)


@pytest.fixture
def rankings(monkeypatch):
    """Grows by one per block that is ranked."""
    found = []

    def counted(*arguments, **named):
        found.append(arguments)
        return importance(*arguments, **named)

    importance = selecting._importance
    monkeypatch.setattr(selecting, "_importance", counted)
    return found


def test_what_was_selected_is_not_selected_again_but_for_the_final_model(tmp_path, rankings):
    first, n_folds = chosen(tmp_path), 5
    assert (len(rankings), first.attrs["blocks_read_back"]) == (n_folds + 1, 0)
    again = chosen(tmp_path)
    assert (len(rankings), again.attrs["blocks_read_back"]) == (n_folds + 2, n_folds)
    assert_frame_equal(again, first, check_exact=True)
    assert_frame_equal(again, chosen(None), check_exact=True)


def test_new_bars_select_only_for_the_new_fold_and_the_final_model(tmp_path, rankings):
    first = chosen(tmp_path)
    rankings.clear()
    later = chosen(tmp_path, wide(LATER))
    assert (len(rankings), later.attrs["blocks_read_back"]) == (2, 5)
    of_folds = first[first["fold"] >= 0]
    assert_frame_equal(later.iloc[: len(of_folds)], of_folds, check_exact=True)
    assert_frame_equal(later, chosen(None, wide(LATER)), check_exact=True)


SELECTION_TABLES = {
    **{name: TABLES[name] for name in ("a feature", "a label", "a weight", "the name of a column")},
    "the life of a label": lambda features, labels: (
        features,
        changed(labels, 40, "label_end", labels["label_end"].iloc[40] + pd.Timedelta("1h")),
    ),
}
SELECTION_ASKED = {
    **{name: ASKED[name] for name in ("the feature set", "the label settings", "the seed", "the share that is watched")},
    "how many are kept": {"config": replace(CHOICE, keep=5)},
    "how alike two may be": {"config": replace(CHOICE, max_correlation=0.9)},
}


@pytest.mark.parametrize("ingredient", [*SELECTION_TABLES, *SELECTION_ASKED, *WORLD, "the ranking model"])
def test_every_ingredient_alone_selects_for_every_fold_again(tmp_path, monkeypatch, ingredient):
    chosen(tmp_path)
    if ingredient in WORLD:
        WORLD[ingredient](monkeypatch)
    if ingredient == "the ranking model":
        monkeypatch.setattr(selecting, "RANKER", replace(selecting.RANKER, params={**selecting.RANKER.params, "n_rounds": 5}))
    data = SELECTION_TABLES[ingredient](*wide(N_BARS)) if ingredient in SELECTION_TABLES else None
    found = chosen(tmp_path, data, **SELECTION_ASKED.get(ingredient, {}))
    assert found.attrs["blocks_read_back"] == 0


@pytest.mark.parametrize("change", ["a test row", "what is watched", "the threads"])
def test_what_no_selection_looks_at_selects_nothing_again(tmp_path, change):
    chosen(tmp_path)
    features, labels = wide(N_BARS)
    row = {"a test row": 650, "what is watched": 590}.get(change)
    data = (features, labels) if row is None else (changed(features, row, "x0", 9.0), changed(labels, row, "weight", 0.5))
    found = chosen(tmp_path, data, n_threads=2 if change == "the threads" else 1)
    assert found.attrs["blocks_read_back"] == 5


@pytest.mark.parametrize(
    "damage",
    [lambda folder: flip(folder / "block.parquet"), lambda folder: (folder / "block.parquet").unlink(), drop_ingredient],
    ids=["a flipped byte", "no file", "other ingredients"],
)
def test_a_damaged_selection_is_told_and_made_again(tmp_path, damage):
    first = chosen(tmp_path)
    damage(entries(tmp_path)[1])
    told = []
    again = chosen(tmp_path, tell=told.append)
    assert again.attrs["blocks_read_back"] == 4
    assert len([line for line in told if "damaged" in line]) == 1
    assert len([line for line in told if "read back" in line]) == 4
    assert_frame_equal(again, first, check_exact=True)
    assert chosen(tmp_path).attrs["blocks_read_back"] == 5
