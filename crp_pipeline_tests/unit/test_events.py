"""The event log with connections that stay open: the same tables as Dagster's own, for many processes and many deaths."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import StepMaterializationData
from dagster._core.storage.event_log import SqliteEventLogStorage

from crp_pipeline.defs.events import RUNS_KEPT_OPEN, EventLog
from crp_pipeline.defs.history import sqlite

TALK = """
import sys, dagster as dg
from crp_pipeline.defs.history import sqlite
from crp_pipeline_tests.unit.test_events import entry
log = sqlite(sys.argv[1]).event_log_storage
for number in range(int(sys.argv[2])):
    log.store_event(entry(sys.argv[3], number))
    print(number, flush=True)
"""


def entry(run_id, number, materialized=None):
    """A log line, or the event of an asset that was materialized."""
    what = None if materialized is None else StepMaterializationData(materialization=dg.AssetMaterialization(materialized))
    event = what and dg.DagsterEvent(event_type_value="ASSET_MATERIALIZATION", job_name="toy", event_specific_data=what)
    return dg.EventLogEntry(
        error_info=None, level=10, user_message=f"line {number}", run_id=run_id, timestamp=1.0 + number, dagster_event=event
    )


@pytest.fixture
def log(tmp_path):
    it = EventLog(str(tmp_path / "history"))
    yield it
    it.dispose()


def open_files(folder: Path) -> set[str]:
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = link.resolve(strict=True)
        except OSError:
            continue
        if target.parent == folder and target.suffix == ".db":
            found.add(target.name)
    return found


def talk(folder: Path, n: int, run_id: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", TALK, str(folder), str(n), run_id], stdout=subprocess.PIPE, text=True)


def test_the_history_of_the_project_is_kept_by_it(tmp_path):
    assert isinstance(sqlite(str(tmp_path)).event_log_storage, EventLog)


def test_what_it_writes_dagster_reads_and_the_other_way_round(log, tmp_path):
    log.store_event(entry("a", 1, "toy"))
    own = SqliteEventLogStorage(str(tmp_path / "history"))
    own.store_event(entry("a", 2, "other"))
    for storage in (own, log):
        assert [it.user_message for it in storage.get_logs_for_run("a")] == ["line 1", "line 2"]
        assert {key.to_user_string() for key in storage.all_asset_keys()} == {"toy", "other"}


def test_few_logs_stay_open_and_none_when_it_is_closed(log, tmp_path):
    for run in range(3 * RUNS_KEPT_OPEN):
        log.store_event(entry(f"run{run}", run, "toy"))
    latest = {f"run{run}.db" for run in range(2 * RUNS_KEPT_OPEN, 3 * RUNS_KEPT_OPEN)}
    assert open_files(tmp_path / "history") == {"index.db", *latest}
    assert log.get_logs_for_run("run0")[0].user_message == "line 0"
    log.dispose()
    assert open_files(tmp_path / "history") == set()


def test_what_is_forgotten_can_be_told_anew(log):
    log.store_event(entry("a", 1, "toy"))
    log.wipe()
    assert log.get_logs_for_run("a") == []
    log.store_event(entry("a", 2, "toy"))
    assert [it.user_message for it in log.get_logs_for_run("a")] == ["line 2"]


def test_an_event_that_was_told_survives_the_death_of_its_process(tmp_path):
    talking = talk(tmp_path, 50, "killed")
    for line in talking.stdout:
        told = int(line)
        if told == 20:
            os.kill(talking.pid, signal.SIGKILL)
    talking.communicate()
    kept = len(sqlite(str(tmp_path)).event_log_storage.get_logs_for_run("killed"))
    assert kept >= told + 1 > 20


def test_several_processes_tell_at_once_and_nothing_is_lost(tmp_path):
    at_once = [talk(tmp_path, 40, "shared") for _ in range(3)]
    assert [process.communicate()[0].split()[-1] for process in at_once] == ["39"] * 3
    assert len(sqlite(str(tmp_path)).event_log_storage.get_logs_for_run("shared")) == 120
