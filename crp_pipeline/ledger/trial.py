"""What was evaluated, told by everything that a user could have varied."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crp_pipeline.errors import LedgerError

Recipe = Mapping[str, Any]
"""Texts, numbers, truth values, None and lists of these, by name."""
_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class Trial:
    """One evaluation: a candidate and how it was made and traded.

    >>> Trial("tcn", {"horizon": 24}).key == Trial("renamed", {"horizon": 24}).key != Trial("tcn", {"horizon": 12}).key
    True
    """

    name: str
    """What its column of daily returns is called."""
    recipe: Recipe
    made: str | None = None
    """Hash of the forecasts or decisions that were traded; None: its daily returns stand for them."""

    def __post_init__(self) -> None:
        """Raises `LedgerError` for a recipe that is not flat or would not come back from JSON as it was."""
        for fact, value in self.recipe.items():
            if not _is_plain(value):
                raise LedgerError(f"{self.name}: {fact} = {value!r} cannot stand in a recipe: it must be plain JSON")
        if not self.name or not self.recipe:
            raise LedgerError(f"a trial needs a name and a recipe, got {self.name!r} and {dict(self.recipe)!r}")

    @property
    def key(self) -> str:
        """Thirty-two hex digits that change with any fact of the recipe."""
        return key_of(self.recipe)


def key_of(recipe: Recipe) -> str:
    """Hash of a recipe, in whatever order its facts are told."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:32]


def flat(document: Mapping[str, Any], *, within: str = "") -> dict[str, Any]:
    """A nested mapping as one level of dotted names; lists stay what they are.

    >>> flat({"labels": {"horizon": 24}, "roster": ["tcn"]})
    {'labels.horizon': 24, 'roster': ['tcn']}
    """
    facts: dict[str, Any] = {}
    for name, value in document.items():
        facts |= flat(value, within=f"{within}{name}.") if isinstance(value, Mapping) else {f"{within}{name}": _listed(value)}
    return facts


def _listed(value: Any) -> Any:
    return [*value] if isinstance(value, tuple) else value


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return isinstance(value, _PLAIN) and (not isinstance(value, float) or math.isfinite(value))
