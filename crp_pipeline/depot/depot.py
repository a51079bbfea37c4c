"""The depot: pull a coin, push a coin, see where both stand, and forget what nobody needs."""

import platform
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from crp_pipeline.depot.agreement import Plan, Sides, agree
from crp_pipeline.depot.contents import SHARED, Seen, stamps, subjects_in
from crp_pipeline.depot.generation import Generation, Stamp, nothing_yet, stamp_of
from crp_pipeline.depot.store import Store
from crp_pipeline.depot.working_copy import TRANSFERS_AT_ONCE, Agreement, WorkingCopy
from crp_pipeline.errors import StorageError
from crp_pipeline.places import Places

TRIES = 10
"""How often a push begins again when others were faster or a file changed under it."""
KEPT_GENERATIONS = 30
KEPT_FOR = timedelta(days=1)
"""Younger generations and objects are never pruned: somebody may be pulling them, or about to name them."""


@dataclass(frozen=True)
class Moved:
    """What a pull or a push came to."""

    generation: int
    """Where the machine stands after it; 0 where nothing was ever pushed."""
    n_files: int
    n_bytes: int
    laid_aside: tuple[str, ...] = ()
    """Files, below the data folder, that were never pushed and had to make way."""


@dataclass(frozen=True)
class Standing:
    """How a machine and the depot stand with one another."""

    subject: str
    here: int
    """Generation that the machine last agreed with."""
    newest: int
    by: str
    at: str
    unpushed: tuple[str, ...]
    """Files that were changed here since."""


