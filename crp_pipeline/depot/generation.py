"""One state of a coin's files: their hashes under a number, and who pushed it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from crp_pipeline.errors import StorageError


class Stamp(NamedTuple):
    """What a file holds."""

    sha256: str
    size: int


def stamp_of(content: bytes) -> Stamp:
    """Stamp of a content."""
    return Stamp(hashlib.sha256(content).hexdigest(), len(content))


Files = Mapping[str, Stamp]
"""Stamps by path below the data folder, with forward slashes."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """The files of a coin as somebody pushed them."""

    subject: str
    number: int
    """1 is the first; each follows the one before it."""
    at: str
    """UTC, ISO 8601."""
    by: str
    """The machine."""
    run: str = ""
    """The Dagster run; empty for a push by hand."""
    files: Files

    def to_bytes(self) -> bytes:
        """JSON that `from_bytes` reads."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, content: bytes, *, where: str) -> "Generation":
        """Raises `StorageError` naming the place of what is no generation."""
        try:
            document = json.loads(content)
            files = {path: _stamp(path, *stamp) for path, stamp in document.pop("files").items()}
            return cls(**document, files=files)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StorageError(f"{where} is no generation: {error}") from None


def nothing_yet(subject: str) -> Generation:
    """What is there before the first push."""
    return Generation(subject=subject, number=0, at="", by="", files={})


def _stamp(path: str, sha256: Any, size: Any) -> Stamp:
    """Raises `ValueError` for a hash that is none and for a path that leaves the data folder."""
    if not (isinstance(sha256, str) and len(sha256) == 64 and set(sha256) <= set("0123456789abcdef") and isinstance(size, int)):
        raise ValueError(f"{path} has the stamp {sha256!r}, {size!r}")
    if path.startswith("/") or "\\" in path or {"", ".", ".."} & set(path.split("/")):
        raise ValueError(f"{path!r} leaves the data folder")
    return Stamp(sha256, size)
