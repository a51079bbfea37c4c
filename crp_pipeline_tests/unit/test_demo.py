import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from crp_pipeline.candles import (
    DEMO_COINS,
    DEMO_END,
    DEMO_START,
    CoinSpec,
    available_coins,
    bayes_accuracy,
    demo_candles,
    demo_market,
    repair_candles,
    validate_candles,
    visible_state,
)
from crp_pipeline.errors import DataContractError
from crp_pipeline.settings import DemoConfig, load_settings

N_BARS = 60_000
LAST_BAR = [3188.727480893949, 3217.3575978046797, 3187.3114508731924, 3214.7205261370846, 6694.38752934891]
"""Of the default demo of EDGE-DEMO."""
SPECS = (CoinSpec("EDGE", kappa=1.0), CoinSpec("WEAK", kappa=0.2), CoinSpec("NONE", kappa=0.0))


@pytest.fixture(scope="module")
def market():
    return demo_market(SPECS, n_bars=N_BARS, seed=11)


def hits(candles, spec, horizon):
    """Whether `sign(s[t])` was the sign of the return over the next bars."""
    log_close, state = np.log(candles.close.to_numpy()), visible_state(candles, spec)
    return (log_close[horizon:] > log_close[:-horizon]) == (state[:-horizon] > 0)


