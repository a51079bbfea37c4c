"""Contributions of features to scores: they add up, agree with independent algorithms, and refuse what cannot be explained."""

import json
from itertools import combinations
from math import factorial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crp_pipeline.contracts import CLASSES, DIRECTIONS, Fold, Samples
from crp_pipeline.errors import DataContractError, InsufficientHistoryError, NotFittedError
from crp_pipeline.explanation.rows import spread
from crp_pipeline.metrics.stability import mean_rank_correlation, mean_top_overlap
from crp_pipeline.models import attention_of, contrast, create_model, explain, ingredients
from crp_pipeline.models.base import Model
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.models.explain import scores_of
from crp_pipeline.models.gbdt.contributions import contributions
from crp_pipeline_tests.networks import problem, small, taught

CLASSIFIERS = ("xgboost", "lightgbm", "catboost")
REGRESSORS = ("xgboost_regressor", "lightgbm_regressor")
NETS = ("mlp_regressor", "lstm", "cnn_lstm", "attention_lstm", "tcn", "transformer", "hybrid")
NOTHING, TOLD = 5, 0
"""Columns of `table`: one that is missing throughout, and the one that tells the class."""


def table(n=1_000, *, k=8, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, k)).astype(np.float32).astype(np.float64)
    values[rng.random(values.shape) < 0.05] = np.nan
    values[:, NOTHING] = np.nan
    told = np.nan_to_num(values[:, TOLD]) + 0.5 * rng.normal(size=n)
    return values, np.where(np.abs(told) < 0.3, 0.0, np.sign(told))


VALUES, SIGNAL = table()
LEARN, FRESH = np.arange(800), np.arange(850, 950)


@pytest.fixture(scope="module")
def boosters():
    """Every booster, fitted on the rows of `LEARN`."""
    X, y = Samples(VALUES, LEARN, columns=tuple("abcdefgh")), SIGNAL[LEARN]
    made = {name: create_model(name, n_rounds=15, max_depth=3, min_leaf_rows=20) for name in (*CLASSIFIERS, *REGRESSORS)}
    return {name: model.fit(X, y, seed=1) for name, model in made.items()}


@pytest.fixture(scope="module")
def networks():
    samples, labels = problem(500)
    return samples, {name: taught(name, samples, labels, rows=np.arange(60, 380), epochs=4) for name in NETS}


def fresh(rows=FRESH):
    return Samples(VALUES, rows, columns=tuple("abcdefgh"))


@pytest.mark.parametrize("name", [*CLASSIFIERS, *REGRESSORS])
def test_a_boosters_contributions_add_up_to_what_it_forecasts(boosters, name):
    model, found = boosters[name], explain(boosters[name], fresh())
    expected = scores_of(model.predict(fresh()), found.outputs)
    np.testing.assert_allclose(found.scores, expected, atol=2e-6 * np.abs(expected).max())
    assert found.values.shape == (len(FRESH), 8, 3 if name in CLASSIFIERS else 1)
    assert found.unit == ("log-odds" if name in CLASSIFIERS else "forward return")


@pytest.mark.parametrize("name", [*CLASSIFIERS, *REGRESSORS])
def test_the_feature_that_tells_leads_and_one_that_is_missing_throughout_adds_exactly_nothing(boosters, name):
    importance = explain(boosters[name], fresh()).importance()
    assert importance.argmax() == TOLD
    assert importance[NOTHING] == 0


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", *REGRESSORS])
def test_a_boosters_own_contributions_are_those_of_shaps_algorithm(boosters, name):
    """Shap asks these libraries for theirs unless it is given the bare trees, which it then walks itself."""
    model, (values, _) = boosters[name], contributions(boosters[name], fresh())
    trees = _trees_known_to_shap(model)
    n_outputs, unit = values.shape[2], getattr(model, "spread", 1.0)
    for output in range(n_outputs):
        walked = _walked_by_shap(trees[output::n_outputs], fresh().table())
        np.testing.assert_allclose(unit * walked, values[:, :, output], atol=1e-6 * np.abs(values).max())


def test_catboosts_contributions_are_shapley_values_to_a_hundredth_of_the_largest(boosters, tmp_path):
    model, X = boosters["catboost"], fresh(FRESH[:5])
    values, _ = contributions(model, X)
    exact = np.stack([_shapley_by_hand(*_trees_with_counts(model, tmp_path), row) for row in X.table()])
    np.testing.assert_allclose(values.sum(axis=1), exact.sum(axis=1), atol=1e-10)
    np.testing.assert_allclose(values, exact, atol=0.01 * np.abs(exact).max())


