"""Features of the champion: each against its own history, and how much of what the forecasts are made of has drifted."""

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Floats
from crp_pipeline.drift.distance import Distances, distances, too_few
from crp_pipeline.drift.report import ALL, DRIFTED_SHARE, FEATURE_KS, FEATURE_PSI, Reading, State
from crp_pipeline.settings import DriftConfig


def feature_readings(
    reference: pd.DataFrame, recent: pd.DataFrame, weight: "pd.Series[float]", config: DriftConfig
) -> list[Reading]:
    """The weight of the features that drifted, then every feature by itself, the heaviest first.

    `reference` holds the rows that the champion learned from and `recent` those after them, a column per feature that it reads.
    `weight` says how much each of them matters. A feature counts as drifted where its stability index is large
    (`DriftConfig.max_psi`) and beyond what any stretch of its history shows. Their weight is one number per night, however many
    features there are. By chance a feature goes beyond its `distance.STRETCHES` or more stretches in 1 of 21 nights that share
    no bar. If all features moved as one, the summed weight would cross the limit no more often than a single feature does.
    """
    if unknown := too_few(DRIFTED_SHARE, ALL, n_reference=len(reference), n_recent=len(recent)):
        return [unknown]
    heaviest = weight.sort_values(ascending=False, kind="stable").index
    found = distances(reference[heaviest], recent)
    return [
        share_reading(found, np.asarray(weight[heaviest], dtype=np.float64), config),
        *found.readings(config, psi=FEATURE_PSI, ks=FEATURE_KS),
    ]


def share_reading(found: Distances, weight: Floats, config: DriftConfig) -> Reading:
    """The weight of the features that drifted, in that of all."""
    _, limit = found.psi_limits(config)
    return Reading.held(
        DRIFTED_SHARE,
        ALL,
        float(weight[found.psi > limit].sum() / weight.sum()),
        warn=config.warn_share,
        limit=config.max_share,
        n=len(found.names),
        worst=State.DRIFTED,
    )
