"""The registry: register, promote, roll back; who is champion; whether everything is as it was written.

A write goes in this order: the version is staged, its line is appended to the journal, the head of the journal moves, and then
the version is put in its place or the pointer moves. A write that was cut off between two steps is finished by the next one.

Journal and pointer must agree. While the head lags by one line, the pointer must still be where the lines up to the head left
it, because a promotion moves it last: a line and a pointer without their head are a forgery and no power cut.
"""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any

from crp_pipeline.chain import no_writer, only_writer
from crp_pipeline.errors import RegistryError
from crp_pipeline.gate.verdict import Outcome, Verdict
from crp_pipeline.registry.card import COIN, check_subject, checked_card, checked_coin, verdict_of
from crp_pipeline.registry.journal import HEAD, JOURNAL, Entry, Journal, Record
from crp_pipeline.registry.succession import succession
from crp_pipeline.storage import (
    MANIFEST,
    fresh_folder,
    read_manifest,
    replace_folder,
    seal,
    sha256,
    sync_folder,
    verify,
    write_json,
)

POINTER = "champion.json"
LOCK = ".lock"
NOBODY = "none"
"""What the subject of a verdict names as champion where nobody reigned."""
STAGING = ".new"
VERSION = re.compile("[0-9a-f]{16}")


class Registry:
    """The registry in one folder; `now` can be passed in, so that a replay writes what the night wrote."""

    def __init__(self, root: str | PathLike[str]) -> None:
        self.root = Path(root)

    def register(self, bundle: str | PathLike[str], card: dict[str, Any], *, now: datetime | None = None) -> str:
        """Keep a copy of a bundle folder for good and return its version: the same content is the same version.

        The card must name its `coin` and carry its `verdict`, as `verdict.to_dict()`. Where the verdict's subject names a coin,
        it must be the card's; where it names a candidate, a folder that `gather` made must have that fingerprint. The card of a
        bundle that is itself sealed is kept as `bundle`. Raises `RegistryError` otherwise, `BundleError` for altered bytes.
        """
        coin, verdict = checked_card(card)
        if not Path(bundle).is_dir():
            raise RegistryError(f"{coin}: {bundle} is no folder")
        self._folder(coin).mkdir(parents=True, exist_ok=True)
        with self._writing(coin) as journal:
            version = self._stage(coin, bundle, card, verdict)
            record = journal.read()
            if version not in record.versions("register"):
                journal.append("register", version, f"{verdict.outcome}: {verdict.reason}", now)
            if verdict.outcome not in {Outcome.PROMOTE, Outcome.SHADOW} and version not in record.versions("reject"):
                journal.append("reject", version, verdict.reason, now)
            self._place(coin, version)
        return version

    def promote(self, coin: str, version: str, verdict: Verdict, *, again: bool = False, now: datetime | None = None) -> None:
        """Make a version champion; raises `RegistryError` unless the verdict is PROMOTE and is the one the version carries.

        A version that was rolled back stays so, however often it is promoted, unless it is promoted `again` on purpose. Where
        the verdict's subject names a champion, that one must still reign: of two that were judged against the same champion
        only one follows.
        """
        if verdict.outcome is not Outcome.PROMOTE:
            raise RegistryError(
                f"{coin}: version {version} cannot be promoted on a verdict of {verdict.outcome}: {verdict.reason}"
            )
        self._require(coin)
        with self._writing(coin) as journal:
            if self.card(coin, version)["verdict"] != verdict.to_dict():
                raise RegistryError(f"{coin}: the verdict at hand is not the one that version {version} was registered with")
            before = succession(coin, journal.read().entries)
            if version in before.rolled_back and not again:
                raise RegistryError(f"{coin}: version {version} was rolled back; promote it with again=True to bring it back")
            if version != before.champion:
                _require_reign(coin, verdict, before.champion, again=again)
                journal.append("promote", version, verdict.reason, now)
            self._point(coin, version)

    def rollback(self, coin: str, *, now: datetime | None = None, reason: str = "by hand") -> str:
        """Bring back the champion before the present one and return its version; raises `RegistryError` when there is none."""
        self._require(coin)
        with self._writing(coin) as journal:
            reigns = succession(coin, journal.read().entries).reigns
            if len(reigns) < 2:
                raise RegistryError(f"{coin}: there is no earlier champion to go back to")
            version = reigns[-2]
            self._promoted(coin, version)
            journal.append("rollback", version, reason, now)
            self._point(coin, version)
        return version

    def champion(self, coin: str) -> str | None:
        """Version of the coin's champion, every byte of it checked, or None.

        Raises `RegistryError` unless pointer and journal agree on it and it carries a PROMOTE verdict.
        """
        with self._reading(coin):
            champion = self._agreed(coin, self._record(coin))
        if champion is not None:
            self._promoted(coin, champion)
        return champion

    def is_rolled_back(self, coin: str, version: str) -> bool:
        """True for a version whose latest reign was ended by a rollback."""
        return version in succession(coin, self.history(coin)).rolled_back

    def card(self, coin: str, version: str) -> dict[str, Any]:
        """Everything known of a version, after every byte of it has been checked."""
        if not self._keeps(coin, version):
            raise RegistryError(f"{coin} has no version {version}")
        folder = self.folder(coin, version)
        card = verify(folder)
        if sha256(folder / MANIFEST)[:16] != version:
            raise RegistryError(f"{coin}: the manifest of version {version} is not the one it was named after")
        return card

    def card_alone(self, coin: str, version: str) -> dict[str, Any]:
        """What the card of a version says, proved by the version's name; its other files are not looked at."""
        folder = self.folder(coin, version)
        if not self._keeps(coin, version) or sha256(folder / MANIFEST)[:16] != version:
            raise RegistryError(f"{coin}: there is no version {version} whose manifest is the one it was named after")
        return read_manifest(folder)

    def folder(self, coin: str, version: str) -> Path:
        """Where a version lies."""
        return self._versions(coin) / version

    def coins(self) -> list[str]:
        """Coins of which something was ever written down."""
        names = (path.name for path in self.root.glob("*"))
        return sorted(name for name in names if COIN.fullmatch(name) and self._is_known(name))

    def history(self, coin: str) -> list[Entry]:
        """The journal, oldest first; raises `RegistryError` naming the first line after one that was altered or removed."""
        with self._reading(coin):
            return list(Journal(self._folder(coin)).read().entries)

    def verify(self, coin: str, version: str | None = None) -> None:
        """Check a version (all, when none is named) byte by byte, the champion, the journal and the pointer.

        Raises on the first fault. No secret signs the files: whoever makes up a version, its verdict, the journal, its head and
        the pointer, all in agreement, is not found out.
        """
        self._require(coin)
        with self._reading(coin):
            record = self._record(coin)
            champion = self._agreed(coin, record)
        for name in sorted(record.versions("register") if version is None else {version, champion or version}):
            if name in record.versions("promote"):
                self._promoted(coin, name)
            else:
                self.card(coin, name)

    def _stage(self, coin: str, bundle: str | PathLike[str], card: dict[str, Any], verdict: Verdict) -> str:
        """Copy a bundle, check the copy, seal it with its card and return its version."""
        staging = fresh_folder(self._staging(coin))
        shutil.copytree(bundle, staging, dirs_exist_ok=True)
        if (staging / MANIFEST).exists():
            own = verify(staging)
            card = {**card, "bundle": {name: own[name] for name in own if name not in {"format", "files"}}}
        check_subject(staging, verdict)
        seal(staging, card)
        sync_folder(staging)
        return sha256(staging / MANIFEST)[:16]

    def _staged(self, coin: str) -> str | None:
        """Version that is staged, if there is one."""
        manifest = self._staging(coin) / MANIFEST
        return sha256(manifest)[:16] if manifest.exists() else None

    def _place(self, coin: str, version: str) -> None:
        """Move the staged version to its name, or check the one that has it already."""
        if self._keeps(coin, version):
            self.card(coin, version)
            shutil.rmtree(self._staging(coin))
        else:
            replace_folder(self._staging(coin), self.folder(coin, version))

    def _finish(self, coin: str, record: Record) -> None:
        """Do what a write that was cut off had left to do."""
        staged = self._staged(coin)
        if staged is not None and staged in record.versions("register") - self._kept(coin):
            self._place(coin, staged)
        told, before = (succession(coin, entries).champion for entries in (record.entries, record.entries[:-1]))
        if told is not None and told != before == self._pointer(coin):
            self._point(coin, told)

    def _record(self, coin: str) -> Record:
        """The journal, when it mentions every version that is kept."""
        record = Journal(self._folder(coin)).read()
        strangers = sorted(self._kept(coin) - record.versions("register"))
        if strangers:
            raise RegistryError(f"{coin}: version {strangers[0]} is kept and the journal does not mention it")
        return record

    def _check_pending(self, coin: str, record: Record) -> None:
        """A line that lacks its head may be what a power cut left; raises when it cannot be."""
        champion = succession(coin, record.entries).champion
        if record.pending:
            self._agreed(coin, record)
            if champion is not None:
                self._promoted(coin, champion)

    def _agreed(self, coin: str, record: Record) -> str | None:
        """The champion that both the pointer and the journal name."""
        succession(coin, record.entries)
        pointer, told = self._pointer(coin), succession(coin, record.sealed).champion
        if pointer != told:
            raise RegistryError(f"{coin}: the pointer names {pointer} as champion, the journal {told}")
        return told

    def _promoted(self, coin: str, version: str) -> None:
        verdict = verdict_of(self.card(coin, version))
        if verdict.outcome is not Outcome.PROMOTE:
            raise RegistryError(f"{coin}: version {version} carries a verdict of {verdict.outcome} and cannot be champion")

    def _pointer(self, coin: str) -> str | None:
        pointer = self._folder(coin) / POINTER
        if not pointer.exists():
            return None
        try:
            match json.loads(pointer.read_text(encoding="utf-8")):
                case {"version": str(version)}:
                    return version
        except ValueError as error:
            raise RegistryError(f"{coin}: {pointer} does not name a version: {error}") from error
        raise RegistryError(f"{coin}: {pointer} does not name a version")

    def _point(self, coin: str, version: str) -> None:
        self._promoted(coin, version)
        write_json(self._folder(coin) / POINTER, {"version": version})

    def _folder(self, coin: str) -> Path:
        return self.root / checked_coin(coin)

    def _versions(self, coin: str) -> Path:
        return self._folder(coin) / "versions"

    def _staging(self, coin: str) -> Path:
        return self._versions(coin) / STAGING

    def _keeps(self, coin: str, version: str) -> bool:
        """Whether the version has its folder; nothing else is looked at, however many versions there are."""
        return VERSION.fullmatch(version) is not None and self.folder(coin, version).is_dir()

    def _kept(self, coin: str) -> set[str]:
        return {path.name for path in self._versions(coin).glob("*") if not path.name.startswith(".")}

    def _is_known(self, coin: str) -> bool:
        return bool(self._kept(coin)) or any((self._folder(coin) / name).exists() for name in (JOURNAL, HEAD, POINTER))

    def _require(self, coin: str) -> None:
        if not self._is_known(coin):
            raise RegistryError(f"{coin} has no versions")

    @contextmanager
    def _writing(self, coin: str) -> Iterator[Journal]:
        """One writer per coin at a time, across processes; it begins with everything in order."""
        with only_writer(self._folder(coin) / LOCK):
            journal, record = Journal(self._folder(coin)), self._record(coin)
            self._check_pending(coin, record)
            journal.repair()
            self._finish(coin, record)
            yield journal

    @contextmanager
    def _reading(self, coin: str) -> Iterator[None]:
        """No writer of that coin meanwhile; nothing is created where nobody ever wrote."""
        with no_writer(self._folder(coin) / LOCK):
            yield


def _require_reign(coin: str, verdict: Verdict, champion: str | None, *, again: bool) -> None:
    """Raises `RegistryError` unless the champion is the one that the verdict was reached against, if it names one."""
    judged, reigns = verdict.subject.get("champion"), champion or NOBODY
    if judged is not None and judged != reigns and not again:
        raise RegistryError(f"{coin}: the champion was {judged} when the gate judged and is {reigns}; materialize `gate` again")
