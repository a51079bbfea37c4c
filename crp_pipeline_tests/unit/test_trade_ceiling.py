"""The ceiling of trades where it matters: a market that bars call impossible and trades do not, and one that both do."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.backtest import CostData, Sizing, exit_table, run_backtest
from crp_pipeline.candles.volatility import causal_volatility
from crp_pipeline.gate.evidence import _feasibility
from crp_pipeline.gate.feasibility import feasibility
from crp_pipeline.settings import ExecutionModel, ExitConfig, load_settings
from crp_pipeline_tests.unit.test_feasibility import market, moving

SPELL = 500


@pytest.fixture(scope="module")
def candles():
    """Spells that go to and fro by less than any cost, and spells that rise, by turns."""
    to_and_fro, rising = np.tile([0.01, -0.01], SPELL // 2), np.random.default_rng(0).normal(0.2, 0.2, (4, SPELL))
    moves = np.concatenate([spell for one in rising for spell in (to_and_fro, one)])
    return market(*(100 * np.exp(np.cumsum(moves) / 100)))


@pytest.fixture(scope="module")
def found(candles):
    return feasibility(candles, horizon=24, costs=ExecutionModel(), exits=ExitConfig(), target_win_rate=0.7)


def sides(candles, won):
    """A side on every bar that has a stop: one that wins where there is one."""
    volatility = pd.Series(causal_volatility(candles, 100), candles.index)
    decisions = exit_table(volatility, 24, ExitConfig())
    return decisions.assign(signal=np.where(decisions["stop_distance"].isna(), 0, np.where(won[0], 1, -1)), confidence=0.6)


def test_a_win_rate_that_trades_reach_is_not_refused_for_the_bars_that_do_not(candles, found):
    decisions = sides(candles, found.trades.won)
    result = run_backtest(candles, decisions, execution=ExecutionModel(), sizing=Sizing())
    reached = result.metrics["win_rate"]
    assert len(result.trades) > 200
    assert found.highest_bars_at(1.0) < 0.7 < reached <= found.trade_ceiling
    assert found.highest_at(1.0) == found.trade_ceiling
    assert found.is_possible
    assert found.refusal is None
    assert found.largest_coverage == 1


def test_the_gate_does_not_call_impossible_what_its_backtest_reached(candles, found):
    decisions = sides(candles, found.trades.won)
    result = run_backtest(candles, decisions, execution=ExecutionModel(), sizing=Sizing())
    settings = load_settings(horizon=24, gate={"win_rate_of": "all"})
    told = {"candles": candles, "decisions": decisions, "result": result, "costs": CostData()}
    labels = pd.DataFrame({"volatility": causal_volatility(candles, 100)}, candles.index)
    measured = _feasibility(SimpleNamespace(**told, labels=labels), {"coverage": result.metrics["coverage"]}, settings)
    assert measured["oracle_ceiling"] >= result.metrics["win_rate"] > measured["oracle_win_rate"] / result.metrics["coverage"]


def test_bars_without_a_forecast_are_passed_by_the_gates_oracle_as_well(candles, found):
    """A forecast for every third bar, a side on each: no more than a third of the bars are decided."""
    decisions = sides(candles, found.trades.won).iloc[::3]
    settings = load_settings(horizon=24, gate={"win_rate_of": "all"})
    labels = pd.DataFrame({"volatility": causal_volatility(candles, 100)}, candles.index)
    told = {"candles": candles, "decisions": decisions, "costs": CostData(), "labels": labels}
    told["result"] = SimpleNamespace(equity=candles["close"])
    measured = _feasibility(SimpleNamespace(**told), {"coverage": 1.0}, settings)
    assert measured["oracle_ceiling"] == found.highest_at(len(decisions) / len(candles))


def test_moves_too_small_for_the_costs_are_impossible_on_bars_and_in_trades():
    found = feasibility(moving(*np.random.default_rng(2).normal(0, 0.14, 5_000)), horizon=1, costs=15.0)
    assert found.highest_trades_at(1.0) == pytest.approx(found.oracle_win_rate, abs=1 / found.n)
    assert found.highest_trades_at(0.5) == pytest.approx(2 * found.oracle_win_rate, abs=2 / found.n)
    assert not found.is_possible
    bars, trades = f"{found.highest_bars_at(1.0):.1%}", f"{found.highest_trades_at(1.0):.1%}"
    assert f"wins at most {bars} of these bars and {trades} of the trades, taken one at a time" in found.refusal


def test_a_horizon_of_trades_that_lose_can_be_passed_for_the_price_of_one_bar():
    """The win rate may be that of a tier: a trade on another one, held over the dead bars, swallows their decisions."""
    dead, alive = [0] * 12, [1, -1] * 6
    found = feasibility(moving(*dead, *alive), horizon=4, costs=10.0)
    n = len(dead) + len(alive) + 2
    assert found.highest_trades_at(1.0) < 0.8
    assert found.highest_trades_at(1 - 3 / n) > found.highest_trades_at(1.0)
