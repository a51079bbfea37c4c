"""What an unknown, a constant and an odd feed value do to the features of feeds."""

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.features import compute_features
from crp_pipeline.features.feeds import FEEDS
from crp_pipeline_tests.random_walk import feed_values, random_walk

CANDLES = random_walk(700, seed=1)
BY_NAME = {feature.name: feature for feature in FEEDS}


def only(name, feeds, candles=CANDLES):
    return compute_features(candles, [BY_NAME[name]], feeds=feeds)[name]


def constant(**values):
    return pd.DataFrame(values, index=CANDLES.index, dtype=float)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("funding_bps", [(400, 410)]),
        ("funding_bps_mean_72", [(400, 410 + 71)]),
        ("funding_zscore_168", [(400, 410 + 167)]),
        ("open_interest_return_correlation_48", [(400, 410 + 48)]),
        ("open_interest_change_24", [(400, 410), (424, 434)]),
        ("fear_greed_change_168", [(400, 410), (568, 578)]),
    ],
)
def test_an_unknown_value_is_missing_as_long_as_a_window_holds_it_and_no_longer(name, missing):
    found = only(name, feed_values(CANDLES, hole=slice(400, 410))).iloc[200:].isna().to_numpy()
    assert (np.flatnonzero(found) + 200).tolist() == [row for first, last in missing for row in range(first, last)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("funding_bps", 1.0),
        ("funding_bps_mean_72", 1.0),
        ("funding_bps_change_24", 0.0),
        ("funding_zscore_168", 0.0),
        ("open_interest_change_24", 0.0),
        ("open_interest_zscore_168", 0.0),
        ("open_interest_return_correlation_48", 0.0),
        ("fear_greed", 0.73),
        ("fear_greed_change_24", 0.0),
    ],
)
def test_a_feed_that_stands_still_has_no_deviation_and_no_change(name, value):
    found = only(name, constant(funding_rate=1e-4, open_interest=81_234.5, fear_greed=73)).iloc[200:]
    assert found.to_numpy() == pytest.approx(value, abs=1e-12)
    assert value or (found == 0).all()


@pytest.mark.parametrize("value", [0.0, -5.0])
def test_open_interest_that_is_not_positive_is_unknown(value):
    feeds = feed_values(CANDLES)
    feeds.iloc[400, feeds.columns.get_loc("open_interest")] = value
    assert np.flatnonzero(only("open_interest_change_24", feeds).iloc[200:].isna()).tolist() == [200, 224]


def test_a_feed_that_is_not_there_leaves_its_features_missing_and_the_others_as_they_are():
    whole = compute_features(CANDLES, FEEDS, feeds=feed_values(CANDLES))
    some = compute_features(CANDLES, FEEDS, feeds=feed_values(CANDLES)[["fear_greed"]])
    of_sentiment = [name for name in BY_NAME if name.startswith("fear_greed")]
    pd.testing.assert_frame_equal(some[of_sentiment], whole[of_sentiment], check_exact=True)
    assert some.drop(columns=of_sentiment).isna().all(axis=None)
    assert compute_features(CANDLES, FEEDS).isna().all(axis=None)
