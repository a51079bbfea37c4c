"""A feature finds what was planted for it, in a size that is known beforehand."""

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.features import CATALOG, Family, compute_features
from crp_pipeline.features import cross_market as x
from crp_pipeline.features import liquidity as q
from crp_pipeline.features import price_action as p
from crp_pipeline.features import statistical as s
from crp_pipeline.features import volume as u
from crp_pipeline.features.calendar import CALENDAR
from crp_pipeline_tests.benchmarks.market import real_hourly

OWN = {Family.VOLUME, Family.PRICE_ACTION, Family.STATISTICAL, Family.CALENDAR, Family.CROSS_MARKET}

ALIKE = {"log_volume_deviation_168", "log_volume_zscore_168"}
"""Two that trees could do with one of, but whose scales tell different things to a net: r = 0.98."""


def candles(close, *, volume=None, high=None, low=None):
    """Bars that open at the close before and have no wicks but those given."""
    close = np.asarray(close, dtype=np.float64)
    opening = np.concatenate([close[:1], close[:-1]])
    columns = {
        "open": opening,
        "high": np.maximum(opening, close) if high is None else high,
        "low": np.minimum(opening, close) if low is None else low,
        "close": close,
        "volume": np.full(len(close), 7.0) if volume is None else volume,
    }
    return pd.DataFrame(columns, index=pd.date_range("2024-03-01", periods=len(close), freq="1h", tz="UTC", name="open_time"))


def values(feature, bars, market=None):
    return compute_features(bars, [feature], market=market)[feature.name].dropna()


def walk(n_bars=4_000, *, seed=0, sigma=0.01):
    return 100 * np.exp(np.cumsum(sigma * np.random.default_rng(seed).standard_normal(n_bars)))


# ---------------------------------------------------------------- volume


def test_the_bounce_between_bid_and_ask_is_the_spread():
    side = np.random.default_rng(1).choice([-1, 1], 20_000)
    bounced = candles(walk(20_000, sigma=0.0005) * np.exp(0.001 * side))
    assert values(q.roll_spread(96), bounced).mean() == pytest.approx(0.002, rel=0.1)


@pytest.mark.parametrize("spread", [0.005, 0.02])
def test_highs_at_the_ask_and_lows_at_the_bid_show_the_spread(spread):
    ticks = walk(2_000 * 200, sigma=0.0002).reshape(2_000, 200)
    high, low = ticks.max(axis=1) * (1 + spread / 2), ticks.min(axis=1) * (1 - spread / 2)
    bars = candles(ticks[:, -1], high=high, low=low)
    assert values(q.corwin_schultz_spread(24), bars).mean() == pytest.approx(spread, rel=0.1)


def test_a_price_that_follows_the_signed_volume_has_its_impact():
    signed = np.random.default_rng(2).normal(0, 50, 4_000)
    impact = 2e-5
    bars = candles(100 * np.exp(np.cumsum(impact * signed)), volume=np.abs(signed))
    expected = impact * np.abs(signed).mean() / (impact * 50)
    assert values(q.kyle_lambda(48), bars).mean() == pytest.approx(expected, rel=0.02)


def test_an_imbalance_is_whole_when_every_move_is_extreme():
    jumps = np.where(np.arange(400) % 50 == 0, 1.05, 1.0)
    volume = np.where(jumps > 1, 10.0, 0.0)
    assert values(q.order_imbalance(60), candles(100 * np.cumprod(jumps), volume=volume)).min() > 0.99
    quiet = np.where(jumps > 1, 0.0, 10.0)
    assert values(q.order_imbalance(60), candles(100 * np.cumprod(jumps), volume=quiet)).max() == 0.0


def test_trades_in_one_bar_are_wholly_concentrated():
    volume = np.where(np.arange(100) == 60, 5.0, 0.0)
    found = values(u.volume_concentration(24), candles(walk(100), volume=volume))
    assert found.tolist() == [0.0] * (60 - 23) + [1.0] * 24 + [0.0] * 16
    assert values(u.volume_concentration(24), candles(walk(100)))[-1:].tolist() == pytest.approx([1 / 24])


