"""One run of one job, wherever it is executed, and what became of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Protocol
from uuid import uuid4

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from threadpoolctl import threadpool_limits

from crp_pipeline.defs.causes import cause_of
from crp_pipeline.defs.dead_runs import host_tag
from crp_pipeline.settings import PipelineSettings

ENDED_EARLY = "the night was ended before this run was done"
PlanOf = Callable[[PipelineSettings], dg.Definitions]


@dataclass(frozen=True)
class Task:
    """A run that is asked for; `coin` is None where the job spans all coins."""

    job: str
    coin: str | None
    run_id: str

    def __str__(self) -> str:
        return f"{self.job} {self.coin}" if self.coin else self.job


@dataclass(frozen=True)
class Ended:
    """What became of a task."""

    task: Task
    succeeded: bool
    seconds: float
    errors: tuple[str, ...] = ()
    """One sentence per failed step."""


@dataclass(frozen=True)
class Assignment:
    """What a process needs to know in order to run the tasks of a night."""

    plan_of: PlanOf
    """A function of a module, since another process must find it."""
    settings: PipelineSettings
    instance: InstanceRef
    folder: Path
    """Working directory of whoever asked: relative places count from there."""


class Runner(Protocol):
    """Whoever executes the runs of a phase."""

    def run(self, job: str, coins: Sequence[str | None]) -> Iterator[Ended]:
        """Run the job once per coin and tell of each run as it ends."""


def tasks_of(job: str, coins: Sequence[str | None]) -> list[Task]:
    """One task per coin, each with a run id of its own."""
    return [Task(job, coin, str(uuid4())) for coin in coins]


def execute(floor_plan: dg.Definitions, instance: dg.DagsterInstance, task: Task) -> Ended:
    """Run the task in this process; an asset that fails is an outcome and no exception."""
    started = perf_counter()
    job = floor_plan.resolve_job_def(task.job)
    result = job.execute_in_process(
        partition_key=task.coin, instance=instance, raise_on_error=False, run_id=task.run_id, tags=host_tag()
    )
    errors = (
        f"{event.step_key}: {cause_of(error)}"
        for event in result.all_events
        if event.is_step_failure and (error := event.step_failure_data.error) is not None
    )
    return Ended(task, bool(result.success), perf_counter() - started, tuple(errors))


def pinned(settings: PipelineSettings) -> threadpool_limits:
    """A context in which linear algebra takes the settings' threads and no more: its last digits may depend on their number."""
    return threadpool_limits(limits=settings.threads)


def report_lost(instance: dg.DagsterInstance, task: Task, why: str) -> Ended:
    """The outcome of a task whose process is gone; its run is marked as failed, and gives back what it held."""
    run = instance.get_run_by_id(task.run_id)
    if run is not None and not run.is_finished:
        instance.report_run_failed(run, why)
    if instance.event_log_storage.supports_global_concurrency_limits:
        instance.event_log_storage.free_concurrency_slots_for_run(task.run_id)
    return Ended(task, succeeded=False, seconds=0.0, errors=(why,))
