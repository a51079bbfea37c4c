"""Several runs at a time, each in a process that serves coin after coin.

Workers are forked from one server that has imported what is heavy, so that a worker costs tenths of a second and shares that
memory. A worker that dies takes one run with it, which is reported as failed; the next run gets a fresh one. A worker whose
parent dies ends its run and itself.
"""

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Lock, Thread
from time import perf_counter, sleep
from types import TracebackType
from typing import Self

import dagster as dg

from crp_pipeline.definitions import floor_plan
from crp_pipeline.runners.one_run import ENDED_EARLY, Assignment, Ended, PlanOf, Task, execute, pinned, report_lost, tasks_of
from crp_pipeline.settings import PipelineSettings

BOOSTERS = ("xgboost", "lightgbm", "catboost")
FOR_EVERY_NIGHT = ("crp_pipeline.definitions", "numba", "sklearn.linear_model", "statsmodels.api", "matplotlib.pyplot")
PATIENCE_S = 10.0
"""How long a worker that is asked to leave may take before it is ended."""

Tell = Callable[[str], object]
_ENDINGS = (EOFError, BrokenPipeError, ConnectionResetError, dg.DagsterExecutionInterruptedError)
"""How a worker learns that it is no longer needed."""


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    line: Connection
    """Tasks go in, outcomes come out."""
    relay: Thread


@dataclass
class _Busy:
    worker: _Worker
    task: Task
    started: float = field(default_factory=perf_counter)


class Workers:
    """A number of processes that execute runs; a context, since processes must be ended.

    `tell` is given every line that a worker writes, whole, so that lines of two coins never mix. `instance` must be a stored
    one: the workers open it anew.
    """

    def __init__(
        self, settings: PipelineSettings, instance: dg.DagsterInstance, *, jobs: int, tell: Tell, plan_of: PlanOf = floor_plan
    ) -> None:
        self._assignment = Assignment(plan_of, settings, instance.get_ref(), Path.cwd())
        self._instance, self._jobs, self._tell = instance, jobs, tell
        self._context = _context(settings)
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, _Busy] = {}
        self._telling = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let idle workers go, and end those that still work: their runs are reported as failed."""
        for busy in self._busy.values():
            busy.worker.process.terminate()
        for busy in self._busy.values():
            _leave(busy.worker)
            report_lost(self._instance, busy.task, ENDED_EARLY)
        for worker in self._idle:
            _leave(worker)
        self._busy, self._idle = {}, []

    def run(self, job: str, coins: Sequence[str | None]) -> Iterator[Ended]:
        """Run the job once per coin, as many at a time as there are workers, and tell of each run as it ends."""
        waiting = deque(tasks_of(job, coins))
        while waiting or self._busy:
            while waiting and len(self._busy) < self._jobs:
                self._give(waiting.popleft())
            for line in wait(list(self._busy)):
                assert isinstance(line, Connection)
                yield self._take(line)

    def _give(self, task: Task) -> None:
        worker = self._idle.pop() if self._idle else self._hire()
        try:
            worker.line.send(task)
        except OSError:  # it died while it had nothing to do
            worker = self._hire()
            worker.line.send(task)
        self._busy[worker.line] = _Busy(worker, task)

    def _take(self, line: Connection) -> Ended:
        busy = self._busy.pop(line)
        try:
            ended = line.recv()
        except (EOFError, OSError):
            busy.worker.process.join()
            return self._bury(busy)
        self._idle.append(busy.worker)
        assert isinstance(ended, Ended)
        return ended

    def _bury(self, busy: _Busy) -> Ended:
        busy.worker.relay.join()
        lost = report_lost(self._instance, busy.task, f"the process of this run {_how_it_ended(busy.worker.process)}")
        return Ended(lost.task, lost.succeeded, perf_counter() - busy.started, lost.errors)

    def _hire(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        reader, writer = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_serve, args=(self._assignment, theirs, writer), daemon=False)
        process.start()
        theirs.close()
        writer.close()
        relay = Thread(target=self._relay, args=(reader,), daemon=True)
        relay.start()
        return _Worker(process, ours, relay)

    def _relay(self, reader: Connection) -> None:
        """Pass on what a worker writes, line by line, until it has gone."""
        with reader, os.fdopen(os.dup(reader.fileno()), encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with self._telling:
                    self._tell(line.rstrip("\n"))


def _context(settings: PipelineSettings) -> ForkServerContext | SpawnContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*FOR_EVERY_NIGHT, *_libraries(settings)])
    return context


def _libraries(settings: PipelineSettings) -> list[str]:
    """The learning libraries that the roster needs."""
    boosters = [library for library in BOOSTERS if any(name.startswith(library) for name in settings.roster)]
    networks = [name for name in settings.roster if not name.startswith(BOOSTERS)]
    return [*boosters, *(["torch"] if networks else [])]


def _serve(assignment: Assignment, line: Connection, output: Connection) -> None:
    """Execute tasks until there are no more; all that this process writes goes to `output`."""
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False, encoding="utf-8") for number in (1, 2))  # noqa: SIM115
    Thread(target=_end_with_parent, daemon=True).start()
    os.chdir(assignment.folder)
    plan = assignment.plan_of(assignment.settings)
    with dg.DagsterInstance.from_ref(assignment.instance) as instance, pinned(assignment.settings), suppress(*_ENDINGS):
        while True:
            line.send(execute(plan, instance, line.recv()))


def _end_with_parent() -> None:
    """A run whose night is gone is ended like any run that is cancelled, so that no half-dead night works beside the next.

    A process that does not leave then, since it waits for processes of its own, is ended all the same.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    sleep(PATIENCE_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _leave(worker: _Worker) -> None:
    worker.line.close()
    worker.process.join(PATIENCE_S)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()
    worker.relay.join(PATIENCE_S)


def _how_it_ended(process: BaseProcess) -> str:
    code = process.exitcode
    return f"was killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with exit code {code}"