def test_shapley_by_hand_is_what_shaps_algorithm_finds(boosters):
    """The oracle of the test above, held against an independent one on trees that both can read."""
    pytest.importorskip("shap")
    model = boosters["catboost"]
    forest, counts = _trees_with_counts(model)
    trees = [_shap_tree(tree, count, output=2) for tree, count in zip(forest.trees, counts, strict=True)]
    walked = _walked_by_shap(trees, fresh().table()[:3])
    by_hand = np.stack([_shapley_by_hand(forest, counts, row)[:, 2] for row in fresh().table()[:3]])
    np.testing.assert_allclose(walked, by_hand, atol=1e-6)


def _trees_known_to_shap(model):
    shap = pytest.importorskip("shap")
    parts = ("children_left", "children_right", "children_default", "features", "thresholds", "values", "node_sample_weight")
    return [{part: getattr(tree, part) for part in parts} for tree in shap.TreeExplainer(model._learned).model.trees]


def _walked_by_shap(trees, rows):
    shap = pytest.importorskip("shap")
    described = {"internal_dtype": np.float64, "input_dtype": np.float64, "objective": "squared_error"}
    bare = {**described, "tree_output": "raw_value", "base_offset": 0.0, "trees": trees}
    return shap.TreeExplainer(bare).shap_values(rows, check_additivity=False)


def _shap_tree(tree, count, *, output):
    return {
        "children_left": tree.yes.astype(np.int32),
        "children_right": tree.no.astype(np.int32),
        "children_default": np.where(tree.missing_is_yes, tree.yes, tree.no).astype(np.int32),
        "features": np.where(tree.is_leaf, -2, tree.feature).astype(np.int32),
        "thresholds": tree.threshold.astype(np.float64),
        "values": tree.value[:, [output]].astype(np.float64),
        "node_sample_weight": np.maximum(count, 1e-9),
    }


