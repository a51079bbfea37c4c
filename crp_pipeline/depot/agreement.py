"""What a working copy must do to stand where the newest generation stands, or why it cannot.

Three states decide, unit by unit: where both last agreed (`base`), what the machine has, and what the depot has. A unit that
only one side has changed follows that side. Where both have, a journal that continues the other's settles it; parallel steps of
one run may change different files; everything else is refused, or laid aside on request.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from crp_pipeline.depot.contents import BOOKS, OF_A_NIGHT, continues, is_gathered, is_journal, unit_of
from crp_pipeline.depot.generation import Files, Generation, Stamp, stamp_of
from crp_pipeline.errors import StorageError

Contents = Callable[[str, Stamp], bytes]
FORKED = "forked"


@dataclass
class Plan:
    """What is to be done, by path."""

    take: dict[str, Stamp] = field(default_factory=dict)
    """Files of the newest generation that the machine lacks or has otherwise."""
    drop: dict[str, Stamp] = field(default_factory=dict)
    """Files that the newest generation has no more, as the machine has them."""
    aside: dict[str, Stamp] = field(default_factory=dict)
    """Files that were never pushed and must make way, as the machine has them."""


@dataclass(frozen=True, kw_only=True)
class Sides:
    """A subject's three states, and how the journals of two of them are read."""

    subject: str
    since: int
    """Number of the generation that the machine last agreed with."""
    base: Files
    local: Files
    newest: Generation
    stages: frozenset[str] | None
    """Stages that the machine wants beyond what it has; None: all."""
    read_local: Contents
    read_newest: Contents

    def paths(self, unit: str) -> set[str]:
        """Every path of a unit that concerns the machine."""
        wanted = (path for path in self.newest.files if self.is_wanted(path))
        return {path for path in {*self.base, *self.local, *wanted} if unit_of(path, self.subject) == unit}

    def is_wanted(self, path: str) -> bool:
        """Whether the machine has a file, had it, or wants its stage."""
        known = path in self.base or path in self.local
        return known or self.stages is None or path.partition("/")[0] in self.stages

    def ours(self, paths: Iterable[str]) -> set[str]:
        """What the machine has changed and not pushed."""
        return {path for path in paths if self._differs(path) and self.local.get(path) != self.base.get(path)}

    def theirs(self, paths: Iterable[str]) -> set[str]:
        """What others have pushed since."""
        if self.newest.number == self.since:
            return set()
        return {path for path in paths if self._differs(path) and self.newest.files.get(path) != self.base.get(path)}

    def unfetched(self, paths: Iterable[str]) -> set[str]:
        """What the machine never had."""
        return {path for path in paths if path not in self.base and path not in self.local}

    def _differs(self, path: str) -> bool:
        return self.local.get(path) != self.newest.files.get(path)


def agree(sides: Sides, *, one_run: bool = False, lay_aside: bool = False, unattended: bool = False) -> Plan:
    """What brings the machine to the newest generation; raises `StorageError` naming subject, file and both generations.

    `one_run`: every generation since was pushed by the run that asks. `lay_aside`: values that were changed on both sides make
    way. Forked journals never do, but one of a night where the run is `unattended` and nobody was ever shown the lines.
    """
    plan = Plan()
    units = {unit_of(path, sides.subject) for path in {*sides.base, *sides.local, *sides.newest.files}}
    for unit in sorted(units):
        _agree_on(unit, sides, plan, one_run=one_run, lay_aside=lay_aside, unattended=unattended)
    return plan


