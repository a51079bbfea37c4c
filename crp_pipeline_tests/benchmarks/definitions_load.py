"""Seconds until Dagster knows the definitions, and who takes them: `python -m crp_pipeline_tests.benchmarks.definitions_load`.

A code server, a schedule tick and every step of a multiprocess run load the definitions once.
"""

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Annotated

import pandas as pd
import typer

from crp_pipeline.reporting.tables import to_text
from crp_pipeline_tests.benchmarks.fresh import ROOT

DEFINITIONS, OWN = "crp_pipeline.definitions", "crp_pipeline"
SHOWN = 12


@dataclass
class Imported:
    """A module as it was imported: what it took itself, and what it was the first to import."""

    name: str
    own_us: int
    whole_us: int
    children: list["Imported"] = field(default_factory=list)

    @property
    def package(self) -> str:
        """First part of the name."""
        return self.name.partition(".")[0]


def main(
    times: Annotated[int, typer.Option("--times", min=1, help="Fresh processes per line; medians are shown.")] = 5,
) -> None:
    """Print the seconds of a fresh import, next to that of dagster alone, and the packages that take them."""
    lines = {"nothing": "pass", "dagster": "import dagster", "pandas": "import pandas", "definitions": f"import {DEFINITIONS}"}
    taken: dict[str, list[float]] = defaultdict(list)
    for _ in range(times):
        for name, line in lines.items():
            taken[name].append(_run("-c", line)[0])
    rows = [(name, f"{median(all_s):.2f}", f"{min(all_s):.2f}") for name, all_s in taken.items()]
    print(f"\nfresh processes, {times} of each in turns\n")
    print(to_text(pd.DataFrame(rows, columns=["import", "median s", "fastest s"])))
    roots = read_import_times(_run("-X", "importtime", "-c", f"import {DEFINITIONS}")[1])
    print("\npackages by the time their own modules take (measured import by import, which makes all of it slower)\n")
    print(to_text(package_table(roots).head(SHOWN)))
    print("\nwhat our own modules take, and what they are the first to import, with all below it\n")
    print(to_text(request_table(roots).head(2 * SHOWN)))


def _run(*arguments: str) -> tuple[float, str]:
    started = perf_counter()
    environment = {**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    ended = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return perf_counter() - started, ended.stderr


def read_import_times(log: str) -> list[Imported]:
    """The trees of `python -X importtime`: a module is written after those that it imports, which stand two spaces deeper."""
    waiting: dict[int, list[Imported]] = defaultdict(list)
    for line in log.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if len(parts) != 3 or not parts[0].strip().isdigit():
            continue
        own, whole, name = parts
        depth = (len(name) - len(name.lstrip()) - 1) // 2
        waiting[depth].append(Imported(name.strip(), int(own), int(whole), waiting.pop(depth + 1, [])))
    return waiting[0]


def package_table(roots: list[Imported]) -> pd.DataFrame:
    """Seconds and number of each package's own modules, slowest first."""
    own, modules = defaultdict(int), defaultdict(int)
    for module, _ in _walk(roots):
        own[module.package] += module.own_us
        modules[module.package] += 1
    rows = [
        {"package": package, "own modules, s": f"{own[package] / 1e6:.3f}", "modules": modules[package]}
        for package in sorted(own, key=own.__getitem__, reverse=True)
    ]
    return pd.DataFrame(rows)


def request_table(roots: list[Imported]) -> pd.DataFrame:
    """What each of our modules takes itself, and what it was the first to ask others for, slowest first."""
    found = []
    for module, asked_by in _walk(roots):
        if module.package == OWN:
            found.append((module.own_us, module.name, "its own lines"))
        elif asked_by is not None and asked_by.package == OWN:
            found.append((module.whole_us, asked_by.name, module.name))
    rows = [{"seconds": f"{us / 1e6:.3f}", "our module": ours, "asks for": other} for us, ours, other in sorted(found)[::-1]]
    return pd.DataFrame(rows)


def _walk(modules: list[Imported], asked_by: Imported | None = None) -> Iterator[tuple[Imported, Imported | None]]:
    for module in modules:
        yield module, asked_by
        yield from _walk(module.children, module)


if __name__ == "__main__":
    typer.run(main)
