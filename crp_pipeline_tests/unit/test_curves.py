"""Tables of confusion, ROC, precision and recall, calibration and returns, against scikit-learn, SciPy and hand-worked numbers."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc, confusion_matrix, precision_recall_fscore_support, roc_auc_score

from crp_pipeline.contracts import CLASSES, PROBABILITIES
from crp_pipeline.errors import DataContractError
from crp_pipeline.reporting.curves import (
    auc_interval,
    class_calibration_table,
    class_scores,
    confusion_table,
    precision_recall_table,
    regression_scores,
    residuals_table,
    roc_table,
)

N = 600


def times(n: int) -> pd.DatetimeIndex:
    return pd.date_range("2024-01-01", periods=n, freq="h", tz="UTC", name="open_time")


def night(n: int = N, *, seed: int = 0, signals=(-1.0, 0.0, 1.0)) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Forecasts that know something of the labels."""
    rng = np.random.default_rng(seed)
    signal = rng.choice(signals, n)
    logits = rng.normal(size=(n, 3)) + 1.2 * (signal[:, None] == np.array([-1, 0, 1]))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    realised = 0.01 * signal + rng.normal(scale=0.01, size=n)
    labels = pd.DataFrame({"signal": signal, "forward_return": realised, "weight": 0.25}, index=times(n))
    forecasts = pd.DataFrame(p, index=times(n), columns=list(PROBABILITIES))
    return forecasts.assign(forecast_forward_return=0.01 * (p[:, 2] - p[:, 0])), labels


def test_confusion_of_four_bars_is_the_one_counted_by_hand():
    p = [[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.2, 0.2, 0.6], [0.1, 0.7, 0.2]]
    labels = pd.DataFrame({"signal": [-1.0, -1.0, 1.0, 1.0], "forward_return": 0.0, "weight": 1.0}, index=times(4))
    table = confusion_table(pd.DataFrame(p, index=times(4), columns=list(PROBABILITIES)), labels)
    assert table.loc["short", ["short", "neutral", "long", "n"]].tolist() == [1, 0, 1, 2]
    assert table.loc["long", ["share_short", "share_neutral", "share_long"]].tolist() == [0, 0.5, 0.5]
    assert table.loc["neutral", "n"] == 0
    assert math.isnan(table.loc["neutral", "share_long"])


def test_confusion_and_scores_of_classes_are_those_of_scikit_learn():
    forecasts, labels = night()
    came, called = labels["signal"] + 1, forecasts[list(PROBABILITIES)].to_numpy().argmax(axis=1)
    np.testing.assert_array_equal(confusion_table(forecasts, labels)[list(CLASSES)], confusion_matrix(came, called))
    scores = class_scores(forecasts, labels)
    told = precision_recall_fscore_support(came, called)
    np.testing.assert_allclose(scores[["precision", "recall", "f1", "support"]].to_numpy().T, told)
    assert (scores["precision_low"] < scores["precision"]).all()
    assert (scores["recall"] < scores["recall_high"]).all()


def test_a_decision_is_called_by_its_signal_and_not_by_its_most_probable_class():
    forecasts, labels = night()
    assert confusion_table(forecasts.assign(signal=0), labels)["neutral"].sum() == N


@pytest.mark.parametrize("max_points", [2, 7, 200])
def test_a_roc_curve_has_the_area_that_scikit_learn_gives_and_no_more_points_than_asked_for(max_points):
    forecasts, labels = night()
    table = roc_table(forecasts, labels, max_points=max_points)
    for place, name in enumerate(CLASSES):
        curve = table[table["class"] == name]
        expected = roc_auc_score(labels["signal"] == place - 1, forecasts[PROBABILITIES[place]])
        assert curve["auc"].unique() == pytest.approx([expected])
        assert 2 <= len(curve) <= max_points
        assert curve[["false_positive_rate", "true_positive_rate"]].iloc[[0, -1]].to_numpy().tolist() == [[0, 0], [1, 1]]
        if max_points == 200:
            assert auc(curve["false_positive_rate"], curve["true_positive_rate"]) == pytest.approx(expected, abs=0.005)


