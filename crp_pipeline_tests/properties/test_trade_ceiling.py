"""The ceiling of trades against everybody who tries to win more often, and on small markets against all of them."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from crp_pipeline.backtest import ExecutionModel, Sizing, run_backtest
from crp_pipeline.errors import InsufficientHistoryError
from crp_pipeline.gate.feasibility import feasibility
from crp_pipeline.settings import ExitConfig
from crp_pipeline_tests.properties.test_backtest import markets, seeds

some = settings(max_examples=60, deadline=None)
few = settings(max_examples=25, deadline=None)
SMALL = Sizing(max_leverage=0.01)
"""An account that nothing ruins."""
VOLATILITY = 0.008
horizons = st.sampled_from([1, 2, 5])
exits = st.sampled_from([None, ExitConfig(), ExitConfig(stop_volatility_multiple=3.0, target_volatility_multiple=1.0)])
executions = st.builds(
    ExecutionModel,
    fee_bps=st.sampled_from([0.0, 7.3, 61.7]),
    maker_fee_bps=st.sampled_from([None, 1.1]),
    slippage_noise_bps=st.sampled_from([0.0, 30.0]),
    gap_through_target=st.sampled_from(["target", "open"]),
    close_at_end=st.booleans(),
)
smooth = markets(smallest=8, ticks=(None,))


def panel(market, execution, where):
    volatility = None if where is None else np.full(len(market.candles), VOLATILITY)
    told = {"horizon": execution.horizon, "costs": execution, "exits": where, "volatility": volatility}
    try:
        return feasibility(market.candles, **told)
    except InsufficientHistoryError:
        assume(condition=False)


def traded(market, execution, where, signal, tier=None):
    """The engine's own trades of these sides, at the stops and targets that the panel was asked with."""
    decisions = pd.DataFrame({"signal": signal}, market.candles.index)
    if where is not None:
        spread = VOLATILITY * math.sqrt(execution.horizon)
        decisions["stop_distance"] = where.stop_volatility_multiple * spread
        decisions["target_distance"] = where.target_volatility_multiple * spread
    if tier is not None:
        decisions["tier"] = tier
    return run_backtest(market.candles, decisions, execution=execution, sizing=SMALL)


def deciders(won, rng):
    """Sides of one who tosses coins, of one who keeps his for long, and of three who know the future and pass all, some or no
    bars that cannot be won.
    """
    n = won.shape[1]
    coins, known = rng.choice([-1, 0, 1], n), np.where(won[0], 1, np.where(won[1], -1, 0))
    keeps = np.repeat(rng.choice([-1, 0, 1], n), rng.integers(1, 9, n))[:n]
    return [coins, keeps, known, np.where(known == 0, coins, known), np.where(known == 0, 1, known)]


@some
@given(smooth, executions, horizons, exits, seeds)
def test_no_trader_wins_more_often_than_the_ceiling_at_his_coverage(market, execution, horizon, where, seed):
    execution, rng = replace(execution, horizon=horizon), np.random.default_rng(seed)
    found = panel(market, execution, where)
    for signal in deciders(found.trades.won, rng):
        tier = rng.choice(["high", "low"], len(signal), p=[0.7, 0.3])
        result = traded(market, execution, where, signal, tier)
        won, high = result.trades["pnl"] > 0, result.trades["tier"] == "high"
        if len(won):
            assert won.mean() <= found.highest_trades_at(result.metrics["coverage"])
        if high.any():
            assert won[high].mean() <= found.highest_trades_at(result.by_tier["coverage"]["high"])


def outcomes_alone(market, execution, where):
    """By bar and side: next bar whose decision counts, and whether the trade wins; no entry where the engine trades nothing."""
    times, found = market.candles.index, {}
    for bar, side in product(range(len(times)), (1, -1)):
        alone = np.where(np.arange(len(times)) == bar, side, 0)
        for trade in traded(market, execution, where, alone).trades.itertuples():
            leave = times.get_loc(trade.exit_time)
            found[bar, side] = leave - (trade.exit_reason == "time"), trade.pnl > 0
    return found


def best_of_all(market, outcomes, sides, most_passed):
    """Highest win rate of any sequence of sides, 2 and -2 being those of a tier that does not count; None without a trade."""
    n, best = len(market.candles), None
    for signal in product(sides, repeat=n):
        if sum(abs(side) != 1 for side in signal) > most_passed:
            continue
        wins, trades, bar = 0, 0, 0
        while bar < n:
            side = signal[bar]
            after, won = outcomes.get((bar, int(np.sign(side))), (bar + 1, None))
            if won is not None and abs(side) == 1:
                wins, trades = wins + won, trades + 1
            bar = after
        if trades:
            best = max(best or 0, wins / trades)
    return best


@pytest.mark.slow
@few
@given(markets(smallest=4, largest=9, ticks=(None,)), executions, horizons, exits)
def test_where_every_bar_takes_a_side_the_ceiling_is_the_best_of_all_sequences(market, execution, horizon, where):
    execution = replace(execution, horizon=horizon, close_at_end=True)
    found = panel(market, execution, where)
    best = best_of_all(market, outcomes_alone(market, execution, where), (1, -1), 0)
    assert found.highest_trades_at(1.0) == pytest.approx(best, abs=1e-8)


@pytest.mark.slow
@few
@given(markets(smallest=4, largest=6, ticks=(None,)), executions, horizons, exits)
def test_whoever_passes_bars_or_trades_them_on_another_tier_stays_below_the_ceiling(market, execution, horizon, where):
    execution, n = replace(execution, horizon=horizon), len(market.candles)
    found = panel(market, execution, where)
    outcomes = outcomes_alone(market, execution, where)
    for passed in range(n):
        best = best_of_all(market, outcomes, (1, -1, 0, 2, -2), passed)
        assert best is None or found.highest_trades_at(1 - passed / n) >= best


@some
@given(smooth, executions, horizons, exits, st.floats(0.01, 1), st.floats(0.01, 1))
def test_the_ceiling_falls_with_the_coverage_and_its_inverse_agrees(market, execution, horizon, where, one, other):
    found, n = panel(market, replace(execution, horizon=horizon), where), len(market.candles)
    less, more = sorted([one, other])
    assert found.highest_trades_at(less) >= found.highest_trades_at(more) - 1e-8
    for rate in (0.3, 0.68, 0.95):
        largest = found.trades.largest_coverage(rate)
        assert 0 <= largest <= 1
        if largest > 1 / n:
            assert found.highest_trades_at(math.floor(largest * n + 1e-9) / n) >= rate - 1e-6
        if largest < 1 - 1 / n:
            assert found.highest_trades_at(largest + 1 / n) <= rate + 1e-6


@some
@given(smooth, executions, exits, st.floats(0.05, 1))
def test_at_a_horizon_of_one_bar_trades_are_bars(market, execution, where, coverage):
    """Every trade is over before the next decision: only bars of which the panel asks nothing can tell the two apart."""
    execution = replace(execution, horizon=1, close_at_end=True)
    found, n = panel(market, execution, where), len(market.candles)
    unasked = n - found.n
    least = math.ceil(coverage * n - 1e-6)
    assert found.highest_trades_at(coverage) <= min(1, (found.oracle_win_rate * found.n + unasked) / max(least, 1)) + 1e-8
    assert found.highest_trades_at(coverage) >= min(1, found.oracle_win_rate * found.n / (found.n + unasked)) - 1e-8
