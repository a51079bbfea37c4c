"""Who is champion of which coin, and every version that ever was.

    <root>/<coin>/versions/<version>/   immutable, named after its content
    <root>/<coin>/champion.json         one pointer, replaced atomically
    <root>/<coin>/journal.jsonl         append-only, each line carrying the hash of the one before
    <root>/<coin>/journal.head          hash of the last line, so that a journal cut short is noticed

Only a PROMOTE verdict that the version itself carries can move the pointer; a rejected version is recorded and changes nothing.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from crp_pipeline.errors import RegistryError
from crp_pipeline.gate.verdict import Outcome, Verdict
from crp_pipeline.storage import MANIFEST, fresh_folder, replace_folder, seal, sha256, verify, write_json, write_text

NO_ENTRY = "0" * 64
"""What the first line of a journal carries in place of a hash."""


def gather(models: Mapping[str, Path], stack: Path, target: Path) -> Path:
    """Put a candidate together in one folder: `models/<type>/...` and `stack.json`; every model is verified on the way."""
    fresh_folder(target)
    for name, folder in models.items():
        verify(folder)
        shutil.copytree(folder, target / "models" / name)
    shutil.copy(stack, target / "stack.json")
    return target


def fingerprint(models: Mapping[str, Path], stack: Path) -> str:
    """Sixteen hex digits that change with any byte of the models or the stack that a verdict is about."""
    digest = hashlib.sha256(sha256(stack).encode())
    for name in sorted(models):
        digest.update(f"{name}:{sha256(models[name] / MANIFEST)}".encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Entry:
    """One line of a coin's journal."""

    at: str
    """UTC, ISO 8601."""
    action: str
    """`register`, `promote`, `reject` or `rollback`."""
    version: str
    reason: str
    previous: str
    """SHA-256 of the line before."""


