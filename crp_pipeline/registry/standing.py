"""Who reigns over a coin since when, and which version runs in the champion's shadow.

A reign is a stretch of the journal with one recipe on the throne: a refreshed model of the same recipe carries it on, another
recipe begins a new one, and so does every rollback, since whoever rolls back has seen how the last one ended.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from crp_pipeline.gate.challenge import Contender
from crp_pipeline.gate.verdict import Outcome, Verdict
from crp_pipeline.registry.candidate import DECISIONS
from crp_pipeline.registry.card import recipe_of
from crp_pipeline.registry.registry import Registry
from crp_pipeline.registry.state import Reign, State
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
    """Who decides beside the champion, as `Registry.pointers` has it."""
    shadow_recipe: str | None


def standing(book: Registry, coin: str) -> Standing | None:
    """Who reigns and who runs in the shadow; None where nobody reigns. Every byte of the champion is checked."""
    champion = book.champion(coin)
    if champion is None:
        return None
    state, shadow = book.state(coin), book.pointers(coin).shadow
    told_recipe = cache(lambda version: state.registered[version].recipe or recipe_of(book.card_alone(coin, version)))
    reign = _reign(state.throne, told_recipe)
    return Standing(champion, told_recipe(champion), reign, shadow, None if shadow is None else told_recipe(shadow))


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
    state = book.state(coin)
    registered = _registered(state, verdict.outcome)
    if verdict.outcome is Outcome.PROMOTE:
        settled = state.rolled_back | {state.champion}
        registered = (version for version in registered if version in settled)
    subject = _without_circumstances(verdict.subject)
    for version in registered:
        told = book.card_alone(coin, version)["verdict"]
        if _without_circumstances(told["subject"]) == subject and told["stamp"] == verdict.stamp:
            return version
    return None


def _without_circumstances(subject: Mapping[str, str]) -> dict[str, str]:
    return {name: told for name, told in subject.items() if name not in CIRCUMSTANCES}


def ledger_head_of(book: Registry, coin: str) -> str | None:
    """Head of the trial ledger that the latest version's verdict told; None where there is none."""
    latest = next(reversed(book.state(coin).registered), None)
    if latest is None:
        return None
    told: str | None = book.card_alone(coin, latest)["verdict"]["subject"].get("ledger")
    return told


def _registered(state: State, outcome: Outcome) -> Iterator[str]:
    """The versions that were registered with this outcome and are kept, newest first."""
    return (
        version
        for version, known in state.registered.newest_first()
        if known.outcome == outcome and version not in state.pruned
    )


def _reign(throne: Sequence[Reign], told_recipe: Callable[[str], str]) -> int:
    """Line at which the present reign began: the last rollback, or the last promotion of another recipe than the one before."""
    for before, reign in zip(reversed(throne[:-1]), reversed(throne), strict=False):
        if reign.action == "rollback" or told_recipe(reign.version) != told_recipe(before.version):
            return reign.line
    return throne[0].line
