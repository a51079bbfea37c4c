"""A floor plan of one job per behaviour: what workers do with it costs milliseconds."""

import os
import signal
import sys
import time
from pathlib import Path

import dagster as dg

from crp_pipeline.defs.console import console
from crp_pipeline.settings import PipelineSettings

COINS = ("A", "B", "C", "D", "E", "F")
DIES, FAILS, TALKS, WAITS = "B", "C", 40, "F"


def toy_plan(settings: PipelineSettings) -> dg.Definitions:
    """`toy` writes its process id to a file per coin; coin B kills its process, coin C fails; `talk` writes many lines; `sleep` does for F."""
    coins = dg.StaticPartitionsDefinition(list(COINS))
    folder = Path(settings.data_dir)

    @dg.asset(partitions_def=coins)
    def toy(context: dg.AssetExecutionContext) -> None:
        coin = context.partition_key
        folder.mkdir(parents=True, exist_ok=True)
        (folder / coin).write_text(f"{os.getpid()}")
        if coin == DIES:
            os.kill(os.getpid(), signal.SIGKILL)
        if coin == FAILS:
            raise ValueError("bad candles")

    @dg.asset(partitions_def=coins)
    def talk(context: dg.AssetExecutionContext) -> None:
        for number in range(TALKS):
            print(context.partition_key * 500, number)
            context.log.info(f"line {number}")
        os.write(2, (context.partition_key * 500 + " from below\n").encode())
        sys.stderr.write(f"{context.partition_key} without an end")

    @dg.asset(partitions_def=coins)
    def sleep(context: dg.AssetExecutionContext) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        asleep = folder / "asleep"
        if context.partition_key == WAITS:
            asleep.write_text(str(os.getpid()))
            time.sleep(120)
        while not asleep.exists():
            time.sleep(0.02)

    jobs = [
        dg.define_asset_job(
            name, dg.AssetSelection.assets(name), executor_def=dg.in_process_executor, config={"loggers": {"console": {}}}
        )
        for name in ("toy", "talk", "sleep")
    ]
    return dg.Definitions(assets=[toy, talk, sleep], jobs=jobs, loggers={"console": console}, executor=dg.in_process_executor)


def no_plan(settings: PipelineSettings) -> dg.Definitions:
    """A node whose settings allow no floor plan."""
    raise ValueError("roster is empty\non this node")
