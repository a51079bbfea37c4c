"""One run at a time works on a coin; a run that dies lets go."""

import fcntl
import os
import signal
import threading
from types import SimpleNamespace

import dagster as dg
import pandas as pd
import pytest

from crp_pipeline.defs.sharing import stage_io_manager
from crp_pipeline.defs.turn import PARTITION, turn
from crp_pipeline.places import Places
from crp_pipeline_tests.e2e.corridor import small_settings

COIN, OTHER = "EDGE-DEMO", "NOISE-DEMO"


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path)


def run_of(coin, name="first", told=None):
    """What a resource is told of a run."""
    log = SimpleNamespace(info=(told if told is not None else []).append)
    return SimpleNamespace(run=SimpleNamespace(run_id=name, tags={PARTITION: coin} if coin else {}), log=log)


def is_taken(places, coin):
    with places.turn(coin).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize("coin", [COIN, None])
def test_a_second_run_waits_for_the_first_one_and_says_for_whom(places, coin):
    order, told, waits = [], [], threading.Event()

    def second():
        context = run_of(coin, "second", told)
        context.log.info = lambda line: (told.append(line), waits.set())
        with turn(context, places):
            order.append("second")

    with turn(run_of(coin), places):
        waiting = threading.Thread(target=second)
        waiting.start()
        assert waits.wait(10)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]
    assert told == [f"{coin or 'all coins'}: run first is at work; this one waits for it to end"]
    assert places.turn(coin).read_text() == "second"


def test_runs_of_different_coins_do_not_wait_for_each_other(places):
    with turn(run_of(COIN), places), turn(run_of(OTHER), places), turn(run_of(None), places):
        assert is_taken(places, COIN)
        assert is_taken(places, OTHER)
    assert not is_taken(places, COIN)


def test_a_run_that_is_killed_lets_go(places):
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        with turn(run_of(COIN, "killed"), places):
            os.write(writing, b"x")
            signal.pause()
    os.read(reading, 1)
    assert is_taken(places, COIN)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with turn(run_of(COIN, "next"), places):
        assert places.turn(COIN).read_text() == "next"


def test_whoever_looks_at_a_value_without_a_run_takes_no_turn(places):
    with turn(SimpleNamespace(run=None, log=None), places):
        assert not places.turn(COIN).exists()


def test_a_run_has_its_turn_from_its_first_step_to_its_last_be_there_one_that_fails(places, tmp_path):
    seen = []

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition([COIN]))
    def candles() -> pd.DataFrame:
        seen.append(is_taken(places, COIN))
        return pd.DataFrame({"x": [1.0]})

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition([COIN]))
    def labels(candles: pd.DataFrame) -> pd.DataFrame:
        seen.append(is_taken(places, COIN))
        raise ValueError(candles.columns[0])

    resources = {"io_manager": stage_io_manager(small_settings(tmp_path), places)}
    result = dg.materialize([candles, labels], partition_key=COIN, resources=resources, raise_on_error=False)
    assert not result.success
    assert seen == [True, True]
    assert not is_taken(places, COIN)
