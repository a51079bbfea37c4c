"""Signals in Dagster: the champion's decision after each closed bar, on a job and a schedule of its own, beside any night."""

import math
from collections.abc import Iterator
from time import sleep
from typing import Any

import dagster as dg
import pandas as pd
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from crp_pipeline.contracts import interval_length
from crp_pipeline.defs.partitions import coin_check, coin_partitions
from crp_pipeline.defs.pictures import numbers, picture, table
from crp_pipeline.defs.turn import BESIDE
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry
from crp_pipeline.reporting.signals import decisions_figure
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.signals import Desk, Signal, Visit, has_champion, live_numbers, settle_s, unsettled_s

SCHEDULE, JOB = "signals", "after_each_bar"
"""An asset and a job cannot have one name."""
ON, OFF = dg.DefaultScheduleStatus.RUNNING, dg.DefaultScheduleStatus.STOPPED
SHOWN = 100
"""Decisions that the picture shows."""
TOLD = ("signal", "tier", "confidence", "close", "stop", "target", "reason", "latency_ms")


def assets(settings: PipelineSettings) -> list[dg.AssetsDefinition]:
    """`signals` per coin."""
    coins = coin_partitions(settings)

    @dg.asset(
        group_name="signals",
        kinds={"parquet"},
        partitions_def=coins,
        deps=["registry"],
        required_resource_keys={"io_manager"},
        check_specs=[
            coin_check("fresh", "signals", coins, "Warns when the newest decision is older than it may be acted upon."),
            coin_check("decided", "signals", coins, "Warns of a bar that the champion gives no decision about."),
        ],
    )
    def signals(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The champion's decision on the newest closed bar, and what became of the ones before."""
        coin = context.partition_key
        sleep(unsettled_s(settings.present(), settings))
        desk = Desk(settings, tell=context.log.warning)
        visit = desk.decide(coin)
        outcomes = desk.outcomes(coin) if visit.candles is None else desk.score(coin, visit.candles)
        context.resources.io_manager.settled(coin)
        return dg.MaterializeResult(
            check_results=_checks(visit.signal, settings),
            metadata={
                **_picture(visit, desk.log(coin).latest(SHOWN), coin),
                **{name: value for name, value in visit.signal.to_dict().items() if value not in {None, ""}},
                **numbers(live_numbers(outcomes, level=settings.gate.level)),
                "last_outcomes": table(outcomes.tail(10)),
            },
        )

    return [signals]


def job(settings: PipelineSettings) -> UnresolvedAssetJobDefinition:
    """`after_each_bar`: the decision of one coin; it trains nothing and stores no table of the night.

    So it waits for no night of its coin, but on shared storage, where two runs would move the same files.
    """
    return dg.define_asset_job(
        JOB,
        dg.AssetSelection.assets("signals"),
        tags={BESIDE: "yes"} if settings.storage is None else {},
        executor_def=dg.in_process_executor,
        config={"loggers": {"console": {}}},
    )


def schedule(settings: PipelineSettings, places: Places, signals_job: UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    """`signals`: a little after each bar has closed, one run per coin that has a champion."""
    coins, book = coin_partitions(settings), Registry(places.registry)

    @dg.schedule(
        name=SCHEDULE,
        job=signals_job,
        cron_schedule=cron_after_close(settings.interval, settle_s=settle_s(settings)),
        execution_timezone="UTC",
        default_status=ON if settings.automation.begins != "by_hand" else OFF,
        description="The decision on the bar that has just closed, of every coin that has a champion.",
    )
    def after_each_bar(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        tick = context.scheduled_execution_time.strftime("%Y-%m-%dT%H:%M")
        for coin in coins.get_partition_keys():
            if has_champion(book, coin):
                yield dg.RunRequest(run_key=f"{tick} signals {coin}", partition_key=coin)

    return after_each_bar


def cron_after_close(interval: str, *, settle_s: float = 0.0) -> str:
    """A minute after each close, UTC, or as many as an exchange books trades for; of one-minute bars every minute."""
    minutes, after = int(interval_length(interval) / pd.Timedelta("1min")), max(math.ceil(settle_s / 60), 1)
    if minutes == 1:
        return "* * * * *"
    if minutes < 60:
        return f"{after}-59/{minutes} * * * *"
    return f"{after} */{minutes // 60} * * *" if minutes < 24 * 60 else f"{after} 0 * * *"


def _checks(signal: Signal, settings: PipelineSettings) -> list[dg.AssetCheckResult]:
    now, warn = settings.present(), dg.AssetCheckSeverity.WARN
    words = signal.reason or f"decided {signal.latency_ms:,.0f} ms after the close, {signal.compute_ms:,.1f} ms of it computing"
    return [
        dg.AssetCheckResult(
            check_name="fresh",
            passed=now <= signal.valid_until,
            severity=warn,
            description=f"the newest bar closed at {signal.closed_at.isoformat()}",
            metadata={"age_s": signal.age_s(now)},
        ),
        dg.AssetCheckResult(check_name="decided", passed=signal.is_decided, severity=warn, description=words),
    ]


def _picture(visit: Visit, lines: list[Signal], coin: str) -> dict[str, Any]:
    """The last decisions on the price, where the price was looked at, and as a table."""
    rows = (
        pd.DataFrame([vars(it) for it in lines]).drop_duplicates("open_time", keep="last").set_index("open_time").sort_index()
    )
    told = {"last_decisions": table(rows[list(TOLD)].tail(10).reset_index())}
    if visit.candles is None:
        return told
    return {"picture": picture(decisions_figure(visit.candles, rows, coin=coin)), **told}
