"""What a registered version says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from crp_pipeline.errors import RegistryError
from crp_pipeline.places import Places
from crp_pipeline.provenance import Lineage, lineage_of
from crp_pipeline.registry import Registry
from crp_pipeline.registry.candidate import DECISIONS, MODELS, STACK
from crp_pipeline.replay.line import NOT_TOLD
from crp_pipeline.storage import read_manifest, read_parquet


@dataclass(frozen=True)
class Registered:
    """A version whose every byte has been checked."""

    coin: str
    name: str
    folder: Path
    card: Mapping[str, Any]
    decisions: pd.DataFrame
    """What it decided out of fold, with the lineage of everything behind it."""

    def recorded(self, name: str) -> str:
        """Hash of an ingredient or a table at the time; all of them where it was made from several, `not told` without one."""
        return " and ".join(self._lineage.get(name, ())) or NOT_TOLD

    @property
    def stack(self) -> Path:
        """File of its stack."""
        return self.folder / STACK

    def bundle(self, model_type: str) -> Path:
        """Folder of one of its final models."""
        return self.folder / MODELS / model_type

    def model_card(self, model_type: str) -> Mapping[str, Any]:
        """What the card of one of its final models says."""
        return read_manifest(self.bundle(model_type))

    @cached_property
    def _lineage(self) -> Lineage:
        return lineage_of(self.decisions)


def registered(places: Places, coin: str, version: str | None) -> Registered:
    """The version, the champion where none is named.

    Raises `RegistryError` for one that is not there or that does not say what it was made from, `BundleError` for one that was
    altered.
    """
    book = Registry(places.registry)
    chosen = version or book.champion(coin)
    if chosen is None:
        raise RegistryError(f"{coin} has no champion: name the version to replay")
    card, folder = book.card(coin, chosen), book.folder(coin, chosen)
    untold = [name for name in ("settings", "libraries", "feature_set_id", "code") if name not in card]
    if untold:
        raise RegistryError(f"{coin}: the card of version {chosen} does not tell its {untold[0]}, which a replay needs")
    if not (folder / DECISIONS).exists():
        raise RegistryError(f"{coin}: version {chosen} did not keep its decisions, whose lineage a replay needs")
    decisions = read_parquet(folder / DECISIONS)
    if "lineage" not in decisions.attrs:
        raise RegistryError(f"{coin}: the decisions of version {chosen} do not say what they were made from")
    return Registered(coin, chosen, folder, card, decisions)
