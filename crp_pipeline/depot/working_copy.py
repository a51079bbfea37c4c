"""A subject's files on this machine, where they last agreed with the depot, and a change to them that a kill does not halve.

.depot/<subject>.json     the depot's address, the generation, and what each file held then
.depot/<subject>.new/     what a pull has fetched; complete before the first file is touched
.depot/<subject>.todo     what a pull is about to do; a pull that was killed is finished by whoever comes next
.depot/aside/<subject>/   files that were never pushed and had to make way
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crp_pipeline.chain import only_writer
from crp_pipeline.depot.agreement import Plan
from crp_pipeline.depot.contents import Seen, is_journal, only_writer_of_books, scan
from crp_pipeline.depot.generation import Generation, Stamp
from crp_pipeline.storage import fresh_folder, sha256, write_bytes, write_json

FOLDER = ".depot"
TRANSFERS_AT_ONCE = 8
LAST = ("journal.head", "decisions.head", "trials.head", "champion.json")
"""Files that say what others mean; they move when these are in place."""


@dataclass(frozen=True)
class Agreement:
    """Where a machine last agreed with the depot."""

    number: int
    """Of the generation; 0 where it never did."""
    files: Mapping[str, Seen]
    """What each file held."""
    stages: frozenset[str] | None
    """Stages that the machine keeps up with; None: all."""

    def widened(self, stages: frozenset[str] | None) -> frozenset[str] | None:
        """Stages to keep up with from a pull of these on."""
        if stages is None or self.number == 0:
            return stages
        return None if self.stages is None else self.stages | stages


class WorkingCopy:
    """The files of one subject below `root`, as one depot knows them."""

    def __init__(self, root: Path, subject: str, url: str) -> None:
        self.root, self.subject, self._url = root, subject, url
        home = root / FOLDER
        self._state, self._todo, self._staging = home / f"{subject}.json", home / f"{subject}.todo", home / f"{subject}.new"
        self._lock, self._aside = home / f"{subject}.lock", home / "aside" / subject

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process of this machine pulls or pushes the subject; what one was killed in is finished first."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with only_writer(self._lock):
            if self._todo.exists():
                self._do(json.loads(self._todo.read_text(encoding="utf-8")))
            yield

    def agreement(self) -> Agreement:
        """Where the machine last agreed with this depot."""
        document = json.loads(self._state.read_text(encoding="utf-8")) if self._state.exists() else None
        if document is None or document["url"] != self._url:
            return Agreement(0, {}, None)
        files = {path: _seen(*it) for path, it in document["files"].items()}
        return Agreement(document["generation"], files, None if document["stages"] is None else frozenset(document["stages"]))

    def agree(self, agreement: Agreement) -> None:
        """Write down where the machine agrees with the depot."""
        write_json(self._state, _state(self._url, agreement))

    def scan(self, known: Mapping[str, Seen]) -> dict[str, Seen]:
        """What the files hold."""
        return scan(self.root, self.subject, known)

    def read(self, path: str) -> bytes:
        """Content of one file."""
        return (self.root / path).read_bytes()

    def follow(self, plan: Plan, generation: Generation, fetch: Callable[[str, Stamp], bytes]) -> list[str]:
        """Do what a plan says, whole or not at all, and return where files were laid aside."""
        staged = self._fetched(plan, fetch)
        place = self._free_place(generation.number) if plan.aside else ""
        todo = {
            "take": staged,
            "drop": {path: stamp.sha256 for path, stamp in plan.drop.items()},
            "aside": {path: stamp.sha256 for path, stamp in plan.aside.items()},
            "place": place,
        }
        write_json(self._todo, todo)
        self._do(todo)
        return [f"{place}/{path}" for path in sorted(plan.aside)]

    def _fetched(self, plan: Plan, fetch: Callable[[str, Stamp], bytes]) -> dict[str, str]:
        """Fetch what is to be taken, each hash checked, and return the staged file of each path."""
        staging, paths = fresh_folder(self._staging), sorted(plan.take)
        names = {path: str(number) for number, path in enumerate(paths)}

        def keep(path: str) -> None:
            write_bytes(staging / names[path], fetch(path, plan.take[path]))

        with ThreadPoolExecutor(TRANSFERS_AT_ONCE) as at_once:
            list(at_once.map(keep, paths))
        return names

    def _do(self, todo: Mapping[str, Any]) -> None:
        """Do what is left to do; doing it twice is doing it once."""
        with only_writer_of_books(self.root, self.subject, {**todo["take"], **todo["drop"], **todo["aside"]}):
            for path, digest in todo["aside"].items():
                self._move_if(path, digest, self.root / todo["place"] / path)
            for path in sorted(todo["take"], key=_order):
                _move(self._staging / todo["take"][path], self.root / path)
            for path, digest in todo["drop"].items():
                self._move_if(path, digest, None)
        shutil.rmtree(self._staging, ignore_errors=True)
        self._todo.unlink()

    def _move_if(self, path: str, digest: str, to: Path | None) -> None:
        """Move or remove a file that still holds what it held when that was decided."""
        file = self.root / path
        if not file.is_file() or sha256(file) != digest:
            return
        if to is None:
            file.unlink()
        else:
            _move(file, to)
        for folder in list(file.parents)[: path.count("/") - 1]:
            if any(folder.iterdir()):
                break
            folder.rmdir()

    def _free_place(self, number: int) -> str:
        """A folder below the root that holds nothing yet."""
        taken = {path.name for path in self._aside.glob("*")}
        name = next(name for name in _names(number) if name not in taken)
        return (self._aside / name).relative_to(self.root).as_posix()


def _order(path: str) -> tuple[int, str]:
    """Versions and values, then journals, then heads and pointers."""
    return (2 if path.rpartition("/")[2] in LAST else int(is_journal(path)), path)


def _names(number: int) -> Iterator[str]:
    yield f"{number:08d}"
    again = 1
    while True:
        again += 1
        yield f"{number:08d}.{again}"


def _move(source: Path, target: Path) -> None:
    if source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)


def _state(url: str, agreement: Agreement) -> dict[str, Any]:
    rows = {path: [it.stamp.sha256, it.stamp.size, it.modified_ns] for path, it in agreement.files.items()}
    stages = None if agreement.stages is None else sorted(agreement.stages)
    return {"url": url, "generation": agreement.number, "stages": stages, "files": rows}


def _seen(digest: str, size: int, modified_ns: int) -> Seen:
    return Seen(Stamp(digest, size), modified_ns)
