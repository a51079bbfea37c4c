"""The replay of one version: its ingredients, what was made of them again, and the table of both."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from crp_pipeline.models.base import Progress
from crp_pipeline.places import Places
from crp_pipeline.replay.ingredients import look_for
from crp_pipeline.replay.line import Line
from crp_pipeline.replay.rebuild import Rebuild
from crp_pipeline.replay.registered import registered


@dataclass(frozen=True)
class Replay:
    """What a replay found."""

    coin: str
    version: str
    ingredients: tuple[Line, ...]
    made: tuple[Line, ...]
    """What came out of the rooms; none where an ingredient is missing and nobody asked to go on."""

    @property
    def is_same(self) -> bool:
        """True when the version was made again, of the same ingredients and with the same results to the bit."""
        return bool(self.made) and all(line.is_same for line in (*self.ingredients, *self.made))

    @property
    def missing(self) -> tuple[Line, ...]:
        """Ingredients that are gone, or others."""
        return tuple(line for line in self.ingredients if not line.is_same)

    def table(self) -> pd.DataFrame:
        """One row per ingredient and result: ingredient, recorded, found, same."""
        rows = [(it.name, it.recorded, it.found, "yes" if it.is_same else "NO") for it in (*self.ingredients, *self.made)]
        return pd.DataFrame(rows, columns=["ingredient", "recorded", "found", "same"])

    def sentences(self) -> list[str]:
        """What differs, one sentence each, and in the last one what that comes to."""
        told = [line.difference for line in (*self.ingredients, *self.made) if not line.is_same and line.difference]
        return [*told, self._outcome()]

    def _outcome(self) -> str:
        what, n_other = f"{self.coin}: version {self.version}", sum(not line.is_same for line in self.made)
        if not self.made:
            return f"{what} is not made again, because {len(self.missing)} of its ingredients are gone or others"
        if n_other == 0:
            return f"{what} was made again and is the same to the bit{', of other ingredients' if self.missing else ''}"
        why = "" if self.missing else " of the same ingredients: processor, device or threads are what is left to differ"
        return f"{what} was made again and is not the same: {n_other} of {len(self.made)} results differ{why}"


def replay(
    places: Places,
    coin: str,
    version: str | None = None,
    *,
    folder: Path,
    anyway: bool = False,
    progress: Progress | None = None,
) -> Replay:
    """Make a version again in an empty folder and compare; the champion where none is named.

    Where an ingredient is gone or another, nothing is made unless it is asked for `anyway`: then what comes nearest takes its
    place. Raises `RegistryError` for a version that is not there or does not tell what it was made from, `BundleError` for one
    that was altered, and `FileExistsError` for a folder that holds anything.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: name a folder that a replay may fill")
    told = registered(places, coin, version)
    found = look_for(places, told)
    is_complete = all(line.is_same for line in found.lines)
    folder.mkdir(parents=True, exist_ok=True)
    made = tuple(Rebuild(told, found, folder, progress).lines()) if is_complete or anyway else ()
    return Replay(coin, told.name, found.lines, made)
