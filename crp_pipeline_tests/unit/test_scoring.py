"""Scores of out-of-fold predictions: by hand, on the bars that count, and on the same bars side by side."""

import math

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.contracts import PROBABILITIES
from crp_pipeline.errors import DataContractError
from crp_pipeline.metrics import wilson_interval
from crp_pipeline.models.scoring import (
    SCORES,
    SCORES_AGAINST_PRIOR,
    class_returns,
    forecast_scores,
    known_bars,
    log_loss_gain,
    scores_side_by_side,
)
from crp_pipeline_tests.forecasts import guesses, sharpened, stacking_problem

FIVE = pd.date_range("2024-01-01", periods=5, freq="h", tz="UTC", name="open_time", unit="ns")
NAN = [math.nan] * 3
FORECAST = pd.DataFrame(
    [[0.2, 0.2, 0.6], [0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.5, 0.4, 0.1], NAN], index=FIVE, columns=list(PROBABILITIES)
)
CAME = pd.DataFrame(
    {"signal": [1, -1, 0, 1, -1], "weight": [0.5, 0.5, 0.25, 0.25, 1], "forward_return": [0.02, -0.01, 0, 0.04, -0.5]},
    index=FIVE,
)


def test_scores_by_hand():
    found = forecast_scores(FORECAST, CAME)
    assert (found["n"], found["effective_n"]) == (4, 1.5), "the last bar has no forecast"
    assert found["log_loss"] == pytest.approx(-np.log([0.6, 0.7, 0.5, 0.1]).mean())
    assert found["accuracy"] == 3 / 4
    assert (found["accuracy_low"], found["accuracy_high"]) == pytest.approx(wilson_interval(1.5 * 3 / 4, 1.5))
    # of the three bars that went somewhere the first two are called, the fourth is called short and went up
    assert found["directional_accuracy"] == pytest.approx(2 / 3)
    assert found["directional_effective_n"] == 1.25
    assert (found["directional_accuracy_low"], found["directional_accuracy_high"]) == pytest.approx(
        wilson_interval(1.25 * 2 / 3, 1.25)
    )
    assert found["auc"] == 1.0, "both that went up lean further up than the one that went down"
    assert found["calibration_error"] == pytest.approx((0.4 + 0.3 + abs(0.5 + 0.5 - 1)) / 4)
    assert tuple(found) == SCORES


def test_a_bar_without_a_label_does_not_count():
    labels = CAME.assign(signal=CAME["signal"].where(CAME.index != FIVE[3]))
    assert forecast_scores(FORECAST, labels)["accuracy"] == 1.0
    assert list(known_bars([FORECAST], labels)) == list(FIVE[:3])


def test_scores_of_nothing_are_missing():
    found = forecast_scores(FORECAST.tail(1), CAME)
    assert (found.pop("n"), found.pop("effective_n"), found.pop("directional_effective_n")) == (0, 0, 0)
    assert all(math.isnan(value) for value in found.values())
    assert all(math.isnan(value) for value in log_loss_gain(FORECAST.tail(1), FORECAST, CAME, block=2).values())


def test_a_forecast_of_a_bar_that_the_labels_do_not_have_is_refused():
    with pytest.raises(DataContractError, match=r"a forecast for 2024-01-01 03:00:00\+00:00 and no such bar"):
        forecast_scores(FORECAST, CAME.drop(FIVE[3]))


def test_what_each_class_brought_is_a_mean_over_the_bars_that_were_forecast():
    np.testing.assert_allclose(class_returns(FORECAST, CAME), [-0.01, 0, 0.03])
    np.testing.assert_allclose(class_returns(FORECAST.head(1), CAME), [0, 0, 0.02])


MODELS = {
    "prior": lambda p: np.tile(p.mean(axis=0), (len(p), 1)),
    "good": lambda p: p,
    "overconfident": lambda p: sharpened(p, 3),
    "noise": lambda p: guesses(len(p), seed=5),
}


@pytest.fixture(scope="module")
def problem():
    return stacking_problem(3_000, models=MODELS, strength=1.0)


def test_a_gain_lies_in_its_interval_and_tells_a_good_model_from_guesses(problem):
    frames, labels, _ = problem
    gains = {name: log_loss_gain(frame, frames["prior"], labels, block=7) for name, frame in frames.items()}
    assert gains["good"]["log_loss_gain_low"] > 0
    assert gains["noise"]["log_loss_gain_high"] < 0
    assert list(gains["prior"].values()) == [0, 0, 0]
    for gain in gains.values():
        assert gain["log_loss_gain_low"] <= gain["log_loss_gain"] <= gain["log_loss_gain_high"]


def test_longer_blocks_widen_the_interval_where_neighbours_are_alike(problem):
    frames, labels, _ = problem

    def every_day_alike(table):
        return table.iloc[::24].reindex(table.index).ffill()

    alike, known = every_day_alike(labels), list(PROBABILITIES)
    forecasts = [every_day_alike(frames[name][known]) for name in ("good", "prior")]
    short, long = (log_loss_gain(*forecasts, alike, block=block) for block in (1, 48))
    assert short["log_loss_gain"] == long["log_loss_gain"]
    assert long["log_loss_gain_high"] - long["log_loss_gain_low"] > 3 * (
        short["log_loss_gain_high"] - short["log_loss_gain_low"]
    )
    assert log_loss_gain(*forecasts, alike, block=48) == long, "the same seed gives the same interval"


def test_side_by_side_means_on_the_bars_that_all_have(problem):
    frames, labels, _ = problem
    gone = frames["noise"].copy()
    gone.iloc[300:900, :3] = np.nan
    table = scores_side_by_side({**frames, "noise": gone}, labels, prior="prior", block=7)
    assert list(table) == list(MODELS)
    assert len({scores["n"] for scores in table.values()}) == 1
    assert table["good"]["n"] == forecast_scores(gone, labels)["n"] < forecast_scores(frames["good"], labels)["n"]
    assert all(tuple(scores) == SCORES_AGAINST_PRIOR for scores in table.values())
