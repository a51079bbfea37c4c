"""No feature is chosen by what came after its training block, nor by what early stopping watches, and what would is caught."""

import importlib

import numpy as np
import pandas as pd

from crp_pipeline.contracts import FINAL
from crp_pipeline.models import columns_of, samples_of, select_features
from crp_pipeline.settings import SelectionConfig
from crp_pipeline.splits import PurgedWalkForward, purged_tail, role_table
from crp_pipeline_tests.recording import BARS_OF_A_LABEL, Recording, learnable_history, wide_history

selecting = importlib.import_module("crp_pipeline.models.selection")

SHARE = 0.2
CONFIG = SelectionConfig(keep=4, watch_share=0.3)
FEATURES, LABELS = wide_history(1_500, seed=5, strength=1.0, n_noise=10)
TIMES, ENDS = LABELS.index, LABELS["label_end"]
FOLDS = PurgedWalkForward(train_size=700, test_size=200).split(TIMES, ENDS)
ROLES = role_table(FOLDS, TIMES, ENDS)
NUMBERS = [fold.number for fold in FOLDS]


def selected(features=FEATURES, labels=LABELS, roles=ROLES, *, share=SHARE):
    found = select_features(features, labels, roles, config=CONFIG, seed=3, validation_share=share)
    return {fold: block.drop(columns="fold").reset_index(drop=True) for fold, block in found.groupby("fold")}


NOW = selected()


def learned(fold):
    """Rows that a model of the fold learns from."""
    return purged_tail(fold.train, TIMES, ENDS, share=SHARE)[0]


def another_world(rows, *, seed=0):
    """The history with other features, signals and weights on these rows."""
    rng = np.random.default_rng(seed)
    features, labels = FEATURES.copy(), LABELS.copy()
    features.iloc[rows] = rng.normal(50, 500, (len(rows), features.shape[1]))
    place = labels.columns.get_indexer(["signal", "weight", "forward_return"])
    labelled = rows[labels["signal"].notna().to_numpy()[rows]]
    labels.iloc[labelled, place[0]] = (labels["signal"].iloc[labelled] + 2) % 3 - 1  # every one is another
    labels.iloc[labelled, place[1]], labels.iloc[labelled, place[2]] = rng.uniform(0, 1, len(labelled)), 9.0
    return features, labels


def folds_that_saw_it(rows_of, *, share=SHARE):
    """Folds whose selection changed with these rows."""
    now = selected(share=share)
    then = {fold.number: selected(*another_world(rows_of(fold)), share=share)[fold.number] for fold in FOLDS}
    return {number for number in NUMBERS if not then[number].equals(now[number])}


def unseen(fold):
    return np.setdiff1d(np.arange(len(FEATURES)), learned(fold))


def test_there_are_folds_to_look_at():
    assert [(fold.test[0], len(fold.test)) for fold in FOLDS] == [(700, 200), (900, 200), (1_100, 200), (1_300, 200)]


def test_a_selection_does_not_change_with_any_row_that_its_models_do_not_learn_from():
    assert folds_that_saw_it(unseen) == set()


def test_a_selection_does_change_with_what_was_known():
    """Without this, the test above could not fail."""
    assert folds_that_saw_it(lambda fold: learned(fold)[-300:]) == set(NUMBERS)


def test_a_shuffled_future_changes_nothing():
    rng = np.random.default_rng(1)
    for fold in FOLDS:
        future = np.arange(fold.test[0], len(FEATURES))
        features = FEATURES.copy()
        features.iloc[future] = FEATURES.iloc[rng.permutation(future)].to_numpy()
        assert selected(features)[fold.number].equals(NOW[fold.number])


def test_later_bars_change_no_earlier_selection():
    """The same night on a longer history: what was selected stays."""
    shorter = slice(0, 1_150)
    folds = PurgedWalkForward(train_size=700, test_size=200, partial=True).split(TIMES[shorter], ENDS.iloc[shorter])
    roles = role_table(folds, TIMES[shorter], ENDS.iloc[shorter])
    then = selected(FEATURES.iloc[shorter], LABELS.iloc[shorter], roles)
    assert sorted(then) == [FINAL, 0, 1, 2]
    assert all(then[number].equals(NOW[number]) for number in (0, 1, 2))


def test_the_final_selection_sees_no_row_without_a_label():
    unlabelled = np.flatnonzero(ENDS.isna())
    assert len(unlabelled) == BARS_OF_A_LABEL
    assert selected(*another_world(unlabelled))[FINAL].equals(NOW[FINAL])
    assert not selected(*another_world(np.arange(1_300, 1_400)))[FINAL].equals(NOW[FINAL])


# the inner split


