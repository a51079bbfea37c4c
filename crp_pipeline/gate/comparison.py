"""Every candidate of the night on the same bars, costs and engine, baselines on top."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from crp_pipeline.backtest import (
    BacktestResult,
    CostData,
    ExecutionModel,
    Sizing,
    ZeroSkill,
    exit_table,
    run_backtest,
    zero_skill,
)
from crp_pipeline.contracts import PROBABILITIES, Bools
from crp_pipeline.gate.scores import scored
from crp_pipeline.metrics import (
    daily_returns,
    dependent_share_interval,
    sharpe_ratio,
    stepm_survivors,
    superior_predictive_ability,
    wilson_interval,
)
from crp_pipeline.models.scoring import log_losses
from crp_pipeline.settings import GateConfig, PipelineSettings


def plain_decisions(forecast: pd.DataFrame) -> pd.DataFrame:
    """The most probable class of each forecast as a decision, without tiers."""
    probabilities = forecast[list(PROBABILITIES)].to_numpy()
    known = ~np.isnan(probabilities).any(axis=1)
    chosen = np.where(known, np.nan_to_num(probabilities).argmax(axis=1) - 1, 0)
    confidence = np.where(known, np.nan_to_num(probabilities).max(axis=1), np.nan)
    return forecast[list(PROBABILITIES)].assign(signal=chosen, confidence=confidence)


def rules(candles: pd.DataFrame, *, horizon: int) -> dict[str, pd.DataFrame]:
    """Decisions that need no model: always long, and the direction of the last `horizon` bars."""
    nothing = pd.DataFrame(np.nan, index=candles.index, columns=list(PROBABILITIES))
    past = np.sign(candles["close"].pct_change(horizon).fillna(0.0)).astype(np.int64)
    return {
        "always_long": nothing.assign(signal=1, confidence=1.0),
        "last_move": nothing.assign(signal=past, confidence=1.0),
    }


def compare(
    candidates: Mapping[str, pd.DataFrame],
    candles: pd.DataFrame,
    labels: pd.DataFrame,
    exits: pd.DataFrame,
    *,
    execution: ExecutionModel,
    sizing: Sizing,
    config: GateConfig,
    seed: int,
    data: CostData | None = None,
) -> pd.DataFrame:
    """One row per candidate, in the order given: forecast scores and a backtest on the bars that all of them decided.

    `candidates` maps names to decisions; `exits` holds `stop_distance` and `target_distance` per bar. A win rate stands beside
    its interval on the effective number of trades, both numbers, the zero-skill rate of the same entries and exits, its payoff
    ratio and coverage. `data` holds settled funding and finer candles.
    """
    data = data or CostData()
    decided = _decided_by_all(candidates)
    rows = []
    for name, frame in candidates.items():
        decisions = with_exits(frame.loc[decided], exits)
        result = run_backtest(candles, decisions, execution=execution, sizing=sizing, funding=data.funding, finer=data.finer)
        chance = zero_skill(
            result, candles, decisions, execution, n_permutations=config.n_resamples, seed=seed, level=config.level, data=data
        )
        rows.append(
            {"candidate": name, **_forecast(frame.loc[decided], labels, config), **_economics(result, chance, config, sizing)}
        )
    return pd.DataFrame(rows)


def daily_net_returns(
    candidates: Mapping[str, pd.DataFrame],
    candles: pd.DataFrame,
    exits: pd.DataFrame,
    *,
    execution: ExecutionModel,
    sizing: Sizing,
    data: CostData | None = None,
) -> pd.DataFrame:
    """What each candidate earned per UTC day on the bars that all of them decided: (days, candidates), for the ledger."""
    decided, data = _decided_by_all(candidates), data or CostData()

    def earned(frame: pd.DataFrame) -> "pd.Series[float]":
        decisions = with_exits(frame.loc[decided], exits)
        result = run_backtest(candles, decisions, execution=execution, sizing=sizing, funding=data.funding, finer=data.finer)
        return daily_returns(result.equity, initial=sizing.initial_equity)

    return pd.DataFrame({name: earned(frame) for name, frame in candidates.items()}).rename_axis("day")


def plain_net_returns(
    forecasts: Mapping[str, pd.DataFrame],
    candles: pd.DataFrame,
    labels: pd.DataFrame,
    *,
    settings: PipelineSettings,
    data: CostData | None = None,
) -> pd.DataFrame:
    """`daily_net_returns` of the plain decisions of each forecast, under the coin's own `settings`."""
    exits = exit_table(labels["volatility"], settings.horizon, settings.exits)
    decisions = {name: plain_decisions(forecast) for name, forecast in forecasts.items()}
    return daily_net_returns(decisions, candles, exits, execution=settings.execution, sizing=settings.sizing, data=data)