def test_every_point_of_a_roc_curve_is_the_share_called_from_its_threshold_on():
    forecasts, labels = night(120)
    table = roc_table(forecasts, labels)
    for row in table[table["class"] == "long"].itertuples():
        called, came = forecasts["p_long"] >= row.threshold, labels["signal"] == 1
        assert row.true_positive_rate == pytest.approx(called[came].mean())
        assert row.false_positive_rate == pytest.approx(called[~came].mean())


def test_every_point_of_precision_and_recall_is_counted_from_its_threshold_on():
    forecasts, labels = night(120)
    table = precision_recall_table(forecasts, labels)
    curve = table[table["class"] == "short"]
    assert curve["class_share"].unique() == pytest.approx([(labels["signal"] == -1).mean()])
    for row in curve[curve["threshold"].notna()].itertuples():
        called, came = forecasts["p_short"] >= row.threshold, labels["signal"] == -1
        assert row.precision == pytest.approx(came[called].mean())
        assert row.recall == pytest.approx(called[came].mean())


def test_average_precision_of_three_bars_is_the_one_worked_out_by_hand():
    p_long = np.array([0.9, 0.8, 0.7])
    forecasts = pd.DataFrame({"p_short": 1 - p_long, "p_neutral": 0.0, "p_long": p_long}, index=times(3))
    labels = pd.DataFrame({"signal": [1.0, -1.0, 1.0], "forward_return": 0.0, "weight": 1.0}, index=times(3))
    table = precision_recall_table(forecasts, labels).set_index("class")
    # the first half of recall at precision 1, the second at 2/3
    assert table.loc["long", "average_precision"].unique() == pytest.approx([0.5 * 1 + 0.5 * 2 / 3])


@pytest.mark.parametrize("table_of", [roc_table, precision_recall_table])
def test_a_class_that_never_came_has_a_sentence_in_place_of_a_curve(table_of):
    forecasts, labels = night(signals=(-1.0, 1.0))
    table = table_of(forecasts, labels).set_index("class")
    assert table.loc["neutral", "note"] == "no label is neutral, so it has no curve"
    assert math.isnan(table.loc["neutral", "threshold"])
    assert (table.loc[["short", "long"], "note"] == "").all()


@pytest.mark.parametrize(("table_of", "what"), [(roc_table, "a ROC curve"), (precision_recall_table, "a curve of precision")])
def test_one_class_alone_is_refused_in_one_sentence(table_of, what):
    forecasts, labels = night(signals=(1.0,))
    with pytest.raises(DataContractError, match=f"^all 600 labels are long: {what}.* needs a second class$"):
        table_of(forecasts, labels)


@pytest.mark.parametrize(
    "table_of", [confusion_table, class_scores, roc_table, precision_recall_table, class_calibration_table, residuals_table]
)
def test_forecasts_that_meet_no_label_are_refused_in_one_sentence(table_of):
    forecasts, labels = night(20)
    with pytest.raises(DataContractError, match=r"^no bar has both a forecast .*and a label, so there is nothing to"):
        table_of(forecasts, labels.assign(signal=np.nan, forward_return=np.nan))


def test_bars_without_a_forecast_change_nothing():
    forecasts, labels = night()
    holed = forecasts.copy()
    holed.iloc[1::2] = np.nan
    pd.testing.assert_frame_equal(roc_table(holed, labels), roc_table(forecasts[::2], labels[::2]))
    pd.testing.assert_frame_equal(class_scores(holed, labels), class_scores(forecasts[::2], labels[::2]))


def test_calibration_of_classes_counts_every_bar_once_per_class():
    forecasts, labels = night()
    table = class_calibration_table(forecasts, labels)
    assert table.groupby("class")["n"].sum().to_dict() == dict.fromkeys(CLASSES, N)
    row = table[table["class"] == "long"].iloc[3]
    inside = forecasts["p_long"].ge(row["low"]) & forecasts["p_long"].lt(row["high"])
    assert row["hit_rate"] == pytest.approx((labels["signal"] == 1)[inside].mean())


