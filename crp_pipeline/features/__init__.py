"""Features: what a model may know of a bar at its close, declared as values and computed segment by segment.

`feature` holds the value and what bars offer it, one file per family the features (`liquidity` and `candlesticks` the
rest of volume and price action), `rolling`, `moments` and `kernels` the arithmetic over windows, `catalog` their order,
`compute` the table, `identity` its content hash and `proof` the proof that it looks nowhere it must not.
"""

from crp_pipeline.features.catalog import CATALOG
from crp_pipeline.features.compute import bar_interval, compute_features, ready_rows, warm_up_bars
from crp_pipeline.features.feature import Bars, Family, Feature, ema_warm_up, wilder_warm_up
from crp_pipeline.features.identity import feature_set_id
from crp_pipeline.features.proof import Leak, LeakKind, leak_table, nightly_cuts, prove_causal, prove_nightly, spread_cuts
from crp_pipeline.features.rolling import ratio

__all__ = [
    "CATALOG",
    "Bars",
    "Family",
    "Feature",
    "Leak",
    "LeakKind",
    "bar_interval",
    "compute_features",
    "ema_warm_up",
    "feature_set_id",
    "leak_table",
    "nightly_cuts",
    "prove_causal",
    "prove_nightly",
    "ratio",
    "ready_rows",
    "spread_cuts",
    "warm_up_bars",
    "wilder_warm_up",
]
