"""A coin's journal: what was registered, promoted, rejected and rolled back, as a hash chain."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crp_pipeline.chain import Chain
from crp_pipeline.errors import RegistryError
from crp_pipeline.storage import write_text

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
    """Of a registration the verdict's outcome, a colon and the verdict's reason."""
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
        self._head = folder / HEAD
        self._chain = Chain(folder / JOURNAL, self._head, _entry, owner=folder.name, called="journal", error=RegistryError)

    def read(self) -> Record:
        """Every entry; raises `RegistryError` naming the first line after one that was altered or removed."""
        links = self._chain.links()
        return Record(links.told, links.pending)

    def repair(self) -> None:
        """Finish or drop the line that a write was cut off at."""
        last = self._chain.mend()
        if last != self._chain.head:
            write_text(self._head, last)

    def append(self, action: str, version: str, reason: str, now: datetime | None) -> None:
        """Write one line at the end of a journal in order; `now` is the present moment unless it is told."""
        at = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
        entry = Entry(at, action, version, reason, self._chain.head)
        write_text(self._head, self._chain.append(vars(entry)))


def _entry(document: Any) -> Entry:
    return Entry(**document)
