"""What was measured about a candidate: a flat set of named numbers, NaN where nothing could be said.

Every interval is for dependent data: accuracy counts independent labels, log-loss and trades are resampled in blocks.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crp_pipeline.backtest import BacktestResult, CostData, ZeroSkill, break_even_cost_bps, exit_table, zero_skill
from crp_pipeline.backtest.rules import rules_evidence
from crp_pipeline.contracts import Tier
from crp_pipeline.ensemble import Stack
from crp_pipeline.gate.comparison import with_exits
from crp_pipeline.gate.economics import stress_evidence, trading_evidence
from crp_pipeline.gate.feasibility import feasibility
from crp_pipeline.gate.house import house_sentinels
from crp_pipeline.gate.scores import block_days, calibration_of, directed, horizon_days, scored
from crp_pipeline.metrics import (
    block_bootstrap_interval,
    diebold_mariano,
    tier_calibration_error,
    tier_calibration_floor,
    wilson_interval,
)
from crp_pipeline.models import quarantined_in
from crp_pipeline.models.scoring import log_losses
from crp_pipeline.provenance import Lineage, conflicts, lineage_of, merged
from crp_pipeline.settings import GateConfig, PipelineSettings, PropFirmRules
from crp_pipeline.splits import folds_of, overlaps

CHALLENGE_DAYS = 365
"""Days after which a challenge on resampled days counts as undecided."""
FEASIBLE = ("oracle_win_rate", "coin_flip_win_rate", "always_long_win_rate", "break_even_win_rate", "break_even_accuracy")
"""Numbers of the feasibility panel that stand beside a win rate."""


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
    costs: CostData
    """Settled funding and finer candles, as the backtest had them."""
    latency_p90_ms: float
    """Time from features to forecast that nine in ten inferences of all models together keep."""
    files: Mapping[str, str]
    """Content hashes of models, stack, costs, settings and code as they are now, by their names in a lineage."""
    witnesses: tuple[pd.DataFrame, ...] = ()
    """Tables of others whose word counts in the verdict, such as the sentinels: they must be about this very candidate."""

    @property
    def lineage(self) -> Lineage:
        """Everything behind every ingredient and every witness, what would be promoted, settings and code in force."""
        learned_from = (self.candles, self.features, self.labels, self.roles, self.selection)
        results = (self.prior, self.decisions, self.comparison, self.result.trades)
        made_from = [lineage_of(table) for table in (*learned_from, *results, *self.witnesses)]
        return merged(*made_from, {name: [found] for name, found in self.files.items()})


def measure(candidate: Candidate, settings: PipelineSettings, *, beside: Mapping[str, float]) -> dict[str, float]:
    """Every number of a verdict; tables carry their lineage and leaks in `attrs`.

    `beside` is what others found about the same candidate: sentinels, the trial ledger, the champion, the control suite.
    """
    gate, seed = settings.gate, settings.seed
    traded = with_exits(candidate.decisions, exit_table(candidate.labels["volatility"], settings.horizon, settings.exits))
    challenged = _challenge(candidate.result, settings, settings.prop_firm)
    chance, high_tier_chance = _chances(candidate, traded, settings)
    measured = {
        **integrity_evidence(
            candidate.roles,
            candidate.labels,
            candidate.stack,
            leaking_features=candidate.features.attrs["leaking_features"],
            lineage=candidate.lineage,
        ),
        "repaired_share": float(candidate.candles["is_repaired"].mean()),
        "confidence_level": gate.level,
        "resamples": float(gate.n_resamples),
        **forecast_evidence(
            candidate.decisions,
            candidate.prior,
            candidate.labels,
            stack=candidate.stack,
            horizon_days=horizon_days(settings),
            config=gate,
            seed=seed,
        ),
        **_diebold_mariano(candidate, settings.horizon),
        **trading_evidence(candidate.result, chance, high_tier_chance, config=gate, seed=seed),
        "break_even_cost_bps": break_even_cost_bps(candidate.result),
        **stress_evidence(
            candidate.candles,
            traded,
            execution=settings.execution,
            sizing=settings.sizing,
            data=candidate.costs,
            latency_p90_ms=candidate.latency_p90_ms,
            config=gate,
        ),
        **challenged,
        **_house(candidate, challenged, settings),
    }
    return {**measured, **_feasibility(candidate, measured, settings), **beside}


def _diebold_mariano(candidate: Candidate, horizon: int) -> dict[str, float]:
    """Whether the class prior loses more than the decisions do, bar by bar, as overlapping labels allow to say."""
    losses = pd.concat(
        [log_losses(frame, candidate.labels) for frame in (candidate.prior, candidate.decisions)], axis=1
    ).dropna()
    prior, own = losses.to_numpy().T
    statistic, p_value = diebold_mariano(prior, own, horizon=horizon + 1)
    return {"diebold_mariano": statistic, "diebold_mariano_p": p_value}


def _house(candidate: Candidate, challenged: Mapping[str, float], settings: PipelineSettings) -> dict[str, float]:
    """What the defaults say of plausibility, quarantine and the prop firm, whatever the settings ask for."""
    hidden, usual = quarantined_in(candidate.selection), PropFirmRules()
    by_usual = challenged if settings.prop_firm == usual else _challenge(candidate.result, settings, usual)
    return {
        **house_sentinels(candidate.features, candidate.labels, candidate.decisions, hidden=hidden, settings=settings),
        **{f"house_{name}": by_usual[name] for name in ("challenge_breaches", "challenge_pass_probability")},
    }


def _challenge(result: BacktestResult, settings: PipelineSettings, rules: PropFirmRules) -> dict[str, float]:
    """The prop firm's challenge on the path as it was, and on days drawn in blocks that outlast a position."""
    return rules_evidence(
        result.equity,
        result.worst_equity,
        result.trades,
        rules,
        initial=settings.sizing.initial_equity,
        block_days=block_days(horizon_days(settings)),
        n_paths=settings.gate.n_resamples,
        max_days=CHALLENGE_DAYS,
        seed=settings.seed,
    )


