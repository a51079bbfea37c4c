"""How much of the edge is gone when every decision comes one bar late."""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from crp_pipeline.backtest import CostData, run_backtest
from crp_pipeline.settings import ExecutionModel, Sizing


@dataclass(frozen=True)
class DelayReading:
    """Mean net return per trade in basis points, on time and one bar late; NaN without a trade."""

    expectancy_bps: float
    delayed_expectancy_bps: float

    @property
    def edge_lost(self) -> float:
        """Share of the expectancy that is gone, above 1 where a profit turns into a loss; NaN where there was no profit.

        An edge of hours fades over hours. One that is gone at once was never there to be traded: a forecast that knows the bar
        it trades in, or a price that nobody got.
        """
        return 1 - self.delayed_expectancy_bps / self.expectancy_bps if self.expectancy_bps > 0 else math.nan


def delay_reading(
    candles: pd.DataFrame,
    decisions: pd.DataFrame,
    *,
    execution: ExecutionModel,
    sizing: Sizing,
    data: CostData | None = None,
) -> DelayReading:
    """The same backtest twice; `decisions` carry their `stop_distance` and `target_distance`, which stay as they were.

    `data` holds settled funding and finer candles, as the coin's own backtest has them.
    """
    data = data or CostData()
    traded = partial(run_backtest, candles, execution=execution, sizing=sizing, funding=data.funding, finer=data.finer)
    on_time, late = (float(traded(it).metrics["expectancy_bps"]) for it in (decisions, delayed(decisions, candles)))
    return DelayReading(on_time, late)


def delayed(decisions: pd.DataFrame, candles: pd.DataFrame) -> pd.DataFrame:
    """Each decision as if it were taken at the next bar's close; one whose next bar is missing or beyond a hole lapses."""
    row = candles.index.get_indexer(decisions.index)
    kept = decisions[row + 1 < len(candles)]
    row = row[row + 1 < len(candles)]
    segment = candles["segment"].to_numpy() if "segment" in candles else np.zeros(len(candles))
    late = kept.set_axis(candles.index[row + 1].rename(decisions.index.name))
    return pd.DataFrame(late[segment[row] == segment[row + 1]])