def test_returns_foretold_for_four_bars_are_scored_as_by_hand():
    labels = pd.DataFrame({"signal": 1.0, "forward_return": [0.02, -0.02, 0.01, 0.0], "weight": 1.0}, index=times(4))
    scores = regression_scores(pd.DataFrame({"expected_return": [0.01, 0.01, 0.01, 0.0]}, index=times(4)), labels)
    assert scores["mae"] == pytest.approx(0.01)
    assert scores["mae_of_zero"] == pytest.approx(0.0125)
    assert scores["rmse"] == pytest.approx(math.sqrt(0.0010 / 4))
    assert scores["r2_against_zero"] == pytest.approx(1 - 0.0010 / 0.0009)
    assert (scores["moved"], scores["direction_hit_rate"], scores["commoner_direction"]) == pytest.approx((3, 2 / 3, 2 / 3))


def test_a_residual_is_what_came_less_what_was_foretold():
    labels = pd.DataFrame({"signal": 1.0, "forward_return": [0.02, np.nan], "weight": 1.0}, index=times(2))
    [row] = residuals_table(pd.DataFrame({"expected_return": [0.05, 0.01]}, index=times(2)), labels).to_dict("records")
    assert row == {"forecast": 0.05, "realised": 0.02, "residual": pytest.approx(-0.03), "weight": 1.0}


def test_rank_correlation_is_that_of_ranks_and_its_interval_narrows_with_independent_labels():
    forecasts, labels = night()
    ranks = forecasts["forecast_forward_return"].rank().corr(labels["forward_return"].rank())
    few, many = (regression_scores(forecasts, labels.assign(weight=weight)) for weight in (0.1, 1.0))
    assert few["rank_correlation"] == many["rank_correlation"] == pytest.approx(ranks)
    assert few["rank_correlation_low"] < many["rank_correlation_low"] < ranks < many["rank_correlation_high"]


def test_intervals_of_correlation_and_area_cover_the_truth_nineteen_times_in_twenty():
    """The truth of a Gaussian pair correlated at 0.5: its ranks, and x of positive y against x of negative y (orthants)."""
    rng = np.random.default_rng(3)
    index, n_tries, covered = times(150), 100, np.zeros(2)
    for _ in range(n_tries):
        x = rng.normal(size=150)
        y = 0.5 * x + math.sqrt(0.75) * rng.normal(size=150)
        labels = pd.DataFrame({"signal": np.sign(y), "forward_return": y, "weight": 1.0}, index=index)
        forecasts = pd.DataFrame({"expected_return": x}, index=index)
        scores, up = regression_scores(forecasts, labels), y > 0
        area = auc_interval(roc_auc_score(up, x), up.sum(), (~up).sum())
        truth = (6 / math.pi * math.asin(0.25), 0.5 + 2 / math.pi * math.asin(0.5 / math.sqrt(2)))
        ends = ((scores["rank_correlation_low"], scores["rank_correlation_high"]), area)
        covered += [low <= value <= high for value, (low, high) in zip(truth, ends, strict=True)]
    assert (covered / n_tries > 0.9).all()


def test_predictions_of_classes_alone_foretell_no_return_and_say_so():
    forecasts, labels = night(20)
    with pytest.raises(DataContractError, match="foretell classes and no return"):
        residuals_table(forecasts[list(PROBABILITIES)], labels)


def test_a_constant_forecast_has_no_rank_correlation():
    forecasts, labels = night(20)
    scores = regression_scores(forecasts.assign(forecast_forward_return=0.0), labels)
    assert math.isnan(scores["rank_correlation"])
    assert scores["r2_against_zero"] == pytest.approx(0)
    assert scores["direction_hit_rate"] == pytest.approx(0.5)


def test_an_area_over_no_row_of_one_kind_has_no_interval():
    assert all(math.isnan(end) for end in auc_interval(0.7, 0, 10))
