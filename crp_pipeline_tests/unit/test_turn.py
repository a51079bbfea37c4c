"""One run at a time works on a coin."""

from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import pytest

from crp_pipeline.definitions import floor_plan
from crp_pipeline.defs import signals
from crp_pipeline.defs.automation import PHASES
from crp_pipeline.defs.turn import PARTITION, turn
from crp_pipeline.places import Places
from crp_pipeline_tests.e2e.corridor import small_settings

NIGHT = PHASES[3]
PATIENCE_S = 0.3


def run_of(job, coin):
    tags = {PARTITION: coin} | floor_plan(small_settings(Path("unused"))).resolve_job_def(job).tags
    return SimpleNamespace(run=SimpleNamespace(job_name=job, run_id=f"{job} {coin}", tags=tags), log=None)


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path)


def waits_for_a_night_of_a(places, job, coin):
    """Whether such a run waits while a night of coin A goes on; it must begin once that has ended."""
    begun, run = Event(), run_of(job, coin)

    def work():
        with turn(run, places):
            begun.set()

    with turn(run_of(NIGHT, "A"), places):
        worker = Thread(target=work, daemon=True)
        worker.start()
        waited = not begun.wait(PATIENCE_S)
    assert begun.wait(10)
    worker.join()
    return waited


def test_two_nights_of_a_coin_wait_for_one_another(places):
    assert waits_for_a_night_of_a(places, NIGHT, "A")


def test_nights_of_two_coins_do_not(places):
    assert not waits_for_a_night_of_a(places, NIGHT, "B")


def test_a_decision_about_a_bar_does_not_wait_for_a_night(places):
    assert not waits_for_a_night_of_a(places, signals.JOB, "A")


def test_a_rollback_does_not_wait_for_a_night_and_goes_first(places):
    assert not waits_for_a_night_of_a(places, "rollback", "A")
    assert run_of("rollback", "A").run.tags["dagster/priority"] == "100"
