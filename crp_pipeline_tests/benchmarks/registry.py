"""Milliseconds of the registry's operations with 10 and 10,000 versions: `python -m crp_pipeline_tests.benchmarks.registry`.

One in ten versions was promoted, three in ten were found good, the rest was rejected. The registries are made by the registry
itself, which is spared its flushes meanwhile; while it is timed every flush reaches the disk and is counted.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Annotated

import pandas as pd
import typer

from crp_pipeline.gate import Criterion, Stage, judge
from crp_pipeline.gate.verdict import Verdict
from crp_pipeline.registry import Registry
from crp_pipeline.registry.state import state_of
from crp_pipeline.reporting.tables import to_text
from crp_pipeline.storage import write_text
from crp_pipeline_tests.benchmarks.timing import once

COIN, NOW = "BTC-USDT", datetime(2024, 1, 1, tzinfo=UTC)
PROMOTED = judge({"gain": 1.0}, (Criterion("gain", ">", 0, Stage.SKILL),))
REJECTED = judge({"gain": -1.0}, (Criterion("gain", ">", 0, Stage.SKILL),))
SHADOW = judge({"margin": -1.0}, (Criterion("margin", ">", 0, Stage.CHAMPION),))
VERDICTS = (PROMOTED, *[SHADOW] * 3, *[REJECTED] * 6)


class Flushes:
    """How often and how long the disk was waited for."""

    def __init__(self) -> None:
        self.n, self.seconds = 0, 0.0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count every flush within."""
        flush = os.fsync

        def counting(descriptor: int) -> None:
            started = perf_counter()
            flush(descriptor)
            self.n, self.seconds = self.n + 1, self.seconds + perf_counter() - started

        os.fsync = counting  # type: ignore[assignment]
        try:
            yield
        finally:
            os.fsync = flush


def main(
    versions: Annotated[int, typer.Option("--versions", help="Of the large registry.")] = 10_000,
    repeat: Annotated[int, typer.Option("--repeat", min=3, help="Medians of so many calls.")] = 15,
    disk: Annotated[Path | None, typer.Option("--on", help="Folder on the disk that is timed; the system's own, else.")] = None,
) -> None:
    """Print median milliseconds of each operation in a small and a large registry, their ratio, and the flushes among them."""
    with tempfile.TemporaryDirectory(dir=disk) as folder:
        small, large = (_measured(Path(folder), n, repeat) for n in (10, versions))
    table = pd.DataFrame(
        [
            {
                "operation": name,
                "10 versions, ms": round(small[name][0], 1),
                f"{versions:,} versions, ms": round(wall, 1),
                "ratio": round(wall / small[name][0], 1),
                "processor, ms": round(processor, 1),
                "flushes": n_flushes,
                "flushing, ms": round(flushing, 1),
            }
            for name, (wall, processor, n_flushes, flushing) in large.items()
        ]
    )
    print(f"medians of {repeat} calls; processor and flushes are those with {versions:,} versions\n")
    print(to_text(table))


def _measured(folder: Path, n: int, repeat: int) -> dict[str, tuple[float, float, int, float]]:
    """(wall ms, processor ms, flushes, ms of flushing) by operation."""
    book = _filled(folder / str(n), n)
    first = next(entry.version for entry in book.history(COIN) if entry.action == "promote")
    fresh = [_register(book, f"candidate {number}", PROMOTED) for number in range(repeat)]
    new = iter(range(10**9))
    again = iter(fresh)

    def history_at() -> None:
        reign = book.reign_at(COIN, NOW + timedelta(hours=2))
        book.card_alone(COIN, first if reign is None else reign.version)

    def in_full() -> None:
        state_of(COIN, book.history(COIN))

    operations: dict[str, Callable[[], object]] = {
        "champion": lambda: book.champion(COIN),
        "pointers": lambda: book.pointers(COIN),
        "is_rolled_back": lambda: book.is_rolled_back(COIN, first),
        "history --at": history_at,
        "register": lambda: _register(book, f"new {next(new)}", SHADOW),
        "promote": lambda: book.promote(COIN, next(again), PROMOTED, now=_moment(n)),
        "rollback": lambda: book.rollback(COIN, now=_moment(n)),
        "the whole journal": in_full,
    }
    return {name: _timed(work, repeat if name != "rollback" else repeat - 1) for name, work in operations.items()}


def _timed(work: Callable[[], object], repeat: int) -> tuple[float, float, int, float]:
    rounds = []
    for _ in range(repeat):
        flushes = Flushes()
        with flushes.counted():
            wall_s, processor_s = once(work)
        rounds.append((1e3 * wall_s, 1e3 * processor_s, flushes.n, 1e3 * flushes.seconds))
    wall, processor, n, flushing = (median(values) for values in zip(*rounds, strict=True))
    return wall, processor, round(n), flushing


def _filled(root: Path, n: int) -> Registry:
    """A registry of `n` versions."""
    book, flush = Registry(root / "registry"), os.fsync
    os.fsync = lambda _: None  # type: ignore[assignment]
    try:
        for number in range(n):
            verdict = VERDICTS[number % len(VERDICTS)]
            version = _register(book, str(number), verdict, now=_moment(number))
            if verdict is PROMOTED:
                book.promote(COIN, version, PROMOTED, now=_moment(number))
    finally:
        os.fsync = flush
    return book


def _register(book: Registry, content: str, verdict: Verdict, *, now: datetime = NOW) -> str:
    write_text(book.root.parent / "bundle" / "model.txt", content)
    card = {"coin": COIN, "verdict": verdict.to_dict(), "recipe": f"recipe{len(content)}", "feature_set_id": "set"}
    return book.register(book.root.parent / "bundle", card, now=now)


def _moment(number: int) -> datetime:
    return NOW + timedelta(hours=number)


if __name__ == "__main__":
    typer.run(main)