def test_rising_bars_that_trade_e_times_as_much_have_a_ratio_of_one():
    close = walk(300)
    volume = np.where(np.diff(close, prepend=close[0]) > 0, np.e, 1.0)
    assert values(u.up_volume_ratio(48), candles(close, volume=volume)).to_numpy() == pytest.approx(1.0)


def test_one_kind_of_bars_alone_has_no_ratio():
    assert set(values(u.up_volume_ratio(48), candles(np.arange(100.0, 200.0)))) == {0.0}


def test_the_largest_volume_of_the_window_has_rank_one_and_equal_ones_are_in_the_middle():
    assert set(values(u.volume_rank(24), candles(walk(100)))) == {0.5}
    assert values(u.volume_rank(24), candles(walk(100), volume=np.arange(1.0, 101.0))).to_numpy() == pytest.approx(1.0)


# ---------------------------------------------------------------- price action


def test_bars_since_an_extreme_count_from_the_latest_among_equals():
    bars = candles(np.full(30, 100.0)).assign(high=100.0, low=100.0)
    bars.iloc[[10, 14], 1] = 105.0
    bars.iloc[12, 2] = 95.0
    assert values(p.bars_since_high(11), bars).loc[bars.index[18]] == 0.4
    assert values(p.bars_since_low(11), bars).loc[bars.index[18]] == 0.6


def test_a_price_that_every_bar_traded_at_is_congested_and_a_first_one_is_not():
    wide = candles(walk(60, sigma=0.001)).assign(high=200.0, low=50.0)
    assert set(values(p.congestion(48), wide)) == {1.0}
    # every bar but the one before, which ends where this one opens
    assert values(p.congestion(10), candles(np.arange(100.0, 120.0))).max() == 0.0


# ---------------------------------------------------------------- statistics


def test_differencing_once_gives_the_return_and_not_at_all_the_price():
    bars = candles(walk(400))
    log_price = np.log(bars["close"])
    sigma = log_price.diff().rolling(99).std(ddof=0)
    once, never = (values(s.fractionally_differenced_price(100, order=order), bars) for order in (1.0, 0.0))
    assert once.to_numpy() == pytest.approx((log_price.diff() / sigma).dropna().to_numpy(), abs=1e-9)
    assert never.to_numpy() == pytest.approx(((log_price - log_price.shift(99)) / sigma).dropna().to_numpy(), abs=1e-9)


def test_growth_at_one_rate_has_no_shape():
    """What rounding leaves of a variance must not be divided by itself."""
    growth = candles(100 * 1.001 ** np.arange(200))
    for feature in (s.skewness(48), s.excess_kurtosis(48)):
        assert set(values(feature, growth)) == {0.0}


@pytest.mark.parametrize(("memory", "low", "high"), [(0.6, 0.6, 0.8), (0.0, 0.44, 0.5), (-0.6, 0.2, 0.4)])
def test_returns_with_memory_move_the_hurst_exponent(memory, low, high):
    returns = np.random.default_rng(4).normal(0, 0.01, 6_000)
    for t in range(1, len(returns)):
        returns[t] += memory * returns[t - 1]
    assert low < values(s.hurst_exponent(96), candles(100 * np.exp(np.cumsum(returns)))).mean() < high


def test_order_has_no_entropy_and_noise_nearly_all():
    assert values(s.permutation_entropy(48), candles(np.arange(100.0, 300.0))).abs().max() == 0.0
    assert values(s.permutation_entropy(48), candles(100 + np.random.default_rng(0).random(4_000))).mean() > 0.95


@pytest.mark.parametrize(("period", "level"), [(2, 1), (5, 2), (9, 3), (18, 4)])
def test_a_swing_has_its_energy_at_its_level(period, level):
    swing = candles(100 * np.exp(0.01 * np.sin(2 * np.pi * np.arange(400) / period + 0.7)))
    energy = [values(s.wavelet_energy(number, 96), swing).iloc[-1] for number in (1, 2, 3, 4)]
    assert int(np.argmax(energy)) + 1 == level
    assert sum(energy) <= 1


