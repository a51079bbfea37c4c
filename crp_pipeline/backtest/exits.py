"""Stop and target of every bar as a table that decisions can be joined with."""

import pandas as pd

from crp_pipeline.backtest.execution import exit_distances
from crp_pipeline.settings import ExitConfig


def exit_table(volatility: "pd.Series[float]", horizon: int, exits: ExitConfig) -> pd.DataFrame:
    """`stop_distance` and `target_distance` per bar, fractions of the entry price; NaN where volatility is unknown."""
    stop, target = exit_distances(volatility.to_numpy(), horizon, exits)
    return pd.DataFrame({"stop_distance": stop, "target_distance": target}, index=volatility.index)