def mean_and_error(values, *, batch=600):
    """Mean of dependent values and its standard error, from means of batches that are long against the dependence."""
    batches = values[: len(values) // batch * batch].reshape(-1, batch).mean(axis=1)
    return batches.mean(), batches.std(ddof=1) / np.sqrt(len(batches))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("horizon", [1, 24])
def test_sign_of_the_state_is_as_accurate_as_the_formula_says(market, spec, horizon):
    accuracy, error = mean_and_error(hits(market[spec.name], spec, horizon))
    assert error < 0.01
    assert abs(accuracy - bayes_accuracy(spec.kappa, horizon)) < 4 * error


@pytest.mark.parametrize(
    ("kappa", "horizon", "accuracy"),
    # h = 2, kappa = 1: rho = 1.9 / sqrt(2 + 2 + 2 * 0.9)
    [
        (0.0, 1, 0.5),
        (0.0, 24, 0.5),
        (1.0, 1, 0.75),
        (1.0, 2, 0.5 + np.arcsin(1.9 / np.sqrt(5.8)) / np.pi),
        (np.tan(0.2 * np.pi), 1, 0.7),
    ],
)
def test_bayes_accuracy_is_known_by_hand(kappa, horizon, accuracy):
    assert bayes_accuracy(kappa, horizon) == pytest.approx(accuracy)


def test_bayes_accuracy_formulas_agree_at_one_bar():
    for kappa in (0.1, 0.7, 3.0):
        assert bayes_accuracy(kappa, 1) == pytest.approx(0.5 + np.arctan(kappa) / np.pi)


def test_state_is_an_autoregression_with_a_standard_normal_marginal(market):
    state = visible_state(market["EDGE"], SPECS[0])
    assert state.mean() == pytest.approx(0, abs=0.08)
    assert state.std() == pytest.approx(1, abs=0.05)
    assert np.corrcoef(state[1:], state[:-1])[0, 1] == pytest.approx(0.9, abs=0.01)


def test_shocks_of_two_coins_are_correlated_and_their_states_are_not():
    market = demo_market({"A": 0.0, "B": 0.0}, n_bars=N_BARS, seed=5)
    returns = np.log(market.xs("close", axis=1, level="field")).diff().iloc[1:]
    states = [visible_state(market[coin], CoinSpec(coin, 0.0)) for coin in ("A", "B")]
    # both GARCH volatilities scale their shocks, which takes a little off the correlation
    assert returns.corr().iloc[0, 1] == pytest.approx(0.7, abs=0.02)
    assert np.corrcoef(states)[0, 1] == pytest.approx(0, abs=0.06)


def test_volatility_clusters_and_is_as_large_as_specified(market):
    returns = np.diff(np.log(market["NONE"].close))
    assert returns.std() == pytest.approx(0.006, rel=0.05)
    assert np.corrcoef(returns[1:] ** 2, returns[:-1] ** 2)[0, 1] > 0.04
    minutes = demo_market(0.0, n_bars=20_000, seed=1, interval="1m")
    assert np.diff(np.log(minutes.close)).std() == pytest.approx(0.006 / np.sqrt(60), rel=0.1)


def test_volume_has_a_daily_season():
    flat = CoinSpec("A", 0.0, state_weight=1e-9)
    log_volume = np.log(demo_market(flat, n_bars=48, seed=0).volume)
    assert log_volume.idxmax().hour == 6
    np.testing.assert_allclose(log_volume.iloc[:24], log_volume.iloc[24:], atol=1e-6)


def test_bars_keep_the_contract_and_open_at_the_previous_close(market):
    for coin in ("EDGE", "NONE"):
        bars = market[coin]
        assert validate_candles(bars, "1h").ok
        np.testing.assert_array_equal(bars.open.to_numpy()[1:], bars.close.to_numpy()[:-1])
        repaired, _ = repair_candles(bars, "1h", max_gap=4)
        assert not repaired.is_repaired.any()


def test_range_of_a_bar_is_that_of_a_brownian_path():
    # Parkinson: E[(log high/low)**2] = 4 ln 2 * sigma**2 in continuous time; 64 steps see a little less
    bars = demo_market(0.0, n_bars=20_000, seed=2)
    log_return = np.log(bars.close / bars.open)
    ratio = (np.log(bars.high / bars.low) ** 2).mean() / (4 * np.log(2) * log_return.var())
    assert 0.8 < ratio < 1.0


@pytest.mark.parametrize("n_known", [1, 500, 4_096, 5_000])
def test_a_longer_market_begins_with_the_shorter_one(n_known):
    short, long = (demo_market(1.0, n_bars=n, seed=3) for n in (n_known, 9_000))
    assert_frame_equal(short, long.iloc[:n_known], check_exact=True, check_freq=False)


def test_a_coin_does_not_change_when_others_join(market):
    alone = demo_market(SPECS[1], n_bars=N_BARS, seed=11)
    assert_frame_equal(alone, market["WEAK"], check_exact=True, check_names=False)


def test_same_seed_same_market_and_other_seed_another():
    first, again, other = (demo_market(0.5, n_bars=300, seed=seed) for seed in (1, 1, 2))
    assert_frame_equal(first, again, check_exact=True)
    assert (first.close != other.close).all()


def test_shape_follows_the_first_argument():
    one = demo_market(0.5, n_bars=5, seed=0, interval="4h", start=pd.Timestamp("2020-02-01", tz="UTC"))
    assert one.columns.tolist() == ["open", "high", "low", "close", "volume"]
    assert (one.index.name, str(one.index.dtype)) == ("open_time", "datetime64[ns, UTC]")
    assert [str(one.index[0]), str(one.index[-1])] == ["2020-02-01 00:00:00+00:00", "2020-02-01 16:00:00+00:00"]
    many = demo_market({"A": 0.5, "B": CoinSpec("", 0.0)}, n_bars=5, seed=0)
    assert many.columns.names == ["coin", "field"]
    assert many.columns.get_level_values("coin").unique().tolist() == ["A", "B"]
    assert list(many["B"].columns) == list(one.columns)


@pytest.mark.parametrize(
    ("interval", "n_bars", "first", "last"),
    [
        ("1h", 20_000, DEMO_START, pd.Timestamp("2024-04-13 07:00", tz="UTC")),
        ("1h", 26_304, DEMO_START, DEMO_END - pd.Timedelta("1h")),
        ("1h", 26_305, DEMO_START - pd.Timedelta("1h"), DEMO_END - pd.Timedelta("1h")),
        ("4h", 20_000, DEMO_END - 20_000 * pd.Timedelta("4h"), DEMO_END - pd.Timedelta("4h")),
        ("1d", 5_000, DEMO_END - 5_000 * pd.Timedelta("1D"), DEMO_END - pd.Timedelta("1D")),
    ],
)
def test_demo_candles_never_reach_the_present(interval, n_bars, first, last):
    bars = demo_candles("NOISE-DEMO", DemoConfig(n_bars=n_bars), interval)
    assert (bars.index[0], bars.index[-1], len(bars)) == (first, last, n_bars)
    assert validate_candles(bars, interval).ok


def test_a_demo_beyond_the_calendar_is_refused():
    with pytest.raises(DataContractError, match="n_bars = 10,000,000 is too many bars of 1h: 1,972,320 reach back to 1800"):
        demo_candles("EDGE-DEMO", DemoConfig(n_bars=10_000_000))


@pytest.mark.parametrize(
    ("coins", "error", "told"),
    [
        ("EDGE-DEMO", TypeError, "'EDGE-DEMO' is no coin: give an edge, a CoinSpec"),
        (["EDGE-DEMO"], TypeError, "'EDGE-DEMO' is no coin"),
        ({"A": "much"}, TypeError, "'much' is no coin"),
        (None, TypeError, "None is no coin"),
        ([], DataContractError, "a market has at least one coin"),
        ({}, DataContractError, "a market has at least one coin"),
    ],
)
def test_what_is_no_coin_is_refused(coins, error, told):
    with pytest.raises(error, match=told):
        demo_market(coins, n_bars=10, seed=0)


def test_the_market_is_the_one_it_always_was():
    bars = demo_candles("EDGE-DEMO", DemoConfig())
    np.testing.assert_allclose(bars.iloc[-1], LAST_BAR, rtol=1e-10)  # libraries of mathematics differ in the last bit


def test_loading_the_candles_does_not_load_scipy_signal():
    code = "import sys, crp_pipeline.candles; assert 'scipy.signal' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_demo_coins_are_one_with_an_edge_and_one_without():
    config = DemoConfig(n_bars=500, seed=4, edge=0.7)
    assert list(DEMO_COINS) == ["EDGE-DEMO", "NOISE-DEMO"]
    edge, noise = (demo_candles(coin, config, "1h") for coin in DEMO_COINS)
    assert_frame_equal(edge, demo_market(CoinSpec("EDGE-DEMO", kappa=0.7), n_bars=500, seed=4))
    assert_frame_equal(noise, demo_market(DEMO_COINS["NOISE-DEMO"], n_bars=500, seed=4))
    with pytest.raises(DataContractError, match="BTC is not on the demo market, which has EDGE-DEMO, NOISE-DEMO"):
        demo_candles("BTC", config, "1h")


def test_a_configured_coin_that_the_demo_market_lacks_is_named_at_load():
    with pytest.raises(DataContractError, match="FOO is not on the demo market, which has EDGE-DEMO, NOISE-DEMO"):
        available_coins(load_settings(source="demo", coins=("EDGE-DEMO", "FOO")))
