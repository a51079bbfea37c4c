"""Fees, slippage, funding, delay and order sizes on a handful of bars, with sums worked out by hand."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from crp_pipeline.backtest import ExecutionModel, Sizing, cost_ladder, delay_draws, run_backtest, settled_rates, slippage_draws
from crp_pipeline.backtest.costs import volatility_slippage
from crp_pipeline.errors import DataContractError
from crp_pipeline.gate.costs import cost_data, cost_hashes
from crp_pipeline.gate.feasibility import feasibility_table
from crp_pipeline.provenance import conflicts, merged
from crp_pipeline.settings import FeedConfig, SettingsError, load_settings
from crp_pipeline.settings.slippage import read_slippage
from crp_pipeline_tests.unit.test_backtest import BOTH, DOWN, FLAT, FREE, LEVERED, UP, decide, fills, market, trade

TEN_UNITS = Sizing(initial_equity=1_000, max_leverage=1)
"""Without a stop that buys 10 units at 100."""


def funded(rates, *bars, side=1, execution=FREE, start="2024-01-01 12:00", **distances):
    """One position of 10 units with settled funding; `rates` by time."""
    candles = market(*bars)
    candles.index = pd.date_range(start, periods=len(bars), freq="h", tz="UTC", name="open_time")
    decisions = decide(candles, {0: side}, **{"stop": np.nan, "target": np.nan} | distances)
    series = pd.Series(rates.values(), index=pd.DatetimeIndex(list(rates), tz="UTC"), dtype=float)
    return run_backtest(candles, decisions, execution=execution, sizing=TEN_UNITS, funding=series)


def test_a_target_pays_the_fee_of_a_maker_and_a_stop_that_of_a_taker():
    costly = replace(FREE, fee_bps=10, maker_fee_bps=2)
    for bar, price, fee in ((UP, 102, 0.0002), (DOWN, 98, 0.001)):
        result = trade(market(FLAT, FLAT, bar), {0: 1}, execution=costly)
        [row] = result.trades.to_dict("records")
        assert result.equity.iloc[-1] == pytest.approx(1_000 + row["pnl"], rel=1e-12)
        assert row["costs"] == pytest.approx(row["units"] * (100 * 0.001 + price * fee))


@pytest.mark.parametrize("confidence", [1.5, -0.1, np.inf])
def test_a_confidence_that_is_no_probability_is_refused_before_the_walk_by_its_time(confidence):
    candles = market(*[FLAT] * 4)
    decisions = decide(candles, {0: 1, 2: 1}).assign(confidence=[0.5, np.nan, confidence, confidence])
    with pytest.raises(DataContractError, match=rf"confidence {confidence} at 2024-01-01 14:00.* is not allowed"):
        run_backtest(candles, decisions, execution=FREE, sizing=TEN_UNITS)


@pytest.mark.parametrize(("side", "sign"), [(1, 1), (-1, -1)])
def test_funding_is_owed_at_the_stamps_held_and_not_at_that_of_the_entry(side, sign):
    rates = {"2024-01-01 13:00": 0.5, "2024-01-01 15:00": 0.01, "2024-01-01 16:30": 0.002}
    bars = [FLAT, FLAT, FLAT, (110,) * 4, (110, 120, 110, 120), (120,) * 4]
    result = funded(rates, *bars, side=side, execution=replace(FREE, horizon=4))
    # held from 13:00 to 17:00: at 15:00 the price is 110, at 16:30 half way between 110 and 120
    owed = sign * 10 * (110 * 0.01 + 115 * 0.002)
    assert result.trades["funding"].to_list() == pytest.approx([owed])
    assert result.trades["pnl"].to_list() == pytest.approx([sign * 10 * 20 - owed])
    assert result.trades["costs"].to_list() == pytest.approx([0])
    assert result.equity.iloc[3] == pytest.approx(1_000 + sign * 100 - sign * 10 * 1.1)


def test_funding_is_owed_at_the_open_at_which_a_position_is_left_and_not_within_that_bar():
    rates = {"2024-01-01 14:00": 0.01, "2024-01-01 14:20": 0.5}
    result = funded(rates, FLAT, FLAT, FLAT, FLAT, execution=replace(FREE, horizon=1))
    assert result.trades["funding"].to_list() == pytest.approx([10])


@pytest.mark.parametrize(("rate", "owed"), [(0.01, 10.0), (-0.01, 0.0)])
def test_who_was_stopped_within_the_bar_of_a_stamp_pays_and_is_not_paid(rate, owed):
    result = funded({"2024-01-01 14:20": rate}, FLAT, FLAT, (100, 100, 98, 100), FLAT, stop=0.01, target=np.nan)
    assert result.trades["exit_reason"].to_list() == ["stop"]
    assert result.trades["funding"].to_list() == pytest.approx([owed])


def test_a_stamp_milliseconds_after_the_hour_is_the_hour():
    result = funded({"2024-01-01 13:00:00.009": 0.01}, FLAT, FLAT, FLAT)
    assert result.trades["funding"].to_list() == [0]


def test_without_settled_rates_the_constant_is_charged_at_the_usual_stamps():
    candles = market(*[FLAT] * 24)  # 12:00 to 12:00
    constant = replace(FREE, funding_bps=1)
    result = trade(candles, {0: 1}, execution=constant, sizing=TEN_UNITS, stop=np.nan, target=np.nan)
    assert result.trades["funding"].to_list() == pytest.approx([3 * 1_000 * 1e-4])


def test_funding_that_eats_the_account_is_ruin():
    result = funded({"2024-01-01 14:00": 0.9, "2024-01-01 15:00": 0.9}, *[FLAT] * 5)
    assert result.trades["exit_reason"].to_list() == ["ruin"]
    assert result.trades["pnl"].to_list() == pytest.approx([-1_000])
    assert result.equity.to_list() == pytest.approx([1_000, 1_000, 100, 0, 0])


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (pd.Series([0.1], index=[3]), "funding: the index must be stamps in UTC, got int64"),
        (pd.Series([2.0], index=pd.DatetimeIndex(["2024-01-01"], tz="UTC")), "the rate is 2.0 at 2024-01-01"),
        (pd.Series([np.nan], index=pd.DatetimeIndex(["2024-01-01"], tz="UTC")), "the rate is nan"),
        (pd.Series([0.1, 0.1], index=pd.DatetimeIndex(["2024-01-02"] * 2, tz="UTC")), "2024-01-02 .* is not after 2024-01-02"),
    ],
)
def test_wrong_funding_is_refused(rates, message):
    candles = market(FLAT, FLAT)
    with pytest.raises(DataContractError, match=message):
        run_backtest(candles, decide(candles, {}), execution=FREE, sizing=LEVERED, funding=rates)


def test_a_daily_mean_is_charged_at_every_stamp_of_its_day():
    days = pd.Series([0.1, np.nan, 0.3], index=pd.date_range("2024-01-01", periods=3, freq="D", tz="UTC"))
    found = settled_rates(pd.concat([days, days.iloc[[0]] + 1]))
    assert found.index.equals(pd.DatetimeIndex(pd.date_range("2024-01-01", "2024-01-05", freq="8h", tz="UTC")[: len(found)]))
    assert found.iloc[:3].to_list() == [0.1] * 3
    eight = pd.Series([1.0, 2.0], index=pd.DatetimeIndex(["2024-01-01 00:00:00.004", "2024-01-01 08:00"], tz="UTC"))
    assert settled_rates(eight).index.to_list() == list(pd.date_range("2024-01-01", periods=2, freq="8h", tz="UTC"))


RISING, FALLING = (100, 104, 100, 104), (100, 100, 96, 96)
QUARTER = replace(FREE, latency_ms=15 * 60_000)


@pytest.mark.parametrize(
    ("side", "bar", "price", "cost"),
    [(1, RISING, 101, 1), (1, FALLING, 100, 0), (-1, FALLING, 99, 1), (-1, RISING, 100, 0)],
)
def test_a_late_order_pays_a_price_that_ran_away_and_gains_nothing_from_one_that_came(side, bar, price, cost):
    result = trade(market(FLAT, bar, bar), {0: side}, execution=QUARTER, stop=np.nan, target=np.nan)
    [row] = result.trades.to_dict("records")
    assert row["entry_price"] == pytest.approx(price)
    assert row["delay_cost"] == pytest.approx(cost * row["units"])


def test_the_first_finer_bar_after_the_delay_tells_the_price_where_there_is_one():
    candles = market(FLAT, RISING, RISING)
    times = pd.DatetimeIndex(["2024-01-01 13:10", "2024-01-01 13:20"], tz="UTC")
    finer = pd.DataFrame({name: [100.5, 103.5] for name in ("open", "high", "low", "close")}, index=times)
    decisions = decide(candles, {0: 1}, stop=0.5, target=np.nan)
    told = run_backtest(candles, decisions, execution=QUARTER, sizing=LEVERED, finer=finer)
    assert told.trades["entry_price"].to_list() == [103.5]
    late = run_backtest(candles, decisions, execution=replace(QUARTER, latency_ms=25 * 60_000), sizing=LEVERED, finer=finer)
    assert late.trades["entry_price"].to_list() == pytest.approx([100 + 4 * 25 / 60])
    with pytest.raises(
        DataContractError, match=r"finer candles: open is 207.0 in the bar of 2024-01-01 13:00.* another market"
    ):
        run_backtest(candles, decisions, execution=QUARTER, sizing=LEVERED, finer=finer * 2)


def test_stop_and_target_stay_around_the_open_that_a_late_order_missed():
    result = trade(market(FLAT, (100, 101, 100, 104), DOWN), {0: 1}, execution=QUARTER, stop=0.02, target=0.05)
    assert fills(result) == [(1, 2, 1, pytest.approx(101), 98, "stop")]


def test_delays_are_drawn_per_bar_and_do_not_change_when_bars_are_appended():
    drawn = replace(FREE, latency_ms=200, network_ms=50, seed=3)
    delays = delay_draws(20_000, drawn)
    assert (delays[:50] == delay_draws(50, drawn)).all()
    assert delays.min() >= 200
    assert delays.mean() == pytest.approx(250, rel=0.01)


def test_slippage_from_a_file_is_drawn_from_its_values_and_expected_at_their_mean(tmp_path):
    path = tmp_path / "fills.csv"
    path.write_text("adverse_bps\n0\n2\n10\n")
    sampled = replace(FREE, slippage_file=path)
    draws = slippage_draws(3_000, sampled)
    assert set(np.round(draws.ravel() * 1e4, 9)) == {0, 2, 10}
    assert draws.mean() == pytest.approx(4e-4, rel=0.05)
    assert (slippage_draws(100, sampled) == draws[:100]).all()
    assert sampled.cost_per_side_bps == 4
    assert sampled.scaled(2.5).cost_per_side_bps == 10
    pd.DataFrame({"bps": [0.0, 2, 10]}).to_parquet(tmp_path / "fills.parquet")
    assert (slippage_draws(100, replace(sampled, slippage_file=tmp_path / "fills.parquet")) == draws[:100]).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bps\n1\n-3\n", r"fills.csv: row 2: bps = -3 must be a number from 0 to 1000"),
        ("bps\n1\nmuch\n", r"fills.csv: row 2: bps = much must be"),
        ("bps\n1\nnan\n", r"fills.csv: row 2: bps = nan must be"),
        ("a,b\n1,2\n", r"fills.csv has 1 rows in 2 columns: write one column"),
        ("bps\n", r"fills.csv has 0 rows"),
        ("1\n2\n", r"fills.csv: the first line is 1, which must name the column"),
        ("", r"fills.csv cannot be read as slippage"),
    ],
)
def test_a_file_that_is_no_sample_of_slippage_is_refused(tmp_path, text, message):
    (tmp_path / "fills.csv").write_text(text)
    key = r"execution\.slippage_file = .*fills.csv'?\)? is not allowed: .*"
    with pytest.raises(SettingsError, match=key + message):
        load_settings(execution={"slippage_file": tmp_path / "fills.csv"})
    with pytest.raises(SettingsError, match=r"^coin_overrides\.BTC-USDT\." + key + message):
        load_settings(coin_overrides={BTC: {"execution": {"slippage_file": tmp_path / "fills.csv"}}})
    with pytest.raises(DataContractError, match=message):
        read_slippage(tmp_path / "fills.csv")


def test_a_file_of_slippage_that_is_not_there_is_refused_by_its_key():
    with pytest.raises(SettingsError, match=r"^execution\.slippage_file = 'nope.csv' is not allowed: nope.csv cannot be read"):
        load_settings(execution={"slippage_file": "nope.csv"})


def test_slippage_by_volatility_is_that_share_of_what_was_known_at_the_close_before():
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, 60)))
    candles = market(*[(close,) * 4 for close in closes])
    scaled = replace(FREE, slippage_volatility_share=0.5, slippage_volatility_window=20)
    found = volatility_slippage(candles, scaled)
    returns = np.diff(np.log(closes))
    assert found[50] == pytest.approx(0.5 * returns[29:49].std(ddof=1))
    assert found[10] == pytest.approx(0.5 * returns[:9].std(ddof=1))
    assert (found[:3] == 0).all()
    assert scaled.cost_per_side_bps == 0.5 * 50
    crash = candles.assign(close=candles["close"].where(candles.index < candles.index[50], 1.0))
    assert (volatility_slippage(crash, scaled)[:51] == found[:51]).all()


def test_a_scaled_model_costs_that_many_times_as_much():
    model = ExecutionModel(fee_bps=4, maker_fee_bps=2, slippage_noise_bps=1, slippage_volatility_share=0.1, funding_bps=1)
    dear = model.scaled(1.5)
    assert dear.cost_per_side_bps == pytest.approx(1.5 * model.cost_per_side_bps)
    assert (dear.maker_fee_bps, dear.funding_bps, dear.cost_factor) == (3, 1.5, 1.5)
    costs = {"fee_bps", "maker_fee_bps", "spread_bps", "slippage_bps", "slippage_noise_bps", "slippage_volatility_share",
             "funding_bps", "cost_factor"}  # fmt: skip
    whole, scaled = asdict(model), asdict(dear)
    assert {name: value for name, value in whole.items() if name not in costs}.items() <= scaled.items()
    assert all(scaled[name] == 1.5 * whole[name] for name in costs)
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        model.scaled(-1)


@pytest.mark.parametrize(
    "dearest",
    [{"slippage_volatility_share": 4.0}, {"spread_bps": 60.0}, {"fee_bps": 170.0, "maker_fee_bps": 170.0}, {"fee_bps": 400.0}],
)
def test_whatever_settings_allow_can_be_asked_at_ten_times_the_costs(dearest):
    own = load_settings(execution=dearest).execution
    candles, decisions = market(*[FLAT] * 130), decide(market(*[FLAT] * 130), {0: 1, 50: -1})
    told = {"execution": replace(own, horizon=1), "sizing": LEVERED}
    ladder = cost_ladder(candles, decisions, **told, factors=(1.0, 3.0, 10.0))
    assert ladder["expectancy_bps"].is_monotonic_decreasing
    table = feasibility_table(candles, horizons=[1], costs=own, cost_multiples=[1, 10])
    assert table["cost_bps"].iloc[1] == pytest.approx(10 * table["cost_bps"].iloc[0])
    assert replace(own.scaled(10.0), latency_ms=5.0).cost_per_side_bps == pytest.approx(10 * own.cost_per_side_bps)


def test_units_are_rounded_down_to_the_step_and_small_orders_are_not_placed():
    candles = market(*[FLAT] * 4)
    stepped = replace(LEVERED, step_size=0.3)
    assert trade(candles, {0: 1}, sizing=stepped).trades["units"].to_list() == pytest.approx([4.8])
    whole = replace(LEVERED, step_size=0.1)
    assert trade(candles, {0: 1}, sizing=whole).trades["units"].to_list() == pytest.approx([5])
    for least, n_trades in ((480, 1), (480.1, 0)):
        result = trade(candles, {0: 1}, sizing=replace(stepped, min_notional=least))
        assert len(result.trades) == n_trades
    assert result.equity.to_list() == result.worst_equity.to_list() == [1_000] * 4


def test_an_order_is_a_share_of_the_volume_of_the_bar_that_decided():
    candles = market(*[FLAT] * 4).assign(volume=[30.0, 7.0, 7.0, 7.0])
    capped = replace(FREE, max_participation=0.1)
    assert trade(candles, {0: 1}, execution=capped).trades["units"].to_list() == pytest.approx([3])
    for broken, message in (
        (candles.drop(columns="volume"), "no volume"),
        (candles.assign(volume=-1.0), r"volume is -1\.0 at"),
    ):
        with pytest.raises(DataContractError, match=message):
            trade(broken, {0: 1}, execution=capped)


@pytest.mark.parametrize(("side", "pessimistic", "optimistic"), [(1, 98, 102), (-1, 102, 98)])
def test_a_bar_that_touches_both_is_counted_and_told_both_ways(side, pessimistic, optimistic):
    result = trade(market(FLAT, FLAT, BOTH, FLAT), {0: side})
    assert result.trades["exit_price"].to_list() == pytest.approx([pessimistic])
    assert result.metrics["ambiguous_trades"] == 1
    assert result.metrics["optimistic_pnl"] == pytest.approx(5 * side * (optimistic - 100))
    assert (result.metrics["win_rate"], result.metrics["optimistic_win_rate"]) == (0, 1)
    assert result.metrics["optimistic_expectancy_bps"] == pytest.approx(200)
    gap = trade(market(FLAT, FLAT, (97, 103, 97, 100)), {0: 1})
    assert gap.metrics["ambiguous_trades"] == 0


def test_the_worst_of_a_bar_is_at_its_low_for_a_long_but_not_beyond_a_stop():
    bars = [FLAT, (100, 101, 99, 100), (100, 101, 99.5, 100), DOWN, FLAT]
    result = trade(market(*bars), {0: 1}, stop=0.02, target=0.02)
    assert result.worst_equity.to_list() == pytest.approx([1_000, 995, 997.5, 990, 990])
    short = trade(market(*bars), {0: -1}, stop=0.02, target=np.nan)
    assert short.worst_equity.to_list() == pytest.approx([1_000, 995, 995, 1_000, 1_000])


BTC = "BTC-USDT"


def test_one_coin_may_cost_otherwise_and_its_neutral_band_follows():
    given = {BTC: {"execution": {"fee_bps": 1}, "sizing": {"step_size": 0.001}}}
    found = load_settings(coin_overrides=given, horizon=6)
    own = found.of(BTC)
    assert (own.execution.fee_bps, own.execution.horizon, own.sizing.step_size) == (1, 6, 0.001)
    assert own.labels.round_trip_cost_bps == 2 * own.execution.cost_per_side_bps == 6
    assert own.execution.spread_bps == found.execution.spread_bps
    assert found.of("ETH-USDT") is found
    assert own.of(BTC) == own
    assert type(found)(**found.model_dump(mode="json")) == found


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"execution": {"fee_bps": 900}}, r"^coin_overrides\.BTC-USDT\.execution\.fee_bps = 900 is not allowed: .* to 500$"),
        ({"execution": {"fee": 1}}, r"^coin_overrides\.BTC-USDT\.execution\.fee is not a setting"),
        ({"sizing": {"step_size": "x"}}, r"^coin_overrides\.BTC-USDT\.sizing\.step_size = 'x' is not allowed"),
        ({"execution": {"horizon": 3}}, r"^coin_overrides\.BTC-USDT\.execution\.horizon = 3 .* follows horizon and is 24$"),
        ({"exits": {}}, r"^coin_overrides\.BTC-USDT\.exits is not a setting"),
    ],
)
def test_a_wrong_override_is_one_sentence(overrides, message):
    with pytest.raises(SettingsError, match=message):
        load_settings(coin_overrides={BTC: overrides})


@pytest.mark.parametrize("source", ["files", "exchange"])
def test_an_override_of_a_coin_that_is_not_named_is_refused(source):
    own = {"execution": {"fee_bps": 1}}
    sentence = r"^coin_overrides\.BTCUSDT is not allowed: coins names BTC-USDT, ETH-USDT$"
    with pytest.raises(SettingsError, match=sentence):
        load_settings(source=source, coins=(BTC, "ETH-USDT"), coin_overrides={BTC: own, "BTCUSDT": own})
    assert load_settings(source=source, coins=(BTC, "ETH-USDT"), coin_overrides={BTC: own}).of(BTC).execution.fee_bps == 1
    assert load_settings(source=source, coin_overrides={"BTCUSDT": own}).coins == ()
    assert load_settings(source="demo", coins=("EDGE-DEMO",), coin_overrides={BTC: own}).source == "demo"


def test_overrides_that_are_no_json_are_told_what_to_write(monkeypatch):
    monkeypatch.setenv("CRP_COIN_OVERRIDES", "cheap")
    with pytest.raises(SettingsError, match=r'write JSON, such as {"BTC-USDT": {"execution"'):
        load_settings()


def test_costs_come_from_the_feed_of_funding_and_the_folder_of_finer_candles(tmp_path):
    (tmp_path / "funding.csv").write_text("timestamp,fundingRate\n2024-01-01 00:00,0.0001\n2024-01-01 08:00:00.004,0.0002\n")
    (tmp_path / "finer").mkdir()
    market(FLAT, FLAT).reset_index().to_csv(tmp_path / "finer" / f"{BTC}.csv", index=False)
    feed = FeedConfig(
        path=str(tmp_path / "funding.csv"), available_after="1D", columns={"funding_rate": "fundingRate"}, coins=(BTC,)
    )
    found = load_settings(feeds={"funding": feed}, finer_dir=tmp_path / "finer")
    data = cost_data(found, BTC)
    assert data.funding.to_list() == [0.0001, 0.0002]
    assert len(data.finer) == 2
    known = cost_hashes(found, BTC, data)
    assert "none" not in {known["costs.funding"], known["costs.finer"]}
    nothing = cost_data(found, "ETH-USDT")
    assert nothing.funding is None
    assert nothing.finer is None
    absent = cost_hashes(found, "ETH-USDT", nothing)
    assert absent == dict.fromkeys(("costs.funding", "costs.finer", "costs.slippage"), "none")
    apart = ["costs.finer", "costs.funding"]
    assert conflicts(merged(*({name: [it] for name, it in told.items()} for told in (known, absent)))) == apart
