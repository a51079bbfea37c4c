"""What no honest forecast reaches over an hour or less."""

from dataclasses import dataclass

import pandas as pd

from crp_pipeline.gate.scores import directed, scored
from crp_pipeline.metrics import directional_auc
from crp_pipeline.settings import SentinelConfig


@dataclass(frozen=True)
class Plausibility:
    """Skill in direction, and whether it is more than can be believed."""

    accuracy: float
    """Share of right sides among the decisions and labels that both have one; NaN without any."""
    auc: float
    """Chance that a label that went up was given more for long than one that went down; NaN without both."""
    is_implausible: bool


def plausibility(
    decisions: pd.DataFrame, labels: pd.DataFrame, *, holding: pd.Timedelta, config: SentinelConfig, edge_is_planted: bool
) -> Plausibility:
    """Directional accuracy and AUC of the decisions; implausible above the caps, where the caps hold.

    They hold for labels that live no longer than `plausibility_horizon` and not where the edge is planted, whose size is known.
    """
    told = scored(decisions, labels)
    told = told[told["outcome"] != 0]
    sides = directed(told)
    accuracy = float(sides["hit"].mean())
    auc = directional_auc(told["p_long"] - told["p_short"], told["outcome"])
    holds = holding <= pd.Timedelta(config.plausibility_horizon) and not edge_is_planted
    return Plausibility(accuracy, auc, holds and (accuracy > config.max_accuracy or auc > config.max_auc))
