"""The night, unattended: candles of every coin, then market and controls, then one run per coin, then the summary.

The schedule starts the first phase; the sensor starts each next one when every run of the phase before has ended. A coin whose
candles fail is left out of its night and holds up nobody; when the market fails nobody trains, and the summary follows at once.
When the controls fail every coin trains and is judged without them, which promotes nothing that they did not vouch for before.
A night is told by the tag `crp/night`, its date.
"""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from crp_pipeline.defs.partitions import coin_partitions
from crp_pipeline.settings import PipelineSettings

NIGHT, PHASE = "crp/night", "crp/phase"
PHASES = ("nightly_candles", "nightly_market", "nightly_controls", "nightly", "nightly_summary")
ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)

WEEKLY_RUNS = 12
"""Null markets of the weekly control run."""

CORRIDOR = dg.AssetSelection.assets("summary").upstream()
"""What a night makes: all but the models that neither stand in the roster nor are baselines. In Dagster's words `+summary`."""

_CANDLES = dg.AssetSelection.assets("candles")
_MARKET = dg.AssetSelection.assets("market")
_CONTROLS = dg.AssetSelection.assets("controls")
_OVER_ALL_COINS = dg.AssetSelection.assets("market", "controls", "summary")


def jobs() -> list[UnresolvedAssetJobDefinition]:
    """One job per phase; steps of a run share a process, since a process of their own costs seconds each."""
    selections = (
        _CANDLES,
        _MARKET,
        _CONTROLS,
        CORRIDOR - _CANDLES - _OVER_ALL_COINS,
        dg.AssetSelection.assets("summary"),
    )
    return [
        dg.define_asset_job(name, selection, executor_def=dg.in_process_executor, config={"loggers": {"console": {}}})
        for name, selection in zip(PHASES, selections, strict=True)
    ]


def control_job() -> UnresolvedAssetJobDefinition:
    """`weekly_controls`: the control suite on seeds of its own, whether or not the code has changed."""
    return dg.define_asset_job(
        "weekly_controls",
        dg.AssetSelection.assets("controls"),
        executor_def=dg.in_process_executor,
        config={"loggers": {"console": {}}},
    )


def tune_job() -> UnresolvedAssetJobDefinition:
    """`tune`: every model with a search space, of the coin that is asked for; no night does it by itself."""
    return dg.define_asset_job(
        "tune",
        dg.AssetSelection.groups("tuning"),
        executor_def=dg.in_process_executor,
        config={"loggers": {"console": {}}},
    )


def schedules(
    settings: PipelineSettings,
    night_jobs: Sequence[UnresolvedAssetJobDefinition],
    weekly: UnresolvedAssetJobDefinition,
) -> list[dg.ScheduleDefinition]:
    """`nightly`, at 00:15 UTC, and `weekly_controls`, on Saturdays at 12:00 UTC."""
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

    @dg.schedule(
        name="weekly_controls",
        job=weekly,
        cron_schedule="0 12 * * 6",
        execution_timezone="UTC",
        description="The control suite on seeds that it has not seen: a gate without it promotes nothing.",
    )
    def weekly_controls(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        week = context.scheduled_execution_time.strftime("%G%V")
        config = {"runs": WEEKLY_RUNS, "seed": int(week) * 100, "anew": True}
        return dg.RunRequest(
            run_key=f"controls {week}", run_config={"ops": {"controls": {"config": config}}, "loggers": {"console": {}}}
        )

    return [nightly, weekly_controls]


def sensors(settings: PipelineSettings, night_jobs: Sequence[UnresolvedAssetJobDefinition]) -> list[dg.SensorDefinition]:
    """`night_watch`: starts each phase of a night when the one before has ended."""
    coins = coin_partitions(settings)

    @dg.sensor(
        jobs=list(night_jobs[1:]),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts each phase of the night when every run of the phase before has ended.",
    )
    def night_watch(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest]:
        yield from next_requests(context.instance, coins.get_partition_keys())

    return [night_watch]


def next_requests(instance: dg.DagsterInstance, coins: Sequence[str]) -> list[dg.RunRequest]:
    """What the latest night needs now: nothing while a run goes on, a coin's first is still to come, or all is done."""
    night, runs = _latest_night(instance)
    candles, market, controls, corridor, summary = (
        {coin: run for (of, coin), run in runs.items() if of == phase} for phase in PHASES
    )
    if not set(coins) <= set(candles) or any(run.status not in ENDED for run in runs.values()):
        return []
    with_candles = [coin for coin in coins if candles[coin].status is dg.DagsterRunStatus.SUCCESS]
    to_come = [phase for phase, found in zip(PHASES[1:3], (market, controls), strict=True) if not found]
    if with_candles and to_come:
        return [request for phase in to_come for request in _requests(phase, night, [None])]
    has_market = any(run.status is dg.DagsterRunStatus.SUCCESS for run in market.values())
    waiting = [coin for coin in with_candles if has_market and coin not in corridor]
    if waiting:
        return _requests(PHASES[3], night, waiting)
    return [] if summary else _requests(PHASES[4], night, [None])


def _latest_night(instance: dg.DagsterInstance) -> tuple[str, Mapping[tuple[str, str | None], dg.DagsterRun]]:
    """Date of the latest night, and the latest run of each of its phases and coins."""
    latest = instance.get_runs(dg.RunsFilter(tags={PHASE: PHASES[0]}), limit=1)
    if not latest:
        return "", {}
    night = latest[0].tags[NIGHT]
    newest_first = instance.get_runs(dg.RunsFilter(tags={NIGHT: night}))
    return night, {(run.tags[PHASE], run.tags.get("dagster/partition")): run for run in reversed(newest_first)}


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
