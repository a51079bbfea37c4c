"""What a model card must say before a version may carry it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crp_pipeline.errors import RegistryError
from crp_pipeline.gate.challenge import recipe_key
from crp_pipeline.gate.verdict import Verdict
from crp_pipeline.registry.candidate import fingerprint_of, is_candidate

COIN = re.compile(r"[A-Z0-9]+([-_][A-Z0-9]+)*")


def checked_coin(coin: str) -> str:
    """The coin itself; raises `RegistryError` for a name that could lead out of the registry's folder."""
    if not isinstance(coin, str) or not COIN.fullmatch(coin):
        raise RegistryError(f"{coin!r} is not the name of a coin, which is capitals and digits parted by single dashes")
    return coin


def checked_card(card: dict[str, Any]) -> tuple[str, Verdict]:
    """The coin that a card names and the verdict that it carries; raises `RegistryError` when it does not hold together."""
    coin, verdict = checked_coin(_required(card, "coin")), verdict_of(card)
    about = verdict.subject.get("coin", coin)
    if about != coin:
        raise RegistryError(f"the verdict is about {about}, the card about {coin}")
    try:
        json.dumps(card, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise RegistryError(f"{coin}: the card cannot be kept as JSON: {error}") from error
    return coin, verdict


def verdict_of(card: dict[str, Any]) -> Verdict:
    """The verdict that a card carries; raises `RegistryError` when it is missing or none."""
    stored = _required(card, "verdict")
    try:
        return Verdict.from_dict(stored)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RegistryError(f"what the card of {card.get('coin')} carries is no verdict.to_dict(): {error!r}") from error


def recipe_of(card: Mapping[str, Any]) -> str:
    """Settings and features that a version was made by; empty parts where its card names none."""
    return recipe_key(card.get("recipe", ""), card.get("feature_set_id", ""))


def without_secrets(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card without the options of a library, which one of an earlier release may tell in clear."""
    settings = dict(card.get("settings", {}))
    if "exchange" in settings:
        settings["exchange"] = {name: it for name, it in settings["exchange"].items() if name != "client_options"}
    return {**card, "settings": settings}


def check_subject(folder: Path, verdict: Verdict) -> None:
    """A candidate is the one that the verdict names, if it names one; raises `RegistryError` otherwise."""
    about = verdict.subject.get("candidate")
    if about is None or not is_candidate(folder):
        return
    found = fingerprint_of(folder)
    if found != about:
        raise RegistryError(
            f"the verdict is about candidate {about}, the bundle is {found}: the models have changed since the gate judged them"
        )


def _required(card: dict[str, Any], key: str) -> Any:
    if key not in card:
        raise RegistryError(f"a model card must carry its {key}; this one has {', '.join(sorted(card)) or 'nothing'}")
    return card[key]
