"""No prediction knows what came after it, and what would make it know is caught."""

import importlib

import numpy as np
import pytest

from crp_pipeline.contracts import Fold, Samples
from crp_pipeline.models import ModelSpec, Record, cross_fit, train
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.splits import PurgedWalkForward, role_table
from crp_pipeline_tests.recording import Recording, Shrunken, learnable_history

cross_fitting = importlib.import_module("crp_pipeline.models.cross_fit")
blocks = importlib.import_module("crp_pipeline.models.block")

FEATURES, LABELS = learnable_history(600, unlabelled=(40, 41, 199, 333))
TIMES, ENDS = LABELS.index, LABELS["label_end"]
FOLDS = PurgedWalkForward(train_size=240, test_size=90).split(TIMES, ENDS)
SHARE = 0.2
QUICK = {"n_rounds": 8, "max_depth": 3, "min_leaf_rows": 10, "learning_rate": 0.2, "patience": 3, "n_threads": 1}
SPECS = [
    ModelSpec("prior"),
    ModelSpec("shrunken"),
    ModelSpec("persistence", params={"column": "x0"}),
    ModelSpec("logistic"),
    *(ModelSpec(name, params=QUICK) for name in ("xgboost", "lightgbm", "catboost", "xgboost_regressor", "lightgbm_regressor")),
]
every_model = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.model_type)


@pytest.fixture(autouse=True)
def models_of_the_test(monkeypatch):
    monkeypatch.setattr(Recording, "fits", [])
    monkeypatch.setitem(MODEL_CLASSES, "recording", Recording)
    monkeypatch.setitem(MODEL_CLASSES, "shrunken", Shrunken)


def predictions(spec, features=FEATURES, labels=LABELS, folds=FOLDS):
    found = cross_fit(spec, features, labels, folds, seed=3, validation_share=SHARE)
    return found.drop(columns="fold").to_numpy()


def another_future(number):
    """The history as another world would go on: every feature after the test block of a fold is another, and every label
    that had not ended before the block began."""
    rng = np.random.default_rng(number)
    features, labels = FEATURES.copy(), LABELS.copy()
    after = slice(FOLDS[number].test[-1] + 1, None)
    features.iloc[after] = rng.normal(50, 500, features.iloc[after].shape)
    open_then = (TIMES[FOLDS[number].test[0]] <= ENDS).to_numpy()
    labels.loc[open_then, "signal"] = (labels["signal"] + 2) % 3 - 1  # every one is another
    labels.loc[open_then, ["forward_return", "trend_strength"]] = 9.0
    labels.loc[open_then, "weight"] = rng.uniform(0, 1, open_then.sum())
    return features, labels


def folds_that_saw_it(spec, folds=FOLDS):
    """Folds whose predictions changed with what came after them."""
    now = predictions(spec, folds=folds)
    saw = set()
    for number in range(len(FOLDS)):
        then = predictions(spec, *another_future(number), folds=folds)
        saw |= {fold.number for fold in FOLDS[: number + 1] if not np.array_equal(then[fold.test], now[fold.test])}
    return saw


def test_there_are_folds_to_look_at():
    assert [(fold.test[0], len(fold.test)) for fold in FOLDS] == [(240, 90), (330, 90), (420, 90), (510, 90)]


@every_model
def test_predictions_do_not_change_with_what_came_after_their_fold(spec):
    assert folds_that_saw_it(spec) == set()


@every_model
def test_predictions_do_change_with_what_was_known(spec):
    """Without this, the test above could not fail."""
    now = predictions(spec)
    turned = -LABELS[["signal", "forward_return"]]
    labels = LABELS.assign(**turned, weight=LABELS["weight"].shift(7).fillna(0.5))
    for fold in FOLDS:
        then = predictions(spec, FEATURES, labels)
        assert np.abs(then[fold.test] - now[fold.test]).max() > 1e-4
        if spec.model_type != "prior":
            features = FEATURES.copy()
            features.iloc[fold.test] = -features.iloc[fold.test]
            assert np.abs(predictions(spec, features)[fold.test] - now[fold.test]).max() > 1e-4


def test_no_fold_learns_from_a_label_that_met_its_test_block():
    predictions(ModelSpec("recording"))
    assert len(Recording.fits) == len(FOLDS)
    for fit, fold in zip(Recording.fits, FOLDS, strict=True):
        seen = np.concatenate([fit.rows, fit.validation.samples.rows])
        assert ENDS.iloc[seen].max() < TIMES[fold.test[0]]
        assert np.isin(seen, fold.train).all()


def test_what_is_watched_comes_later_than_what_is_learned_and_is_purged_from_it():
    predictions(ModelSpec("recording"))
    for fit, fold in zip(Recording.fits, FOLDS, strict=True):
        watched = fit.validation.samples.rows
        expected = fold.train.tolist()[-round(SHARE * len(fold.train)) :]
        assert watched.tolist() == expected
        assert fit.rows.tolist() == [row for row in fold.train if row < expected[0] and ENDS.iloc[row] < TIMES[expected[0]]]
        assert len(fold.train) - len(fit.rows) - len(watched) == 7, "a label lives for seven bars"


