"""From candles to the feature table, segment by segment."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from crp_pipeline.contracts import OHLCV, Bools, Floats, Ints
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.features.blocks import Block, blocks
from crp_pipeline.features.catalog import CATALOG
from crp_pipeline.features.feature import Bars, Feature

BARS_TO_TELL = 10
"""Equal closes, as far as known, that make a market's coin this coin itself: two coins may share a few."""


def compute_features(
    candles: pd.DataFrame,
    features: Sequence[Feature] = CATALOG,
    *,
    market: pd.DataFrame | None = None,
    feeds: pd.DataFrame | None = None,
    interval: pd.Timedelta | None = None,
) -> pd.DataFrame:
    """One float64 column per feature, one row per candle; a row knows what is known at its bar's close.

    A value is NaN until `lookback + warm_up` bars of its segment have passed, and finite after that; cross-market
    features are NaN as well where no other coin, or the feed that they read, is known. Segments are those of the
    `segment` column; candles without one are split wherever a step is not `interval`, by default the shortest step of
    the index. No window crosses from one segment into the next.

    `market` holds the closes of the *other* coins by `open_time`, one column each, NaN where a coin has no bar. The
    coin's own column must be dropped before: it is refused, because it would be its own market.

    `feeds` are columns of feed values as `candles.align_feeds` makes them: float64, a row for every bar of the candles,
    NaN where a value is not known at that bar's close.

    Raises `DataContractError` for an index that is not UTC and increasing, a missing column, a price that is not
    finite and positive, a volume that is negative, a bar without a row of feeds or a feed value that is infinite;
    `InsufficientHistoryError` for a single bar of unknown interval.
    """
    _check_names(features)
    interval = interval or bar_interval(candles.index)
    whole = checked_bars(candles, market=market, feeds=feeds, interval=interval)
    table = np.empty((len(features), len(candles)))
    for block in blocks_of(candles, features, interval):
        bars = whole.part(block.read)
        for column, feature in zip(table, features, strict=True):
            ready = min(max(block.start, block.segment_start + feature.bars_needed - 1), block.stop)
            column[block.start : ready] = np.nan
            if ready < block.stop:
                column[ready : block.stop] = values_of(feature, bars)[ready - block.first :]
    return pd.DataFrame(table.T, index=candles.index, columns=[feature.name for feature in features], copy=False)


def checked_bars(
    candles: pd.DataFrame, *, market: pd.DataFrame | None, feeds: pd.DataFrame | None, interval: pd.Timedelta
) -> Bars:
    """All bars of the candles, whatever holes lie between them; raises as `compute_features` does."""
    opening, high, low, close, volume = _checked_candles(candles)
    closes, known = _checked_market(market, candles), _checked_feeds(feeds, candles)
    return Bars(opening, high, low, close, volume, pd.DatetimeIndex(candles.index), interval, closes, known)


def values_of(feature: Feature, bars: Bars) -> Floats:
    """What the feature computes of bars without a hole: (n,); raises `DataContractError` for another shape."""
    values = np.asarray(feature.compute(bars), dtype=np.float64)
    if values.shape != (len(bars),):
        raise DataContractError(f"{feature.name} gives an array of shape {values.shape} for {len(bars)} bars")
    return values


def blocks_of(candles: pd.DataFrame, features: Sequence[Feature], interval: pd.Timedelta) -> Iterator[Block]:
    """The blocks in which the table of these candles is made."""
    opens: Ints = pd.DatetimeIndex(candles.index).as_unit("ns").asi8
    return blocks(opens, interval.value, _stretches(candles, interval), overlap=warm_up_bars(features))


def ready_rows(candles: pd.DataFrame, features: Sequence[Feature] = CATALOG, *, interval: pd.Timedelta | None = None) -> Bools:
    """Rows with lookback and warm-up of every feature inside their own segment: (n,).

    Every feature has a value there, cross-market ones as far as the market has.
    """
    is_ready = np.zeros(len(candles), dtype=bool)
    for stretch in _stretches(candles, interval or bar_interval(candles.index)):
        is_ready[stretch.start + warm_up_bars(features) - 1 : stretch.stop] = True
    return is_ready


def segment_start(candles: pd.DataFrame, interval: pd.Timedelta) -> int:
    """First row of the last bar's segment."""
    return int(_stretches(candles, interval)[-1].start)


def warm_up_bars(features: Sequence[Feature] = CATALOG) -> int:
    """Bars that a row needs, its own among them, before every feature has a value; 1 without features."""
    return max((feature.bars_needed for feature in features), default=1)