class Depot:
    """A bucket, or a folder of one, that several machines share; `machine` signs what is pushed."""

    def __init__(self, url: str, *, machine: str | None = None) -> None:
        self.store = Store(url)
        self.machine = machine or platform.node() or "unnamed"

    def pull(
        self,
        places: Places,
        coin: str | None,
        *,
        stages: Iterable[str] | None = None,
        lay_aside: bool = False,
        unattended: bool = False,
        run: str = "",
    ) -> Moved:
        """Bring a coin, or what belongs to none, to the newest generation: only what differs is fetched, each hash checked.

        `stages`: no others are fetched, unless the machine has them already. `run`: generations that were pushed by this run
        may stand beside changes of its own. Files that were never pushed stay; with `lay_aside` they make way, and so does a
        ledger or shadow log that forked where the run is `unattended` and nobody was ever shown its lines.
        Raises `StorageError` where both sides have changed, and leaves everything as it was.
        """
        copy = WorkingCopy(places.root, coin or SHARED, self.store.url)
        with copy.alone():
            wanted = None if stages is None else frozenset(stages)
            return self._pull(copy, wanted, run=run, lay_aside=lay_aside, unattended=unattended)

    def push(self, places: Places, coin: str | None, *, now: datetime | None = None, run: str = "") -> Moved:
        """Make what the machine has the newest generation, after a pull where others have pushed since.

        Raises `StorageError` as `pull` does; until its last step nobody else sees anything of it.
        """
        copy = WorkingCopy(places.root, coin or SHARED, self.store.url)
        at = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
        with copy.alone():
            for _ in range(TRIES):
                before = copy.agreement()
                if stamps(copy.scan(before.files)) == stamps(before.files):
                    return Moved(before.number, 0, 0)
                pulled = self._pull(copy, before.stages, run=run)
                moved = self._push(copy, pulled.generation, at, run)
                if moved is not None:
                    return moved
        raise StorageError(f"{copy.subject}: others pushed, or files changed, {TRIES} times during a push; push again")

    def restore(self, places: Places, coin: str | None) -> Moved:
        """Put every file of the newest generation that is on the machine: objects that were lost or altered are whole again.

        No generation is made. Raises `StorageError` where a file changes meanwhile.
        """
        copy = WorkingCopy(places.root, coin or SHARED, self.store.url)
        with copy.alone():
            newest, local = self._newest(copy.subject), stamps(copy.scan(copy.agreement().files))
            held = {stamp: path for path, stamp in newest.files.items() if local.get(path) == stamp}
            if not self._upload(copy, held):
                raise StorageError(f"{copy.subject}: files changed while they were put back; restore it again")
        return Moved(newest.number, len(held), sum(stamp.size for stamp in held))

    def pull_each(
        self, places: Places, coins: Iterable[str], *, stages: Iterable[str] | None = None, run: str = ""
    ) -> dict[str, Moved | StorageError]:
        """Pull many coins and return what each came to: one that is refused holds up no other."""
        return {coin: _outcome(partial(self.pull, places, coin, stages=stages, run=run)) for coin in coins}

    def push_each(
        self, places: Places, coins: Iterable[str], *, now: datetime | None = None, run: str = ""
    ) -> dict[str, Moved | StorageError]:
        """Push many coins and return what each came to: one that is refused holds up no other."""
        return {coin: _outcome(partial(self.push, places, coin, now=now, run=run)) for coin in coins}

    def standing(self, places: Places, coin: str | None) -> Standing:
        """How the machine and the depot stand; nothing is changed."""
        copy = WorkingCopy(places.root, coin or SHARED, self.store.url)
        with copy.alone():
            before = copy.agreement()
            local = copy.scan(before.files)
        newest = self._newest(copy.subject)
        unpushed = {path for path in {*local, *before.files} if _stamp(local, path) != _stamp(before.files, path)}
        return Standing(copy.subject, before.number, newest.number, newest.by, newest.at, tuple(sorted(unpushed)))

    def subjects(self, places: Places) -> list[str]:
        """Coins, and `SHARED`, that the machine or the depot has files of."""
        return sorted({*subjects_in(places.root), *self.store.subjects()})

    def prune(self, *, keep: int = KEPT_GENERATIONS, now: datetime | None = None) -> tuple[int, int]:
        """Forget old generations and the objects that no other names; returns how many of each.

        The last `keep` of a coin stay and so does everything younger than a day. What the registry keeps is part of the newest
        generation, and so is every version that a champion ever was.
        """
        if keep < 1:
            raise StorageError(f"keep = {keep} is not allowed: the newest generation always stays")
        before = (now or datetime.now(UTC)).astimezone(UTC) - KEPT_FOR
        forgotten = sum(self._forget(subject, keep, before) for subject in self.store.subjects())
        objects = self.store.objects()
        needed = {stamp.sha256 for subject in self.store.subjects() for stamp in self._named(subject)}
        old = [name for name, at in objects.items() if at < before and name not in needed]
        return forgotten, sum(self.store.remove_object(name, before=before) for name in old)

    def _pull(
        self, copy: WorkingCopy, stages: frozenset[str] | None, *, run: str, lay_aside: bool = False, unattended: bool = False
    ) -> Moved:
        agreed, newest = copy.agreement(), self._newest(copy.subject)
        before = replace(agreed, stages=agreed.widened(stages))
        if newest.number < before.number:
            raise StorageError(
                f"{copy.subject}: {self.store.url} ends at generation {newest.number}, and this machine has agreed with "
                f"{before.number}"
            )
        local = copy.scan(before.files)
        sides = Sides(
            subject=copy.subject,
            since=before.number,
            base=stamps(before.files),
            local=stamps(local),
            newest=newest,
            stages=before.stages,
            read_local=lambda path, _: copy.read(path),
            read_newest=lambda path, stamp: self.store.get(stamp, path),
        )
        of_run = self._is_of_run(run, before.number, newest)
        plan = agree(sides, one_run=of_run, lay_aside=lay_aside, unattended=unattended)
        laid_aside = self._follow(copy, plan, newest, before, local)
        return Moved(newest.number, len(plan.take), sum(stamp.size for stamp in plan.take.values()), tuple(laid_aside))

    def _follow(
        self, copy: WorkingCopy, plan: Plan, newest: Generation, before: Agreement, local: Mapping[str, Seen]
    ) -> list[str]:
        """Do what the plan says and write down where the machine agrees with the depot."""
        if not (plan.take or plan.drop or plan.aside):
            laid_aside, after = [], local
        else:
            laid_aside = copy.follow(plan, newest, lambda path, stamp: self.store.get(stamp, path))
            after = copy.scan(local)
        agreed = {path: seen for path, seen in after.items() if newest.files.get(path) == seen.stamp}
        still = {path: seen for path, seen in before.files.items() if path not in agreed and path in newest.files}
        after_all = Agreement(newest.number, {**still, **agreed}, before.stages)
        if after_all != copy.agreement():
            copy.agree(after_all)
        return laid_aside

    def _push(self, copy: WorkingCopy, number: int, at: str, run: str) -> Moved | None:
        """Upload what is new and create the next generation; None where that has to begin again."""
        agreed, newest = copy.agreement(), self._newest(copy.subject)
        if newest.number != number:
            return None
        local = copy.scan(agreed.files)
        elsewhere = {path: stamp for path, stamp in newest.files.items() if path not in agreed.files and path not in local}
        files = {**elsewhere, **stamps(local)}
        if files == newest.files:
            copy.agree(replace(agreed, files=local))
            return Moved(number, 0, 0)
        known = {stamp.sha256 for stamp in newest.files.values()}
        sent = {stamp: path for path, stamp in files.items() if stamp.sha256 not in known}
        after = replace(newest, number=number + 1, at=at, by=self.machine, run=run, files=files)
        if not self._upload(copy, sent) or not self.store.publish(after):
            return None
        copy.agree(replace(agreed, number=after.number, files=local))
        return Moved(after.number, len(sent), sum(stamp.size for stamp in sent))

    def _upload(self, copy: WorkingCopy, sent: Mapping[Stamp, str]) -> bool:
        """Put every object; False where a file holds something else by now."""

        def put(stamp: Stamp) -> bool:
            content = copy.read(sent[stamp])
            if stamp_of(content) != stamp:
                return False
            self.store.put(stamp, content)
            return True

        with ThreadPoolExecutor(TRANSFERS_AT_ONCE) as at_once:
            return all(list(at_once.map(put, sent)))

    def _newest(self, subject: str) -> Generation:
        return self.store.newest(subject) or nothing_yet(subject)

    def _is_of_run(self, run: str, since: int, newest: Generation) -> bool:
        """Whether every generation after that one was pushed by the run."""
        if not run or newest.run != run:
            return False
        between = range(since + 1, newest.number)
        return all(self.store.generation(newest.subject, number).run == run for number in between)

    def _forget(self, subject: str, keep: int, before: datetime) -> int:
        """Forget the generations of a subject that are neither among the last nor young, oldest first."""
        n_forgotten = 0
        for number in self.store.numbers(subject)[:-keep]:
            if datetime.fromisoformat(self.store.generation(subject, number).at) >= before:
                break
            self.store.remove_generation(subject, number)
            n_forgotten += 1
        return n_forgotten

    def _named(self, subject: str) -> set[Stamp]:
        """Objects that some generation of a subject names."""
        numbers = self.store.numbers(subject)
        return {stamp for number in numbers for stamp in self.store.generation(subject, number).files.values()}


def _outcome(move: Callable[[], Moved]) -> Moved | StorageError:
    try:
        return move()
    except StorageError as error:
        return error


def _stamp(files: Mapping[str, Seen], path: str) -> Stamp | None:
    return files[path].stamp if path in files else None