def _feasibility(candidate: Candidate, measured: Mapping[str, float], settings: PipelineSettings) -> dict[str, float]:
    """What a perfect oracle wins on the decided bars.

    The oracle acts on as many bars as the decisions whose win rate is asked for, and has the benefit of the doubt: the upper
    end of its interval counts, and its trades where more of them win. A bar that no forecast covers takes no side. Where no
    such decision was taken nothing is impossible yet.
    """
    bars = candidate.candles.loc[candidate.result.equity.index]
    panel = feasibility(
        bars,
        horizon=settings.horizon,
        costs=settings.execution,
        exits=settings.exits,
        volatility=candidate.labels["volatility"].loc[bars.index],
        level=settings.gate.level,
        data=candidate.costs,
    )
    decided = float(candidate.decisions["confidence"].notna().sum()) / len(bars)
    coverage = decided * measured["high_tier_coverage" if settings.gate.win_rate_of == "high" else "coverage"]
    return {
        **{name: float(getattr(panel, name)) for name in FEASIBLE},
        "oracle_ceiling": panel.highest_at(coverage) if coverage > 0 else 1.0,
    }


def _chances(candidate: Candidate, traded: pd.DataFrame, settings: PipelineSettings) -> tuple[ZeroSkill, ZeroSkill]:
    """What chance makes of the same trades: of all of them, and of those on the high tier."""
    every, high = (
        zero_skill(
            candidate.result,
            candidate.candles,
            traded,
            settings.execution,
            subset=subset,
            n_permutations=settings.gate.n_resamples,
            seed=settings.seed,
            level=settings.gate.level,
            data=candidate.costs,
        )
        for subset in (None, (candidate.result.trades["tier"] == Tier.HIGH).to_numpy())
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
    stack: Stack,
    horizon_days: float,
    config: GateConfig,
    seed: int,
) -> dict[str, float]:
    """Skill and calibration of the decisions of the stack against labels.

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
        **_tier_calibration(sides, stack, config, seed),
        **_direction(sides, config),
        "directed_share": len(sides) / len(table) if len(table) else math.nan,
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


def _tier_calibration(sides: pd.DataFrame, stack: Stack, config: GateConfig, seed: int) -> dict[str, float]:
    """How far the tiers' confidences are from their hit rates, and how far chance alone would put honest ones.

    Chance is that of the outcomes and that of the slice which the member in office was calibrated on. A stricter level than the
    house's widens what chance explains and would loosen the criterion: the house's holds then.
    """
    told = {"confidence": sides["confidence"], "hit": sides["hit"], "tiers": sides["tier"]}
    error, alike, worst = (tier_calibration_error(**told, weighting=weighting) for weighting in ("n", "none", "max"))
    share = float(sides["weight"].mean()) if len(sides) else 1.0
    floor = tier_calibration_floor(
        sides["confidence"],
        sides["tier"],
        weighting="n",
        calibration_rows=stack.calibration_rows(pd.DatetimeIndex(sides.index)),
        effective_share=share,
        level=min(config.level, GateConfig().level),
        n_draws=config.n_resamples,
        seed=seed,
    )
    return {
        "tier_calibration_error": error,
        "tier_calibration_error_unweighted": alike,
        "tier_calibration_error_max": worst,
        "tier_calibration_floor": floor.upper,
        "tier_calibration_excess": error - floor.upper,
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
    low, high = block_bootstrap_interval(
        daily, np.mean, block=block_days(horizon_days), level=config.level, n_resamples=config.n_resamples, seed=seed
    )
    return low, float(daily.mean()), high


def _days(decisions: pd.DataFrame) -> float:
    """UTC days on which something was decided."""
    decided = pd.DatetimeIndex(decisions.index[decisions["confidence"].notna()])
    return float(decided.floor("D").nunique())
