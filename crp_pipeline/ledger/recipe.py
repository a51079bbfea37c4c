"""What a user could have varied, as the recipe of a trial: the candidate's own facts, the settings in force and the code."""

from collections.abc import Mapping, Sequence
from typing import Any

from crp_pipeline.ledger.trial import Trial, flat
from crp_pipeline.provenance import code_revision, feeds_recipe
from crp_pipeline.settings import PipelineSettings

ELSEWHERE = (
    *("data_dir", "files_dir", "source", "coins", "threads", "demo", "exchange"),
    *("feeds", "roster", "ensemble", "gate"),
)
"""Settings that do not change what a given candidate earns on given candles, or that are told otherwise."""
FACTS = ("model_type", "variant", "parameters", "seed", "days_of_history", "feature_set_id")
"""What the card of a stored model says about its making."""


def shared_facts(settings: PipelineSettings) -> dict[str, Any]:
    """What every candidate's evaluation depends on: labels, splits, selection, exits, execution, sizing, feeds and code."""
    told = settings.model_dump(mode="json", exclude=dict.fromkeys(ELSEWHERE, True))
    return {**flat(told), **feeds_recipe(settings), "code": code_revision()}


def model_trial(name: str, card: Mapping[str, Any], settings: PipelineSettings, *, made: str, **more: object) -> Trial:
    """The trial of a stored model's out-of-fold forecasts, by its card; `more` facts are those that no card tells.

    A model that learned from the whole feature set has no selection behind it.
    """
    own = {fact: card[fact] for fact in FACTS}
    sees_all = "models/selection" not in card["lineage"]
    facts = {"model": {**own, "all_features": sees_all, "pool": sorted(card.get("pool", {})), **more}}
    return Trial(name, {"candidate": name, **flat(facts), **shared_facts(settings)}, made)


def rule_trial(name: str, settings: PipelineSettings, *, made: str) -> Trial:
    """The trial of decisions that need no model."""
    return Trial(name, {"candidate": name, **shared_facts(settings)}, made)


def ensemble_trial(name: str, members: Sequence[Trial], settings: PipelineSettings, *, made: str) -> Trial:
    """The trial of a stack of models, which is another with any other member."""
    own = flat(settings.model_dump(mode="json", include={"ensemble"}))
    roster = {"roster": [member.name for member in members], "members": [member.key for member in members]}
    return Trial(name, {"candidate": name, **roster, **own, **shared_facts(settings)}, made)
