"""The three pointers of a coin in one file, which is replaced atomically.

A file that names a champion alone is from before there were others; it says that nobody has their roles.
"""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from crp_pipeline.errors import RegistryError
from crp_pipeline.registry.state import Pointers
from crp_pipeline.storage import write_json

POINTER = "champion.json"
ROLES = tuple(role.name for role in fields(Pointers))


def read_pointers(folder: Path) -> Pointers:
    """Where the pointers are; raises `RegistryError` for a file that names no version."""
    path = folder / POINTER
    if not path.exists():
        return Pointers()
    try:
        pointers = _pointers(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise RegistryError(f"{folder.name}: {path} does not name a version: {error}") from error
    if pointers is None:
        raise RegistryError(f"{folder.name}: {path} does not name a version")
    return pointers


def write_pointers(folder: Path, pointers: Pointers) -> None:
    """Move all three in one step."""
    beside = {"challenger": pointers.challenger, "shadow": pointers.shadow}
    write_json(folder / POINTER, {"version": pointers.champion, **beside})


def check_agreement(coin: str, found: Pointers, told: Pointers) -> None:
    """Raises `RegistryError` naming the first role that pointer and journal give to different versions."""
    for role in ROLES:
        pointer, journal = getattr(found, role), getattr(told, role)
        if pointer != journal:
            raise RegistryError(f"{coin}: the pointer names {pointer} as {role}, the journal {journal}")


def _pointers(document: Any) -> Pointers | None:
    match document:
        case {"version": str() | None as champion, "challenger": str() | None as challenger, "shadow": str() | None as shadow}:
            return Pointers(champion, challenger, shadow)
        case {"version": str(champion)}:
            return Pointers(champion)
    return None
