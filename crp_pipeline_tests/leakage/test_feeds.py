"""No row of a feed is seen before it is known, and a delay that is too short is caught."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from crp_pipeline.candles import Feed, align_feed, align_feed_with_report, align_feeds, load_candles, read_feed, read_feeds
from crp_pipeline.features import LeakKind, alignment_cuts, prove_feed_alignment
from crp_pipeline.features.proof import LATEST_CUTS, RANDOM_CUTS
from crp_pipeline.settings import FeedConfig
from crp_pipeline_tests.random_walk import random_walk
from crp_pipeline_tests.strategies import START, feeds, holed_hours

HOUR, SECOND, DAY = pd.Timedelta(hours=1), pd.Timedelta(seconds=1), pd.Timedelta(days=1)
JITTERS = st.sampled_from(["0s", "1s", "30s"])
DELAYS = st.sampled_from(["0h", "2s", "1h", "1D"])
few = settings(max_examples=80, deadline=None)


def becomes_known_later(feed, close, delay, jitter):
    return np.asarray(feed.index + pd.Timedelta(delay) > close + pd.Timedelta(jitter))


@few
@given(holed_hours(), feeds(), DELAYS, JITTERS, st.data())
def test_value_does_not_change_when_rows_not_yet_known_are_removed(index, feed, delay, jitter, data):
    bar = data.draw(st.integers(0, len(index) - 1))
    aligned = align_feed(index, feed, available_after=delay, jitter=jitter, interval="1h")
    known = feed[~becomes_known_later(feed, index[bar] + HOUR, delay, jitter)]
    then = align_feed(index[: bar + 1], known, available_after=delay, jitter=jitter, interval="1h")
    assert_frame_equal(then, aligned.iloc[: bar + 1], check_exact=True, check_freq=False)


@few
@given(holed_hours(), feeds(), DELAYS, JITTERS, st.data())
def test_value_does_not_change_when_rows_not_yet_known_are_noise(index, feed, delay, jitter, data):
    bar = data.draw(st.integers(0, len(index) - 1))
    aligned = align_feed(index, feed, available_after=delay, jitter=jitter, interval="1h")
    is_later = becomes_known_later(feed, index[bar] + HOUR, delay, jitter)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    noise, stamps = feed.copy(), feed.index.as_unit("ns").asi8.copy()
    noise[is_later] = rng.normal(size=(is_later.sum(), feed.shape[1]))
    stamps[is_later] += rng.integers(0, 10**15, is_later.sum())
    noise = noise.set_axis(pd.DatetimeIndex(stamps, tz="UTC"))
    elsewhere = align_feed(index, noise, available_after=delay, jitter=jitter, interval="1h")
    assert_frame_equal(elsewhere.iloc[: bar + 1], aligned.iloc[: bar + 1], check_exact=True)


def test_the_age_limit_does_not_know_how_the_feed_goes_on():
    days = pd.DataFrame({"rate": 1.0}, index=pd.date_range(START, periods=4, freq="1D"))
    then_hourly = pd.DataFrame({"rate": 2.0}, index=pd.date_range(START + 8 * DAY, periods=400, freq="1h"))
    index = pd.date_range(START, START + 8 * DAY - 2 * HOUR, freq="1h")
    then = align_feed(index, days, available_after="0h")
    now = align_feed(index, pd.concat([days, then_hourly]), available_after="0h")
    assert then["rate"].isna().any()
    assert_frame_equal(then, now, check_exact=True)


# ---- a daily mean ---------------------------------------------------------------------------------------------------


def daily_mean(rates):
    """Mean of each day's rates, stamped 00:00 of the day it averages."""
    return rates.resample("1D").mean()


def leaks(rates, index, available_after, cuts):
    """Bars whose aligned daily mean changes when rates published after a cut's close become noise."""
    rng = np.random.default_rng(1)
    now = align_feed(index, daily_mean(rates), available_after=available_after)
    changed = 0
    for cut in cuts:
        is_later = np.asarray(rates.index > index[cut] + HOUR)
        other = rates.copy()
        other[is_later] = rng.normal(size=(is_later.sum(), rates.shape[1]))
        elsewhere = align_feed(index, daily_mean(other), available_after=available_after)
        changed += int((elsewhere.iloc[: cut + 1].compare(now.iloc[: cut + 1])).shape[0])
    return changed


def funding(n_days=40):
    index = pd.date_range(START, periods=3 * n_days, freq="8h")
    return pd.DataFrame({"rate": np.random.default_rng(0).normal(1e-4, 1e-4, len(index))}, index=index)


