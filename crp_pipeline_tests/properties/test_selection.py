"""What holds of every selection, whatever the table."""

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from crp_pipeline.contracts import Samples
from crp_pipeline.models.redundancy import constant_columns, first_of_same
from crp_pipeline.models.selection import select_block
from crp_pipeline.settings import SelectionConfig
from crp_pipeline_tests.recording import learnable_history

KINDS = ("noise", "copy", "near", "turned", "steps", "flat", "nothing", "holed", "seldom")
some = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def tables(draw, *, min_columns=2, with_holes=True):
    """(features, labels): columns of every kind, made from one another; `x0` says something about the label."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_bars = draw(st.integers(200, 500))
    features, labels = learnable_history(n_bars, seed=draw(st.integers(0, 99)), strength=3.0)
    columns = [features["x0"].to_numpy()]
    for kind in draw(st.lists(st.sampled_from(KINDS), min_size=min_columns - 1, max_size=10)):
        of = columns[draw(st.integers(0, len(columns) - 1))]
        columns.append(column_of(kind, of, rng, with_holes=with_holes))
    names = [f"c{number}" for number in range(len(columns))]
    return pd.DataFrame(np.column_stack(columns), columns=names, index=features.index), labels


def column_of(kind, of, rng, *, with_holes):
    n = len(of)
    present = np.where(rng.random(n) < 0.8, 1.0, np.nan) if with_holes else np.ones(n)
    return {
        "noise": rng.normal(size=n),
        "copy": of.copy(),
        "near": of + 0.1 * rng.normal(size=n),
        "turned": -np.arctan(of),
        "steps": np.round(rng.normal(size=n)),
        "flat": np.full(n, 2.5),
        "nothing": np.full(n, np.nan),
        "holed": of * present,
        "seldom": 4.0 * present,
    }[kind]


configs = st.builds(
    SelectionConfig,
    keep=st.integers(1, 8),
    max_correlation=st.sampled_from([0.3, 0.8, 0.95, 1.0]),
    n_repeats=st.integers(1, 3),
    watch_share=st.sampled_from([0.2, 0.4]),
)


def selected(features, labels, config, *, seed=0):
    samples = Samples(features.to_numpy(), np.arange(len(features)), columns=tuple(features.columns))
    rows = np.flatnonzero(labels["signal"].notna())
    return select_block(samples, labels, rows, config=config, seed=seed).set_index("feature"), rows


@some
@given(tables(), configs)
def test_what_is_kept_varies_is_no_copy_and_is_no_more_than_asked_for(history, config):
    features, labels = history
    block, rows = selected(features, labels, config)
    kept = block.index[block["status"] == "kept"]
    assert block.index.tolist() == features.columns.tolist()
    assert 1 <= len(kept) == min(config.keep, (block["rank"] > 0).sum())
    shown = features[kept].to_numpy()[rows]
    assert not constant_columns(shown).any()
    assert (first_of_same(shown) == np.arange(len(kept))).all()


@some
@given(tables(with_holes=False), configs)
def test_no_two_that_are_ranked_are_more_alike_than_allowed_and_what_is_dropped_is_like_what_stands_for_it(history, config):
    features, labels = history
    block, rows = selected(features, labels, config)
    ranked = block.index[block["rank"] > 0]

    def alike(a, b):
        return abs(spearmanr(features[a].to_numpy()[rows], features[b].to_numpy()[rows]).statistic)

    for place, a in enumerate(ranked):
        assert all(alike(a, b) <= config.max_correlation + 1e-9 for b in ranked[place + 1 :])
    for name, row in block[block["status"] == "correlated"].iterrows():
        assert alike(name, row["representative"]) > config.max_correlation - 1e-9


@some
@given(tables(), configs)
def test_the_ranks_are_those_of_the_importances_and_the_best_are_kept(history, config):
    block, _ = selected(*history, config)
    ranked = block[block["rank"] > 0].sort_values("rank")
    assert ranked["rank"].tolist() == list(range(1, len(ranked) + 1))
    assert (np.diff(ranked["importance"]) <= 0).all()
    assert (ranked["status"] == "kept").tolist() == [rank <= config.keep for rank in ranked["rank"]]
    unranked = block[block["rank"] == 0]
    assert unranked["importance"].isna().all()
    assert not unranked["status"].isin(["kept", "outranked"]).any()


@some
@given(tables(), configs)
def test_every_dropped_column_that_something_stands_for_names_a_ranked_one(history, config):
    block, _ = selected(*history, config)
    stood_for = block["status"].isin(["duplicate", "correlated"])
    assert (block.loc[~stood_for, "representative"] == "").all()
    for name in block.loc[stood_for, "representative"]:
        assert block.loc[name, "rank"] > 0


@some
@given(tables(), configs, st.integers(0, 5))
def test_a_column_that_tells_nothing_more_changes_nothing_else(history, config, number):
    features, labels = history
    before, _ = selected(features, labels, config)
    kinds = {"extra_flat": 1.0, "extra_nothing": np.nan, "extra_copy": features.iloc[:, number % features.shape[1]]}
    after, _ = selected(features.assign(**kinds), labels, config)
    pd.testing.assert_frame_equal(after.loc[before.index], before, check_exact=True)
    assert after.loc[["extra_flat", "extra_nothing", "extra_copy"], "rank"].tolist() == [0, 0, 0]


@some
@given(tables(), configs, st.integers(0, 3))
def test_the_same_inputs_give_the_same_selection_bit_for_bit(history, config, seed):
    once, _ = selected(*history, config, seed=seed)
    again, _ = selected(*history, config, seed=seed)
    pd.testing.assert_frame_equal(once, again, check_exact=True)


@some
@given(tables(), configs)
def test_what_the_rows_that_are_left_out_hold_does_not_matter(history, config):
    features, labels = history
    before, rows = selected(features, labels, config)
    outside = np.setdiff1d(np.arange(len(features)), rows)
    other = features.copy()
    other.iloc[outside] = 1e6 * np.random.default_rng(0).normal(size=(len(outside), features.shape[1]))
    after, _ = selected(other, labels, config)
    pd.testing.assert_frame_equal(after, before, check_exact=True)
