"""Beside room 9 in Dagster: whether today is still what the champion learned from, and whether it keeps what it promised.

By night after the champion has been settled, and at any hour by itself. A check of a measure that is unknown holds nothing
against the champion; its description says what is missing, its metadata `state` that it is unknown.
"""

from math import nan
from typing import cast

import dagster as dg
import pandas as pd

from crp_pipeline.defs.partitions import coin_check, coin_partitions
from crp_pipeline.defs.pictures import numbers, picture, table
from crp_pipeline.defs.versions import version_from
from crp_pipeline.drift import (
    SUMMARIES,
    DriftReport,
    Evidence,
    Market,
    Reading,
    State,
    fall_back,
    gather_evidence,
    live_facts,
    measure,
    save_report,
)
from crp_pipeline.drift.outcomes import no_outcomes
from crp_pipeline.drift.report import ALL, CALIBRATION, DRAWDOWN, DRIFTED_SHARE, FORECAST_SHIFT, HIT_RATE, RECIPE, VERSION
from crp_pipeline.features import ready_rows
from crp_pipeline.gate.costs import cost_data
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry
from crp_pipeline.reporting.drift import drift_figure, has_values
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import frame_hash

TOLD = 30
"""Rows of the report in a table of the page."""
MEANINGS = {
    (DRIFTED_SHARE, ALL): ("features_stable", "What the forecasts are made of is what the champion learned from."),
    (FORECAST_SHIFT, ALL): ("forecasts_stable", "Forecasts are spread as they were out of fold."),
    (CALIBRATION, VERSION): ("calibrated_live", "Confidences come true as they did out of fold."),
    (HIT_RATE, VERSION): ("hit_rate_as_promised", "Hits are no rarer than the confidences promised."),
    (HIT_RATE, RECIPE): (
        "recipe_hit_rate_as_promised",
        "Over the whole reign of its recipe, too, hits are no rarer than promised.",
    ),
    (DRAWDOWN, VERSION): ("drawdown_within_the_past", "Live equity falls no deeper than resampled past trades did."),
}
"""Name and meaning of the check of each measure and subject that a rule asks about."""
CHECKS = {MEANINGS[pair][0]: pair for pair in SUMMARIES}


def assets(settings: PipelineSettings, places: Places) -> list[dg.AssetsDefinition]:
    """`drift` per coin."""
    coins = coin_partitions(settings)

    # tonight's champion is settled before it is looked at, and no rollback comes between a verdict and its promotion
    @dg.asset(
        group_name="drift",
        kinds={"parquet"},
        partitions_def=coins,
        deps=["registry"],
        required_resource_keys={"io_manager"},
        dagster_type=cast("dg.DagsterType", dg.Nothing),
        check_specs=[coin_check(name, "drift", coins, MEANINGS[pair][1]) for name, pair in CHECKS.items()],
    )
    def drift(
        context: dg.AssetExecutionContext, candles: pd.DataFrame, features: pd.DataFrame, labels: pd.DataFrame
    ) -> dg.MaterializeResult:
        """The champion's inputs, forecasts, calibration and live results against what it learned from and promised."""
        coin, now = context.partition_key, settings.present()
        # a filled-in bar tells nothing of the market
        ready = features[ready_rows(candles) & ~candles["is_repaired"].to_numpy()]
        market = Market(candles, labels, cost_data(settings, coin))
        evidence = gather_evidence(places, coin, ready, market, settings, now=now)
        report = measure(coin, evidence, settings.drift, now=now, seed=settings.seed)
        history = save_report(places, report, tell=context.log.warning)
        restored = fall_back(Registry(places.registry), report, settings.drift, now=now, tell=context.log.warning)
        context.resources.io_manager.settled(coin)
        context.log.info(report.sentence)
        return dg.MaterializeResult(
            data_version=version_from(report.version, frame_hash(report.table())),
            check_results=[_check(name, report) for name in CHECKS],
            metadata={
                "action": str(report.action),
                "sentence": report.sentence,
                "champion": report.version,
                "rolled_back_to": restored or "none",
                "decided_by": evidence.source if evidence else "nobody reigns",
                **({"picture": picture(drift_figure(history, coin=coin))} if has_values(history) else {}),
                "report": table(report.table().head(TOLD)),
                **numbers(_numbers(report, evidence, level=settings.gate.level)),
            },
        )

    return [drift]


def _numbers(report: DriftReport, evidence: Evidence | None, *, level: float) -> dict[str, float]:
    """Under names that stay, whatever is known of them."""
    values = {(it.measure, it.subject): it.value for it in report.summaries}
    live = live_facts(evidence.own if evidence else no_outcomes(), level=level)
    return {
        **{f"{measure}_of_{subject}": values.get((measure, subject), nan) for measure, subject in SUMMARIES},
        **{f"live_{name}": value for name, value in live.items()},
    }


def _check(name: str, report: DriftReport) -> dg.AssetCheckResult:
    reading = report.of(*CHECKS[name]) or Reading.unknown(*CHECKS[name], why="nobody reigns")
    told = {"value": reading.value, "warn": reading.warn, "limit": reading.limit}
    return dg.AssetCheckResult(
        check_name=name,
        passed=reading.state in {State.OK, State.UNKNOWN},
        severity=dg.AssetCheckSeverity.WARN,
        description=reading.sentence,
        metadata={"state": str(reading.state), "n": reading.n, "missing": reading.missing, **told},
    )
