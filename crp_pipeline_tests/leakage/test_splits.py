"""A purge that is off by one is found, whichever way it is broken."""

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.contracts import Fold
from crp_pipeline.splits import CombinatorialPurged, PurgedWalkForward, overlaps, purged_tail
from crp_pipeline_tests.recording import BARS_OF_A_LABEL, learnable_history

N_BARS = 300
SIZES = {"train_size": 100, "test_size": 50}
LABELS = learnable_history(N_BARS, unlabelled=(20, 91, 140))[1]
TIMES, ENDS = LABELS.index, LABELS["label_end"]
ONE_BAR = pd.Timedelta("1h")


class UpToAndWith(PurgedWalkForward):
    """Learns from a label that ends at the very moment of the first test decision."""

    def _fold(self, number, first, start, end):
        fold = super()._fold(number, first, start, end)
        touching = np.flatnonzero(end[:first] == start[first])
        return Fold(fold.number, np.union1d(fold.train, touching), fold.test)


class ByPosition(PurgedWalkForward):
    """Purges as many rows as the horizon has bars, which is one too few: entry is a bar after the decision."""

    def _fold(self, number, first, start, end):
        kept = np.arange(first - (BARS_OF_A_LABEL - 1))
        return Fold(number, kept[end[kept] != end.min()], super()._fold(number, first, start, end).test)


class Unpurged(PurgedWalkForward):
    def _fold(self, number, first, start, end):
        return Fold(number, np.arange(first), super()._fold(number, first, start, end).test)


def n_overlaps(folds):
    return len(overlaps(folds, TIMES, ENDS))


def n_overlaps_by_hand(folds):
    """Training rows without a label, or whose label's last moment is not before the first test decision."""
    return sum(pd.isna(ENDS.iloc[row]) or ENDS.iloc[row] >= TIMES[fold.test[0]] for fold in folds for row in fold.train)


@pytest.mark.parametrize("options", [{}, {"expanding": False}, {"embargo": 3}, {"partial": True, "test_size": 70}])
def test_the_splitter_leaves_no_overlap(options):
    folds = PurgedWalkForward(**{**SIZES, **options}).split(TIMES, ENDS)
    assert len(folds) >= 3
    assert n_overlaps(folds) == n_overlaps_by_hand(folds) == 0


def test_the_purge_stops_exactly_where_it_must():
    """One more row would overlap: nothing is thrown away for safety's sake that would hide a fault."""
    for fold in PurgedWalkForward(**SIZES).split(TIMES, ENDS):
        last = fold.train[-1]
        assert ENDS.iloc[last] < TIMES[fold.test[0]] == ENDS.iloc[last + 1]


@pytest.mark.parametrize("broken", [UpToAndWith, ByPosition, Unpurged])
def test_a_broken_purge_is_found_in_every_fold(broken):
    folds = broken(**SIZES).split(TIMES, ENDS)
    assert n_overlaps(folds) == n_overlaps_by_hand(folds) > 0
    assert set(overlaps(folds, TIMES, ENDS)["fold"]) == {fold.number for fold in folds}


def test_one_row_too_many_is_one_overlap_and_is_named():
    folds = UpToAndWith(**SIZES).split(TIMES, ENDS)
    found = overlaps(folds, TIMES, ENDS)
    assert len(found) == len(folds) == 4
    assert (found["label_end"] == found["test_start"]).all()
    assert found["open_time"].iloc[0] == TIMES[100 - BARS_OF_A_LABEL].tz_localize(None)


def test_labels_that_end_a_bar_later_than_the_splitter_was_told_overlap():
    folds = PurgedWalkForward(**SIZES).split(TIMES, ENDS - ONE_BAR)
    assert n_overlaps(folds) == len(folds)


def test_an_embargo_covers_labels_that_end_later_than_told_up_to_its_length():
    folds = PurgedWalkForward(**SIZES, embargo=2).split(TIMES, ENDS - 2 * ONE_BAR)
    assert n_overlaps(folds) == 0
    folds = PurgedWalkForward(**SIZES, embargo=1).split(TIMES, ENDS - 2 * ONE_BAR)
    assert n_overlaps(folds) == len(folds)


def test_a_combinatorial_split_has_no_overlap_and_a_planted_one_is_found():
    """Test blocks may lie on both sides of a training row, so each block is audited on its own."""
    splitter = CombinatorialPurged(n_blocks=5, n_test_blocks=2, embargo=2)
    blocks = np.array_split(np.arange(N_BARS), 5)
    audited = [
        Fold(fold.number, fold.train, block)
        for fold in splitter.split(TIMES, ENDS)
        for block in blocks
        if np.isin(block, fold.test).all()
    ]
    assert len(audited) == 20
    assert n_overlaps(audited) == 0
    before, after = audited[5].test[0] - 1, audited[5].test[-1] + 1
    for row in (before, after):
        assert n_overlaps([Fold(0, np.array([row]), audited[5].test)]) == 1


@pytest.mark.parametrize("share", [0.05, 0.15, 0.5])
def test_the_watched_tail_never_meets_what_is_learned(share):
    rows = np.flatnonzero(ENDS.notna())
    learn, watch = purged_tail(rows, TIMES, ENDS, share=share)
    assert ENDS.iloc[learn].max() < TIMES[watch[0]]
    assert learn.tolist() == [row for row in rows if row < watch[0] and ENDS.iloc[row] < TIMES[watch[0]]]
    assert len(watch) == round(share * len(rows))
