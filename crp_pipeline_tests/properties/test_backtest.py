"""The compiled engine against a slow one written from the rules, and what must hold on every market."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crp_pipeline.backtest import CostData, ExecutionModel, Sizing, run_backtest, zero_skill
from crp_pipeline_tests.properties.slow_broker import FILLS, Market, SlowBroker

FREE = ExecutionModel(fee_bps=0, spread_bps=0, slippage_bps=0, horizon=None)
WIDE = Sizing(max_leverage=100)
"""Leverage that never caps, so that risk alone sizes."""

seeds = st.integers(0, 2**32 - 1)
some = settings(max_examples=60, deadline=None)
many = settings(max_examples=300, deadline=None)
executions = st.builds(
    ExecutionModel,
    fee_bps=st.sampled_from([0.0, 5.0, 60.0]),
    spread_bps=st.sampled_from([0.0, 3.0]),
    slippage_bps=st.sampled_from([0.0, 2.0]),
    slippage_noise_bps=st.sampled_from([0.0, 4.0, 50.0]),
    horizon=st.sampled_from([None, 1, 2, 7]),
    gap_through_target=st.sampled_from(["target", "open"]),
    close_at_end=st.booleans(),
    seed=st.integers(0, 9),
)
# no price on a tick lies exactly where such a leverage is ruined
sizings = st.builds(Sizing, risk_per_trade=st.sampled_from([0.01, 0.3]), max_leverage=st.sampled_from([0.5, 3.1, 97.3]))


SAMPLE = Path(__file__).parents[1] / "golden" / "data" / "slippage_sample.csv"
dear_executions = st.builds(
    ExecutionModel,
    fee_bps=st.sampled_from([0.0, 5.0]),
    maker_fee_bps=st.sampled_from([None, 0.0, 2.0, 30.0]),
    spread_bps=st.sampled_from([0.0, 3.0]),
    slippage_noise_bps=st.sampled_from([0.0, 4.0]),
    slippage_volatility_share=st.sampled_from([0.0, 0.1, 1.0]),
    slippage_volatility_window=st.sampled_from([10, 100]),
    slippage_file=st.sampled_from([None, SAMPLE]),
    funding_bps=st.sampled_from([0.0, 1.0, -30.0]),
    latency_ms=st.sampled_from([0.0, 500.0, 1_500_000.0]),
    network_ms=st.sampled_from([0.0, 100.0, 900_000.0]),
    max_participation=st.sampled_from([None, 0.1]),
    cost_factor=st.sampled_from([1.0, 2.0]),
    horizon=st.sampled_from([None, 1, 2, 7, 30]),
    gap_through_target=st.sampled_from(["target", "open"]),
    close_at_end=st.booleans(),
    seed=st.integers(0, 9),
)
"""Everything that a fill and a position can cost, in any combination."""
whole_sizings = st.builds(
    Sizing,
    risk_per_trade=st.sampled_from([0.01, 0.3]),
    max_leverage=st.sampled_from([0.5, 3.1, 97.3]),
    step_size=st.sampled_from([0.0, 0.125, 3.0]),
    min_notional=st.sampled_from([0.0, 60_000.0]),
)


@st.composite
def rich_markets(draw):
    """A market with volume, settled funding on and between the opens, and candles of a quarter of an hour with holes."""
    market, rng = draw(markets(ticks=(None, 0.5))), np.random.default_rng(draw(seeds))
    candles = market.candles.assign(volume=rng.choice([0.0, 100.0, 20_000.0, 1e6], len(market.candles)))
    quarters = [
        (time + pd.Timedelta(minutes=15 * part), bar.open if part == 0 else rng.uniform(bar.low, bar.high))
        for time, bar in zip(candles.index, candles.itertuples(), strict=True)
        for part in range(4)
        if rng.random() < 0.8
    ]
    finer = pd.DataFrame({"open": dict(quarters)}, index=pd.DatetimeIndex([time for time, _ in quarters], tz="UTC"))
    finer = finer.assign(high=finer["open"], low=finer["open"], close=finer["open"])
    stamps = pd.date_range(candles.index[0] - pd.Timedelta("3h"), candles.index[-1] + pd.Timedelta("9h"), freq="20min")
    stamps = stamps[rng.random(len(stamps)) < 0.15]
    rates = pd.Series(rng.normal(0, draw(st.sampled_from([1e-4, 0.02])), len(stamps)), index=stamps)
    return Market(
        candles,
        market.decisions,
        funding=rates if draw(st.booleans()) else None,
        finer=finer if draw(st.booleans()) and len(finer) else None,
    )


@st.composite
def markets(draw, *, smallest=2, largest=60, ticks=(None, 0.5, 1.0), distances=(0.01, 0.02, 0.05, np.nan)):
    """A random walk with gaps, repaired bars and holes; a coarse tick makes touches and ties common."""
    size, step, rng = draw(st.integers(smallest, largest)), draw(st.sampled_from(ticks)), np.random.default_rng(draw(seeds))
    close = 100 + np.cumsum(rng.normal(0, 1, size))
    opened = np.r_[100, close[:-1]] + rng.choice([0, 0, 0, 3, -3], size) * rng.random(size)
    high, low = (
        np.maximum(opened, close) + rng.exponential(0.8, size),
        np.minimum(opened, close) - rng.exponential(0.8, size),
    )
    prices = np.stack([opened, high, low, close], axis=1)
    if step is not None:
        prices = np.round(prices / step) * step
    repaired = rng.random(size) < draw(st.sampled_from([0, 0.15]))
    for bar in np.flatnonzero(repaired):
        prices[bar] = prices[max(bar - 1, 0), 3]
    time = pd.date_range("2024-03-01", periods=size, freq="h", tz="UTC", name="open_time")
    candles = pd.DataFrame(prices, index=time, columns=["open", "high", "low", "close"])
    holes = np.cumsum(rng.random(size) < draw(st.sampled_from([0, 0.1])))
    candles = candles.assign(volume=1.0, is_repaired=repaired, segment=holes)
    decisions = pd.DataFrame(
        {
            "signal": rng.choice([-1, 0, 1], size, p=[0.3, 0.4, 0.3]),
            "stop_distance": rng.choice(distances, size),
            "target_distance": rng.choice(distances, size),
        },
        index=time,
    )
    return Market(candles, decisions)


smooth = markets(smallest=20, ticks=(None,), distances=(0.01, 0.02, 0.05))


def last_traded(candles):
    """Time of the last bar that is not repaired, that of the first bar without one."""
    return max(candles.index[~candles["is_repaired"]], default=candles.index[0])


def run(market, execution=FREE, sizing=WIDE):
    told = {"funding": market.funding, "finer": market.finer}
    return run_backtest(market.candles, market.decisions, execution=execution, sizing=sizing, **told)


@many
@given(markets(), executions, sizings)
def test_the_engine_does_what_the_rules_say(market, execution, sizing):
    result, slow = run(market, execution, sizing), SlowBroker(market, execution, sizing).live()
    diary = pd.DataFrame(slow.diary, columns=FILLS)
    assert result.trades[FILLS].to_numpy().tolist() == [
        [entry, leave, side, pytest.approx(paid, rel=1e-12), pytest.approx(got, rel=1e-12), pytest.approx(units, rel=1e-9), reason]
        for entry, leave, side, paid, got, units, reason in diary.to_numpy().tolist()
    ]  # fmt: skip
    np.testing.assert_allclose(result.equity, slow.equity, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(result.worst_equity, slow.worst, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(result.trades["funding"], slow.paid, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(result.trades["delay_cost"], slow.delay_costs, rtol=1e-9, atol=1e-6)
    assert result.metrics["ambiguous_trades"] == slow.ambiguous


@many
@given(rich_markets(), dear_executions, whole_sizings)
def test_the_engine_charges_what_the_rules_say(market, execution, sizing):
    result, slow = run(market, execution, sizing), SlowBroker(market, execution, sizing).live()
    diary = pd.DataFrame(slow.diary, columns=FILLS)
    told, numbers = ["entry_time", "exit_time", "side", "exit_reason"], ["entry_price", "exit_price", "units"]
    assert result.trades[told].to_numpy().tolist() == diary[told].to_numpy().tolist()
    np.testing.assert_allclose(result.trades[numbers].to_numpy(), diary[numbers].to_numpy(dtype=float), rtol=1e-8, atol=1e-9)
    for ours, theirs in [
        (result.equity, slow.equity),
        (result.worst_equity, slow.worst),
        (result.trades["funding"], slow.paid),
        (result.trades["delay_cost"], slow.delay_costs),
    ]:
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-5)
    assert result.metrics["ambiguous_trades"] == slow.ambiguous


@some
@given(markets(distances=(0.01, 0.02)), executions, sizings)
def test_the_optimistic_answer_is_that_of_a_walk_that_takes_the_target_first(market, execution, sizing):
    result, slow = run(market, execution, sizing), SlowBroker(market, execution, sizing, target_first=True).live()
    diary = pd.DataFrame(slow.diary, columns=FILLS).astype({"entry_price": float, "exit_price": float, "units": float})
    fees = execution.fee_bps / 1e4 * diary["units"] * (diary["entry_price"] + diary["exit_price"])
    pnl = diary["side"].astype(float) * diary["units"] * (diary["exit_price"] - diary["entry_price"]) - fees
    assert result.metrics["optimistic_pnl"] == pytest.approx(pnl.sum(), rel=1e-8, abs=1e-4)
    if len(pnl):
        bps = 1e4 * (pnl / diary["units"] / diary["entry_price"]).mean()
        assert result.metrics["optimistic_expectancy_bps"] == pytest.approx(bps, rel=1e-8, abs=1e-6)
    if slow.ambiguous == result.metrics["ambiguous_trades"] == 0:
        assert result.metrics["optimistic_pnl"] == result.metrics["pnl"]


@some
@given(rich_markets(), dear_executions, whole_sizings)
def test_no_money_appears_or_vanishes_at_any_close(market, execution, sizing):
    result = run(market, replace(execution, close_at_end=True), sizing)
    scale = max(sizing.initial_equity, result.equity.abs().max())
    for time, value in result.equity.items():
        done = result.trades[result.trades["exit_time"] <= time]
        closed = sizing.initial_equity + done["pnl"].sum()
        held = result.trades[(result.trades["entry_time"] <= time) & (result.trades["exit_time"] > time)]
        if held.empty:
            assert abs(value - closed) <= 1e-9 * scale
        else:
            # what the trade still owes at the close is that of the walk cut off there
            [slow] = held.index
            trade = held.loc[slow]
            fee = execution.fee_bps / 1e4 * trade["units"] * trade["entry_price"]
            floating = trade["side"] * trade["units"] * (market.candles.loc[time, "close"] - trade["entry_price"])
            owed = owed_until(market, execution, trade, time)
            assert abs(value - max(0, closed + floating - fee - owed)) <= 1e-9 * scale
    parts = result.trades["gross_pnl"] - result.trades["costs"] - result.trades["funding"] - result.trades["pnl"]
    assert parts.abs().max() <= 1e-9 * scale or result.trades.empty


def owed_until(market, execution, trade, time):
    """Funding at the stamps after the entry and before the close of the bar that opens at `time`."""
    candles, length = market.candles, pd.Timedelta("1h")
    rates = market.funding
    if rates is None:
        stamps = pd.date_range(candles.index[0].floor("D"), candles.index[-1] + length, freq="8h")
        rates = pd.Series(execution.funding_bps / 1e4 / execution.cost_factor, index=stamps)
    owed = 0.0
    for stamp, rate in rates[(rates.index > trade["entry_time"]) & (rates.index < time + length)].items():
        bar = candles.loc[stamp.floor("h")]
        price = bar["open"] + (stamp - stamp.floor("h")) / length * (bar["close"] - bar["open"])
        owed += trade["side"] * trade["units"] * price * rate * execution.cost_factor
    return owed


@some
@given(rich_markets(), dear_executions, whole_sizings)
def test_the_worst_of_a_bar_is_never_above_its_close_nor_below_nothing(market, execution, sizing):
    result = run(market, execution, sizing)
    assert (result.worst_equity.index == result.equity.index).all()
    assert (result.worst_equity <= result.equity).all()
    assert (result.worst_equity >= 0).all()
    in_trade = pd.Series(data=False, index=result.equity.index)
    for trade in result.trades.itertuples():
        in_trade[trade.entry_time : trade.exit_time] = True
        if trade.exit_reason in {"stop", "ruin"}:
            assert result.worst_equity[trade.exit_time] == result.equity[trade.exit_time]
    if result.trades["exit_time"].max() == result.equity.index[-1] or execution.close_at_end:
        assert (result.worst_equity == result.equity)[~in_trade].all()


@some
@given(
    rich_markets(),
    dear_executions,
    st.sampled_from(["latency_ms", "slippage_volatility_share", "cost_factor", "maker_fee_bps"]),
)
def test_a_higher_cost_or_a_longer_delay_never_raises_what_the_same_fills_earn(market, execution, name):
    small = Sizing(max_leverage=0.01)
    if name == "cost_factor":  # a rate that is paid to us grows with the factor, which is no cost
        market, execution = replace(market, funding=None), replace(execution, funding_bps=0)
    if name == "latency_ms":  # a longer way may meet a better price again; none may beat no way at all
        longer = replace(execution, latency_ms=execution.latency_ms + 60_000)
        execution = replace(execution, latency_ms=0, network_ms=0)
    else:
        more = {"slippage_volatility_share": 0.2, "cost_factor": 1.0, "maker_fee_bps": 7.0}[name]
        longer = replace(execution, **{name: (getattr(execution, name) or execution.fee_bps) + more})
    cheap, dear = run(market, execution, small).trades, run(market, longer, small).trades
    same = ["entry_time", "exit_time", "side", "exit_reason"]
    pd.testing.assert_frame_equal(cheap[same], dear[same])
    assert (dear["pnl"] / dear["units"] <= cheap["pnl"] / cheap["units"] + 1e-9).all()
    assert (dear["delay_cost"] >= 0).all()


@some
@given(rich_markets(), dear_executions, whole_sizings, st.integers(1, 59))
def test_bars_that_come_later_change_no_closed_trade_whatever_it_cost(market, execution, sizing, cut):
    cut = min(cut, len(market.candles) - 1)
    then = run(replace(market, candles=market.candles.iloc[:cut], decisions=market.decisions.iloc[:cut]), execution, sizing)
    now = run(market, execution, sizing)
    # what closes at the last close, also by what that sale costs, would have lived on
    ended = then.trades["exit_time"] >= last_traded(market.candles.iloc[:cut])
    closed = then.trades[~(ended & then.trades["exit_reason"].isin(["end", "ruin"]))]
    pd.testing.assert_frame_equal(closed, now.trades.iloc[: len(closed)], check_exact=True)


@some
@given(rich_markets(), dear_executions)
def test_zero_skill_pays_the_very_same_costs(market, execution):
    execution = replace(execution, close_at_end=True)
    result = run(market, execution, Sizing(max_leverage=0.1))
    if len(result.trades) and "ruin" not in set(result.trades["exit_reason"]):
        data = CostData(market.funding, market.finer)
        chance = zero_skill(result, market.candles, market.decisions, execution, n_permutations=5, data=data)
        assert chance.observed_expectancy_bps == pytest.approx(result.metrics["expectancy_bps"], abs=1e-7)


@some
@given(rich_markets(), dear_executions, whole_sizings)
def test_an_order_keeps_to_step_least_notional_volume_and_leverage(market, execution, sizing):
    trades = run(market, execution, sizing).trades
    if sizing.step_size:
        steps = trades["units"] / sizing.step_size
        assert (steps == steps.round()).all()
    opened = market.candles.loc[trades["entry_time"], "open"].to_numpy()
    assert (trades["units"] * opened >= sizing.min_notional).all()
    assert (trades["units"] > 0).all()
    if execution.max_participation is not None:
        volume = market.candles.loc[trades["decision_time"], "volume"].to_numpy()
        assert (trades["units"] <= execution.max_participation * volume * (1 + 1e-9)).all()
    equity = sizing.initial_equity + trades["pnl"].shift(1, fill_value=0.0).cumsum()
    assert (trades["notional"] <= sizing.max_leverage * equity * (1 + 1e-8)).all()


@some
@given(markets(), executions, sizings)
def test_equity_is_the_start_plus_what_every_trade_earned(market, execution, sizing):
    result = run(market, replace(execution, close_at_end=True), sizing)
    scale = max(sizing.initial_equity, result.equity.abs().max())
    earned = sizing.initial_equity + result.trades["pnl"].sum()
    assert abs(result.equity.iloc[-1] - earned) <= 1e-9 * scale
    assert (result.trades["gross_pnl"] - result.trades["costs"] - result.trades["pnl"]).abs().max() <= 1e-9 * scale or (
        result.trades.empty
    )


@some
@given(markets(), executions, sizings)
def test_equity_at_each_close_is_cash_plus_the_position(market, execution, sizing):
    result = run(market, replace(execution, close_at_end=True), sizing)
    scale = max(sizing.initial_equity, result.equity.abs().max())
    for time, value in result.equity.items():
        done = result.trades[result.trades["exit_time"] <= time]
        held = result.trades[(result.trades["entry_time"] <= time) & (result.trades["exit_time"] > time)]
        close = market.candles.loc[time, "close"]
        floating = (held["side"] * held["units"] * (close - held["entry_price"])).sum()
        fees = execution.fee_bps / 1e4 * (held["units"] * held["entry_price"]).sum()
        assert abs(value - (sizing.initial_equity + done["pnl"].sum() + floating - fees)) <= 1e-9 * scale


@some
@given(markets(), executions, st.sampled_from(["fee_bps", "spread_bps", "slippage_bps", "slippage_noise_bps"]))
def test_a_higher_cost_never_raises_what_the_same_fills_earn(market, execution, name):
    # barely any leverage, so that neither run is ruined and both make the same trades
    small = Sizing(max_leverage=0.01)
    cheap = run(market, execution, small).trades
    dear = run(market, replace(execution, **{name: getattr(execution, name) + 7}), small).trades
    same = ["entry_time", "exit_time", "side", "exit_reason"]
    pd.testing.assert_frame_equal(cheap[same], dear[same])
    assert (dear["pnl"] / dear["units"] <= cheap["pnl"] / cheap["units"] + 1e-12).all()
    assert (dear["costs"] / dear["units"] >= cheap["costs"] / cheap["units"] - 1e-12).all()


@some
@given(markets(), executions, sizings, st.integers(-8, 8))
def test_the_unit_of_the_price_does_not_matter(market, execution, sizing, power):
    prices = ["open", "high", "low", "close"]
    scaled = replace(market, candles=market.candles.assign(**{name: market.candles[name] * 2.0**power for name in prices}))
    here, there = run(market, execution, sizing), run(scaled, execution, sizing)
    there.trades["units"] *= 2.0**power
    there.trades[["entry_price", "exit_price"]] /= 2.0**power
    # a power of two is exact in every product
    pd.testing.assert_frame_equal(here.trades, there.trades, check_exact=True)
    pd.testing.assert_series_equal(here.equity, there.equity, check_exact=True)


@some
@given(markets(), executions, sizings, st.integers(-10_000, 10_000))
def test_the_date_does_not_matter(market, execution, sizing, minutes):
    shift = pd.Timedelta(minutes, unit="min")
    later = Market(market.candles.shift(freq=shift), market.decisions.shift(freq=shift))
    here, there = run(market, execution, sizing).trades, run(later, execution, sizing).trades
    for name in ("decision_time", "entry_time", "exit_time"):
        there[name] -= shift
    pd.testing.assert_frame_equal(here.drop(columns="session"), there.drop(columns="session"), check_exact=True)


@some
@given(rich_markets(), dear_executions, whole_sizings, st.integers(-8, 8))
def test_the_unit_of_the_price_does_not_matter_whatever_a_trade_costs(market, execution, sizing, power):
    """Prices in another currency: as much of it is traded, and the volume and the lots that it is traded in count fewer coins."""
    factor, prices = 2.0**power, ["open", "high", "low", "close"]
    scaled = replace(
        market,
        candles=market.candles.assign(
            volume=market.candles["volume"] / factor, **{name: market.candles[name] * factor for name in prices}
        ),
        finer=None if market.finer is None else market.finer * factor,
    )
    here, there = run(market, execution, sizing), run(scaled, execution, replace(sizing, step_size=sizing.step_size / factor))
    there.trades["units"] *= factor
    there.trades[["entry_price", "exit_price"]] /= factor
    # volatility is told by logarithms, which round
    pd.testing.assert_frame_equal(here.trades, there.trades, rtol=1e-9, atol=1e-6)
    pd.testing.assert_series_equal(here.equity, there.equity, rtol=1e-9)
    pd.testing.assert_series_equal(here.worst_equity, there.worst_equity, rtol=1e-9)


@some
@given(rich_markets(), dear_executions, whole_sizings, st.integers(-1_000, 1_000))
def test_the_date_does_not_matter_whatever_a_trade_costs(market, execution, sizing, funding_stamps):
    """Shifted by whole times between the funding stamps of the day."""
    shift = pd.Timedelta(8 * funding_stamps, unit="h")
    later = Market(
        market.candles.shift(freq=shift),
        market.decisions.shift(freq=shift),
        funding=None if market.funding is None else market.funding.set_axis(market.funding.index + shift),
        finer=None if market.finer is None else market.finer.set_axis(market.finer.index + shift),
    )
    here, there = run(market, execution, sizing).trades, run(later, execution, sizing).trades
    for name in ("decision_time", "entry_time", "exit_time"):
        there[name] -= shift
    pd.testing.assert_frame_equal(here.drop(columns="session"), there.drop(columns="session"), check_exact=True)


def mirrored(prices, centre):
    """p -> 2 * p0 - p."""
    turned = 2 * centre - prices[["open", "high", "low", "close"]]
    return prices.assign(open=turned["open"], high=turned["low"], low=turned["high"], close=turned["close"])


@some
@given(rich_markets(), st.sampled_from([0.0, 1_500_000.0]), st.sampled_from([None, 0.1]), st.sampled_from([None, 3]))
def test_a_delay_and_a_thin_volume_treat_long_and_short_alike(market, latency_ms, share, horizon):
    """No position has a stop or a target here, so that all that sizes it is the volume."""
    market = replace(market, candles=market.candles.assign(volume=market.candles["volume"].clip(upper=1_000.0)))
    nowhere = {"stop_distance": np.nan, "target_distance": np.nan}
    other = Market(
        mirrored(market.candles, 250.0),
        market.decisions.assign(signal=-market.decisions["signal"], **nowhere),
        finer=None if market.finer is None else mirrored(market.finer, 250.0),
    )
    market = replace(market, decisions=market.decisions.assign(**nowhere), funding=None)
    execution = replace(
        FREE, latency_ms=latency_ms, network_ms=latency_ms / 5, max_participation=share, horizon=horizon, close_at_end=True
    )
    stake = Sizing(initial_equity=1e9, max_leverage=100) if share else Sizing(max_leverage=0.01)
    here, there = run(market, execution, stake).trades, run(other, execution, stake).trades
    same = ["entry_time", "exit_time", "exit_reason", "bars_held"]
    pd.testing.assert_frame_equal(here[same], there[same])
    assert (here["side"] == -there["side"]).all()
    if share:
        np.testing.assert_allclose(here["units"], there["units"], rtol=1e-9)
    for name in ("pnl", "delay_cost"):
        np.testing.assert_allclose(here[name] / here["units"], there[name] / there["units"], rtol=1e-9, atol=1e-9)


@some
@given(smooth, st.sampled_from([None, 3]))
def test_long_and_short_are_mirror_images(market, horizon):
    """p -> 2 * p0 - p with sides turned: without costs, and with stops in money, every trade earns the same."""
    centre = 250.0
    candles = market.candles
    entry = candles["open"].shift(-1).ffill()
    money = entry / (2 * centre - entry)
    decisions = market.decisions.assign(
        signal=-market.decisions["signal"],
        stop_distance=market.decisions["stop_distance"] * money,
        target_distance=market.decisions["target_distance"] * money,
    )
    execution = replace(FREE, horizon=horizon)
    here, there = run(market, execution), run(Market(mirrored(candles, centre), decisions), execution)
    same = ["entry_time", "exit_time", "exit_reason", "bars_held"]
    pd.testing.assert_frame_equal(here.trades[same], there.trades[same])
    assert (here.trades["side"] == -there.trades["side"]).all()
    np.testing.assert_allclose(here.trades["units"], there.trades["units"], rtol=1e-9)
    np.testing.assert_allclose(here.trades["pnl"], there.trades["pnl"], rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(here.equity, there.equity, rtol=1e-9)


@some
@given(markets(), executions, sizings, st.integers(1, 59))
def test_bars_that_come_later_do_not_change_closed_trades(market, execution, sizing, cut):
    cut = min(cut, len(market.candles) - 1)
    then = run(Market(market.candles.iloc[:cut], market.decisions.iloc[:cut]), execution, sizing)
    now = run(market, execution, sizing)
    # a sale at the last close, which may ruin by its cost, is the only one that more bars would have put off
    last = last_traded(market.candles.iloc[:cut])
    ruined_last = (then.trades["exit_reason"] == "ruin") & (then.trades["exit_time"] == last)
    at_the_end = (then.trades["exit_reason"] == "end") | ruined_last
    known, still_open = then.trades[~at_the_end], then.trades[at_the_end]
    pd.testing.assert_frame_equal(known, now.trades.iloc[: len(known)], check_exact=True)
    before = then.equity.index < (still_open["entry_time"].min() if len(still_open) else last)
    pd.testing.assert_series_equal(then.equity[before], now.equity.iloc[:cut][before], check_exact=True)


@some
@given(markets(), executions, sizings)
def test_without_a_signal_equity_is_flat(market, execution, sizing):
    result = run(replace(market, decisions=market.decisions.assign(signal=0)), execution, sizing)
    assert result.trades.empty
    assert (result.equity == sizing.initial_equity).all()


@some
@given(markets(), executions, sizings)
def test_the_same_seed_makes_the_same_fills(market, execution, sizing):
    first, second = run(market, execution, sizing), run(market, execution, sizing)
    pd.testing.assert_frame_equal(first.trades, second.trades, check_exact=True)
    pd.testing.assert_series_equal(first.equity, second.equity, check_exact=True)


@some
@given(markets(), st.sampled_from([None, 2]), st.sampled_from(["target", "open"]))
def test_no_quote_lies_outside_its_bar_but_a_target_that_was_jumped_over(market, horizon, gap):
    result = run(market, replace(FREE, horizon=horizon, gap_through_target=gap))
    for trade in result.trades.itertuples():
        entry, leave = market.candles.loc[trade.entry_time], market.candles.loc[trade.exit_time]
        assert trade.entry_price == entry["open"]
        inside = leave["low"] <= trade.exit_price <= leave["high"]
        jumped = trade.side * (leave["open"] - trade.exit_price)
        no_gift = trade.exit_reason == "target" and jumped > 0 and gap == "target"
        nothing_left = trade.exit_reason == "ruin" and jumped < 0
        assert inside or no_gift or nothing_left


@some
@given(rich_markets(), st.sampled_from([500.0, 1_500_000.0, 3_600_000.0]), st.sampled_from([0.0, 900_000.0]))
def test_a_delayed_entry_is_filled_within_its_bar_and_never_better_than_at_its_open(market, latency_ms, network_ms):
    trades = run(market, replace(FREE, latency_ms=latency_ms, network_ms=network_ms)).trades
    bars = market.candles.loc[trades["entry_time"]]
    price, side = trades["entry_price"].to_numpy(), trades["side"].to_numpy()
    assert (side * (price - bars["open"].to_numpy()) >= 0).all()
    assert ((bars["low"].to_numpy() - 1e-9 <= price) & (price <= bars["high"].to_numpy() + 1e-9)).all()


@some
@given(markets(), executions, sizings)
def test_positions_do_not_overlap_and_respect_repairs_holes_and_leverage(market, execution, sizing):
    trades, candles = run(market, execution, sizing).trades, market.candles
    assert (trades["entry_time"].iloc[1:].to_numpy() >= trades["exit_time"].iloc[:-1].to_numpy()).all()
    assert not candles.loc[trades["entry_time"], "is_repaired"].any()
    assert not candles.loc[trades["decision_time"], "is_repaired"].any()
    segment = candles["segment"]
    assert not candles.loc[trades["exit_time"], "is_repaired"].any()
    for name in ("decision_time", "exit_time"):
        assert (segment[trades[name]].to_numpy() == segment[trades["entry_time"]].to_numpy()).all()
    equity = sizing.initial_equity + trades["pnl"].shift(1, fill_value=0.0).cumsum()
    assert (trades["units"] * trades["entry_price"] <= sizing.max_leverage * equity * (1 + 1e-9)).all()


@some
@given(markets(), executions, sizings)
def test_a_loss_ends_at_the_account(market, execution, sizing):
    result = run(market, execution, sizing)
    trades, equity = result.trades, result.equity
    assert (equity >= 0).all()
    assert result.metrics["max_drawdown"] <= 1
    assert (trades["costs"] >= -1e-9 * sizing.initial_equity).all()
    ruined = trades[trades["exit_reason"] == "ruin"]
    assert list(ruined.index) in ([], [len(trades) - 1])
    for trade in ruined.itertuples():
        had = sizing.initial_equity + trades["pnl"].iloc[:-1].sum()
        assert trade.pnl == pytest.approx(-had, abs=1e-9 * sizing.initial_equity)
        assert (equity[trade.exit_time :] == 0).all()
        assert (equity[: trade.exit_time].iloc[:-1] > 0).all()


@some
@given(markets(distances=(0.01, 0.02, 0.05)), executions, sizings)
def test_a_stop_that_fills_at_its_price_loses_no_more_than_the_risk(market, execution, sizing):
    result = run(market, replace(execution, slippage_noise_bps=0), sizing)
    trades = result.trades
    equity = sizing.initial_equity + trades["pnl"].shift(1, fill_value=0.0).cumsum()
    opened = market.candles["open"]
    entry, leave = opened[trades["entry_time"]].to_numpy(), opened[trades["exit_time"]].to_numpy()
    stop = entry * (1 - trades["side"] * market.decisions.loc[trades["decision_time"], "stop_distance"].to_numpy())
    at_stop = (trades["exit_reason"] == "stop") & (trades["side"] * (leave - stop) > 0)
    assert (-trades["pnl"] <= sizing.risk_per_trade * equity * (1 + 1e-9))[at_stop].all()


@some
@given(rich_markets(), dear_executions, whole_sizings)
def test_beyond_the_risk_a_stop_loses_only_by_delay_and_funding(market, execution, sizing):
    """Where slippage is the one that was planned with."""
    execution = replace(execution, slippage_noise_bps=0, slippage_volatility_share=0, slippage_file=None)
    trades = run(market, execution, sizing).trades
    equity = sizing.initial_equity + trades["pnl"].shift(1, fill_value=0.0).cumsum()
    opened = market.candles["open"]
    entry, leave = opened[trades["entry_time"]].to_numpy(), opened[trades["exit_time"]].to_numpy()
    stop = entry * (1 - trades["side"] * market.decisions.loc[trades["decision_time"], "stop_distance"].to_numpy())
    at_stop = (trades["exit_reason"] == "stop") & (trades["side"] * (leave - stop) > 0)
    budget = sizing.risk_per_trade * equity + 1.01 * trades["delay_cost"] + trades["funding"].clip(lower=0)
    assert (-trades["pnl"] <= budget * (1 + 1e-9))[at_stop].all()


@some
@given(markets(), executions)
def test_zero_skill_resolves_the_trades_as_the_engine_did(market, execution):
    # an account that is ruined ends a trade before its stop, target or time
    result = run(market, replace(execution, close_at_end=True), Sizing(max_leverage=0.5))
    chance = zero_skill(result, market.candles, market.decisions, execution, n_permutations=20)
    assert chance.trades == len(result.trades)
    if chance.trades:
        assert chance.observed_win_rate == pytest.approx(result.metrics["win_rate"])
        assert chance.observed_expectancy_bps == pytest.approx(result.metrics["expectancy_bps"], abs=1e-8)
        assert chance.win_rate_low <= chance.win_rate_high
    assert 1 / 21 <= chance.p_value <= 1


def driftless_walk(n, *, seed):
    """Arithmetic Brownian motion of 1 per bar around 10,000, with the exact extremes of a Brownian bridge inside each bar."""
    rng = np.random.default_rng(seed)
    close = 10_000 + np.cumsum(rng.normal(size=n))
    opened = np.r_[10_000, close[:-1]]
    reach = [np.sqrt((close - opened) ** 2 - 2 * np.log(rng.random(n))) for _ in range(2)]
    time = pd.date_range("2020-01-01", periods=n, freq="min", tz="UTC", name="open_time")
    prices = {"open": opened, "high": (opened + close + reach[0]) / 2, "low": (opened + close - reach[1]) / 2}
    return pd.DataFrame(prices | {"close": close}, index=time), rng


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0, 3.0])
def test_chance_earns_nothing_and_wins_as_often_as_the_distances_say(ratio):
    candles, rng = driftless_walk(150_000, seed=5)
    stop, target = 6.0, 6.0 * ratio
    entry = candles["open"].shift(-1).ffill()
    decisions = pd.DataFrame(
        {"signal": rng.choice([-1, 1], len(candles)), "stop_distance": stop / entry, "target_distance": target / entry},
        index=candles.index,
    )
    result = run(Market(candles, decisions), FREE, Sizing(max_leverage=0.001))
    per_unit = result.trades["pnl"] / result.trades["units"]
    n, share = len(per_unit), stop / (stop + target)
    assert n > 1_300
    assert abs(per_unit.mean()) <= 3 * per_unit.std() / np.sqrt(n)
    assert abs(result.metrics["win_rate"] - share) <= 3 * np.sqrt(share * (1 - share) / n)
    chance = zero_skill(result, candles, decisions, FREE, n_permutations=200)
    assert abs(chance.win_rate - share) <= 3 * np.sqrt(share * (1 - share) / n)
    assert chance.p_value > 0.01
