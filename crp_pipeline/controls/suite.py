"""Many seeds of every control side by side, one process each."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from multiprocessing import get_context
from time import perf_counter

from crp_pipeline.controls.expectation import Outcome
from crp_pipeline.controls.experiments import EXPERIMENTS, run_experiment
from crp_pipeline.controls.report import ControlReport
from crp_pipeline.provenance import source_hash

NULL_RUNS_PER_PLANTED = 3
"""A false promotion is what must be rarest, so most runs look for one."""

Job = tuple[str, int]
"""Name of an experiment, and its seed."""


def run_suite(
    *,
    runs: int,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
    now: datetime | None = None,
) -> ControlReport:
    """Every control on `runs` null markets and a third as many of each planted edge; seeds from `seed` on.

    An experiment that raises or whose process dies holds up no other: its controls have failed, and say why. The same seeds
    give the same outcomes, however many workers run them. `progress` is told one line per finished market.
    """
    if runs < 1:
        raise ValueError(f"runs must be at least 1, got {runs}")
    started, jobs = perf_counter(), list(_jobs(runs, seed))
    done: dict[Job, tuple[Outcome, ...]] = {}
    for job, outcomes in _finished(jobs, workers or os.cpu_count() or 1):
        done[job] = outcomes
        progress(_line(outcomes, len(done), len(jobs), perf_counter() - started))
    told = tuple(outcome for job in jobs for outcome in done[job])
    at = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
    return ControlReport(source_hash(), at, perf_counter() - started, told)


def _finished(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, tuple[Outcome, ...]]]:
    """Each experiment with its outcomes, as they come.

    A process that dies takes the others of its pool with it, and nobody can tell which of them it was: those that did not
    finish are run again one after the other, each in a process of its own.
    """
    cut_off = []
    with _pool(workers) as pool:
        futures = {pool.submit(run_experiment, *job): job for job in jobs}
        for future in as_completed(futures):
            outcomes = _outcomes(future, futures[future])
            if outcomes is None:
                cut_off.append(futures[future])
            else:
                yield futures[future], outcomes
    for job in cut_off:
        with _pool(1) as pool:
            outcomes = _outcomes(pool.submit(run_experiment, *job), job)
        yield job, _failed(job, "its process died") if outcomes is None else outcomes


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def _outcomes(future: Future[tuple[Outcome, ...]], job: Job) -> tuple[Outcome, ...] | None:
    """What an experiment came to; None where its pool died, failures with the reason where it raised."""
    try:
        return future.result()
    except BrokenProcessPool:
        return None
    except Exception as error:  # noqa: BLE001 - whatever stops an experiment is the outcome of its controls
        return _failed(job, repr(error))


def _failed(job: Job, why: str) -> tuple[Outcome, ...]:
    name, seed = job
    sentence = f"{name} on seed {seed} came to nothing: {why}"
    return tuple(Outcome(control, seed, False, "", "", {}, error=sentence) for control in EXPERIMENTS[name].controls)


def _jobs(runs: int, seed: int) -> Iterator[Job]:
    for name, experiment in EXPERIMENTS.items():
        count = runs if experiment.is_null else max(1, runs // NULL_RUNS_PER_PLANTED)
        yield from ((name, seed + number) for number in range(count))


def _line(outcomes: tuple[Outcome, ...], number: int, total: int, seconds: float) -> str:
    left = seconds / number * (total - number)
    told = outcomes[0].error or "; ".join(
        f"{outcome.control}: {outcome.verdict or ('yes' if outcome.happened else 'no')}" for outcome in outcomes
    )
    return f"control {number} of {total}, seed {outcomes[0].seed}, about {left:.0f} s left: {told}"
