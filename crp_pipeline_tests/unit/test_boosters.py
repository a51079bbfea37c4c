"""What boosted trees forecast in return units, what they remember of their fit, and the precision they see."""

import numpy as np
import pytest

from crp_pipeline.contracts import Samples
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.models import ModelSpec, Validation, create_model, cross_fit, samples_of
from crp_pipeline.models.gbdt.lightgbm import LightGBM
from crp_pipeline.models.gbdt.xgboost import XGBoost
from crp_pipeline.splits import PurgedWalkForward
from crp_pipeline_tests.recording import learnable_history

QUICK = {"n_rounds": 30, "learning_rate": 0.15, "max_depth": 3, "min_leaf_rows": 20}
CLASSIFIERS = ("xgboost", "lightgbm", "catboost")
REGRESSORS = ("xgboost_regressor", "lightgbm_regressor")
LEARNED, LATER = np.arange(800), np.arange(800, 1_400)
each_booster = pytest.mark.parametrize("name", CLASSIFIERS + REGRESSORS)
each_regressor = pytest.mark.parametrize("name", REGRESSORS)


def problem(target, *, scale=1.0):
    features, labels = learnable_history(1_407)
    return samples_of(features), scale * labels[target].to_numpy()


def of(name):
    return problem("forward_return" if name in REGRESSORS else "signal")


def fitted(name, samples, y, *, rows=LEARNED, validation=None, seed=1, **params):
    model = create_model(name, **{**QUICK, **params})
    return model.fit(samples.take(rows), y[rows], validation=validation, seed=seed)


@each_regressor
def test_a_regressor_forecasts_returns_in_their_own_units(name):
    samples, y = of(name)
    model = fitted(name, samples, y)
    found = model.predict(samples.take(LATER))
    assert model.outputs == model.targets == ("forward_return",)
    assert found.shape == (len(LATER), 1)
    assert np.mean((y[LATER] - found[:, 0]) ** 2) < 0.6 * np.var(y[LATER])
    # returns of a hundredth: a forecast in spreads would be a hundred times wider
    assert 0.5 < found.std() / y[LATER].std() < 1


@each_regressor
def test_the_unit_of_the_target_changes_nothing_but_the_unit_of_the_forecast(name):
    samples, y = problem("forward_return")
    once, thousandfold = (fitted(name, samples, scale * y).predict(samples) for scale in (1.0, 1_024.0))
    np.testing.assert_allclose(thousandfold, 1_024 * once, rtol=1e-5, atol=1e-6)


@each_regressor
def test_a_forecast_is_the_mean_where_nothing_can_be_told(name):
    y = np.append(np.full(90, -0.01), np.full(10, 0.2))
    samples = Samples(np.zeros((100, 1)), np.arange(100))
    model = fitted(name, samples, y, rows=np.arange(100), row_share=1.0)
    # the median is -0.01; a position earns the mean
    np.testing.assert_allclose(model.predict(samples), y.mean(), atol=1e-4)


@each_regressor
def test_early_stopping_of_a_regressor_watches_the_later_rows(name):
    samples, y = of(name)
    watch = LATER[:200]
    agree, contradict = (Validation(samples.take(watch), sign * y[watch]) for sign in (1, -1))
    long, short = (fitted(name, samples, y, validation=rows, patience=5) for rows in (agree, contradict))
    assert (long.rounds, short.rounds) == (pytest.approx(30, abs=20), pytest.approx(1, abs=1))
    assert long.settled == {"n_rounds": long.rounds}


@each_regressor
@pytest.mark.parametrize(
    ("y", "error", "told"),
    [
        ([], InsufficientHistoryError, "no labelled rows"),
        ([0.01, 0.01, 0.01], InsufficientHistoryError, r"all 3 labels are 0\.01"),
        ([0.01, np.nan, 0.02], DataContractError, "labels must be numbers, got nan in row 2 of 3"),
        ([0.01, np.inf, 0.02], DataContractError, "labels must be numbers, got inf in row 2 of 3"),
    ],
)
def test_targets_that_cannot_be_learned_from_are_refused(name, y, error, told):
    with pytest.raises(error, match=told):
        create_model(name).fit(Samples(np.zeros((3, 2)), np.arange(len(y))), np.array(y))


@each_regressor
def test_watched_targets_are_checked_too(name):
    samples, y = of(name)
    later = Validation(samples.take(LATER[:3]), np.array([0.01, np.nan, 0.0]))
    with pytest.raises(DataContractError, match="got nan in row 2 of 3"):
        fitted(name, samples, y, validation=later)


