"""A table carried on from the night before: only the blocks whose inputs are others are computed, and the rest is kept.

What a block's values depend on is hashed: the definitions, the bars that are read for it, the market and the feeds on them.
So a bar that was restated long ago, a coin that joined the market or a changed feature shows, and everything from there on is
made anew.
"""

from collections.abc import Sequence
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
) -> Digests:
    """Sixteen hexadecimal digits per block of the table of these candles, in time order."""
    interval = interval or bar_interval(candles.index)
    made_by = f"{feature_set_id(features)} {np.__version__} {interval}"
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
) -> pd.DataFrame:
    """`compute_features`, equal to the bit; of `known`, an earlier table, the rows before the first changed block are kept.

    `attrs["blocks"]` of the result holds its digests, and those of `known` are read there; `attrs["rows_kept"]` says how many
    rows are of `known`. The last block that could be kept
    is made again and compared: where a bit differs, as on another processor, everything is made anew.
    """
    interval = interval or bar_interval(candles.index)
    digests = block_digests(candles, features, market=market, feeds=feeds, interval=interval)
    n_same = _unchanged(digests, {} if known is None else known.attrs.get("blocks", {}))
    table, rows_kept = None, 0
    if known is not None and n_same:
        times = [*map(pd.Timestamp, digests), candles.index[-1] + interval]
        fresh = features_since(times[n_same - 1], candles, features, market=market, feeds=feeds, interval=interval)
        table, rows_kept = _carried_on(known.loc[candles.index[0] :], fresh, until=times[n_same]), len(candles) - len(fresh)
    if table is None:
        table, rows_kept = compute_features(candles, features, market=market, feeds=feeds, interval=interval), 0
    table.attrs = {"blocks": digests, "rows_kept": rows_kept}
    return table


def _unchanged(digests: Digests, earlier: Digests) -> int:
    """Blocks from the first on that are as they were."""
    return sum(1 for _ in takewhile(lambda time: digests[time] == earlier.get(time), digests))


def _carried_on(known: pd.DataFrame, fresh: pd.DataFrame, *, until: pd.Timestamp) -> pd.DataFrame | None:
    """The known rows before the fresh ones, and these; None where the two differ on a row before `until` that both have."""
    start, stop = known.index.searchsorted([fresh.index[0], until])
    is_same = np.array_equal(known.iloc[start:stop], fresh.iloc[: stop - start], equal_nan=True)
    return pd.concat([known.iloc[:start], fresh]) if is_same else None


def _digest(made_by: str, block: Block, inputs: Sequence[Floats | Ints]) -> str:
    digest = sha256(f"{made_by} {block.start - block.first}".encode())
    for column in inputs:
        digest.update(np.ascontiguousarray(column[block.read]).data)
    return digest.hexdigest()[:16]
