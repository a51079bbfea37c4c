"""A table carried on from the night before: only the blocks whose inputs are others are computed, and the rest is kept.

What a block's values depend on is hashed: the definitions, the bars that are read for it, the market and the feeds on them.
So a bar that was restated long ago, a coin that joined the market or a changed feature shows, and everything from there on is
made anew.
"""

import inspect
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from hashlib import sha256
from itertools import takewhile

import numpy as np
import pandas as pd

from crp_pipeline.contracts import OHLCV, Floats, Ints
from crp_pipeline.features.blocks import Block
from crp_pipeline.features.catalog import CATALOG
from crp_pipeline.features.compute import bar_interval, blocks_of, compute_features
from crp_pipeline.features.feature import Feature
from crp_pipeline.features.identity import feature_set_id

Digests = dict[str, str]
"""What each block was made from, by the open time of its first row."""


def features_since(
    since: pd.Timestamp,
    candles: pd.DataFrame,
    features: Sequence[Feature] = CATALOG,
    *,
    market: pd.DataFrame | None = None,
    feeds: pd.DataFrame | None = None,
    interval: pd.Timedelta | None = None,
) -> pd.DataFrame:
    """The rows of `compute_features` from an open time on, equal to the bit, made from the bars that they need."""
    interval = interval or bar_interval(candles.index)
    row = int(candles.index.searchsorted(since))
    first = next((block.first for block in blocks_of(candles, features, interval) if block.stop > row), 0)
    return compute_features(candles.iloc[first:], features, market=market, feeds=feeds, interval=interval).loc[since:]


def block_digests(
    candles: pd.DataFrame,
    features: Sequence[Feature] = CATALOG,
    *,
    market: pd.DataFrame | None = None,
    feeds: pd.DataFrame | None = None,
    interval: pd.Timedelta | None = None,
    set_id: str | None = None,
) -> Digests:
    """Sixteen hexadecimal digits per block of the table of these candles, in time order.

    `set_id` is the features' `feature_set_id`, for who has it at hand: to read the definitions takes longer than to hash the
    bars of two years of minutes.
    """
    interval = interval or bar_interval(candles.index)
    beside = [(name, [] if table is None else list(table.columns)) for name, table in (("market", market), ("feeds", feeds))]
    made_by = f"{set_id or feature_set_id(features)} {_code()} {np.__version__} {interval} {beside}"
    opens: Ints = pd.DatetimeIndex(candles.index).as_unit("ns").asi8
    inputs: list[Floats | Ints] = [opens, *(candles[name].to_numpy(np.float64) for name in OHLCV)]
    for others in (market, feeds):
        if others is not None:
            inputs += [column.to_numpy(np.float64) for _, column in others.reindex(candles.index).items()]
    return {
        str(candles.index[block.start]): _digest(made_by, block, inputs) for block in blocks_of(candles, features, interval)
    }


def extend_features(
    known: pd.DataFrame | None,
    candles: pd.DataFrame,
    features: Sequence[Feature] = CATALOG,
    *,
    market: pd.DataFrame | None = None,
    feeds: pd.DataFrame | None = None,
    interval: pd.Timedelta | None = None,
    set_id: str | None = None,
) -> pd.DataFrame:
    """`compute_features`, equal to the bit; of `known`, an earlier table, the rows before the first changed block are kept.

    `attrs["blocks"]` of the result holds its digests, and those of `known` are read there; `attrs["rows_kept"]` says how many
    rows are of `known`. One of the blocks that could be kept is drawn, made again and compared: where a bit differs, as on
    another processor, everything is made anew.
    """
    interval = interval or bar_interval(candles.index)
    digests = block_digests(candles, features, market=market, feeds=feeds, interval=interval, set_id=set_id)
    make = partial(features_since, features=features, market=market, feeds=feeds, interval=interval)
    table = None if known is None else _carried_on(known, candles, digests, candles.index[-1] + interval, make)
    if table is None:
        table = make(candles.index[0], candles)
        table.attrs = {"rows_kept": 0}
    table.attrs["blocks"] = digests
    return table


def _carried_on(
    known: pd.DataFrame, candles: pd.DataFrame, digests: Digests, end: pd.Timestamp, make: Callable[..., pd.DataFrame]
) -> pd.DataFrame | None:
    """Known rows, and those that `make` gives from the first changed block on; None where that is not the whole table."""
    earlier: Digests = known.attrs.get("blocks", {})
    n_same = sum(1 for _ in takewhile(lambda time: digests[time] == earlier.get(time), digests))
    if n_same == 0:
        return None
    times = [*map(pd.Timestamp, digests), end]
    drawn = int(np.random.default_rng(len(candles)).integers(n_same))
    again = make(times[drawn], candles[candles.index < times[drawn + 1]])
    if not _is_same(known.loc[again.index[0] : again.index[-1]], again):
        return None
    since = times[n_same] if n_same < len(digests) else times[n_same - 1]
    kept, fresh = known.loc[candles.index[0] : since - pd.Timedelta(1)], make(since, candles)
    table = pd.concat([kept, fresh])
    table.attrs = {"rows_kept": len(kept)}
    return table if table.index.equals(candles.index) else None


def _is_same(known: pd.DataFrame, again: pd.DataFrame) -> bool:
    return known.index.equals(again.index) and np.array_equal(known, again, equal_nan=True)


@lru_cache(maxsize=1)
def _code() -> str:
    """Hash of the code that puts tables together, which is no part of any feature's definition."""
    makers = (sys.modules[compute_features.__module__], sys.modules[Block.__module__])
    return sha256("".join(map(inspect.getsource, makers)).encode()).hexdigest()[:16]


def _digest(made_by: str, block: Block, inputs: Sequence[Floats | Ints]) -> str:
    digest = sha256(f"{made_by} {block.start - block.first}".encode())
    for column in inputs:
        digest.update(np.ascontiguousarray(column[block.read]).data)
    return digest.hexdigest()[:16]
