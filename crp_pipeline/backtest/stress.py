"""How much dearer or later the same decisions could have been traded before nothing is left.

Reruns take `candles`, `decisions`, `execution` and `sizing` as `run_backtest` does, and hand it `market` as given: settled
funding and finer candles, where there are any.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd

from crp_pipeline.backtest.result import BacktestResult, run_backtest
from crp_pipeline.metrics import expectancy
from crp_pipeline.settings import ExecutionModel, Sizing

COST_FACTORS = (1.0, 1.5, 2.0, 3.0)
_TOLD = ("trades", "win_rate", "expectancy_bps", "pnl", "sharpe")


def cost_ladder(
    candles: pd.DataFrame,
    decisions: pd.DataFrame,
    *,
    execution: ExecutionModel,
    sizing: Sizing,
    factors: tuple[float, ...] = COST_FACTORS,
    **market: Any,
) -> pd.DataFrame:
    """What is left when every cost is `factor` times as high: trades, win rate, net expectancy, pnl and Sharpe ratio.

    One row per factor, indexed by `cost_factor`. Each is a walk of its own, in which dearer trades are smaller for the same
    risk; entries and exits stay, but for an account that is ruined earlier.
    """
    walks = [run_backtest(candles, decisions, execution=_dearer(execution, k), sizing=sizing, **market) for k in factors]
    rows = [{name: walk.metrics[name] for name in _TOLD} for walk in walks]
    return pd.DataFrame(rows, index=pd.Index(factors, name="cost_factor"), columns=list(_TOLD))


def break_even_cost_bps(result: BacktestResult) -> float:
    """Cost of a round trip, in basis points of the notional at entry, at which the mean net return of these fills is 0.

    The mean return before costs, funding paid: with the same entries, exits and units, a trade that cost this share of its
    notional would leave nothing on average. Compare with twice `cost_per_side_bps`. Negative where trades lose before any
    cost, NaN without trades.
    """
    trades = result.trades
    before = (trades["pnl"] + trades["costs"]) / (trades["units"] * trades["entry_price"])
    return 1e4 * expectancy(before)


def _dearer(execution: ExecutionModel, factor: float) -> ExecutionModel:
    """The same market with every cost times `factor`."""
    names = ("fee_bps", "spread_bps", "slippage_bps", "slippage_noise_bps")
    return replace(execution, **{name: factor * getattr(execution, name) for name in names})