def _agree_on(unit: str, sides: Sides, plan: Plan, *, one_run: bool, lay_aside: bool, unattended: bool) -> None:
    paths = sides.paths(unit)
    ours, theirs = sides.ours(paths), sides.theirs(paths)
    beside = is_gathered(unit, sides.subject) or (one_run and not ours & theirs)
    clash = bool(ours and theirs) and not beside
    journals = {path: _continuing(sides, path) for path in sorted(paths) if is_journal(path)}
    gives_way = unattended and _was_never_shown(unit, sides, journals)
    side = None if gives_way else _longer_journal(sides, journals)
    if side == "ours":
        return
    if side == "theirs":
        # what the machine alone has stays beside a book that others have gone on with
        _take(sides, plan, {path for path in ours if path in sides.newest.files})
    elif clash and (lay_aside or gives_way):
        plan.aside.update({path: sides.local[path] for path in ours if path in sides.local})
        _take(sides, plan, ours)
    elif clash:
        raise StorageError(
            f"{sides.subject}: {min(ours & theirs or ours)} was changed here since generation {sides.since}, and generation "
            f"{sides.newest.number}, pushed by {sides.newest.by}, knows nothing of it: `crp depot pull --lay-aside` takes it"
        )
    _take(sides, plan, {*theirs, *sides.unfetched(paths)})


def _take(sides: Sides, plan: Plan, paths: Iterable[str]) -> None:
    """Make these as the newest generation has them; what it lacks is dropped where it was pushed once."""
    for path in paths:
        theirs, local = sides.newest.files.get(path), sides.local.get(path)
        if theirs is not None:
            plan.take[path] = theirs
        elif local is not None and local == sides.base.get(path):
            plan.drop[path] = local


def _longer_journal(sides: Sides, journals: Mapping[str, str | None]) -> str | None:
    """Which side's journals continue the other's; None where they are the same, or where there are none.

    Raises `StorageError` for a fork: two machines have written different lines after the same one.
    """
    found = set(journals.values()) - {None}
    if FORKED in found:
        path = next(path for path, side in journals.items() if side == FORKED)
        raise StorageError(
            f"{sides.subject}: {path} forked: {_between(sides)}, both wrote on after the same line; move the folder that is "
            "wrong out of the data folder and pull"
        )
    if len(found) > 1:
        raise StorageError(f"{sides.subject}: {_between(sides)}, each has journals that the other lacks lines of")
    return next(iter(found), None)


def _continuing(sides: Sides, path: str) -> str | None:
    """Whose journal continues that of the other, or `FORKED`; None where they are the same."""
    local, newest = sides.local.get(path), sides.newest.files.get(path)
    if local == newest:
        return None
    if local is None or newest is None:
        return "theirs" if local is None else "ours"
    theirs = sides.read_newest(path, newest)
    ours = sides.read_local(path, local)
    if any(continues(it, theirs) for it in (ours, *_laid_aside(sides, path))):
        return "ours"
    return "theirs" if continues(theirs, ours) else FORKED


def _was_never_shown(unit: str, sides: Sides, journals: Mapping[str, str | None]) -> bool:
    """Whether a night's book forked whose lines here were never pushed, nor anything in another book that may rest on them."""
    forked = [path for path, side in journals.items() if side == FORKED]
    rests = any(sides.ours(sides.paths(book)) for book in set(BOOKS) - set(OF_A_NIGHT))
    return bool(forked) and unit in OF_A_NIGHT and not rests and all(_only_grew(sides, path) for path in forked)


def _only_grew(sides: Sides, path: str) -> bool:
    """Whether a journal is here what both last agreed on, and lines after it."""
    base = sides.base.get(path)
    if base is None:
        return sides.since > 0
    return stamp_of(sides.read_local(path, sides.local[path])[: base.size]) == base


def _laid_aside(sides: Sides, path: str) -> list[bytes]:
    """Earlier journals of the same name that the machine keeps: one that was begun anew continues what it laid aside."""
    folder, _, name = path.rpartition("/")
    kept: Mapping[str, Stamp] = {
        it: at for it, at in sides.local.items() if it.startswith(f"{folder}/aside/") and it.endswith(f"/{name}")
    }
    return [sides.read_local(it, at) for it, at in kept.items()]


def _between(sides: Sides) -> str:
    newest = sides.newest
    return f"this machine since generation {sides.since} and {newest.by} with generation {newest.number}"
