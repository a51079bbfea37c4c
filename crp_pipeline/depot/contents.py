"""Which files are a coin's, and what they hold.

In every folder of `data_dir` a name up to its first dot tells whose it is: `features/BTC-USDT.parquet`,
`backtest/BTC-USDT.ladder.parquet`, `models/BTC-USDT/...`. What bears no coin's name is shared by all, and so is everything in
`SHARED_STAGES`. `models/<coin>/.record` belongs to it: at 17 MB of a demo coin's 60 it is what spares another machine the
training of folds that are known already. Locks and half-written files do not, nor does `raw/`, from which candles are made:
that is an operator's own, or downloaded anew; nor what bots read on this machine, which is what it decided last.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from crp_pipeline.chain import no_writer, only_writer
from crp_pipeline.depot.generation import Files, Stamp

SHARED = "shared"
"""Subject of what belongs to no single coin; a coin has capitals in its name."""
SHARED_STAGES = ("controls", "market", "summary")
LEFT_OUT = ("raw", "signals/online")
RECORD = ".record"
BOOKS = ("registry", "ledger", "shadow", "signals", "tuning")
"""Stages that go on by themselves: each is a whole of its own, beside the values that a night makes."""
OF_A_NIGHT = ("ledger", "shadow")
"""Books that a night alone writes: what one says is nothing to anybody until the verdict that rests on it is pushed."""
GATHERED = (f"{SHARED}/registry",)
"""Units whose files are named after their content, by subject: those of all machines belong together."""
JOURNAL_ENDING = ".jsonl"
LOCK = ".lock"
_COIN = re.compile("[A-Z0-9]+([-_][A-Z0-9]+)*")


@dataclass(frozen=True)
class Seen:
    """A stamp, and the size and time of the file when it was taken: while these stay, so does the hash."""

    stamp: Stamp
    modified_ns: int


def unit_of(path: str, subject: str) -> str:
    """The whole that a path is a part of: what is taken, kept or refused together."""
    stage = path.partition("/")[0]
    return stage if subject == SHARED or stage in BOOKS else "values"


def is_gathered(unit: str, subject: str) -> bool:
    """Whether a unit only ever gathers files, each of which is the same wherever it was made."""
    return f"{subject}/{unit}" in GATHERED


def is_journal(path: str) -> bool:
    """Whether a file is a chain of lines that only grows; one that was laid aside grows no more."""
    return path.endswith(JOURNAL_ENDING) and "/aside/" not in path


def subject_of(stage: str, name: str) -> str:
    """Whose the file or folder of that name is in a stage."""
    owner = name.partition(".")[0]
    return owner if stage not in SHARED_STAGES and _COIN.fullmatch(owner) else SHARED


def subjects_in(root: Path) -> set[str]:
    """Every coin that has a file, and `SHARED` where something belongs to none."""
    return {subject_of(stage.name, entry.name) for stage in _entries(root) for entry in _entries(stage)}


def paths_of(root: Path, subject: str) -> Iterator[Path]:
    """A subject's files."""
    for stage in _entries(root):
        for entry in _entries(stage):
            if subject_of(stage.name, entry.name) == subject:
                yield from _files_in(entry)


def scan(root: Path, subject: str, known: Mapping[str, Seen]) -> dict[str, Seen]:
    """What a subject's files hold, none of its books being written to meanwhile; `known` spares the hash of what stayed."""
    with no_book_written(root, subject):
        return {
            path.relative_to(root).as_posix(): _seen(path, known.get(path.relative_to(root).as_posix()))
            for path in paths_of(root, subject)
        }


def see(path: Path) -> Seen:
    """What a file holds."""
    found = path.stat()
    with path.open("rb") as file:
        return Seen(Stamp(hashlib.file_digest(file, "sha256").hexdigest(), found.st_size), found.st_mtime_ns)


def stamps(seen: Mapping[str, Seen]) -> Files:
    """Stamps alone."""
    return {path: it.stamp for path, it in seen.items()}


def continues(whole: bytes, beginning: bytes) -> bool:
    """Whether a journal begins with all whole lines of another: what a write was cut off in was never said."""
    return whole.startswith(beginning[: beginning.rfind(b"\n") + 1])


@contextmanager
def no_book_written(root: Path, subject: str) -> Iterator[None]:
    """Nobody writes to a book of the subject meanwhile."""
    with ExitStack() as held:
        for lock in _locks(root, subject):
            held.enter_context(no_writer(lock))
        yield


@contextmanager
def only_writer_of_books(root: Path, subject: str, paths: Iterable[str]) -> Iterator[None]:
    """Nobody else reads or writes the books that these paths are in."""
    touched = {path.partition("/")[0] for path in paths}
    with ExitStack() as held:
        for lock in _locks(root, subject):
            if lock.parent.parent.name in touched:
                lock.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(only_writer(lock))
        yield


def _locks(root: Path, subject: str) -> list[Path]:
    return [] if subject == SHARED else [root / book / subject / LOCK for book in BOOKS]


def _seen(path: Path, known: Seen | None) -> Seen:
    found = path.stat()
    if known is not None and (known.stamp.size, known.modified_ns) == (found.st_size, found.st_mtime_ns):
        return known
    return see(path)


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder and is the depot's business."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [it for it in found if not it.name.startswith(".") and not {it.name, f"{folder.name}/{it.name}"} & set(LEFT_OUT)]


def _files_in(entry: Path) -> Iterator[Path]:
    if entry.is_file():
        yield entry
        return
    for folder, inner, names in os.walk(entry):
        inner[:] = sorted(name for name in inner if name == RECORD or not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(names) if not name.startswith("."))
