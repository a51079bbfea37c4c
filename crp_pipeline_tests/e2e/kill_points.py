"""kill -9 at any moment of a deed, and what is left of it.

A forked child does the deed. Whatever it does to the disk under one folder is a moment: a name made, renamed, exchanged or
removed, a file flushed, an SQL statement. The child counts them and ends itself by SIGKILL before the one that it was told; at
a flush it may first cut the file short, which is what a disk holds in mid-write. No code of the pipeline knows of it: Python's
audit events and a few replaced functions tell.
"""

import errno
import json
import os
import re
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.engine import Engine

from crp_pipeline import storage

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
NAMED = {
    "os.rename": ("rename", 1),
    "os.remove": ("remove", 0),
    "os.rmdir": ("remove", 0),
    "os.mkdir": ("make", 0),
    "os.truncate": ("cut", 0),
}
"""What an audit event does, and which of its arguments names what it does it to."""
FLUSH, FLUSH_AGAIN = "flush", "flush again"
"""Of a file whose content may not be on the disk yet, and of a folder or a file that is."""
TAKES_SPACE = ("open", "make", FLUSH)
"""What a full disk refuses."""
CUT_OF_A_LINE = 10
"""Bytes that are missing from the last line of a file that is appended to, where the write was cut off."""
UNTIMED = (
    "SELECT number, state FROM trials ORDER BY number",
    "SELECT number, param_name, param_value FROM trial_params NATURAL JOIN trials ORDER BY number, param_name",
    "SELECT number, objective, value FROM trial_values NATURAL JOIN trials ORDER BY number",
)
"""What is asked of a study's database."""
LOCKS = re.compile(r"\.[^/]*lock")
"""Names of files that hold nothing and may stay."""


@dataclass(frozen=True)
class Moment:
    """Something that a deed does to the disk; the moment is before it."""

    number: int
    kind: str
    path: str
    """Under the deed's folder."""
    is_torn: bool = False
    """True: the file that was about to be flushed is cut short."""

    def __str__(self) -> str:
        return f"{self.kind} {self.path}{', cut short' if self.is_torn else ''}"


@dataclass(frozen=True)
class Deed:
    """Something that a night does, on a folder prepared for it; whoever does it twice does it once."""

    name: str
    prepare: Callable[[Path], object]
    do: Callable[[Path], object]
    check: Callable[[Path], object]
    """Raises unless what stood before is whole and can be read; writes nothing."""


@dataclass(frozen=True)
class Point:
    """A moment of a whole night, told by what happens there and to which path."""

    name: str
    kind: str
    """Regular expression."""
    path: str
    """Regular expression."""
    nth: int = 1
    is_torn: bool = False


class _Watch:
    """Counts moments, and ends the process at one of them; or the disk is full from there on."""

    def __init__(self, root: Path, fatal: Moment | Point | None, *, fills: bool = False) -> None:
        self.root, self._fatal, self.moments, self._is_busy = str(root.resolve()) + os.sep, fatal, list[Moment](), False
        self._left, self._fills, self._is_full = fatal.nth if isinstance(fatal, Point) else 0, fills, False

    def see(self, kind: str, path: object) -> None:
        """The deed is about to do this."""
        name = os.path.abspath(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else ""  # noqa: PTH100
        is_elsewhere = not (name + os.sep).startswith(self.root)
        if self._is_busy or is_elsewhere or (kind == "make" and os.path.isdir(name)):  # noqa: PTH112
            return
        self._is_busy = True
        moment = Moment(len(self.moments), kind, name.removeprefix(self.root))
        self.moments.append(moment)
        self._is_full |= self._fills and self._is_fatal(moment)
        if self._is_full and kind in TAKES_SPACE:
            self._is_busy = False
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *([] if kind == FLUSH else [name]))
        if self._fatal is not None and not self._fills and self._is_fatal(moment):
            if self._fatal.is_torn:
                _tear(Path(name))
            os.kill(os.getpid(), signal.SIGKILL)
        self._is_busy = False

    def _is_fatal(self, moment: Moment) -> bool:
        if isinstance(self._fatal, Moment):
            return self._fatal.number == moment.number
        if self._fatal is None:
            return False
        if re.fullmatch(self._fatal.kind, moment.kind) and re.fullmatch(self._fatal.path, moment.path):
            self._left -= 1
            return self._left == 0
        return False

    def audit(self, event: str, arguments: tuple[object, ...]) -> None:
        """What Python tells of every call that it makes."""
        if event == "open" and _is_writing(arguments):
            self.see("open", arguments[0])
        elif event in NAMED:
            kind, place = NAMED[event]
            self.see(kind, arguments[place])

    def sql(self, connection: object, _: object, statement: str, *__: object) -> None:
        """What SQLAlchemy tells of every statement."""
        database = getattr(connection, "engine").url.database  # noqa: B009
        if database and not statement.lstrip().upper().startswith(("SELECT", "PRAGMA")):
            self.see(" ".join(statement.split()[:3]).lower(), database)


