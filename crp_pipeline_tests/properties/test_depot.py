"""Whatever two machines do and in which order: what they and the depot hold is one machine's work after the other's.

Every piece of work looks at all values of its machine and changes one, so that a state which no machine ever had in front of it
would be a mixture. Journals are another matter: they go on by themselves, and no line that was ever pushed is lost.
"""

import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from crp_pipeline.depot import Depot, working_copy
from crp_pipeline.depot.contents import paths_of
from crp_pipeline.depot.store import Store
from crp_pipeline.errors import StorageError
from crp_pipeline.places import Places

COIN = "EDGE-DEMO"
VALUES = tuple(f"{stage}/{COIN}.parquet" for stage in ("candles", "features", "labels"))
JOURNAL = f"registry/{COIN}/journal.jsonl"
MACHINES = st.sampled_from([0, 1])


class Killed(BaseException):
    pass


class TwoMachines(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.url = f"memory://{uuid4().hex}"
        self.depots = [Depot(self.url, machine=name) for name in ("first", "second")]
        self.places = [Places(Path(self.folder.name) / name) for name in ("first", "second")]
        self.parents: dict[frozenset, frozenset | None] = {frozenset(): None}
        self.pushed: list[tuple[frozenset, bytes]] = [(frozenset(), b"")]
        self.number = count(1)

    def teardown(self):
        self.folder.cleanup()

    def values(self, machine: int) -> frozenset:
        held = {path.relative_to(self.places[machine].root).as_posix(): path.read_bytes() for path in self._paths(machine)}
        return frozenset((path, content) for path, content in held.items() if path != JOURNAL)

    def journal(self, machine: int) -> bytes:
        path = self.places[machine].root / JOURNAL
        return path.read_bytes() if path.exists() else b""

    def everything(self, machine: int) -> tuple[frozenset, bytes]:
        return self.values(machine), self.journal(machine)

    def ancestors(self, state: frozenset) -> set[frozenset]:
        found = set()
        while state is not None:
            found.add(state)
            state = self.parents[state]
        return found

    @rule(machine=MACHINES, path=st.sampled_from(VALUES))
    def work(self, machine, path):
        before = self.values(machine)
        self._write(machine, path)
        self.parents[self.values(machine)] = before

    @rule(machine=MACHINES, path=st.sampled_from(VALUES))
    def remove(self, machine, path):
        before = self.values(machine)
        (self.places[machine].root / path).unlink(missing_ok=True)
        self._write(machine, f"gate/{COIN}.json")
        self.parents[self.values(machine)] = before

    @rule(machine=MACHINES)
    def say(self, machine):
        file = self.places[machine].root / JOURNAL
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as journal:
            journal.write(f"line {next(self.number)}\n")

    @rule(machine=MACHINES)
    def push(self, machine):
        before = self.everything(machine)
        try:
            self.depots[machine].push(self.places[machine], COIN)
        except StorageError:
            assert self.everything(machine) == before
            return
        after = self.everything(machine)
        newest, journal = self.pushed[-1]
        if after != self.pushed[-1] and self._newest() == after:
            assert newest in self.ancestors(after[0])
            assert after[1].startswith(journal)
            self.pushed.append(after)

    @rule(machine=MACHINES, lay_aside=st.booleans())
    def pull(self, machine, lay_aside):
        values, journal = self.everything(machine)
        try:
            moved = self.depots[machine].pull(self.places[machine], COIN, lay_aside=lay_aside)
        except StorageError:
            assert self.everything(machine) == (values, journal)
            return
        assert self.journal(machine).startswith(journal) or journal == self.pushed[-1][1]
        assert self.values(machine) == values or self.values(machine) == self.pushed[-1][0]
        ever_pushed = {content for state, _ in self.pushed for _, content in state}
        kept = {(self.places[machine].root / path).read_bytes() for path in moved.laid_aside}
        assert {content for _, content in values - self.values(machine)} <= ever_pushed | kept

    @rule(machine=MACHINES)
    def killed_push(self, machine):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Store, "publish", _kill)
            with suppress(Killed, StorageError):
                self.depots[machine].push(self.places[machine], COIN)

    @rule(machine=MACHINES, moves=st.integers(0, 3))
    def killed_pull_and_what_the_next_makes_of_it(self, machine, moves):
        left = iter(range(moves))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(working_copy, "_move", _killed_after(left, working_copy._move))
            with suppress(Killed, StorageError):
                self.depots[machine].pull(self.places[machine], COIN)
        self.depots[machine].standing(self.places[machine], COIN)

    @invariant()
    def nobody_ever_holds_a_mixture(self):
        for machine in (0, 1):
            assert self.values(machine) in self.parents
        assert self._newest() == self.pushed[-1]

    def _newest(self) -> tuple[frozenset, bytes]:
        store = self.depots[0].store
        generation = store.newest(COIN)
        files = generation.files if generation else {}
        held = {path: store.get(stamp, path) for path, stamp in files.items()}
        return frozenset((path, content) for path, content in held.items() if path != JOURNAL), held.get(JOURNAL, b"")

    def _write(self, machine: int, path: str) -> None:
        """A number that was never written before, so that no state comes twice."""
        file = self.places[machine].root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{next(self.number)}")

    def _paths(self, machine: int) -> list[Path]:
        return list(paths_of(self.places[machine].root, COIN))


def _kill(*_args):
    raise Killed


def _killed_after(left, move):
    def killed(source: Path, target: Path) -> None:
        if next(left, None) is None:
            raise Killed
        move(source, target)

    return killed


TestTwoMachines = TwoMachines.TestCase
TestTwoMachines.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
