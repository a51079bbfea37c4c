"""No row of a feed is seen before it is known, and a delay that is too short is caught."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from crp_pipeline.candles import align_feed, load_candles, read_feed
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
