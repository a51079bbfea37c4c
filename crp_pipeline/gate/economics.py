"""What the trades of a candidate earned, what chance would have earned with them, and how much worse the world may be."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from crp_pipeline.backtest import BacktestResult, CostData, ExecutionModel, Sizing, ZeroSkill, latency_penalised, run_backtest
from crp_pipeline.contracts import Tier
from crp_pipeline.metrics import block_bootstrap_interval, dependent_share_interval, payoff_ratio, win_rate
from crp_pipeline.settings import GateConfig


def trading_evidence(
    result: BacktestResult, chance: ZeroSkill, high_tier_chance: ZeroSkill, *, config: GateConfig, seed: int
) -> dict[str, float]:
    """Economics of the backtest: win rates with interval and zero-skill rate, and the mean net return with its lower bound."""
    returns = result.trades["return_net"].to_numpy()
    # a trade's result depends little on the ones before it; cube-root blocks catch what volatility clustering leaves
    block = max(round(len(returns) ** (1 / 3)), 1)
    low, high = block_bootstrap_interval(
        returns, np.mean, block=block, level=config.level, n_resamples=config.n_resamples, seed=seed
    )
    high_tier = result.trades[result.trades["tier"] == Tier.HIGH]
    win_rates = {
        **_win_rate(result.trades, chance, "", config),
        **_win_rate(high_tier, high_tier_chance, "high_tier_", config),
    }
    return {
        **{name: float(result.metrics[name]) for name in ("sharpe", "max_drawdown", "pnl", "exposure", "profit_factor")},
        **win_rates,
        **_gated(win_rates, config),
        "coverage": float(result.metrics["coverage"]),
        "high_tier_coverage": float(result.by_tier["coverage"][str(Tier.HIGH)]),
        "permutation_p": chance.p_value,
        "net_expectancy_bps": float(result.metrics["expectancy_bps"]),
        "net_expectancy_lower_bps": 1e4 * low,
        "net_expectancy_upper_bps": 1e4 * high,
    }


def stress_evidence(
    candles: pd.DataFrame,
    decisions: pd.DataFrame,
    *,
    execution: ExecutionModel,
    sizing: Sizing,
    data: CostData,
    latency_p90_ms: float,
    config: GateConfig,
) -> dict[str, float]:
    """Mean net return per trade of the same decisions under dearer and later execution, in bps.

    `stressed`: every cost times `stress_cost_factor`. `late`: each order as late as `backtest.stress.slowest_tenth` says, and
    no better than without any delay; `penalised_pnl` is what such orders earn.
    """
    traded: dict[str, Any] = {"sizing": sizing, "funding": data.funding, "finer": data.finer}
    dearer = run_backtest(candles, decisions, execution=execution.scaled(config.stress_cost_factor), **traded)
    late = latency_penalised(candles, decisions, execution=execution, p90_ms=latency_p90_ms, **traded)
    return {
        "stressed_expectancy_bps": float(dearer.metrics["expectancy_bps"]),
        "late_expectancy_bps": float(late["penalised_expectancy_bps"].loc["p90"]),
        "penalised_pnl": float(late["penalised_pnl"].loc["p90"]),
        "latency_p90_ms": latency_p90_ms,
    }


def _gated(win_rates: Mapping[str, float], config: GateConfig) -> dict[str, float]:
    """The win rate that the user's threshold is about, and of how many trades it is."""
    prefix = {"high": "high_tier_", "all": ""}[config.win_rate_of]
    bound = {"point": "win_rate", "lower": "win_rate_low"}[config.win_rate_bound]
    return {"gated_trades": win_rates[f"{prefix}trades"], "gated_win_rate": win_rates[f"{prefix}{bound}"]}


def _win_rate(trades: pd.DataFrame, chance: ZeroSkill, prefix: str, config: GateConfig) -> dict[str, float]:
    effective_n, low, high = dependent_share_interval(trades["pnl"] > 0, level=config.level)
    return {
        f"{prefix}trades": float(len(trades)),
        f"{prefix}effective_trades": effective_n,
        f"{prefix}win_rate": win_rate(trades["pnl"]),
        f"{prefix}win_rate_low": low,
        f"{prefix}win_rate_high": high,
        f"{prefix}zero_skill_win_rate": chance.win_rate,
        f"{prefix}payoff_ratio": payoff_ratio(trades["pnl"]),
    }
