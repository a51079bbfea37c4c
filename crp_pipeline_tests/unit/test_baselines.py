"""What the models that others must beat know, worked out by hand."""

import json

import numpy as np
import pytest

from crp_pipeline.contracts import Samples
from crp_pipeline.errors import DataContractError
from crp_pipeline.features import CATALOG
from crp_pipeline.models import VARIANTS, Validation, create_model, samples_of
from crp_pipeline.models.baselines.logistic import STRENGTHS
from crp_pipeline.models.baselines.persistence import LAST_MOVES
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline_tests.recording import learnable_history, true_probabilities

LEARNED, LATER = np.arange(800), np.arange(800, 1_400)


def problem(strength=2.0):
    features, labels = learnable_history(1_407, strength=strength)
    return samples_of(features), labels["signal"].to_numpy()


def table(values, columns=()):
    values = np.asarray(values, dtype=np.float64)
    return Samples(values, np.arange(len(values)), columns=columns)


def log_loss(found, y):
    return -np.log(found[np.arange(len(y)), y.astype(int) + 1]).mean()


def test_the_baselines_are_these():
    assert [name for name, kind in MODEL_CLASSES.items() if kind.is_baseline] == ["prior", "persistence", "logistic"]


# persistence


def test_persistence_counts_classes_after_each_kind_of_move_by_hand():
    moves = [-3.0, -2.0, 0.0, 0.1, 2.0, 3.0, np.nan]
    y = np.array([-1.0, -1.0, 0.0, 1.0, 1.0, 1.0, -1.0])
    weight = np.array([1.0, 2.0, 1.0, 1.0, 1.0, 3.0, 2.0])
    model = create_model("persistence").fit(table(np.transpose([moves])), y, weight=weight)
    # the terciles of the six known moves lie two thirds of the way from -2 to 0 and one third from 0.1 to 2
    found = model.predict(table([[-9.0], [0.0], [9.0], [np.nan]]))
    expected = [[4 / 6, 1 / 6, 1 / 6], [1 / 5, 2 / 5, 2 / 5], [1 / 7, 1 / 7, 5 / 7], [6 / 14, 2 / 14, 6 / 14]]
    np.testing.assert_allclose(found, expected)
    assert model.n_parameters == 2 + 12


def test_a_move_at_a_tercile_lies_within():
    y = np.array([-1.0, 0.0, 0.0, 1.0])
    model = create_model("persistence").fit(table([[0.0], [1.0], [2.0], [3.0]]), y)
    found = model.predict(table([[np.nextafter(np.float32(1), np.float32(0))], [1.0], [2.0], [2.0000002]]))
    below, within, above = [2 / 4, 1 / 4, 1 / 4], [1 / 5, 3 / 5, 1 / 5], [1 / 4, 1 / 4, 2 / 4]
    np.testing.assert_allclose(found, [below, within, within, above])


def test_watched_rows_are_counted_and_move_no_tercile():
    samples, y = table([[0.0], [1.0], [2.0], [3.0]]), np.array([-1.0, 0.0, 0.0, 1.0])
    later = Validation(table([[500.0], [600.0]]), np.array([-1.0, -1.0]), np.array([3.0, 2.0]))
    model = create_model("persistence").fit(samples, y, validation=later)
    np.testing.assert_allclose(model.predict(samples)[[1, 3]], [[1 / 5, 3 / 5, 1 / 5], [6 / 9, 1 / 9, 2 / 9]])


@pytest.mark.parametrize(
    ("columns", "params", "position"),
    [
        ((), {}, 0),
        (("log_return_1", "x", "log_return_24"), {}, 2),
        (("x", "log_return_1", "y"), {}, 1),
        (("log_return_24", "x", "y"), {"column": "y"}, 2),
    ],
)
def test_the_last_move_is_the_named_feature_or_the_first_of_the_list_that_there_is(columns, params, position):
    rng = np.random.default_rng(0)
    samples = table(rng.normal(size=(300, 3)), columns)
    model = create_model("persistence", **params).fit(samples, np.sign(samples.history[:, position]))
    found = model.predict(samples)
    assert np.corrcoef(found[:, 2] - found[:, 0], samples.history[:, position])[0, 1] > 0.8


@pytest.mark.parametrize(("params", "told"), [({}, "log_return_24, log_return_12, .*log_return_1 "), ({"column": "z"}, "z ")])
def test_a_table_without_a_last_move_is_told_what_is_looked_for(params, told):
    with pytest.raises(DataContractError, match=f"looks for a trailing return in {told}and none of the 2 features is one"):
        create_model("persistence", **params).fit(table([[0.0, 1.0], [1.0, 0.0]], ("x", "y")), np.array([-1.0, 1.0]))


def test_what_persistence_looks_for_is_in_the_catalogue():
    assert set(LAST_MOVES) <= {feature.name for feature in CATALOG}


def test_a_move_that_is_never_known_leaves_the_prior():
    samples, y = table([[np.nan]] * 4), np.array([-1.0, 0.0, 0.0, 1.0])
    found, prior = (create_model(name).fit(samples, y).predict(samples) for name in ("persistence", "prior"))
    np.testing.assert_array_equal(found, prior)


# logistic regression


