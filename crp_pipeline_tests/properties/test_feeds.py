from itertools import pairwise

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from crp_pipeline.candles import align_feed, align_feed_with_report
from crp_pipeline_tests.strategies import START, feeds, holed_hours

few = settings(max_examples=60, deadline=None)
delays = st.sampled_from(["0h", "500ms", "1h", "1D"])
ages = st.sampled_from([None, "0h", "90min", "2D"])
HOUR = pd.Timedelta(hours=1)
SECOND = pd.Timedelta(seconds=1)


def known_at(stamp, delay):
    """Moment at which a value is known: a stamp up to one second after its minute is that minute."""
    minute = stamp.floor("min")
    return (minute if stamp - minute <= SECOND else stamp) + pd.Timedelta(delay)


def age_limit(stamps, max_age):
    """Longest time for which the last of the stamps is carried."""
    if max_age is not None:
        return pd.Timedelta(max_age)
    steps = [later - earlier for earlier, later in pairwise(stamps)][-30:]
    ordered = sorted(steps) or [pd.Timedelta(days=1)]
    median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return 3 * max(median, HOUR)


def slow_value(close, cells, delay, max_age):
    """One cell of the result by a plain loop over the feed, row by row."""
    first_of_stamp = {}
    for stamp, value in cells:
        if not np.isnan(value) and known_at(stamp, delay) <= close:
            first_of_stamp.setdefault(stamp, value)
    if not first_of_stamp:
        return np.nan
    stamps = sorted(first_of_stamp)
    is_stale = close - known_at(stamps[-1], delay) > age_limit(stamps, max_age)
    return np.nan if is_stale else first_of_stamp[stamps[-1]]


@few
@given(holed_hours(), feeds(), delays, ages)
def test_every_value_is_that_of_a_plain_loop(index, feed, delay, max_age):
    aligned = align_feed(index, feed, available_after=delay, max_age=max_age, interval="1h")
    for column in feed:
        cells = list(zip(feed.index, feed[column], strict=True))
        slow = [slow_value(opened + HOUR, cells, delay, max_age) for opened in index]
        np.testing.assert_array_equal(aligned[column], slow)


@few
@given(holed_hours(), feeds(), delays, ages)
def test_the_counts_are_those_of_the_missing_values(index, feed, delay, max_age):
    aligned, report = align_feed_with_report(index, feed, available_after=delay, max_age=max_age, interval="1h")
    assert [column.name for column in report.columns] == list(aligned)
    for column in report.columns:
        values = aligned[column.name]
        assert column.known == values.notna().sum()
        assert column.missing_before + column.stale == values.isna().sum()
        carried = align_feed(index, feed[[column.name]], available_after=delay, max_age="10000D", interval="1h")
        assert column.missing_before == carried.isna().to_numpy().sum()
    assert report.duplicates == feed.index.duplicated().sum()
    assert report.jitter <= SECOND


@few
@given(holed_hours(), feeds(with_duplicates=False), delays, st.randoms(use_true_random=False))
def test_row_order_does_not_matter_where_stamps_differ(index, feed, delay, random):
    order = list(range(len(feed)))
    random.shuffle(order)
    shuffled = align_feed(index, feed.iloc[order], available_after=delay, interval="1h")
    assert_frame_equal(shuffled, align_feed(index, feed, available_after=delay, interval="1h"), check_exact=True)


@few
@given(holed_hours(), feeds(), delays)
def test_a_part_of_the_bars_gets_the_values_of_the_whole(index, feed, delay):
    whole = align_feed(index, feed, available_after=delay, interval="1h")
    for part in (index[: len(index) // 2], index[::3], index[-1:]):
        assert_frame_equal(align_feed(part, feed, available_after=delay, interval="1h"), whole.loc[part], check_freq=False)


@few
@given(holed_hours(), feeds(), delays)
def test_every_value_was_published_at_most_the_jitter_after_the_close(index, feed, delay):
    feed = feed.assign(**{column: np.arange(len(feed)) for column in feed})
    aligned = align_feed(index, feed, available_after=delay, interval="1h", max_age="10000D")
    for column in aligned:
        values = aligned[column].dropna()
        published = feed.index[values.astype(int)] + pd.Timedelta(delay)
        assert (published <= values.index + HOUR + SECOND).all()
        strict = align_feed(index, feed, available_after=delay, interval="1h", max_age="10000D", jitter="0s")[column].dropna()
        assert (feed.index[strict.astype(int)] + pd.Timedelta(delay) <= strict.index + HOUR).all()


@few
@given(feeds(), delays)
def test_a_longer_delay_never_shows_a_value_sooner(feed, delay):
    index = pd.date_range(START, periods=24 * 8, freq="1h", name="open_time", unit="ns")
    soon = align_feed(index, feed, available_after=delay, max_age="10000D").notna()
    late = align_feed(index, feed, available_after=pd.Timedelta(delay) + HOUR, max_age="10000D").notna()
    assert (soon | ~late).all(axis=None)
