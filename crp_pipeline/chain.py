"""A file of lines that are only ever appended, each carrying the hash of the one before.

A write appends its line and then moves the head, which is the hash of the last line. The power may go in between, and what then
follows the line that the head names is the one thing that may be out of order:

    a part of a line   never happened: it is passed over, and the next write drops it
    one whole line     happened, but its head is pending: the next write moves the head before anything else

Everything else is damage, and nothing is written onto a damaged chain. No secret signs the lines: whoever writes all of them
and the head anew is found out only where an earlier head is known from elsewhere.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from crp_pipeline.errors import CrpError
from crp_pipeline.storage import named

NO_ENTRY = "0" * 64
"""What the first line of a chain carries in place of a hash."""


class Link(Protocol):
    """What one line says."""

    @property
    def previous(self) -> str:
        """SHA-256 of the line before."""


L = TypeVar("L", bound=Link)


@dataclass(frozen=True)
class Mark:
    """A place between two lines, to read on from; without arguments the place before the first."""

    lines: int = 0
    """Lines before it."""
    start: int = 0
    """Byte at which the last of them begins."""
    end: int = 0
    """Byte after it."""
    hash: str = NO_ENTRY
    """SHA-256 of it."""


BEGINNING = Mark()


@dataclass(frozen=True)
class Links(Generic[L]):
    """What a chain tells, oldest first."""

    told: tuple[L, ...]
    hashes: tuple[str, ...]
    """SHA-256 of each line."""
    pending: bool
    """True when the last line is there and its head is not yet."""
    end: Mark
    """The place after the last line."""


class Chain(Generic[L]):
    """A chain in one file and its head in another; whoever writes moves the head and is the only one who writes.

    `read` makes a link of a line's JSON and raises `ValueError`, `TypeError` or `KeyError` for what is none. Damage is an
    `error` that names the `owner`, the line and what the chain is called.
    """

    def __init__(
        self, path: Path, head: Path, read: Callable[[Any], L], *, owner: str, called: str, error: type[CrpError]
    ) -> None:
        self._path, self._head, self._read = path, head, read
        self._owner, self._called, self._error = owner, called, error

    def links(self, after: Mark = BEGINNING) -> Links[L]:
        """Every link after a place that `holds`; raises the error naming the first that follows an altered or removed line."""
        lines, torn = self._lines(after)
        hashes = tuple(map(_line_hash, lines))
        told, end = self._told(lines, hashes, after), _place_after(lines, hashes, after)
        before_last, last = (after.hash, after.hash, *hashes)[-2:]
        pending = bool(told) and not torn and self.head == before_last
        if not pending and self.head != last:
            raise self._error(f"{self._owner}: the {self._called} ends after line {end.lines}, which is not how it was left")
        return Links(told, hashes, pending, end)

    def holds(self, mark: Mark) -> bool:
        """True where the line before that place is the one that was there when it was marked."""
        if mark == BEGINNING:
            return True
        if not self._path.exists():
            return False
        with self._path.open("rb") as chain:
            chain.seek(mark.start)
            line = chain.read(mark.end - mark.start)
        return line.endswith(b"\n") and _line_hash(line[:-1]) == mark.hash

    def legible(self) -> tuple[L, ...]:
        """Every line that is a link by itself, whether or not it follows the one before it: what is left of a damaged chain."""
        return tuple(link for link in map(self._legible, self._lines(BEGINNING)[0]) if link is not None)

    @property
    def head(self) -> str:
        """The hash that the last line is said to have."""
        return self._head.read_text(encoding="utf-8", errors="replace") if self._head.exists() else NO_ENTRY

    def mend(self, after: Mark = BEGINNING) -> str:
        """Drop the part of a line that a write was cut off in and return the hash of the last whole line."""
        lines, torn = self._lines(after)
        if torn:
            with named(self._path), self._path.open("r+b") as chain:
                chain.truncate(after.end + sum(len(line) + 1 for line in lines))
                os.fsync(chain.fileno())
        return _line_hash(lines[-1]) if lines else after.hash

    def append(self, document: Mapping[str, object]) -> str:
        """Write one line, which must carry the head as `previous`, and return its hash."""
        line = json.dumps(document, sort_keys=True, allow_nan=False).encode()
        with named(self._path), self._path.open("ab") as chain:
            chain.write(line + b"\n")
            chain.flush()
            os.fsync(chain.fileno())
        return _line_hash(line)

    def _legible(self, line: bytes) -> L | None:
        try:
            return self._read(json.loads(line))
        except (ValueError, TypeError, KeyError):
            return None

    def _told(self, lines: list[bytes], hashes: tuple[str, ...], after: Mark) -> tuple[L, ...]:
        links: list[L] = []
        for number, (line, expected) in enumerate(zip(lines, (after.hash, *hashes), strict=False), start=after.lines + 1):
            place = f"{self._owner}: line {number} of the {self._called}"
            try:
                link = self._read(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise self._error(f"{place} cannot be read: {error}") from error
            if link.previous != expected:
                raise self._error(f"{place} does not follow the one before it")
            links.append(link)
        return tuple(links)

    def _lines(self, after: Mark) -> tuple[list[bytes], bytes]:
        """The whole lines after that place, and what follows the last of them."""
        if not self._path.exists():
            return [], b""
        with self._path.open("rb") as chain:
            chain.seek(after.end)
            *lines, torn = chain.read().split(b"\n")
        return lines, torn


@contextmanager
def only_writer(lock: Path) -> Iterator[None]:
    """Nobody else reads or writes meanwhile, in any process."""
    with named(lock):
        file = lock.open("w")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def no_writer(lock: Path) -> Iterator[None]:
    """Nobody writes meanwhile; nothing is created where nobody ever wrote."""
    if not lock.exists():
        yield
        return
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def _place_after(lines: list[bytes], hashes: tuple[str, ...], before: Mark) -> Mark:
    if not lines:
        return before
    end = before.end + sum(len(line) + 1 for line in lines)
    return Mark(before.lines + len(lines), end - len(lines[-1]) - 1, end, hashes[-1])


def _line_hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