def test_a_daily_mean_known_when_its_day_is_over_does_not_leak():
    index = pd.date_range(START, periods=24 * 40, freq="1h")
    assert leaks(funding(), index, "1D", cuts=range(5, 24 * 40, 7)) == 0


@pytest.mark.parametrize("available_after", ["0h", "12h"])
def test_a_daily_mean_taken_for_known_before_its_day_is_over_is_caught(available_after):
    index = pd.date_range(START, periods=24 * 40, freq="1h")
    assert leaks(funding(), index, available_after, cuts=range(5, 24 * 40, 7)) > 0


@pytest.mark.market_data
@pytest.mark.parametrize(("available_after", "is_leaking"), [("1D", False), ("0h", True)])
def test_the_real_funding_leaks_exactly_when_its_mean_is_taken_too_early(market_data, available_after, is_leaking):
    rates = read_feed(market_data / "feeds" / "funding_8h_BTC-USDT-PERP.parquet")
    five_minutes = load_candles(market_data / "5m" / "BTC-USDT-PERP.parquet").index
    hours = five_minutes[five_minutes.minute == 0]
    assert (leaks(rates, hours, available_after, cuts=range(30, len(hours), 11)) > 0) == is_leaking


# ---- the proof of a night -------------------------------------------------------------------------------------------

N_BARS, LEAD = 4_000, 30
CANDLES = random_walk(N_BARS, start="2024-01-01")


def daily_feed(**changes):
    """Daily values from the second day on, with ten days missing half-way and none after the 150th day."""
    rows = daily_mean(funding(150)).iloc[1:]
    rows = rows.drop(rows.index[70:80])
    return Feed("a feed", FeedConfig(**{"path": "rates.csv", "available_after": "1D", "max_age": "2D", **changes}), rows)


def proof(*given, table=None, candles=CANDLES):
    made = align_feeds(candles, given, interval="1h")[0] if table is None else table
    cuts = alignment_cuts(candles, given, interval="1h", seed=0)
    return prove_feed_alignment(made, candles, given, interval="1h", cuts=cuts, seed=0)


def test_an_honest_alignment_is_proved():
    second = Feed("another", FeedConfig(path="x.csv", available_after="0h"), funding(100).rename(columns={"rate": "other"}))
    assert proof(daily_feed(), second) == ()


@settings(max_examples=40, deadline=None)
@given(holed_hours(), feeds(), DELAYS, st.sampled_from([None, "1min", "1D"]))
def test_an_honest_alignment_of_any_feed_is_proved_wherever_it_is_asked(index, rows, delay, max_age):
    candles, feed = pd.DataFrame(index=index), Feed("any", FeedConfig(path="x", available_after=delay, max_age=max_age), rows)
    table, _ = align_feeds(candles, [feed], interval="1h")
    assert prove_feed_alignment(table, candles, [feed], interval="1h", cuts=range(0, len(index), 19), seed=3) == ()


def planted(change):
    """The aligner of the house, and then what somebody does to its table."""

    def aligner(index, rows, **arguments):
        table, report = align_feed_with_report(index, rows, **arguments)
        return change(table, index, rows), report

    return aligner


def at_once(_, index, rows):
    return align_feed(index, rows, available_after="0h", interval="1h", max_age="2D")


def nearest(_, index, rows):
    return rows.reindex(index + HOUR - DAY, method="nearest").set_axis(index)


def from_behind(table, *_):
    return table.bfill()


PLANTED = {
    "filled from behind": from_behind,
    "filled from behind in holes alone": lambda table, *_: table.where(table.ffill().isna(), table.bfill()),
    "filled from behind before the first value alone": lambda table, *_: table.mask(table.ffill().isna(), table.bfill()),
    "interpolated": lambda table, *_: table.where(table.diff() != 0).interpolate(),
    "a delay that is not kept": at_once,
    "the nearest value": nearest,
    "an hour too early": lambda table, *_: table.shift(-1),
    "scaled by all of it": lambda table, _, rows: table / rows.abs().max(),
}


@pytest.mark.parametrize("change", PLANTED.values(), ids=PLANTED)
def test_a_planted_look_ahead_of_the_aligner_is_caught(change, monkeypatch):
    monkeypatch.setattr("crp_pipeline.candles.coin_feeds.align_feed_with_report", planted(change))
    leaks = proof(daily_feed())
    assert {leak.feature for leak in leaks} == {"rate"}
    assert all(leak.difference > 0 for leak in leaks)


@pytest.mark.parametrize("change", [from_behind, at_once])
def test_a_table_that_was_changed_after_it_was_aligned_is_caught(change):
    feed = daily_feed()
    table, _ = align_feeds(CANDLES, [feed], interval="1h")
    assert {leak.feature for leak in proof(feed, table=change(table, CANDLES.index, feed.rows))} == {"rate"}


