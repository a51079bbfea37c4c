"""Who is told what happened: one sensor per occasion, each told once, to the log and to whom the settings name.

They compute nothing and begin nothing, and so are on whoever begins the nights.
"""

import json
from collections.abc import Callable

import dagster as dg

from crp_pipeline.defs.causes import cause_of
from crp_pipeline.defs.partitions import coin_partitions
from crp_pipeline.defs.turn import PARTITION
from crp_pipeline.notices import Notice, tell
from crp_pipeline.places import Places
from crp_pipeline.reporting.news import News, Told, drift_news, stale_news, verdict_news
from crp_pipeline.settings import PipelineSettings

ON = dg.DefaultSensorStatus.RUNNING
MINUTE_S = 60


def watchers(settings: PipelineSettings, places: Places) -> list[dg.SensorDefinition]:
    """`tell_failures`, `tell_summaries`, `tell_verdicts`, `tell_stale_candles` and `tell_drift`."""
    coins = coin_partitions(settings).get_partition_keys()
    return [
        _failures(settings),
        _summaries(settings),
        _watcher(
            "tell_verdicts",
            lambda told: verdict_news(told, places, coins),
            settings,
            every_s=MINUTE_S,
            description="Tells of every coin whose verdict or champion is another than before.",
        ),
        _watcher(
            "tell_stale_candles",
            lambda told: stale_news(told, places, coins, settings=settings, now=settings.present()),
            settings,
            every_s=10 * MINUTE_S,
            description="Tells of every coin whose newest bar is old: the freshness of `candles` is that of its latest coin.",
        ),
        _watcher(
            "tell_drift",
            lambda told: drift_news(told, places, coins),
            settings,
            every_s=MINUTE_S,
            description="Tells of every coin whose drift asks for something else than before.",
        ),
    ]


def _watcher(
    name: str, news: Callable[[Told], News], settings: PipelineSettings, *, every_s: int, description: str
) -> dg.SensorDefinition:
    """A sensor that remembers in its cursor what it has told."""

    @dg.sensor(name=name, minimum_interval_seconds=every_s, default_status=ON, description=description)
    def watch(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        told = json.loads(context.cursor) if context.cursor else {}
        seen, notices = news(told)
        tell(notices, settings.notify, log=context.log.warning)
        sentence = f"told: {'; '.join(notice.title for notice in notices)}" if notices else "nothing that was not told"
        return dg.SensorResult(skip_reason=dg.SkipReason(sentence), cursor=json.dumps(seen, sort_keys=True))

    return watch


def _failures(settings: PipelineSettings) -> dg.SensorDefinition:
    @dg.run_failure_sensor(
        name="tell_failures",
        minimum_interval_seconds=30,
        default_status=ON,
        monitor_all_code_locations=True,  # a night from the shell belongs to none
        description="Tells of every failed run: which job and coin, which asset, and why.",
    )
    def tell_failures(context: dg.RunFailureSensorContext) -> None:
        tell([_notice_of(context)], settings.notify, log=context.log.warning)

    return tell_failures


def _notice_of(context: dg.RunFailureSensorContext) -> Notice:
    run, coin = context.dagster_run, context.dagster_run.tags.get(PARTITION)
    causes = {
        str(event.step_key): cause_of(error)
        for event in context.get_step_failure_events()
        if (error := event.step_failure_data.error) is not None
    }
    where = ", ".join(step.replace("__", "/") for step in causes) or "no asset"
    text = "\n".join([*causes.values(), f"run {run.run_id}"] if causes else [str(context.failure_event.message), run.run_id])
    return Notice("failure", coin, f"{run.job_name}{f' {coin}' if coin else ''} failed in {where}", text)


def _summaries(settings: PipelineSettings) -> dg.SensorDefinition:
    @dg.asset_sensor(
        asset_key=dg.AssetKey("summary"),
        name="tell_summaries",
        minimum_interval_seconds=30,
        default_status=ON,
        description="Tells how the night was, once its summary is there.",
    )
    def tell_summaries(context: dg.SensorEvaluationContext, event: dg.EventLogEntry) -> dg.SkipReason:
        materialized = event.asset_materialization
        assert materialized is not None
        said = {name: str(value.value) for name, value in materialized.metadata.items() if name in {"fleet", "without_verdict"}}
        missing = said.get("without_verdict", "none")
        notice = Notice("summary", None, said["fleet"], f"without a verdict: {missing}")
        tell([notice], settings.notify, log=context.log.info)
        return dg.SkipReason("told")

    return tell_summaries
