"""A coin's journal: what was done to its versions and where the pointers have been since, as a hash chain."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crp_pipeline.chain import BEGINNING, Chain, Mark
from crp_pipeline.errors import RegistryError
from crp_pipeline.storage import write_text

JOURNAL = "journal.jsonl"
HEAD = "journal.head"
ACTIONS = ("register", "promote", "reject", "rollback", "prune", "pin", "unpin")
NOBODY = "none"
"""What stands for a version where there is none: in a line of the journal, and as champion in the subject of a verdict."""
OPTIONAL = ("challenger", "shadow", "recipe")
"""What a line leaves out where there is nothing to tell."""


@dataclass(frozen=True)
class Entry:
    """One line of a coin's journal."""

    at: str
    """UTC, ISO 8601."""
    action: str
    """One of `ACTIONS`."""
    version: str
    """What it was done to; of a rollback the champion that it brought back, of an `unpin` the version that was pinned."""
    reason: str
    """Of a registration the verdict's outcome, a colon and the verdict's reason."""
    previous: str
    """SHA-256 of the line before."""
    challenger: str = ""
    """The challenger from this line on, or `NOBODY`; empty in a line from before there was one."""
    shadow: str = ""
    """The same of the shadow."""
    recipe: str = ""
    """Of a registration what the version was made by, as `gate.challenge.recipe_key` has it."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for an unknown action, `TypeError` for a value that is no text."""
        if not all(isinstance(value, str) for value in vars(self).values()):
            raise TypeError("every value of an entry is a text")
        if self.action not in ACTIONS:
            raise ValueError(f"there is no action {self.action!r}")

    @property
    def outcome(self) -> str:
        """Of a registration, the verdict's outcome."""
        return self.reason.partition(": ")[0]

    @property
    def line(self) -> dict[str, str]:
        """What the journal keeps of it."""
        return {name: value for name, value in vars(self).items() if value or name not in OPTIONAL}


@dataclass(frozen=True)
class Record:
    """What a journal tells, oldest first."""

    entries: tuple[Entry, ...]
    pending: bool
    """True when the last line is there and its head is not yet."""
    end: Mark
    """The place after the last line."""


class Journal:
    """The journal in a coin's folder; whoever writes holds the coin's lock."""

    def __init__(self, folder: Path) -> None:
        self._head = folder / HEAD
        self._chain = Chain(folder / JOURNAL, self._head, _entry, owner=folder.name, called="journal", error=RegistryError)

    @property
    def head(self) -> str:
        """The hash that the last line is said to have."""
        return self._chain.head

    def read(self, after: Mark = BEGINNING) -> Record:
        """Every entry after a place; raises `RegistryError` naming the first line after one that was altered or removed."""
        links = self._chain.links(after)
        return Record(links.told, links.pending, links.end)

    def holds(self, mark: Mark) -> bool:
        """True where the line before that place is the one that was there when it was marked."""
        return self._chain.holds(mark)

    def repair(self, after: Mark = BEGINNING) -> None:
        """Finish or drop the line that a write was cut off at."""
        last = self._chain.mend(after)
        if last != self._chain.head:
            write_text(self._head, last)

    def append(self, entry: Entry) -> None:
        """Write one line, which carries `head`, at the end of a journal in order."""
        write_text(self._head, self._chain.append(entry.line))


def moment(now: datetime | None) -> str:
    """A moment as a line tells it; the present one unless it is told."""
    return (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")


def _entry(document: Any) -> Entry:
    return Entry(**document)
