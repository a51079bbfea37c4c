"""Whole nights of 1, 5 and 20 coins: `python -m crp_pipeline_tests.benchmarks.night [--coins 1 --coins 5] [--jobs 2] [--to FILE]`.

Each night is `python -m crp_pipeline.nightly` in a fresh process and folder, first one coin after another, the largest also with
`--jobs`. Processes are watched from outside (psutil); what an asset's own body took is read from the history that Dagster keeps:
from its last input to its first output. All else is fixed cost: start, imports, events, files, and what lies between the steps.
"""

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Literal

import dagster as dg
import pandas as pd
import psutil
import typer

from crp_pipeline.reporting.tables import to_markdown
from crp_pipeline.settings import PipelineSettings, load_settings
from crp_pipeline.storage import write_text
from crp_pipeline_tests.benchmarks.fresh import MIB
from crp_pipeline_tests.e2e.corridor import small_settings
from crp_pipeline_tests.e2e.night_process import home_of_a_night, start_night

SAMPLE_S = 2.0
QUIET = 0.3
"""Load of others up to which wall times say something about the night alone."""
WORTH_MIB = 50.0
"""Smaller processes, such as git's, are not told of."""
FLEET = 1_000
"""Coins that the sizes are extrapolated to."""
BEFORE_BODY, AFTER_BODY = {"STEP_START", "STEP_INPUT", "LOADED_INPUT"}, {"STEP_OUTPUT", "STEP_FAILURE"}
Size = Literal["small", "default"]


@dataclass(frozen=True)
class Night:
    """What one night took."""

    coins: int
    jobs: int
    wall_s: float
    processor_s: float
    bodies_s: float
    """Inside the bodies of all assets of all runs."""
    runs_s: float
    """From start to end of all runs, added up."""
    coin_fixed_s: float
    """Mean over the coins of their runs' length less the bodies in them."""
    peak_mib: tuple[float, ...]
    """Most memory of the largest processes, largest first."""
    data_mib: float
    history_mib: float
    load: float
    """Mean number of other processes that wanted a processor meanwhile."""

    @property
    def start_s(self) -> float:
        """Per coin, what lies outside all runs: start, imports, the table of verdicts; of one coin after another."""
        return (self.wall_s - self.runs_s) / self.coins


