"""Which columns are dropped, what a column is worth, and who learns from what is kept."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.inspection import permutation_importance as of_scikit_learn
from sklearn.linear_model import LogisticRegression

from crp_pipeline.contracts import FINAL, FeatureStatus, SelectionSchema, check_frame
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.models import (
    ModelSpec,
    columns_of,
    cross_fit,
    frequency_table,
    kept_table,
    samples_of,
    select_features,
    status_table,
    train,
)
from crp_pipeline.models import importance as importances
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.models.importance import permutation_importance
from crp_pipeline.models.redundancy import (
    FEWEST_COMMON_ROWS,
    constant_columns,
    first_of_same,
    rank_correlation,
    representatives,
)
from crp_pipeline.models.selection import select_block
from crp_pipeline.reporting.figures import png, selection_figure
from crp_pipeline.settings import SelectionConfig
from crp_pipeline.splits import PurgedWalkForward, folds_of, role_table
from crp_pipeline_tests.recording import Recording, wide_history

QUICK = {"n_rounds": 8, "max_depth": 3, "min_leaf_rows": 10, "learning_rate": 0.2, "patience": 3, "n_threads": 1}
N_BARS = 1_400
FEATURES, LABELS = wide_history(N_BARS)
FOLDS = PurgedWalkForward(train_size=800, test_size=250).split(LABELS.index, LABELS["label_end"])
ROLES = role_table(FOLDS, LABELS.index, LABELS["label_end"])
FOUR = SelectionConfig(keep=4)
DROPPED = {
    "same": ("duplicate", "noise"),
    "x0_again": ("duplicate", "x0"),
    "near": ("correlated", "x0"),
    "falling": ("correlated", "scale"),
    "flat": ("constant", ""),
    "nothing": ("constant", ""),
    "seldom": ("constant", ""),
    "late": ("correlated", "x0"),
}


@pytest.fixture(scope="module")
def selection():
    return select_features(FEATURES, LABELS, ROLES, config=FOUR, seed=0)


def of_fold(selection, fold):
    return selection[selection["fold"] == fold].set_index("feature")


# columns that say nothing more


@pytest.mark.parametrize(
    ("values", "is_constant"),
    [
        ([2.0, 2.0, 2.0], True),
        ([np.nan, np.nan, np.nan], True),
        ([1.0, np.nan, 1.0], True),
        ([0.0, -0.0, 0.0], True),
        ([1.0, np.nan, 2.0], False),
        ([1.0, 1.0, np.nextafter(1.0, 2.0)], False),
        ([-1e300, 1e300, 0.0], False),
    ],
)
def test_a_column_without_two_different_values_is_constant(values, is_constant):
    assert constant_columns(np.array([values, [1.0, 2.0, 3.0]]).T).tolist() == [is_constant, False]


def test_a_duplicate_names_the_first_column_with_its_values():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 300))
    holed, zero = np.where(np.arange(300) < 200, a, np.nan), np.where(np.arange(300) < 9, 0.0, b)
    late = np.where(np.arange(300) == 299, a + 1, a)
    table = np.column_stack([a, b, holed, a, late, holed, zero, np.where(zero == 0, -0.0, zero), b])
    assert first_of_same(table).tolist() == [0, 1, 2, 0, 4, 2, 6, 6, 1]


def test_correlation_of_ranks_is_spearmans_where_nothing_is_missing():
    rng = np.random.default_rng(1)
    table = rng.normal(size=(500, 6))
    table[:, 1] = np.exp(table[:, 0]) + 0.3 * table[:, 1]
    table[:, 2] = np.round(table[:, 2])
    table[:, 3] = -(table[:, 0] ** 3)
    found = rank_correlation(table)
    np.testing.assert_allclose(found, spearmanr(table).statistic, atol=1e-12)
    assert found[0, 3] == -1.0


def test_a_pair_is_compared_on_the_rows_where_both_are_present():
    rng = np.random.default_rng(2)
    table = rng.normal(size=(600, 4)) + rng.normal(size=(600, 1))
    table[rng.random((600, 4)) < 0.3] = np.nan
    table[:250, 1] = np.nan
    found = rank_correlation(table)
    ranks = pd.DataFrame(table).rank().to_numpy()
    for a in range(4):
        for b in range(4):
            both = np.isfinite(table[:, a]) & np.isfinite(table[:, b])
            assert found[a, b] == pytest.approx(pearsonr(ranks[both, a], ranks[both, b]).statistic, abs=1e-10)


@pytest.mark.parametrize(("common", "is_known"), [(FEWEST_COMMON_ROWS, True), (FEWEST_COMMON_ROWS - 1, False)])
def test_a_correlation_over_few_common_rows_is_not_known(common, is_known):
    x = np.random.default_rng(3).normal(size=400)
    early, late = x.copy(), x.copy()
    early[200 + common :], late[:200] = np.nan, np.nan
    assert bool(rank_correlation(np.column_stack([early, late]))[0, 1] > 0.9) is is_known


def test_a_column_that_does_not_vary_where_both_are_present_is_like_no_other():
    x = np.random.default_rng(4).normal(size=400)
    step = np.where(np.arange(400) < 200, 1.0, 2.0)
    table = np.column_stack([step, np.where(np.arange(400) < 200, x, np.nan)])
    assert rank_correlation(table)[0, 1] == 0.0


def test_what_stands_for_a_column_was_taken_before_it_and_is_like_it():
    # a chain: 0 is like 1, 1 like 2, 2 like 3, and nobody like its neighbour's neighbour
    chain = np.eye(5) + 0.97 * (np.eye(5, k=1) + np.eye(5, k=-1))
    chain[3, 4] = chain[4, 3] = -0.96
    assert representatives(chain, np.arange(5), limit=0.95).tolist() == [0, 0, 2, 2, 4]
    assert representatives(chain, np.array([3, 0, 1, 2, 4]), limit=0.95).tolist() == [0, 0, 3, 3, 3]
    assert representatives(chain, np.arange(5), limit=1.0).tolist() == [0, 1, 2, 3, 4]
    assert representatives(chain, np.arange(5), limit=0.97).tolist() == [0, 1, 2, 3, 4], "at the limit is not above it"


def test_the_nearest_of_several_stands_for_a_column():
    correlation = np.array([[1.0, 0.5, 0.96], [0.5, 1.0, -0.98], [0.96, -0.98, 1.0]])
    assert representatives(correlation, np.arange(3), limit=0.95).tolist() == [0, 1, 1]


# what a column is worth


def logistic(seed=0, n=400, k=5):
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(n, k))
    outcome = (table[:, 0] + 0.5 * table[:, 1] + rng.normal(size=n) > 0).astype(int) + (table[:, 2] > 1)
    weight = rng.uniform(0.1, 1.0, n)
    return LogisticRegression().fit(table, outcome), table, outcome, weight


def permutations_of_scikit_learn(seed, n, n_repeats):
    """The orders in which scikit-learn leaves a column: the same for every one, each shuffled on from the last."""
    own = np.random.RandomState(np.random.RandomState(seed).randint(np.iinfo(np.int32).max + 1))
    place, order, found = np.arange(n), np.arange(n), []
    for _ in range(n_repeats):
        own.shuffle(place)
        order = order[place]
        found.append(order)
    return np.array(found)


@pytest.mark.parametrize("n_repeats", [1, 4])
@pytest.mark.parametrize("weighted", [True, False])
def test_permutation_importance_is_scikit_learns(n_repeats, weighted):
    model, table, outcome, weight = logistic()
    weight = weight if weighted else None
    expected = of_scikit_learn(
        model, table, outcome, scoring="neg_log_loss", n_repeats=n_repeats, random_state=11, sample_weight=weight
    )
    orders = permutations_of_scikit_learn(11, len(table), n_repeats)
    found = permutation_importance(model.predict_proba, table, outcome, orders, weight=weight)
    np.testing.assert_allclose(found, expected.importances_mean, rtol=1e-10, atol=1e-14)
    assert found[0] > found[3] + 0.1


@pytest.mark.parametrize("rows_per_call", [1, 401, 1_000, 10**6])
def test_how_many_copies_are_shown_at_once_changes_nothing(rows_per_call, monkeypatch):
    model, table, outcome, weight = logistic()
    orders = permutations_of_scikit_learn(5, len(table), 3)
    expected = permutation_importance(model.predict_proba, table, outcome, orders, weight=weight)
    monkeypatch.setattr(importances, "ROWS_PER_CALL", rows_per_call)
    shown = []

    def predict(copies):
        shown.append(len(copies))
        return model.predict_proba(copies)

    np.testing.assert_allclose(permutation_importance(predict, table, outcome, orders, weight=weight), expected, atol=1e-14)
    assert max(shown) <= max(rows_per_call, 3 * len(table))


def test_a_column_that_the_model_does_not_look_at_is_worth_nothing():
    _, table, outcome, _ = logistic()

    def predict(shown):
        p = 1 / (1 + np.exp(-shown[:, 1]))
        return np.column_stack([1 - p, p / 2, p / 2])

    found = permutation_importance(predict, table, outcome, permutations_of_scikit_learn(0, len(table), 2))
    assert (found[[0, 2, 3, 4]] == 0).all()
    assert found[1] > 0


def test_the_table_at_hand_is_left_as_it_was():
    model, table, outcome, _ = logistic()
    before = table.copy()
    permutation_importance(model.predict_proba, table, outcome, permutations_of_scikit_learn(0, len(table), 2))
    np.testing.assert_array_equal(table, before)


# what becomes of a feature


def test_every_block_has_a_row_for_every_feature_in_their_order(selection):
    check_frame(selection, SelectionSchema, what="selection")
    assert selection["fold"].unique().tolist() == [0, 1, FINAL]
    for fold in (0, 1, FINAL):
        assert of_fold(selection, fold).index.tolist() == FEATURES.columns.tolist()


@pytest.mark.parametrize("fold", [0, 1, FINAL])
@pytest.mark.parametrize("feature", DROPPED)
def test_a_column_that_tells_nothing_more_is_dropped_and_says_why(selection, fold, feature):
    row = of_fold(selection, fold).loc[feature]
    assert (row["status"], row["representative"]) == DROPPED[feature]
    assert row["rank"] == 0
    assert np.isnan(row["importance"])


@pytest.mark.parametrize("fold", [0, 1, FINAL])
def test_the_informative_column_ranks_first_and_noise_below_it(selection, fold):
    block = of_fold(selection, fold)
    ranked = block[block["rank"] > 0].sort_values("rank")
    assert ranked.index[0] == "x0"
    assert ranked["importance"].iloc[0] > 10 * ranked["importance"].iloc[1:].abs().max()
    assert ranked["rank"].tolist() == list(range(1, 10))
    assert ranked["status"].tolist() == ["kept"] * 4 + ["outranked"] * 5
    assert columns_of(selection, fold) == [name for name in FEATURES.columns if name in ranked.index[:4]]


def test_of_two_that_are_alike_the_one_with_fewer_missing_values_stays():
    features = FEATURES[["late", "noise", "x0"]]
    block = select_block(samples_of(features), LABELS, np.arange(1_000), config=FOUR, seed=0).set_index("feature")
    assert block.loc["late", ["status", "representative"]].tolist() == ["correlated", "x0"]
    assert block.loc["x0", "status"] == "kept"


def test_what_stands_for_a_copy_of_a_column_that_was_dropped_was_ranked_itself():
    features = FEATURES[["near", "x0"]].assign(near_again=FEATURES["near"], full=FEATURES["x0"])
    features.loc[features.index[:10], ["near", "near_again"]] = np.nan
    block = select_block(samples_of(features), LABELS, np.arange(1_000), config=FOUR, seed=0).set_index("feature")
    assert block["status"].to_dict() == {"near": "correlated", "x0": "kept", "near_again": "duplicate", "full": "duplicate"}
    assert block["representative"].tolist() == ["x0", "", "x0", "x0"]


def test_switched_off_every_model_gets_the_whole_set():
    off = SelectionConfig(enabled=False, keep=1)
    found = select_features(FEATURES, LABELS, ROLES, config=off, seed=0)
    check_frame(found, SelectionSchema, what="selection")
    assert (found["status"] == "kept").all()
    assert (found["rank"] == 0).all()
    for fold in (0, 1, FINAL):
        assert columns_of(found, fold) == FEATURES.columns.tolist()


def test_to_keep_more_than_there_are_keeps_all_that_tell_something():
    found = select_features(FEATURES, LABELS, ROLES, config=SelectionConfig(keep=1_000), seed=0)
    assert columns_of(found, 0) == [name for name in FEATURES.columns if name not in DROPPED]


def test_nothing_that_varies_is_named_with_the_rows():
    features = FEATURES[["flat", "nothing"]]
    with pytest.raises(InsufficientHistoryError, match="none of 2 features varies on the 667 rows to learn from"):
        select_features(features, LABELS, ROLES, config=FOUR, seed=0)


def test_drawn_rows_are_drawn_anew_by_another_seed_and_the_same_by_the_same():
    few = SelectionConfig(keep=4, learn_rows=200, watch_rows=100, correlation_rows=300)
    once, again, other = (select_features(FEATURES, LABELS, ROLES, config=few, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(once, again, check_exact=True)
    assert (once["importance"] != other["importance"]).any()
    assert "x0" in columns_of(once, FINAL)


def test_drawn_rows_are_of_every_hour_of_the_day():
    seen = []
    features = FEATURES[["x0", "noise"]].assign(hour=FEATURES.index.hour.astype(float))
    few = SelectionConfig(keep=4, watch_rows=100)

    def look(predict, table, *rest, **options):
        seen.append(table[:, 2])
        return np.zeros(table.shape[1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crp_pipeline.models.selection.permutation_importance", look)
        select_block(samples_of(features), LABELS, np.arange(1_390), config=few, seed=0)
    assert len(seen[0]) == 100
    assert len(np.unique(seen[0])) > 20


def test_progress_is_told_once_a_block():
    told = []
    select_features(FEATURES, LABELS, ROLES, config=FOUR, seed=0, progress=told.append)
    assert [line.split(":")[0] for line in told] == [
        "selection for fold 0",
        "selection for fold 1",
        "selection for the final model",
    ]
    assert "4 kept, 5 outranked, 3 correlated, 2 duplicate, 3 constant" in told[0]


# tables of it


def test_the_tables_count_what_the_selection_says(selection):
    counts = status_table(selection)
    assert counts["fold"].tolist() == [0, 1, "final"]
    assert counts[[str(status) for status in FeatureStatus]].to_numpy().tolist() == [[4, 5, 3, 2, 3, 0]] * 3
    kept = kept_table(selection)
    assert (kept.index.tolist(), kept.columns.tolist()) == ([0, 1, FINAL], FEATURES.columns.tolist())
    for fold in kept.index:
        assert kept.columns[kept.loc[fold]].tolist() == columns_of(selection, fold)
    often = frequency_table(selection)
    assert often["feature"].iloc[0] == "x0"
    assert often["folds_kept"].tolist() == sorted(often["folds_kept"], reverse=True)
    by_name = often.set_index("feature")
    assert by_name.loc["x0"].tolist() == [2, 1.0, 1.0, True]
    assert by_name.loc["flat", ["folds_kept", "in_final"]].tolist() == [0, False]
    assert by_name["folds_kept"].sum() == 8
    assert by_name["in_final"].sum() == 4


def pixels(figure):
    return figure.axes[0].images[0].get_array()


def test_the_picture_says_how_many_are_kept_in_every_fold_and_shows_which(selection):
    kept = kept_table(selection)
    figure = selection_figure(kept, stability=0.625)
    every = int((kept.loc[0] & kept.loc[1]).sum())
    assert figure.get_suptitle() == f"{every} of 17 features kept in each of 2 folds, stability 0.62"
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert shown[0] == "x0"
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["fold 0", "fold 1", "final"]
    assert (kept[shown].to_numpy() == pixels(figure).T).all()
    assert set(shown) == set(kept.columns[kept.any()])
    assert png(figure).startswith(b"\x89PNG")


def test_the_picture_of_a_whole_set_names_what_fits_and_no_stability():
    kept = pd.DataFrame(True, index=[0, 1, FINAL], columns=[f"f{number}" for number in range(200)])
    figure = selection_figure(kept, stability=float("nan"))
    assert figure.get_suptitle() == "200 of 200 features kept in each of 2 folds"
    assert pixels(figure).shape == (60, 3)


# who learns from it


@pytest.fixture
def recorded(monkeypatch):
    monkeypatch.setitem(MODEL_CLASSES, "recording", Recording)
    monkeypatch.setattr(Recording, "fits", [])
    return Recording.fits


def test_every_folds_model_and_the_final_one_learn_from_their_own_columns(selection, recorded):
    trained = train(ModelSpec("recording"), FEATURES, LABELS, ROLES, seed=0, selection=selection)
    assert [list(fit.columns) for fit in recorded] == [columns_of(selection, fold) for fold in (0, 1, FINAL)]
    assert list(trained.features) == columns_of(selection, FINAL)
    assert columns_of(selection, 0) != columns_of(selection, 1), "or a mix-up of folds would go unnoticed"


def test_without_a_selection_everybody_learns_from_every_column(recorded):
    trained = train(ModelSpec("recording"), FEATURES, LABELS, ROLES, seed=0)
    assert {fit.columns for fit in recorded} == {tuple(FEATURES.columns)} == {trained.features}


def test_predictions_with_a_selection_are_those_of_a_table_with_its_columns_only(selection):
    spec = ModelSpec("lightgbm", params=QUICK)
    found = cross_fit(spec, FEATURES, LABELS, FOLDS, seed=0, selection=selection)
    for fold in FOLDS:
        alone = cross_fit(spec, FEATURES[columns_of(selection, fold.number)], LABELS, [fold], seed=0)
        pd.testing.assert_frame_equal(found.iloc[fold.test], alone.iloc[fold.test], check_exact=True)


def test_the_order_of_the_tables_columns_does_not_matter_to_a_model_that_was_told_its_own(selection):
    spec = ModelSpec("lightgbm", params=QUICK)
    found = cross_fit(spec, FEATURES, LABELS, FOLDS, seed=0, selection=selection)
    turned = cross_fit(spec, FEATURES[FEATURES.columns[::-1]], LABELS, FOLDS, seed=0, selection=selection)
    pd.testing.assert_frame_equal(found, turned, check_exact=True)


def test_the_final_model_answers_the_columns_that_it_names(selection):
    trained = train(ModelSpec("lightgbm", params=QUICK), FEATURES, LABELS, ROLES, seed=0, selection=selection)
    shown = samples_of(FEATURES[list(trained.features)])
    moved = samples_of(FEATURES[list(trained.features)].assign(x0=-FEATURES["x0"]))
    assert trained.model.predict(shown).shape == (N_BARS, 3)
    assert np.abs(trained.model.predict(shown) - trained.model.predict(moved)).max() > 0.1


def test_a_fold_that_nothing_was_selected_for_is_refused(selection):
    others = [fold for fold in folds_of(ROLES.rename(columns={"fold_1": "fold_7"})) if fold.number == 7]
    with pytest.raises(DataContractError, match="no feature was selected for fold 7, only for 0, 1, -1"):
        cross_fit(ModelSpec("prior"), FEATURES, LABELS, others, seed=0, selection=selection)


def test_a_selected_feature_that_the_table_does_not_have_is_named(selection):
    with pytest.raises(DataContractError, match="x0 was selected for fold 0 and is no column of the feature table"):
        cross_fit(ModelSpec("prior"), FEATURES.drop(columns="x0"), LABELS, FOLDS, seed=0, selection=selection)


def test_features_and_labels_of_other_bars_are_refused():
    with pytest.raises(DataContractError, match=f"features have {len(FEATURES) - 1} rows, labels {len(LABELS)}"):
        select_features(FEATURES.iloc[1:], LABELS, ROLES, config=FOUR, seed=0)
