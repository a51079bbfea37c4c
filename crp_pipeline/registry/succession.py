"""Champions as a stack: a promotion puts one on, a rollback takes one off."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from crp_pipeline.errors import RegistryError
from crp_pipeline.registry.journal import Entry


@dataclass(frozen=True)
class Succession:
    """Who reigned, and whose latest reign was ended by a rollback."""

    reigns: tuple[str, ...] = ()
    rolled_back: frozenset[str] = field(default_factory=frozenset)

    @property
    def champion(self) -> str | None:
        """Who reigns now."""
        return self.reigns[-1] if self.reigns else None

    def promoted(self, version: str) -> Self:
        """The succession with one more champion."""
        return type(self)((*self.reigns, version), self.rolled_back - {version})

    def rolled_back_to(self, version: str) -> Self:
        """The succession without its last champion; raises `ValueError` when another than `version` came before."""
        if self.reigns[-2:-1] != (version,):
            raise ValueError(f"rolls back to {version}, which was not the champion before")
        return type(self)(self.reigns[:-1], (self.rolled_back | {self.reigns[-1]}) - {version})


def succession(coin: str, entries: Sequence[Entry]) -> Succession:
    """What the entries come to; raises `RegistryError` naming the first line that cannot have happened."""
    so_far, registered = Succession(), set[str]()
    for number, entry in enumerate(entries, start=1):
        try:
            so_far = _after(so_far, entry, registered)
        except ValueError as error:
            raise RegistryError(f"{coin}: line {number} of the journal {error}") from error
    return so_far


def _after(before: Succession, entry: Entry, registered: set[str]) -> Succession:
    if entry.action == "register":
        registered.add(entry.version)
    if entry.version not in registered:
        raise ValueError(f"names {entry.version}, which was never registered")
    match entry.action:
        case "promote":
            return before.promoted(entry.version)
        case "rollback":
            return before.rolled_back_to(entry.version)
        case _:
            return before
