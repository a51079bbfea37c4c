"""What was measured about a candidate: a flat set of named numbers, NaN where nothing could be said.

Every interval is for dependent data: accuracy counts independent labels, log-loss and trades are resampled in blocks.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crp_pipeline.backtest import BacktestResult, ZeroSkill, exit_table, zero_skill
from crp_pipeline.contracts import Tier, interval_length
from crp_pipeline.ensemble import Stack
from crp_pipeline.gate.comparison import with_exits
from crp_pipeline.gate.scores import calibration_of, directed, scored
from crp_pipeline.metrics import (
    block_bootstrap_interval,
    daily_returns,
    deflated_sharpe_ratio,
    payoff_ratio,
    probabilistic_sharpe_ratio,
    sharpe_ratio,
    tier_calibration_error,
    wilson_interval,
    win_rate,
)
from crp_pipeline.models.scoring import log_losses
from crp_pipeline.provenance import Lineage, conflicts, lineage_of, merged
from crp_pipeline.settings import GateConfig, PipelineSettings
from crp_pipeline.splits import folds_of, overlaps


@dataclass(frozen=True)
class Candidate:
    """Everything that a verdict is about: the tables of one coin and what was learned from them."""

    candles: pd.DataFrame
    features: pd.DataFrame
    labels: pd.DataFrame
    roles: pd.DataFrame
    selection: pd.DataFrame
    """What every fold's models and the final ones learned from."""
    prior: pd.DataFrame
    """Out-of-fold forecasts of the class prior."""
    decisions: pd.DataFrame
    stack: Stack
    result: BacktestResult
    comparison: pd.DataFrame
    files: Mapping[str, str]
    """Content hashes of the models, the stack and the feeds' settings as they are now, by their names in a lineage."""

    @property
    def lineage(self) -> Lineage:
        """Everything behind every ingredient, the files that would be promoted and the settings in force."""
        learned_from = (self.candles, self.features, self.labels, self.roles, self.selection)
        results = (self.prior, self.decisions, self.comparison, self.result.trades)
        made_from = [lineage_of(table) for table in (*learned_from, *results)]
        return merged(*made_from, {name: [found] for name, found in self.files.items()})


def measure(candidate: Candidate, settings: PipelineSettings) -> dict[str, float]:
    """Every number of a verdict, in the order of the stages; tables carry their lineage and leaks in `attrs`."""
    gate, seed = settings.gate, settings.seed
    chance, high_tier_chance = _chances(candidate, settings)
    return {
        **integrity_evidence(
            candidate.roles,
            candidate.labels,
            candidate.stack,
            leaking_features=candidate.features.attrs["leaking_features"],
            lineage=candidate.lineage,
        ),
        **forecast_evidence(
            candidate.decisions,
            candidate.prior,
            candidate.labels,
            horizon_days=settings.horizon * (interval_length(settings.interval) / pd.Timedelta(1, "D")),
            config=gate,
            seed=seed,
        ),
        **trading_evidence(candidate.result, chance, high_tier_chance, config=gate, seed=seed),
        **sharpe_evidence(candidate.result, candidate.comparison["daily_sharpe"]),
    }


def _chances(candidate: Candidate, settings: PipelineSettings) -> tuple[ZeroSkill, ZeroSkill]:
    """What chance makes of the same trades: of all of them, and of those on the high tier."""
    exits = exit_table(candidate.labels["volatility"], settings.horizon, settings.exits)
    decisions, trades = with_exits(candidate.decisions, exits), candidate.result.trades
    every, high = (
        zero_skill(
            candidate.result,
            candidate.candles,
            decisions,
            settings.execution,
            subset=subset,
            n_permutations=settings.gate.n_resamples,
            seed=settings.seed,
            level=settings.gate.level,
        )
        for subset in (None, (trades["tier"] == Tier.HIGH).to_numpy())
    )
    return every, high


def integrity_evidence(
    roles: pd.DataFrame, labels: pd.DataFrame, stack: Stack, *, leaking_features: int, lineage: Lineage
) -> dict[str, float]:
    """Faults that make every other number worthless; each must be nought.

    The purge is audited on the fold table that was used; an ingredient of which `lineage` knows two versions is mismatched.
    """
    audited = overlaps(folds_of(roles), pd.DatetimeIndex(labels.index), labels["label_end"])
    return {
        "overlapping_training_labels": float(len(audited)),
        "leaking_features": float(leaking_features),
        "late_stack_members": float(sum(member.learned_until >= member.in_office_from for member in stack.members)),
        "mismatched_ingredients": float(len(conflicts(lineage))) if lineage else math.nan,
    }


