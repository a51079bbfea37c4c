"""Files and folders that are there whole or not at all, and folders that prove they have not been altered.

Every write goes to a temporary name in the same folder, is flushed to the disk and then renamed, so that whoever looks finds
the old content or the new one. The temporary name of `x` is `.x.new`, for every writer: one writes at a time, others wait, and
what a write that was cut off left under it is what the next write of `x` begins with removing.
"""

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from crp_pipeline.errors import BundleError, DataContractError, DiskError

MANIFEST = "manifest.json"
FORMAT = 1
AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""As linux/fcntl.h and linux/fs.h have them: paths from the working directory, and two names that change places."""
CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
"""What a kernel or a file system answers that knows no such thing."""


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    _write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document, sorted by key so that equal documents are equal files."""
    write_text(path, json.dumps(document, indent=2, sort_keys=True))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file whole or not at all."""
    _write(path, lambda temporary: temporary.write_bytes(content))


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame with its index and its `attrs`."""
    _write(path, frame.to_parquet)


def read_parquet(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """The frame that `write_parquet` wrote, or some of its columns; raises `DataContractError` when missing or damaged."""
    try:
        return pd.read_parquet(path, columns=columns)
    except (OSError, ValueError) as error:
        raise DataContractError(f"{path} cannot be read: {error}") from error


def read_if_sound(path: Path, *, tell: Callable[[str], object]) -> pd.DataFrame | None:
    """The frame that `write_parquet` wrote; None where there is none, or where it is damaged, which is told.

    For a frame that only saves work and is about to be written anew.
    """
    if not path.exists():
        return None
    try:
        return read_parquet(path)
    except DataContractError as error:
        tell(str(error))
        return None


def fresh_folder(folder: Path) -> Path:
    """An empty folder of that name."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes `folder`'s place when the block ends, and is gone when it raises.

    One process fills it at a time, others wait. Raises `DiskError` naming `folder` where the disk does not take it.
    """
    staging = folder.with_name(f".{folder.name}.new")
    with named(folder), _alone_with(folder.with_name(f".{folder.name}.lock")):
        try:
            yield fresh_folder(staging)
            replace_folder(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def replace_folder(staging: Path, folder: Path) -> Path:
    """Put a finished folder in another's place, in one step: whoever looks finds the old one or the new one, whole.

    Where the file system cannot exchange two names the old one steps aside to `.<name>.old` first, and whoever looks in between
    finds none; when the power goes there, the next replacement keeps the old content until its own is in place.
    """
    sync_folder(staging)
    if not folder.exists():
        staging.rename(folder)
    elif not _exchanged(staging, folder):
        _replace_in_two_steps(staging, folder)
    _sync(folder.parent)
    shutil.rmtree(staging, ignore_errors=True)
    shutil.rmtree(_aside(folder), ignore_errors=True)
    return folder


def move_folder(staging: Path, folder: Path) -> None:
    """Give a folder that is on the disk already (`sync_folder`) a name that nothing has."""
    staging.rename(folder)
    _sync(folder.parent)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """What the operating system says of a write becomes one sentence that names what was to be written."""
    try:
        yield
    except OSError as error:
        raise DiskError(f"{path} cannot be written: {_why(error)}; what was there before stays") from error


def _why(error: OSError) -> str:
    """What the operating system says, of several files that were copied about the first."""
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):
        return str(error.args[0][0][-1])
    return error.strerror or str(error)


def sync_folder(folder: Path) -> None:
    """Flush a folder, everything in it and its name to the disk."""
    for path in (*folder.rglob("*"), folder, folder.parent):
        _sync(path)


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def frame_hash(frame: pd.DataFrame) -> str:
    """Sixteen hex digits that change with any value, column name, row or time of a frame."""
    digest = hashlib.sha256(repr([(name, str(kind)) for name, kind in frame.dtypes.items()]).encode())
    digest.update(pd.util.hash_pandas_object(frame, index=True).to_numpy().tobytes())
    return digest.hexdigest()[:16]


def seal(folder: Path, card: dict[str, Any]) -> None:
    """Write the manifest: the card and the SHA-256 of every file in the folder."""
    write_json(folder / MANIFEST, {**card, "format": FORMAT, "files": {name: sha256(folder / name) for name in _files(folder)}})


def verify(folder: Path) -> dict[str, Any]:
    """The manifest, when every file is there with its hash and no other; raises `BundleError` naming the file otherwise."""
    manifest = read_manifest(folder)
    listed = manifest["files"]
    strangers = sorted(set(_files(folder)) ^ set(listed))
    if strangers:
        raise BundleError(f"{folder}: {strangers[0]} is missing, or was not there when the manifest was made")
    for name, digest in listed.items():
        if sha256(folder / name) != digest:
            raise BundleError(f"{folder}: {name} has been altered since the manifest was made")
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a sealed folder; raises `BundleError` when it is missing, damaged or of another format."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{folder} has no readable {MANIFEST}: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or not isinstance(manifest.get("files"), dict):
        raise BundleError(f"{folder}: {MANIFEST} is not of bundle format {FORMAT}")
    return manifest


def _files(folder: Path) -> list[str]:
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in paths if name != MANIFEST)


def _write(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with named(path), _alone_with(temporary):
        write(temporary)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)


@contextmanager
def _alone_with(path: Path) -> Iterator[None]:
    """A file of this name that nobody else has meanwhile, in any process; it is gone at the end unless it was renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _taken(path)
    try:
        yield
    finally:
        if _is_at(path, file):
            path.unlink()
        os.close(file)


def _taken(path: Path) -> int:
    """Descriptor of the file at this path, locked: one that was renamed or removed while we waited is not it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(file, fcntl.LOCK_EX)
        if _is_at(path, file):
            return file
        os.close(file)


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _exchanged(one: Path, other: Path) -> bool:
    """Let two names change places in one step; False where that is not to be had."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def _replace_in_two_steps(staging: Path, folder: Path) -> None:
    old = _aside(folder)
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)
    try:
        staging.rename(folder)
    except OSError:
        old.rename(folder)
        raise


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