def main(
    coins: Annotated[list[int] | None, typer.Option("--coins", min=1, help="Sizes of the nights.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=2, help="Coins at a time in the last night.")] = 2,
    size: Annotated[
        str, typer.Option("--size", help="small: 3,000 bars and one booster; default: the settings' defaults.")
    ] = "small",
    to: Annotated[Path | None, typer.Option("--to", help="Markdown file that the tables are written to as well.")] = None,
) -> None:
    """Print what nights cost, what is fixed, what several processes bring, and what a thousand coins would take."""
    sizes = sorted(coins or (1, 5, 20))
    nights = [measured(n, jobs=1, size=size) for n in sizes]
    together = measured(sizes[-1], jobs=jobs, size=size)
    text = document([*nights, together], size)
    typer.echo(text)
    if to is not None:
        write_text(to, text)


def settings_of(home: Path, n: int, size: str) -> PipelineSettings:
    """Demo coins by number, half of them with an edge."""
    names = tuple(f"{'EDGE' if number % 2 else 'NOISE'}-DEMO-{number}" for number in range(1, n + 1))
    make = small_settings if size == "small" else load_settings
    return make(data_dir=home / "data", coins=names, source="demo")


def measured(n: int, *, jobs: int, size: str) -> Night:
    """A night of so many coins in a folder of its own."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        environment = home_of_a_night(home, settings_of(home, n, size))
        process, started = start_night(home, environment, "--jobs", str(jobs)), perf_counter()
        watch = Watch(process.pid)
        while _is_at_work(process):
            watch.look()
        wall_s = perf_counter() - started
        told = (home / "night.log").read_text()
        if process.returncode:
            sys.exit(f"a night of {n} coins ended with {process.returncode}:\n{told}")
        bodies = _bodies_by_coin(home)
        runs = _runs_by_coin(told)
        return Night(
            coins=n,
            jobs=jobs,
            wall_s=wall_s,
            processor_s=watch.processor_s,
            bodies_s=sum(bodies.values()),
            runs_s=sum(runs.values()),
            coin_fixed_s=sum(wall - bodies[coin] for coin, wall in runs.items() if coin) / n,
            peak_mib=watch.peaks(),
            data_mib=_size(home / "data") - _size(home / "data" / ".dagster"),
            history_mib=_size(home / "data" / ".dagster"),
            load=watch.others,
        )


def _is_at_work(process: subprocess.Popen[bytes]) -> bool:
    """False as soon as the process has ended, true when it has not for another while."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(SAMPLE_S)
    return process.returncode is None


class Watch:
    """What a process and all that it starts have used so far, seen by looking again and again."""

    def __init__(self, process: int) -> None:
        self._root = psutil.Process(process)
        self._processor: dict[int, float] = {}
        self._peak: dict[int, float] = {}
        self._others: list[float] = []

    def look(self) -> None:
        """Look once at every process that is there."""
        try:
            tree = [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for it in tree:
            try:
                times = it.cpu_times()
                self._processor[it.pid] = times.user + times.system
                self._peak[it.pid] = max(self._peak.get(it.pid, 0.0), it.memory_full_info().uss / MIB)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        self._others.append(os.getloadavg()[0] - sum(1 for it in tree if _is_running(it)))

    @property
    def processor_s(self) -> float:
        """Processor seconds of all processes together."""
        return sum(self._processor.values())

    @property
    def others(self) -> float:
        """Mean load of the machine less our own running processes."""
        return max(0.0, mean(self._others))

    def peaks(self) -> tuple[float, ...]:
        """Memory of its own that each of the largest processes ever held, in MiB."""
        return tuple(sorted((it for it in self._peak.values() if it > WORTH_MIB), reverse=True)[:4])


def _is_running(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_RUNNING)
    except psutil.NoSuchProcess:
        return False


def _runs_by_coin(told: str) -> dict[str, float]:
    """Seconds of all runs of a coin, and of those over all coins, as the night says them."""
    seconds: dict[str, float] = defaultdict(float)
    for coin, wall in re.findall(r"^nightly\w*(?: (\S+))?: done in ([\d.]+) s", told, re.MULTILINE):
        seconds[coin] += float(wall)
    return seconds


def _bodies_by_coin(home: Path) -> dict[str, float]:
    """Seconds inside asset bodies of all runs of a coin, and of those over all coins."""
    seconds: dict[str, float] = defaultdict(float)
    before = Path.cwd()
    os.chdir(home)  # the storages in dagster.yaml lie relative to it
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            for run in instance.get_runs():
                seconds[run.tags.get("dagster/partition", "")] += _bodies(instance.all_logs(run.run_id))
    finally:
        os.chdir(before)
    return seconds


def _bodies(log: Iterable[dg.EventLogEntry]) -> float:
    """Seconds from each step's last input to its first output."""
    events = [(it.step_key, it.dagster_event.event_type_value, it.timestamp) for it in log if it.dagster_event and it.step_key]
    total = 0.0
    for _, of_step in groupby(sorted(events, key=lambda it: it[0]), key=lambda it: it[0]):
        told = list(of_step)
        ready = [at for _, kind, at in told if kind in BEFORE_BODY]
        done = [at for _, kind, at in told if kind in AFTER_BODY]
        total += min(done) - max(ready) if ready and done else 0.0
    return total


def _size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / MIB


def document(nights: list[Night], size: str) -> str:
    """The tables as Markdown."""
    serial, together = nights[:-1], nights[-1]
    parts = [
        (
            f"# What a night costs\n\nWritten by `python -m crp_pipeline_tests.benchmarks.night`; demo coins, {_words(size)}, on "
            f"{os.cpu_count()} cores.\n"
        ),
        to_markdown(pd.DataFrame([_row(night) for night in nights])),
        _ratios(serial, together),
        _disturbance(nights),
        _extrapolated(serial, together),
    ]
    return "\n".join(parts)


def _words(size: str) -> str:
    return "3,000 bars, one booster, four folds" if size == "small" else "the default settings"


def _row(night: Night) -> dict[str, object]:
    return {
        "coins": night.coins,
        "at a time": night.jobs,
        "wall s": f"{night.wall_s:.0f}",
        "wall s per coin": f"{night.wall_s / night.coins:.1f}",
        "processor s per coin": f"{night.processor_s / night.coins:.1f}",
        "in asset bodies, s per coin": f"{night.bodies_s / night.coins:.1f}",
        "fixed in a coin's runs, s": f"{night.coin_fixed_s:.2f}",
        "start and end, s per coin": f"{night.start_s:.2f}" if night.jobs == 1 else "",
        "peak MiB of the largest processes": ", ".join(f"{it:.0f}" for it in night.peak_mib),
        "tables MiB per coin": f"{night.data_mib / night.coins:.1f}",
        "history MiB per coin": f"{night.history_mib / night.coins:.1f}",
        "load of others": f"{night.load:.1f}",
    }


def _ratios(serial: list[Night], together: Night) -> str:
    alone = serial[-1]
    return (
        f"\n{together.coins} coins {together.jobs} at a time are {alone.wall_s / together.wall_s:.2f} times as fast as one after "
        f"another ({alone.wall_s:.0f} s / {together.wall_s:.0f} s). Per coin, {alone.coins} coins cost "
        f"{alone.processor_s / alone.coins / (serial[0].processor_s / serial[0].coins):.2f} times the processor seconds of "
        f"{serial[0].coins}.\n"
    )


def _disturbance(nights: list[Night]) -> str:
    load = max(night.load for night in nights)
    if load <= QUIET:
        return ""
    return (
        f"**Others worked on this machine meanwhile** (a load of up to {load:.1f} beside ours): wall times and their ratio are "
        "those of a crowded machine, and say nothing about an idle one; processor seconds and memory do.\n"
    )


def _extrapolated(serial: list[Night], together: Night) -> str:
    """Least squares of processor seconds and memory over the number of coins, and what that means for a fleet."""
    first, last = serial[0], serial[-1]
    slope = (last.processor_s - first.processor_s) / max(1, last.coins - first.coins)
    base = max(0.0, first.processor_s - slope * first.coins)
    disk = (last.data_mib + last.history_mib) / last.coins
    worker, main_process = together.peak_mib[0] / 1024, together.peak_mib[-1] / 1024
    hours = (base + slope * FLEET) / 3600
    return (
        f"## {FLEET:,} coins\n\n"
        f"Processor seconds of n coins: {base:.0f} + {slope:.1f} n, from the nights of {first.coins} and {last.coins}. So "
        f"{FLEET:,} coins take {base:.0f} + {slope:.1f} x {FLEET:,} = {base + slope * FLEET:,.0f} processor seconds = "
        f"{hours:.1f} processor hours: {60 * hours / 2:,.0f} minutes on 2 cores, {60 * hours / 64:,.0f} on 64. "
        f"Memory: {worker:.2f} GiB per process that works on a coin, so 64 at a time take 64 x {worker:.2f} = "
        f"{64 * worker:.0f} GiB, and {main_process:.2f} GiB for the process that gives them out. Disk: {disk:.1f} MiB per coin "
        f"and night's tables and history, so {disk * FLEET / 1024:.0f} GiB.\n"
    )


if __name__ == "__main__":
    typer.run(main)
