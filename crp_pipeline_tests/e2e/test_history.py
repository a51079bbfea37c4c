"""A night that is recorded in a real Postgres server, and two processes that write to it at once."""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

from crp_pipeline.definitions import floor_plan
from crp_pipeline.defs.history import VARIABLE
from crp_pipeline.nightly import run_night
from crp_pipeline_tests.e2e.corridor import small_settings
from crp_pipeline_tests.e2e.postgres_server import PASSWORD, QUOTED_PASSWORD, postgres_server, program
from crp_pipeline_tests.e2e.web_server import environment_of

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).parents[2]
COIN = "EDGE-DEMO"


@pytest.fixture
def url():
    if program("postgres") is None:
        pytest.skip("no Postgres server: apt install postgresql")
    pytest.importorskip("dagster_postgres", reason="dagster-postgres is missing: pip install '.[postgres]'")
    with postgres_server() as it:
        yield it


@pytest.fixture
def home(tmp_path, monkeypatch, url):
    shutil.copy(PROJECT / "dagster.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, url)
    return tmp_path


def test_a_night_is_recorded_in_postgres_and_nothing_of_it_in_sqlite(home, url):
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert run_night(floor_plan(small_settings(home / "data")), [COIN], instance) == []
        shown = instance.info_str()
    assert "PostgresRunStorage" in shown
    assert PASSWORD not in shown
    assert QUOTED_PASSWORD not in shown
    assert not list(home.rglob("*.db"))
    rows = _rows(url)
    assert rows["SUCCESS"] == 5
    assert rows["ASSET_MATERIALIZATION"] > 20
    with dg.DagsterInstance.from_config(str(home)) as another:
        assert {run.job_name for run in another.get_runs()} >= {"nightly", "nightly_summary"}


def test_two_processes_at_once_record_in_one_database_and_show_its_password_nowhere(home, url):
    variables = {**environment_of(home, small_settings(home / "data")), VARIABLE: url}
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "crp_pipeline.definitions", "--select", "candles"]
    at_once = [
        subprocess.Popen(
            [*command, "--partition", coin],
            cwd=home,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for coin in (COIN, "NOISE-DEMO")
    ]
    told = [process.communicate(timeout=300)[0] for process in at_once]
    assert [process.returncode for process in at_once] == [0, 0], told
    assert not any(secret in line for line in told for secret in (PASSWORD, QUOTED_PASSWORD))
    assert _rows(url)["SUCCESS"] == 2
    assert not list(home.rglob("*.db"))


def _rows(url: str) -> Counter:
    """Runs by status and events by type, as the server itself counts them."""
    import psycopg2

    door = psycopg2.connect(url)
    with door.cursor() as cursor:
        cursor.execute(
            "SELECT status, count(*) FROM runs GROUP BY 1 UNION ALL SELECT dagster_event_type, count(*) FROM event_logs GROUP BY 1"
        )
        counted = Counter(dict(cursor.fetchall()))
    door.close()
    return counted
