"""Where Dagster's runs, events and schedules lie, and what is said when they cannot."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import serialize_value

from crp_pipeline.defs import history
from crp_pipeline.errors import StorageError

PROJECT = Path(__file__).parents[2]
PASSWORD = "hunter2secret"
LEGACY = """
run_storage: {module: dagster._core.storage.runs, class: SqliteRunStorage, config: {base_dir: data/.dagster/history}}
event_log_storage: {module: dagster._core.storage.event_log, class: SqliteEventLogStorage, config: {base_dir: data/.dagster/history}}
schedule_storage: {module: dagster._core.storage.schedules, class: SqliteScheduleStorage, config: {base_dir: data/.dagster/schedules}}
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.delenv(history.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(PROJECT / "dagster.yaml", tmp_path)
    return tmp_path


@dg.job
def nothing_at_all():
    pass


def test_a_history_that_each_storage_was_named_for_is_found_by_the_shipped_configuration(home):
    shipped = (home / "dagster.yaml").read_text()
    (home / "dagster.yaml").write_text(LEGACY)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        run_id = nothing_at_all.execute_in_process(instance=instance).run_id
    files = sorted(path.relative_to(home).as_posix() for path in home.rglob("*.db"))
    (home / "dagster.yaml").write_text(shipped)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert [run.run_id for run in instance.get_runs()] == [run_id]
        assert instance.all_logs(run_id)
        assert instance.all_instigator_state() == []
    assert sorted(path.relative_to(home).as_posix() for path in home.rglob("*.db")) == files


def test_nothing_of_postgres_is_imported_without_the_variable(home):
    code = "import dagster as dg, sys; dg.DagsterInstance.get(); print([n for n in sys.modules if n.startswith(('psycopg', 'dagster_postgres'))])"
    environment = {**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": str(PROJECT)}
    told = subprocess.run([sys.executable, "-c", code], cwd=home, env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://crp:{PASSWORD}@more@127.0.0.1:5432/history",
        f"postgresql://crp:{PASSWORD}/more@127.0.0.1:5432/history",
        f"postgresql://crp:{PASSWORD}:more@127.0.0.1:5432/history",
        f"postgresql://crp:{PASSWORD}#more@127.0.0.1:5432/history",
        f"postgresql://crp@127.0.0.1/history?password={PASSWORD}",
        f"mysql://crp:{PASSWORD}@127.0.0.1/history",
        f"{PASSWORD}",
        f"postgresql://crp:{PASSWORD}@127.0.0.1:5432",
        f"postgresql://crp:{PASSWORD}@127.0.0.1:1/history",
        f"postgres://crp:{PASSWORD}@127.0.0.1:1/history?sslmode=disable",
    ],
)
def test_a_url_that_leads_nowhere_is_one_sentence_without_its_password(home, monkeypatch, url):
    monkeypatch.setenv(history.VARIABLE, url)
    with pytest.raises(StorageError, match=r"^CRP_DAGSTER_PG_URL[^\n]*$") as told:
        dg.DagsterInstance.from_config(str(home))
    assert PASSWORD not in str(told.value)
    assert told.value.__cause__ is None
    assert not list(home.rglob("*.db"))


def test_a_missing_package_is_named_with_the_extra_that_brings_it(home, monkeypatch):
    monkeypatch.setenv(history.VARIABLE, f"postgresql://crp:{PASSWORD}@127.0.0.1:1/history")
    monkeypatch.setitem(sys.modules, "dagster_postgres", None)
    with pytest.raises(StorageError, match=r"dagster_postgres is not installed: pip install 'crp-pipeline\[postgres\]'"):
        dg.DagsterInstance.from_config(str(home))


def test_what_dagster_hands_to_other_processes_and_shows_of_its_configuration_has_no_url(home, monkeypatch):
    monkeypatch.setenv(history.VARIABLE, f"postgresql://crp:{PASSWORD}@127.0.0.1:1/history")
    handed_on = InstanceRef.from_dir(str(home))
    assert PASSWORD not in serialize_value(handed_on) + json.dumps(handed_on.to_dict(), default=str)
