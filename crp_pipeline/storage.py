"""Files and folders that are there whole or not at all, and folders that prove they have not been altered.

Every write goes to a temporary name in the same folder, is flushed to the disk and then renamed. A file takes another's place
in one step; a folder takes two, and whoever reads in between finds none: see `replace_folder`.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from crp_pipeline.errors import BundleError, DataContractError

MANIFEST = "manifest.json"
FORMAT = 1


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


def read_parquet(path: Path) -> pd.DataFrame:
    """The frame that `write_parquet` wrote; raises `DataContractError` when it is missing or damaged."""
    try:
        return pd.read_parquet(path)
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


def replace_folder(staging: Path, folder: Path) -> Path:
    """Put a finished folder in another's place: what is there is whole, the old one, the new one or, for a moment, neither.

    The old one steps aside to `.<name>.old` and is removed only once the new one is in place. When the power goes in between,
    nothing is at `folder` until the next replacement; the old content is still aside, the new one still at `staging`.
    """
    sync_folder(staging)
    old = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    try:
        staging.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def move_folder(staging: Path, folder: Path) -> None:
    """Give a folder that is on the disk already (`sync_folder`) a name that nothing has."""
    staging.rename(folder)
    _sync(folder.parent)


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
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        write(temporary)
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
