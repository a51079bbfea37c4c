"""The proof, on given candles and feeds, that no aligned value shows what became known after its bar's close.

The proof of the features takes the aligned table as it is and cannot see that it was filled from behind when it was made.
Here the table is made anew at each cut `t`, from the bars up to `t` and without the rows that became known after the close
of `t`, and once more with those rows replaced by noise: the values up to `t` must be the same, bit for bit.

When a row became known is taken from the settings (`FeedConfig.available_after`). Whether that is true cannot be proved from
the data: a daily mean stamped at its day's start and said to be known at once passes, and leaks.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from crp_pipeline.candles.coin_feeds import Feed, align_feeds
from crp_pipeline.candles.feeds import JITTER
from crp_pipeline.contracts import Bools, Ints, interval_length
from crp_pipeline.features.proof import BARS_AHEAD, HOLE_CUTS, Leak, LeakKind, changes, nightly_cuts

LONG_AGO = np.iinfo(np.int64).min // 2
"""Stands for the value before the first, in nanoseconds."""
LATER = pd.Timedelta(days=10)
"""How much later, at most, a scrambled row is stamped."""


def prove_feed_alignment(
    table: pd.DataFrame, candles: pd.DataFrame, feeds: Sequence[Feed], *, interval: str, cuts: Sequence[int], seed: int
) -> tuple[Leak, ...]:
    """Columns of an aligned table that show at a cut what was not known then, cut by cut; `Leak.feature` is the column.

    `table` is what `align_feeds` made of these candles and feeds; it is compared on the `BARS_AHEAD` rows up to each cut.
    """
    leaks: list[Leak] = []
    for cut in cuts if feeds else ():
        start, close = max(cut + 1 - BARS_AHEAD, 0), candles.index[cut].as_unit("ns") + interval_length(interval)
        now, bars = table.iloc[start : cut + 1], candles.iloc[start : cut + 1 + BARS_AHEAD]
        known, scrambled = [_known(feed, close) for feed in feeds], [_scrambled(feed, close, seed) for feed in feeds]
        then, _ = align_feeds(bars.iloc[: len(now)], known, interval=interval)
        leaks += changes(then, now, LeakKind.FUTURE_ARRIVES)
        elsewhere, _ = align_feeds(bars, scrambled, interval=interval)
        leaks += changes(elsewhere.iloc[: len(now)], now, LeakKind.SCRAMBLED_FUTURE)
    return tuple(leaks)


def alignment_cuts(candles: pd.DataFrame, feeds: Sequence[Feed], *, interval: str, seed: int) -> tuple[int, ...]:
    """Rows of `nightly_cuts`, the last row, and the bars before the values that were waited for longest; none without feeds.

    The latter come from the feeds and not from the aligned table: in a table that was filled from behind nothing is unknown.
    """
    if not feeds:
        return ()
    closes = _nanoseconds(candles.index + interval_length(interval))
    rows = {row for group in nightly_cuts(candles, None, seed=seed) for row in group} | {len(closes) - 1}
    return tuple(sorted(rows.union(*(_rows_before_news(closes, feed) for feed in feeds))))


def _rows_before_news(closes: Ints, feed: Feed) -> set[int]:
    """Last bars that do not see a value yet, of the values after the longest waits, the first of a column among them."""
    rows: set[int] = set()
    for values in feed.rows.to_numpy().T:
        seen_from = np.sort(_seen_from(feed)[~np.isnan(values)])
        before = np.searchsorted(closes, seen_from) - 1
        wait = np.diff(seen_from, prepend=LONG_AGO)
        longest = np.argsort(-wait[before >= 0], kind="stable")[:HOLE_CUTS]
        rows |= set(before[before >= 0][longest].tolist())
    return rows


def _nanoseconds(times: pd.Index) -> Ints:
    return pd.DatetimeIndex(times).as_unit("ns").asi8


def _seen_from(feed: Feed) -> Ints:
    """(rows,) nanoseconds since 1970 from which a close may see each row: its publication, less the jitter that is forgiven."""
    return _nanoseconds(feed.rows.index) + pd.Timedelta(feed.config.available_after).value - JITTER.value


def _is_later(feed: Feed, close: pd.Timestamp) -> Bools:
    """(rows,) True for rows that become known after the close."""
    return _seen_from(feed) > close.value


def _known(feed: Feed, close: pd.Timestamp) -> Feed:
    return replace(feed, rows=feed.rows[~_is_later(feed, close)])


def _scrambled(feed: Feed, close: pd.Timestamp, seed: int) -> Feed:
    """Noise in place of the rows that become known after the close, none of them stamped earlier than it was."""
    is_later, rng = _is_later(feed, close), np.random.default_rng(seed)
    rows, stamps = feed.rows.copy(), _nanoseconds(feed.rows.index).copy()
    rows[is_later] = rng.standard_normal((int(is_later.sum()), rows.shape[1]))
    stamps[is_later] += rng.integers(0, LATER.value, int(is_later.sum()))
    return replace(feed, rows=rows.set_axis(pd.DatetimeIndex(stamps, tz="UTC")).sort_index(kind="stable"))
