"""The settings that a version was made under, from its card alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from crp_pipeline.errors import RegistryError
from crp_pipeline.provenance import OPERATIONS
from crp_pipeline.settings import PipelineSettings, ToldSettings

NO_SETTING = ("extra_forbidden", "unexpected_keyword_argument")
"""What pydantic calls a name that it does not know."""
NOWHERE = Path()
"""Stands for the path of a feed, whose aligned table is an ingredient: no feed is read."""


def settings_on_card(
    card: Mapping[str, Any], coin: str, slippage: Path | None
) -> tuple[PipelineSettings, tuple[tuple[str, Any], ...]]:
    """The settings on the card of a coin's version, with slippage drawn from that file, and those that this code does not know.

    What only runs a night has no say and is not looked at. Costs that were drawn from a file that is gone are those of the
    settings without it. Raises `RegistryError` for a value that this code does not allow.
    """
    told = {name: value for name, value in card["settings"].items() if name not in OPERATIONS}
    told["coin_overrides"] = _overrides(card["settings"], coin, slippage)
    told["execution"] = _drawn_from(told["execution"], slippage)
    told["labels"] = {name: value for name, value in told["labels"].items() if name != "round_trip_cost_bps"}
    told["feeds"] = {name: {**feed, "path": str(NOWHERE)} for name, feed in told["feeds"].items()}
    unknown = []
    for path in _unknown(told):
        told, value = _without(told, path)
        unknown.append((".".join(path), value))
    return _validated(told, coin), tuple(unknown)


def _unknown(told: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Where the card names a setting that this code does not have."""
    try:
        ToldSettings(**told)
    except ValidationError as error:
        return [tuple(map(str, it["loc"])) for it in error.errors() if it["type"] in NO_SETTING]
    return []


def _without(told: Mapping[str, Any], path: tuple[str, ...]) -> tuple[dict[str, Any], Any]:
    """The settings without one of them, and its value."""
    name, *rest = path
    if not rest:
        return {other: value for other, value in told.items() if other != name}, told[name]
    inner, value = _without(told[name], tuple(rest))
    return {**told, name: inner}, value


def _validated(told: Mapping[str, Any], coin: str) -> PipelineSettings:
    try:
        return ToldSettings(**told)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the settings"
        raise RegistryError(f"{coin}: {where} on the card is no setting of this code: {first['msg']}") from error


def _overrides(settings: Mapping[str, Any], coin: str, slippage: Path | None) -> dict[str, Any]:
    """The coin's own; those of others are nothing to it."""
    own = settings["coin_overrides"].get(coin)
    if own is None:
        return {}
    has_file = own["execution"].get("slippage_file") is not None
    return {coin: {**own, "execution": _drawn_from(own["execution"], slippage) if has_file else own["execution"]}}


def _drawn_from(execution: Mapping[str, Any], slippage: Path | None) -> dict[str, Any]:
    told = {name: value for name, value in execution.items() if name != "slippage_file"}
    return told if slippage is None else {**told, "slippage_file": str(slippage)}
