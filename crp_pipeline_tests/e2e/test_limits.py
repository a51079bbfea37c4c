"""What is tried again, how long a run may take, what training waits for, and what becomes of a run whose process is gone."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.instance.config import PoolGranularity
from dagster._core.op_concurrency_limits_counter import GlobalOpConcurrencyLimitsCounter

from crp_pipeline.candles.source import read_source
from crp_pipeline.definitions import floor_plan
from crp_pipeline.defs import candles, dead_runs
from crp_pipeline.defs.automation import PHASES
from crp_pipeline.defs.dead_runs import HOST, PID, end_dead_runs, host_tag
from crp_pipeline.defs.pools import CPU_TRAINING, GPU
from crp_pipeline.errors import DataContractError, SilentExchangeError
from crp_pipeline_tests.e2e.corridor import small_settings

ROOT = Path(__file__).parents[2]
DAGSTER_YAML = yaml.safe_load((ROOT / "dagster.yaml").read_text(encoding="utf-8"))
COIN, RUNNING = "EDGE-DEMO", dg.DagsterRunStatus.STARTED


class Source:
    """A source of candles that fails some times, in one way, before it answers."""

    def __init__(self, error, failures):
        self.error, self.failures, self.asked = error, failures, 0

    def __call__(self, *arguments, **options):
        self.asked += 1
        if self.asked <= self.failures:
            raise self.error
        return read_source(*arguments, **options)


def candles_of(source, tmp_path, monkeypatch, **limits):
    monkeypatch.setattr(candles, "read_source", source)
    plan = floor_plan(small_settings(tmp_path, limits={"exchange_pause_s": 0.01, **limits}))
    with dg.DagsterInstance.ephemeral() as instance:
        return plan.resolve_job_def("nightly_candles").execute_in_process(
            partition_key=COIN, instance=instance, raise_on_error=False
        )


def retries_of(result):
    """Seconds that were waited before each new attempt."""
    return [event.step_retry_data.seconds_to_wait for event in result.all_events if event.is_step_up_for_retry]


SILENCE = SilentExchangeError("BTC-USDT (binance spot): no answer in 6 attempts")


def test_a_silent_exchange_is_asked_again_until_it_answers(tmp_path, monkeypatch):
    source = Source(SILENCE, failures=2)
    result = candles_of(source, tmp_path, monkeypatch)
    assert (result.success, source.asked) == (True, 3)
    assert len(retries_of(result)) == 2


def test_each_pause_is_about_twice_the_one_before(tmp_path, monkeypatch):
    source = Source(SILENCE, failures=4)
    pauses = retries_of(candles_of(source, tmp_path, monkeypatch, exchange_retries=4))
    assert len(pauses) == 4
    for pause, times in zip(pauses, (1, 3, 7, 15), strict=True):
        assert (times - 1) * 0.01 <= pause <= (times + 1) * 0.01


def test_an_exchange_that_stays_silent_fails_with_its_own_sentence(tmp_path, monkeypatch):
    source = Source(SILENCE, failures=99)
    result = candles_of(source, tmp_path, monkeypatch, exchange_retries=2)
    assert (result.success, source.asked) == (False, 3)
    [failure] = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    assert "no answer in 6 attempts" in (failure.cause or failure).message


@pytest.mark.parametrize("error", [DataContractError("BTC-USDT: row 3 is broken"), RuntimeError("a bug")])
def test_nothing_but_silence_is_tried_again(error, tmp_path, monkeypatch):
    source = Source(error, failures=1)
    result = candles_of(source, tmp_path, monkeypatch)
    assert (result.success, source.asked, retries_of(result)) == (False, 1, [])


def test_no_other_asset_is_ever_tried_again():
    plan = floor_plan(small_settings(Path("unused")))
    assert [asset.key for asset in plan.assets if asset.op.retry_policy is not None] == []


def test_every_job_carries_the_time_that_it_may_take():
    plan = floor_plan(small_settings(Path("unused"), limits={"run_minutes": 90}))
    jobs = [plan.resolve_job_def(name) for name in (*PHASES, "weekly_controls", "tune")]
    assert {job.tags["dagster/max_runtime"] for job in jobs} == {"5400"}


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    """An instance as dagster.yaml has it, in a folder of its own, with one run at a time in each pool."""
    home = tmp_path_factory.mktemp("home")
    told = {name: DAGSTER_YAML[name] for name in ("run_monitoring", "run_retries", "concurrency")}
    told["concurrency"]["pools"]["default_limit"] = 1
    (home / "dagster.yaml").write_text(yaml.safe_dump({**told, "telemetry": {"enabled": False}}), encoding="utf-8")
    with dg.DagsterInstance.from_config(str(home)) as it:
        yield it


def test_dagster_yaml_ends_runs_that_hang_and_repeats_those_that_crashed_and_no_others(instance):
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_start_timeout_seconds == 300
    assert instance.run_monitoring_max_runtime_seconds == small_settings(Path("unused")).limits.run_minutes * 60
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries == 1
    assert not instance.run_retries_retry_on_asset_or_op_failure


def is_blocked(instance, under_way, waiting):
    """Whether the queue holds a run back while another is under way, both made from jobs of the same plan."""
    config = instance.get_concurrency_config().pool_config
    records = [instance.get_run_record_by_id(run.run_id) for run in under_way]
    counter = GlobalOpConcurrencyLimitsCounter(
        instance,
        [waiting],
        records,
        instance.event_log_storage.get_concurrency_keys() | {CPU_TRAINING, GPU},
        instance.event_log_storage.get_pool_limits(),
        pool_granularity=config.pool_granularity,
    )
    return counter.is_blocked(waiting)


def test_runs_that_train_wait_for_one_another_and_for_nobody_else(instance):
    assert instance.get_concurrency_config().pool_config.pool_granularity is PoolGranularity.RUN
    plan = floor_plan(small_settings(Path("unused")))
    training, market = (
        instance.get_run_by_id(instance.create_run_for_job(plan.resolve_job_def(job), status=RUNNING).run_id)
        for job in ("nightly", "nightly_market")
    )
    assert training.run_op_concurrency.all_pools == {CPU_TRAINING}
    another = dg.DagsterRun(job_name="nightly", run_op_concurrency=training.run_op_concurrency)
    assert is_blocked(instance, [training], another)
    assert not is_blocked(instance, [], another), "a single coin waits for nobody"
    assert not is_blocked(instance, [market], another)
    assert not is_blocked(instance, [training], market)


def test_networks_that_are_trained_on_a_gpu_wait_there():
    changes = {"roster": ("lightgbm", "tcn"), "limits": {"networks_on_gpu": True}}
    graph = floor_plan(small_settings(Path("unused"), **changes))
    pools = {asset.key.to_user_string(): asset.op.pool for asset in graph.assets}
    assert (pools["models/tcn"], pools["models/hybrid"], pools["models/lightgbm"]) == (GPU, GPU, CPU_TRAINING)
    assert (pools["tuning/tcn"], pools["controls"], pools["features"], pools["candles"]) == (GPU, CPU_TRAINING, None, None)


SLEEPER = """
import sys, time
import dagster as dg
from crp_pipeline.defs.dead_runs import host_tag

