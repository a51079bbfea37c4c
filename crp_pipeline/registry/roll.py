"""The registrations of a coin by version: those of a checkpoint stay bytes until one of them is asked for.

A coin has thousands and an operation asks for one or two: finding a version's row in a megabyte takes a fraction of a
millisecond, making objects of all of them tens of milliseconds.
"""

import json
from collections.abc import Iterator
from typing import NamedTuple


class Registered(NamedTuple):
    """What a registration says of a version."""

    at: str
    """UTC, ISO 8601."""
    outcome: str
    recipe: str
    """Empty where the line is from before it was told; the card has it."""


class Roll:
    """Versions in the order of their latest registrations; `rows` holds one JSON row per line."""

    def __init__(self, rows: bytes = b"") -> None:
        self._kept, self._later = rows, dict[str, Registered]()

    def add(self, version: str, registered: Registered) -> None:
        """Put a version at the end, wherever it was before."""
        start, end = self._place(version)
        self._kept = self._kept[:start] + self._kept[end:]
        self._later.pop(version, None)
        self._later[version] = registered

    def __contains__(self, version: object) -> bool:
        return isinstance(version, str) and (version in self._later or self._place(version) != (0, 0))

    def __getitem__(self, version: str) -> Registered:
        if version in self._later:
            return self._later[version]
        start, end = self._place(version)
        if not end:
            raise KeyError(version)
        return _parsed(self._kept[start:end])[1]

    def __iter__(self) -> Iterator[str]:
        yield from (_parsed(row)[0] for row in self._kept.splitlines())
        yield from self._later

    def __reversed__(self) -> Iterator[str]:
        return (version for version, _ in self.newest_first())

    def __len__(self) -> int:
        return self._kept.count(b"\n") + len(self._later)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Roll) and self.rows == other.rows

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Roll({self.rows!r})"

    def newest_first(self) -> Iterator[tuple[str, Registered]]:
        """Every registration; those that nobody comes to are not parsed."""
        yield from reversed(self._later.items())
        yield from map(_parsed, reversed(self._kept.splitlines()))

    @property
    def rows(self) -> bytes:
        """What a checkpoint keeps."""
        return self._kept + b"".join(_row(version, registered) for version, registered in self._later.items())

    def _place(self, version: str) -> tuple[int, int]:
        """Where the version's row begins and ends among those of the checkpoint; twice 0 where it has none."""
        opening = f"[{json.dumps(version)},".encode()
        found = 0 if self._kept.startswith(opening) else self._kept.find(b"\n" + opening) + 1
        if not found and not self._kept.startswith(opening):
            return 0, 0
        return found, self._kept.index(b"\n", found) + 1


def _row(version: str, registered: Registered) -> bytes:
    return json.dumps([version, *registered], separators=(",", ":")).encode() + b"\n"


def _parsed(row: bytes) -> tuple[str, Registered]:
    version, *told = json.loads(row)
    return version, Registered(*told)
