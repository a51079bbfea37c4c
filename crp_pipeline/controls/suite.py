"""Many seeds of every control side by side, one process each."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from multiprocessing import get_context
from time import perf_counter

from crp_pipeline.controls.expectation import Outcome
from crp_pipeline.controls.experiments import EXPERIMENTS, run_experiment
from crp_pipeline.controls.report import ControlReport
from crp_pipeline.provenance import source_hash

NULL_RUNS_PER_PLANTED = 3
"""A false promotion is what must be rarest, so most runs look for one."""


def run_suite(
    *,
    runs: int,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
    now: datetime | None = None,
) -> ControlReport:
    """Every control on `runs` null markets and a third as many of each planted edge; seeds from `seed` on.

    The same seeds give the same outcomes, however many workers run them. `progress` is told one line per finished market.
    """
    if runs < 1:
        raise ValueError(f"runs must be at least 1, got {runs}")
    started, jobs = perf_counter(), list(_jobs(runs, seed))
    done: dict[tuple[str, int], tuple[Outcome, ...]] = {}
    with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=get_context("spawn")) as pool:
        futures: dict[Future[tuple[Outcome, ...]], tuple[str, int]] = {pool.submit(run_experiment, *job): job for job in jobs}
        for number, future in enumerate(as_completed(futures), start=1):
            done[futures[future]] = future.result()
            progress(_line(done[futures[future]], number, len(jobs), perf_counter() - started))
    outcomes = tuple(outcome for job in jobs for outcome in done[job])
    at = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
    return ControlReport(source_hash(), at, perf_counter() - started, outcomes)


def _jobs(runs: int, seed: int) -> Iterator[tuple[str, int]]:
    for name, experiment in EXPERIMENTS.items():
        count = runs if experiment.is_null else max(1, runs // NULL_RUNS_PER_PLANTED)
        yield from ((name, seed + number) for number in range(count))


def _line(outcomes: tuple[Outcome, ...], number: int, total: int, seconds: float) -> str:
    left = seconds / number * (total - number)
    told = "; ".join(f"{outcome.control}: {outcome.verdict or ('yes' if outcome.happened else 'no')}" for outcome in outcomes)
    return f"control {number} of {total}, seed {outcomes[0].seed}, about {left:.0f} s left: {told}"
