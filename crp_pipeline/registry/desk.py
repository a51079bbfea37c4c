"""Where a coin's registry is read and written.

A write goes in this order: a version is staged, its line is appended to the journal, the head of the journal moves, the version
is put in its place or loses its files, and the pointers move. Only the last line of an operation moves a pointer. A write that
was cut off between two steps is finished by the next one.

Journal and pointers must agree. What a line says has happened once its head has moved: from then on the pointers may be where
that line or the one before left them. While the head lags, they must still be where the line before left them: a line and
pointers without their head are a forgery and no power cut.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crp_pipeline.chain import no_writer, only_writer
from crp_pipeline.errors import DiskError, RegistryError
from crp_pipeline.registry.card import recipe_of
from crp_pipeline.registry.checkpoint import Reading, keep_checkpoint, read_state
from crp_pipeline.registry.journal import Entry, Journal
from crp_pipeline.registry.pointers import check_agreement, read_pointers, write_pointers
from crp_pipeline.registry.state import GOOD, Pointers, State, seats, stated
from crp_pipeline.registry.versions import Versions

LOCK = ".lock"


class Desk:
    """A coin's folder while its lock is held, with everything in order."""

    def __init__(self, folder: Path) -> None:
        self.coin, self._folder = folder.name, folder
        self.versions, self._journal = Versions(folder), Journal(folder)
        self._reading = read_coin(folder, up_to_head=False)
        self._found, self._agreed = read_pointers(folder), self.state.told
        lags = self._found != self.state.told and self._found == self.state.before
        self._cut_off = self.state.last if self._reading.pending or lags else None

    def has_finished(self, action: str, version: str | None) -> bool:
        """Whether opening the desk finished this very operation, which was cut off before its pointers moved.

        Whoever began it was never told that it had happened, and must find it done, not do it twice. `version` None is any.
        """
        last = self._cut_off
        return last is not None and last.action == action and version in {None, last.version}

    @property
    def state(self) -> State:
        """What the journal comes to."""
        return self._reading.state

    def recipe(self, version: str) -> str:
        """What a version was made by."""
        return recipe_in(self.state, self.versions, version)

    def write(self, action: str, version: str, reason: str, at: str, *, recipe: str = "") -> None:
        """Write one line and take it into account; it says where the pointers belong from then on.

        The first line that says so moves them at once, so that no second line of its operation hides that they lag. A line is
        never earlier than the one before, whatever the clock says: who was champion when follows from the order.
        """
        is_first, last = not self.state.is_told, self.state.last
        since = at if last is None else max(at, last.at)
        entry = Entry(since, action, version, reason, self._journal.head, recipe=recipe)
        self.state.take(entry)
        entry = stated(entry, seats(self.state, self.recipe))
        self.state.tell(entry)
        self._journal.append(entry)
        if is_first:
            self.move_pointers()

    def move_pointers(self, *, anyway: bool = False) -> None:
        """Put the pointers where the journal says; those that were not where it said before stay, unless `anyway`."""
        if self._found != self.state.told and (anyway or self._found == self._agreed):
            if self.state.champion is not None and self.state.champion != self._found.champion:
                self.versions.check_promoted(self.state.champion)
            write_pointers(self._folder, self.state.told)
            self._found = self.state.told

    def finish(self) -> None:
        """Do what a write that was cut off had left to do; raises `RegistryError` for what no power cut leaves behind."""
        if self._reading.pending:
            self._check_pending()
        self._journal.repair(self._reading.since)
        last = self.state.last
        staged = self.versions.staged()
        if staged is not None and self.state.keeps(staged) and not self.versions.is_whole(staged):
            self.versions.place(staged)
        if last is not None and last.action == "prune":
            self.versions.strip(last.version)
        self._agreed = self.state.before
        self.move_pointers()
        self._agreed = self.state.told
        if last is not None and last.action == "register" and last.outcome not in GOOD:
            self.write("reject", last.version, last.reason.partition(": ")[2], last.at)

    def close(self) -> None:
        """Keep a checkpoint, where one is due; it only saves work, so a disk that does not take it fails nothing."""
        with suppress(DiskError):
            keep_checkpoint(self._folder, self._journal, self._reading)

    def _check_pending(self) -> None:
        """A line that lacks its head may be what a power cut left; raises when it cannot be."""
        check_agreement(self.coin, self._found, self.state.before)
        if self.state.champion is not None:
            self.versions.check_promoted(self.state.champion)


@contextmanager
def writing(folder: Path) -> Iterator[Desk]:
    """One writer per coin at a time, across processes; it begins with everything in order."""
    with only_writer(folder / LOCK):
        desk = Desk(folder)
        desk.finish()
        yield desk
        desk.close()


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """No writer of that coin meanwhile; nothing is created where nobody ever wrote."""
    with no_writer(folder / LOCK):
        yield


def read_coin(folder: Path, *, up_to_head: bool = True) -> Reading:
    """What the journal comes to; raises `RegistryError` where versions are kept and the journal says nothing at all."""
    found = read_state(folder, Journal(folder), up_to_head=up_to_head)
    stranger = Versions(folder).any() if not found.state.lines and not found.pending else None
    if stranger is not None:
        raise stray(folder.name, stranger)
    return found


def stray(coin: str, version: str) -> RegistryError:
    """The error of a version that nobody registered."""
    return RegistryError(f"{coin}: version {version} is kept and the journal does not mention it")


def agreed(folder: Path, told: Pointers, *, before: Pointers | None) -> Pointers:
    """The pointers that the journal tells; raises `RegistryError` where the file has neither these nor those of `before`."""
    found = read_pointers(folder)
    if found != before:
        check_agreement(folder.name, found, told)
    return told


def recipe_in(state: State, versions: Versions, version: str) -> str:
    """What a version was made by: of an old line the card tells it."""
    return state.registered[version].recipe or recipe_of(versions.card_alone(version))
