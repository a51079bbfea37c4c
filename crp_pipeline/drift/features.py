"""Features of the champion: each against its own history, and how much of what the forecasts are made of has drifted."""

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Floats
from crp_pipeline.drift.distance import Distances, distances, drifted_share, missing_rows, usual_and_most
from crp_pipeline.drift.report import ALL, DRIFTED_SHARE, FEATURE_KS, FEATURE_PSI, Reading, State
from crp_pipeline.settings import DriftConfig


def feature_readings(
    reference: pd.DataFrame, recent: pd.DataFrame, weight: "pd.Series[float]", config: DriftConfig
) -> list[Reading]:
    """The weight of the features that drifted, then every feature by itself, the heaviest first.

    `reference` holds the rows that the champion learned from and `recent` those after them, a column per feature that it reads.
    `weight` says how much each of them matters. A feature counts as drifted where its stability index is large
    (`DriftConfig.max_psi`) and beyond what the usual stretch of the history shows; the weight of all that do is held against
    the weight of those that did, by the same rule, in the stretches of the history. That is one number per night, whose limits
    know how many features there are and how they hang together: where a market drifts through its history, all of them do.
    """
    if missing := missing_rows(len(reference), len(recent)):
        return [Reading.unknown(DRIFTED_SHARE, ALL, n=len(recent), missing=missing)]
    heaviest = weight.sort_values(ascending=False, kind="stable").index
    found = distances(reference[heaviest], recent)
    return [
        share_reading(found, np.asarray(weight[heaviest], dtype=np.float64), config),
        *found.readings(config, psi=FEATURE_PSI, ks=FEATURE_KS),
    ]


def share_reading(found: Distances, weight: Floats, config: DriftConfig) -> Reading:
    """The weight of the features that drifted against that in the stretches of the history."""
    usual, _ = usual_and_most(found.psi_of_stretches)
    large = np.maximum(usual, config.max_psi)
    share = weight / weight.sum()
    usual_share, most_share = usual_and_most(drifted_share(found.psi_of_stretches > large, share)[:, None])
    return Reading.held(
        DRIFTED_SHARE,
        ALL,
        float(drifted_share(found.psi > large, share)),
        warn=max(float(usual_share[0]), config.warn_share),
        limit=max(float(most_share[0]), config.max_share),
        n=len(found.names),
        worst=State.DRIFTED,
    )
