"""How much dearer or later the same decisions could have been traded before nothing is left.

Reruns take `candles`, `decisions`, `execution` and `sizing` as `run_backtest` does, and hand it `market` as given: settled
funding and finer candles, where there are any.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from crp_pipeline.backtest.result import BacktestResult, run_backtest
from crp_pipeline.metrics import expectancy
from crp_pipeline.settings import ExecutionModel, Sizing

COST_FACTORS = (1.0, 1.5, 2.0, 3.0)
LONGEST_DELAY_MS = 3_600_000.0
"""An hour, the longest delay that an execution model can have."""
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
    walks = cost_walks(candles, decisions, execution=execution, sizing=sizing, factors=factors, **market)
    return ladder_of(walks)


def cost_walks(
    candles: pd.DataFrame,
    decisions: pd.DataFrame,
    *,
    execution: ExecutionModel,
    sizing: Sizing,
    factors: tuple[float, ...] = COST_FACTORS,
    **market: Any,
) -> dict[float, BacktestResult]:
    """The backtest with every cost `factor` times as high, by factor."""
    dearer = {factor: execution.scaled(factor) for factor in factors}
    return {
        factor: run_backtest(candles, decisions, execution=costs, sizing=sizing, **market) for factor, costs in dearer.items()
    }


def ladder_of(walks: Mapping[float, BacktestResult]) -> pd.DataFrame:
    """`cost_ladder` from walks that were taken: one row per factor."""
    return pd.DataFrame(
        [_told(walk) for walk in walks.values()], index=pd.Index(list(walks), name="cost_factor"), columns=list(_TOLD)
    )


def equity_by_cost(walks: Mapping[float, BacktestResult]) -> pd.DataFrame:
    """Equity at every close, one column per factor of the costs, named `x1`, `x1.5` ..."""
    return pd.DataFrame({f"x{factor:g}": walk.equity for factor, walk in walks.items()})


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
    p90_ms: float,
    mean_ms: float | None = None,
    **market: Any,
) -> pd.DataFrame:
    """What is left when every order is late: rows `none`, `mean` where it is given, and `p90`, indexed by `latency`.

    `latency_ms` before the network, without any delay in the first row, the numbers of the cost ladder, `delay_cost` in units
    of equity, `penalised_pnl` and `penalised_expectancy_bps`. No entry is filled better for being late, but a smaller account
    may lose less later on, and another walk trades other bars: the penalised numbers are the smaller of the walk's and of that
    without delay, so that a favourable drift is never credited. `mean` draws the network of `execution`, `p90` is
    `slowest_tenth`.
    """
    delays = {"none": replace(execution, latency_ms=0.0, network_ms=0.0)}
    if mean_ms is not None:
        delays["mean"] = replace(execution, latency_ms=mean_ms)
    delays["p90"] = slowest_tenth(execution, p90_ms)
    walks = [run_backtest(candles, decisions, execution=delay, sizing=sizing, **market) for delay in delays.values()]
    rows = [
        {"latency_ms": delay.latency_ms, **_told(walk), "delay_cost": float(walk.trades["delay_cost"].sum())}
        for delay, walk in zip(delays.values(), walks, strict=True)
    ]
    table, at_once = pd.DataFrame(rows, index=pd.Index(list(delays), name="latency")), rows[0]
    penalised = {f"penalised_{name}": np.minimum(table[name], at_once[name]) for name in ("pnl", "expectancy_bps")}
    return table.assign(**penalised)


def slowest_tenth(execution: ExecutionModel, p90_ms: float) -> ExecutionModel:
    """Every order as late as the slowest tenth of the inferences and the slowest tenth of the ways to the exchange.

    `latency_ms` of the model *is* an inference time, so the larger of it and the measured `p90_ms` counts, not their sum. The
    network is exponential, and nine in ten of its draws stay below ln(10) times its mean: that is on every order, undrawn.
    """
    late = max(execution.latency_ms, p90_ms) + math.log(10) * execution.network_ms
    return replace(execution, latency_ms=min(late, LONGEST_DELAY_MS), network_ms=0.0)


def _told(walk: BacktestResult) -> dict[str, float]:
    return {name: walk.metrics[name] for name in _TOLD}
