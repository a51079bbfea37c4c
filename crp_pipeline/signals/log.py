"""What was decided live, one line per decision, written before anyone can know what comes of it.

<folder>/decisions.jsonl    a hash chain: every decision, and every "no decision" with its reason
<folder>/decisions.head     hash of its last line

A bar keeps its first decision: one that came later, or about an earlier bar, is not written. "No decision" is none: it is
written once per bar and reason and never after a line about a later bar, and a decision may follow it while the bar is young
enough. Who brings a line that is not written hears the last one, as every reader does. A line costs the same after years as on
the first day, because the end of the chain is enough to add to it; `read` checks all of it.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crp_pipeline.chain import NO_ENTRY, Chain, no_writer, only_writer
from crp_pipeline.errors import DataContractError
from crp_pipeline.registry.card import COIN
from crp_pipeline.signals.signal import Signal
from crp_pipeline.storage import write_text

LOG, HEAD, LOCK = "decisions.jsonl", "decisions.head", ".lock"
BYTES_PER_LINE = 2_048
"""More than a line takes."""
RECENT = 64
"""Lines at the end of the chain that are read to add one, and at first by who looks back."""


@dataclass(frozen=True)
class Line:
    """One line of the log."""

    signal: Signal
    previous: str
    """SHA-256 of the line before."""


class SignalLog:
    """The live decisions of one coin."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / LOG
        self._chain = Chain(
            self._path, folder / HEAD, _line, owner=folder.name, called="log of live decisions", error=DataContractError
        )

    def read(self) -> list[Signal]:
        """Every line, oldest first; raises `DataContractError` naming the first line after one that was altered or removed."""
        with no_writer(self._folder / LOCK):
            return [line.signal for line in self._chain.links().told]

    def latest(self, n: int = 1) -> list[Signal]:
        """The last `n` lines, oldest first, each checked against the one after it; raises as `read` does."""
        with no_writer(self._folder / LOCK):
            return self._latest(n)

    def back_until(self, is_enough: Callable[[list[Signal]], bool]) -> list[Signal]:
        """The last lines, oldest first: so many that they are enough, or all of them; raises as `read` does."""
        n = RECENT
        lines = self.latest(n)
        while len(lines) == n and not is_enough(lines):
            n *= 4
            lines = self.latest(n)
        return lines

    def append(self, signal: Signal) -> Signal:
        """Write a line down and return the one that stands: this one, or the last that keeps it from being written."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with only_writer(self._folder / LOCK):
            before = self._latest(RECENT)
            standing = _standing(signal, before)
            if standing is not None:
                return standing
            self._mend()
            last = self._chain.append({**signal.to_dict(), "previous": self._chain.head})
            write_text(self._folder / HEAD, last)
        return signal

    def _latest(self, n: int) -> list[Signal]:
        tail = self._tail(n)
        if tail is None:
            return [line.signal for line in self._chain.links().told[-n:]]
        return tail

    def _tail(self, n: int) -> list[Signal] | None:
        """The last `n` lines read from the end of the file; None where they are too few, or the end is not in order."""
        if not self._path.exists():
            return [] if self._chain.head == NO_ENTRY else None
        size, wanted = self._path.stat().st_size, (n + 1) * BYTES_PER_LINE
        with self._path.open("rb") as file:
            file.seek(max(size - wanted, 0))
            part = file.read()
        lines = part.split(b"\n")
        whole = lines[:-1] if size <= wanted else lines[1:-1]
        is_short = size > wanted and len(whole) < n
        if lines[-1] or is_short or not _follow(whole, self._chain.head):
            return None
        try:
            return [_line(json.loads(line)).signal for line in whole[-n:]]
        except (KeyError, TypeError, ValueError):
            return None

    def _mend(self) -> None:
        """Do what a write that was cut off had left to do."""
        if self._tail(1) is None:
            self._chain.links()
            last = self._chain.mend()
            if last != self._chain.head:
                write_text(self._folder / HEAD, last)


def logged_coins(folder: Path) -> list[str]:
    """Coins with a log of live decisions below a folder, damaged ones included."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in paths if COIN.fullmatch(path.name) and _was_written(path))


def _was_written(folder: Path) -> bool:
    log = folder / LOG
    return (folder / HEAD).exists() or (log.exists() and log.stat().st_size > 0)


def _standing(signal: Signal, before: list[Signal]) -> Signal | None:
    """The last line where the signal is not to follow it, else None."""
    if not before:
        return None
    if signal.is_decided:
        is_late = any(line.is_decided and line.open_time >= signal.open_time for line in before)
    else:
        about_it = [line for line in before if line.open_time == signal.open_time]
        is_told = any(line.is_decided or line.reason == signal.reason for line in about_it)
        is_late = is_told or before[-1].open_time > signal.open_time
    return before[-1] if is_late else None


def _follow(lines: list[bytes], head: str) -> bool:
    """Whether each of these lines is the one that the next one, and at last the head, names."""
    named = [*_previous(lines[1:]), head]
    return [hashlib.sha256(line).hexdigest() for line in lines] == named if lines else head == NO_ENTRY


def _previous(lines: list[bytes]) -> Iterator[str]:
    for line in lines:
        try:
            yield str(json.loads(line)["previous"])
        except (ValueError, TypeError, KeyError):
            yield ""


def _line(document: Mapping[str, Any]) -> Line:
    told = dict(document)
    previous = told.pop("previous")
    return Line(Signal.from_dict(told), previous)