@pytest.mark.parametrize("speed", [0.2, 0.5])
def test_a_price_that_makes_up_its_distance_does_so_at_its_speed(speed):
    distance, noise = np.zeros(20_000), np.random.default_rng(5).normal(0, 0.01, 20_000)
    for t in range(1, len(distance)):
        distance[t] = (1 - speed) * distance[t - 1] + noise[t]
    # the estimate of a short window is biased towards reversion (Kendall 1954)
    bias = (1 + 3 * (1 - speed)) / 96
    assert values(s.mean_reversion_speed(96), candles(100 * np.exp(distance))).mean() == pytest.approx(speed + bias, rel=0.05)


def test_a_long_upper_tail_is_skewed_whatever_a_single_bar_does():
    returns = np.random.default_rng(6).exponential(0.01, 4_000) - 0.01
    assert values(s.quantile_skewness(96), candles(100 * np.exp(np.cumsum(returns)))).mean() > 0.5
    assert values(s.quantile_skewness(96), candles(100 * np.exp(np.cumsum(-returns)))).mean() < -0.5
    symmetric = np.tile([0.01, -0.01, 0.02, -0.02], 100)
    symmetric[300] = 3.0
    assert abs(values(s.quantile_skewness(96), candles(100 * np.exp(np.cumsum(symmetric)))).iloc[-1]) < 0.1


def test_falls_that_raise_volatility_are_a_negative_leverage_effect():
    noise, returns = np.random.default_rng(7).standard_normal(4_000), np.zeros(4_000)
    for t in range(1, len(returns)):
        returns[t] = noise[t] * (0.02 if returns[t - 1] < 0 else 0.005)
    assert values(s.leverage_effect(96), candles(100 * np.exp(np.cumsum(returns)))).mean() < -0.2


# ---------------------------------------------------------------- calendar


@pytest.mark.parametrize(
    ("closes_at", "name", "expected"),
    [
        ("2024-01-15 00:00", "time_to_funding", 1.0),
        ("2024-01-15 07:00", "time_to_funding", 1 / 8),
        ("2024-01-15 16:30", "time_to_funding", 7.5 / 8),
        ("2024-02-01 00:00", "month_position", 0.0),
        ("2024-02-15 12:00", "month_position", 0.5),  # 29 days
        ("2024-02-29 23:00", "month_position", 1 - 1 / (29 * 24)),
        ("2024-02-28 23:59", "turn_of_month", 0.0),
        ("2024-02-29 00:00", "turn_of_month", 1.0),
        ("2024-03-03 23:59", "turn_of_month", 1.0),
        ("2024-03-04 00:00", "turn_of_month", 0.0),
        ("2024-03-29 07:00", "time_to_options_expiry", 1 / (35 * 24)),
        ("2024-03-29 08:00", "time_to_options_expiry", 28 / 35),  # the next is on 26 April
        ("2024-08-30 08:00", "time_to_options_expiry", 28 / 35),
        ("2024-04-26 08:00", "time_to_options_expiry", 35 / 35),  # 31 May
        ("2023-12-29 09:00", "time_to_options_expiry", 27 / 35 + 23 / 24 / 35),  # 26 January
        ("2024-01-15 00:00", "progress_tokyo", 0.0),  # 09:00
        ("2024-01-15 04:30", "progress_tokyo", 0.5),
        ("2024-01-15 09:00", "progress_tokyo", 0.0),
        ("2024-01-15 08:00", "progress_london", 0.0),
        ("2024-01-15 11:00", "progress_london", 3 / 9),
        ("2024-07-01 11:00", "progress_london", 4 / 9),  # summer time
        ("2024-03-20 13:00", "progress_new_york", 1 / 9),  # already summer time there
        ("2024-03-05 13:00", "progress_new_york", 0.0),
        ("2024-01-15 13:00", "london_new_york_overlap", 1.0),
        ("2024-01-15 17:00", "london_new_york_overlap", 0.0),
        ("2024-07-01 12:00", "london_new_york_overlap", 1.0),
        ("2024-07-01 11:59", "london_new_york_overlap", 0.0),
    ],
)
def test_the_calendar_knows_the_moment_of_the_close(closes_at, name, expected):
    close = pd.Timestamp(closes_at, tz="UTC")
    bars = candles(walk(3)).set_axis(pd.date_range(end=close - pd.Timedelta("1min"), periods=3, freq="1min"))
    assert compute_features(bars, CALENDAR)[name].iloc[-1] == pytest.approx(expected, abs=1e-12)


