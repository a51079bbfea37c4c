"""What a win rate can be, on candles few enough to trade by hand, and how many trades prove it."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from typer.testing import CliRunner

from crp_pipeline.backtest import CostData
from crp_pipeline.candles import DEMO_COINS, coin_files, demo_market, load_candles, repair_candles, visible_state
from crp_pipeline.candles.volatility import causal_volatility
from crp_pipeline.cli import app
from crp_pipeline.defs.feasibility import assets
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.gate.evidence import _feasibility
from crp_pipeline.gate.feasibility import Feasibility, asked_coverage, feasibility, feasibility_table, trades_to_certify
from crp_pipeline.metrics import wilson_interval
from crp_pipeline.provenance import stamp
from crp_pipeline.reporting.feasibility import feasibility_page
from crp_pipeline.settings import ExecutionModel, ExitConfig, load_settings

TABLE = json.loads((Path(__file__).parents[1] / "golden" / "data" / "wilson.json").read_text())["sample_size_table"]


def market(*opens, freq="1h", **columns):
    """Bars that open at these prices and close where the next opens, without wicks."""
    opened = np.array(opens, dtype=float)
    close = np.r_[opened[1:], opened[-1]]
    bars = {"open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close), "close": close}
    index = pd.date_range("2024-01-01", periods=len(opened), freq=freq, tz="UTC", name="open_time", unit="ns")
    return pd.DataFrame(bars | columns, index=index)


def moving(*moves, **columns):
    """A market whose move from open to open is each of these, in percent; its first bar only decides."""
    prices = 100 * np.cumprod([1, 1, *(1 + np.array(moves) / 100)])
    return market(*prices, **columns)


def test_five_moves_worked_out_by_hand():
    # 20 bps of cost: the better side earns 80, 30, -10, 180 and -20 bps, the other -120, -70, -30, -220 and -20
    found = feasibility(moving(1, -0.5, 0.1, 2, 0), horizon=1, costs=20.0)
    assert found.n == 5
    assert found.oracle_win_rate == 3 / 5
    assert found.always_long_win_rate == 2 / 5
    assert found.coin_flip_win_rate == 3 / 10
    assert found.mean_move_bps == pytest.approx(72)
    # the fee of the exit is on a price that has moved: 10 bps of 1 % more
    wins, losses = (79.9 + 30.05 + 179.8) / 3, (120.1 + 69.95 + 10.01 + 29.99 + 220.2 + 20 + 20) / 7
    assert found.break_even_win_rate == pytest.approx(losses / (wins + losses), rel=1e-3)
    assert found.break_even_accuracy == pytest.approx(1 / 2 + 20 / (2 * 72), rel=1e-3)
    assert found.trades_per_night == 24


def test_stop_and_target_decide_who_wins():
    # a rise of 1.2 % that is taken back: nothing at the horizon of two bars, but more than a target 1 % away
    candles = moving(1.2, -1.1857707509881, 0, 0)
    exits, known = ExitConfig(target_volatility_multiple=1.0), np.full(6, 0.01 / math.sqrt(2))
    held = feasibility(candles, horizon=2, costs=10.0)
    taken = feasibility(candles, horizon=2, costs=10.0, exits=exits, volatility=known)
    assert (held.n, taken.n) == (3, 3)
    assert held.oracle_win_rate == pytest.approx(1 / 3)
    assert taken.oracle_win_rate == pytest.approx(2 / 3)
    # at a target of 3 % and a stop of 1 %, that rise stops the short and lets the long go on
    wide = ExitConfig(stop_volatility_multiple=1.0, target_volatility_multiple=3.0)
    stopped = feasibility(candles, horizon=2, costs=10.0, exits=wide, volatility=known)
    assert stopped.oracle_win_rate == pytest.approx(1 / 3)


def test_bars_of_unknown_volatility_are_not_asked_where_there_are_exits():
    candles = moving(*[1, -1] * 60)
    assert feasibility(candles, horizon=2, costs=10.0).n == 119
    # the labels' volatility needs a hundred returns
    assert feasibility(candles, horizon=2, costs=10.0, exits=ExitConfig()).n == 19
    unknown = np.where(np.arange(122) < 50, np.nan, 0.01)
    assert feasibility(candles, horizon=2, costs=10.0, exits=ExitConfig(), volatility=unknown).n == 69


def test_holes_and_filled_in_bars_are_not_traded():
    moves = [1, -1] * 10
    segment, filled = np.repeat([0, 1], 11), np.arange(22) == 5
    assert feasibility(moving(*moves), horizon=3, costs=0.0).n == 18
    assert feasibility(moving(*moves, segment=segment), horizon=3, costs=0.0).n == 2 * (11 - 4)
    # a decision at bars 1 to 5 would hold or touch bar 5
    assert feasibility(moving(*moves, is_repaired=filled), horizon=3, costs=0.0).n == 18 - 5


def test_the_ceiling_of_an_oracle_that_may_abstain_is_its_rate_over_the_coverage():
    found = feasibility(moving(1, -0.5, 0.1, 2, 0), horizon=1, costs=20.0, coverage=0.8)
    assert found.ceiling == pytest.approx(0.75)
    assert (found.ceiling_at(1.0), found.ceiling_at(0.5)) == (0.6, 1.0)
    assert found.highest_at(0.95) == pytest.approx(found.oracle_win_rate_high / 0.95)
    assert found.largest_coverage == pytest.approx(1.0)
    assert found.is_possible
    assert found.refusal is None
    assert found.trades_per_night == pytest.approx(0.8 * 24)


def test_a_target_above_the_ceiling_is_refused_with_the_numbers():
    found = feasibility(moving(*[1, -0.5, 0.1, 2, 0] * 60), horizon=1, costs=20.0)
    assert not found.is_possible
    assert found.refusal == (
        "a win rate of 68.0% on 100% of the bars is impossible: an oracle that knows the future wins at most 65.4% of these bars "
        "and 59.8% of the trades, taken one at a time, because at a horizon of 1 the better side earns its 20.0 bps of cost on "
        "60.0% (54.4% to 65.4%) of 300 bars only, where the mean move is 72.0 bps and a coin flip wins 30.0%; within reach it is "
        "on at most 96.2% of the bars"
    )
    assert replace(found, target_win_rate=0.65).is_possible, "above what the oracle won, within what it may be"


def test_a_market_that_stands_still_wins_nothing():
    found = feasibility(moving(*[0] * 30), horizon=1, costs=10.0)
    assert (found.oracle_win_rate, found.coin_flip_win_rate, found.break_even_win_rate) == (0, 0, 1)
    assert math.isnan(found.break_even_accuracy)
    assert (found.trades_to_prove, found.nights_to_prove) == (math.inf, math.inf)
    assert "of cost on 0.0% (0.0% to 11.4%) of 30 bars only" in found.refusal


def test_without_costs_and_flat_bars_the_oracle_always_wins_and_the_coin_half_of_the_time():
    found = feasibility(moving(*[1, -1] * 20), horizon=1, costs=0.0)
    assert (found.oracle_win_rate, found.coin_flip_win_rate) == (1, 0.5)
    assert found.break_even_accuracy == pytest.approx(0.5)


def test_a_sequence_of_neighbours_that_share_their_future_counts_less_than_its_length():
    rng = np.random.default_rng(0)
    candles = moving(*rng.normal(0, 0.3, 3_000))
    one, many = (feasibility(candles, horizon=horizon, costs=20.0) for horizon in (1, 48))
    assert one.effective_n > 0.5 * one.n
    assert many.effective_n < 0.3 * many.n
    assert one.oracle_win_rate_low < one.oracle_win_rate < one.oracle_win_rate_high


@pytest.mark.parametrize(("n_moves", "independent"), [(1_499, 61.5), (30, 1.0)])
def test_bars_that_all_come_out_alike_are_as_many_as_have_no_future_in_common(n_moves, independent):
    found = feasibility(moving(*[0] * n_moves), horizon=24, costs=10.0)
    assert (found.oracle_win_rate, found.n) == (0, n_moves - 23)
    assert found.effective_n == independent
    assert found.oracle_win_rate_high == wilson_interval(0, found.effective_n)[1]
    once = feasibility(moving(*[0] * (n_moves - 1), 1), horizon=24, costs=10.0)
    assert once.oracle_win_rate > 0
    assert once.effective_n <= found.effective_n


def test_costs_may_be_an_execution_model():
    candles = moving(1, -0.5, 0.1, 2, 0)
    model = ExecutionModel(fee_bps=6, spread_bps=4, slippage_bps=2, horizon=7)
    found, plain = (feasibility(candles, horizon=1, costs=costs) for costs in (model, 20.0))
    assert found.cost_bps == plain.cost_bps == 20
    assert found.oracle_win_rate == plain.oracle_win_rate
    assert found.break_even_accuracy == pytest.approx(plain.break_even_accuracy, rel=1e-3)


def test_the_oracle_is_paid_funding_and_pays_for_delay_as_the_backtest_does():
    """A market that stands still: only who is paid the funding wins, and only where no finer price eats it up."""
    candles = moving(*[0] * 30).assign(high=101.0, low=99.0)
    half_hours = candles.index + pd.Timedelta(minutes=30)
    funding = pd.Series(0.003, half_hours)
    finer = pd.DataFrame(99.5, half_hours, ["open", "high", "low", "close"])
    late = ExecutionModel(fee_bps=5, spread_bps=0, slippage_bps=0, latency_ms=1_800_000)
    told = {"horizon": 1, "costs": late}
    assert feasibility(candles, **told).oracle_win_rate == 0
    assert feasibility(candles, **told, data=CostData(funding)).oracle_win_rate == 1
    assert feasibility(candles, **told, data=CostData(funding, finer)).oracle_win_rate == 0
    table = feasibility_table(candles, horizons=[1], costs=late, cost_multiples=[1], data=CostData(funding))
    assert table["ceiling_100%"].to_list() == [1]


@pytest.mark.parametrize("target", [0.60, 0.62, 0.65, 0.66, 0.70])
def test_the_panel_the_gate_and_the_command_refuse_the_same_targets(target, tmp_path, monkeypatch):
    """At a short window of volatility, of the high tier's share of bars, with the coin's own fee."""
    monkeypatch.chdir(tmp_path)
    candles = moving(*np.random.default_rng(5).normal(0, 0.2, 400))
    candles.assign(volume=1.0).reset_index().to_csv("SOL-USDT.csv", index=False)
    told = {
        "CRP_HORIZON": "1", "CRP_LABELS__VOLATILITY_WINDOW": "20", "CRP_GATE__MIN_WIN_RATE": str(target),
        "CRP_ENSEMBLE__TIER_QUANTILES": "[0.1, 0.2]", "CRP_COIN_OVERRIDES": '{"SOL-USDT": {"execution": {"fee_bps": 2.0}}}',
    }  # fmt: skip
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    own = load_settings().of("SOL-USDT")
    volatility = pd.Series(causal_volatility(candles, 20), candles.index)
    panel = feasibility(
        candles, horizon=1, costs=own.execution, exits=own.exits, volatility=volatility, target_win_rate=target, coverage=0.8
    )
    assert asked_coverage(own) == pytest.approx(0.8)
    candidate = SimpleNamespace(
        candles=candles,
        labels=volatility.to_frame("volatility"),
        decisions=pd.DataFrame({"confidence": 0.6}, candles.index),
        result=SimpleNamespace(equity=candles["close"]),
        costs=CostData(),
    )
    gate = _feasibility(candidate, {"high_tier_coverage": asked_coverage(own)}, own)
    assert panel.is_possible == (gate["oracle_ceiling"] >= target)
    printed = CliRunner().invoke(app, ["feasibility", "--csv", "SOL-USDT.csv"])
    assert printed.exit_code == int(not panel.is_possible)
    assert feasibility_page(panel, coin="SOL-USDT") in printed.output


@pytest.mark.parametrize("name", ["SOL-USDT.csv", "sol-usdt.csv", "SOL-USDT.csv.gz", "Sol-Usdt.CSV.GZ", "sol-usdt.parquet"])
def test_a_file_is_asked_with_the_costs_of_the_coin_that_its_name_is_read_as(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRP_HORIZON", "1")
    monkeypatch.setenv("CRP_COIN_OVERRIDES", '{"SOL-USDT": {"execution": {"fee_bps": 26.0}}}')
    candles = moving(*np.random.default_rng(5).normal(0, 0.2, 400)).assign(volume=1.0).reset_index()
    if name.endswith("parquet"):
        candles.to_parquet(name)
    else:
        candles.to_csv(name, index=False, compression="gzip" if name.lower().endswith("gz") else None)
    assert list(coin_files(tmp_path)) == ["SOL-USDT"]
    printed = CliRunner().invoke(app, ["feasibility", "--csv", name])
    assert printed.output.startswith("SOL-USDT: ")
    assert ", costs 56.0 bps, " in printed.output


def test_the_gate_asks_an_oracle_that_has_the_candidates_funding():
    candles = moving(*[0] * 130).assign(high=101.0, low=99.0)
    volatility = pd.DataFrame({"volatility": 0.5}, candles.index)
    settings = load_settings(horizon=1)
    decisions = pd.DataFrame({"confidence": 0.6}, candles.index)
    told = {"candles": candles, "labels": volatility, "decisions": decisions}
    told["result"] = SimpleNamespace(equity=candles["close"])
    coverage = {"high_tier_coverage": 1.0, "coverage": 1.0}
    unpaid, paid = (
        _feasibility(SimpleNamespace(**told, costs=data), coverage, settings)["oracle_win_rate"]
        for data in (CostData(), CostData(pd.Series(0.003, candles.index + pd.Timedelta(minutes=30))))
    )
    assert (unpaid, paid) == (0, 1)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row['true_p']}_over_{row['threshold']}")
def test_trades_to_certify_are_those_of_the_reference_table(row):
    threshold, rate = row["threshold"], row["true_p"]
    assert trades_to_certify(threshold, rate, power=0.5) == row["n_if_observed_equals_p"]
    n = trades_to_certify(threshold, rate)
    assert n == row["n_for_80pct_power"]
    # the exact power of that many, from the binomial distribution and the interval itself
    wins = np.arange(n + 1)
    proven = np.array([wilson_interval(k, n, level=0.90)[0] > threshold for k in wins])
    assert binom.pmf(wins, n, rate)[proven].sum() == pytest.approx(row["power_check"], abs=1e-9)


def test_the_trades_to_prove_a_target_are_counted_from_the_higher_of_break_even_and_coin_flip():
    rng = np.random.default_rng(3)
    candles = moving(*rng.normal(0, 1, 500))
    cheap, costly = (feasibility(candles, horizon=1, costs=costs, coverage=0.5) for costs in (0.0, 30.0))
    assert costly.break_even_win_rate > costly.coin_flip_win_rate
    for found in (cheap, costly):
        hurdle = max(found.break_even_win_rate, found.coin_flip_win_rate)
        assert found.trades_to_prove == trades_to_certify(hurdle, 0.68, two_sided=True)
        assert found.trades_if_observed == trades_to_certify(hurdle, 0.68, power=0.5, two_sided=True)
        n = found.trades_if_observed
        assert wilson_interval(0.68 * n, n)[0] > hurdle, "the interval that the gate takes"
        assert wilson_interval(0.68 * (n - 1), n - 1)[0] < hurdle or n == 10
        assert found.nights_to_prove == pytest.approx(found.trades_to_prove / 12)
        assert found.nights_if_observed == pytest.approx(found.trades_if_observed / 12)


def test_a_night_has_as_many_trades_as_its_bars_hold_horizons():
    candles = moving(*[1, -1] * 60)
    assert feasibility(candles, horizon=6, costs=0.0).trades_per_night == 4
    assert feasibility(candles, horizon=6, costs=0.0, coverage=0.5).trades_per_night == 2
    quarter_hours = market(*np.arange(100, 150), freq="15min")
    assert feasibility(quarter_hours, horizon=24, costs=0.0).trades_per_night == 4


def test_a_table_has_a_row_for_each_horizon_and_multiple_of_the_costs():
    candles = moving(*np.random.default_rng(1).normal(0, 0.3, 400))
    table = feasibility_table(candles, horizons=[1, 4], costs=10.0, cost_multiples=[1, 2])
    assert table["horizon"].to_list() == [1, 1, 4, 4]
    assert table["cost_bps"].to_list() == [10, 20, 10, 20]
    for row in table.to_dict("records"):
        alone = feasibility(candles, horizon=row["horizon"], costs=row["cost_bps"])
        assert row["ceiling_100%"] == alone.oracle_win_rate
        assert row["ceiling_33%"] == alone.ceiling_at(0.33)
        assert (row["coin_flip"], row["break_even"]) == (alone.coin_flip_win_rate, alone.break_even_win_rate)
    model = ExecutionModel(slippage_noise_bps=1.0)
    scaled = feasibility_table(candles, horizons=[1], costs=model, cost_multiples=[3])
    assert scaled["cost_bps"].to_list() == [6 * model.cost_per_side_bps]


def test_costs_may_be_larger_than_settings_allow_as_multiples_of_allowed_ones_are():
    candles = moving(*[30, -20] * 20)
    assert feasibility(candles, horizon=1, costs=1_200.0).oracle_win_rate == 1
    assert feasibility(candles, horizon=1, costs=6_000.0).oracle_win_rate == 0
    table = feasibility_table(candles, horizons=[1], costs=800.0)
    assert table["cost_bps"].to_list() == [800, 1_200, 1_600, 2_400]
    assert table["ceiling_100%"].to_list() == [1, 1, 1, 0.5]


def test_the_shell_takes_costs_up_to_a_whole_price_and_only_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    moving(*[30, -20] * 100).assign(volume=1.0).reset_index().to_csv("SOL-USDT.csv", index=False)

    def asked(option, value):
        return CliRunner().invoke(app, ["feasibility", "--csv", "SOL-USDT.csv", "--horizon", "1", option, value])

    printed = asked("--cost-bps", "1200")
    assert (printed.exit_code, ", costs 1200.0 bps, " in printed.output) == (0, True)
    for option, value in (
        *(("--cost-bps", value) for value in ("10001", "-1", "inf", "nan")),
        *((option, "nan") for option in ("--coverage", "--min-win-rate")),
    ):
        refused = asked(option, value)
        assert (refused.exit_code, "Invalid value" in refused.output) == (2, True), (option, value)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_table_has_the_benefit_of_the_doubt_at_the_level_that_is_asked_for(level):
    told = {"costs": 20.0, "level": level}
    candles = moving(*[1, -0.5, 0.1, 2, 0] * 60)
    table = feasibility_table(candles, horizons=[1], cost_multiples=[1], **told)
    assert table["largest_coverage"].to_list() == [feasibility(candles, horizon=1, **told).largest_coverage]


def test_the_asset_asks_at_the_gates_level_and_has_one_name_for_one_number():
    settings = load_settings(horizon=4, gate={"level": 0.5, "min_win_rate": 0.9, "win_rate_of": "all"})
    candles = moving(*np.random.default_rng(0).normal(0, 0.2, 400))
    labels = pd.DataFrame({"volatility": 0.002}, candles.index)
    for name, frame in (("candles", candles), ("labels", labels)):
        stamp(frame, name, coin="EDGE-DEMO")
    [asset] = assets(settings)
    context = SimpleNamespace(partition_key="EDGE-DEMO", log=SimpleNamespace(info=print))
    done = asset.op.compute_fn.decorated_fn(context, candles, labels)
    told = {"costs": settings.execution, "exits": settings.exits, "volatility": labels["volatility"]}
    expected = feasibility(candles, horizon=4, **told, target_win_rate=0.9, level=0.5)
    [check] = done.check_results
    assert done.metadata["ceiling"] == pytest.approx(expected.oracle_win_rate, rel=1e-5)
    assert check.metadata["ceiling_high"].value == expected.oracle_win_rate_high < 1
    assert done.value["largest_coverage"].iloc[-4] == expected.largest_coverage < 1
    assert set(check.metadata) & set(done.metadata) == set()


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"costs": -1.0}, ValueError, "^costs = -1.0 are not those of a round trip in basis points: "),
        ({"costs": math.nan}, ValueError, "^costs = nan are not those of a round trip"),
        ({"costs": math.inf}, ValueError, "^costs = inf are not those of a round trip"),
        ({"horizon": 0}, ValueError, "horizon must be at least 1 bar, got 0"),
        ({"horizon": 5}, InsufficientHistoryError, "none of 6 bars has a known future of 5 bars"),
        ({"coverage": 0}, ValueError, "0 is not a share of the bars"),
        ({"target_win_rate": 68}, ValueError, "68 is not a share"),
        (
            {"exits": ExitConfig(), "volatility": np.ones(3)},
            DataContractError,
            r"volatility: shape \(3,\) does not fit 6 candles",
        ),
    ],
)
def test_a_question_without_meaning_is_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        feasibility(moving(1, 1, 1, 1), **({"horizon": 1, "costs": 10.0} | wrong))


@pytest.mark.parametrize("kappa", [0.3, 1.0])
def test_a_planted_edge_earns_what_its_formula_says(kappa):
    spec = replace(DEMO_COINS["EDGE-DEMO"], kappa=kappa)
    candles = demo_market(spec, n_bars=60_000, seed=11)
    state = visible_state(candles, spec)
    move = np.log(candles["open"].to_numpy()[2:] / candles["open"].to_numpy()[1:-1])
    earned = np.sign(state[:-2]) * move
    # the drift is kappa sigma s, so the mean absolute shock left over gives E sigma = E|shock| / sqrt(2 / pi)
    sigma = np.abs(move).mean() / math.sqrt(2 / math.pi * (1 + kappa**2))
    edge = sigma * kappa * math.sqrt(2 / math.pi)
    assert earned.mean() == pytest.approx(edge, abs=3 * earned.std() / math.sqrt(len(earned)))
    # and the panel's mean move is what a perfect forecaster of the sign would earn
    found = feasibility(candles, horizon=1, costs=0.0)
    assert found.oracle_win_rate == 1
    assert found.mean_move_bps == pytest.approx(1e4 * np.abs(np.expm1(move)).mean())


@pytest.mark.market_data
def test_after_fifteen_basis_points_nobody_wins_more_than_three_in_ten_quarter_hours_of_bitcoin(market_data):
    bars = load_candles(market_data / "5m" / "BTC-USDT.parquet").resample("15min")
    whole = bars["close"].count() == 3
    quarter_hours = bars.agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"})[whole]
    candles, _ = repair_candles(quarter_hours, "15m", max_gap=4)
    found = feasibility(candles, horizon=1, costs=15.0)
    assert found.oracle_win_rate == pytest.approx(0.288, abs=0.001)
    assert found.break_even_accuracy > 1
    assert not found.is_possible
    assert isinstance(found, Feasibility)
