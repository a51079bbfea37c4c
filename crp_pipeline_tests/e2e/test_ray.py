"""Coins on a Ray cluster of two nodes."""

import tempfile
from pathlib import Path

import dagster as dg
import pytest

from crp_pipeline.runners import RayCluster
from crp_pipeline_tests.e2e.corridor import small_settings
from crp_pipeline_tests.e2e.ray_cluster import cluster_of_two
from crp_pipeline_tests.e2e.toy_plan import COINS, DIES, FAILS, WAITS, no_plan, toy_plan

pytest.importorskip("ray", reason="ray is missing: pip install 'crp-pipeline[ray]'")
pytestmark = [
    pytest.mark.slow,
    # ray's own: sockets that it leaves to the collector when it disconnects, and its word on accelerators
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def address():
    # a socket's path is short: pytest's folders are too deep
    with tempfile.TemporaryDirectory(prefix="ray") as folder, cluster_of_two(Path(folder)) as it:
        yield it


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ray")


@pytest.fixture(scope="module")
def instance(folder):
    with dg.instance_for_test(temp_dir=str(folder)) as it:
        yield it


@pytest.fixture(scope="module")
def phase(address, folder, instance):
    with RayCluster(small_settings(folder / "data"), instance, address=address, plan_of=toy_plan) as runner:
        return {it.task.coin: it for it in runner.run("toy", COINS)}


def test_a_process_that_dies_on_the_cluster_costs_its_coin_and_no_other(phase, instance):
    assert {coin for coin, it in phase.items() if not it.succeeded} == {DIES, FAILS}
    assert phase[DIES].errors[0].startswith("the process of this run died on the Ray cluster")
    assert phase[FAILS].errors[0].endswith("bad candles")
    runs = {coin: instance.get_run_by_id(it.task.run_id).status for coin, it in phase.items()}
    failed = dg.DagsterRunStatus.FAILURE
    assert {coin for coin, status in runs.items() if status is failed} == {DIES, FAILS}


def test_the_nodes_work_at_the_same_time(phase, folder):
    processes = {(folder / "data" / coin).read_text() for coin in COINS}
    assert 2 <= len(processes) < len(COINS)


def test_why_a_run_could_not_begin_is_told(address, folder, instance):
    with RayCluster(small_settings(folder / "data"), instance, address=address, plan_of=no_plan) as runner:
        [ended] = runner.run("toy", ["A"])
    assert (ended.succeeded, ended.errors) == (False, ("ValueError: roster is empty\non this node",))


def test_a_night_that_is_broken_off_ends_its_runs(address, folder, instance):
    with RayCluster(small_settings(folder / "data"), instance, address=address, plan_of=toy_plan) as runner:
        first = next(runner.run("sleep", [WAITS, "A"]))
    assert (first.task.coin, first.succeeded) == ("A", True)
    [run] = instance.get_runs(dg.RunsFilter(job_name="sleep", tags={"dagster/partition": WAITS}))
    assert run.status is dg.DagsterRunStatus.FAILURE