def inner_splits(monkeypatch):
    """(learned, watched) rows of every ranking model, told by a column that holds the row's number."""
    rows, watched = FEATURES.assign(row=np.arange(len(FEATURES), dtype=float)), []

    def look(predict, table, outcome, permutations, *, weight):
        watched.append(table[:, -1].astype(int))
        np.testing.assert_array_equal(outcome, LABELS["signal"].iloc[watched[-1]] + 1)
        np.testing.assert_array_equal(weight, LABELS["weight"].iloc[watched[-1]])
        return np.zeros(table.shape[1])

    monkeypatch.setattr(Recording, "fits", [])
    monkeypatch.setattr(selecting, "from_spec", lambda *_, **__: Recording())
    monkeypatch.setattr(selecting, "permutation_importance", look)
    selected(rows)
    for fit in Recording.fits:
        np.testing.assert_array_equal(fit.y, LABELS["signal"].iloc[fit.rows])
        np.testing.assert_array_equal(fit.weight, LABELS["weight"].iloc[fit.rows])
    return [(fit.rows, fit.validation, seen) for fit, seen in zip(Recording.fits, watched, strict=True)]


def test_what_is_ranked_on_comes_later_than_what_is_learned_and_is_purged_from_it(monkeypatch):
    splits = inner_splits(monkeypatch)
    assert len(splits) == len(FOLDS) + 1
    for fold, (learn, validation, watch) in zip(FOLDS, splits, strict=False):
        block = learned(fold)
        assert validation is None
        assert np.isin([*learn, *watch], block).all()
        assert watch.tolist() == block.tolist()[-round(CONFIG.watch_share * len(block)) :]
        assert ENDS.iloc[learn].max() < TIMES[watch[0]]
        assert len(block) - len(learn) - len(watch) == BARS_OF_A_LABEL, "a label lives for seven bars"
        stopping = purged_tail(fold.train, TIMES, ENDS, share=SHARE)[1]
        assert ENDS.iloc[watch].max() < TIMES[stopping[0]]


# planted leaks


def with_a_gift(rows_of, *, seed=0):
    """A column per fold that is the label on the rows given and noise elsewhere."""
    rng = np.random.default_rng(seed)
    gifts = {}
    for fold in FOLDS:
        gift, rows = rng.normal(size=len(FEATURES)), rows_of(fold)
        gift[rows] = LABELS["signal"].iloc[rows].fillna(0.0)
        gifts[f"gift_{fold.number}"] = gift
    return FEATURES.assign(**gifts)


def folds_that_took_it(rows_of, *, seed=0):
    found = select_features(with_a_gift(rows_of, seed=seed), LABELS, ROLES, config=CONFIG, seed=seed, validation_share=SHARE)
    return [fold.number for fold in FOLDS if f"gift_{fold.number}" in columns_of(found, fold.number)]


def test_a_feature_that_is_the_label_on_the_test_block_only_is_taken_no_more_often_than_chance():
    n_tries = 5
    taken = sum(len(folds_that_took_it(lambda fold: fold.test, seed=seed)) for seed in range(n_tries))
    # 4 of 17 ranked columns are kept, one of which is informative: chance is 3 in 16
    expected, n = 3 / 16 * n_tries * len(FOLDS), n_tries * len(FOLDS)
    assert taken < expected + 3 * np.sqrt(n * 3 / 16 * 13 / 16)


def test_a_feature_that_is_the_label_where_early_stopping_watches_is_chosen_as_if_it_were_noise():
    def tail(fold):
        return np.setdiff1d(fold.train, learned(fold))

    nowhere = np.array([], dtype=int)
    assert all(len(tail(fold)) > 100 for fold in FOLDS)
    for fold in FOLDS:
        gift, noise = (with_a_gift(rows_of)[[*FEATURES, f"gift_{fold.number}"]] for rows_of in (tail, lambda _: nowhere))
        assert selected(gift)[fold.number].equals(selected(noise)[fold.number])


def test_a_feature_that_is_the_label_on_the_training_block_is_taken():
    """Without this, the tests above could not fail."""
    assert folds_that_took_it(learned) == NUMBERS


def test_one_selection_of_all_rows_for_all_folds_is_caught(monkeypatch):
    everything = np.flatnonzero(ENDS.notna())
    monkeypatch.setattr(selecting, "purged_tail", lambda *_, **__: (everything, everything))
    assert folds_that_saw_it(unseen) == set(NUMBERS)


def test_correlations_taken_over_all_rows_are_caught(monkeypatch):
    screened = selecting._screened
    history = []

    def of_all_rows(table, drawn, limit):
        return screened(history[-1], drawn, limit)

    def keep(features):
        history.append(features.to_numpy())
        return samples_of(features)

    monkeypatch.setattr(selecting, "samples_of", keep)
    monkeypatch.setattr(selecting, "_screened", of_all_rows)
    assert folds_that_saw_it(unseen) == set(NUMBERS)


def test_a_selection_on_what_early_stopping_watches_is_caught():
    assert folds_that_saw_it(unseen, share=0.01) == set(NUMBERS)


def test_noise_is_worth_nothing_in_the_mean():
    _, labels = learnable_history(1_500, seed=8, strength=0.0)
    noise = np.random.default_rng(0).normal(size=(1_500, 12))
    features = pd.DataFrame(noise, columns=[f"noise_{number}" for number in range(12)], index=labels.index)
    importance = np.concatenate([block["importance"] for block in selected(features, labels).values()])
    assert len(importance) == 12 * (len(FOLDS) + 1)
    assert abs(importance.mean()) < 4 * importance.std() / np.sqrt(len(importance))
