"""The settings that a version was made under, from its card alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from crp_pipeline.errors import RegistryError
from crp_pipeline.settings import PipelineSettings, ToldSettings

NOWHERE = Path()
"""Stands for the path of a feed, whose aligned table is an ingredient: no feed is read."""


def settings_on_card(card: Mapping[str, Any], coin: str, slippage: Path | None) -> PipelineSettings:
    """The settings on the card of a coin's version, with slippage drawn from that file.

    Costs that were drawn from a file that is gone are those of the settings without it. Raises `RegistryError` for settings
    that this code does not know.
    """
    told = {**card["settings"], "coin_overrides": _overrides(card["settings"], coin, slippage)}
    told["execution"] = _drawn_from(told["execution"], slippage)
    told["labels"] = {name: value for name, value in told["labels"].items() if name != "round_trip_cost_bps"}
    told["feeds"] = {name: {**feed, "path": str(NOWHERE)} for name, feed in told["feeds"].items()}
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
