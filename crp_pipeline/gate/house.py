"""What the house's own limits say where the settings ask for less: a promotion that they would have held back tells so.

The caps of plausibility and the quarantine of features are settings, and what they come to is told as a flag that has kept its
limit. They are therefore measured a second time, by the defaults.
"""

from collections.abc import Collection

import pandas as pd

from crp_pipeline.contracts import interval_length
from crp_pipeline.gate.sentinels import feature_readings, plausibility, quarantined
from crp_pipeline.settings import PipelineSettings, SentinelConfig


def house_sentinels(
    features: pd.DataFrame,
    labels: pd.DataFrame,
    decisions: pd.DataFrame,
    *,
    hidden: Collection[str],
    settings: PipelineSettings,
) -> dict[str, float]:
    """What the sentinels say by their defaults; nothing where the edge is planted.

    `house_implausible` is 1 for more skill than can be believed. `alarmed_features_shown` counts the features that predict too
    well and are not among the `hidden` ones, `alarmed_share_shown` is their share of all that do.
    """
    config, planted = SentinelConfig(), settings.edge_is_planted
    holding = settings.horizon * interval_length(settings.interval)
    found = plausibility(decisions, labels, holding=holding, config=config, edge_is_planted=planted)
    alarmed = () if planted else quarantined(feature_readings(features, labels, config))
    shown = [name for name in alarmed if name not in hidden]
    return {
        "house_implausible": float(found.is_implausible),
        "alarmed_features_shown": float(len(shown)),
        "alarmed_share_shown": len(shown) / len(alarmed) if alarmed else 0.0,
    }