def test_one_filled_stretch_of_a_few_bars_in_a_long_history_is_caught_where_it_ends(monkeypatch):
    monkeypatch.setattr("crp_pipeline.candles.coin_feeds.align_feed_with_report", planted(from_behind))
    candles = random_walk(20_000, start="2024-01-02")
    rows = pd.DataFrame({"rate": np.arange(840.0)}, index=pd.date_range("2024-01-02 04:00", periods=840, freq="1D", tz="UTC"))
    leaks = proof(Feed("a feed", FeedConfig(path="x", available_after="0h"), rows), candles=candles)
    assert {(leak.kind, leak.at) for leak in leaks} == {(kind, candles.index[0]) for kind in LeakKind if "future" in kind}


def test_what_the_latest_bar_shows_of_rows_beyond_the_candles_is_caught(monkeypatch):
    feed = daily_feed(max_age=None)
    beyond = CANDLES.index[-1] + HOUR + pd.to_timedelta([1, 2], unit="h")
    rows = pd.concat([feed.rows, pd.DataFrame({"rate": [5.0, 6.0]}, index=beyond)])
    table, _ = align_feeds(CANDLES, [feed], interval="1h")
    table.iloc[-1] = 5.0
    honest = Feed("a feed", FeedConfig(path="x", available_after="1D"), rows)
    assert {leak.at for leak in proof(honest, table=table)} == {CANDLES.index[-1]}


def test_the_proof_asks_at_random_rows_at_the_latest_and_before_what_was_waited_for_longest():
    cuts = alignment_cuts(CANDLES, [daily_feed()], interval="1h", seed=0)
    first, hole_ends = 24 + 24 - 2, (81 * 24) + 24 - 2
    assert {first, hole_ends} <= set(cuts)
    assert set(range(N_BARS - 1 - LATEST_CUTS, N_BARS)) <= set(cuts)
    assert len(cuts) > RANDOM_CUTS + LATEST_CUTS
    assert list(cuts) == sorted(set(cuts))


def test_without_feeds_there_is_nothing_to_prove():
    assert alignment_cuts(CANDLES, [], interval="1h", seed=0) == ()
    assert prove_feed_alignment(CANDLES[[]], CANDLES, [], interval="1h", cuts=[5], seed=0) == ()


def test_a_delay_that_is_told_wrong_cannot_be_seen_in_the_data():
    """The daily mean leaks, see above; the feed is aligned as told, and so the proof passes: only its owner knows."""
    assert proof(daily_feed(available_after="0h")) == ()


REAL = {
    "1h/BTC-USDT": {
        "funding": {"path": "funding_daily.parquet", "symbol": "{coin}", "available_after": "1D"},
        "sentiment": {"path": "fear_greed_daily.parquet", "available_after": "1h"},
    },
    "5m/BTC-USDT-PERP": {"funding": {"path": "funding_8h_{coin}.parquet", "available_after": "1min"}},
    "1m/ETH-USDT-PERP": {"funding": {"path": "funding_8h_{coin}.parquet", "available_after": "1min"}},
}


@pytest.mark.market_data
@pytest.mark.parametrize("market", REAL)
def test_the_real_feeds_are_proved_and_known_on_every_bar_but_the_first(market_data, market):
    interval, coin = market.split("/")
    candles = load_candles(market_data / f"{market}.parquet")
    configs = {
        name: FeedConfig(**{**feed, "path": str(market_data / "feeds" / feed["path"])}) for name, feed in REAL[market].items()
    }
    found = read_feeds(configs, coin)
    table, _ = align_feeds(candles, found, interval=interval)
    first_known = table.notna().all(axis=1).argmax()
    assert first_known == (66 if interval == "5m" else 0), "the 5m candles begin before the first settlement"
    assert table.iloc[first_known:].notna().all(axis=None)
    cuts = alignment_cuts(candles, found, interval=interval, seed=0)
    assert prove_feed_alignment(table, candles, found, interval=interval, cuts=cuts, seed=0) == ()


@pytest.mark.market_data
def test_the_real_index_of_fear_and_greed_is_about_the_day_before_its_stamp(market_data):
    """So it is known at the start of that day, and `1h` gives it time to be published."""
    changes = read_feed(market_data / "feeds" / "fear_greed_daily.parquet")["fear_greed"].diff()
    returns = np.log(load_candles(market_data / "1h" / "BTC-USDT.parquet")["close"].resample("1D").last()).diff()
    assert changes.corr(returns.shift(1)) > 0.6
    assert abs(changes.corr(returns)) < 0.1