def logistic(samples, y, *, rows=LEARNED, validation=None, weight=None, variant="default", **params):
    model = create_model("logistic", variant=variant, **params)
    return model.fit(samples.take(rows), y[rows], validation=validation, weight=weight)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_straight_line_comes_near_the_truth_where_the_truth_is_one(variant):
    samples, y = problem()
    features, _ = learnable_history(1_407)
    truth = true_probabilities(features)[LATER]
    watched = Validation(samples.take(LEARNED[600:]), y[LEARNED[600:]])
    found = logistic(samples, y, rows=LEARNED[:600], validation=watched, variant=variant).predict(samples.take(LATER))
    prior = create_model("prior").fit(samples.take(LEARNED), y[LEARNED]).predict(samples.take(LATER))
    share = (log_loss(prior, y[LATER]) - log_loss(found, y[LATER])) / (log_loss(prior, y[LATER]) - log_loss(truth, y[LATER]))
    assert share > (0.35 if variant == "lightweight" else 0.95), "the fixed penalty of the lightweight one is strong"


def test_scaling_is_robust_and_of_the_training_rows_only():
    """An outlier in the training rows, another scale in the later ones, and a shifted unit change no weight."""
    samples, y = problem()
    model = logistic(samples, y)
    spoilt = samples.history.copy()
    spoilt[800:] *= 1e6
    np.testing.assert_array_equal(logistic(Samples(spoilt, samples.rows), y)._learned.weights, model._learned.weights)
    scaled = Samples(1_024 * samples.history, samples.rows)
    np.testing.assert_allclose(logistic(scaled, y).predict(scaled), model.predict(samples), atol=1e-9)
    outlier = samples.history.copy()
    outlier[3, 1] = 1e9
    np.testing.assert_allclose(logistic(Samples(outlier, samples.rows), y)._learned.weights, model._learned.weights, atol=0.03)
    low, middle, high = np.quantile(samples.history[LEARNED].astype(np.float32).astype(float), [0.25, 0.5, 0.75], axis=0)
    np.testing.assert_allclose(model._learned.center, middle)
    np.testing.assert_allclose(model._learned.scale, high - low)


def test_a_missing_value_is_the_median_and_a_wild_one_is_cut_off():
    samples, y = problem()
    model = logistic(samples, y)
    center, scale = model._learned.center, model._learned.scale
    rows = np.array([center, np.full(3, np.nan), center + 5 * scale, center + 500 * scale, center - 5 * scale, center - 9e9])
    found = model.predict(table(rows))
    np.testing.assert_allclose(found[[1, 3, 5]], found[[0, 2, 4]], atol=1e-6)


def test_columns_that_tell_nothing_are_borne():
    samples, y = problem()
    odd = np.column_stack([samples.history, np.full(len(samples), np.nan), np.full(len(samples), 7.0)])
    model = logistic(Samples(odd, samples.rows), y)
    np.testing.assert_allclose(model.predict(Samples(odd, samples.rows)), logistic(samples, y).predict(samples), atol=1e-3)


def test_the_penalty_is_what_the_watched_rows_like_best_and_is_told():
    samples, y = problem()
    few, watched = LEARNED[:60], Validation(samples.take(LATER), y[LATER])
    model = logistic(samples, y, rows=few, validation=watched)
    losses = [log_loss(logistic(samples, y, rows=few, l2=l2).predict(samples.take(LATER)), y[LATER]) for l2 in STRENGTHS]
    assert model.settled == {"l2": STRENGTHS[int(np.argmin(losses))]}
    noise = logistic(samples, y, rows=few, validation=Validation(samples.take(LATER), -y[LATER]))
    assert noise.settled == {"l2": max(STRENGTHS)}
    told = logistic(samples, y, rows=few, **model.settled)
    np.testing.assert_array_equal(told.predict(samples), model.predict(samples))
    assert told.settled == logistic(samples, y, rows=few, validation=watched, variant="lightweight").settled == {}


def test_the_penalty_means_the_same_for_twice_the_rows_and_twice_the_weight():
    samples, y = problem()
    once = logistic(samples, y)
    twice = logistic(samples, y, rows=np.repeat(LEARNED, 2))
    heavy = logistic(samples, y, weight=np.full(len(LEARNED), 2.0))
    for model in (twice, heavy):
        np.testing.assert_allclose(model.predict(samples), once.predict(samples), atol=2e-3)


def test_magnitudes_tell_quiet_from_wild():
    rng = np.random.default_rng(0)
    history = rng.normal(size=(2_000, 2))
    y = np.where(np.abs(history[:, 0]) > 1, np.sign(rng.normal(size=2_000)), 0.0)
    samples = table(history)
    straight, bent = (
        log_loss(create_model("logistic", variant=variant, l2=0.01).fit(samples, y).predict(samples), y)
        for variant in ("default", "deep")
    )
    assert bent < straight - 0.2


@pytest.mark.parametrize("name", ["prior", "persistence", "logistic"])
def test_a_baseline_is_stored_as_json_that_gives_the_same_bits(name, tmp_path):
    samples, y = problem()
    model = create_model(name, **({"column": "x0"} if name == "persistence" else {})).fit(samples.take(LEARNED), y[LEARNED])
    model.save(tmp_path)
    for path in tmp_path.iterdir():
        json.loads(path.read_text(encoding="utf-8"))
    loaded = type(model).load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(samples), model.predict(samples))
    assert (loaded.n_parameters, loaded.columns) == (model.n_parameters, ("x0", "noise", "scale"))
    assert model.n_parameters == {"prior": 3, "persistence": 14, "logistic": 9 + 3 + 6}[name]