# ---------------------------------------------------------------- market


def _market(**closes):
    return pd.DataFrame(closes, index=candles(next(iter(closes.values()))).index)


def test_a_coin_beats_those_it_rose_more_than_and_half_of_its_equals():
    still = np.full(60, 100.0)
    market = _market(STILL=still * 3, UP=np.linspace(100, 200, 60), DOWN=np.linspace(100, 50, 60), LATE=still - np.arange(60))
    market.iloc[:30, 3] = np.nan
    found = values(x.return_rank(24), candles(still), market)
    assert found.iloc[0] == pytest.approx(1.5 / 3)
    assert found.loc[market.index[30 + 23]] == pytest.approx(1.5 / 3)  # its first return is one bar later
    assert found.loc[market.index[30 + 24]] == pytest.approx(2.5 / 4)


def test_a_coin_that_follows_its_beta_has_no_residual():
    market = _market(A=walk(300, seed=1), B=walk(300, seed=2))
    mean = np.log(market).mean(axis=1).to_numpy()
    assert values(x.residual_return(24, 96), candles(np.exp(1.7 * mean)), market).to_numpy() == pytest.approx(0.0, abs=1e-12)
    assert values(x.market_beta(24), candles(np.exp(1.7 * mean)), market).to_numpy() == pytest.approx(1.7)


def test_downside_beta_is_that_of_the_falls():
    step = np.diff(np.log(walk(300)), prepend=np.log(100))
    own = np.where(step < 0, 2.0 * step, 0.5 * step)
    bars = candles(100 * np.exp(np.cumsum(own)))
    assert values(x.downside_beta(96), bars, _market(A=walk(300))).to_numpy() == pytest.approx(2.0)


def test_a_coin_that_trails_the_market_is_led_by_it():
    leader = np.log(walk(600, seed=3))
    trailing = np.exp(np.convolve(leader, np.full(4, 0.25))[: len(leader)])
    bars, market = candles(trailing).iloc[10:], _market(A=np.exp(leader)).iloc[10:]
    assert values(x.market_lead_over(4, 96), bars, market).mean() > 0.6


def test_the_market_falls_from_its_highest_in_the_window():
    level = np.concatenate([np.linspace(1, 2, 120), np.linspace(2, 1.5, 20), np.full(120, 1.5)])
    found = values(x.market_drawdown(96), candles(walk(len(level))), _market(A=level, B=100 * level))
    assert found.loc[found.index[-1]] == pytest.approx(0.0, abs=1e-12)
    assert found.min() == pytest.approx(np.log(1.5 / 2))


def test_coins_that_move_as_one_cohere_and_strangers_do_not():
    one, bars = walk(2_000, seed=1), candles(walk(2_000))
    assert values(x.market_cohesion(48), bars, _market(A=one, B=5 * one)).to_numpy() == pytest.approx(1.0)
    strangers = _market(**{f"C{seed}": walk(2_000, seed=seed) for seed in range(10, 15)})
    assert values(x.market_cohesion(48), bars, strangers).mean() == pytest.approx(1 / 5, rel=0.1)


# ---------------------------------------------------------------- on real candles


@pytest.mark.market_data
@pytest.mark.parametrize("coin", ["BTC-USDT", "SOL-USDT"])
def test_no_two_features_of_these_families_say_the_same(coin):
    folder = real_hourly()
    if folder is None:
        pytest.skip("no real candles: set CRP_MARKET_DATA")
    coins = {path.stem: pd.read_parquet(path).set_index("timestamp") for path in sorted(folder.glob("*.parquet"))}
    market = pd.DataFrame({name: bars["close"] for name, bars in coins.items() if name != coin})
    table = compute_features(coins[coin], [f for f in CATALOG if f.family in OWN], market=market)
    correlation = np.triu(table.corr().abs().to_numpy(), 1)
    alike = [(table.columns[i], table.columns[j], correlation[i, j]) for i, j in np.argwhere(correlation > 0.98)]
    assert [pair for pair in alike if set(pair[:2]) != ALIKE] == []