def luck_of_the_best(
    daily_returns: pd.DataFrame, *, block: int, config: GateConfig, seed: int
) -> tuple[dict[str, float], list[str]]:
    """Whether the best of several candidates beats holding nothing, all of them considered, and which of them do.

    `daily_returns` are net, (days, candidates). The p-values are those of the test for superior predictive ability (Hansen
    2005), the names those that survive StepM (Romano and Wolf 2005).
    """
    nothing, returns = np.zeros(len(daily_returns)), daily_returns.to_numpy()
    n = config.n_resamples
    ability = superior_predictive_ability(nothing, returns, block=block, n_resamples=n, seed=seed)
    kept = stepm_survivors(nothing, returns, block=block, level=config.level, n_resamples=n, seed=seed)
    told = {"spa_p_lower": ability.lower, "spa_p": ability.consistent, "spa_p_upper": ability.upper}
    return told, [str(daily_returns.columns[place]) for place in kept]


def with_exits(decisions: pd.DataFrame, exits: pd.DataFrame) -> pd.DataFrame:
    """The bars that were decided, with where stop and target lie; no side is taken where that is unknown."""
    decided = decisions[decisions["confidence"].notna()].join(exits)
    return decided.assign(signal=decided["signal"].where(decided["stop_distance"].notna(), 0))


def _decided_by_all(candidates: Mapping[str, pd.DataFrame]) -> Bools:
    """(n_bars,) where every candidate decided."""
    return np.asarray(np.logical_and.reduce([frame["confidence"].notna() for frame in candidates.values()]))


def _forecast(decisions: pd.DataFrame, labels: pd.DataFrame, config: GateConfig) -> dict[str, float]:
    here = labels.loc[decisions.index]
    table = scored(decisions, here)
    n = float(table["weight"].sum())
    accuracy = float(table["hit"].mean())
    low, high = wilson_interval(accuracy * n if len(table) else 0.0, n, level=config.level)
    losses = log_losses(decisions, here)
    log_loss = float(losses.mean()) if len(losses) else float("nan")
    return {"log_loss": log_loss, "accuracy": accuracy, "accuracy_low": low, "accuracy_high": high, "effective_n": n}


def _economics(result: BacktestResult, chance: ZeroSkill, config: GateConfig, sizing: Sizing) -> dict[str, float]:
    metrics, daily = result.metrics, daily_returns(result.equity, initial=sizing.initial_equity)
    effective_n, low, high = dependent_share_interval(result.trades["pnl"] > 0, level=config.level)
    return {
        "trades": metrics["trades"],
        "effective_trades": effective_n,
        "win_rate": metrics["win_rate"],
        "win_rate_low": low,
        "win_rate_high": high,
        "zero_skill_win_rate": chance.win_rate,
        "payoff_ratio": metrics["payoff_ratio"],
        "coverage": metrics["coverage"],
        "expectancy_bps": metrics["expectancy_bps"],
        "permutation_p": chance.p_value,
        "max_drawdown": metrics["max_drawdown"],
        "sharpe": metrics["sharpe"],
        "daily_sharpe": sharpe_ratio(daily, periods_per_year=1),
    }
