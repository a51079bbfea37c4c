"""The feasibility panel against a trader in plain Python who sees the future, and what must hold on every market."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from crp_pipeline.errors import InsufficientHistoryError
from crp_pipeline.gate.feasibility import feasibility, trades_to_certify
from crp_pipeline.metrics import wilson_interval
from crp_pipeline.settings import ExecutionModel, ExitConfig
from crp_pipeline_tests.properties.test_backtest import markets

many = settings(max_examples=200, deadline=None)
some = settings(max_examples=80, deadline=None)
horizons = st.sampled_from([1, 2, 5])
costs = st.sampled_from([0.0, 15.0, 100.0])
exits = st.sampled_from([None, ExitConfig(), ExitConfig(stop_volatility_multiple=3.0, target_volatility_multiple=1.0)])
VOLATILITY = 0.008


def outcomes_by_hand(bars, horizon, cost_bps, where):
    """(long, short) net return for every bar whose future is whole, one bar after the other."""
    for decided in range(len(bars)):
        window = bars[decided : decided + horizon + 2]
        if len(window) < horizon + 2 or any(bar["is_repaired"] for bar in window):
            continue
        if len({bar["segment"] for bar in window}) > 1:
            continue
        yield tuple(net(window[1:], side, horizon, cost_bps, where) for side in (1, -1))


def net(window, side, horizon, cost_bps, where):
    paid = window[0]["open"]
    got = leave(window, side, horizon, paid, where)
    return (side * (got - paid) - cost_bps / 2 / 1e4 * (got + paid)) / paid


def leave(window, side, horizon, paid, where):
    """Price at which a position is left: stops before targets, gaps through a stop at the open, none through a target."""
    if where is None:
        return window[horizon]["open"]
    spread = VOLATILITY * math.sqrt(horizon)
    stop = paid * (1 - side * where.stop_volatility_multiple * spread)
    target = paid * (1 + side * where.target_volatility_multiple * spread)
    for bar in window[:horizon]:
        bad, good = (bar["low"], bar["high"]) if side == 1 else (bar["high"], bar["low"])
        if side * (bar["open"] - stop) <= 0:
            return bar["open"]
        if side * (bar["open"] - target) >= 0:
            return target
        if side * (bad - stop) <= 0:
            return stop
        if side * (good - target) >= 0:
            return target
    return window[horizon]["open"]


def asked(market, horizon, cost_bps, where=None, **more):
    """The panel; a market without any known future is another example's business."""
    volatility = None if where is None else np.full(len(market.candles), VOLATILITY)
    try:
        return feasibility(market.candles, horizon=horizon, costs=cost_bps, exits=where, volatility=volatility, **more)
    except InsufficientHistoryError:
        assume(condition=False)


@many
@given(markets(smallest=8), horizons, costs, exits)
def test_the_panel_is_what_a_trader_who_sees_the_future_writes_down(market, horizon, cost_bps, where):
    found = asked(market, horizon, cost_bps, where)
    both = list(outcomes_by_hand(market.candles.to_dict("records"), horizon, cost_bps, where))
    assert found.n == len(both)
    assert found.oracle_win_rate == pytest.approx(sum(max(pair) > 0 for pair in both) / len(both))
    assert found.always_long_win_rate == pytest.approx(sum(long > 0 for long, _ in both) / len(both))
    alike = [one for pair in both for one in pair]
    won, lost = [one for one in alike if one > 0], [-one for one in alike if one <= 0]
    assert found.coin_flip_win_rate == pytest.approx(len(won) / len(alike))
    if won and lost:
        ratio = (sum(won) / len(won)) / (sum(lost) / len(lost)) if sum(lost) else math.inf
        assert found.break_even_win_rate == pytest.approx(1 / (1 + ratio))
    right, wrong = sum(max(pair) for pair in both), sum(min(pair) for pair in both)
    if right - wrong > 1e-9:
        share = found.break_even_accuracy
        assert share * right + (1 - share) * wrong == pytest.approx(0, abs=1e-9)


@many
@given(markets(smallest=8), horizons, exits, st.floats(0, 200), st.floats(0, 200))
def test_higher_costs_never_raise_a_win_rate(market, horizon, where, one, other):
    cheap, costly = (asked(market, horizon, cost, where) for cost in sorted([one, other]))
    assert costly.oracle_win_rate <= cheap.oracle_win_rate
    assert costly.coin_flip_win_rate <= cheap.coin_flip_win_rate
    assert costly.ceiling_at(0.4) <= cheap.ceiling_at(0.4)


@some
@given(markets(smallest=8), horizons, costs, exits)
def test_nobody_beats_the_oracle(market, horizon, cost_bps, where):
    found = asked(market, horizon, cost_bps, where)
    assert found.oracle_win_rate >= max(found.coin_flip_win_rate, found.always_long_win_rate)
    assert found.oracle_win_rate <= 2 * found.coin_flip_win_rate + 1e-12
    assert found.oracle_win_rate_low <= found.oracle_win_rate <= found.oracle_win_rate_high
    assert 1 <= found.effective_n <= found.n


@some
@given(markets(smallest=8, ticks=(None,)), horizons)
def test_without_costs_exits_and_flat_moves_the_oracle_always_wins(market, horizon):
    opened = market.candles["open"].to_numpy()
    assume(all(opened[horizon:] != opened[:-horizon]))
    assert asked(market, horizon, 0.0).oracle_win_rate == 1


@some
@given(markets(smallest=8), horizons, costs, exits, st.sampled_from([1e-4, 3.0, 1e5]))
def test_the_price_has_no_scale(market, horizon, cost_bps, where, scale):
    prices = ["open", "high", "low", "close"]
    dear = replace(market, candles=market.candles.assign(**{name: scale * market.candles[name] for name in prices}))
    one, other = asked(market, horizon, cost_bps, where), asked(dear, horizon, cost_bps, where)
    # a return of exactly 0 may round to either side
    assert abs(one.oracle_win_rate - other.oracle_win_rate) <= (cost_bps == 0)
    assert other.mean_move_bps == pytest.approx(one.mean_move_bps)


@some
@given(markets(smallest=8), horizons, costs, st.floats(0.01, 1), st.floats(0.01, 1))
def test_who_acts_less_often_may_win_more_often(market, horizon, cost_bps, one, other):
    found = asked(market, horizon, cost_bps)
    less, more = sorted([one, other])
    assert found.ceiling_at(less) >= found.ceiling_at(more)
    assert asked(market, horizon, cost_bps, coverage=less, target_win_rate=0.5).is_possible == (found.highest_at(less) >= 0.5)


@some
@given(markets(smallest=8), horizons, st.integers(0, 9))
def test_an_execution_model_with_draws_costs_no_less_than_without(market, horizon, seed):
    plain = ExecutionModel()
    noisy = replace(plain, slippage_noise_bps=20.0, seed=seed)
    assert asked(market, horizon, noisy).oracle_win_rate <= asked(market, horizon, plain).oracle_win_rate


@many
@given(st.floats(0.01, 0.95), st.floats(0.02, 0.99))
def test_the_tabled_number_of_trades_is_the_first_that_proves_the_rate(threshold, rate):
    n = trades_to_certify(threshold, rate, power=0.5)
    if rate <= threshold:
        assert n == math.inf
        return
    assume(rate - threshold > 1e-3)
    assert wilson_interval(rate * n, n, level=0.90)[0] >= threshold - 1e-12
    if n > 10:
        assert wilson_interval(rate * (n - 1), n - 1, level=0.90)[0] < threshold + 1e-12
    assert trades_to_certify(threshold, rate) >= n
