"""A label is known at its end: nothing that was published later enters it."""

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.candles import align_feed
from crp_pipeline.labels import LabelConfig, make_labels
from crp_pipeline_tests.random_walk import random_walk

CANDLES = random_walk(120, start="2024-01-01")
CONFIG = LabelConfig(horizon=5, volatility_window=10)
RNG = np.random.default_rng(0)


def open_interest(step, offset="0s"):
    stamps = pd.date_range(CANDLES.index[0], CANDLES.index[-1] + pd.Timedelta("2D"), freq=step) + pd.Timedelta(offset)
    return pd.DataFrame({"open_interest": RNG.uniform(50, 150, len(stamps))}, index=stamps)


def labels_of(rows, delay, candles=CANDLES):
    feeds = align_feed(candles.index, rows, available_after=delay, interval="1h", jitter="0s")
    return make_labels(candles, CONFIG, feeds=feeds)["open_interest_change"]


def otherwise(rows, is_changed):
    """The feed with other values where `is_changed`."""
    return rows.mask(is_changed, RNG.uniform(5_000, 9_000, rows.shape))


ENDS = make_labels(CANDLES, CONFIG)["label_end"]
LABELLED = np.flatnonzero(ENDS.notna())
FEEDS = {
    "every minute": (open_interest("1min"), "0s"),
    "a second after the hour": (open_interest("1h", "1s"), "0s"),
    "hourly, at once": (open_interest("1h"), "0s"),
    "hourly, late": (open_interest("1h"), "10min"),
    "daily, known a day later": (open_interest("1D"), "1D"),
}
every_feed = pytest.mark.parametrize(("rows", "delay"), FEEDS.values(), ids=FEEDS)


@every_feed
def test_a_change_of_open_interest_does_not_know_what_is_published_after_its_label_ends(rows, delay):
    now, known_at = labels_of(rows, delay), rows.index + pd.Timedelta(delay)
    for bar in LABELLED[::7]:
        then = labels_of(otherwise(rows, (known_at > ENDS.iloc[bar])[:, None]), delay)
        np.testing.assert_array_equal(then.iloc[: bar + 1], now.iloc[: bar + 1])


@every_feed
def test_a_change_of_open_interest_does_know_the_last_value_before_its_label_ends(rows, delay):
    """Without this, the test above could not fail."""
    now, known_at = labels_of(rows, delay), rows.index + pd.Timedelta(delay)
    for bar in LABELLED[::7]:
        if np.isnan(now.iloc[bar]):
            continue
        latest = known_at == known_at[known_at <= ENDS.iloc[bar]].max()
        opening = known_at == known_at[known_at <= CANDLES.index[bar] + pd.Timedelta("1h")].max()
        then = labels_of(otherwise(rows, (latest & ~opening)[:, None]), delay)
        assert (then.iloc[bar] != now.iloc[bar]) == (latest & ~opening).any()


@every_feed
def test_a_change_of_open_interest_is_the_same_when_the_future_arrives(rows, delay):
    bar = 80
    known = rows[rows.index + pd.Timedelta(delay) <= CANDLES.index[bar] + pd.Timedelta("1h")]
    then, now = labels_of(known, delay, CANDLES.iloc[: bar + 1]), labels_of(rows, delay)
    labelled = make_labels(CANDLES.iloc[: bar + 1], CONFIG)["signal"].notna().to_numpy()
    assert labelled.sum() > 50
    np.testing.assert_array_equal(then[labelled], now.iloc[: bar + 1][labelled])


def test_the_value_at_the_close_of_the_bar_that_opens_when_the_label_ends_would_leak():
    """The guard bites: one bar further is caught."""
    rows, delay = FEEDS["every minute"]
    feeds = align_feed(CANDLES.index, rows, available_after=delay, interval="1h", jitter="0s")["open_interest"]
    one_too_far = feeds.shift(-CONFIG.horizon - 1) / feeds - 1
    honest = labels_of(rows, delay)
    assert (one_too_far[honest.notna()] != honest.dropna()).all()
    np.testing.assert_allclose((feeds.shift(-CONFIG.horizon) / feeds - 1)[honest.notna()], honest.dropna())
