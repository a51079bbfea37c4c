"""What a notebook user asks of a coin's stored results."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import accuracy_score

from crp_pipeline.contracts import PROBABILITIES
from crp_pipeline.errors import DataContractError
from crp_pipeline.notebook import ModelPerformanceReporter
from crp_pipeline.reporting import performance
from crp_pipeline.reporting.performance import MEASURES
from crp_pipeline.storage import write_parquet
from crp_pipeline_tests.stored_night import (
    COIN,
    N,
    comparison_of,
    decisions_of,
    forecast_of,
    labels_of,
    selection_of,
    store_night,
)

PICTURES = ("plot_confusion", "plot_roc", "plot_calibration", "plot_feature_importance")


@pytest.fixture(scope="module")
def reporter(tmp_path_factory):
    places = store_night(tmp_path_factory.mktemp("night"))
    return ModelPerformanceReporter(COIN, data_dir=places.root)


def words_of(figure: Figure) -> str:
    """Every word on a figure."""
    title = figure._suptitle.get_text() if figure._suptitle else ""
    below = figure._supxlabel.get_text() if figure._supxlabel else ""
    return "\n".join([title, below, *(text.get_text() for axes in figure.axes for text in [axes.title, *axes.texts])])


def test_a_report_begins_with_the_commonest_class_and_the_prior(reporter):
    report = reporter.classification_report("lightgbm")
    named = ["always long", "prior", "lightgbm", "lightgbm: short", "lightgbm: neutral", "lightgbm: long"]
    assert list(report.index) == named
    labels = reporter.results.labels
    assert report.loc["always long", "accuracy"] == report.loc["prior", "accuracy"] == (labels["signal"] == 1).mean()
    called = reporter.results.predictions["lightgbm"][list(PROBABILITIES)].to_numpy().argmax(axis=1) - 1
    assert report.loc["lightgbm", "accuracy"] == accuracy_score(labels["signal"], called)
    assert report.loc["lightgbm", "accuracy_low"] < report.loc["lightgbm", "accuracy"] < report.loc["lightgbm", "accuracy_high"]
    assert report.loc["lightgbm", ["n", "effective_n"]].tolist() == [N, N / 4]
    assert report["n"].iloc[3:].sum() == N


def test_a_report_is_about_the_bars_that_the_prior_forecast_too(tmp_path):
    places = store_night(tmp_path)
    path = places.frame("models", "prior", coin=COIN)
    prior = pd.read_parquet(path)
    prior.loc[prior.index[:100], list(PROBABILITIES)] = np.nan
    write_parquet(path, prior)
    report = ModelPerformanceReporter(COIN, data_dir=tmp_path).classification_report("lightgbm")
    assert set(report["n"].iloc[:3]) == {N - 100}


def test_foretold_returns_stand_below_foretelling_nothing(reporter):
    report = reporter.regression_report()
    assert list(report.index) == ["always 0", "commoner sign", "ensemble"]
    realised = reporter.results.labels["forward_return"]
    assert report.loc["always 0", ["mae", "r2_against_zero"]].tolist() == pytest.approx([realised.abs().mean(), 0])
    assert report.loc["commoner sign", "direction_hit_rate"] == max((realised > 0).mean(), (realised < 0).mean())
    assert report.loc["ensemble", "rank_correlation_low"] > 0


def test_a_model_that_foretells_classes_alone_has_no_report_of_returns(reporter):
    with pytest.raises(DataContractError, match=r"^BTC-USDT, lightgbm: these predictions foretell classes and no return"):
        reporter.regression_report("lightgbm")


def test_the_comparison_keeps_baselines_on_top_and_every_rate_with_what_belongs_to_it(reporter):
    table = reporter.comparison_table()
    assert list(table.index) == ["prior", "always_long", "lightgbm", "ensemble"]
    assert table.loc["ensemble", "win rate"] == "60.0% (51.1% to 68.3%, n 120); zero skill 50.0%, payoff 1.00, coverage 100%"
    assert table.loc["prior", "accuracy"] == "50.0% (40.0% to 60.0%, 100 independent)"


@pytest.mark.parametrize("metric", MEASURES)
def test_every_comparison_puts_baselines_on_top_and_tells_value_interval_and_n(reporter, metric):
    figure = reporter.compare_models(metric)
    left, right = figure.axes
    names = [tick.get_text() for tick in left.get_yticklabels()]
    assert names[0] == "prior"
    assert names[-1] == "ensemble"
    assert left.get_ylim()[0] > left.get_ylim()[1]
    assert all(" to " in tick.get_text() and "n " in tick.get_text() for tick in right.get_yticklabels())
    assert "the highest model" in words_of(figure)
    assert "the highest baseline" in words_of(figure)


def test_a_comparison_shows_the_scores_of_the_models(reporter):
    told = [tick.get_text() for tick in reporter.compare_models("accuracy").axes[1].get_yticklabels()]
    report = reporter.classification_report("lightgbm").loc["lightgbm"]
    ends = f"{report['accuracy']:.1%} ({report['accuracy_low']:.1%} to {report['accuracy_high']:.1%}), n 400, independent 100"
    assert told[2] == ends


def test_a_number_without_an_interval_is_not_compared(reporter):
    with pytest.raises(DataContractError, match=r"^sharpe is not compared: ask for accuracy, directional_accuracy"):
        reporter.compare_models("sharpe")


def test_a_coin_without_trades_has_no_win_rate_to_compare_and_says_so(tmp_path):
    store_night(tmp_path, comparison=comparison_of(trades=0))
    reporter = ModelPerformanceReporter(COIN, data_dir=tmp_path)
    assert set(reporter.comparison_table()["win rate"]) == {"no trades"}
    with pytest.raises(DataContractError, match=r"^BTC-USDT: no candidate made a trade, so there is no win rate to compare$"):
        reporter.compare_models("win_rate")


def test_a_confusion_tells_accuracy_with_interval_n_and_the_commonest_class(reporter):
    words = words_of(reporter.plot_confusion("lightgbm"))
    right = reporter.classification_report("lightgbm").loc["lightgbm", "accuracy"]
    assert f"BTC-USDT lightgbm: {right:.1%} (" in words
    assert "of 400 calls right" in words
    assert "always long " in words


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("model", ["ensemble", "lightgbm"])
def test_every_picture_names_its_coin_and_is_returned_and_not_shown(reporter, picture, model):
    figure = getattr(reporter, picture)(model)
    assert isinstance(figure, Figure)
    assert words_of(figure).startswith("BTC-USDT") or "BTC-USDT" in figure.axes[0].get_title()
    assert plt.get_fignums() == []


def test_a_class_that_never_came_is_told_in_the_picture_of_the_others(tmp_path):
    labels = labels_of(signals=(-1.0, 1.0))
    store_night(tmp_path, labels=labels)
    reporter = ModelPerformanceReporter(COIN, data_dir=tmp_path)
    legend = [text.get_text() for text in reporter.plot_roc("lightgbm").axes[0].get_legend().get_texts()]
    assert "neutral: no label is neutral, so it has no curve, 0 bars" in legend
    assert "never came" in words_of(reporter.plot_confusion("lightgbm"))


def test_one_class_alone_is_one_sentence(tmp_path):
    store_night(tmp_path, labels=labels_of(signals=(1.0,)))
    with pytest.raises(
        DataContractError, match=r"^BTC-USDT, lightgbm: all 400 labels are long: a ROC curve needs a second class$"
    ):
        ModelPerformanceReporter(COIN, data_dir=tmp_path).plot_roc("lightgbm")


def test_a_model_that_takes_no_side_has_no_calibration_and_says_so(tmp_path):
    decisions = decisions_of(forecast_of(labels_of(), 1.0, seed=1)).assign(signal=0)
    store_night(tmp_path, decisions=decisions)
    with pytest.raises(DataContractError, match=r"^BTC-USDT, ensemble: no call takes a side on a bar with a label"):
        ModelPerformanceReporter(COIN, data_dir=tmp_path).plot_calibration()


@pytest.mark.parametrize("ask", ["classification_report", "plot_roc", "plot_confusion"])
def test_labels_that_no_forecast_meets_are_one_sentence(tmp_path, ask):
    store_night(tmp_path, labels=labels_of().assign(signal=np.nan))
    with pytest.raises(DataContractError, match=r"^BTC-USDT, ensemble: no bar has both a forecast and a label"):
        getattr(ModelPerformanceReporter(COIN, data_dir=tmp_path), ask)()


def test_a_coin_that_was_never_run_is_one_sentence(tmp_path):
    with pytest.raises(DataContractError, match=r"^ETH-USDT was never run under .*: materialize"):
        ModelPerformanceReporter("ETH-USDT", data_dir=tmp_path)


@pytest.mark.parametrize(
    "ask", ["classification_report", "regression_report", "plot_confusion", "plot_roc", "plot_calibration"]
)
def test_a_model_without_forecasts_is_named_beside_those_that_have_some(reporter, ask):
    with pytest.raises(DataContractError, match=r"^BTC-USDT, tcn: there are no stored .* prior, logistic, lightgbm, ensemble$"):
        getattr(reporter, ask)("tcn")


def test_importance_comes_from_the_selection_where_no_explanation_is_stored_and_says_so(reporter):
    figure = reporter.plot_feature_importance("lightgbm")
    words = words_of(figure)
    assert "selection of features (no explanation stored)" in words
    assert "momentum matters most of 2 features, 0.03 (0.03 to 0.03 in 2 folds)" in words
    assert "1 without any value, which no model could use: blank" in words


def test_importance_comes_from_the_explanation_of_the_model_where_one_is_stored(tmp_path):
    places = store_night(tmp_path, empty_feature=False)
    rows = [("lightgbm", fold, name, fold + value) for fold in (0, 1) for name, value in (("noise", 3.0), ("momentum", 1.0))]
    table = pd.DataFrame(rows, columns=["model", "fold", "feature", "importance"]).assign(share=0.5, n_rows=9, method="tree")
    write_parquet(places.frame("explanation", coin=COIN), table)
    reporter = ModelPerformanceReporter(COIN, data_dir=tmp_path)
    words = words_of(reporter.plot_feature_importance("lightgbm", top=1))
    assert "BTC-USDT, lightgbm, explained:\nnoise matters most of 2 features, 3.5 (3 to 4 in 2 folds)" in words
    assert "(tree)" in words
    assert "without any value" not in words
    assert "no explanation stored" in words_of(reporter.plot_feature_importance("ensemble"))


def test_a_feature_that_a_fold_left_out_counts_as_nothing_in_that_fold(tmp_path):
    places = store_night(tmp_path)
    rows = [("lightgbm", 0, "noise", 3.0), ("lightgbm", 1, "momentum", 2.0), ("lightgbm", 0, "momentum", 2.0)]
    table = pd.DataFrame(rows, columns=["model", "fold", "feature", "importance"]).assign(share=0.5, n_rows=9, method="tree")
    write_parquet(places.frame("explanation", coin=COIN), table)
    words = words_of(ModelPerformanceReporter(COIN, data_dir=tmp_path).plot_feature_importance("lightgbm"))
    assert "momentum matters most of 2 features, 2 (2 to 2 in 2 folds)" in words


def test_importance_that_was_never_measured_is_one_sentence(tmp_path):
    places = store_night(tmp_path)
    write_parquet(places.frame("models", "selection", coin=COIN), selection_of((math.nan,) * 3))
    with pytest.raises(DataContractError, match=r"^BTC-USDT, ensemble: no feature has an importance that could be shown$"):
        ModelPerformanceReporter(COIN, data_dir=tmp_path).plot_feature_importance()


def test_no_feature_at_all_cannot_be_asked_for(reporter):
    with pytest.raises(DataContractError, match="top = 0 is not allowed"):
        reporter.plot_feature_importance(top=0)


def test_the_report_page_is_written_where_it_is_asked_for_and_its_tables_beside_it(reporter, monkeypatch, tmp_path):
    written = {}

    def write(page, path, tables):
        written.update(page=page, path=path, tables=tables)
        return path

    monkeypatch.setattr(performance, "coin_page", lambda results: f"page of {results.coin}")
    monkeypatch.setattr(performance, "write_page", write)
    assert reporter.save_html(str(tmp_path / "btc.html")) == tmp_path / "btc.html"
    assert written == {"page": "page of BTC-USDT", "path": tmp_path / "btc.html", "tables": tmp_path / "btc"}
