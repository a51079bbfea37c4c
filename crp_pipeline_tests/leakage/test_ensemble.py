"""No decision knows a label or a prediction that came later, and a stack that does is caught."""

import importlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from crp_pipeline.contracts import PROBABILITIES
from crp_pipeline.ensemble import fit_stack
from crp_pipeline.gate.evidence import integrity_evidence
from crp_pipeline.splits import role_table
from crp_pipeline_tests.forecasts import guesses, stacking_problem

ensembling = importlib.import_module("crp_pipeline.ensemble")

FRAMES, LABELS, FOLDS = stacking_problem(1_200, train_size=200, test_size=200, unlabelled=(410, 593, 594))
TIMES, ENDS = LABELS.index, LABELS["label_end"]


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of linear algebra wait for each other longer than these small fits take."""
    with threadpool_limits(1):
        yield


def decisions(frames=FRAMES, labels=LABELS, folds=FOLDS):
    return fit_stack(frames, labels, folds, seed=1).decide(frames)


def another_future(number):
    """Another world from a fold on: other predictions after its block, other labels wherever one was open when it began."""
    rng = np.random.default_rng(number)
    after = FOLDS[number].test[-1] + 1
    frames = {}
    for position, (name, frame) in enumerate(FRAMES.items()):
        frames[name] = frame.copy()
        rows = frame.index[after:]
        frames[name].loc[rows, list(PROBABILITIES)] = guesses(len(rows), seed=10 * number + position)
    labels, open_then = LABELS.copy(), (TIMES[FOLDS[number].test[0]] <= ENDS).to_numpy()
    labels.loc[open_then, "signal"] = (labels["signal"] + 2) % 3 - 1
    labels.loc[open_then, "forward_return"] = rng.normal(5, 1, open_then.sum())
    labels.loc[open_then, "weight"] = rng.uniform(0, 1, open_then.sum())
    return frames, labels


def folds_that_saw_it():
    """Folds whose decisions changed with what came after."""
    now, saw = decisions(), set()
    for number in range(1, len(FOLDS)):
        then = decisions(*another_future(number))
        for fold in FOLDS[: number + 1]:
            if not then.iloc[fold.test].equals(now.iloc[fold.test]):
                saw.add(fold.number)
    return saw


def late_members(stack):
    roles = role_table(FOLDS, TIMES, ENDS)
    return integrity_evidence(roles, LABELS, stack, leaking_features=0, lineage={"candles": ["a"]})["late_stack_members"]


def test_there_are_folds_to_look_at():
    assert [fold.test[0] for fold in FOLDS] == [200, 400, 600, 800, 1000]
    assert decisions()["confidence"].notna().sum() == 800


def test_decisions_do_not_change_with_what_came_after_their_fold():
    assert folds_that_saw_it() == set()


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_decisions_do_change_with_what_was_known(number):
    """Without this, the test above could not fail: the last label that a member may know matters to it."""
    ended = np.flatnonzero((TIMES[FOLDS[number].test[0]] > ENDS).to_numpy())[-1]
    labels = LABELS.copy()
    labels.iloc[ended, labels.columns.get_loc("forward_return")] += 1.0
    then, now = (frame.iloc[FOLDS[number].test] for frame in (decisions(labels=labels), decisions()))
    assert not then["expected_return"].equals(now["expected_return"])


def test_the_member_in_office_learned_only_labels_that_had_ended():
    stack = fit_stack(FRAMES, LABELS, FOLDS, seed=1)
    assert all(member.learned_until < member.in_office_from for member in stack.members)
    assert late_members(stack) == 0


def test_every_decision_comes_from_the_latest_member_that_was_in_office():
    stack = fit_stack(FRAMES, LABELS, FOLDS, seed=1)
    marked = replace(
        stack, members=tuple(replace(member, class_return=np.full(3, n)) for n, member in enumerate(stack.members))
    )
    found = marked.decide(FRAMES)["expected_return"]
    for row, time in enumerate(TIMES):
        in_office = [n for n, member in enumerate(stack.members) if member.in_office_from <= time]
        if in_office:
            assert found.iloc[row] == pytest.approx(in_office[-1])
        else:
            assert np.isnan(found.iloc[row])


def test_later_bars_change_no_earlier_decision():
    shorter = slice(0, 900)
    labels, frames = LABELS.iloc[shorter].copy(), {name: frame.iloc[shorter] for name, frame in FRAMES.items()}
    labels.loc[labels["label_end"] > TIMES[899], ["signal", "forward_return", "weight"]] = np.nan
    labels.loc[labels["label_end"] > TIMES[899], "label_end"] = pd.NaT
    folds = [*FOLDS[:3], replace(FOLDS[3], test=FOLDS[3].test[:100])]
    pd.testing.assert_frame_equal(decisions(frames, labels, folds), decisions().iloc[shorter], check_exact=True)


# planted leaks


def up_to_and_with(rows, since, logits, labels):
    ended = (labels["label_end"].iloc[rows] <= since).to_numpy()
    return rows[ended & np.isfinite(logits[rows]).all(axis=1)]


def every_tested_row(rows, since, logits, labels):
    return rows[labels["signal"].iloc[rows].notna().to_numpy()]


def every_row_there_is(rows, since, logits, labels):
    return np.flatnonzero(labels["signal"].notna() & np.isfinite(logits).all(axis=1))


@pytest.mark.parametrize("leaking", [up_to_and_with, every_tested_row, every_row_there_is])
def test_a_member_that_knows_an_open_label_is_caught_twice(leaking, monkeypatch):
    monkeypatch.setattr(ensembling, "_learnable", leaking)
    assert folds_that_saw_it()
    assert late_members(fit_stack(FRAMES, LABELS, FOLDS, seed=1)) > 0


def test_tiers_cut_by_the_confidences_of_their_own_block_are_caught(monkeypatch):
    fit_member = ensembling._fit_member

    def cut_by_all(since, rows, logits, labels, seed, config):
        member = fit_member(since, rows, logits, labels, seed, config)
        known = logits[np.isfinite(logits).all(axis=1)]
        return replace(member, tier_cuts=ensembling._tier_cuts(member.probabilities(known), config.tier_quantiles))

    monkeypatch.setattr(ensembling, "_fit_member", cut_by_all)
    assert folds_that_saw_it()


def test_a_member_in_office_too_early_is_caught():
    """The last member, who learned everything, put in office a block before its time."""
    stack = fit_stack(FRAMES, LABELS, FOLDS, seed=1)
    last = replace(stack.members[-1], in_office_from=TIMES[FOLDS[-1].test[0]])
    assert late_members(replace(stack, members=(*stack.members[:-2], last))) == 1
