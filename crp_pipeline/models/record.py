"""What was once made, kept under what it was made from, so that nothing is made twice and nothing past is made otherwise.

<folder>/<key>/...             what was made
<folder>/<key>/manifest.json   its ingredients by name, and the SHA-256 of each file

The key is the SHA-256 of the ingredients. Whatever was made from the very same is found and read back; one other ingredient is
another key. An entry that is damaged is told, made anew and replaced; its manifest vouches for its files and its key for the
manifest's ingredients, so that only who changes a file and seals the entry again can alter it unseen. Entries may be deleted at
any time, at the price of making them again.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from crp_pipeline.errors import BundleError, CrpError
from crp_pipeline.storage import seal, staged, verify

Made = TypeVar("Made")
Ingredients = Mapping[str, object]
"""JSON values by name."""
Tell = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class Record:
    """The past results of one kind on one coin."""

    folder: Path
    feature_set_id: str
    label_settings: Ingredients
    bundle: Path | None = None
    """Where the final model of an earlier run lies."""

    def entry(self, ingredients: Ingredients) -> "Entry":
        """Where the result of these ingredients, the features' and the labels' definition among them, is or would be kept."""
        made_from = {**ingredients, "feature_set_id": self.feature_set_id, "labels": self.label_settings}
        return Entry(self.folder / key_of(made_from), made_from)


@dataclass(frozen=True)
class Entry:
    """One result: a sealed folder named by its key."""

    folder: Path
    ingredients: Ingredients

    @property
    def key(self) -> str:
        """Hash of the ingredients."""
        return self.folder.name

    def read(self, load: Callable[[Path], Made], *, tell: Tell) -> Made | None:
        """What `load` makes of the folder; None where there is none, or a damaged one, which is told."""
        if not self.folder.exists():
            return None
        try:
            self._verify()
            return load(self.folder)
        except (CrpError, OSError) as error:
            tell(f"a past result is damaged and is made anew: {error}")
            return None

    def write(self, fill: Callable[[Path], object]) -> None:
        """Keep what `fill` writes into a folder: whole or not at all, in place of what was kept before."""
        with staged(self.folder) as staging:
            fill(staging)
            seal(staging, {"key": self.key, "ingredients": self.ingredients})

    def _verify(self) -> None:
        """Raises `BundleError` unless every file is as it was written and the ingredients are those of the key."""
        if key_of(verify(self.folder).get("ingredients")) != self.key:
            raise BundleError(f"{self.folder} holds what was made from other ingredients than its name says")


def key_of(ingredients: object) -> str:
    """Thirty-two hexadecimal digits that change with any ingredient."""
    return sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()[:32]