class Registry:
    """The registry in one folder; `now` is passed in, so that a replay writes what the night wrote."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def register(self, bundle: Path, card: dict[str, Any], *, now: datetime) -> str:
        """Keep a copy of a bundle folder for good and return its version: the same content is the same version.

        The card must name its `coin` and carry its `verdict`; raises `RegistryError` otherwise.
        """
        coin, verdict = _required(card, "coin"), Verdict.from_dict(_required(card, "verdict"))
        versions = self.root / coin / "versions"
        with self._locked(coin):
            known = {entry.version for entry in self._history(coin)}
            staging = fresh_folder(versions / ".new")
            shutil.copytree(bundle, staging, dirs_exist_ok=True)
            (staging / MANIFEST).unlink(missing_ok=True)
            seal(staging, card)
            version = sha256(staging / MANIFEST)[:16]
            if version in known and (versions / version).exists():
                shutil.rmtree(staging)
                return version
            replace_folder(staging, versions / version)
            self._write(coin, "register", version, f"{verdict.outcome}: {verdict.reason}", now)
            if verdict.outcome is not Outcome.PROMOTE:
                self._write(coin, "reject", version, verdict.reason, now)
        return version

    def promote(self, coin: str, version: str, verdict: Verdict, *, now: datetime) -> None:
        """Make a version champion; raises `RegistryError` unless the verdict is PROMOTE and is the one the version carries."""
        if verdict.outcome is not Outcome.PROMOTE:
            raise RegistryError(
                f"{coin}: version {version} cannot be promoted on a verdict of {verdict.outcome}: {verdict.reason}"
            )
        card = self.card(coin, version)
        if card["verdict"] != verdict.to_dict():
            raise RegistryError(f"{coin}: the verdict at hand is not the one that version {version} was registered with")
        with self._locked(coin):
            # the journal and not the pointer, so that a promotion cut off between the two is finished by the next try
            if self._reigns(coin)[-1:] != [version]:
                self._write(coin, "promote", version, verdict.reason, now)
            self._point(coin, version)

    def rollback(self, coin: str, *, now: datetime, reason: str = "by hand") -> str:
        """Bring back the champion before the present one and return its version; raises `RegistryError` when there is none."""
        with self._locked(coin):
            reigns = self._reigns(coin)
            if len(reigns) < 2:
                raise RegistryError(f"{coin}: there is no earlier champion to go back to")
            self.card(coin, reigns[-2])
            self._write(coin, "rollback", reigns[-2], reason, now)
            self._point(coin, reigns[-2])
        return reigns[-2]

    def champion(self, coin: str) -> str | None:
        """Version of the coin's champion, or None; raises `RegistryError` when the pointer cannot be read."""
        pointer = self.root / coin / "champion.json"
        if not pointer.exists():
            return None
        try:
            return str(json.loads(pointer.read_text(encoding="utf-8"))["version"])
        except (ValueError, KeyError) as error:
            raise RegistryError(f"{coin}: {pointer} does not name a version") from error

    def card(self, coin: str, version: str) -> dict[str, Any]:
        """Everything known of a version, after every byte of it has been checked."""
        folder = self.folder(coin, version)
        if not folder.is_dir():
            raise RegistryError(f"{coin} has no version {version}")
        card = verify(folder)
        if sha256(folder / MANIFEST)[:16] != version:
            raise RegistryError(f"{coin}: the manifest of version {version} is not the one it was named after")
        return card

    def folder(self, coin: str, version: str) -> Path:
        """Where a version lies."""
        return self.root / coin / "versions" / version

    def coins(self) -> list[str]:
        """Coins that have at least one version."""
        return sorted(path.parent.name for path in self.root.glob("*/versions"))

    def history(self, coin: str) -> list[Entry]:
        """The journal, oldest first; raises `RegistryError` naming the first line after one that was altered or removed."""
        if not (self.root / coin).is_dir():
            return []
        with self._locked(coin):
            return self._history(coin)

    def verify(self, coin: str, version: str | None = None) -> None:
        """Check a version (all, when none is named) byte by byte, the journal and the pointer; raises on the first fault."""
        if coin not in self.coins():
            raise RegistryError(f"{coin} has no versions")
        with self._locked(coin):
            champion, told = self.champion(coin), [None, *self._reigns(coin)][-1]
            registered = {entry.version for entry in self._history(coin)}
        if champion != told:
            raise RegistryError(f"{coin}: the pointer names {champion} as champion, the journal {told}")
        kept = {path.name for path in (self.root / coin / "versions").glob("[0-9a-f]*")}
        for name in sorted(registered | kept) if version is None else [version]:
            self.card(coin, name)

    def _history(self, coin: str) -> list[Entry]:
        entries: list[Entry] = []
        expected = NO_ENTRY
        for number, line in enumerate(self._lines(coin), start=1):
            try:
                entry = Entry(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise RegistryError(f"{coin}: line {number} of the journal cannot be read: {error}") from error
            if entry.previous != expected:
                raise RegistryError(f"{coin}: line {number} of the journal does not follow the one before it")
            entries.append(entry)
            expected = _line_hash(line)
        # a line may be written and its head not yet, when the power goes in between
        if self._head_hash(coin) not in {expected, entries[-1].previous if entries else NO_ENTRY}:
            raise RegistryError(f"{coin}: the journal ends after line {len(entries)}, which is not how it was left")
        return entries

    def _reigns(self, coin: str) -> list[str]:
        """Champions as a stack: a promotion puts one on, a rollback takes one off."""
        reigns: list[str] = []
        for entry in self._history(coin):
            if entry.action == "promote":
                reigns.append(entry.version)
            elif entry.action == "rollback":
                reigns.pop()
        return reigns

    def _point(self, coin: str, version: str) -> None:
        write_json(self.root / coin / "champion.json", {"version": version})

    def _write(self, coin: str, action: str, version: str, reason: str, now: datetime) -> None:
        lines = self._lines(coin)
        previous = _line_hash(lines[-1]) if lines else NO_ENTRY
        entry = Entry(now.isoformat(timespec="seconds"), action, version, reason, previous)
        line = json.dumps(vars(entry), sort_keys=True)
        with self._journal(coin).open("a", encoding="utf-8") as journal:
            journal.write(line + "\n")
            journal.flush()
            os.fsync(journal.fileno())
        write_text(self._head(coin), _line_hash(line))

    def _lines(self, coin: str) -> list[str]:
        journal = self._journal(coin)
        return journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []

    def _head(self, coin: str) -> Path:
        return self.root / coin / "journal.head"

    def _head_hash(self, coin: str) -> str:
        return self._head(coin).read_text(encoding="utf-8") if self._head(coin).exists() else NO_ENTRY

    def _journal(self, coin: str) -> Path:
        return self.root / coin / "journal.jsonl"

    @contextmanager
    def _locked(self, coin: str) -> Iterator[None]:
        """One writer per coin at a time, across processes."""
        folder = self.root / coin
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _required(card: dict[str, Any], key: str) -> Any:
    if key not in card:
        raise RegistryError(f"a model card must carry its {key}; this one has {', '.join(sorted(card)) or 'nothing'}")
    return card[key]


def _line_hash(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()
