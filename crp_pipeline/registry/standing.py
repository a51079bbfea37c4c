"""Who reigns over a coin since when, and which version runs in the champion's shadow.

A reign is a stretch of the journal with one recipe on the throne: a refreshed model of the same recipe carries it on, another
recipe begins a new one, and so does every rollback, since whoever rolls back has seen how the last one ended.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crp_pipeline.gate.challenge import Contender, recipe_key
from crp_pipeline.gate.verdict import Outcome, Verdict
from crp_pipeline.registry.candidate import DECISIONS
from crp_pipeline.registry.registry import Registry
from crp_pipeline.storage import read_parquet

CIRCUMSTANCES = ("champion", "source")
"""What a verdict's subject tells of the world it was reached in, not of the candidate."""


@dataclass(frozen=True)
class Standing:
    """Champion and shadow of a coin."""

    champion: str
    recipe: str
    """The champion's."""
    reign: int
    """Line of the journal at which the reign began, counted from 1."""
    shadow: str | None
    """Latest version of another recipe that was found good and not yet proved better than the champion."""
    shadow_recipe: str | None


def standing(book: Registry, coin: str) -> Standing | None:
    """Who reigns and who runs in the shadow; None where nobody reigns. Every byte of the champion is checked."""
    champion = book.champion(coin)
    if champion is None:
        return None
    recipe = recipe_of(book.card_alone(coin, champion))
    shadow = _latest_shadow(book, coin, recipe)
    shadow_recipe = None if shadow is None else recipe_of(book.card_alone(coin, shadow))
    return Standing(champion, recipe, _reign(book, coin), shadow, shadow_recipe)


def recipe_of(card: Mapping[str, Any]) -> str:
    """Settings and features that a version was made by; empty parts where its card names none."""
    return recipe_key(card.get("recipe", ""), card.get("feature_set_id", ""))


def champion_of(book: Registry, coin: str) -> Contender | None:
    """The champion as `gate.challenge` compares it, with what it decided out of fold when it was registered; None without one.

    A version that did not keep its decisions has none.
    """
    place = standing(book, coin)
    if place is None:
        return None
    kept = book.folder(coin, place.champion) / DECISIONS
    return Contender(place.recipe, read_parquet(kept) if kept.exists() else None, place.reign)


def version_judged(book: Registry, coin: str, verdict: Verdict) -> str | None:
    """The version that was registered with this outcome for the very candidate that the verdict is about; None without one.

    Whoever judges a candidate twice finds another champion the second time, maybe the candidate itself: the numbers differ, the
    candidate does not, and `CIRCUMSTANCES` are none of it. Of one that may be promoted only the present champion and what was
    rolled back are found, since a promotion needs the numbers of tonight.
    """
    champion = book.champion(coin) if book.history(coin) else None
    for entry in reversed(book.history(coin)):
        if entry.action == "register":
            told = book.card_alone(coin, entry.version)["verdict"]
            same = (
                _without_circumstances(told["subject"]) == _without_circumstances(verdict.subject)
                and told["outcome"] == verdict.outcome
                and told["stamp"] == verdict.stamp
            )
            settled = (
                verdict.outcome is not Outcome.PROMOTE or entry.version == champion or book.is_rolled_back(coin, entry.version)
            )
            if same and settled:
                return entry.version
    return None


def _without_circumstances(subject: Mapping[str, str]) -> dict[str, str]:
    return {name: told for name, told in subject.items() if name not in CIRCUMSTANCES}


def ledger_head_of(book: Registry, coin: str) -> str | None:
    """Head of the trial ledger that the latest version's verdict told; None where there is none."""
    for entry in reversed(book.history(coin)):
        if entry.action == "register":
            told: str | None = book.card_alone(coin, entry.version)["verdict"]["subject"].get("ledger")
            return told
    return None


def _reign(book: Registry, coin: str) -> int:
    since, on_the_throne = 0, ""
    for line, entry in enumerate(book.history(coin), start=1):
        if entry.action in {"promote", "rollback"}:
            recipe = recipe_of(book.card_alone(coin, entry.version))
            since = since if recipe == on_the_throne and entry.action == "promote" else line
            on_the_throne = recipe
    return since


def _latest_shadow(book: Registry, coin: str, champion_recipe: str) -> str | None:
    """The newest version with a verdict of SHADOW and another recipe than the champion's."""
    for entry in reversed(book.history(coin)):
        if entry.action == "register":
            card = book.card_alone(coin, entry.version)
            if card["verdict"]["outcome"] == Outcome.SHADOW and recipe_of(card) != champion_recipe:
                return entry.version
    return None
