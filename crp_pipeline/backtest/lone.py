"""What each decision would have earned by itself, however many positions are open at a time."""

from dataclasses import replace

import numpy as np
import pandas as pd

from crp_pipeline.backtest.costs import CostData, costs_of
from crp_pipeline.backtest.execution import bars_of, orders_of, rules_of
from crp_pipeline.settings import ExecutionModel


def lone_net_returns(
    candles: pd.DataFrame, decisions: pd.DataFrame, *, execution: ExecutionModel, data: CostData | None = None
) -> "pd.Series[float]":
    """Net return on the entry notional of every decision as `run_backtest` fills it, 0 where it takes no side.

    Entry at the next open, exit by stop, target or time, all costs paid; the same number as `return_net` of the trade that the
    backtest makes of the decision, where that one enters and no account ends with it. A decision at the last candle, or next to
    a repaired bar, could not be entered and earns 0. Draws of slippage and delay are those of these candles. Arguments and
    errors are those of `run_backtest`.
    """
    from crp_pipeline.backtest.engine import outcome_of_side

    bars, orders = bars_of(candles), orders_of(decisions, candles)
    costs = costs_of(execution, candles, bars, data or CostData())
    decided = np.flatnonzero(orders.signal)
    entered = decided[decided + 1 < len(candles)]
    entered = entered[~(bars.repaired[entered] | bars.repaired[entered + 1] | bars.last[entered])]
    _, _, earned = outcome_of_side(
        bars,
        entered + 1,
        orders.signal[entered],
        orders.stop[entered],
        orders.target[entered],
        costs,
        rules_of(replace(execution, close_at_end=True)),
    )
    returns = np.zeros(len(candles))
    returns[entered] = earned
    return pd.Series(returns, index=candles.index, name="net_return").reindex(decisions.index)
