"""A night by several processes, or on a Ray cluster, leaves what a night of one coin after another leaves."""

import json
import os
import signal
import tempfile
from pathlib import Path

import dagster as dg
import pytest

from crp_pipeline.definitions import floor_plan
from crp_pipeline.nightly import run_night, run_phases
from crp_pipeline.runners import RayCluster, Workers
from crp_pipeline.runners.one_run import pinned
from crp_pipeline.storage import frame_hash, read_parquet, sha256
from crp_pipeline_tests.e2e.corridor import small_settings
from crp_pipeline_tests.e2e.night_process import home_of_a_night
from crp_pipeline_tests.e2e.ray_cluster import cluster_of_two
from crp_pipeline_tests.e2e.test_workers import process_of

pytestmark = pytest.mark.slow
COINS = (EDGE, NOISE) = ("EDGE-DEMO", "NOISE-DEMO")
CLOCK = "2024-06-03T00:15:00Z"
MEASURED = ("latency", "explanation", "summary", "drift/")
"""Tables that hold seconds, or the name of a version, which tells the moment at which it was registered."""


def settings_of(home: Path):
    return small_settings(home / "data", coins=COINS, clock=CLOCK)


def contents(data: Path) -> dict[str, str]:
    """Content hash of every table and every model of a night, by its place."""
    tables = [path for stage in data.iterdir() if stage.is_dir() for path in stage.rglob("*.parquet")]
    found = {path: frame_hash(read_parquet(path)) for path in tables if not any(word in str(path) for word in MEASURED)}
    models = [*data.glob("models/*/*.bundle/model.*"), *data.glob("ensemble/*.stack.json")]
    by_place = {str(path.relative_to(data)): it for path, it in [*found.items(), *((path, sha256(path)) for path in models)]}
    return {place: it for place, it in by_place.items() if "/versions/" not in place}


def verdicts(data: Path) -> dict[str, str]:
    return {coin: json.loads((data / "gate" / f"{coin}.json").read_text())["outcome"] for coin in COINS}


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    home = tmp_path_factory.mktemp("serial")
    settings = settings_of(home)
    with dg.DagsterInstance.ephemeral() as instance, pinned(settings):
        assert run_night(floor_plan(settings), COINS, instance) == []
    return home / "data"


def test_coins_at_a_time_and_one_that_is_killed_and_run_again_leave_the_same(serial, tmp_path):
    settings, killed = settings_of(tmp_path), []
    home_of_a_night(tmp_path, settings)

    def kill_once(line: str) -> None:
        if not killed and NOISE in line and "models/lightgbm" in line:
            killed.append(process_of(workers, NOISE))
            os.kill(killed[0], signal.SIGKILL)

    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        with Workers(settings, instance, jobs=2, tell=kill_once) as workers:
            assert run_phases(workers, COINS) == [NOISE]
        assert len(killed) == 1
        table = read_parquet(tmp_path / "data" / "summary" / "summary.parquet").set_index("coin")
        assert EDGE in table.index
        [run] = instance.get_runs(dg.RunsFilter(job_name="nightly", tags={"dagster/partition": NOISE}))
        assert run.status is dg.DagsterRunStatus.FAILURE
        with Workers(settings, instance, jobs=2, tell=lambda _: None) as workers:
            assert run_phases(workers, [NOISE]) == []
    assert contents(tmp_path / "data") == contents(serial)
    assert verdicts(tmp_path / "data") == verdicts(serial)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_coins_on_a_cluster_leave_the_same(serial, tmp_path):
    pytest.importorskip("ray", reason="ray is missing: pip install 'crp-pipeline[ray]'")
    settings = settings_of(tmp_path)
    home_of_a_night(tmp_path, settings)
    with (
        tempfile.TemporaryDirectory(prefix="ray") as folder,
        cluster_of_two(Path(folder)) as address,
        dg.instance_for_test(temp_dir=str(tmp_path)) as instance,
        RayCluster(settings, instance, address=address) as runner,
    ):
        assert run_phases(runner, COINS) == []
    assert contents(tmp_path / "data") == contents(serial)
    assert verdicts(tmp_path / "data") == verdicts(serial)
