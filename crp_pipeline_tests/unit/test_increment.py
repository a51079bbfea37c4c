"""A table carried on from an earlier night equals the one made anew, to the bit."""

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from crp_pipeline.features import CATALOG, block_digests, compute_features, extend_features, features_since
from crp_pipeline.features import blocks as blocks_module
from crp_pipeline.features import increment as increment_module
from crp_pipeline.features.blocks import BLOCK_BARS, blocks
from crp_pipeline_tests.random_walk import feed_values, other_coins, random_walk

SHORT_BLOCK = 256
CANDLES = random_walk(1_500, seed=12)
MARKET = other_coins(CANDLES)
FEEDS = feed_values(CANDLES)
SOME = CATALOG[::9]


@pytest.fixture
def short_blocks(monkeypatch):
    monkeypatch.setattr(blocks_module, "BLOCK_BARS", SHORT_BLOCK)


@pytest.fixture
def counted(monkeypatch):
    """Rows that were computed, call by call."""
    rows = []

    def counting(candles, *arguments, **options):
        rows.append(len(candles))
        return compute_features(candles, *arguments, **options)

    monkeypatch.setattr(increment_module, "compute_features", counting)
    return rows


def test_blocks_cover_every_row_once_and_read_back_inside_their_segment():
    opens = np.arange(0, 100_000) * 60 + 7
    segments = [slice(0, 40_000), slice(40_000, 40_010), slice(40_010, 100_000)]
    made = list(blocks(opens, 60, segments, overlap=300))
    assert [row for block in made for row in range(block.start, block.stop)] == list(range(100_000))
    for block in made:
        assert block.segment_start <= block.first <= block.start
        assert block.start - block.first >= 300 or block.first == block.segment_start
        assert block.stop - block.start <= BLOCK_BARS
        assert len(set(opens[block.start : block.stop] // (60 * BLOCK_BARS))) == 1


def test_a_block_begins_at_the_same_moment_wherever_the_candles_do(short_blocks):
    starts = {str(time) for time in block_digests(CANDLES, SOME)}
    later = {str(time) for time in block_digests(CANDLES.iloc[100:], SOME)}
    assert later - starts == {str(CANDLES.index[100])}


@pytest.mark.parametrize("row", [0, 1, 255, 700, 1_498, 1_499])
def test_rows_from_a_moment_on_are_those_of_the_whole_table(short_blocks, row):
    whole = compute_features(CANDLES, CATALOG, market=MARKET)
    since = features_since(CANDLES.index[row], CANDLES, CATALOG, market=MARKET)
    assert_frame_equal(since, whole.iloc[row:], check_exact=True)


def test_a_long_history_makes_no_difference_to_the_last_block():
    candles = random_walk(2 * BLOCK_BARS, seed=1, freq="1min", scale=0.001)
    whole = compute_features(candles, SOME).iloc[-100:]
    recent = compute_features(candles.iloc[-BLOCK_BARS - 1_000 :], SOME).iloc[-100:]
    assert_frame_equal(recent, whole, check_exact=True)


@pytest.mark.parametrize("n_new", [1, 24, 300, 1_200])
def test_an_extended_table_equals_one_made_anew(short_blocks, counted, n_new):
    known = extend_features(None, CANDLES.iloc[:-n_new], market=MARKET.iloc[:-n_new], feeds=FEEDS.iloc[:-n_new])
    counted.clear()
    extended = extend_features(known, CANDLES, market=MARKET, feeds=FEEDS)
    assert_frame_equal(extended, compute_features(CANDLES, market=MARKET, feeds=FEEDS), check_exact=True)
    drawn, fresh = counted
    assert extended.attrs["rows_kept"] >= 1_500 - n_new - SHORT_BLOCK
    assert drawn <= SHORT_BLOCK + blocks_module.OVERLAP_BARS
    assert fresh <= n_new + SHORT_BLOCK + blocks_module.OVERLAP_BARS


def test_segments_are_carried_on_too(short_blocks):
    holed = CANDLES.drop(CANDLES.index[400:405]).drop(CANDLES.index[1_300:1_340])
    known = extend_features(None, holed.iloc[:-30], SOME)
    assert_frame_equal(extend_features(known, holed, SOME), compute_features(holed, SOME), check_exact=True)


def test_the_same_candles_again_change_nothing(short_blocks):
    known = extend_features(None, CANDLES, SOME)
    assert_frame_equal(extend_features(known, CANDLES, SOME), known, check_exact=True)


def restated(candles, row):
    changed = candles.copy()
    changed.iloc[row, 4] *= 2
    return changed


@pytest.mark.parametrize(
    ("candles", "market", "features"),
    [
        (restated(CANDLES, 10), MARKET, SOME),
        (restated(CANDLES, 1_490), MARKET, SOME),
        (CANDLES, restated(MARKET.assign(D=1.0, E=1.0), 700)[list(MARKET)], SOME),
        (CANDLES, MARKET.assign(NEW=MARKET["COIN-0"] * 2), SOME),
        (CANDLES, None, SOME),
        (CANDLES, MARKET, SOME[1:]),
        (CANDLES.iloc[50:], MARKET, SOME),
        (CANDLES.iloc[:700], MARKET, SOME),
    ],
    ids=["old bar", "late bar", "market close", "another coin", "no market", "other features", "starts later", "ends sooner"],
)
def test_a_changed_input_is_seen(short_blocks, candles, market, features):
    known = extend_features(None, CANDLES, SOME, market=MARKET)
    made = extend_features(known, candles, features, market=market)
    assert_frame_equal(made, compute_features(candles, features, market=market), check_exact=True)


def test_a_changed_feed_is_seen(short_blocks):
    known = extend_features(None, CANDLES, feeds=FEEDS)
    other = FEEDS.assign(fear_greed=FEEDS["fear_greed"] + 1)
    for feeds in (other, None):
        assert_frame_equal(
            extend_features(known, CANDLES, feeds=feeds), compute_features(CANDLES, feeds=feeds), check_exact=True
        )


def test_a_feed_of_another_name_is_another_feed(short_blocks):
    ended = FEEDS[["funding_rate"]].copy()
    ended.iloc[600:] = np.nan
    renamed = ended.rename(columns={"funding_rate": "fear_greed"})
    known = extend_features(None, CANDLES, feeds=ended)
    assert_frame_equal(
        extend_features(known, CANDLES, feeds=renamed), compute_features(CANDLES, feeds=renamed), check_exact=True
    )


def test_a_segment_that_is_gone_leaves_no_row_behind(short_blocks):
    holed = CANDLES.drop(CANDLES.index[[*range(300, 330), *range(600, 630)]])
    less = CANDLES.drop(CANDLES.index[300:630])
    known = extend_features(None, holed, SOME)
    assert_frame_equal(extend_features(known, less, SOME), compute_features(less, SOME), check_exact=True)


@pytest.mark.parametrize("seed", range(6))
def test_any_two_nights_give_the_table_of_the_second(short_blocks, seed):
    rng = np.random.default_rng(seed)

    def night(n_bars):
        candles = CANDLES.iloc[:n_bars].copy()
        for _ in range(rng.integers(0, 3)):
            start = int(rng.integers(0, len(candles) - 60))
            candles = candles.drop(candles.index[start : start + int(rng.integers(1, 40))])
        if rng.random() < 0.5:
            candles.iloc[rng.integers(0, len(candles)), 4] *= 2
        market = MARKET[[name for name in MARKET if rng.random() < 0.8]]
        return candles, market, None if rng.random() < 0.3 else FEEDS.loc[candles.index]

    table = None
    for n_bars in (1_200, 1_230, 1_500):
        candles, market, feeds = night(n_bars)
        table = extend_features(table, candles, SOME, market=market, feeds=feeds)
        expected = compute_features(candles, SOME, market=market, feeds=feeds)
        assert_frame_equal(table, expected, check_exact=True, check_freq=False)


def test_a_table_whose_values_are_others_is_made_anew(short_blocks):
    known = extend_features(None, CANDLES.iloc[:-24], SOME)
    altered = known * (1 + 1e-15)
    altered.attrs = known.attrs
    assert not altered.equals(known)
    assert_frame_equal(extend_features(altered, CANDLES, SOME), compute_features(CANDLES, SOME), check_exact=True)


def test_a_table_without_digests_is_made_anew(short_blocks):
    stranger = pd.DataFrame(0.0, index=CANDLES.index, columns=[feature.name for feature in SOME])
    assert_frame_equal(extend_features(stranger, CANDLES, SOME), compute_features(CANDLES, SOME), check_exact=True)
