"""The versions of one coin as folders: staged, put in place, checked, and stripped of all but their card.

versions/<version>/     a sealed bundle, named after its manifest; of a pruned version the manifest alone
versions/.new/          one that is not in its place yet
"""

import re
import shutil
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from crp_pipeline.errors import RegistryError
from crp_pipeline.gate.verdict import Outcome, Verdict
from crp_pipeline.registry.card import check_subject, verdict_of
from crp_pipeline.storage import (
    MANIFEST,
    fresh_folder,
    move_folder,
    named,
    read_manifest,
    replace_folder,
    seal,
    sha256,
    sync_folder,
    verify,
)

STAGING = ".new"
VERSION = re.compile("[0-9a-f]{16}")


class Versions:
    """The folders in one; whoever changes them holds the coin's lock."""

    def __init__(self, folder: Path) -> None:
        self.coin, self.root = folder.name, folder / "versions"

    def folder(self, version: str) -> Path:
        """Where a version lies."""
        return self.root / version

    def names(self) -> set[str]:
        """Every version that has a folder."""
        return {path.name for path in self.root.glob("*") if not path.name.startswith(".")}

    def any(self) -> str | None:
        """One of them, without looking at the others; None where there is none."""
        return next((path.name for path in self.root.iterdir() if path.name != STAGING), None) if self.root.exists() else None

    def has(self, version: str) -> bool:
        """True for a version with a folder; nothing else is looked at, however many there are."""
        return VERSION.fullmatch(version) is not None and self.folder(version).is_dir()

    def card(self, version: str) -> dict[str, Any]:
        """Everything known of a version, after every byte of it has been checked."""
        if not self.has(version):
            raise RegistryError(f"{self.coin} has no version {version}")
        if self.is_stripped(version):
            raise RegistryError(f"{self.coin}: version {version} was pruned: its files are gone and its card is left")
        card = verify(self.folder(version))
        if sha256(self.folder(version) / MANIFEST)[:16] != version:
            raise RegistryError(f"{self.coin}: the manifest of version {version} is not the one it was named after")
        return card

    def card_alone(self, version: str) -> dict[str, Any]:
        """What the card of a version says, proved by the version's name; its other files are not looked at."""
        manifest = self.folder(version) / MANIFEST
        if not self.has(version) or not manifest.exists() or sha256(manifest)[:16] != version:
            raise RegistryError(f"{self.coin}: there is no version {version} whose manifest is the one it was named after")
        return read_manifest(self.folder(version))

    def check_promoted(self, version: str) -> None:
        """Check every byte of a version that may reign; raises `RegistryError` for one without a PROMOTE verdict."""
        verdict = verdict_of(self.card(version))
        if verdict.outcome is not Outcome.PROMOTE:
            raise RegistryError(f"{self.coin}: version {version} carries a verdict of {verdict.outcome} and cannot be champion")

    def stage(self, bundle: str | PathLike[str], card: Mapping[str, Any], verdict: Verdict) -> str:
        """Copy a bundle, check the copy, seal it with its card and return its version."""
        staging = self.root / STAGING
        with named(staging):
            shutil.copytree(bundle, fresh_folder(staging), dirs_exist_ok=True)
        if (staging / MANIFEST).exists():
            own = verify(staging)
            card = {**card, "bundle": {name: own[name] for name in own if name not in {"format", "files"}}}
        check_subject(staging, verdict)
        seal(staging, dict(card))
        with named(staging):
            sync_folder(staging)
        return sha256(staging / MANIFEST)[:16]

    def staged(self) -> str | None:
        """Version that is staged, if there is one."""
        manifest = self.root / STAGING / MANIFEST
        return sha256(manifest)[:16] if manifest.exists() else None

    def check_staged(self) -> None:
        """Check every byte of what is staged."""
        verify(self.root / STAGING)

    def place(self, version: str) -> None:
        """Move the staged version to its name, or check the one that has it already."""
        if self.is_whole(version):
            self.card(version)
            shutil.rmtree(self.root / STAGING)
        elif not self.has(version):
            with named(self.folder(version)):
                move_folder(self.root / STAGING, self.folder(version))
        else:
            with named(self.folder(version)):
                replace_folder(self.root / STAGING, self.folder(version))

    def is_whole(self, version: str) -> bool:
        """True for a version that has a folder with more than its card in it."""
        return self.has(version) and not self.is_stripped(version)

    def is_stripped(self, version: str) -> bool:
        """True for a version of which only the card is left."""
        return [path.name for path in self.folder(version).iterdir()] == [MANIFEST]

    def strip(self, version: str) -> None:
        """Remove everything but the card, however much of it is there."""
        for path in self.folder(version).iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != MANIFEST:
                path.unlink()
        sync_folder(self.folder(version))
