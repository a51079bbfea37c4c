"""Trades by side and regime, and the same decisions dearer and later, against plain sums over the trades."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.backtest import (
    ExecutionModel,
    Sizing,
    break_even_cost_bps,
    by_regime,
    by_side,
    cost_ladder,
    cost_walks,
    equity_by_cost,
    equity_summary,
    latency_penalised,
    run_backtest,
    slowest_tenth,
    trade_summary,
    volatility_regime,
)
from crp_pipeline.metrics import binary_brier_score, drawdowns, turnover

EXECUTION = ExecutionModel(horizon=4, slippage_noise_bps=1.0)
SIZING = Sizing(risk_per_trade=0.005, max_leverage=0.5)
WINDOW = 50


@pytest.fixture(scope="module")
def market():
    rng = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.004, 1_500)))
    opened = np.r_[100, close[:-1]]
    edge = np.abs(rng.normal(0, 0.002, 1_500))
    return pd.DataFrame(
        {"open": opened, "high": np.maximum(opened, close) * (1 + edge), "low": np.minimum(opened, close) * (1 - edge)}
        | {"close": close},
        index=pd.date_range("2024-01-01", periods=1_500, freq="1h", tz="UTC", name="open_time"),
    )


@pytest.fixture(scope="module")
def decisions(market):
    rng = np.random.default_rng(1)
    ahead = np.sign(market["close"].shift(-3) / market["close"] - 1).fillna(0)
    # right somewhat more often than not: costs have something to eat
    signal = np.where(rng.random(1_500) < 0.45, ahead, rng.integers(-1, 2, 1_500)).astype(int)
    return pd.DataFrame(
        {"signal": signal, "stop_distance": 0.01, "target_distance": 0.012, "confidence": rng.uniform(0.5, 0.8, 1_500)},
        index=market.index,
    )


@pytest.fixture(scope="module")
def result(market, decisions):
    return run_backtest(market, decisions, execution=EXECUTION, sizing=SIZING)


def test_sides_share_the_trades_among_them(result):
    table = by_side(result.trades)
    assert table.index.to_list() == ["long", "short"]
    assert table["trades"].sum() == len(result.trades)
    assert table["pnl"].sum() == pytest.approx(result.metrics["pnl"])
    long = result.trades[result.trades["side"] == 1]
    assert table.loc["long", "win_rate"] == pytest.approx((long["pnl"] > 0).mean())
    assert table.loc["long", "expectancy_bps"] == pytest.approx(1e4 * long["return_net"].mean())


def test_a_side_that_was_never_taken_has_a_row(result):
    table = by_side(result.trades[result.trades["side"] == 1])
    assert table.loc["short", "trades"] == 0
    assert math.isnan(table.loc["short", "win_rate"])


def test_the_summary_holds_the_parts_of_its_brier_score(result):
    told = trade_summary(result.trades)
    trades = result.trades
    assert told["brier_score"] == pytest.approx(binary_brier_score(trades["confidence"], trades["pnl"] > 0))
    won = (trades["pnl"] > 0).mean()
    assert told["brier_uncertainty"] == pytest.approx(won * (1 - won))


def test_the_metrics_hold_the_numbers_of_the_curve(result):
    told = equity_summary(result.equity, result.trades, initial=SIZING.initial_equity)
    assert {name: result.metrics[name] for name in told} == pytest.approx(told, nan_ok=True)
    trades = result.trades
    fills = np.r_[trades["units"] * trades["entry_price"], trades["units"] * trades["exit_price"]]
    assert told["turnover"] == pytest.approx(turnover(fills, result.equity))
    assert told["longest_drawdown_days"] == drawdowns(result.equity, initial=SIZING.initial_equity).longest_days


def regimes_of(market):
    volatility = np.log(market["close"]).diff().rolling(20).std()
    return volatility, volatility_regime(volatility, window=WINDOW)


def test_regimes_are_told_by_the_place_among_the_last_bars(market):
    volatility, regime = regimes_of(market)
    for bar in range(69, 200):
        known = volatility.iloc[bar - WINDOW + 1 : bar + 1].to_numpy()
        place = ((known < known[-1]).sum() + (known == known[-1]).sum() / 2 + 0.5) / WINDOW
        expected = "low" if place <= 1 / 3 else "high" if place > 2 / 3 else "normal"
        assert regime.iloc[bar] == expected
    assert (regime.iloc[:69] == "unknown").all()
    assert set(regime.iloc[69:]) == {"low", "normal", "high"}


def test_a_regime_does_not_change_when_the_future_arrives(market):
    volatility, regime = regimes_of(market)
    for bar in (69, 200, 700):
        then = volatility_regime(volatility.iloc[: bar + 1], window=WINDOW)
        pd.testing.assert_series_equal(then, regime.iloc[: bar + 1])
    shaken = volatility.where(np.arange(1_500) <= 700, volatility * 100)
    pd.testing.assert_series_equal(volatility_regime(shaken, window=WINDOW).iloc[:701], regime.iloc[:701])


def test_trades_are_grouped_by_the_regime_at_their_decision(market, result):
    _, regime = regimes_of(market)
    table = by_regime(result.trades, regime)
    assert table.index.to_list() == ["low", "normal", "high", "unknown"]
    for name in table.index:
        own = [trade.pnl for trade in result.trades.itertuples() if regime[trade.decision_time] == name]
        assert table.loc[name, "trades"] == len(own) > 0
        assert table.loc[name, "pnl"] == pytest.approx(sum(own))


def test_any_label_will_do_and_bars_without_one_are_unknown(result):
    days = pd.Series({result.trades["decision_time"].iloc[0]: "trend", result.trades["decision_time"].iloc[1]: "range"})
    table = by_regime(result.trades, days)
    assert table.index.to_list() == ["range", "trend", "unknown"]
    assert table["trades"].to_list() == [1, 1, len(result.trades) - 2]


@pytest.mark.parametrize(("wrong", "named"), [({"window": 1}, "at least 2 bars, got 1"), ({"low": 0.7}, "low < high, got 0.7")])
def test_a_regime_without_meaning_is_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        volatility_regime(pd.Series([1.0, 2.0]), **({"window": 2} | wrong))


def test_the_ladder_walks_anew_at_every_cost(market, decisions, result):
    ladder = cost_ladder(market, decisions, execution=EXECUTION, sizing=SIZING)
    assert ladder.index.to_list() == [1.0, 1.5, 2.0, 3.0]
    for name in ladder:
        assert ladder.loc[1.0, name] == result.metrics[name]
    dearer = replace(EXECUTION, fee_bps=10.0, spread_bps=4.0, slippage_bps=2.0, slippage_noise_bps=2.0)
    twice = run_backtest(market, decisions, execution=dearer, sizing=SIZING)
    for name in ladder:
        assert ladder.loc[2.0, name] == pytest.approx(twice.metrics[name])


def test_the_equity_of_each_step_of_the_ladder_is_that_of_its_own_walk(market, decisions, result):
    walks = cost_walks(market, decisions, execution=EXECUTION, sizing=SIZING, factors=(1.0, 1.5))
    curves = equity_by_cost(walks)
    assert list(curves) == ["x1", "x1.5"]
    assert curves["x1"].equals(result.equity.rename("x1"))
    assert curves["x1.5"].iloc[-1] == pytest.approx(SIZING.initial_equity + walks[1.5].metrics["pnl"])


def test_expectancy_falls_with_every_step_of_the_ladder(market, decisions):
    ladder = cost_ladder(market, decisions, execution=EXECUTION, sizing=SIZING, factors=(0.0, 0.5, 1.0, 1.5, 2.0, 3.0))
    assert (ladder["trades"] == ladder["trades"].iloc[0]).all()
    assert (ladder["expectancy_bps"].diff().dropna() < 0).all()
    assert (ladder["win_rate"].diff().dropna() <= 0).all()


def test_at_the_break_even_cost_the_mean_trade_leaves_nothing(market, decisions):
    free = replace(EXECUTION, fee_bps=0.0, spread_bps=0.0, slippage_bps=0.0, slippage_noise_bps=0.0)
    cost = break_even_cost_bps(run_backtest(market, decisions, execution=free, sizing=SIZING))
    assert cost > 5
    # a round trip pays two fees, the second on the notional at the exit
    even = run_backtest(market, decisions, execution=replace(free, fee_bps=cost / 2), sizing=SIZING)
    assert even.metrics["expectancy_bps"] == pytest.approx(0, abs=0.01)


def test_the_break_even_cost_is_what_is_left_and_what_was_paid(result):
    trades = result.trades
    notional = trades["units"] * trades["entry_price"]
    expected = 1e4 * (trades["return_net"].mean() + (trades["costs"] / notional).mean())
    assert break_even_cost_bps(result) == pytest.approx(expected)
    assert math.isnan(break_even_cost_bps(replace(result, trades=trades.iloc[:0])))


def test_latency_is_paid_and_a_favourable_drift_is_never_credited(market, decisions):
    table = latency_penalised(market, decisions, execution=EXECUTION, sizing=SIZING, mean_ms=60_000, p90_ms=600_000)
    assert table.index.to_list() == ["none", "mean", "p90"]
    assert table["latency_ms"].to_list() == [0.0, 60_000, 600_000]
    assert table["delay_cost"].iloc[0] == 0
    assert (table["delay_cost"].diff().dropna() > 0).all()
    assert (table["expectancy_bps"].diff().dropna() < 0).all()
    assert (table["penalised_pnl"] <= table.loc["none", "pnl"]).all()
    late = run_backtest(market, decisions, execution=replace(EXECUTION, latency_ms=600_000), sizing=SIZING)
    assert table.loc["p90", "pnl"] == late.metrics["pnl"]


def test_a_walk_that_gains_by_being_late_is_not_credited(market, decisions):
    """Of losing decisions the late account falls below the least order first and is spared the rest."""
    wrong, sizing = decisions.assign(signal=-decisions["signal"]), replace(SIZING, risk_per_trade=0.02, min_notional=40_000)
    table = latency_penalised(market, wrong, execution=EXECUTION, sizing=sizing, mean_ms=60_000, p90_ms=600_000)
    assert table.loc["mean", "pnl"] > table.loc["none", "pnl"] + 100
    assert table.loc["mean", "penalised_pnl"] == table.loc["none", "pnl"]
    assert (table["penalised_expectancy_bps"] <= table["expectancy_bps"]).all()
    assert (table["penalised_expectancy_bps"] <= table.loc["none", "expectancy_bps"]).all()
    assert table.loc["p90", "penalised_pnl"] == table.loc["p90", "pnl"] < table.loc["none", "pnl"]


def test_the_slowest_tenth_is_that_of_the_inference_or_the_models_own_and_of_the_network():
    own = replace(EXECUTION, latency_ms=300.0, network_ms=100.0)
    assert [slowest_tenth(own, p90).latency_ms for p90 in (50.0, 400.0)] == pytest.approx([530.26, 630.26], abs=0.01)
    assert slowest_tenth(own, 50.0).network_ms == 0
    assert slowest_tenth(replace(own, network_ms=3_600_000.0), 50.0).latency_ms == 3_600_000
    drawn = np.random.default_rng(0).exponential(100.0, 100_000)
    assert np.mean(drawn <= slowest_tenth(own, 50.0).latency_ms - 300) == pytest.approx(0.9, abs=0.005)


def test_without_a_mean_there_is_no_row_of_it(market, decisions):
    table = latency_penalised(market, decisions, execution=EXECUTION, sizing=SIZING, p90_ms=600_000)
    assert table.index.to_list() == ["none", "p90"]
