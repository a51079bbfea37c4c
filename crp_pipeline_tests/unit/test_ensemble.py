"""How base predictions become one decision, against an optimizer and arithmetic of the test's own."""

import functools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from threadpoolctl import threadpool_limits

from crp_pipeline.contracts import PROBABILITIES, DecisionSchema, check_frame
from crp_pipeline.ensemble import EnsembleConfig, Member, Stack, fit_stack
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.metrics import expected_calibration_error
from crp_pipeline_tests.forecasts import guesses, sharpened, stacking_problem

CONFIG = EnsembleConfig()


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of linear algebra wait for each other longer than these small fits take."""
    with threadpool_limits(1):
        yield


@functools.cache
def usual():
    """A good model and one of noise, over four folds."""
    return stacked()


def stacked(**kwargs):
    frames, labels, folds = stacking_problem(**kwargs)
    return fit_stack(frames, labels, folds, seed=0), frames, labels, folds


def test_there_is_a_member_for_every_fold_but_the_first_and_one_for_the_time_after():
    stack, _, labels, folds = usual()
    assert [fold.test[0] for fold in folds] == [300, 600, 900, 1200]
    offices = [member.in_office_from for member in stack.members]
    assert offices == [*labels.index[[600, 900, 1200]], labels.index[-1] + pd.Timedelta(1, "ns")]


def test_a_member_has_learned_every_tested_label_that_had_ended_and_no_other():
    stack, _, labels, _ = stacked(unlabelled=(400, 401, 700))
    for member, tested_until in zip(stack.members, (600, 900, 1200, 1500), strict=True):
        ended = [end for end in labels["label_end"].iloc[300:tested_until] if pd.notna(end) and end < member.in_office_from]
        assert member.n_rows == len(ended)
        assert member.learned_until == max(ended) < member.in_office_from


def test_each_bar_knows_how_many_rows_the_member_in_office_was_calibrated_on():
    stack, _, labels, folds = usual()
    rows = stack.calibration_rows(pd.DatetimeIndex(labels.index))
    first, second, third, _ = (member.n_calibration for member in stack.members)
    assert rows.tolist() == [0] * 600 + [first] * 300 + [second] * 300 + [third] * (len(labels) - 1200)
    tested = labels["label_end"].iloc[folds[0].test[0] : 600]
    ended = (tested < labels.index[600]).sum()
    # the last 30 % of the rows learned from
    assert first == pytest.approx(0.3 * ended, abs=1)


def test_decisions_begin_with_the_first_member_and_meet_their_schema():
    stack, frames, labels, _ = usual()
    decisions = check_frame(stack.decide(frames), DecisionSchema, what="decisions")
    assert decisions.index.equals(labels.index)
    before, after = decisions.iloc[:600], decisions.iloc[600:]
    assert (before["signal"] == 0).all()
    assert (before["tier"] == "none").all()
    assert before[["confidence", "expected_return", *PROBABILITIES]].isna().all(axis=None)
    assert after[["confidence", "expected_return", *PROBABILITIES]].notna().all(axis=None)
    assert set(after["signal"]) == {-1, 0, 1}


@pytest.mark.parametrize("model", ["good", "noise"])
def test_a_bar_without_a_prediction_of_every_model_is_not_decided(model):
    stack, frames, _, _ = usual()
    frames = {**frames, model: frames[model].copy()}
    frames[model].iloc[[700, 1300], 1] = np.nan
    undecided = stack.decide(frames).iloc[[700, 1300]]
    assert undecided["signal"].tolist() == [0, 0]
    assert undecided["tier"].tolist() == ["none", "none"]
    assert undecided[["confidence", *PROBABILITIES]].isna().all(axis=None)
    assert stack.decide(frames)["confidence"].iloc[[699, 701]].notna().all()


def test_a_decision_is_the_most_probable_class_of_the_member_in_office():
    stack, frames, _, _ = usual()
    decisions = stack.decide(frames)
    logits = logits_of(frames)
    for row, number in ((900, 1), (1199, 1), (1200, 2), (1499, 2)):
        member, decision = stack.members[number], decisions.iloc[row]
        expected = softmax((member.weights @ logits[row] + member.intercept) / member.temperature)
        assert member.combination == "stack"
        np.testing.assert_allclose(decision[list(PROBABILITIES)].astype(float), expected, rtol=1e-9)
        assert decision["signal"] == expected.argmax() - 1
        assert decision["confidence"] == pytest.approx(expected.max())
        assert decision["expected_return"] == pytest.approx(expected @ member.class_return)


# each number of a member by other means


def logits_of(frames):
    """(n, 6) log-probabilities of `good`, then `noise`."""
    return np.log(np.hstack([frames[name][list(PROBABILITIES)].to_numpy() for name in ("good", "noise")]))


def slices_by_hand(labels, since, tested_until, share=CONFIG.calibration_share):
    """(learned, watched) rows of a member, one row at a time."""
    ends, times = labels["label_end"], labels.index
    rows = [row for row in range(300, tested_until) if pd.notna(ends.iloc[row]) and ends.iloc[row] < since]
    watched = rows[len(rows) - round(share * len(rows)) :]
    return [row for row in rows if row < watched[0] and ends.iloc[row] < times[watched[0]]], watched


def regression_by_hand(logits, labels, rows, strength=CONFIG.regularization):
    """Weighted multinomial logistic regression with an L2 penalty, by a general optimizer."""
    x, weight = logits[rows], labels["weight"].to_numpy()[rows]
    came = labels["signal"].to_numpy()[rows].astype(int) + 1

    def loss(flat):
        slopes, intercept = flat[:-3].reshape(3, -1), flat[-3:]
        log_p = log_softmax(x @ slopes.T + intercept, axis=1)
        residual = np.exp(log_p) - np.eye(3)[came]
        residual *= weight[:, None]
        value = -strength * weight @ log_p[np.arange(len(came)), came] + 0.5 * (slopes**2).sum()
        gradient = np.concatenate([(strength * residual.T @ x + slopes).ravel(), strength * residual.sum(axis=0)])
        return value, gradient

    found = minimize(loss, np.zeros(3 * x.shape[1] + 3), jac=True, method="BFGS", options={"gtol": 1e-7})
    return found.x[:-3].reshape(3, -1), found.x[-3:]


def test_a_member_is_the_regression_that_an_optimizer_finds_on_the_rows_it_may_know():
    stack, frames, labels, _ = stacked(unlabelled=(450, 451))
    logits = logits_of(frames)
    for member, tested_until in zip(stack.members, (600, 900, 1200, 1500), strict=True):
        learned, watched = slices_by_hand(labels, member.in_office_from, tested_until)
        if len(learned) < 200:
            continue
        slopes, intercept = regression_by_hand(logits, labels, learned)
        theirs = softmax(logits[watched] @ member.weights.T + member.intercept, axis=1)
        ours = softmax(logits[watched] @ slopes.T + intercept, axis=1)
        np.testing.assert_allclose(theirs, ours, atol=2e-3)


def test_the_temperature_is_the_best_of_a_grid_on_the_watched_rows():
    stack, frames, labels, _ = usual()
    member = stack.members[1]
    logits = logits_of(frames)
    _, watched = slices_by_hand(labels, member.in_office_from, 900)
    raw = (logits @ member.weights.T + member.intercept)[watched]
    weight, came = labels["weight"].to_numpy()[watched], labels["signal"].to_numpy()[watched].astype(int) + 1
    grid = np.exp(np.linspace(-2, 2, 4_001))
    loss = [-np.average(log_softmax(raw / t, axis=1)[np.arange(len(came)), came], weights=weight) for t in grid]
    assert member.combination == "stack"
    assert member.temperature == pytest.approx(grid[np.argmin(loss)], rel=2e-3)
    assert member.log_loss_stack == pytest.approx(min(loss), rel=1e-6)


def test_class_returns_are_the_means_of_what_was_learned():
    stack, _, labels, _ = stacked(unlabelled=(450,))
    member = stack.members[0]
    known = labels.iloc[300:600].loc[labels["label_end"].iloc[300:600] < member.in_office_from]
    by_hand = [known.loc[known["signal"] == value, "forward_return"].mean() for value in (-1, 0, 1)]
    np.testing.assert_allclose(member.class_return, by_hand, rtol=1e-12)
    assert by_hand[0] < -0.005 < 0.005 < by_hand[2]


def test_tiers_part_the_confidences_that_came_before_the_block():
    stack, frames, labels, _ = usual()
    member = stack.members[1]
    logits = logits_of(frames)
    _, watched = slices_by_hand(labels, member.in_office_from, 900)
    confident = member.probabilities(logits[watched])
    directed = confident.max(axis=1)[confident.argmax(axis=1) != 1]
    assert member.tier_cuts == pytest.approx(tuple(np.quantile(directed, [1 / 3, 2 / 3])))


def test_tiers_are_ordered_by_confidence_and_a_neutral_decision_has_none():
    stack, frames, _, _ = usual()
    decisions = stack.decide(frames)
    for number, member in enumerate(stack.members[:3]):
        block = decisions.iloc[600 + 300 * number : 900 + 300 * number]
        low, high = member.tier_cuts
        expected = np.select(
            [block["signal"] == 0, block["confidence"] < low, block["confidence"] < high],
            ["none", "low", "medium"],
            "high",
        )
        assert block["tier"].tolist() == expected.tolist()
        assert set(expected) == {"none", "low", "medium", "high"}


# what stacking is for


def log_loss_later(decisions, labels):
    scored = decisions["p_long"].notna() & labels["signal"].notna()
    p = decisions.loc[scored, list(PROBABILITIES)].to_numpy()
    return -np.log(p[np.arange(len(p)), labels.loc[scored, "signal"].to_numpy().astype(int) + 1]).mean()


def mean_of(frames):
    return sum(frame[list(PROBABILITIES)] for frame in frames.values()) / len(frames)


def test_stacking_beats_the_mean_when_one_model_is_noise():
    stack, frames, labels, _ = stacked(strength=2.0)
    assert [member.combination for member in stack.members[1:]] == ["stack"] * 3
    learned = slice(900, None)  # the first member had too few rows to learn weights from
    stacking, mean, best = (
        log_loss_later(forecast.iloc[learned], labels.iloc[learned])
        for forecast in (stack.decide(frames), mean_of(frames), frames["good"])
    )
    assert stacking < mean - 0.05
    assert stacking < best + 0.05


def betrayed(probabilities):
    """Right until the last 100 rows before the first member takes office, then guesses."""
    found = probabilities.copy()
    found[500:600] = sharpened(guesses(len(found), seed=5), 4)[500:600]
    return found


def test_the_mean_is_taken_and_said_when_the_stack_does_not_beat_it():
    frames, labels, folds = stacking_problem(
        strength=2.0, models={"turned": betrayed, "steady": lambda p: sharpened(p, 0.2)}, train_size=200, test_size=400
    )
    stack = fit_stack(frames, labels, folds, seed=0)
    first = stack.members[0]
    assert first.in_office_from == labels.index[600]
    assert first.combination == stack.table()["combination"].iloc[0] == "mean"
    assert first.log_loss_mean <= first.log_loss_stack
    decided = stack.decide(frames)[list(PROBABILITIES)].iloc[600:1000].to_numpy()
    mean = mean_of(frames).iloc[600:1000].to_numpy()
    by_hand = mean ** (1 / first.temperature) / (mean ** (1 / first.temperature)).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(decided, by_hand, rtol=1e-9)


def test_the_table_tells_of_every_member():
    stack, *_ = usual()
    table = stack.table()
    assert table["in_office_from"].tolist() == [member.in_office_from for member in stack.members]
    assert table["n_rows"].tolist() == [member.n_rows for member in stack.members]
    assert ((table["log_loss_stack"] < table["log_loss_mean"]) == (table["combination"] == "stack")).all()


def test_too_few_rows_to_learn_weights_from_leave_the_mean_and_say_so():
    stack, *_ = stacked(n_bars=500, train_size=200, test_size=100)
    first = stack.members[0]
    assert (first.n_rows < 200, first.combination) == (True, "mean")
    assert not first.weights.any()
    assert not first.intercept.any()


@pytest.mark.parametrize("n_bars", [900, 2_400], ids=["a few rows", "many rows"])
def test_an_overconfident_forecaster_is_calibrated(n_bars):
    stack, frames, labels, _ = stacked(n_bars=n_bars, models={"loud": lambda p: sharpened(p, 4.0)}, strength=0.6)
    decisions = stack.decide(frames)
    scored = decisions["confidence"].notna() & labels["signal"].notna()
    came = labels.loc[scored, "signal"].to_numpy().astype(int)

    def error(frame):
        p = frame.loc[scored, list(PROBABILITIES)].to_numpy()
        return expected_calibration_error(p.max(axis=1), p.argmax(axis=1) - 1 == came)

    assert error(frames["loud"]) > 0.2
    assert error(decisions) < 0.1


def test_the_temperature_undoes_what_the_mean_exaggerates():
    """Too few rows for weights: all that is left to learn is that confidence is four times too high."""
    stack, *_ = stacked(n_bars=700, test_size=200, models={"loud": lambda p: sharpened(p, 4.0)})
    assert 2.5 < stack.members[0].temperature < 6.0


# keeping and refusing


def test_a_stored_stack_decides_identically(tmp_path):
    stack, frames, _, _ = usual()
    stack.save(tmp_path / "stack.json")
    pd.testing.assert_frame_equal(Stack.load(tmp_path / "stack.json").decide(frames), stack.decide(frames), check_exact=True)
    assert json.loads((tmp_path / "stack.json").read_text())["models"] == ["good", "noise"]


def test_a_member_survives_json_to_the_last_digit():
    member = usual()[0].members[0]
    again = Member.from_dict(json.loads(json.dumps(member.to_dict())))
    for name in ("weights", "intercept", "class_return"):
        np.testing.assert_array_equal(getattr(again, name), getattr(member, name))
    assert replace(again, weights=0, intercept=0, class_return=0) == replace(member, weights=0, intercept=0, class_return=0)


def test_the_same_predictions_and_seed_make_the_same_stack():
    frames, labels, folds = stacking_problem()
    once, again = (fit_stack(frames, labels, folds, seed=4).decide(frames) for _ in range(2))
    pd.testing.assert_frame_equal(once, again, check_exact=True)


def test_the_order_of_the_mapping_does_not_matter_to_a_decision():
    stack, frames, _, _ = usual()
    turned = dict(reversed(frames.items()))
    pd.testing.assert_frame_equal(stack.decide(turned), stack.decide(frames), check_exact=True)


def test_a_model_that_is_missing_is_named():
    stack, frames, _, _ = usual()
    with pytest.raises(DataContractError, match="built on good, noise; predictions of noise are missing"):
        stack.decide({"good": frames["good"]})


def test_predictions_of_other_bars_are_refused():
    stack, frames, labels, folds = usual()
    other = {**frames, "noise": frames["noise"].iloc[1:]}
    with pytest.raises(DataContractError, match="good, noise are not about the same bars"):
        stack.decide(other)
    with pytest.raises(DataContractError, match="not about the same bars"):
        fit_stack(other, labels, folds, seed=0)
    with pytest.raises(DataContractError, match="predictions have 1500 rows, labels 1499"):
        fit_stack(frames, labels.iloc[1:], folds, seed=0)


def test_one_fold_is_too_few():
    frames, labels, folds = stacking_problem()
    with pytest.raises(InsufficientHistoryError, match="needs at least 2, there are 1"):
        fit_stack(frames, labels, folds[:1], seed=0)


def test_a_last_block_without_labels_is_decided_by_the_member_of_its_own():
    """A block that began after the last label had ended: members stay in the order of time."""
    frames, labels, folds = stacking_problem(unlabelled=range(1150, 1500))
    stack = fit_stack(frames, labels, folds, seed=0)
    offices = [member.in_office_from for member in stack.members]
    assert offices == sorted(offices)
    assert offices[-1] > labels.index[-1]
    logits = logits_of(frames)
    found = stack.decide(frames)[list(PROBABILITIES)].to_numpy()
    np.testing.assert_array_equal(found[1195:1200], stack.members[1].probabilities(logits[1195:1200]))
    np.testing.assert_array_equal(found[1200:1210], stack.members[2].probabilities(logits[1200:1210]))
