"""Features: what a model may know of a bar at its close, declared as values and computed segment by segment.

`feature` holds the value and what bars offer it, one file per family the features (`ichimoku`, `supertrend`, `liquidity`,
`candlesticks` and `feeds` are parts of families), `timeframe` those of longer bars, `rolling`, `moments` and `kernels` the
arithmetic over windows, `catalog` their order, `compute` the table, `blocks` and `increment` how it is carried on from night
to night, `identity` its content hash, `proof` the proof that it looks nowhere it must not and `feed_proof` the same of the
feed values that it reads.
"""

from crp_pipeline.features.catalog import CATALOG
from crp_pipeline.features.compute import bar_interval, compute_features, ready_rows, warm_up_bars
from crp_pipeline.features.feature import Bars, Family, Feature, ema_warm_up, wilder_warm_up
from crp_pipeline.features.feed_proof import alignment_cuts, prove_feed_alignment
from crp_pipeline.features.identity import feature_set_id
from crp_pipeline.features.increment import block_digests, extend_features, features_since
from crp_pipeline.features.proof import (
    Leak,
    LeakKind,
    leak_table,
    nightly_cuts,
    prove_causal,
    prove_nightly,
    refuse_leaks,
    spread_cuts,
)
from crp_pipeline.features.rolling import ratio

__all__ = [
    "CATALOG",
    "Bars",
    "Family",
    "Feature",
    "Leak",
    "LeakKind",
    "alignment_cuts",
    "bar_interval",
    "block_digests",
    "compute_features",
    "ema_warm_up",
    "extend_features",
    "feature_set_id",
    "features_since",
    "leak_table",
    "nightly_cuts",
    "prove_causal",
    "prove_feed_alignment",
    "prove_nightly",
    "ratio",
    "ready_rows",
    "refuse_leaks",
    "spread_cuts",
    "warm_up_bars",
    "wilder_warm_up",
]
