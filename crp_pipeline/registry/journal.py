"""A coin's journal: lines that are only ever appended, each carrying the hash of the one before.

A write appends its line and then moves the head, which is the hash of the last line. The power may go in between, and what then
follows the line that the head names is the one thing that may be out of order:

    a part of a line   never happened: it is passed over, and the next write drops it
    one whole line     happened, but its head is pending: the next write moves the head before anything else

Everything else is damage, and nothing is written onto a damaged journal.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from crp_pipeline.errors import RegistryError
from crp_pipeline.storage import write_text

NO_ENTRY = "0" * 64
"""What the first line of a journal carries in place of a hash."""
JOURNAL = "journal.jsonl"
HEAD = "journal.head"
ACTIONS = ("register", "promote", "reject", "rollback")


@dataclass(frozen=True)
class Entry:
    """One line of a coin's journal."""

    at: str
    """UTC, ISO 8601."""
    action: str
    """`register`, `promote`, `reject` or `rollback`."""
    version: str
    reason: str
    previous: str
    """SHA-256 of the line before."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for an unknown action, `TypeError` for a value that is no text."""
        if not all(isinstance(value, str) for value in vars(self).values()):
            raise TypeError("every value of an entry is a text")
        if self.action not in ACTIONS:
            raise ValueError(f"there is no action {self.action!r}")


@dataclass(frozen=True)
class Record:
    """What a journal tells, oldest first."""

    entries: tuple[Entry, ...]
    pending: bool
    """True when the last line is there and its head is not yet."""

    @property
    def sealed(self) -> tuple[Entry, ...]:
        """The entries up to the head."""
        return self.entries[:-1] if self.pending else self.entries

    def versions(self, action: str) -> set[str]:
        """Versions that the action was ever done to."""
        return {entry.version for entry in self.entries if entry.action == action}


class Journal:
    """The journal in a coin's folder; whoever writes holds the coin's lock."""

    def __init__(self, folder: Path) -> None:
        self._coin = folder.name
        self._path = folder / JOURNAL
        self._head = folder / HEAD

    def read(self) -> Record:
        """Every entry; raises `RegistryError` naming the first line after one that was altered or removed."""
        lines, torn = self._lines()
        entries, hashes = self._chain(lines), [NO_ENTRY, *map(_line_hash, lines)]
        head = self._head_hash()
        pending = bool(entries) and not torn and head == hashes[-2]
        if not pending and head != hashes[-1]:
            raise RegistryError(f"{self._coin}: the journal ends after line {len(entries)}, which is not how it was left")
        return Record(entries, pending)

    def repair(self) -> None:
        """Finish or drop the line that a write was cut off at."""
        lines, torn = self._lines()
        last = _line_hash(lines[-1]) if lines else NO_ENTRY
        if not torn and last == self._head_hash():
            return
        with self._path.open("r+b") as journal:
            journal.truncate(sum(len(line) + 1 for line in lines))
            os.fsync(journal.fileno())
        write_text(self._head, last)

    def append(self, action: str, version: str, reason: str, now: datetime | None) -> None:
        """Write one line at the end of a journal in order; `now` is the present moment unless it is told."""
        at = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
        line = json.dumps(vars(Entry(at, action, version, reason, self._head_hash())), sort_keys=True).encode()
        with self._path.open("ab") as journal:
            journal.write(line + b"\n")
            journal.flush()
            os.fsync(journal.fileno())
        write_text(self._head, _line_hash(line))

    def _chain(self, lines: Sequence[bytes]) -> tuple[Entry, ...]:
        entries, expected = [], NO_ENTRY
        for number, line in enumerate(lines, start=1):
            try:
                entry = Entry(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise RegistryError(f"{self._coin}: line {number} of the journal cannot be read: {error}") from error
            if entry.previous != expected:
                raise RegistryError(f"{self._coin}: line {number} of the journal does not follow the one before it")
            entries.append(entry)
            expected = _line_hash(line)
        return tuple(entries)

    def _lines(self) -> tuple[list[bytes], bytes]:
        """The whole lines, and what follows the last of them."""
        *lines, torn = self._path.read_bytes().split(b"\n") if self._path.exists() else [b""]
        return lines, torn

    def _head_hash(self) -> str:
        return self._head.read_text(encoding="utf-8", errors="replace") if self._head.exists() else NO_ENTRY


def _line_hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
