"""What looks every so often whether there is something to do: the rest of a night, or what changed."""

from collections.abc import Iterator, Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from crp_pipeline.defs.automation.jobs import CORRIDOR, MAX_RUNTIME
from crp_pipeline.defs.automation.night import next_requests
from crp_pipeline.defs.automation.watch import watchers
from crp_pipeline.defs.dead_runs import end_dead_runs
from crp_pipeline.defs.partitions import coin_partitions
from crp_pipeline.places import Places
from crp_pipeline.settings import PipelineSettings


def sensors(
    settings: PipelineSettings, places: Places, night_jobs: Sequence[UnresolvedAssetJobDefinition]
) -> list[dg.SensorDefinition]:
    """`dead_runs`, `night_watch`, `on_change`, and those that tell what happened."""
    return [_dead_runs(), _night_watch(settings, night_jobs), _on_change(settings), *watchers(settings, places)]


def _dead_runs() -> dg.SensorDefinition:
    """On whoever begins the nights: a run from the web UI holds its place in the queue as well."""

    @dg.sensor(
        minimum_interval_seconds=30,
        default_status=_status(is_on=True),
        description="Ends runs of this machine whose process is gone.",
    )
    def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        ended = end_dead_runs(context.instance, log=context.log.warning)
        return dg.SkipReason(f"ended: {', '.join(ended)}" if ended else "no run without a process")

    return dead_runs


def _night_watch(settings: PipelineSettings, night_jobs: Sequence[UnresolvedAssetJobDefinition]) -> dg.SensorDefinition:
    coins = coin_partitions(settings)

    @dg.sensor(
        jobs=list(night_jobs[1:]),
        minimum_interval_seconds=30,
        default_status=_status(is_on=settings.automation.begins != "by_hand"),
        description="Starts each phase of a night when the one before has ended.",
    )
    def night_watch(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest]:
        yield from next_requests(context.instance, coins.get_partition_keys())

    return night_watch


def _on_change(settings: PipelineSettings) -> dg.SensorDefinition:
    return dg.AutomationConditionSensorDefinition(
        "on_change",
        target=CORRIDOR,
        minimum_interval_seconds=30,
        default_status=_status(is_on=settings.automation.begins == "on_change"),
        run_tags={MAX_RUNTIME: str(round(settings.limits.run_minutes * 60))},
        description="In place of the schedule `nightly`: rebuilds what changed, coin by coin, and nothing else.",
    )


def _status(*, is_on: bool) -> dg.DefaultSensorStatus:
    return dg.DefaultSensorStatus.RUNNING if is_on else dg.DefaultSensorStatus.STOPPED
