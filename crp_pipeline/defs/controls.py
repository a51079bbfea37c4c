"""The control suite in Dagster: whether this very code promotes what it must, and nothing else."""

from datetime import datetime
from typing import Any

import dagster as dg
import pandas as pd

from crp_pipeline.controls import ControlReport, control_evidence, keep_report, read_report, run_suite
from crp_pipeline.defs.pictures import picture, table
from crp_pipeline.defs.pools import CPU_TRAINING
from crp_pipeline.defs.storage import FRAME
from crp_pipeline.defs.versions import version_from
from crp_pipeline.provenance import source_hash
from crp_pipeline.reporting.gate import controls_figure
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import frame_hash

IN_ORDER = "every_control_came_out"


class ControlConfig(dg.Config):
    """What an operator may change for one run."""

    runs: int = 2
    """Null markets; a third as many of each planted edge."""
    seed: int = 0
    """First seed; the same seeds give the same outcomes."""
    anew: bool = False
    """True: run although this code has a report that is young enough."""


def assets(settings: PipelineSettings) -> list[dg.AssetsDefinition]:
    """`controls`, one for all coins."""

    @dg.asset(
        group_name="gate",
        kinds={"python"},
        pool=CPU_TRAINING,
        dagster_type=FRAME,
        check_specs=[dg.AssetCheckSpec(IN_ORDER, asset="controls", description="Warns of controls that did not come out.")],
    )
    def controls(context: dg.AssetExecutionContext, config: ControlConfig) -> dg.MaterializeResult:
        """Synthetic markets of known answer through every room; a report of this very code that is young enough is kept."""
        now = settings.present()
        report = read_report(settings.data_dir, source_hash(), tell=context.log.warning)
        if config.anew or report is None or not _is_young(report, settings, now):
            ran = run_suite(runs=config.runs, seed=config.seed, progress=context.log.info, now=now)
            report = keep_report(ran, settings.data_dir, tell=context.log.warning)
        return dg.MaterializeResult(
            value=report.table(),
            data_version=version_from(frame_hash(report.table())),
            check_results=[_check(report)],
            metadata=_metadata(report),
        )

    return [controls]


def _is_young(report: ControlReport, settings: PipelineSettings, now: datetime) -> bool:
    """Whether the report will do for a gate that is a day late; one of the future will not."""
    return control_evidence(report, now=now)["control_age_days"] <= settings.gate.max_control_age_days - 1


def _check(report: ControlReport) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=IN_ORDER,
        passed=report.is_green,
        severity=dg.AssetCheckSeverity.ERROR,
        description="; ".join([*report.failures, *report.errors]) or "every control came out as it must",
    )


def _metadata(report: ControlReport) -> dict[str, Any]:
    return {
        "code": report.source,
        "at": report.at,
        "seconds": report.seconds,
        "null_markets": report.null_markets,
        "failed": ", ".join(report.failures) or "none",
        "controls": table(report.table()),
        "picture": picture(controls_figure(report.table())),
        "outcomes": table(pd.DataFrame([_row(outcome) for outcome in report.outcomes])),
    }


def _row(outcome: object) -> dict[str, object]:
    return {name: value for name, value in vars(outcome).items() if name != "numbers"}