def forecast_evidence(
    decisions: pd.DataFrame,
    prior: pd.DataFrame,
    labels: pd.DataFrame,
    *,
    horizon_days: float,
    config: GateConfig,
    seed: int,
) -> dict[str, float]:
    """Skill and calibration of the decisions against labels.

    `effective_n` is the sum of the labels' average uniqueness. `accuracy_over_majority` is the lower bound of accuracy minus
    the share of the commonest class; `log_loss_gain` the lower bound of the log-loss saved against the class prior, from
    daily means resampled in blocks longer than the horizon.
    """
    table = scored(decisions, labels)
    effective_n = float(table["weight"].sum())
    accuracy = float(table["hit"].mean())
    hits = accuracy * effective_n if len(table) else 0.0
    accuracy_low, accuracy_high = wilson_interval(hits, effective_n, level=config.level)
    majority = float(table["outcome"].value_counts(normalize=True).max())
    gain_low, gain, gain_high = _log_loss_gain(decisions, prior, labels, horizon_days, config, seed)
    sides = directed(table)
    _, calibration_error = calibration_of(table)
    return {
        "effective_n": effective_n,
        "test_days": _days(decisions),
        "accuracy": accuracy,
        "accuracy_low": accuracy_low,
        "accuracy_high": accuracy_high,
        "majority_share": majority,
        "accuracy_over_majority": accuracy_low - majority,
        "log_loss_gain_mean": gain,
        "log_loss_gain": gain_low,
        "log_loss_gain_high": gain_high,
        "calibration_error": calibration_error,
        "tier_calibration_error": tier_calibration_error(sides["confidence"], sides["hit"], tiers=sides["tier"], weighting="n"),
        **_direction(sides, config),
        "directed_share": len(sides) / len(table) if len(table) else math.nan,
    }


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
    return {
        **{name: float(result.metrics[name]) for name in ("sharpe", "max_drawdown", "pnl", "exposure", "profit_factor")},
        **_win_rate(result.trades, chance, "", config),
        **_win_rate(high_tier, high_tier_chance, "high_tier_", config),
        "coverage": float(result.metrics["coverage"]),
        "high_tier_coverage": float(result.by_tier["coverage"][str(Tier.HIGH)]),
        "permutation_p": chance.p_value,
        "net_expectancy_bps": float(result.metrics["expectancy_bps"]),
        "net_expectancy_lower_bps": 1e4 * low,
        "net_expectancy_upper_bps": 1e4 * high,
    }


def sharpe_evidence(result: BacktestResult, trial_sharpes: "pd.Series[float]") -> dict[str, float]:
    """Whether the Sharpe ratio is more than luck, and more than the luck of the best of all trials.

    `trial_sharpes` are per-day Sharpe ratios of every candidate that was tried, the winner among them. Where
    there are several and not two that could be measured their spread is unknown, and so is the deflated ratio.
    """
    from scipy.stats import kurtosis, skew

    daily = daily_returns(result.equity)
    sharpe, n = sharpe_ratio(daily, periods_per_year=1), len(daily)
    shape = {"skew": float(skew(daily)), "kurtosis": float(kurtosis(daily, fisher=False))}
    n_trials, spread = len(trial_sharpes), float(trial_sharpes.var(ddof=1))
    trials = {"n_trials": n_trials, "trial_variance": 0.0 if n_trials == 1 else spread}
    is_known = n_trials > 0 and math.isfinite(trials["trial_variance"])
    return {
        "trials": float(n_trials),
        "probabilistic_sharpe_ratio": probabilistic_sharpe_ratio(sharpe, n, **shape),
        "deflated_sharpe_ratio": deflated_sharpe_ratio(sharpe, n, **shape, **trials) if is_known else math.nan,
    }


def _direction(sides: pd.DataFrame, config: GateConfig) -> dict[str, float]:
    """How often a side was right among the decisions and labels that both have one: skill in direction, not in volatility."""
    both = sides[sides["outcome"] != 0]
    effective_n = float(both["weight"].sum())
    accuracy = float(both["hit"].mean())
    low, high = wilson_interval(accuracy * effective_n, effective_n, level=config.level) if len(both) else (math.nan, math.nan)
    return {
        "directional_accuracy": accuracy,
        "directional_accuracy_low": low,
        "directional_accuracy_high": high,
        "directional_effective_n": effective_n,
    }


def _win_rate(trades: pd.DataFrame, chance: ZeroSkill, prefix: str, config: GateConfig) -> dict[str, float]:
    n, wins = float(len(trades)), float((trades["pnl"] > 0).sum())
    low, high = wilson_interval(wins, n, level=config.level)
    return {
        f"{prefix}trades": n,
        f"{prefix}win_rate": win_rate(trades["pnl"]),
        f"{prefix}win_rate_low": low,
        f"{prefix}win_rate_high": high,
        f"{prefix}zero_skill_win_rate": chance.win_rate,
        f"{prefix}payoff_ratio": payoff_ratio(trades["pnl"]),
    }


def _log_loss_gain(
    decisions: pd.DataFrame,
    prior: pd.DataFrame,
    labels: pd.DataFrame,
    horizon_days: float,
    config: GateConfig,
    seed: int,
) -> tuple[float, float, float]:
    saved = (log_losses(prior, labels) - log_losses(decisions, labels)).dropna()
    if saved.empty:
        return math.nan, math.nan, math.nan
    daily = saved.groupby(pd.DatetimeIndex(saved.index).floor("D")).mean().to_numpy()
    block = max(2 * math.ceil(horizon_days), 2)
    low, high = block_bootstrap_interval(
        daily, np.mean, block=block, level=config.level, n_resamples=config.n_resamples, seed=seed
    )
    return low, float(daily.mean()), high


def _days(decisions: pd.DataFrame) -> float:
    """UTC days on which something was decided."""
    decided = pd.DatetimeIndex(decisions.index[decisions["confidence"].notna()])
    return float(decided.floor("D").nunique())
