"""Which bars an epoch shows: every labelled one once, nothing later than it, nothing over a hole."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crp_pipeline.contracts import Samples
from crp_pipeline.models.batches import Chunks, Windows, cut, lesson_of, scored_bars, seen_bars

CPU = torch.device("cpu")


@st.composite
def stretches(draw):
    """(rows, segment_start, reach): some rows of a history with holes, each with a window behind it."""
    reach = draw(st.integers(1, 6))
    lengths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    starts = np.repeat(np.cumsum([0, *lengths[:-1]]), lengths)
    behind = np.arange(len(starts)) - starts
    able = np.flatnonzero(behind >= reach - 1)
    chosen = draw(st.lists(st.booleans(), min_size=len(able), max_size=len(able)))
    rows = able[np.array(chosen, dtype=bool)]
    return rows, starts, reach


@settings(max_examples=200, deadline=None)
@given(stretches(), st.integers(1, 12), st.integers(0, 11))
def test_every_row_lies_in_one_chunk_which_sees_its_window_and_reaches_over_no_hole(stretch, length, offset):
    rows, starts_of, reach = stretch
    if not len(rows):
        return
    starts, stops = cut(rows, starts_of, length=length, offset=offset % length)
    bars, own = scored_bars(starts, stops, length)
    held = bars[own]
    assert len(np.unique(held)) == len(held), "no bar twice"
    assert np.isin(rows, held).all()
    seen = seen_bars(starts, stops, starts_of, reach=reach, length=length)
    for chunk in range(len(starts)):
        for place, (bar, is_own) in enumerate(zip(bars[chunk], own[chunk], strict=True)):
            if is_own and bar in rows:
                window = seen[chunk, place : place + reach]
                assert window.tolist() == list(range(bar - reach + 1, bar + 1))
                assert (seen[chunk, : place + reach] <= bar).all(), "nothing later than the bar comes before its state"
        assert len(set(starts_of[seen[chunk]])) == 1, "one stretch"


def numbered(n_bars, *, rows, starts=None, weight=None):
    """A lesson whose features and labels are the number of their bar."""
    history = np.arange(n_bars, dtype=np.float64)[:, None]
    X = Samples(history, rows, starts)
    return lesson_of(X, rows.astype(float), weight, CPU)


def test_each_label_stands_at_its_bar_and_bars_without_one_weigh_nothing():
    rows = np.array([5, 6, 9, 10, 11, 20])
    weight = np.array([1.0, 2, 3, 4, 5, 6]) / 10
    chunks = Chunks(numbered(30, rows=rows, weight=weight), reach=4, length=8, bars_per_batch=8)
    for epoch in range(5):
        shown = {}
        for x, y, w in chunks.epoch(np.random.default_rng(epoch)):
            assert x.shape[1:] == (3 + 8, 1)
            counted = w > 0
            torch.testing.assert_close(x[:, 3:, 0][counted], y[..., 0][counted])
            for bar, mass in zip(y[..., 0][counted].tolist(), w[counted].tolist(), strict=True):
                assert bar not in shown
                shown[int(bar)] = mass
        assert shown == pytest.approx(dict(zip(rows.tolist(), weight.tolist(), strict=True)))


def test_epochs_cut_the_history_at_other_places_and_the_same_seed_at_the_same():
    chunks = Chunks(numbered(400, rows=np.arange(10, 400)), reach=4, length=32, bars_per_batch=64)

    def first_bars(seed):
        return [x[:, 3, 0].tolist() for x, _, _ in chunks.epoch(np.random.default_rng(seed))]

    assert first_bars(1) == first_bars(1)
    assert first_bars(1) != first_bars(2)


def test_windows_are_drawn_in_proportion_to_uniqueness_and_as_many_as_labels_are_worth():
    rows = np.arange(10, 1_010)
    weight = np.where(rows < 510, 0.02, 0.18)
    windows = Windows(numbered(1_010, rows=rows, weight=weight), reach=4, windows_per_batch=16, windows_per_label=2.0)
    drawn = []
    for seed in range(20):
        epoch = list(windows.epoch(np.random.default_rng(seed)))
        bars = torch.cat([batch.y[:, 0, 0] for batch in epoch]).numpy()
        assert len(bars) == 200, "twice the 100 independent labels"
        assert len(set(bars.tolist())) == 200, "each at most once"
        for batch in epoch:
            torch.testing.assert_close(batch.x[..., 0], batch.y[:, 0] + torch.arange(-3.0, 1.0))
            assert (batch.weight == 1).all()
        drawn.append(np.mean(bars >= 510))
    assert 0.8 < np.mean(drawn) < 0.93, "nine tenths of the weight, a little less without replacement"


def test_watched_windows_are_all_rows_with_their_weights():
    rows, weight = np.arange(10, 700), np.linspace(0.1, 1, 690)
    windows = Windows(numbered(700, rows=rows, weight=weight), reach=4, windows_per_batch=16, windows_per_label=2.0)
    batches = list(windows.in_order())
    assert torch.cat([batch.y[:, 0, 0] for batch in batches]).tolist() == rows.tolist()
    torch.testing.assert_close(torch.cat([batch.weight[:, 0] for batch in batches]).double().numpy(), weight, rtol=1e-6, atol=0)
