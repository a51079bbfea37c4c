"""Each market rule on a handful of bars, with prices and sums worked out by hand."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.backtest import (
    ExecutionModel,
    ExitConfig,
    Sizing,
    exit_distances,
    run_backtest,
    slippage_draws,
)
from crp_pipeline.backtest.files import load_result, save_result
from crp_pipeline.backtest.rules import challenge
from crp_pipeline.errors import DataContractError
from crp_pipeline.settings import PropFirmRules
from crp_pipeline.storage import write_parquet

FREE = ExecutionModel(fee_bps=0, spread_bps=0, slippage_bps=0, horizon=None)
LEVERED = Sizing(initial_equity=1_000, risk_per_trade=0.01, max_leverage=100)
"""Risk of 10; with a stop of 2 % at 100 that buys 5 units."""

FLAT = (100, 100, 100, 100)
DOWN = (100, 100, 97, 97)
UP = (100, 103, 100, 103)
BOTH = (100, 103, 97, 100)


def market(*bars, **columns):
    time = pd.date_range("2024-01-01 12:00", periods=len(bars), freq="h", tz="UTC", name="open_time")
    prices = pd.DataFrame(bars, index=time, columns=["open", "high", "low", "close"], dtype=float)
    return prices.assign(volume=1.0, **columns)


def decide(candles, signals, *, stop=0.02, target=0.02, **columns):
    """Decisions at every bar; `signals` maps positions to sides."""
    side = np.zeros(len(candles), dtype=int)
    for bar, signal in signals.items():
        side[bar] = signal
    return pd.DataFrame({"signal": side, "stop_distance": stop, "target_distance": target, **columns}, index=candles.index)


def trade(candles, signals, *, execution=FREE, sizing=LEVERED, **distances):
    return run_backtest(candles, decide(candles, signals, **distances), execution=execution, sizing=sizing)


def fills(result):
    """(entry bar, exit bar, side, entry price, exit price, reason) of every trade."""
    rows = result.trades[["entry_time", "exit_time", "side", "entry_price", "exit_price", "exit_reason"]].copy()
    for name in ("entry_time", "exit_time"):
        rows[name] = result.equity.index.get_indexer(rows[name])
    return list(rows.itertuples(index=False, name=None))


@pytest.mark.parametrize(
    ("side", "bars", "leaves", "price", "reason"),
    [
        pytest.param(1, [FLAT, DOWN], 3, 98, "stop", id="the stop fills at its price"),
        pytest.param(1, [FLAT, UP], 3, 102, "target", id="the target fills at its price"),
        pytest.param(1, [FLAT, BOTH], 3, 98, "stop", id="both in one bar, the stop came first"),
        pytest.param(1, [BOTH, FLAT], 2, 98, "stop", id="both in the entry bar, the stop came first"),
        pytest.param(1, [DOWN, FLAT], 2, 98, "stop", id="the stop is live from the entry bar"),
        pytest.param(1, [UP, FLAT], 2, 102, "target", id="the target is live from the entry bar"),
        pytest.param(1, [FLAT, (96, 105, 95, 96)], 3, 96, "stop", id="a gap through the stop fills at the open"),
        pytest.param(1, [FLAT, (104, 105, 95, 96)], 3, 102, "target", id="a gap through the target is no gift"),
        pytest.param(1, [FLAT, (100, 101.9, 98.1, 100)], 3, 100, "end", id="nearly is not touched"),
        pytest.param(1, [FLAT, (100, 100, 98, 99)], 3, 98, "stop", id="touched is filled"),
        pytest.param(-1, [FLAT, UP], 3, 102, "stop", id="a short stops above"),
        pytest.param(-1, [FLAT, DOWN], 3, 98, "target", id="a short gains below"),
        pytest.param(-1, [FLAT, BOTH], 3, 102, "stop", id="both in one bar, short"),
        pytest.param(-1, [BOTH, FLAT], 2, 102, "stop", id="both in the entry bar, short"),
        pytest.param(-1, [FLAT, (104, 105, 95, 96)], 3, 104, "stop", id="a gap through a short's stop"),
        pytest.param(-1, [FLAT, (96, 105, 95, 96)], 3, 98, "target", id="a gap through a short's target"),
    ],
)  # fmt: skip
def test_exits(side, bars, leaves, price, reason):
    result = trade(market(FLAT, FLAT, *bars), {1: side})
    assert fills(result) == [(2, leaves, side, 100, pytest.approx(price), reason)]


def test_stop_and_target_lie_around_the_open_before_slippage():
    execution = replace(FREE, slippage_bps=100)
    result = trade(market(FLAT, FLAT, FLAT, DOWN), {1: 1}, execution=execution)
    assert fills(result) == [(2, 3, 1, 101, pytest.approx(98 * 0.99), "stop")]


def test_a_missing_distance_is_no_stop_and_no_target():
    crash = (100, 200, 1, 100)
    unlevered = replace(LEVERED, max_leverage=1)
    result = trade(market(FLAT, FLAT, crash, crash), {0: 1}, stop=np.nan, target=np.nan, sizing=unlevered)
    assert result.trades["tier"].to_list() == ["none"]
    assert fills(result) == [(1, 3, 1, 100, 100, "end")]


def test_the_signal_is_not_filled_at_its_own_close():
    result = trade(market(FLAT, (100, 110, 100, 110), (120, 120, 120, 120)), {1: 1})
    assert fills(result) == [(2, 2, 1, 120, 120, "end")]


DIP, RISE, LOW = (99,) * 4, (101,) * 4, (90,) * 4
T, F = True, False


@pytest.mark.parametrize(
    ("bars", "columns", "horizon", "signals", "expected"),
    [
        pytest.param([FLAT, FLAT, FLAT, (101, 130, 70, 90)], {}, 2, {0: 1}, [(1, 3, 1, 100, 101, "time")],
                     id="time closes at the open, a horizon after the entry"),
        pytest.param([FLAT, FLAT, LOW], {}, 1, {0: 1}, [(1, 2, 1, 100, 90, "time")],
                     id="time comes before a gap through the stop"),
        pytest.param([FLAT, FLAT, (110,) * 4], {}, 1, {0: 1}, [(1, 2, 1, 100, 110, "time")],
                     id="time comes before a gap through the target"),
        pytest.param([FLAT, FLAT, FLAT, RISE, RISE], {}, 2, {0: 1, 1: -1, 2: -1},
                     [(1, 3, 1, 100, 101, "time"), (3, 4, -1, 101, 101, "end")],
                     id="the decision before a time exit enters at the same open"),
        pytest.param([FLAT, FLAT, LOW, LOW, LOW], {}, None, {0: 1, 1: 1, 2: 1},
                     [(1, 2, 1, 100, 90, "stop"), (3, 4, 1, 90, 90, "end")],
                     id="the decision before a gap through the stop was taken in a position"),
        pytest.param([FLAT, DOWN, FLAT, UP], {}, None, {0: 1, 1: 1},
                     [(1, 1, 1, 100, 98, "stop"), (2, 3, 1, 100, 102, "target")],
                     id="after a stop the close of the same bar decides again"),
        pytest.param([FLAT, FLAT], {}, None, {1: 1}, [], id="a decision on the last bar is not filled"),
        pytest.param([FLAT] * 6, {}, None, {0: 1, 1: -1, 2: 1, 3: -1}, [(1, 5, 1, 100, 100, "end")],
                     id="decisions in a position are ignored"),
        pytest.param([FLAT] * 4, {"is_repaired": [F, T, F, F]}, None, {0: 1, 1: 1}, [],
                     id="nothing is entered on a repaired bar nor decided on one"),
        pytest.param([FLAT, FLAT, DOWN, FLAT], {"is_repaired": [F, F, T, F]}, None, {0: 1},
                     [(1, 3, 1, 100, 100, "end")], id="nothing triggers on a repaired bar"),
        pytest.param([FLAT, FLAT, FLAT, DIP, DIP], {"is_repaired": [F, F, T, F, F]}, 1, {0: 1, 2: 1},
                     [(1, 3, 1, 100, 99, "time")], id="a time exit waits for a bar that traded"),
        pytest.param([FLAT, (100, 101, 100, 101), RISE, RISE], {"segment": [0, 0, 1, 1]}, None, {0: 1, 1: 1, 2: 1},
                     [(1, 1, 1, 100, 101, "gap"), (3, 3, 1, 101, 101, "end")],
                     id="nothing is held or carried into the next segment"),
        pytest.param([FLAT, FLAT, RISE, DOWN, DOWN], {"is_repaired": [F, F, F, T, T]}, None, {0: 1},
                     [(1, 2, 1, 100, 101, "end")], id="the data ends with the last bar that traded"),
        pytest.param([FLAT, FLAT, RISE, DOWN, FLAT], {"is_repaired": [F, F, F, T, F], "segment": [0, 0, 0, 0, 1]}, None,
                     {0: 1, 2: 1, 3: 1}, [(1, 2, 1, 100, 101, "gap")], id="a segment ends with the last bar that traded"),
        pytest.param([FLAT, RISE, DOWN, DOWN], {"is_repaired": [F, F, T, T], "segment": [0, 0, 1, 1]}, None, {0: 1, 2: 1},
                     [(1, 1, 1, 101, 101, "gap")], id="a last segment that never traded is still another one"),
        pytest.param([FLAT, FLAT, DIP, DIP], {"is_repaired": [F, F, T, T]}, 1, {0: 1},
                     [(1, 1, 1, 100, 100, "end")], id="time does not wait for a bar that never trades"),
        pytest.param([FLAT, FLAT, DOWN, FLAT], {"segment": [0, 0, 0, 1]}, None, {0: 1}, [(1, 2, 1, 100, 98, "stop")],
                     id="a stop in the last bar of a segment comes before its end"),
    ],
)  # fmt: skip
def test_order_of_events(bars, columns, horizon, signals, expected):
    result = trade(market(*bars, **columns), signals, execution=replace(FREE, horizon=horizon))
    assert fills(result) == [(*fill[:4], pytest.approx(fill[4]), fill[5]) for fill in expected]


def test_equity_is_marked_on_repaired_bars_too():
    candles = market(FLAT, FLAT, DOWN, FLAT, is_repaired=[F, F, T, F])
    assert trade(candles, {0: 1}).equity.iloc[2] == pytest.approx(1_000 + 5 * (97 - 100))


def test_a_position_may_be_left_open_at_the_end():
    candles = market(FLAT, FLAT, (100, 101, 100, 101))
    execution = replace(FREE, close_at_end=False, fee_bps=10)
    result = trade(candles, {0: 1}, execution=execution, stop=np.nan, sizing=Sizing(initial_equity=1_000))
    assert result.trades.empty
    assert math.isnan(result.metrics["brier_score"])
    assert result.equity.iloc[-1] == pytest.approx(1_000 + 10 * (101 - 100) - 10 * 100 * 0.001)


def test_risk_sizes_a_position_by_the_distance_to_the_stop():
    result = trade(market(FLAT, FLAT, FLAT), {0: 1})
    assert result.trades["units"].to_list() == pytest.approx([1_000 * 0.01 / 2])


def test_risk_counts_the_costs_of_both_sides():
    execution = replace(FREE, fee_bps=10, spread_bps=20, slippage_bps=10)
    result = trade(market(FLAT, FLAT, DOWN), {0: 1}, execution=execution)
    entry, stop = 100 * 1.002, 98 * 0.998
    lost_per_unit = entry - stop + 0.001 * (entry + stop)
    assert result.trades["units"].to_list() == pytest.approx([10 / lost_per_unit])
    assert result.trades["pnl"].to_list() == pytest.approx([-10])


def test_leverage_caps_the_notional_and_is_the_size_without_a_stop():
    sizing = Sizing(initial_equity=1_000, risk_per_trade=0.5, max_leverage=2)
    for stop in (0.02, np.nan):
        result = trade(market(FLAT, FLAT, FLAT), {0: 1}, sizing=sizing, stop=stop)
        assert result.trades["units"].to_list() == pytest.approx([20])


def test_leverage_caps_the_notional_at_the_price_that_was_paid():
    noisy, sizing = replace(FREE, slippage_noise_bps=200, seed=1), Sizing(initial_equity=1_000, max_leverage=2)
    for side in (1, -1):
        [row] = trade(market(FLAT, FLAT, FLAT), {0: side}, execution=noisy, sizing=sizing, stop=np.nan).trades.to_dict(
            "records"
        )
        assert row["units"] * row["entry_price"] == pytest.approx(2_000, rel=1e-12)


@pytest.mark.parametrize(("side", "gross"), [(1, 2 * 10), (-1, -2 * 10)])
def test_costs_are_fee_half_spread_and_slippage_on_both_sides(side, gross):
    execution = ExecutionModel(fee_bps=10, spread_bps=10, slippage_bps=5, horizon=2)
    candles = market(FLAT, FLAT, FLAT, (102,) * 4)
    entry, leave = 100 * (1 + side * 0.001), 102 * (1 - side * 0.001)
    sizing = Sizing(initial_equity=1_000 * (1 + side * 0.001))
    result = trade(candles, {0: side}, execution=execution, sizing=sizing, stop=np.nan, target=np.nan)
    [row] = result.trades.to_dict("records")
    fees = 0.001 * 10 * (entry + leave)
    assert row["units"] == pytest.approx(10)
    assert row["gross_pnl"] == pytest.approx(gross)
    assert row["pnl"] == pytest.approx(side * 10 * (leave - entry) - fees)
    assert row["costs"] == pytest.approx(10 * 0.1 + 10 * 0.102 + fees)
    assert row["return_net"] == pytest.approx(row["pnl"] / (10 * entry))
    assert result.equity.iloc[-1] == pytest.approx(sizing.initial_equity + row["pnl"])


def test_equity_is_marked_at_every_close():
    candles = market(FLAT, (100, 101, 100, 101), (101, 101, 99, 99), (99, 100, 99, 100))
    long = trade(candles, {0: 1}).equity
    short = trade(candles, {0: -1}).equity
    assert long.to_list() == pytest.approx([1_000, 1_005, 995, 1_000])
    assert short.to_list() == pytest.approx([1_000, 995, 1_005, 1_000])


def test_equity_begins_with_the_first_decision():
    candles = market(*[FLAT] * 5)
    result = run_backtest(candles, decide(candles, {2: 1}).iloc[2:], execution=FREE, sizing=LEVERED)
    assert list(result.equity.index) == list(candles.index[2:])
    assert result.metrics["exposure"] == pytest.approx(2 / 3)
    assert result.metrics["coverage"] == pytest.approx(1 / 3)


def test_slippage_draws_depend_on_bar_and_side_only():
    noisy = replace(FREE, slippage_noise_bps=10, seed=3)
    draws = slippage_draws(50, noisy)
    assert (draws == slippage_draws(80, noisy)[:50]).all()
    assert (draws != slippage_draws(50, replace(noisy, seed=4))).all()
    assert slippage_draws(20_000, noisy).mean() == pytest.approx(10e-4, rel=0.03)
    assert slippage_draws(50, FREE).shape == (0, 2)

    candles = market(*[FLAT] * 50)
    few = trade(candles, {30: 1}, execution=noisy).trades
    many = trade(candles, {0: 1, 5: -1, 30: 1}, execution=replace(noisy, horizon=4)).trades
    assert few["entry_price"].iloc[0] == 100 * (1 + draws[31, 0]) == many["entry_price"].iloc[-1]


def test_exit_distances_grow_with_the_root_of_the_horizon():
    stop, target = exit_distances(
        [0.01, 0.02, np.nan, 0.0], 4, ExitConfig(stop_volatility_multiple=1.5, target_volatility_multiple=2)
    )
    np.testing.assert_allclose(stop, [0.03, 0.06, np.nan, np.nan])
    np.testing.assert_allclose(target, [0.04, 0.08, np.nan, np.nan])
    with pytest.raises(ValueError, match="horizon must be at least 1 bar, got 0"):
        exit_distances([0.01], 0, ExitConfig())


@pytest.mark.parametrize("volatility", [0.5, 0.7, np.inf])
def test_a_stop_that_would_lie_a_whole_price_away_is_unknown_and_so_is_its_target(volatility):
    for exits in (ExitConfig(stop_volatility_multiple=1.0), ExitConfig(stop_volatility_multiple=20)):
        assert np.isnan(exit_distances([volatility], 4, exits)).all()
    stop, target = exit_distances([0.4999], 4, ExitConfig(stop_volatility_multiple=1.0, target_volatility_multiple=3.0))
    np.testing.assert_allclose([stop, target], [[0.9998], [2.9994]])


def three_trades():
    """Win 10, lose 10, win 10: the first two on the high tier."""
    candles = market(FLAT, UP, DOWN, UP, FLAT)
    tiers = ["high", "high", "low", "none", "none"]
    decisions = decide(candles, {0: 1, 1: 1, 2: 1}, tier=tiers, confidence=[0.9, 0.8, 0.6, 0.5, np.nan])
    return candles, decisions, run_backtest(candles, decisions, execution=FREE, sizing=LEVERED)


def test_metrics_of_three_trades():
    _, _, result = three_trades()
    pnl = [10, -10.1, 9.999]
    assert result.trades["pnl"].to_list() == pytest.approx(pnl)
    expected = {
        "trades": 3,
        "win_rate": 2 / 3,
        "pnl": sum(pnl),
        "average_pnl": sum(pnl) / 3,
        "expectancy_bps": 200 / 3,
        "payoff_ratio": (10 + 9.999) / 2 / 10.1,
        "profit_factor": 19.999 / 10.1,
        "max_drawdown": 0.01,
        "average_drawdown": 0.01,
        "exposure": 3 / 5,
        "coverage": 3 / 5,
        "mean_confidence": 2.3 / 3,
        "brier_score": (0.01 + 0.64 + 0.16) / 3,
        "win_calibration_error": (0.1 + 0.8 + 0.4) / 3,
    }
    assert {name: result.metrics[name] for name in expected} == pytest.approx(expected)
    assert math.isnan(result.metrics["sharpe"])


def test_tiers_and_sessions_have_their_own_numbers_and_empty_ones_a_row():
    _, _, result = three_trades()
    assert result.by_tier.index.to_list() == ["high", "medium", "low", "none"]
    assert result.by_tier["trades"].to_list() == [2, 0, 1, 0]
    assert result.by_tier["win_rate"].iloc[[0, 2]].to_list() == [0.5, 1.0]
    assert math.isnan(result.by_tier.loc["medium", "win_rate"])
    # entries at 13, 14 and 15 UTC in January: New York opened at 13
    assert result.trades["session"].to_list() == ["new_york"] * 3
    assert result.by_session.index.to_list() == ["tokyo", "london", "new_york", "none"]
    assert result.by_session["trades"].to_list() == [0, 0, 3, 0]


def test_trades_name_their_bars():
    candles, _, result = three_trades()
    assert list(result.trades["decision_time"]) == list(candles.index[:3])
    assert list(result.trades["entry_time"]) == list(result.trades["exit_time"]) == list(candles.index[1:4])
    assert result.trades["bars_held"].to_list() == [1, 1, 1]
    assert result.trades["exit_reason"].to_list() == ["target", "stop", "target"]
    assert result.trades.columns.to_list() == [
        "decision_time", "entry_time", "exit_time", "side", "tier", "confidence", "entry_price", "exit_price", "units",
        "notional", "pnl", "gross_pnl", "costs", "delay_cost", "funding", "return_net", "bars_held", "exit_reason", "session",
    ]  # fmt: skip


def test_sharpe_ratio_is_that_of_daily_equity():
    bars = [FLAT] * 24 + [(100, 101, 100, 101)] + [(101,) * 4] * 23 + [(101, 101, 100, 100)] + [FLAT] * 23
    candles = market(*bars)
    result = trade(candles, {0: 1}, stop=np.nan, target=np.nan, sizing=Sizing(initial_equity=1_000))
    # the first bar opens at noon: the price rises on the second day, falls on the third, rests on the fourth
    daily = np.array([0, 0.01, 1_000 / 1_010 - 1, 0])
    assert result.metrics["sharpe"] == pytest.approx(daily.mean() / daily.std(ddof=1) * math.sqrt(365))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c, d: (c, d.assign(signal=2)), "signal 2.0 at 2024-01-01 12:00"),
        (lambda c, d: (c, d.assign(stop_distance=0.0)), "stop_distance 0.0"),
        (lambda c, d: (c, d.assign(stop_distance=1.0)), "stop_distance 1.0"),
        (lambda c, d: (c, d.assign(target_distance=-0.1)), "target_distance -0.1"),
        (lambda c, d: (c.iloc[:2], d), "2024-01-01 14:00:00.* has no candle"),
        (lambda c, d: (c.iloc[::-1], d), "candles: open_time is not strictly increasing"),
        (lambda c, d: (c, d.iloc[[0, 0]]), "decisions: open_time is not strictly increasing"),
        (lambda c, d: (c.tz_localize(None), d), "candles: the index must be open_time in UTC"),
        (lambda c, d: (c.assign(low=[1.0, np.nan, 1.0]), d), "low is nan at 2024-01-01 13:00"),
        (lambda c, d: (c.assign(open=[1.0, 1.0, -1.0]), d), "open is -1.0 at 2024-01-01 14:00"),
    ],
)
def test_frames_that_break_the_contract_are_refused_by_time_and_value(change, named):
    candles = market(FLAT, FLAT, FLAT)
    with pytest.raises(DataContractError, match=named):
        run_backtest(*change(candles, decide(candles, {0: 1})), execution=FREE, sizing=LEVERED)


def test_no_decisions_at_all_are_a_result_without_trades():
    candles = market(FLAT, FLAT)
    result = run_backtest(candles, decide(candles, {}).iloc[:0], execution=FREE, sizing=LEVERED)
    assert result.trades.empty
    assert result.equity.to_list() == [1_000, 1_000]
    assert math.isnan(result.metrics["win_rate"])
    assert math.isnan(result.metrics["coverage"])


def test_stored_time_units_do_not_matter():
    candles, decisions, result = three_trades()
    other = run_backtest(candles.set_axis(candles.index.as_unit("us")), decisions, execution=FREE, sizing=LEVERED)
    assert other.trades["pnl"].to_list() == result.trades["pnl"].to_list()


def test_the_rules_of_a_prop_firm_are_told_beside_the_same_trades():
    candles, decisions, result = three_trades()
    held = run_backtest(candles, decisions, execution=FREE, sizing=LEVERED, rules=PropFirmRules())
    pd.testing.assert_frame_equal(held.trades, result.trades, check_exact=True)
    walked = challenge(held.equity, held.worst_equity, held.trades, PropFirmRules(), initial=LEVERED.initial_equity)
    assert (held.challenge, result.challenge) == (walked, None)


def test_a_stored_result_comes_back_whole(tmp_path):
    _, _, result = three_trades()
    stored = load_result(save_result(result, tmp_path / "ADA"))
    for name in ("trades", "by_tier", "by_session"):
        pd.testing.assert_frame_equal(getattr(stored, name), getattr(result, name), check_exact=True)
    for name in ("equity", "worst_equity"):
        pd.testing.assert_series_equal(getattr(stored, name), getattr(result, name), check_freq=False)
    assert stored.metrics == pytest.approx(result.metrics, nan_ok=True)


@pytest.mark.parametrize("name", ["trades.parquet", "equity.parquet", "metrics.json"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("{"), lambda path: path.write_text("[]")])
def test_a_stored_result_with_a_missing_or_damaged_part_is_refused_by_its_name(tmp_path, name, damage):
    folder = save_result(three_trades()[2], tmp_path / "ADA")
    damage(folder / name)
    with pytest.raises(DataContractError, match=name):
        load_result(folder)


def test_a_result_stored_without_the_worst_of_its_bars_is_refused(tmp_path):
    folder = save_result(three_trades()[2], tmp_path / "ADA")
    write_parquet(folder / "equity.parquet", three_trades()[2].equity.to_frame())
    with pytest.raises(DataContractError, match=r"equity\.parquet has no column worst_equity: make the backtest anew"):
        load_result(folder)


def test_importing_the_package_does_not_load_the_compiler():
    code = "import sys, crp_pipeline.backtest; print('numba' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "False"
