"""Runs whose process is gone: ended, so that nobody waits for them.

A process that is killed cannot say so. Dagster's code server notices when a run's process dies, and nobody notices when the
server dies with it, or when a night from the shell is killed: the run would stay STARTED, and the queue count it for ever.
Every run says in its tags by which process of which machine it is executed, and the system knows of its own whether they live.
Of the runs of other machines, which share the history, nothing is known here: a container is a machine with a name of its own.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import dagster as dg

HOST, PID = "crp/host", "crp/pid"
"""Tags of a run: the machine that executes it, and its process there."""
SLACK_S = 60.0
"""A process that began later than the event that names it is another; clocks of boot and of events differ by less."""


def host_tag() -> dict[str, str]:
    """What a run that is executed on this machine carries."""
    return {HOST: socket.gethostname()}


def tell_process(context: dg.InitResourceContext) -> None:
    """Write onto a run that this process executes it; who looks at values without a run writes nothing."""
    if context.run is not None and context.instance is not None:
        context.instance.add_run_tags(context.run.run_id, {**host_tag(), PID: str(os.getpid())})


def end_dead_runs(instance: dg.DagsterInstance, *, log: Callable[[str], object]) -> list[str]:
    """Mark as failed every started run of this machine whose process is gone; returns their ids."""
    under_way = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    here = instance.get_run_records(dg.RunsFilter(statuses=under_way, tags=host_tag()))
    dead = [it.dagster_run for it in here if _is_dead(instance, it.dagster_run)]
    for run in dead:
        sentence = f"run {run.run_id} of {run.job_name}: its process is gone, and it is ended"
        instance.report_run_failed(run, sentence)
        log(sentence)
    return [run.run_id for run in dead]


def _is_dead(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the latest process that said it executes the run is gone, and the run has not ended meanwhile.

    One whose process has said nothing yet is not dead, nor is one whose tags name another process: a run that repeats another
    has the tags of that one until its own process writes them.
    """
    events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    named = [(event.timestamp, pid) for event in events if (pid := _pid_of(event)) is not None]
    if not named:
        return False
    said_at, pid = named[-1]
    if run.tags.get(PID, str(pid)) != str(pid) or _lives(said_at, pid):
        return False
    now = instance.get_run_by_id(run.run_id)
    return now is not None and not now.is_finished


def _pid_of(event: dg.EventLogEntry) -> int | None:
    told = event.dagster_event.engine_event_data.metadata.get("pid") if event.dagster_event else None
    return int(str(told.value)) if told is not None else None


def _lives(said_at: float, pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # a process of another user; whether it is the one is not known
    began = _began(pid)
    return began is None or began <= said_at + SLACK_S


def _began(pid: int) -> float | None:
    """Unix time at which a process began; None where the system does not tell."""
    stat, boot = Path(f"/proc/{pid}/stat"), Path("/proc/stat")
    try:
        ticks = int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19])
        since = next(line for line in boot.read_text(encoding="utf-8").splitlines() if line.startswith("btime"))
    except (OSError, StopIteration, IndexError, ValueError):
        return None
    return float(since.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
