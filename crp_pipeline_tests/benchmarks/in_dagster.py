"""One coin through the corridor as Dagster runs it: all assets, one process, runs and events stored in SQLite.

The parts that Dagster adds are metered: reading and writing the tables between assets, the pictures in the metadata, and events.
"""

import os
from pathlib import Path
from shutil import copy
from time import perf_counter

STARTED = perf_counter()

import dagster as dg  # noqa: E402
from dagster._core.storage.event_log import SqliteEventLogStorage  # noqa: E402

from crp_pipeline import defs  # noqa: E402
from crp_pipeline.definitions import floor_plan  # noqa: E402
from crp_pipeline.defs import pictures  # noqa: E402
from crp_pipeline.defs.storage import StageIOManager  # noqa: E402
from crp_pipeline_tests.benchmarks.cases import settings_of  # noqa: E402
from crp_pipeline_tests.benchmarks.fresh import ROOT  # noqa: E402
from crp_pipeline_tests.benchmarks.timing import Meter  # noqa: E402
from crp_pipeline_tests.e2e.corridor import corridor_of  # noqa: E402

FILES, PICTURES, EVENTS = "tables between assets", "pictures in metadata", "events into SQLite"


def corridor(coin: str, data_dir: str, quick: bool) -> dict[str, object]:
    """Seconds of each step, of the parts that Dagster adds, and the verdict."""
    loaded = perf_counter()
    copy(ROOT / "dagster.yaml", os.environ["DAGSTER_HOME"])
    os.chdir(os.environ["DAGSTER_HOME"])  # the storages in dagster.yaml lie relative to it
    plan = floor_plan(settings_of(Path(data_dir), quick=quick))
    job, selection = plan.resolve_implicit_global_asset_job_def(), corridor_of(plan)
    meter = _metered()
    planned = perf_counter()
    with dg.DagsterInstance.get() as instance:
        opened = perf_counter()
        result = job.execute_in_process(asset_selection=selection, partition_key=coin, instance=instance)
    steps = {
        event.step_key.replace("__", "/"): event.step_success_data.duration_ms / 1e3
        for event in result.all_events
        if event.is_step_success
    }
    verdict = result.output_for_node("gate")
    return {
        "stages": steps,
        "parts": {
            "imports and definitions": loaded - STARTED,
            "floor plan and job": planned - loaded,
            "open the instance": opened - planned,
            "between the steps": perf_counter() - opened - sum(steps.values()),
            **meter.seconds,
        },
        "verdict": f"{verdict.outcome}: {verdict.reason}",
        "events": len(result.all_events),
    }


def _metered() -> Meter:
    meter = Meter()
    for name in ("handle_output", "load_input"):
        meter.watch(StageIOManager, name, as_part=FILES)
    meter.watch(SqliteEventLogStorage, "store_event", as_part=EVENTS)
    meter.watch(pictures, "inline", as_part=PICTURES)
    rooms = [
        getattr(defs, name)
        for name in ("candles", "feeds", "features", "labels", "splits", "models", "ensemble", "backtest", "gate")
    ]
    for room in rooms:
        for name in [name for name in vars(room) if name.endswith("_figure")]:
            meter.watch(room, name, as_part=PICTURES)
    return meter
