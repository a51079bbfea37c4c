"""Room 8 in Dagster: the verdict per coin, one asset check per criterion."""

from typing import Any

import dagster as dg
import pandas as pd

from crp_pipeline.backtest import BacktestResult
from crp_pipeline.defs.models import BASELINE, SELECTION
from crp_pipeline.defs.partitions import coin_check, coin_partitions
from crp_pipeline.defs.pictures import numbers, picture, table
from crp_pipeline.defs.storage import VERDICT, Places
from crp_pipeline.ensemble import Stack
from crp_pipeline.gate import Finding, Stage, Verdict, criteria, judge
from crp_pipeline.gate.evidence import Candidate, measure
from crp_pipeline.gate.scores import calibration_of, scored
from crp_pipeline.provenance import code_revision, conflicts, feeds_recipe, lineage_of, recipe_hash
from crp_pipeline.registry import fingerprint
from crp_pipeline.reporting.figures import calibration_figure
from crp_pipeline.reporting.verdicts import findings_table, win_rate_phrase
from crp_pipeline.settings import PipelineSettings


def assets(settings: PipelineSettings, places: Places) -> list[dg.AssetsDefinition]:
    """`gate` per coin."""
    coins = coin_partitions(settings)
    asked = criteria(settings.gate)

    @dg.asset(
        group_name="gate",
        kinds={"json"},
        partitions_def=coins,
        ins={name: dg.AssetIn(["models", name]) for name in (SELECTION, BASELINE)},
        dagster_type=VERDICT,
        check_specs=[coin_check(criterion.name, "gate", coins, criterion.meaning) for criterion in asked],
    )
    def gate(
        context: dg.AssetExecutionContext,
        candles: pd.DataFrame,
        features: pd.DataFrame,
        labels: pd.DataFrame,
        splits: pd.DataFrame,
        selection: pd.DataFrame,
        prior: pd.DataFrame,
        ensemble: pd.DataFrame,
        backtest: BacktestResult,
        comparison: pd.DataFrame,
    ) -> dg.MaterializeResult:
        """PROMOTE, REJECT or INSUFFICIENT_EVIDENCE, with every number behind it."""
        coin = context.partition_key
        stack = Stack.load(places.stack(coin))
        files = {**places.candidate_files(coin, settings.roster), **feeds_recipe(settings)}
        learned_from = (candles, features, labels, splits, selection)
        candidate = Candidate(*learned_from, prior, ensemble, stack, backtest, comparison, files)
        verdict = judge(measure(candidate, settings), asked, subject=_subject(candidate, settings, places))
        context.log.info(f"{coin}: {verdict.outcome}, {verdict.reason}")
        return dg.MaterializeResult(
            value=verdict,
            check_results=[_check(finding) for finding in verdict.findings],
            metadata=_metadata(verdict, candidate),
        )

    return [gate]


def _subject(candidate: Candidate, settings: PipelineSettings, places: Places) -> dict[str, str]:
    """What the verdict is about."""
    coin = candidate.candles.attrs["coin"]
    return {
        "coin": coin,
        "data_hash": lineage_of(candidate.candles)["candles"][0],
        "feature_set_id": candidate.features.attrs["feature_set_id"],
        "recipe": recipe_hash(settings),
        "candidate": fingerprint({name: places.bundle(coin, name) for name in settings.roster}, places.stack(coin)),
        "code": code_revision(),
    }


def _metadata(verdict: Verdict, candidate: Candidate) -> dict[str, Any]:
    curve, error = calibration_of(scored(candidate.decisions, candidate.labels))
    return {
        "verdict": str(verdict.outcome),
        "reason": verdict.reason,
        "mismatched": ", ".join(conflicts(candidate.lineage)) or "none",
        "all_trades": win_rate_phrase(verdict.evidence),
        "high_tier": win_rate_phrase(verdict.evidence, prefix="high_tier_"),
        **numbers(verdict.evidence),
        "findings": table(findings_table(verdict)),
        "picture": picture(calibration_figure(curve, error=error)),
    }


def _check(finding: Finding) -> dg.AssetCheckResult:
    broken = finding.criterion.stage is Stage.INTEGRITY
    return dg.AssetCheckResult(
        check_name=finding.criterion.name,
        passed=finding.passed,
        severity=dg.AssetCheckSeverity.ERROR if broken else dg.AssetCheckSeverity.WARN,
        description=finding.sentence,
        metadata={
            "value": finding.value,
            "threshold": finding.criterion.threshold,
            "stage": str(finding.criterion.stage),
        },
    )
