"""What holds of every split, whatever the label lengths and holes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crp_pipeline.errors import InsufficientHistoryError
from crp_pipeline.splits import (
    TEST,
    TRAIN,
    UNUSED,
    CombinatorialPurged,
    PurgedWalkForward,
    folds_of,
    learnable_rows,
    overlaps,
    purged_tail,
    recent_roles,
    role_table,
)


@st.composite
def labelled_times(draw):
    """Irregular times and label ends, some of them missing."""
    n = draw(st.integers(30, 80))
    steps = draw(st.lists(st.integers(1, 5), min_size=n, max_size=n))
    lives = draw(st.lists(st.integers(1, 30), min_size=n, max_size=n))
    missing = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    times = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(np.cumsum(steps), unit="h")
    end = (times + pd.to_timedelta(lives, unit="h")).to_series(index=times)
    return pd.DatetimeIndex(times), end.where(~np.array(missing))


walks = st.builds(
    PurgedWalkForward,
    train_size=st.integers(5, 20),
    test_size=st.integers(1, 10),
    embargo=st.integers(0, 4),
    expanding=st.booleans(),
    partial=st.booleans(),
)
combinations = st.builds(
    CombinatorialPurged, n_blocks=st.integers(3, 6), n_test_blocks=st.integers(1, 2), embargo=st.integers(0, 3)
)


def lives_meet(times, end, i, j):
    """Whether two labels' lives share a moment, by the definition; a row without label lives for its decision only."""
    end_i, end_j = (times[k] if pd.isna(end.iloc[k]) else end.iloc[k] for k in (i, j))
    return times[i] <= end_j and times[j] <= end_i


@settings(max_examples=60, deadline=None)
@given(labelled_times(), st.one_of(walks, combinations))
def test_no_training_label_meets_a_test_label(history, splitter):
    times, end = history
    for fold in splitter.split(times, end):
        assert not end.iloc[fold.train].isna().any()
        assert not any(lives_meet(times, end, i, j) for i in fold.train for j in fold.test)


@settings(max_examples=60, deadline=None)
@given(labelled_times(), walks)
def test_walking_forward_never_looks_back_from_the_future(history, splitter):
    times, end = history
    for fold in splitter.split(times, end):
        assert len(fold.train) == 0 or end.iloc[fold.train].max() < times[fold.test[0]]
    assert overlaps(splitter.split(times, end), times, end).empty


@settings(max_examples=60, deadline=None)
@given(labelled_times(), walks, st.integers(0, 20))
def test_later_data_never_changes_earlier_folds(history, splitter, cut):
    times, end = history
    n = max(len(times) - cut, splitter.train_size + splitter.test_size)
    then, now = splitter.split(times[:n], end.iloc[:n]), splitter.split(times, end)
    for before, after in zip(then, now, strict=False):
        np.testing.assert_array_equal(before.train, after.train)
        np.testing.assert_array_equal(before.test, after.test[: len(before.test)])
        assert splitter.partial or len(before.test) == len(after.test)


@settings(max_examples=60, deadline=None)
@given(labelled_times(), walks)
def test_every_row_is_tested_at_most_once(history, splitter):
    times, end = history
    tested = np.concatenate([fold.test for fold in splitter.split(times, end)])
    assert len(np.unique(tested)) == len(tested)


@settings(max_examples=60, deadline=None)
@given(labelled_times(), walks)
def test_as_much_is_learned_from_as_the_purge_allows(history, splitter):
    times, end = history
    for fold in splitter.split(times, end):
        first = fold.test[0]
        oldest = 0 if splitter.expanding else first - splitter.train_size
        frontier = times[max(first - splitter.embargo, 0)]
        allowed = [i for i in range(oldest, first) if not pd.isna(end.iloc[i]) and end.iloc[i] < frontier]
        assert fold.train.tolist() == allowed


@settings(max_examples=60, deadline=None)
@given(labelled_times(), walks)
def test_a_role_table_records_the_folds(history, splitter):
    times, end = history
    folds = splitter.split(times, end)
    for kept, fold in zip(folds_of(role_table(folds, times, end)), folds, strict=True):
        np.testing.assert_array_equal(kept.train, fold.train)
        np.testing.assert_array_equal(kept.test, fold.test)


@settings(max_examples=60, deadline=None)
@given(labelled_times(), st.floats(0.05, 0.6))
def test_the_watched_tail_is_purged_from_what_is_learned(history, share):
    times, end = history
    rows = np.flatnonzero(end.notna())
    if len(rows) < 5:
        return
    learn, watch = purged_tail(rows, times, end, share=share)
    assert len(watch) >= 1
    assert not any(lives_meet(times, end, i, j) for i in learn for j in watch)


@settings(deadline=None, max_examples=60)
@given(
    n_bars=st.integers(60, 400),
    train_size=st.integers(20, 50),
    test_size=st.integers(5, 40),
    days=st.integers(1, 20),
    fewest=st.integers(1, 40),
)
def test_the_roles_of_the_last_days_are_those_of_the_whole_history_without_what_is_older(
    n_bars, train_size, test_size, days, fewest
):
    times = pd.date_range("2024-01-01", periods=n_bars, freq="h", tz="UTC")
    ends = pd.Series(times + pd.Timedelta("3h"), index=times)
    folds = PurgedWalkForward(train_size=train_size, test_size=test_size, partial=True).split(times, ends)
    whole = role_table(folds, times, ends)
    n_young = min(24 * days, n_bars)
    learned = {name: int((whole[name].iloc[-n_young:] == TRAIN).sum()) for name in whole}
    tested = {name: (whole[name].iloc[-n_young:] == TEST).any() for name in whole}
    expected = [name for name in whole if learned[name] >= fewest and tested[name]]
    if not expected:
        with pytest.raises(InsufficientHistoryError, match=f"{days} days before .* leave no fold with {fewest} rows"):
            recent_roles(whole, days, fewest=fewest)
        return
    found = recent_roles(whole, days, fewest=fewest)
    assert found.columns.tolist() == expected
    assert found.index.equals(times)
    assert (found.iloc[-n_young:] == whole[expected].iloc[-n_young:]).all(axis=None)
    assert (found.iloc[:-n_young] == UNUSED).all(axis=None)
    assert overlaps(folds_of(found), times, ends).empty
    assert learnable_rows(found, ends).min() >= n_bars - n_young
