"""When things begin by the clock: the night, and the weekly control run."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from crp_pipeline.defs.automation.night import first_requests, unfinished
from crp_pipeline.defs.partitions import coin_partitions
from crp_pipeline.defs.turn import PARTITION
from crp_pipeline.settings import PipelineSettings

NIGHTLY = "15 0 * * *"
"""A quarter of an hour after the last bar of a UTC day has closed."""
BETWEEN_NIGHTS = timedelta(days=1)
WEEKLY_RUNS = 12
"""Null markets of the weekly control run."""


def schedules(
    settings: PipelineSettings,
    night_jobs: Sequence[UnresolvedAssetJobDefinition],
    weekly: UnresolvedAssetJobDefinition,
) -> list[dg.ScheduleDefinition]:
    """`nightly`, at 00:15 UTC, and `weekly_controls`, on Saturdays at 12:00 UTC."""
    return [_nightly(settings, night_jobs[0]), _weekly_controls(settings, weekly)]


def _nightly(settings: PipelineSettings, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    coins = coin_partitions(settings)

    @dg.schedule(
        name="nightly",
        job=job,
        cron_schedule=NIGHTLY,
        execution_timezone="UTC",
        default_status=_status(is_on=settings.automation.begins == "nightly"),
        description="Candles of every coin; the sensor night_watch starts what follows. One night at a time.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        return begin_night(context.instance, settings, coins.get_partition_keys(), context.scheduled_execution_time)

    return nightly


def begin_night(
    instance: dg.DagsterInstance, settings: PipelineSettings, coins: Sequence[str], scheduled: datetime
) -> list[dg.RunRequest] | dg.SkipReason:
    """One run of candles per coin; none, with the reason, for a night that was missed or while the one before goes on."""
    if settings.present() - scheduled >= BETWEEN_NIGHTS:
        return dg.SkipReason(f"the night of {scheduled:%Y-%m-%d} was missed, and a later one downloads its bars as well")
    before, going_on = unfinished(instance, limit=timedelta(minutes=settings.limits.run_minutes), now=scheduled)
    if going_on:
        told = f"the night of {before} still has {len(going_on)} to run, {_named(going_on[0])} among them"
        return dg.SkipReason(f"{told}: a night begins when the one before has ended, and downloads the bars of both")
    return first_requests(f"{scheduled:%Y-%m-%d}", coins)


def _weekly_controls(settings: PipelineSettings, job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    @dg.schedule(
        name="weekly_controls",
        job=job,
        cron_schedule="0 12 * * 6",
        execution_timezone="UTC",
        default_status=_status(is_on=settings.automation.begins != "by_hand"),
        description="The control suite on seeds that it has not seen: a gate without it promotes nothing.",
    )
    def weekly_controls(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        week = context.scheduled_execution_time.strftime("%G%V")
        config = {"runs": WEEKLY_RUNS, "seed": int(week) * 100, "anew": True}
        return dg.RunRequest(
            run_key=f"controls {week}", run_config={"ops": {"controls": {"config": config}}, "loggers": {"console": {}}}
        )

    return weekly_controls


def _status(*, is_on: bool) -> dg.DefaultScheduleStatus:
    return dg.DefaultScheduleStatus.RUNNING if is_on else dg.DefaultScheduleStatus.STOPPED


def _named(run: dg.DagsterRun) -> str:
    return " ".join(filter(None, (run.job_name, run.tags.get(PARTITION))))
