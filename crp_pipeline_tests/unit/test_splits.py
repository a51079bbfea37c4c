"""Splits by hand."""

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.contracts import Fold
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.settings import WalkForwardConfig
from crp_pipeline.splits import (
    UNUSED,
    CombinatorialPurged,
    PurgedWalkForward,
    fold_table,
    folds_of,
    learnable_rows,
    overlaps,
    purged_tail,
    role_table,
    timeline,
    walk_forward,
)


def hours(n):
    return pd.date_range("2024-01-01", periods=n, freq="h", tz="UTC", name="open_time")


def ends(n, bars=2):
    return hours(n) + pd.Timedelta(hours=bars)


@pytest.mark.parametrize(
    ("splitter", "expected"),
    [
        (PurgedWalkForward(train_size=4, test_size=3), [([0, 1], [4, 5, 6]), ([0, 1, 2, 3, 4], [7, 8, 9])]),
        (PurgedWalkForward(train_size=4, test_size=3, expanding=False), [([0, 1], [4, 5, 6]), ([3, 4], [7, 8, 9])]),
        (PurgedWalkForward(train_size=4, test_size=3, embargo=1), [([0], [4, 5, 6]), ([0, 1, 2, 3], [7, 8, 9])]),
        (PurgedWalkForward(train_size=6, test_size=3), [([0, 1, 2, 3], [6, 7, 8])]),
        (
            PurgedWalkForward(train_size=6, test_size=3, partial=True),
            [([0, 1, 2, 3], [6, 7, 8]), ([0, 1, 2, 3, 4, 5, 6], [9])],
        ),
    ],
)
def test_walk_forward_by_hand(splitter, expected):
    found = [(fold.train.tolist(), fold.test.tolist()) for fold in splitter.split(hours(10), ends(10))]
    assert found == expected


def test_too_short_a_history_names_its_numbers():
    with pytest.raises(InsufficientHistoryError, match="6 rows are too few for one fold of 4 training and 3 test rows"):
        PurgedWalkForward(train_size=4, test_size=3).split(hours(6), ends(6))


@pytest.mark.parametrize("wrong", [{"train_size": 0}, {"embargo": -1}, {"anchor": "end"}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match=r"allowed|positive"):
        PurgedWalkForward(**{"train_size": 4, "test_size": 3, **wrong})


def test_a_row_without_a_label_is_tested_but_never_learned_from():
    label_end = ends(10).to_series(index=hours(10))
    label_end.iloc[[1, 5]] = pd.NaT
    fold = PurgedWalkForward(train_size=4, test_size=6).split(hours(10), label_end)[0]
    assert fold.train.tolist() == [0]
    assert fold.test.tolist() == [4, 5, 6, 7, 8, 9]


def test_combinatorial_by_hand():
    folds = CombinatorialPurged(n_blocks=3, n_test_blocks=1, embargo=1).split(hours(9), ends(9, bars=1))
    assert [(fold.train.tolist(), fold.test.tolist()) for fold in folds] == [
        ([5, 6, 7, 8], [0, 1, 2]),
        ([0, 1, 8], [3, 4, 5]),
        ([0, 1, 2, 3, 4], [6, 7, 8]),
    ]


def test_the_purged_tail_leaves_room_for_the_last_label():
    learn, watch = purged_tail(np.arange(10), hours(10), ends(10), share=0.3)
    assert watch.tolist() == [7, 8, 9]
    assert learn.tolist() == [0, 1, 2, 3, 4]


def test_an_overlap_off_by_one_is_found():
    good = Fold(0, np.array([0, 1]), np.array([4, 5]))
    touching = Fold(1, np.array([0, 1, 2]), np.array([4, 5]))
    assert overlaps([good], hours(8), ends(8)).empty
    found = overlaps([good, touching], hours(8), ends(8))
    assert found["fold"].tolist() == [1]
    assert found["open_time"].tolist() == [hours(8)[2].tz_localize(None)]


def test_a_training_row_without_label_counts_as_overlap():
    label_end = ends(8).to_series(index=hours(8))
    label_end.iloc[0] = pd.NaT
    assert len(overlaps([Fold(0, np.array([0]), np.array([4]))], hours(8), label_end)) == 1


def test_the_role_table_keeps_the_folds():
    folds = PurgedWalkForward(train_size=4, test_size=3).split(hours(10), ends(10))
    roles = role_table(folds, hours(10), ends(10))
    assert roles["fold_0"].tolist() == [1, 1, 3, 3, 2, 2, 2, 0, 0, 0]
    for kept, fold in zip(folds_of(roles), folds, strict=True):
        np.testing.assert_array_equal(kept.train, fold.train)
        np.testing.assert_array_equal(kept.test, fold.test)
    assert timeline(roles)["n_purged"].tolist() == [2, 2]
    assert learnable_rows(roles, ends(10)).tolist() == list(range(10))


def test_unready_rows_are_neither_learned_from_nor_tested():
    n = 400
    labels = pd.DataFrame({"label_end": ends(n)}, index=hours(n))
    ready = np.ones(n, dtype=bool)
    ready[:50] = ready[200:300] = False
    folds = walk_forward(labels, ready, WalkForwardConfig(train_size=100, test_size=100, embargo=0))
    assert [fold.number for fold in folds] == [0, 2]
    assert not np.isin(np.concatenate([fold.train for fold in folds]), np.flatnonzero(~ready)).any()
    assert folds[1].test[0] == 300


def test_rows_that_are_not_ready_play_no_role_and_the_final_model_does_not_learn_them():
    n = 400
    labels = pd.DataFrame({"label_end": ends(n)}, index=hours(n))
    ready = np.ones(n, dtype=bool)
    ready[:50] = ready[200:300] = False
    roles = fold_table(labels, ready, WalkForwardConfig(train_size=100, test_size=100, embargo=0))
    assert (roles.to_numpy()[~ready] == UNUSED).all()
    assert ready[learnable_rows(roles, labels["label_end"])].all()
    assert timeline(roles)["n_purged"].tolist() == [2, 0], "the hundred rows before the second block are not ready, not purged"


@pytest.mark.parametrize(
    "splitter", [PurgedWalkForward(train_size=4, test_size=2), CombinatorialPurged(n_blocks=3, n_test_blocks=1)]
)
@pytest.mark.parametrize(
    ("times", "label_end", "message"),
    [
        (hours(10)[::-1], ends(10), "times must rise from row to row, 2024-01-01 08:00:00.* does not"),
        (hours(10)[[0, 1, 1, *range(3, 10)]], ends(10), "times must rise from row to row, 2024-01-01 01:00:00.* does not"),
        (hours(10), ends(9), "there are 10 times and 9 label ends"),
        (
            hours(10),
            hours(10) - pd.Timedelta("1h"),
            "the label of 2024-01-01 00:00:00.* ends before it starts, at 2023-12-31 23",
        ),
    ],
)
def test_time_that_runs_backwards_is_refused(splitter, times, label_end, message):
    with pytest.raises(DataContractError, match=message):
        splitter.split(times, label_end)


@pytest.mark.parametrize("wrong", [{"n_test_blocks": 0}, {"n_test_blocks": 5}, {"n_test_blocks": 6}, {"embargo": -1}])
def test_impossible_blocks_are_refused(wrong):
    with pytest.raises(ValueError, match="blocks can be tested"):
        CombinatorialPurged(**{"n_blocks": 5, "n_test_blocks": 2, **wrong})
