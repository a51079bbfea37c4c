"""Room 8 in Dagster: the verdict per coin, one asset check per criterion."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import dagster as dg
import pandas as pd

from crp_pipeline.backtest import BacktestResult, run_backtest
from crp_pipeline.controls import control_evidence, read_report
from crp_pipeline.defs.costs import latencies_ms
from crp_pipeline.defs.models import BASELINE, SELECTION
from crp_pipeline.defs.partitions import coin_check, coin_partitions
from crp_pipeline.defs.pictures import numbers, picture, table
from crp_pipeline.defs.storage import VERDICT
from crp_pipeline.defs.versions import version_from
from crp_pipeline.ensemble import Stack
from crp_pipeline.gate import Finding, Stage, Verdict, criteria, judge
from crp_pipeline.gate.challenge import Contender, challenge_evidence, challenge_sentence, recipe_key
from crp_pipeline.gate.costs import cost_data, cost_hashes
from crp_pipeline.gate.evidence import Candidate, measure
from crp_pipeline.gate.scores import calibration_of, scored
from crp_pipeline.gate.sentinels import sentinel_evidence
from crp_pipeline.gate.trials import head_to_tell, trial_evidence
from crp_pipeline.ledger import Ledger
from crp_pipeline.metrics import daily_returns
from crp_pipeline.places import Places
from crp_pipeline.provenance import (
    candidate_recipe,
    code_revision,
    conflicts,
    feeds_recipe,
    kind_of_market,
    lineage_of,
    made_by,
    recipe_hash,
    source_hash,
)
from crp_pipeline.registry import NOBODY, Registry, champion_of, fingerprint, ledger_head_of
from crp_pipeline.reporting.figures import calibration_figure
from crp_pipeline.reporting.gate import findings_figure
from crp_pipeline.reporting.verdicts import findings_table, win_rate_phrase
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import read_manifest


def assets(settings: PipelineSettings, places: Places) -> list[dg.AssetsDefinition]:
    """`gate` per coin."""
    coins = coin_partitions(settings)
    asked = criteria(settings.gate)

    @dg.asset(
        group_name="gate",
        kinds={"json"},
        partitions_def=coins,
        ins={name: dg.AssetIn(["models", name]) for name in (SELECTION, BASELINE)},
        deps=["controls"],
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
        sentinels: pd.DataFrame,
        shadow: pd.DataFrame,
    ) -> dg.MaterializeResult:
        """PROMOTE, SHADOW, REJECT, INSUFFICIENT_EVIDENCE or IMPOSSIBLE, with every number behind it."""
        coin = context.partition_key
        tables = (candles, features, labels, splits, selection, prior, ensemble)
        candidate = _candidate(*tables, backtest, comparison, (sentinels, shadow), settings, places)
        beside = beside_of(candidate, sentinels, shadow, settings.of(coin), places, tell=context.log.info)
        evidence = measure(candidate, settings.of(coin), beside=beside)
        verdict = judge(evidence, asked, subject=_subject(candidate, settings, places))
        context.log.info(f"{coin}: {verdict.outcome}, {verdict.reason}")
        return dg.MaterializeResult(
            value=verdict,
            data_version=version_from(json.dumps(verdict.to_dict(), sort_keys=True)),
            check_results=[_check(finding) for finding in verdict.findings],
            metadata=_metadata(verdict, candidate),
        )

    return [gate]


def _candidate(
    candles: pd.DataFrame,
    features: pd.DataFrame,
    labels: pd.DataFrame,
    splits: pd.DataFrame,
    selection: pd.DataFrame,
    prior: pd.DataFrame,
    decisions: pd.DataFrame,
    result: BacktestResult,
    comparison: pd.DataFrame,
    witnesses: tuple[pd.DataFrame, ...],
    settings: PipelineSettings,
    places: Places,
) -> Candidate:
    """The tables of a night and what was learned from them, with what was stored beside."""
    coin = candles.attrs["coin"]
    learned_from, costs = (candles, features, labels, splits, selection), cost_data(settings, coin)
    in_force = {**made_by(settings, coin), **cost_hashes(settings, coin, costs)}
    return Candidate(
        *learned_from,
        prior,
        decisions,
        Stack.load(places.stack(coin)),
        result,
        comparison,
        costs=costs,
        latency_p90_ms=latencies_ms(coin, settings, places)["p90_ms"],
        files={
            **places.candidate_files(coin, settings.roster),
            **feeds_recipe(settings),
            **kind_of_market(settings),
            **in_force,
        },
        witnesses=witnesses,
    )


def beside_of(
    candidate: Candidate,
    sentinels: pd.DataFrame,
    shadow: pd.DataFrame,
    settings: PipelineSettings,
    places: Places,
    *,
    tell: Callable[[str], None],
) -> dict[str, float]:
    """What sentinels, trial ledger, champion and control suite say about a candidate; told in sentences as well."""
    coin, book, ledger = candidate.candles.attrs["coin"], Registry(places.registry), Ledger(places.ledger)
    written = candidate.comparison.attrs["ledger"]
    heads = [head for head in (ledger_head_of(book, coin), written) if head is not None]
    daily = daily_returns(candidate.result.equity, initial=settings.of(coin).sizing.initial_equity)
    tried, ledger_told = trial_evidence(
        ledger, coin, daily, earlier_heads=heads, level=settings.gate.level, is_written=written is not None
    )
    recipe = recipe_key(_recipe(coin, settings, places), candidate.features.attrs["feature_set_id"])
    tonight = Contender(recipe, candidate.decisions)
    against = challenge_evidence(
        tonight,
        champion_of(book, coin),
        shadow,
        candidate.candles,
        candidate.labels,
        settings,
        backtest=partial(run_backtest, funding=candidate.costs.funding, finer=candidate.costs.finer),
    )
    controlled = control_evidence(read_report(places.root, source_hash()), now=settings.present())
    tell(ledger_told)
    tell(f"{coin}: {challenge_sentence(against)}")
    return {**sentinel_evidence(sentinels), **tried, **against, **controlled}


def _recipe(coin: str, settings: PipelineSettings, places: Places) -> str:
    """What the stored models were made by, one for the verdict, the card and the contender of the night."""
    return candidate_recipe(settings, coin, [read_manifest(places.bundle(coin, name)) for name in settings.roster])


def _subject(candidate: Candidate, settings: PipelineSettings, places: Places) -> dict[str, str]:
    """What the verdict is about."""
    coin = candidate.candles.attrs["coin"]
    models = {name: places.bundle(coin, name) for name in settings.roster}
    earlier = ledger_head_of(Registry(places.registry), coin)
    return {
        "coin": coin,
        "data_hash": lineage_of(candidate.candles)["candles"][0],
        "feature_set_id": candidate.features.attrs["feature_set_id"],
        "settings": recipe_hash(settings, coin),
        "recipe": _recipe(coin, settings, places),
        "candidate": fingerprint(models, places.stack(coin), decisions=places.decisions(coin)),
        "ledger": head_to_tell(Ledger(places.ledger), coin, earlier_head=earlier),
        "code": code_revision(),
        "source": source_hash(),
        "champion": Registry(places.registry).champion(coin) or NOBODY,
    }


def _metadata(verdict: Verdict, candidate: Candidate) -> dict[str, Any]:
    curve, error = calibration_of(scored(candidate.decisions, candidate.labels))
    return {
        "verdict": str(verdict.outcome),
        "reason": verdict.reason,
        "mismatched": ", ".join(conflicts(candidate.lineage)) or "none",
        "all_trades": win_rate_phrase(verdict.evidence),
        "high_tier": win_rate_phrase(verdict.evidence, prefix="high_tier_"),
        "picture": picture(findings_figure(verdict)),
        "calibration_picture": picture(calibration_figure(curve, error=error)),
        "findings": table(findings_table(verdict)),
        **numbers(verdict.evidence),
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
