"""Pictures of results: each says its finding and its number, and draws what the table holds."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from crp_pipeline.contracts import CHALLENGER, CHAMPION
from crp_pipeline.gate import Criterion, GateConfig, Stage, judge
from crp_pipeline.reporting.backtest import comparison_figure, ladder_figure
from crp_pipeline.reporting.figures import BAD, GOOD, market_figure
from crp_pipeline.reporting.gate import controls_figure, findings_figure, fleet_figure, fresh_decisions_figure
from crp_pipeline_tests.e2e.corridor import green_report

TIMES = pd.date_range("2024-01-01", periods=50, freq="h", tz="UTC")
CRITERIA = (Criterion("trades", ">=", 200, Stage.EVIDENCE), Criterion("net_expectancy_bps", ">", 0, Stage.ECONOMICS))


def compared(**last: float) -> pd.DataFrame:
    row = {
        "log_loss": 1.09,
        "trades": 300.0,
        "win_rate": 0.5,
        "win_rate_low": 0.45,
        "win_rate_high": 0.55,
        "zero_skill_win_rate": 0.49,
        "payoff_ratio": 1.25,
        "expectancy_bps": -3.0,
    }
    return pd.DataFrame([{"candidate": "prior", **row}, {"candidate": "ensemble", **row, **last}])


def verdict(*, trades: float, earned: float, win_rate: float = 0.7):
    told = {"win_rate": win_rate, "win_rate_low": 0.6, "win_rate_high": 0.8, "zero_skill_win_rate": 0.5}
    evidence = {"trades": trades, "net_expectancy_bps": earned, **told, **{f"high_tier_{k}": v for k, v in told.items()}}
    return judge(evidence, CRITERIA)


def square_colors(figure) -> list[str]:
    drawn = [marks for marks in figure.axes[0].collections if len(marks.get_offsets())]
    return [to_hex(color) for marks in drawn for color in marks.get_facecolors()]


def test_candidates_are_told_with_interval_n_zero_skill_and_payoff_and_baselines_stand_on_top():
    figure = comparison_figure(compared(win_rate=0.61, win_rate_low=0.58, win_rate_high=0.64, expectancy_bps=4.0))
    assert figure.get_suptitle() == "ensemble wins 61.0% (58.0% to 64.0%, n 300); zero skill 49.0%, payoff 1.25"
    rates, _, earnings = figure.axes
    assert [label.get_text() for label in rates.get_yticklabels()] == ["prior (n 300)", "ensemble (n 300)"]
    assert rates.yaxis_inverted()
    assert [to_hex(bar.get_facecolor()) for bar in earnings.patches] == [BAD, GOOD]


def test_a_candidate_without_trades_is_told_in_words_and_not_as_a_rate():
    nothing = dict.fromkeys(
        ("win_rate", "win_rate_low", "win_rate_high", "zero_skill_win_rate", "payoff_ratio", "expectancy_bps"), np.nan
    )
    assert comparison_figure(compared(trades=0.0, **nothing)).get_suptitle() == "ensemble takes no trade"


def test_the_cost_ladder_names_the_costs_at_which_nothing_is_left():
    ladder = pd.DataFrame({"trades": 40, "expectancy_bps": [9.0, 4.0, -6.0]}, index=[0.0, 1.0, 3.0])
    axes = ladder_figure(ladder, break_even_bps=18.0, cost_bps=10.0).axes[0]
    assert axes.get_title() == "40 trades break even at 18.0 bps, costs are 10.0"
    assert list(axes.lines[0].get_ydata()) == [9.0, 4.0, -6.0]
    assert ladder_figure(ladder * np.nan, break_even_bps=np.nan, cost_bps=10.0).axes[0].get_title() == "no trades"


def test_each_criterion_is_one_mark_in_the_row_of_its_stage():
    figure = findings_figure(verdict(trades=300, earned=-2.0))
    assert figure.axes[0].get_title() == "REJECT: 1 of 2 criteria hold, first failed net_expectancy_bps"
    assert square_colors(figure) == [GOOD, BAD]
    assert square_colors(findings_figure(verdict(trades=300, earned=2.0))) == [GOOD, GOOD]


def test_fresh_decisions_are_counted_by_role():
    decisions = pd.DataFrame(
        {"open_time": TIMES[:3], "role": [CHAMPION, CHAMPION, CHALLENGER], "signal": [1, -1, 0], "confidence": [0.6, 0.5, 0.4]}
    )
    axes = fresh_decisions_figure(decisions).axes[0]
    assert axes.get_title() == "fresh decisions: 2 of the champion, 1 of the challenger"
    assert [list(line.get_ydata()) for line in axes.lines[:2]] == [[0.6, -0.5], [0.0]]


def test_controls_that_did_not_come_out_are_counted_in_the_title():
    table = green_report().table()
    assert controls_figure(table).axes[0].get_title().startswith("every control came out")
    table.loc[table.index[0], "holds"] = "no"
    assert controls_figure(table).axes[0].get_title().startswith(f"1 of {len(table)} controls did NOT come out")


@pytest.mark.parametrize(("of", "place"), [("all", 70.0), ("high", 90.0)])
def test_the_fleet_shows_the_win_rate_that_the_threshold_asks_for(of, place):
    judged = verdict(trades=300, earned=2.0)
    judged.evidence["high_tier_win_rate"] = 0.9
    figure = fleet_figure({"A": judged, "B": verdict(trades=300, earned=-2.0)}, GateConfig(win_rate_of=of))
    assert figure.axes[0].get_title() == "1 of 2 judged coins promoted"
    assert figure.axes[0].lines[0].get_xdata() == pytest.approx([place])


def test_closes_are_multiples_of_the_first_close_of_each_coin():
    closes = pd.DataFrame({"A": np.linspace(10, 20, 50), "B": [np.nan] * 10 + [4.0] * 40}, index=TIMES)
    lines = market_figure(closes).axes[0].lines
    assert lines[0].get_ydata()[[0, -1]] == pytest.approx([1, 2])
    assert set(lines[1].get_ydata()) == {1.0}


def test_no_picture_is_left_open_for_a_notebook_to_show():
    comparison_figure(compared())
    assert plt.get_fignums() == []
