"""What is wrong with a model is said; what is not is not."""

import math

import numpy as np
import pytest

from crp_pipeline.contracts import PROBABILITIES
from crp_pipeline.models.diagnosis import FLAGS, diagnose
from crp_pipeline.reporting.verdicts import flags_table
from crp_pipeline_tests.forecasts import guesses, prediction_frame, stacking_problem

P = list(PROBABILITIES)
FRAMES, LABELS, FOLDS = stacking_problem(2_500, models={"good": lambda p: p, "guesses": lambda p: guesses(len(p), seed=5)})
N = len(LABELS)
PRIOR = prediction_frame(np.tile([0.4, 0.2, 0.4], (N, 1)), FOLDS, LABELS.index)


def flags(predictions, prior=PRIOR, labels=LABELS, **options):
    return {flag.name: flag for flag in diagnose(predictions, prior, labels, **{"block": 7, **options})}


def raised(predictions, **options):
    return {name for name, flag in flags(predictions, **options).items() if flag.is_raised}


def always(row):
    return prediction_frame(np.tile(row, (N, 1)), FOLDS, LABELS.index)


def calls(shares):
    """Calls each class on these shares of the bars, a little surer each time."""
    called = (np.arange(N) % 100 + 0.5) / 100
    chosen = np.searchsorted(np.cumsum(shares), called, side="right")
    probability = np.full((N, 3), 0.3)
    probability[np.arange(N), chosen] = 0.4
    probability += 1e-4 * np.random.default_rng(0).normal(size=(N, 1)) * np.array([1, -0.5, -0.5])
    return prediction_frame(probability, FOLDS, LABELS.index)


def test_nothing_is_wrong_with_a_model_that_knows_the_odds():
    found = flags(FRAMES["good"])
    assert list(found) == list(FLAGS)
    assert not any(flag.is_raised for flag in found.values())
    assert "beats the class prior's" in found["worse_than_prior"].sentence
    assert found["worse_than_prior"].sentence.endswith("beyond chance")
    assert found["worse_than_prior"].value < 0


def test_guesses_are_worse_than_the_prior_beyond_chance():
    flag = flags(FRAMES["guesses"])["worse_than_prior"]
    assert flag.is_raised
    assert flag.value > 0.1
    assert f"{flag.value:.4f} nats worse (+0." in flag.sentence
    assert flag.sentence.endswith("beyond chance")


def test_what_is_the_prior_itself_does_not_beat_it():
    flag = flags(PRIOR)["worse_than_prior"]
    assert (flag.is_raised, flag.value) == (True, 0)
    assert flag.sentence.endswith("which chance can explain")


def test_a_little_noise_on_the_prior_is_within_chance():
    noise = 0.02 * np.random.default_rng(3).normal(size=(N, 1)) * np.array([1, 0, -1])
    flag = flags(prediction_frame(np.array([0.4, 0.2, 0.4]) + noise, FOLDS, LABELS.index))["worse_than_prior"]
    assert flag.sentence.endswith("which chance can explain")


@pytest.mark.parametrize(("share", "is_raised"), [(0.96, False), (0.97, False), (0.98, True), (1.0, True)])
def test_one_class_for_more_than_97_percent_of_the_bars_is_called_so(share, is_raised):
    flag = flags(calls([1 - share, share, 0]).iloc[500:1_500])["one_class"]
    assert flag.value == pytest.approx(share)
    assert flag.is_raised is is_raised
    assert flag.sentence.startswith("neutral is the most probable class on ")


def test_one_answer_to_every_bar_is_called_constant_fold_by_fold():
    assert {"constant", "worse_than_prior"} <= raised(always([0.5, 0.1, 0.4]))
    one_fold = FRAMES["good"].copy()
    one_fold.loc[one_fold["fold"] == 2, P] = [0.3, 0.3, 0.4]
    flag = flags(one_fold)["constant"]
    assert (flag.is_raised, flag.value) == (True, 1)
    assert flag.sentence == f"every bar gets the same answer in 1 of {len(FOLDS)} folds"


def test_another_answer_in_each_fold_is_still_constant():
    by_fold = FRAMES["good"].copy()
    for fold in FOLDS:
        by_fold.loc[by_fold["fold"] == fold.number, P] = [0.3 + 0.01 * fold.number, 0.3, 0.4 - 0.01 * fold.number]
    assert flags(by_fold)["constant"].value == len(FOLDS)


def test_a_fold_of_a_single_bar_is_not_constant():
    lonely = FRAMES["good"].copy()
    lonely.iloc[FOLDS[-1].test[-1], lonely.columns.get_loc("fold")] = 99
    assert "constant" not in raised(lonely)


def test_certainty_on_every_bar_is_overconfident():
    sure = np.random.default_rng(1).choice(3, N)
    probability = np.full((N, 3), 0.002)
    probability[np.arange(N), sure] = 0.996
    certain = prediction_frame(probability, FOLDS, LABELS.index)
    assert raised(certain) >= {"overconfident", "worse_than_prior"}
    assert flags(certain)["overconfident"].value == 1
    certain.loc[certain.index[FOLDS[0].test[0]], P] = [0.3, 0.3, 0.4]
    assert "overconfident" not in raised(certain), "one doubt is a doubt"


def test_a_confidence_of_exactly_99_percent_is_not_above_it():
    assert "overconfident" not in raised(always([0.99, 0.005, 0.005]))


def test_what_has_no_forecast_has_everything_wrong_with_it():
    nothing = FRAMES["good"].copy()
    nothing[P] = math.nan
    found = flags(nothing)
    assert all(flag.is_raised and math.isnan(flag.value) for flag in found.values())
    assert {flag.sentence for flag in found.values()} == {"no bar has a forecast"}


def test_what_cannot_be_held_against_the_prior_does_not_beat_it():
    assert "no bar has a label" in flags(FRAMES["good"], labels=LABELS.assign(signal=math.nan))["worse_than_prior"].sentence
    assert "worse_than_prior" in raised(FRAMES["good"], labels=LABELS.assign(signal=math.nan))


def test_raised_flags_come_first_in_the_table():
    table = flags_table(diagnose(always([0.5, 0.1, 0.4]), PRIOR, LABELS, block=7))
    assert list(table["raised"]) == ["yes", "yes", "yes", "no"]
    assert list(table["flag"]) == ["worse_than_prior", "one_class", "constant", "overconfident"]