def bar_interval(open_time: pd.Index) -> pd.Timedelta:
    """Shortest step between two bars; raises `InsufficientHistoryError` for fewer than two."""
    if len(open_time) < 2:
        raise InsufficientHistoryError(f"bars found: {len(open_time)}; to know their interval takes 2")
    return pd.Timedelta(int(_steps(open_time).min()), unit="ns")


def _steps(open_time: pd.Index) -> Ints:
    return np.diff(pd.DatetimeIndex(open_time).as_unit("ns").asi8)


def _stretches(candles: pd.DataFrame, interval: pd.Timedelta) -> list[slice]:
    by_segment = "segment" in candles
    is_cut = np.diff(candles["segment"].to_numpy()) != 0 if by_segment else _steps(candles.index) != interval.value
    edges: Ints = np.concatenate([[0], np.flatnonzero(is_cut) + 1, [len(candles)]])
    return [slice(int(start), int(stop)) for start, stop in pairwise(edges)]


def _check_names(features: Sequence[Feature]) -> None:
    counts = Counter(feature.name for feature in features)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise DataContractError(f"feature names must differ: {', '.join(twice)} occur more than once")


def _check_index(index: pd.Index, what: str) -> None:
    if not isinstance(index, pd.DatetimeIndex) or str(index.tz) != "UTC":
        raise DataContractError(f"{what}: the index must be open_time in UTC, not {index.dtype}")
    if not (index.is_monotonic_increasing and index.is_unique):
        first = index[1:][index[1:] <= index[:-1]][0]
        raise DataContractError(f"{what}: open_time must increase from row to row, {first} does not")


def _checked_candles(candles: pd.DataFrame) -> Floats:
    _check_index(candles.index, "candles")
    missing = [column for column in OHLCV if column not in candles]
    if missing:
        raise DataContractError(f"candles lack the column {missing[0]}")
    prices = np.array([candles[column].to_numpy(np.float64) for column in OHLCV])
    is_wrong = ~np.isfinite(prices) | (prices < 0)
    is_wrong[:-1] |= prices[:-1] == 0
    if is_wrong.any():
        column, row = np.argwhere(is_wrong)[0]
        rule = "finite and at least 0" if column == len(OHLCV) - 1 else "finite and positive"
        raise DataContractError(f"{OHLCV[column]} is {prices[column, row]} at {candles.index[row]}; it must be {rule}")
    prices.flags.writeable = False
    return prices


def _checked_market(market: pd.DataFrame | None, candles: pd.DataFrame) -> pd.DataFrame | None:
    if market is None or market.shape[1] == 0:
        return None
    _check_index(market.index, "market")
    market = market.reindex(candles.index).astype(np.float64)
    values = market.to_numpy()
    if (np.isinf(values) | (values <= 0)).any():
        row, column = np.argwhere(np.isinf(values) | (values <= 0))[0]
        raise DataContractError(
            f"market: the close of {market.columns[column]} is {values[row, column]} at {market.index[row]}; "
            "it must be finite and positive, or missing"
        )
    is_own = _is_own(values, candles["close"].to_numpy(np.float64))
    if is_own.any():
        raise DataContractError(f"market: {market.columns[is_own][0]} is this coin itself; drop its column")
    return market


def _is_own(closes: Floats, own: Floats) -> Bools:
    """(coins,) True where every known close of (n, coins) is the coin's own, and enough of them are known."""
    is_known = np.isfinite(closes)
    is_other = is_known & (closes != own[:, None])
    is_own: Bools = ~is_other.any(axis=0) & (is_known.sum(axis=0) >= max(2, min(BARS_TO_TELL, len(own))))
    return is_own


def _checked_feeds(feeds: pd.DataFrame | None, candles: pd.DataFrame) -> pd.DataFrame | None:
    if feeds is None or feeds.shape[1] == 0:
        return None
    _check_index(feeds.index, "feeds")
    if not feeds.columns.is_unique:
        raise DataContractError(f"feeds: more than one column is called {feeds.columns[feeds.columns.duplicated()][0]}")
    for name, kind in feeds.dtypes.items():
        if kind != np.float64:
            raise DataContractError(f"feeds: the column {name} is {kind}, it must be float64")
    has_row = candles.index.isin(feeds.index)
    if not has_row.all():
        raise DataContractError(f"feeds: no row for the bar of {candles.index[~has_row][0]}; align them to these candles")
    feeds = feeds.reindex(candles.index)
    is_infinite = np.isinf(feeds.to_numpy())
    if is_infinite.any():
        row, column = np.argwhere(is_infinite)[0]
        value = feeds.iloc[row, column]
        raise DataContractError(
            f"feeds: {feeds.columns[column]} is {value} at {feeds.index[row]}; it must be finite or missing"
        )
    return feeds
