"""The feasibility panel in words and as a picture."""

import math
from dataclasses import replace

import numpy as np
import pytest

from crp_pipeline.gate.ceiling import TradeCeiling
from crp_pipeline.gate.feasibility import feasibility, feasibility_table
from crp_pipeline.reporting.feasibility import (
    ceilings_table,
    feasibility_figure,
    feasibility_page,
    win_rates_table,
)
from crp_pipeline.reporting.figures import BAD, GOOD, png
from crp_pipeline_tests.unit.test_feasibility import moving

RARE = TradeCeiling(
    then=np.arange(1, 301) * np.ones((2, 1), np.int64), won=np.arange(300) < [[30], [0]], free=np.zeros(300, bool)
)
"""Three hundred bars of which only the first thirty can be won."""
POOR = {"oracle_win_rate": 0.3, "oracle_win_rate_high": 0.32, "trades": RARE}


@pytest.fixture(scope="module")
def found():
    return feasibility(moving(*[1, -0.5, 0.1, 2, 0] * 60), horizon=1, costs=20.0, coverage=0.98)


def test_the_page_answers_first_and_then_gives_every_win_rate(found):
    page = feasibility_page(found, coin="BTC-USDT").splitlines()
    assert page[0] == "BTC-USDT: a win rate of 68% on 98% of the bars is IMPOSSIBLE, within reach on up to 96.2% of them"
    assert page[1] == "horizon 1, costs 20.0 bps, mean move 72.0 bps, volatility 88.4 bps, 300 bars (300 independent)"
    assert [line.split("  ")[0] for line in page[5:-2]] == [
        *("target", "ceiling at 100%", "ceiling at 50%", "ceiling at 33%", "ceiling at 10%"),
        *("trades at 98%", "break-even", "coin flip", "always long", "break-even accuracy"),
    ]
    assert page[-1] == "to prove: never, what an oracle does not reach is not proven"


def test_a_possible_target_is_called_so(found):
    page = feasibility_page(replace(found, coverage=0.5, trades_to_prove=85.0, trades_if_observed=39.0), coin="X")
    assert " is possible, " in page
    assert page.endswith(
        "to prove 68% by the lower end of the gate's two-sided interval: 85 independent trades for 80% power "
        "(39 if it is observed exactly), 23.5 a night: 3.6 nights (1.7)"
    )


def test_what_cannot_be_proven_and_what_cannot_pay_is_said_in_words(found):
    still = feasibility(moving(*[0] * 30), horizon=1, costs=10.0)
    costly = replace(found, coverage=0.5, trades_to_prove=math.inf)
    assert feasibility_page(costly, coin="X").endswith("to prove: never, 68% is not above what costs and chance ask for")
    assert win_rates_table(still)["value"].iloc[-1] == "-"
    poor = win_rates_table(replace(found, break_even_accuracy=1.05)).iloc[-1]
    assert poor["value"] == "105.0%"
    assert "not even all of them right would pay" in poor["meaning"]


def test_a_ceiling_that_is_still_too_low_is_marked(found):
    poor = win_rates_table(replace(found, **POOR)).set_index("win rate")["meaning"]
    assert poor["ceiling at 50%"] == "an oracle that picks its bars, still too low"
    assert poor["ceiling at 10%"] == "an oracle that picks its bars"


def test_the_table_of_ceilings_speaks_in_percent():
    candles = moving(*np.random.default_rng(1).normal(0, 0.3, 200))
    shown = ceilings_table(feasibility_table(candles, horizons=[1], costs=10.0, cost_multiples=[1, 1.5]))
    assert shown["costs, bps"].to_list() == ["x1 = 10.0", "x1.5 = 15.0"]
    assert shown["trade ceiling"].iloc[0] == "66.7%"
    assert list(shown.columns[-5:]) == ["ceiling 100%", "ceiling 50%", "ceiling 33%", "ceiling 10%", "largest coverage"]
    assert shown["ceiling 10%"].to_list() == ["100.0%"] * 2


def test_the_picture_colours_each_coverage_by_whether_the_target_fits(found):
    figure = feasibility_figure(replace(found, **POOR), coin="BTC-USDT")
    colours = [bar.get_facecolor() for bar in figure.axes[0].patches]
    assert colours[0] == colours[1]
    assert colours[2] == colours[3] != colours[0]
    assert figure.axes[0].get_title() == "BTC-USDT: 68% on 98% of 300 bars is impossible, horizon 1, costs 20.0 bps"
    assert {line.get_label().rsplit(" ", 1)[0] for line in figure.axes[0].lines} == {
        "target", "break-even", "coin flip", "always long",
    }  # fmt: skip
    assert png(figure).startswith(b"\x89PNG")
    assert BAD != GOOD
