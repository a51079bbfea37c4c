"""What a coin's journal comes to: the fold of its lines.

Champions are a stack: a promotion puts one on. A rollback takes off everything above the version that it brings back; where
that version is not in the stack, having been rolled back itself, it takes the place of the present champion alone. Whoever is
taken off counts as rolled back until it reigns again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from crp_pipeline.errors import RegistryError
from crp_pipeline.gate.verdict import Outcome
from crp_pipeline.registry.journal import NOBODY, Entry
from crp_pipeline.registry.roll import Registered, Roll

GOOD = frozenset({Outcome.PROMOTE, Outcome.SHADOW})
"""Outcomes of a version that the gate found good."""
ENTHRONING = frozenset({"promote", "rollback"})


class Reign(NamedTuple):
    """A champion from the line on that made it so."""

    line: int
    """Counted from 1."""
    at: str
    """UTC, ISO 8601."""
    version: str
    action: str
    """`promote` or `rollback`."""
    reason: str


@dataclass(frozen=True)
class Pointers:
    """Versions by role, None where nobody has it; the package says what the roles are."""

    champion: str | None = None
    challenger: str | None = None
    shadow: str | None = None

    def by_role(self) -> dict[str, str]:
        """The version of each role, `NOBODY` where there is none."""
        return {role: version or NOBODY for role, version in vars(self).items()}


@dataclass
class State:
    """What the lines so far come to; `follow` takes one more."""

    lines: int = 0
    registered: Roll = field(default_factory=Roll)
    """Every version."""
    contenders: dict[str, str] = field(default_factory=dict)
    """Recipes of versions that the gate found good, that never reigned and whose files are there, oldest first; empty where the
    journal does not tell it.
    """
    pruned: set[str] = field(default_factory=set)
    """Registered versions whose files were removed on purpose."""
    throne: list[Reign] = field(default_factory=list)
    """Every promotion and rollback, oldest first."""
    champions: set[str] = field(default_factory=set)
    """Everyone who ever reigned."""
    reigns: list[str] = field(default_factory=list)
    """The stack of champions."""
    rolled_back: set[str] = field(default_factory=set)
    """Versions whose latest reign was ended by a rollback."""
    pinned: str | None = None
    """The shadow by an operator's choice."""
    told: Pointers = Pointers()
    """Where the last line says the pointers are."""
    before: Pointers = Pointers()
    """Where the line before it does."""
    is_told: bool = False
    """False where the last line is from before challenger and shadow were told."""
    last: Entry | None = None

    @property
    def champion(self) -> str | None:
        """Who reigns."""
        return self.reigns[-1] if self.reigns else None

    def keeps(self, version: str) -> bool:
        """True for a version whose files must be there."""
        return version in self.registered and version not in self.pruned

    def follow(self, entry: Entry) -> None:
        """Take one line more; raises `ValueError` for one that cannot have happened."""
        self.take(entry)
        self.tell(entry)

    def take(self, entry: Entry) -> None:
        """Do what the line did."""
        if entry.action == "register":
            self._register(entry)
        if entry.version not in self.registered:
            raise ValueError(f"names {entry.version}, which was never registered")
        match entry.action:
            case "promote":
                self._promote(entry.version)
            case "rollback":
                self._roll_back(entry.version)
            case "prune":
                self._prune(entry.version)
            case "pin" | "unpin":
                self.pinned = entry.version if entry.action == "pin" else None
        self.lines += 1
        if entry.action in ENTHRONING:
            self.throne.append(Reign(self.lines, entry.at, entry.version, entry.action, entry.reason))
            self.champions.add(entry.version)
            self.pinned = None if self.pinned == entry.version else self.pinned

    def tell(self, entry: Entry) -> None:
        """Move the pointers where the line that was taken says they are."""
        self.before, self.last, self.is_told = self.told, entry, bool(entry.challenger)
        self.told = Pointers(self.champion, _version(entry.challenger), _version(entry.shadow))

    def _register(self, entry: Entry) -> None:
        self.registered.add(entry.version, Registered(entry.at, entry.outcome, entry.recipe))
        self.pruned.discard(entry.version)
        self.contenders.pop(entry.version, None)
        if entry.outcome in GOOD and entry.version not in self.champions:
            self.contenders[entry.version] = entry.recipe

    def _promote(self, version: str) -> None:
        self.reigns.append(version)
        self.rolled_back.discard(version)
        self.contenders.pop(version, None)

    def _roll_back(self, version: str) -> None:
        if version == self.champion or version not in self.champions:
            raise ValueError(f"rolls back to {version}, which was no champion before")
        places = [place for place, reigned in enumerate(self.reigns) if reigned == version]
        above = places[-1] + 1 if places else len(self.reigns) - 1
        self.rolled_back.update(self.reigns[above:])
        self.rolled_back.discard(version)
        self.reigns[above:] = [] if places else [version]

    def _prune(self, version: str) -> None:
        if version in self.champions or version in {self.told.challenger, self.told.shadow}:
            raise ValueError(f"prunes {version}, which has reigned, or is challenger or shadow")
        self.pruned.add(version)
        self.contenders.pop(version, None)


def seats(state: State, recipe: Callable[[str], str]) -> Pointers:
    """Who has which role by the rules of the package; `recipe` tells what a version was made by whose line does not."""
    challenger, champion = next(reversed(state.contenders), None), state.champion
    if champion is None:
        return Pointers(None, challenger, None)
    if state.pinned is not None:
        return Pointers(champion, challenger, state.pinned)
    newest_first, reigning = reversed(state.contenders.items()), state.registered[champion].recipe or recipe(champion)
    others = (version for version, told in newest_first if (told or recipe(version)) != reigning)
    return Pointers(champion, challenger, next(others, None))


def state_of(coin: str, entries: Iterable[Entry], *, after: State | None = None) -> State:
    """What the entries come to, on top of the state `after` which they follow, which is used up.

    Raises `RegistryError` naming the first line that cannot have happened.
    """
    state = State() if after is None else after
    for entry in entries:
        try:
            state.follow(entry)
        except ValueError as error:
            raise RegistryError(f"{coin}: line {state.lines + 1} of the journal {error}") from error
    return state


def stated(entry: Entry, pointers: Pointers) -> Entry:
    """The line with the pointers as they are from it on."""
    return replace(entry, challenger=pointers.challenger or NOBODY, shadow=pointers.shadow or NOBODY)


def _version(told: str) -> str | None:
    return told if told not in {"", NOBODY} else None