def _trees_with_counts(model, folder=None):
    """CatBoost's trees as the ONNX export reads them, and how many rows came by each node."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as place:
        path = Path(folder or place) / "model.json"
        model._learned.save_model(str(path), format="json")
        leaves = [tree["leaf_weights"] for tree in json.loads(path.read_text())["oblivious_trees"]]
    forest, counts = model._forest(), []
    for tree, weights in zip(forest.trees, leaves, strict=True):
        count = np.concatenate([np.zeros(len(tree.yes) - len(weights)), weights])
        for node in reversed(range(len(tree.yes) - len(weights))):
            count[node] = count[tree.yes[node]] + count[tree.no[node]]
        counts.append(count)
    return forest, counts


def _shapley_by_hand(forest, counts, row):
    """Every coalition of every tree, by the definition."""
    found = np.zeros((len(row), 3))
    for tree, count in zip(forest.trees, counts, strict=True):
        asked = sorted(set(tree.feature[~tree.is_leaf]))
        for feature in asked:
            others = [other for other in asked if other != feature]
            for size in range(len(asked)):
                weight = factorial(size) * factorial(len(asked) - size - 1) / factorial(len(asked))
                for known in combinations(others, size):
                    gain = _expected(tree, count, row, {*known, feature}) - _expected(tree, count, row, set(known))
                    found[feature] += weight * gain
    return found


def _expected(tree, count, row, known, node=0):
    yes, no = tree.yes[node], tree.no[node]
    if yes < 0:
        return tree.value[node]
    value = row[tree.feature[node]]
    if tree.feature[node] in known:
        goes_yes = tree.missing_is_yes[node] if np.isnan(value) else value <= tree.threshold[node]
        return _expected(tree, count, row, known, yes if goes_yes else no)
    if count[node] == 0:
        return np.zeros(3)
    parts = (count[child] * _expected(tree, count, row, known, child) for child in (yes, no))
    return sum(parts) / count[node]


@pytest.mark.parametrize("name", NETS)
def test_a_networks_contributions_add_up_to_what_it_forecasts_as_its_steps_become_many(networks, name):
    samples, models = networks
    X = samples.take(np.arange(400, 420))
    expected = scores_of(models[name].predict(X), explain(models[name], X, n_starts=1, n_steps=1).outputs)
    errors = [np.abs(explain(models[name], X, n_starts=2, n_steps=n).scores - expected).mean() for n in (2, 60)]
    assert errors[1] <= 0.02 * np.abs(expected).mean() + 1e-6
    assert errors[1] <= errors[0] + 1e-6


@pytest.mark.parametrize("name", ["attention_lstm", "tcn", "hybrid"])
def test_what_tells_leads_in_a_network_and_its_bars_add_up_to_the_importance(networks, name):
    samples, models = networks
    found = explain(models[name], samples.take(np.arange(400, 430)))
    assert found.columns[found.importance().argmax()] == "x0"
    assert found.lags.shape == (models[name].reach, len(found.columns))
    assert (found.lags.sum(axis=0) >= found.importance() - 1e-9).all()
    assert found.lags[:, 0].argmax() == 0, "the signal is in the row's own bar"


@pytest.mark.parametrize("name", ["attention_lstm", "tcn"])
def test_a_bars_explanation_does_not_change_when_later_bars_become_noise(networks, name):
    samples, models = networks
    X, background = samples.take(np.array([400])), samples.take(np.arange(300, 390))
    later = samples.history.copy()
    later[401:] = 1e3 * np.random.default_rng(0).normal(size=later[401:].shape)
    known_now = Samples(later, X.rows, samples.segment_start, samples.columns)
    then, now = (explain(models[name], shown, background=background) for shown in (X, known_now))
    np.testing.assert_array_equal(then.values, now.values)


def test_a_row_is_explained_alike_alone_and_among_many(networks):
    samples, models = networks
    background = samples.take(np.arange(300, 390))
    many = explain(models["attention_lstm"], samples.take(np.arange(200, 480)), background=background, n_steps=2)
    alone = explain(models["attention_lstm"], samples.take(np.array([479])), background=background, n_steps=2)
    np.testing.assert_allclose(many.values[-1], alone.values[0], atol=1e-5)


def test_a_feature_that_is_missing_in_every_window_adds_exactly_nothing_to_a_network():
    samples, labels = problem(400)
    values = samples.history.copy()
    values[:, 1] = np.nan
    missing = Samples(values, samples.rows, samples.segment_start, samples.columns)
    model = taught("attention_lstm", missing, labels, rows=np.arange(60, 300))
    assert explain(model, missing.take(np.arange(320, 340))).importance()[1] == 0


@pytest.mark.parametrize("name", ["attention_lstm", "transformer", "hybrid"])
def test_attention_by_bars_back_sums_to_one(networks, name):
    samples, models = networks
    shares = attention_of(models[name], samples.take(np.arange(400, 410)))
    assert shares.shape == (10, models[name].reach)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-5)


def test_attention_by_bars_back_is_the_networks_own_newest_first(networks):
    samples, models = networks
    X, model = samples.take(np.arange(400, 410)), models["attention_lstm"]
    np.testing.assert_allclose(attention_of(model, X), model.attention_weights(X).mean(axis=1)[:, ::-1], atol=1e-6)
    assert attention_of(models["tcn"], X) is None


class Linear(Model):
    """Log-odds that are a weighted sum of the features: whatever the order, a feature adds its weight times its distance."""

    model_type = "linear_in_log_odds"
    weights = np.array([[1.0, 0.0, -1.0], [0.2, 0.1, -0.3], [0.0, 0.0, 0.0]])

    def fit(self, X, y, *, weight=None, validation=None, seed=0):
        del X, y, weight, validation, seed
        self._learned = True
        return self

    def predict(self, X):
        odds = np.exp(X.table() @ self.weights)
        return odds / odds.sum(axis=1, keepdims=True)

    def _write(self, folder):
        raise NotImplementedError

    @classmethod
    def _read(cls, folder):
        raise NotImplementedError


def test_sampled_shapley_values_of_a_weighted_sum_are_weight_times_distance():
    history = np.random.default_rng(0).normal(size=(20, 3))
    X, origin = Samples(history, np.arange(10)), Samples(history, np.array([15]))
    found = explain(Linear().fit(X, np.zeros(10)), X, background=origin, n_draws=2)
    expected = (history[:10] - history[15])[:, :, None] * Linear.weights
    np.testing.assert_allclose(found.values, expected, atol=1e-12)
    np.testing.assert_allclose(found.scores, scores_of(Linear().predict(X), CLASSES), atol=1e-12)


def test_what_cannot_be_explained_is_refused_in_a_sentence(boosters, networks):
    samples, models = networks
    with pytest.raises(DataContractError, match="lightgbm: there is no row to explain"):
        explain(boosters["lightgbm"], fresh(FRESH[:0]))
    with pytest.raises(NotFittedError):
        explain(create_model("lightgbm"), fresh())
    with pytest.raises(DataContractError, match="learned from 8 features and was shown 3"):
        explain(boosters["lightgbm"], Samples(np.zeros((5, 3)), np.arange(5)))
    with pytest.raises(DataContractError, match="row 400 has no other row to be held against"):
        explain(models["tcn"], samples.take(np.array([400])))
    with pytest.raises(InsufficientHistoryError, match="needs"):
        explain(models["attention_lstm"], samples.take(np.array([2, 400])))


def test_a_decision_is_held_against_its_opposite_and_neutral_against_both():
    scores = np.array([0.5, -0.1, -0.4])
    assert scores @ contrast(CLASSES, 1) == pytest.approx(-0.9)
    assert scores @ contrast(CLASSES, -1) == pytest.approx(0.9)
    assert scores @ contrast(CLASSES, 0) == pytest.approx(-0.1 - 0.05)
    assert np.array([-0.3, 0.3]) @ contrast(DIRECTIONS, -1) == pytest.approx(-0.6)
    assert np.array([0.01]) @ contrast(("forward_return",), 1) == pytest.approx(0.01)


def test_the_difference_of_two_scores_is_the_log_odds(boosters):
    scores = explain(boosters["lightgbm"], fresh()).scores
    p = boosters["lightgbm"].predict(fresh())
    np.testing.assert_allclose(scores @ contrast(CLASSES, 1), np.log(p[:, 2] / p[:, 0]), atol=1e-9)


@pytest.mark.parametrize("name", sorted(MODEL_CLASSES))
def test_explaining_is_no_ingredient_of_a_fit(name):
    """Or another way of explaining would make every fold model that is kept worthless."""
    files = ingredients._with_imports((MODEL_CLASSES[name].__module__, "crp_pipeline.models.block"))
    assert [module for module in files if "explain" in module or "contributions" in module] == []


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 300))
def test_explained_rows_are_tested_ones_evenly_spread_with_the_last_among_them(sizes, most):
    starts = 100 + np.concatenate([[0], np.cumsum(sizes)[:-1] + 3 * np.arange(1, len(sizes))]).astype(int)
    folds = [
        Fold(n, np.arange(start), np.arange(start, start + size))
        for n, (start, size) in enumerate(zip(starts, sizes, strict=True))
    ]
    chosen = spread(folds, most)
    rows = np.concatenate([chosen[fold.number] for fold in folds])
    tested = np.concatenate([fold.test for fold in folds])
    assert len(rows) == min(most, len(tested)) == len(set(rows.tolist()))
    assert rows[-1] == tested[-1]
    assert all(set(chosen[fold.number]) <= set(fold.test) for fold in folds)
    gaps = np.diff(np.searchsorted(tested, rows))
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_rank_correlation_leaves_out_what_one_of_a_pair_lacks():
    assert mean_rank_correlation([[1, 2, 3, np.nan], [10, 20, 30, 40]]) == pytest.approx(1)
    assert mean_rank_correlation([[1, 2, 3], [3, 2, 1]]) == pytest.approx(-1)
    assert np.isnan(mean_rank_correlation([[1, 2, 3]]))
    assert np.isnan(mean_rank_correlation([[1, 2, np.nan], [np.nan, np.nan, 3]]))


def test_top_overlap_counts_what_both_have_and_never_what_is_nought():
    assert mean_top_overlap([[4, 3, 2, 1], [4, 3, 1, 2]], 2) == pytest.approx(1)
    assert mean_top_overlap([[4, 3, 0, 0], [0, 4, 3, 0]], 2) == pytest.approx(0.5)
    assert mean_top_overlap([[4, 0, 0], [0, np.nan, 4]], 2) == 0
    assert np.isnan(mean_top_overlap([[1, 2]], 1))


def test_an_untrained_network_of_another_kind_is_refused():
    with pytest.raises(NotFittedError):
        explain(small("tcn"), problem(100)[0])
