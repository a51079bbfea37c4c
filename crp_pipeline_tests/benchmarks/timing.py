"""Wall seconds, as medians of a few repetitions: other work on the machine only ever makes a run slower."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import perf_counter, process_time


def seconds(work: Callable[[], object], *, repeat: int = 3) -> float:
    """Median wall seconds of one call."""
    return median(_once(work, perf_counter) for _ in range(repeat))


def seconds_and_cpu(work: Callable[[], object], *, repeat: int = 3) -> tuple[float, float]:
    """Median wall seconds and median processor seconds of one call, all threads together."""
    runs = [_both(work) for _ in range(repeat)]
    walls, cpus = zip(*runs, strict=True)
    return median(walls), median(cpus)


class Laps:
    """Seconds of named stretches of work, each from the end of the one before."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = perf_counter()

    def __call__(self, name: str) -> None:
        """End the stretch that this name is for."""
        now = perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
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


def _once(work: Callable[[], object], clock: Callable[[], float]) -> float:
    started = clock()
    work()
    return clock() - started


def _both(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = perf_counter(), process_time()
    work()
    return perf_counter() - wall, process_time() - cpu