def test_the_final_model_sees_no_row_without_a_label():
    roles = role_table(FOLDS, TIMES, ENDS)
    train(ModelSpec("recording"), FEATURES, LABELS, roles, seed=0)
    assert ENDS.iloc[Recording.fits[-1].rows].notna().all()
    assert not np.isnan(Recording.fits[-1].y).any()


# planted leaks


def scaled_on_all_rows(history):
    scaled = (history - history.mean()) / history.std()
    return Samples(scaled.to_numpy(), np.arange(len(scaled)))


def scaled_by_the_largest(history):
    return Samples((history / history.abs().max()).to_numpy(), np.arange(len(history)))


def missing_filled_from_behind(history):
    filled = history.mask(history["noise"] > 1).bfill().fillna(0.0)
    return Samples(filled.to_numpy(), np.arange(len(filled)))


@pytest.mark.parametrize("leaking", [scaled_on_all_rows, scaled_by_the_largest, missing_filled_from_behind])
def test_a_scaler_or_filler_fitted_outside_its_fold_is_caught(leaking, monkeypatch):
    monkeypatch.setattr(cross_fitting, "samples_of", leaking)
    assert folds_that_saw_it(ModelSpec("shrunken"))


def scaled_on_what_came_before(history):
    before = history.expanding(30)
    return Samples(((history - before.mean()) / before.std()).fillna(0.0).to_numpy(), np.arange(len(history)))


def test_a_scaler_that_knows_the_past_only_is_not_accused(monkeypatch):
    monkeypatch.setattr(cross_fitting, "samples_of", scaled_on_what_came_before)
    assert folds_that_saw_it(ModelSpec("shrunken")) == set()


@pytest.mark.parametrize("spec", SPECS[:2], ids=lambda spec: spec.model_type)
def test_a_purge_that_is_off_by_one_is_caught(spec):
    touching = [Fold(fold.number, np.append(fold.train, fold.train[-1] + 1), fold.test) for fold in FOLDS]
    assert (ENDS.iloc[[fold.train[-1] for fold in touching]] == TIMES[[fold.test[0] for fold in FOLDS]]).all()
    assert folds_that_saw_it(spec, folds=touching) == {0, 1, 2, 3}


def watch_the_test_block(rows, times, label_end, *, share):
    """Early stopping on what will be tested, as is common."""
    later = np.arange(rows[-1] + 1, rows[-1] + 80)
    return rows, later[label_end.iloc[later].notna()]


@pytest.mark.parametrize("spec", SPECS[1:], ids=lambda spec: spec.model_type)
def test_early_stopping_on_the_test_block_is_caught(spec, monkeypatch):
    monkeypatch.setattr(blocks, "purged_tail", watch_the_test_block)
    assert folds_that_saw_it(spec)


def test_one_model_of_all_rows_for_all_folds_is_caught():
    everything = np.flatnonzero(ENDS.notna())
    assert folds_that_saw_it(ModelSpec("shrunken"), folds=[Fold(fold.number, everything, fold.test) for fold in FOLDS])


def test_a_shifted_prediction_is_caught(monkeypatch):
    """Scoring each row with the features of the row after it."""

    def next_row(history):
        return Samples(history.shift(-1).ffill().to_numpy(), np.arange(len(history)))

    monkeypatch.setattr(cross_fitting, "samples_of", next_row)
    assert folds_that_saw_it(ModelSpec("shrunken"))


def test_later_bars_change_no_earlier_prediction():
    """The same night on a longer history: what was predicted stays."""
    spec = ModelSpec("lightgbm", params=QUICK)
    shorter = slice(0, 480)
    folds = PurgedWalkForward(train_size=240, test_size=90, partial=True).split(TIMES[shorter], ENDS.iloc[shorter])
    then = predictions(spec, FEATURES.iloc[shorter], LABELS.iloc[shorter], folds)
    np.testing.assert_array_equal(then[:480], predictions(spec)[:480])


@pytest.mark.parametrize("spec", [SPECS[0], *SPECS[2:]], ids=lambda spec: spec.model_type)
def test_what_a_record_gives_in_any_future_is_what_would_be_made_there(spec, tmp_path):
    """And so it knows no more than what is made anew, which the tests above hold."""
    record = Record(folder=tmp_path, feature_set_id="fs", label_settings={})
    for features, labels in ((FEATURES, LABELS), *map(another_future, range(len(FOLDS))), (FEATURES, LABELS)):
        found = cross_fit(spec, features, labels, FOLDS, seed=3, validation_share=SHARE, record=record)
        np.testing.assert_array_equal(found.drop(columns="fold").to_numpy(), predictions(spec, features, labels))
