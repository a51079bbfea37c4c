"""What each model learns, repeats, stores and refuses; what cross-fitting puts where."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from crp_pipeline.contracts import CLASSES, PredictionSchema, Samples, check_frame
from crp_pipeline.errors import BundleError, DataContractError, InsufficientHistoryError, NotFittedError
from crp_pipeline.models import (
    MODEL_TYPES,
    VARIANTS,
    Model,
    ModelSpec,
    Validation,
    create_model,
    cross_fit,
    load_bundle,
    samples_of,
    save_bundle,
    train,
)
from crp_pipeline.models.baselines import Prior
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.models.cross_fit import fold_results, typical
from crp_pipeline.models.gbdt import Booster
from crp_pipeline.splits import PurgedWalkForward, learnable_rows, role_table
from crp_pipeline.storage import MANIFEST, seal, write_json
from crp_pipeline_tests.networks import NETWORKS
from crp_pipeline_tests.recording import Recording, learnable_history, true_probabilities

BOOSTERS = ("xgboost", "lightgbm", "catboost")
QUICK = {"n_rounds": 20, "learning_rate": 0.15, "max_depth": 3, "min_leaf_rows": 20, "n_threads": 1}
PARAMS = {"prior": {}, "persistence": {"column": "x0"}, "logistic": {}}
LEARNED, LATER = np.arange(800), np.arange(800, 1_400)
TABLE_TYPES = tuple(name for name in MODEL_TYPES if name not in NETWORKS)
CLASSIFIERS = tuple(name for name in TABLE_TYPES if MODEL_CLASSES[name].outputs == CLASSES)
each_booster = pytest.mark.parametrize("name", BOOSTERS)


def problem(*, strength=2.0, seed=0):
    """(samples, signals) of 1,400 labelled rows."""
    features, labels = learnable_history(1_407, seed=seed, strength=strength)
    return samples_of(features), labels["signal"].to_numpy()


def fitted(name, samples, y, *, rows=LEARNED, validation=None, seed=1, **params):
    model = create_model(name, **PARAMS.get(name, {**QUICK, **params}))
    return model.fit(samples.take(rows), y[rows], validation=validation, seed=seed)


def losses(probabilities, y):
    return -np.log(probabilities[np.arange(len(y)), y.astype(int) + 1])


@each_booster
def test_a_planted_relation_is_learned_on_later_rows(name):
    samples, y = problem()
    features, _ = learnable_history(1_407)
    found, known_before, best = (
        losses(p, y[LATER]).mean()
        for p in (
            fitted(name, samples, y).predict(samples.take(LATER)),
            fitted("prior", samples, y).predict(samples.take(LATER)),
            true_probabilities(features)[LATER],
        )
    )
    assert best < found
    assert known_before - found > 0.6 * (known_before - best)


@each_booster
@pytest.mark.parametrize("seed", [1, 2])
def test_noise_is_not_beaten_beyond_chance(name, seed):
    samples, y = problem(strength=0.0, seed=seed)
    model, prior = (fitted(kind, samples, y).predict(samples.take(LATER)) for kind in (name, "prior"))
    gain = losses(prior, y[LATER]) - losses(model, y[LATER])
    assert gain.mean() < 2 * gain.std() / np.sqrt(len(gain))


@each_booster
def test_the_same_seed_makes_the_same_model_and_another_seed_another(name):
    samples, y = problem()
    once, again, other = (fitted(name, samples, y, seed=seed).predict(samples) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - other).max() > 1e-3


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_probabilities_are_probabilities_in_the_order_short_neutral_long(name):
    samples, y = problem()
    model = fitted(name, samples, y)
    found = model.predict(samples.take(LATER))
    assert model.outputs == ("short", "neutral", "long")
    assert found.shape == (len(LATER), 3)
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    if name != "prior":
        rising = np.corrcoef(found[:, 2] - found[:, 0], samples.history[LATER, 0])[0, 1]
        assert rising > 0.8, "the planted relation is long where x0 is high"


@each_booster
@pytest.mark.parametrize("absent", [-1.0, 0.0, 1.0])
def test_a_class_that_never_came_keeps_its_place(name, absent):
    samples, y = problem()
    rows = np.flatnonzero(y[LEARNED] != absent)
    found = fitted(name, samples, y, rows=rows).predict(samples.take(rows))
    assert found.shape == (len(rows), 3)
    assert found[:, int(absent) + 1].max() < 0.05
    shares = [np.mean(y[rows] == value) for value in (-1, 0, 1)]
    np.testing.assert_allclose(found.mean(axis=0), shares, atol=0.05)


@each_booster
def test_missing_values_are_split_on_and_not_refused(name):
    samples, y = problem()
    history = samples.history.copy()
    history[::3, 1] = np.nan
    history[:, 2] = np.nan
    holed = Samples(history, samples.rows)
    found = losses(fitted(name, holed, y).predict(holed.take(LATER)), y[LATER]).mean()
    assert found < losses(fitted("prior", samples, y).predict(samples.take(LATER)), y[LATER]).mean() - 0.1


@each_booster
def test_no_rows_give_no_predictions(name):
    samples, y = problem()
    assert fitted(name, samples, y).predict(samples.take(np.array([], dtype=int))).shape == (0, 3)


def test_the_prior_counts_classes_by_hand():
    y, weight = np.array([-1.0, 1.0, 1.0]), np.array([1.0, 1.0, 2.0])
    samples = Samples(np.zeros((5, 1)), np.arange(5))
    later = Validation(samples.take(np.array([3])), np.array([0.0]), np.array([3.0]))
    # weights 1, 3 and 3 plus Laplace's one each, of 10
    model = Prior().fit(samples.take(np.arange(3)), y, weight=weight, validation=later)
    np.testing.assert_allclose(model.predict(samples), np.tile([0.2, 0.4, 0.4], (5, 1)))


@each_booster
def test_early_stopping_goes_on_while_the_watched_rows_agree_and_ends_when_they_do_not(name):
    samples, y = problem()
    watch = LATER[:200]
    agree = Validation(samples.take(watch), y[watch])
    contradict = Validation(samples.take(watch), -y[watch])
    long, short = (fitted(name, samples, y, validation=rows, patience=5) for rows in (agree, contradict))
    assert long.rounds >= 10
    assert short.rounds <= 4
    assert np.abs(short.predict(samples) - 1 / 3).max() < np.abs(long.predict(samples) - 1 / 3).max() / 2


@each_booster
def test_without_watched_rows_all_rounds_are_run(name):
    assert fitted(name, *problem(), n_rounds=7).rounds == 7


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize(
    ("y", "error", "told"),
    [
        ([], InsufficientHistoryError, "no labelled rows"),
        ([1.0, 1.0, 1.0], InsufficientHistoryError, r"all 3 labels are \+1"),
        ([1.0, np.nan, -1.0], DataContractError, "labels must be -1, 0 or 1, got nan"),
        ([1.0, 2.0, -1.0], DataContractError, "labels must be -1, 0 or 1, got 2"),
    ],
)
def test_labels_that_cannot_be_learned_from_are_refused(name, y, error, told):
    samples = Samples(np.zeros((3, 2)), np.arange(len(y)))
    with pytest.raises(error, match=told):
        create_model(name).fit(samples, np.array(y))


@each_booster
@pytest.mark.parametrize(("label", "told"), [(np.nan, "nan"), (2.0, "2"), (0.5, "0.5")])
def test_labels_of_watched_rows_are_checked_too(name, label, told):
    samples, y = problem()
    later = Validation(samples.take(LATER[:20]), np.append(y[LATER[:19]], label))
    with pytest.raises(DataContractError, match=f"labels must be -1, 0 or 1, got {told}"):
        fitted(name, samples, y, validation=later)


@pytest.mark.parametrize("name", TABLE_TYPES)
def test_a_second_fit_takes_the_place_of_the_first(name):
    samples, y = problem()
    model = fitted(name, samples, -y)
    again = model.fit(samples.take(LEARNED), y[LEARNED], seed=1)
    assert again is model
    np.testing.assert_array_equal(model.predict(samples), fitted(name, samples, y).predict(samples))


@pytest.mark.parametrize("name", TABLE_TYPES)
def test_a_model_comes_back_from_a_folder_that_was_not_there(name, tmp_path):
    samples, y = problem()
    model = fitted(name, samples, y, validation=Validation(samples.take(LATER), y[LATER]))
    model.save(str(tmp_path / "new" / "folder"))
    loaded = type(model).load(str(tmp_path / "new" / "folder"))
    assert (type(loaded), loaded.rounds) == (type(model), model.rounds)
    np.testing.assert_array_equal(loaded.predict(samples), model.predict(samples))


def test_a_model_of_no_kind_cannot_be_loaded(tmp_path):
    with pytest.raises(TypeError, match="Model has no files of its own: load a kind of model, or a bundle"):
        Model.load(tmp_path)
    with pytest.raises(TypeError, match="Booster has no files of its own"):
        Booster.load(tmp_path)


@pytest.mark.parametrize("name", TABLE_TYPES)
def test_a_model_is_not_asked_before_it_learned(name, tmp_path):
    with pytest.raises(NotFittedError, match=f"^{name} was asked"):
        create_model(name).predict(Samples(np.zeros((3, 2)), np.arange(3)))
    with pytest.raises(NotFittedError, match=f"^{name} was asked"):
        create_model(name).save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"model_type": "oracle"}, f"model_type = 'oracle' does not exist; there are {', '.join(MODEL_TYPES)}"),
        ({"model_type": "xgboost", "variant": "huge"}, f"variant = 'huge' does not exist; there are {', '.join(VARIANTS)}"),
        ({"model_type": "xgboost", "depth": 3}, "parameter 'depth' does not exist; there are n_rounds, .*max_depth"),
        ({"model_type": "prior", "depth": 3}, "prior has no parameters, got depth"),
        ({"model_type": "lightgbm", "n_rounds": "x"}, "n_rounds = 'x' is not allowed: it must be a whole number from 1 on"),
        ({"model_type": "lightgbm", "n_rounds": 0}, "n_rounds = 0 is not allowed: it must be a whole number from 1 on"),
        ({"model_type": "catboost", "max_depth": 2.5}, "max_depth = 2.5 is not allowed: it must be a whole number"),
        ({"model_type": "xgboost", "n_threads": True}, "n_threads = True is not allowed: it must be a whole number"),
        (
            {"model_type": "xgboost", "learning_rate": "fast"},
            "learning_rate = 'fast' is not allowed: it must be a positive number",
        ),
        (
            {"model_type": "xgboost", "learning_rate": np.nan},
            "learning_rate = nan is not allowed: it must be a positive number",
        ),
        ({"model_type": "xgboost", "row_share": 1.5}, "row_share = 1.5 is not allowed: it must be a number above 0, at most 1"),
        ({"model_type": "xgboost", "l2": -1}, "l2 = -1 is not allowed: it must be a number from 0 on"),
    ],
)
def test_what_does_not_exist_is_answered_with_what_does(asked, told):
    with pytest.raises(ValueError, match=told):
        create_model(**asked)


def test_a_variant_gives_the_defaults_and_a_parameter_wins_over_it():
    light = create_model("lightgbm", variant="lightweight", n_rounds=50)
    assert (light.params.n_rounds, light.params.max_depth) == (50, 3)
    assert create_model("lightgbm").params.max_depth == 5


@pytest.mark.parametrize(
    ("y", "weight", "told"),
    [
        (np.ones(3), None, "there are 5 rows to learn from and 3 labels"),
        (np.tile([1.0, -1.0], 5), None, "there are 5 rows to learn from and 10 labels"),
        (np.array([1.0, -1, 1, -1, 1]), np.ones(4), "there are 5 rows to learn from and 4 weights"),
        (np.array([1.0, -1, 1, -1, 1]), np.array([1, 1, np.nan, 1, 1]), "weights must be numbers from 0 on"),
        (np.array([1.0, -1, 1, -1, 1]), np.array([1.0, 1, -1, 1, 1]), "weights must be numbers from 0 on"),
        (np.array([1.0, -1, 1, -1, 1]), np.zeros(5), "and one of them above 0"),
    ],
)
@pytest.mark.parametrize("name", ["prior", "lightgbm", "tcn", "mlp_regressor"])
def test_labels_and_weights_that_do_not_belong_to_the_rows_are_refused(name, y, weight, told):
    samples = Samples(np.random.default_rng(0).normal(size=(200, 2)), np.arange(150, 155))
    with pytest.raises(DataContractError, match=told):
        create_model(name).fit(samples, y, weight=weight)


def test_a_feature_that_no_float32_holds_is_named():
    features, _ = learnable_history(50)
    features.loc[features.index[7], "noise"] = 1e39
    with pytest.raises(DataContractError, match=r"feature noise is 1e\+39, too large for float32, at 2024-01-01 07:00"):
        samples_of(features)


def test_an_infinite_feature_is_named_with_its_row():
    features, _ = learnable_history(50)
    features.loc[features.index[7], "noise"] = -np.inf
    with pytest.raises(DataContractError, match=r"feature noise is infinite at 2024-01-01 07:00:00\+00:00"):
        samples_of(features)


def with_holes(frame):
    """Without bars 100 to 102, 500 and the last but one of 600."""
    return frame.drop(frame.index[[100, 101, 102, 500, 598]])


def test_a_step_longer_than_the_shortest_begins_a_stretch_of_its_own():
    features, _ = learnable_history(600)
    starts = samples_of(with_holes(features)).segment_start
    assert starts.tolist() == [0] * 100 + [100] * 397 + [497] * 97 + [594]
    assert samples_of(features).segment_start.tolist() == [0] * 600
    assert samples_of(features.reset_index(drop=True)).segment_start.tolist() == [0] * 600


def test_rows_with_too_few_bars_behind_a_hole_are_neither_learned_from_nor_forecast():
    features, labels = (with_holes(frame) for frame in learnable_history(600))
    folds = PurgedWalkForward(train_size=300, test_size=290, partial=True).split(labels.index, labels["label_end"])
    spec = ModelSpec("tcn", params={"levels": 2, "width": 8, "epochs": 1})
    found = cross_fit(spec, features, labels, folds, seed=0)
    reach = create_model("tcn", levels=2).reach
    behind = samples_of(features).behind()
    tested = (found["fold"] >= 0).to_numpy()
    np.testing.assert_array_equal(found["p_long"].notna().to_numpy()[tested], (behind >= reach - 1)[tested])
    assert 0 < (behind[tested] < reach - 1).sum() < tested.sum()


# bundles


def bundle(name, folder, **card):
    samples, y = problem()
    model = fitted(name, samples, y, n_rounds=5)
    return model, save_bundle(
        model, folder / name, card={"coin": "BTC-USDT", "feature_set_id": "fs1", **card}, golden=samples.take(LATER[:20])
    )


@pytest.mark.parametrize("name", TABLE_TYPES)
def test_a_bundle_predicts_exactly_what_the_model_did(name, tmp_path):
    samples, _ = problem()
    model, folder = bundle(name, tmp_path)
    loaded, card = load_bundle(folder, feature_set_id="fs1")
    np.testing.assert_array_equal(loaded.predict(samples), model.predict(samples))
    assert (card["model_type"], card["coin"], type(loaded)) == (name, "BTC-USDT", type(model))


@pytest.mark.parametrize("name", BOOSTERS)
def test_a_bundle_keeps_only_the_rounds_that_early_stopping_chose(name, tmp_path):
    samples, y = problem()
    model = fitted(name, samples, y, validation=Validation(samples.take(LATER), -y[LATER]), patience=5)
    loaded, _ = load_bundle(save_bundle(model, tmp_path / "m", card={}, golden=samples.take(LATER[:5])))
    np.testing.assert_array_equal(loaded.predict(samples), model.predict(samples))


def refuse(*_, **__):
    raise AssertionError("something was unpickled")


@pytest.mark.parametrize("name", TABLE_TYPES)
def test_nothing_in_a_bundle_can_execute(name, tmp_path, monkeypatch):
    _, folder = bundle(name, tmp_path)
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".npz", ".ubj", ".txt", ".cbm"}
    pickle_magic = b"\x80"
    assert not any(path.read_bytes().startswith(pickle_magic) for path in folder.iterdir())
    for function in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, function, refuse)
    load_bundle(folder)
    with np.load(folder / "golden.npz", allow_pickle=False) as golden:
        assert golden["inputs"].dtype == golden["outputs"].dtype == np.float64


def flip_last_byte(folder):
    path = folder / "prior.json"
    path.write_bytes(path.read_bytes()[:-1] + b" ")


def reseal(folder, change):
    """Change the card of a bundle and seal it again, as somebody with write access could."""
    card = {name: value for name, value in json.loads((folder / MANIFEST).read_text()).items() if name != "files"}
    seal(folder, change(card))


def of_another_format(folder):
    write_json(folder / MANIFEST, {**json.loads((folder / MANIFEST).read_text()), "format": 2})


def answer_differently(folder):
    with np.load(folder / "golden.npz") as golden:
        np.savez(folder / "golden.npz", inputs=golden["inputs"], outputs=golden["outputs"] + 1e-5)
    reseal(folder, dict)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (flip_last_byte, r"prior\.json has been altered"),
        (lambda folder: (folder / "prior.json").write_text("{"), r"prior\.json has been altered"),
        (lambda folder: (folder / "prior.json").unlink(), r"prior\.json is missing"),
        (lambda folder: (folder / MANIFEST).unlink(), "no readable manifest"),
        (of_another_format, "not of bundle format 1"),
        (lambda folder: reseal(folder, lambda card: {**card, "model_type": "oracle"}), "'oracle' model, which this"),
        (lambda folder: reseal(folder, lambda _: {"feature_set_id": "fs1"}), "None model, which this"),
        (
            lambda folder: reseal(folder, lambda card: {**card, "feature_set_id": "fs2"}),
            "trained on feature set fs2, .* is fs1",
        ),
        (lambda folder: reseal(folder, lambda card: {**card, "feature_set_id": None}), "trained on feature set None"),
        (answer_differently, "answers its golden inputs differently, by up to 1e-05"),
    ],
)
def test_a_spoilt_bundle_is_refused(spoil, told, tmp_path):
    _, folder = bundle("prior", tmp_path)
    load_bundle(folder, feature_set_id="fs1")
    spoil(folder)
    with pytest.raises(BundleError, match=told):
        load_bundle(folder, feature_set_id="fs1")


@pytest.mark.parametrize("name", BOOSTERS)
def test_a_truncated_model_is_refused(name, tmp_path):
    _, folder = bundle(name, tmp_path)
    (path,) = folder.glob("model.*")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BundleError, match=f"{path.name} has been altered"):
        load_bundle(folder)


def test_a_later_bundle_takes_the_place_of_the_earlier_one(tmp_path):
    bundle("prior", tmp_path, seed=1)
    _, folder = bundle("prior", tmp_path, seed=2)
    assert load_bundle(folder)[1]["seed"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["prior"]


def test_a_model_that_cannot_be_saved_leaves_the_earlier_bundle(tmp_path):
    _, folder = bundle("prior", tmp_path)
    with pytest.raises(NotFittedError):
        save_bundle(Prior(), folder, card={}, golden=problem()[0].take(LATER[:5]))
    assert load_bundle(folder)[1]["coin"] == "BTC-USDT"


# cross-fitting


@pytest.fixture
def recorded(monkeypatch):
    monkeypatch.setitem(MODEL_CLASSES, "recording", Recording)
    monkeypatch.setattr(Recording, "fits", [])
    return Recording.fits


def three_folds():
    features, labels = learnable_history(400, unlabelled=(30, 31, 250))
    folds = PurgedWalkForward(train_size=160, test_size=80, partial=False).split(labels.index, labels["label_end"])
    assert len(folds) == 3
    return features, labels, folds


def test_each_row_is_scored_by_the_model_of_its_fold(recorded):
    features, labels, folds = three_folds()
    found = cross_fit(ModelSpec("recording"), features, labels, folds, seed=5)
    check_frame(found, PredictionSchema, what="predictions")
    assert found["fold"].tolist() == [-1] * 160 + [0] * 80 + [1] * 80 + [2] * 80
    assert found[["p_short", "p_neutral", "p_long"]].iloc[:160].isna().all(axis=None)
    for number, fit in enumerate(recorded):
        shown, watched = fit.weight, fit.validation
        weight = [shown[fit.y == value].sum() + watched.weight[watched.y == value].sum() + 1 for value in (-1.0, 0.0, 1.0)]
        shares = np.tile(np.array(weight) / sum(weight), (80, 1))
        of_fold = found.loc[found["fold"] == number, ["p_short", "p_neutral", "p_long"]]
        np.testing.assert_allclose(of_fold, shares, rtol=1e-12)
    assert found["p_short"].nunique() == 3
    assert [fit.seed for fit in recorded] == [5, 5, 5]


def test_labels_and_weights_are_those_of_the_rows(recorded):
    features, labels, folds = three_folds()
    cross_fit(ModelSpec("recording"), features, labels, folds, seed=0)
    for fit in recorded:
        np.testing.assert_array_equal(fit.y, labels["signal"].iloc[fit.rows])
        np.testing.assert_array_equal(fit.weight, labels["weight"].iloc[fit.rows])
        np.testing.assert_array_equal(fit.validation.y, labels["signal"].iloc[fit.validation.samples.rows])
        np.testing.assert_array_equal(fit.validation.weight, labels["weight"].iloc[fit.validation.samples.rows])


def test_the_final_model_learns_every_row_that_some_fold_had_and_nothing_is_watched(recorded):
    features, labels, folds = three_folds()
    roles = role_table(folds, labels.index, labels["label_end"])
    trained = train(ModelSpec("recording"), features, labels, roles, seed=0)
    last = recorded[-1]
    by_hand = [row for row in range(400 - 7) if row not in (30, 31, 250)]
    assert last.rows.tolist() == by_hand == learnable_rows(roles, labels["label_end"]).tolist()
    assert last.validation is None
    assert trained.n_learned == 390


def test_the_final_model_runs_for_the_median_of_the_rounds_of_the_folds():
    features, labels, folds = three_folds()
    roles = role_table(folds, labels.index, labels["label_end"])
    trained = train(ModelSpec("lightgbm", params={**QUICK, "patience": 2}), features, labels, roles, seed=0)
    per_fold = trained.predictions.iloc[[160, 240, 320]]["rounds"].tolist()
    assert trained.rounds == trained.model.rounds == sorted(per_fold)[1]
    assert len(set(per_fold)) > 1


def test_the_median_of_what_the_folds_settled_on_counts_each_fold_once(recorded):
    features, labels, folds = three_folds()
    results = fold_results(ModelSpec("recording"), features, labels, folds, seed=0)
    settled = [
        replace(result, settled={"n_rounds": n, "share": s})
        for result, n, s in zip(results, (4, 9, 30), (0.1, 0.2, 0.9), strict=True)
    ]
    assert typical(settled) == {"n_rounds": 9, "share": 0.2}
    assert isinstance(typical(settled[:2])["n_rounds"], int), "six rounds and a half cannot be run"
    assert typical([]) == {}


def test_progress_is_told_once_a_fold():
    features, labels, folds = three_folds()
    told = []
    cross_fit(ModelSpec("prior"), features, labels, folds, seed=0, progress=told.append)
    assert [line.split(",")[0] for line in told] == [f"prior: fold {done} of 3" for done in (1, 2, 3)]


def test_cross_fitting_learns_the_planted_relation_out_of_fold():
    features, labels, folds = three_folds()
    spec = ModelSpec("lightgbm", params={**QUICK, "min_leaf_rows": 10})
    found = cross_fit(spec, features, labels, folds, seed=0)
    scored = (found["fold"] >= 0) & labels["signal"].notna()
    chosen = found.loc[scored, ["p_short", "p_neutral", "p_long"]].to_numpy().argmax(axis=1) - 1
    # three classes at this strength: the best possible accuracy is near 0.72
    assert (chosen == labels.loc[scored, "signal"]).mean() > 0.6


def test_features_and_labels_of_other_bars_are_refused():
    features, labels, folds = three_folds()
    with pytest.raises(DataContractError, match="400 rows, labels 399"):
        cross_fit(ModelSpec("prior"), features, labels.iloc[1:], folds, seed=0)