def _is_writing(arguments: tuple[object, ...]) -> bool:
    _, mode, flags = arguments
    return bool(set(mode) & set("wax+")) if isinstance(mode, str) else bool(isinstance(flags, int) and flags & WRITING)


def _tear(path: Path) -> None:
    size = path.stat().st_size
    os.truncate(path, max(size - CUT_OF_A_LINE, 0) if path.suffix == ".jsonl" else size // 2)


def watched(root: Path, fatal: Moment | Point | None, *, fills: bool = False) -> _Watch:
    """Have everything told from here on, in this process."""
    watch = _Watch(root, fatal, fills=fills)
    flush, exchange, flushed = os.fsync, storage._exchanged, set[tuple[int, ...]]()

    def fsync(descriptor: int) -> None:
        path, state = Path(f"/proc/self/fd/{descriptor}").readlink(), os.fstat(descriptor)
        content = (state.st_ino, state.st_mtime_ns, state.st_size)
        watch.see(FLUSH if path.is_file() and content not in flushed else FLUSH_AGAIN, path)
        flush(descriptor)
        flushed.add(content)

    def exchanged(one: Path, other: Path) -> bool:
        watch.see("exchange", other)
        return exchange(one, other)

    os.fsync, storage._exchanged = fsync, exchanged
    event.listen(Engine, "before_cursor_execute", watch.sql)
    event.listen(Engine, "commit", lambda connection: watch.sql(connection, None, "commit"))
    sys.addaudithook(watch.audit)
    return watch


def in_a_child(do: Callable[[Path], object], root: Path, fatal: Moment | None = None) -> list[Moment]:
    """Do it in a process of its own and return its moments; with a fatal one, none, and the process was killed there."""
    told = root.with_name(f"{root.name}.moments.json")
    told.unlink(missing_ok=True)
    expected = 0 if fatal is None else -signal.SIGKILL
    if (child := os.fork()) == 0:
        exit_code(partial(_act, do, root, fatal, told))
    if (ended := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])) != expected:
        raise AssertionError(f"{do}: the child ended with {ended}, not {expected}, at {fatal}")
    if fatal is not None:
        return []
    return [Moment(number, kind, path) for number, (kind, path) in enumerate(json.loads(told.read_text()))]


def on_a_disk_that_fills(do: Callable[[Path], object], root: Path, at: Moment) -> str:
    """Do it in a process of its own on a disk that is full from a moment on; what was raised, by its type and words."""
    told = root.with_name(f"{root.name}.error.txt")
    told.unlink(missing_ok=True)
    if (child := os.fork()) == 0:
        exit_code(partial(_fill_up, do, root, at, told))
    os.waitpid(child, 0)
    return told.read_text() if told.exists() else ""


def _fill_up(do: Callable[[Path], object], root: Path, at: Moment, told: Path) -> None:
    watched(root, at, fills=True)
    try:
        do(root)
    except Exception as error:  # noqa: BLE001 - the test looks at it, whatever it is
        told.write_text(f"{type(error).__name__}: {error}")


def _act(do: Callable[[Path], object], root: Path, fatal: Moment | None, told: Path) -> None:
    watch = watched(root, fatal)
    do(root)
    told.write_text(json.dumps([[moment.kind, moment.path] for moment in watch.moments]))


def exit_code(act: Callable[[], object]) -> None:
    """Do this in a forked child, and end it: nothing of the parent's may go on there."""
    code = 1
    try:
        act()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - the child ends here, whatever happened
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def with_torn(moments: list[Moment]) -> list[Moment]:
    """The moments, and of each flush of a file a second one, at which the file is cut short."""
    return [*moments, *(replace(it, is_torn=True) for it in moments if it.kind == FLUSH)]


def contents(root: Path, *, but: Sequence[str] = ()) -> dict[str, str]:
    """SHA-256 of every file by its path; locks and some folders are left out, a database is told by its rows."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not LOCKS.fullmatch(path.name) and name.split("/")[0] not in but:
            content = b"" if path.is_dir() else repr(_trials(path)).encode() if path.suffix == ".db" else path.read_bytes()
            found[name] = sha256(content).hexdigest()
    return found


def _trials(database: Path) -> list[list[tuple[object, ...]]]:
    """What a file of studies holds, but for its clock."""
    with closing(sqlite3.connect(database)) as connection:
        return [connection.execute(query).fetchall() for query in UNTIMED]