@each_regressor
def test_a_refused_fit_leaves_the_earlier_one(name):
    samples, y = of(name)
    model = fitted(name, samples, y)
    before = model.predict(samples)
    with pytest.raises(DataContractError):
        model.fit(samples.take(LEARNED[:3]), np.array([0.1, np.nan, 5.0]))
    np.testing.assert_array_equal(model.predict(samples), before)


@each_regressor
def test_a_regressor_is_read_out_into_probabilities_out_of_fold(name):
    features, labels = learnable_history(900)
    folds = PurgedWalkForward(train_size=500, test_size=200, partial=False).split(labels.index, labels["label_end"])
    found = cross_fit(ModelSpec(name, params=QUICK), features, labels, folds, seed=0)
    tested = found["fold"] >= 0
    chosen = found.loc[tested, ["p_short", "p_neutral", "p_long"]].to_numpy().argmax(axis=1) - 1
    # the best possible accuracy is near 0.72
    assert (chosen == labels.loc[tested, "signal"]).mean() > 0.6
    assert found.loc[tested, "forecast_forward_return"].abs().max() < 0.05


@each_booster
def test_history_has_a_row_per_round_and_its_least_watched_loss_is_where_the_fit_settled(name):
    samples, y = of(name)
    model = fitted(name, samples, y, validation=Validation(samples.take(LATER[:200]), y[LATER[:200]]), patience=4)
    history = model.history
    assert history.columns.tolist() == ["epoch", "loss", "validation_loss", "learning_rate"]
    assert history["epoch"].tolist() == list(range(1, len(history) + 1))
    assert history["validation_loss"].idxmin() + 1 == model.rounds
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert history["learning_rate"].unique().tolist() == [0.3 if name == "catboost" else 0.15]
    unwatched = fitted(name, samples, y, n_rounds=7).history
    assert len(unwatched) == 7
    assert unwatched["validation_loss"].isna().all()


@each_booster
def test_the_losses_are_those_of_the_forecasts(name):
    samples, y = of(name)
    model = fitted(name, samples, y, n_rounds=12)
    found = model.predict(samples.take(LEARNED))
    if name in REGRESSORS:
        by_hand = np.sqrt(np.mean((found[:, 0] - y[LEARNED]) ** 2)) / y[LEARNED].std()
    else:
        by_hand = -np.log(found[LEARNED, y[LEARNED].astype(int) + 1]).mean()
    assert model.history["loss"].iloc[-1] == pytest.approx(by_hand, rel=1e-5)


@each_booster
def test_numbers_that_are_one_float32_are_one_number(name):
    """An exported model is shown float32: what float64 alone can tell apart must not be told apart natively."""
    samples, y = of(name)
    told_in_float64 = np.column_stack([1e8 + np.nan_to_num(y), samples.history[:, 1]])
    assert len(np.unique(told_in_float64[:, 0].astype(np.float32))) == 1
    shown = Samples(told_in_float64, samples.rows)
    found = fitted(name, shown, y).predict(shown)
    assert abs(np.corrcoef(found[:, -1], np.nan_to_num(y))[0, 1]) < 0.3


@each_booster
def test_a_loaded_booster_forgets_the_way_and_keeps_the_answers(name, tmp_path):
    samples, y = of(name)
    model = fitted(name, samples, y)
    model.save(tmp_path)
    loaded = type(model).load(tmp_path)
    assert loaded.history.empty
    np.testing.assert_array_equal(loaded.predict(samples), model.predict(samples))


def test_a_leaf_of_either_task_needs_the_same_rows():
    """XGBoost counts in second derivatives: at even odds p(1 - p) = 2/9 for a class, 1 for a squared error halved."""
    p = np.array([1, 1, 1]) / 3
    assert XGBoost.row_hessian == pytest.approx(p[0] * (1 - p[0]))
    for variant, params in XGBoost.variants.items():
        assert LightGBM.variants[variant].min_leaf_rows == params.min_leaf_rows


@pytest.mark.parametrize("name", ["xgboost", "xgboost_regressor"])
def test_the_fewest_rows_of_a_leaf_are_rows_however_small_the_weights(name):
    """Overlapping labels weigh little; counted in weights, a hundred rows would be thousands."""
    features, labels = learnable_history(1_407)
    samples, model = samples_of(features), create_model(name)
    y, rows = labels[model.targets[0]].to_numpy(), np.arange(1_200)
    params = {"n_rounds": 20, "min_leaf_rows": 100, "l2": 0, "row_share": 1, "column_share": 1}
    light, heavy = (
        create_model(name, **params).fit(samples.take(rows), y[rows], weight=np.full(len(rows), size)).predict(samples)
        for size in (1 / 32, 1.0)
    )
    np.testing.assert_allclose(light, heavy, atol=1e-4)
    assert len(np.unique(light[:, 0])) > 10
