"""Several coins at a time on one machine: what a worker's life and death mean for a night."""

import os
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from crp_pipeline.depot import Depot
from crp_pipeline.nightly import progress_phrase, run_phases, runner_of, verdicts_of_the_night
from crp_pipeline.places import Places
from crp_pipeline.runners import Ended, Task, ThisProcess, Workers
from crp_pipeline.runners.workers import PATIENCE_S
from crp_pipeline.storage import write_parquet
from crp_pipeline_tests.e2e.corridor import small_settings
from crp_pipeline_tests.e2e.toy_plan import COINS, DIES, FAILS, TALKS, WAITS, toy_plan
from crp_pipeline_tests.e2e.web_server import wait_until

ROOT = Path(__file__).parents[2]
FAILURE, SUCCESS = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def instance(folder):
    with dg.instance_for_test(temp_dir=str(folder)) as it:
        yield it


def workers_of(folder, instance, *, jobs, tell=lambda _: None):
    return Workers(small_settings(folder / "data"), instance, jobs=jobs, tell=tell, plan_of=toy_plan)


def process_of(workers, coin):
    """Id of the process that works on a coin at this moment."""
    [busy] = [it for it in workers._busy.values() if it.task.coin == coin]
    return busy.worker.process.pid


def processes(folder):
    return {coin: int((folder / "data" / coin).read_text().split()[0]) for coin in COINS}


@pytest.fixture(scope="module")
def phase(folder, instance):
    """All coins by two workers, one of which is killed at coin B: outcomes by coin."""
    with workers_of(folder, instance, jobs=2) as workers:
        return {it.task.coin: it for it in workers.run("toy", COINS)}


def test_a_killed_process_costs_its_coin_and_no_other(phase, folder, instance):
    assert {coin for coin, it in phase.items() if not it.succeeded} == {DIES, FAILS}
    assert phase[DIES].errors == ("the process of this run was killed by SIGKILL",)
    assert phase[FAILS].errors[0].endswith("bad candles")
    runs = {coin: instance.get_run_by_id(it.task.run_id) for coin, it in phase.items()}
    assert {coin: run.tags["dagster/partition"] for coin, run in runs.items()} == dict(zip(COINS, COINS, strict=True))
    statuses = {coin: run.status for coin, run in runs.items()}
    assert statuses == {coin: FAILURE if coin in {DIES, FAILS} else SUCCESS for coin in COINS}
    told = [event.message for event in instance.all_logs(phase[DIES].task.run_id)]
    assert any("killed by SIGKILL" in message for message in told)


def test_a_process_serves_coin_after_coin_and_a_dead_one_is_replaced(phase, folder):
    found = processes(folder)
    assert len(set(found.values())) == 3
    assert os.getpid() not in found.values()
    assert list(found.values()).count(found[DIES]) <= 2


def test_workers_are_gone_when_the_night_is(phase, folder):
    for process in set(processes(folder).values()):
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_lines_of_two_coins_do_not_mix(folder, instance):
    lines = []
    with workers_of(folder, instance, jobs=2, tell=lines.append) as workers:
        assert all(it.succeeded for it in workers.run("talk", ["A", "B"]))
    printed = [line for line in lines if line.startswith(("AA", "BB"))]
    assert len(printed) == 2 * (TALKS + 1)
    assert sorted(printed) == sorted(f"{coin * 500} {end}" for coin in "AB" for end in [*range(TALKS), "from below"])
    logged = [line for line in lines if re.fullmatch(r"\d\d:\d\d:\d\d  [AB]  talk  line \d+", line)]
    assert len(logged) == 2 * TALKS
    unended = [line for line in lines if "without" in line]
    assert sorted(unended) == [f"{coin} without an end" for coin in "AB"]


def test_a_night_that_is_broken_off_ends_its_runs(folder, instance):
    with workers_of(folder, instance, jobs=2) as workers:
        first = next(workers.run("sleep", [WAITS, "A"]))
        process = process_of(workers, WAITS)
    assert (first.task.coin, first.succeeded) == ("A", True)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    [run] = instance.get_runs(dg.RunsFilter(job_name="sleep", tags={"dagster/partition": WAITS}))
    assert run.status == FAILURE


ALONE = """
import sys, dagster as dg
from pathlib import Path
from crp_pipeline_tests.e2e.test_workers import workers_of
folder = Path(sys.argv[1])
if __name__ == "__main__":
    with dg.instance_for_test(temp_dir=str(folder)) as instance, workers_of(folder, instance, jobs=2) as workers:
        list(workers.run("sleep", ["F"]))
"""


@pytest.mark.slow
def test_a_worker_whose_night_is_killed_ends_as_well(tmp_path):
    asleep = tmp_path / "data" / "asleep"
    (tmp_path / "night.py").write_text(ALONE)
    night = subprocess.Popen(
        [sys.executable, "night.py", str(tmp_path)], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        wait_until(lambda: asleep.exists() and asleep.read_text(), seconds=120, what="the run to sleep")
        worker = int(asleep.read_text())
    finally:
        night.kill()
        night.wait()
    wait_until(lambda: not is_alive(worker), seconds=2 * PATIENCE_S, what="the worker to end")


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_one_job_needs_no_other_process(folder, instance):
    settings = small_settings(folder)
    with runner_of(settings, instance, jobs=1) as runner:
        assert isinstance(runner, ThisProcess)
    with runner_of(settings, instance, jobs=2) as runner:
        assert isinstance(runner, Workers)


def test_the_table_of_a_night_is_the_one_that_another_machine_made(tmp_path):
    here, elsewhere = Places(tmp_path / "here"), Places(tmp_path / "elsewhere")
    depot, settings = Depot(f"file://{tmp_path}/depot"), small_settings(here.root, storage=f"file://{tmp_path}/depot")
    for coin in ("YESTERDAY", "TONIGHT"):
        write_parquet(elsewhere.frame("summary"), pd.DataFrame({"coin": [coin], "verdict": ["REJECT"]}))
        depot.push(elsewhere, None)
        assert coin in verdicts_of_the_night(settings, here)
    assert "YESTERDAY" not in verdicts_of_the_night(settings, here)


class OnPaper:
    """A runner that only says what it was asked; those of `failing` fail."""

    def __init__(self, *failing):
        self.failing, self.asked = failing, []

    def run(self, job, coins):
        for coin in coins:
            self.asked.append((job, coin))
            yield Ended(Task(job, coin, "x"), coin not in self.failing, 60.0)


def test_coins_that_end_in_another_order_are_named_in_their_own(capsys):
    class Backwards(OnPaper):
        def run(self, job, coins):
            yield from list(super().run(job, coins))[::-1]

    assert run_phases(Backwards("C", "A"), ["C", "B", "A"]) == ["C", "A"]
    assert "nightly_candles B: done in 60.0 s (2 of 3 coins, about " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("done", "n", "seconds", "phrase"),
    [
        (3, 20, 42.0, " (3 of 20 coins, about 4 min left)"),
        (19, 20, 95.0, " (19 of 20 coins, about 5 s left)"),
        (20, 20, 100.0, " (20 of 20 coins)"),
        (1, 1, 5.0, ""),
    ],
)
def test_progress_is_told_in_coins_and_time(done, n, seconds, phrase):
    assert progress_phrase(done, n, seconds) == phrase
