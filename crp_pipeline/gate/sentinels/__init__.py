"""Sentinels: numbers that tell a leak, a lag or a fairy tale from an edge, taken each night.

`leakage` is what shuffled folds would have shown, `label_shift` whether decisions know their own labels best,
`single_feature` which feature predicts too well alone, `caps` which forecast does, `canary` plants leaks that must be
caught, `delay` tells how much of the edge is gone a bar later, `watch` takes them together.
"""

from crp_pipeline.gate.sentinels.canary import Canary, causality_canaries, leaking_column, purge_canary
from crp_pipeline.gate.sentinels.caps import Plausibility, plausibility
from crp_pipeline.gate.sentinels.delay import DelayReading, delay_reading, delayed
from crp_pipeline.gate.sentinels.label_shift import ShiftReading, shift_profile, shift_reading
from crp_pipeline.gate.sentinels.leakage import LeakReading, leak_meter
from crp_pipeline.gate.sentinels.single_feature import feature_readings, quarantined
from crp_pipeline.gate.sentinels.watch import (
    Watch,
    Watched,
    alarms_of,
    keep_watch,
    sentinel_evidence,
    sentinel_table,
)

__all__ = [
    "Canary",
    "DelayReading",
    "LeakReading",
    "Plausibility",
    "ShiftReading",
    "Watch",
    "Watched",
    "alarms_of",
    "causality_canaries",
    "delay_reading",
    "delayed",
    "feature_readings",
    "keep_watch",
    "leak_meter",
    "leaking_column",
    "plausibility",
    "purge_canary",
    "quarantined",
    "sentinel_evidence",
    "sentinel_table",
    "shift_profile",
    "shift_reading",
]