@dg.asset
def sleeper():
    print("asleep", flush=True)
    time.sleep(600)

with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    dg.materialize([sleeper], instance=instance, tags=host_tag())
"""


@pytest.fixture
def sleeping(instance):
    """A process that executes a run, and the run."""
    command = [sys.executable, "-W", "ignore", "-c", SLEEPER, instance.root_directory]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, text=True) as process:
        assert process.stdout.readline() == "asleep\n"
        [run] = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED], tags=host_tag()))
        yield process, run.run_id
        process.kill()


def test_a_run_whose_process_was_killed_is_ended_and_one_that_lives_is_not(sleeping, instance, monkeypatch):
    process, run_id = sleeping
    said = []
    assert end_dead_runs(instance, log=said.append) == said == []
    assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.STARTED
    process.send_signal(signal.SIGKILL)
    process.wait()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(dead_runs.socket, "gethostname", lambda: "another-machine")
        assert end_dead_runs(instance, log=said.append) == [], "of another machine nothing is known"
    assert end_dead_runs(instance, log=said.append) == [run_id]
    assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.FAILURE
    assert said == [f"run {run_id} of __ephemeral_asset_job__: its process is gone, and it is ended"]
    assert end_dead_runs(instance, log=said.append) == []


def test_a_run_of_another_machine_is_left_alone_although_a_code_server_executes_it(sleeping, instance):
    process, run_id = sleeping
    process.kill()
    process.wait()
    instance.add_run_tags(run_id, {HOST: "another-machine", ".dagster/grpc_info": '{"host": "localhost"}'})
    assert end_dead_runs(instance, log=print) == []
    instance.add_run_tags(run_id, host_tag())
    assert end_dead_runs(instance, log=print) == [run_id]


def test_a_run_that_has_the_tags_of_the_one_it_repeats_is_not_taken_for_it(sleeping, instance):
    process, run_id = sleeping
    process.kill()
    process.wait()
    instance.add_run_tags(run_id, {PID: str(process.pid + 1)})
    assert end_dead_runs(instance, log=print) == []
    instance.add_run_tags(run_id, {PID: str(process.pid)})
    assert end_dead_runs(instance, log=print) == [run_id]


def test_a_run_tells_by_which_process_of_which_machine_it_is_executed(tmp_path):
    job = floor_plan(small_settings(tmp_path)).resolve_job_def("nightly_candles")
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(partition_key=COIN, instance=instance)
        tags = instance.get_run_by_id(result.run_id).tags
    assert (tags[HOST], tags[PID]) == (socket.gethostname(), str(os.getpid()))


def test_a_dead_run_is_ended_though_nobody_begins_the_nights(sleeping, instance):
    process, run_id = sleeping
    process.kill()
    process.wait()
    plan = floor_plan(small_settings(Path("unused"), automation={"begins": "by_hand"}))
    [sensor] = [it for it in plan.sensors if it.name == "dead_runs"]
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    tick = sensor.evaluate_tick(dg.build_sensor_context(instance, repository_def=plan.get_repository_def()))
    assert tick.skip_message == f"ended: {run_id}"
    assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.FAILURE


def test_a_process_that_came_later_by_the_same_number_is_another():
    assert dead_runs._lives(time.time(), os.getpid())
    assert not dead_runs._lives(time.time() - 86_400 * 365, os.getpid())


def test_a_run_by_hand_without_a_machine_is_left_alone(instance):
    run = instance.create_run_for_job(floor_plan(small_settings(Path("unused"))).resolve_job_def("nightly_market"))
    assert HOST not in run.tags
    assert end_dead_runs(instance, log=print) == []
