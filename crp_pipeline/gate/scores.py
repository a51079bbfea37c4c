"""How forecasts did against what came, bar by bar: the tables and blocks of days that evidence, pictures and reports share."""

import math

import pandas as pd

from crp_pipeline.contracts import interval_length
from crp_pipeline.metrics import calibration_curve, expected_calibration_error
from crp_pipeline.models.scoring import log_losses
from crp_pipeline.settings import PipelineSettings


def horizon_days(settings: PipelineSettings) -> float:
    """How long a decision is held at most, in days."""
    return settings.horizon * (interval_length(settings.interval) / pd.Timedelta(1, "D"))


def block_days(horizon: float) -> int:
    """Days of a block that outlasts what neighbouring days share: two horizons of so many days, and never fewer than two."""
    return max(2 * math.ceil(horizon), 2)


def scored(decisions: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Decisions that were taken and whose label is known, with `outcome` (-1, 0, 1), `weight` and `hit`."""
    known = decisions["confidence"].notna() & labels["signal"].notna()
    table = decisions.loc[known].copy()
    table["outcome"], table["weight"] = labels.loc[known, "signal"], labels.loc[known, "weight"]
    table["hit"] = table["signal"] == table["outcome"]
    return table


def directed(table: pd.DataFrame) -> pd.DataFrame:
    """The scored decisions that took a side."""
    return table[table["signal"] != 0]


def calibration_of(table: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Calibration curve and expected calibration error of confidence against hits, over decisions that took a side."""
    sides = directed(table)
    return calibration_curve(sides["confidence"], sides["hit"]), expected_calibration_error(sides["confidence"], sides["hit"])


def log_loss_by_fold(predictions: pd.DataFrame, prior: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """One row per fold: mean `log_loss` of the model and of the class `prior`, and `n` labelled bars."""
    table = pd.DataFrame({"log_loss": log_losses(predictions, labels), "prior": log_losses(prior, labels)}).dropna()
    by_fold = table.groupby(predictions["fold"].loc[table.index])
    return by_fold.mean().assign(n=by_fold.size())
