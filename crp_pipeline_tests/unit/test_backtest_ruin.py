"""What happens when a loss reaches the whole account, with prices and sums worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from crp_pipeline.backtest import Sizing, slippage_draws
from crp_pipeline_tests.unit.test_backtest import FLAT, FREE, fills, market, trade

TENFOLD = Sizing(initial_equity=1_000, max_leverage=10)
"""Without a stop that buys 100 units at 100: nothing is left at 90, or for a short at 110."""


@pytest.mark.parametrize(
    ("side", "bar", "price"),
    [
        pytest.param(1, (100, 100, 85, 95), 90, id="within the bar"),
        pytest.param(1, (100, 100, 90, 95), 90, id="touched is gone"),
        pytest.param(1, (50, 50, 50, 50), 90, id="a gap takes no more than there is"),
        pytest.param(1, (100, 130, 85, 120), 90, id="ruin came before the target"),
        pytest.param(-1, (100, 115, 100, 105), 110, id="a short within the bar"),
        pytest.param(-1, (200, 200, 200, 200), 110, id="a short in a gap"),
    ],
)
def test_a_loss_ends_at_the_account(side, bar, price):
    result = trade(market(FLAT, FLAT, bar, FLAT, FLAT), {0: side, 2: 1, 3: -1}, sizing=TENFOLD, stop=np.nan, target=0.2)
    assert fills(result) == [(1, 2, side, 100, pytest.approx(price), "ruin")]
    assert result.trades["pnl"].to_list() == pytest.approx([-1_000])
    assert result.trades["gross_pnl"].to_list() == pytest.approx([-1_000])
    assert result.equity.to_list() == [1_000, 1_000, 0, 0, 0]
    assert result.metrics["max_drawdown"] == 1


def test_a_stop_before_the_ruin_comes_first():
    crash = market(FLAT, FLAT, (100, 100, 50, 50), (50,) * 4)
    result = trade(crash, {0: 1}, sizing=replace(TENFOLD, risk_per_trade=0.9), stop=0.05, target=np.nan)
    assert fills(result) == [(1, 2, 1, 100, 95, "stop")]


@pytest.mark.parametrize(("horizon", "leaves"), [(1, 2), (None, 4)], ids=["at a time exit", "at the end"])
def test_a_sale_whose_costs_leave_nothing_is_ruin(horizon, leaves):
    costly, sizing = replace(FREE, slippage_bps=100, fee_bps=10, horizon=horizon), Sizing(initial_equity=1_000, max_leverage=60)
    result = trade(market(*[FLAT] * 5), {0: 1}, execution=costly, sizing=sizing, stop=np.nan, target=np.nan)
    units = 60_000 / 101
    empty = (units * 101 * 1.001 - 1_000) / (units * 0.999)
    assert fills(result) == [(1, leaves, 1, 101, pytest.approx(empty), "ruin")]
    assert result.trades["costs"].to_list() == pytest.approx([1_000 - units * (100 - empty)])
    marked = [1_000] + [1_000 - units - 60] * (leaves - 1) + [0] * (5 - leaves)
    assert result.equity.to_list() == pytest.approx(marked)


def test_a_position_left_open_at_the_end_is_not_ruined_by_a_sale_that_never_came():
    costly = replace(FREE, slippage_bps=100, close_at_end=False)
    sizing = Sizing(initial_equity=1_000, max_leverage=60)
    result = trade(market(FLAT, FLAT), {0: 1}, execution=costly, sizing=sizing, stop=np.nan)
    assert result.trades.empty
    assert result.equity.iloc[-1] == pytest.approx(1_000 - 60_000 / 101)


def test_leverage_that_cannot_pay_its_own_entry_is_ruin():
    costly, sizing = replace(FREE, slippage_bps=200), Sizing(initial_equity=1_000, max_leverage=100)
    result = trade(market(FLAT, FLAT, FLAT), {0: 1, 1: 1}, execution=costly, sizing=sizing, stop=np.nan)
    assert result.trades["exit_reason"].to_list() == ["ruin"]
    assert result.equity.to_list() == [1_000, 0, 0]


def test_a_repaired_close_marks_no_less_than_nothing():
    candles = market(FLAT, FLAT, (50,) * 4, FLAT, is_repaired=[False, False, True, False])
    assert trade(candles, {0: 1}, sizing=TENFOLD, stop=np.nan, target=np.nan).equity.to_list() == [1_000, 1_000, 0, 1_000]


def test_ruin_comes_before_a_stop_when_the_entry_slipped_further_than_was_to_be_expected():
    noisy = replace(FREE, slippage_noise_bps=500, seed=1)
    assert slippage_draws(3, noisy)[1, 0] > 3 * 0.05
    sizing = Sizing(initial_equity=1_000, risk_per_trade=0.95, max_leverage=100)
    result = trade(market(FLAT, FLAT, FLAT), {0: 1}, execution=noisy, sizing=sizing, stop=0.02)
    assert [(entry, leave, reason) for entry, leave, *_, reason in fills(result)] == [(1, 1, "ruin")]
    assert result.equity.to_list() == [1_000, 0, 0]
