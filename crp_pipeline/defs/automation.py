"""The night, unattended: candles of every coin, then the market, then one run per coin, then the summary.

The schedule starts the first phase; the sensor starts each next one when every run of the phase before has ended. A coin whose
candles fail is left out of its night and holds up nobody. A night is told by the tag `crp/night`, its date.
"""

from collections.abc import Iterator, Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from crp_pipeline.defs.partitions import coin_partitions
from crp_pipeline.settings import PipelineSettings

NIGHT, PHASE = "crp/night", "crp/phase"
PHASES = ("nightly_candles", "nightly_market", "nightly", "nightly_summary")
ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)

_CANDLES = dg.AssetSelection.assets("candles")
_OVER_ALL_COINS = dg.AssetSelection.assets("market", "summary")


def jobs() -> list[UnresolvedAssetJobDefinition]:
    """One job per phase; steps of a run share a process, since a process of their own costs seconds each."""
    selections = (
        _CANDLES,
        dg.AssetSelection.assets("market"),
        dg.AssetSelection.all() - _CANDLES - _OVER_ALL_COINS,
        dg.AssetSelection.assets("summary"),
    )
    return [
        dg.define_asset_job(name, selection, executor_def=dg.in_process_executor, config={"loggers": {"console": {}}})
        for name, selection in zip(PHASES, selections, strict=True)
    ]


def schedules(settings: PipelineSettings, night_jobs: Sequence[UnresolvedAssetJobDefinition]) -> list[dg.ScheduleDefinition]:
    """`nightly`, at 00:15 UTC."""
    coins = coin_partitions(settings)

    @dg.schedule(
        name="nightly",
        job=night_jobs[0],
        cron_schedule="15 0 * * *",
        execution_timezone="UTC",
        description="Candles of every coin; the sensor night_watch starts what follows.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        night = context.scheduled_execution_time.strftime("%Y-%m-%d")
        yield from _requests(PHASES[0], night, coins.get_partition_keys())

    return [nightly]


def sensors(night_jobs: Sequence[UnresolvedAssetJobDefinition]) -> list[dg.SensorDefinition]:
    """`night_watch`: starts each phase of a night when the one before has ended."""

    @dg.sensor(
        jobs=list(night_jobs[1:]),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts each phase of the night when every run of the phase before has ended.",
    )
    def night_watch(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest]:
        yield from next_requests(context.instance)

    return [night_watch]


def next_requests(instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    """What the latest night needs now: nothing while a phase runs or when all phases are done."""
    runs = _runs_of_latest_night(instance)
    if not runs or any(run.status not in ENDED for run in runs):
        return []
    night = runs[0].tags[NIGHT]
    done = max(PHASES.index(run.tags[PHASE]) for run in runs)
    good = sorted(
        run.tags["dagster/partition"]
        for run in runs
        if run.tags[PHASE] == PHASES[0] and run.status is dg.DagsterRunStatus.SUCCESS
    )
    if done + 1 == len(PHASES) or not good:
        return []
    following = PHASES[done + 1]
    return _requests(following, night, good if following == "nightly" else [None])


def _runs_of_latest_night(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    latest = instance.get_runs(dg.RunsFilter(tags={PHASE: PHASES[0]}), limit=1)
    return list(instance.get_runs(dg.RunsFilter(tags={NIGHT: latest[0].tags[NIGHT]}))) if latest else []


def _requests(phase: str, night: str, coins: Sequence[str | None]) -> list[dg.RunRequest]:
    return [
        dg.RunRequest(
            run_key=f"{night} {phase} {coin or 'all'}",
            job_name=phase,
            partition_key=coin,
            tags={NIGHT: night, PHASE: phase},
        )
        for coin in coins
    ]
