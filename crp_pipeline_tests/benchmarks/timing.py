"""Seconds: of repeated calls as medians, of stretches of work, and of watched functions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter, process_time


def seconds(work: Callable[[], object], *, repeat: int = 3) -> tuple[float, float]:
    """Median wall seconds and median processor seconds of one call.

    Processor seconds are those of all threads and leave out the time in which other processes had the core: between two pieces
    of single-threaded work they are the fair ratio.
    """
    walls, processor = zip(*(once(work) for _ in range(repeat)), strict=True)
    return median(walls), median(processor)


def fastest(work: Callable[[], object], *, repeat: int = 5) -> float:
    """Least processor seconds of one call, after one that compiles and warms the caches."""
    work()
    return min(once(work)[1] for _ in range(repeat))


class Laps:
    """Wall and processor seconds of named stretches of work, each from the end of the one before."""

    def __init__(self) -> None:
        self.wall_s: dict[str, float] = {}
        self.processor_s: dict[str, float] = {}
        self._since = perf_counter(), process_time()

    def __call__(self, name: str) -> None:
        """End the stretch that this name is for."""
        now = perf_counter(), process_time()
        self.wall_s[name], self.processor_s[name] = now[0] - self._since[0], now[1] - self._since[1]
        self._since = now


class Meter:
    """Total seconds inside functions that were replaced by metered ones; nested calls count once."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._busy = False

    def watch(self, owner: object, name: str, *, as_part: str) -> None:
        """Replace `owner.name` by itself, metered."""
        function = getattr(owner, name)

        def metered(*arguments: object, **options: object) -> object:
            with self._counting(as_part):
                return function(*arguments, **options)

        setattr(owner, name, metered)

    @contextmanager
    def _counting(self, part: str) -> Iterator[None]:
        if self._busy:
            yield
            return
        self._busy, started = True, perf_counter()
        try:
            yield
        finally:
            self._busy = False
            self.seconds[part] = self.seconds.get(part, 0.0) + perf_counter() - started


def once(work: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds and processor seconds of one call."""
    wall, processor = perf_counter(), process_time()
    work()
    return perf_counter() - wall, process_time() - processor
