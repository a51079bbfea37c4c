"""How much dearer or later the same decisions could have been traded before nothing is left.

Reruns take `candles`, `decisions`, `execution` and `sizing` as `run_backtest` does, and hand it `market` as given: settled
funding and finer candles, where there are any.
"""

from dataclasses import replace
from typing import Any

import numpy as np
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
    risk; entries and exits stay, but for an order that becomes too small or an account that is ruined earlier.
    """
    dearer = [execution.scaled(factor) for factor in factors]
    walks = [run_backtest(candles, decisions, execution=costs, sizing=sizing, **market) for costs in dearer]
    return pd.DataFrame([_told(walk) for walk in walks], index=pd.Index(factors, name="cost_factor"), columns=list(_TOLD))


def break_even_cost_bps(result: BacktestResult) -> float:
    """Cost of a round trip, in basis points of the notional at entry, at which the mean net return of these fills is 0.

    The mean return before costs, funding paid: with the same entries, exits and units, a trade that cost this share of its
    notional would leave nothing on average. Compare with twice `cost_per_side_bps`. Negative where trades lose before any
    cost, NaN without trades.
    """
    trades = result.trades
    before = (trades["pnl"] + trades["costs"]) / (trades["units"] * trades["entry_price"])
    return 1e4 * expectancy(before)


def latency_penalised(
    candles: pd.DataFrame,
    decisions: pd.DataFrame,
    *,
    execution: ExecutionModel,
    sizing: Sizing,
    mean_ms: float,
    p90_ms: float,
    **market: Any,
) -> pd.DataFrame:
    """What is left when every order is late: rows `none`, `mean` and `p90`, indexed by `latency`.

    `latency_ms` of inference, without any delay in the first row and with the network of `execution` in the others, the numbers
    of the cost ladder, `delay_cost` in units of equity, and `penalised_pnl`. No entry is filled better for being late, but a
    smaller account may lose less later on: `penalised_pnl` is the smaller of the walk's and that of the walk without delay, so
    that a favourable drift is never credited.
    """
    at_once = replace(execution, latency_ms=0.0, network_ms=0.0)
    late = {"mean": replace(execution, latency_ms=mean_ms), "p90": replace(execution, latency_ms=p90_ms)}
    delays = {"none": at_once, **late}
    walks = {name: run_backtest(candles, decisions, execution=delay, sizing=sizing, **market) for name, delay in delays.items()}
    rows = [_told(walk) | {"delay_cost": float(walk.trades["delay_cost"].sum())} for walk in walks.values()]
    table = pd.DataFrame(rows, index=pd.Index(list(walks), name="latency"))
    table.insert(0, "latency_ms", [0.0, mean_ms, p90_ms])
    return table.assign(penalised_pnl=np.minimum(table["pnl"], walks["none"].metrics["pnl"]))


def _told(walk: BacktestResult) -> dict[str, float]:
    return {name: walk.metrics[name] for name in _TOLD}
