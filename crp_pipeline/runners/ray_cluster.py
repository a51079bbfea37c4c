"""Coins as tasks of a Ray cluster: one run per task, its steps in one process.

Dagster's own executor for Ray starts a process per step, some three seconds each, for twenty steps; here a coin pays for one
process, and later coins of the same process not even for that. Every node needs this package, the data folder under the same
name (or `CRP_STORAGE`) and Dagster's history (`CRP_DAGSTER_PG_URL`, or the same disk). Whoever looks at the cluster sees what
it is given, so no secret is: a run takes those of its node's own settings.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Self

import dagster as dg

from crp_pipeline.definitions import floor_plan
from crp_pipeline.runners.one_run import ENDED_EARLY, Assignment, Ended, PlanOf, Task, execute, pinned, report_lost, tasks_of
from crp_pipeline.settings import PipelineSettings, load_settings

COIN_DIED = "the process of this run died on the Ray cluster"


class RayCluster:
    """Executes runs on the nodes of a Ray cluster; a context, since the connection must be closed.

    A run takes as many of a node's processors as the settings give threads. It is tried once: a worker that dies is an outcome.
    """

    def __init__(
        self, settings: PipelineSettings, instance: dg.DagsterInstance, *, address: str, plan_of: PlanOf = floor_plan
    ) -> None:
        self._assignment = Assignment(plan_of, settings.without_secrets(), instance.get_ref(), Path.cwd())
        self._instance, self._address = instance, address
        self._waiting: dict[Any, Task] = {}

    def __enter__(self) -> Self:
        import ray

        # names of variables and their values are shown to whoever looks at the cluster: none is passed on from here
        ray.init(address=self._address, namespace="crp_pipeline", log_to_driver=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let the cluster go, which ends what still runs there: these runs are reported as failed."""
        import ray

        ray.shutdown()
        for task in self._waiting.values():
            report_lost(self._instance, task, ENDED_EARLY)
        self._waiting = {}

    def run(self, job: str, coins: Sequence[str | None]) -> Iterator[Ended]:
        """Run the job once per coin, wherever the cluster has room, and tell of each run as it ends."""
        import ray

        started = perf_counter()
        remote = ray.remote(num_cpus=self._assignment.settings.threads, max_retries=0)(execute_remotely)
        assignment = ray.put(self._assignment)
        self._waiting = {remote.remote(assignment, task): task for task in tasks_of(job, coins)}
        while self._waiting:
            [done], _ = ray.wait(list(self._waiting), num_returns=1)
            yield self._outcome(done, self._waiting.pop(done), started)

    def _outcome(self, done: Any, task: Task, started: float) -> Ended:
        import ray

        try:
            ended = ray.get(done)
        except ray.exceptions.RayError as error:
            lost = report_lost(self._instance, task, _why(error))
            return Ended(lost.task, lost.succeeded, perf_counter() - started, lost.errors)
        assert isinstance(ended, Ended)
        return ended


def _why(error: Exception) -> str:
    """What was raised on the cluster before the run could begin; otherwise how its process died."""
    import ray

    if isinstance(error, ray.exceptions.RayTaskError):
        return f"{type(error.cause).__name__}: {error.cause}"
    return f"{COIN_DIED}: {str(error).strip().splitlines()[0]}"


def execute_remotely(assignment: Assignment, task: Task) -> Ended:
    """Run the task in this process of the cluster, with the secrets of this node."""
    os.chdir(assignment.folder)
    settings = assignment.settings.with_secrets_of(load_settings())
    with dg.DagsterInstance.from_ref(assignment.instance) as instance, pinned(settings):
        return execute(assignment.plan_of(settings), instance, task)
