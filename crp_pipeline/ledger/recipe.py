"""What a user could have varied, as the recipe of a trial: the candidate's own facts, the settings in force and the code."""

from collections.abc import Mapping, Sequence
from typing import Any

from crp_pipeline.ledger.trial import Trial, flat
from crp_pipeline.provenance import OPERATIONS, feeds_recipe, source_hash
from crp_pipeline.settings import PipelineSettings

ELSEWHERE = (
    *("data_dir", "files_dir", "source", "coins", "threads", "demo", "exchange"),
    *("feeds", "finer_dir", "coin_overrides", "roster", "ensemble", "gate", "prop_firm"),
    *OPERATIONS,
)
"""Settings that do not change what a given candidate earns on given candles, or that are told otherwise."""
THRESHOLDS = {"min_win_rate", "win_rate_of", "win_rate_bound", "max_calibration_error"}
"""What of the gate is a user's own to choose; all else of it is the house's and stamped where it is loosened."""
FACTS = ("model_type", "variant", "parameters", "seed", "days_of_history", "all_features", "feature_set_id")
"""What the card of a stored model says about its making."""


def shared_facts(settings: PipelineSettings) -> dict[str, Any]:
    """What every candidate's evaluation depends on: labels, splits, selection, exits, execution, sizing, feeds and code.

    `settings` are those of the coin, its overrides merged.
    """
    told = settings.model_dump(mode="json", exclude=dict.fromkeys(ELSEWHERE, True))
    return {**flat(told), **feeds_recipe(settings), "code": source_hash()}


def model_trial(
    name: str, card: Mapping[str, Any], settings: PipelineSettings, *, made: str, is_baseline: bool = False, **more: object
) -> Trial:
    """The trial of a stored model's out-of-fold forecasts, by its card; `more` facts are those that no card tells."""
    own = {fact: card[fact] for fact in FACTS}
    facts = {"model": {**own, "pool": sorted(card.get("pool", {})), **more}}
    return Trial(name, {"candidate": name, **flat(facts), **shared_facts(settings)}, made, is_baseline)


def rule_trial(name: str, settings: PipelineSettings, *, made: str) -> Trial:
    """The trial of decisions that need no model."""
    return Trial(name, {"candidate": name, **shared_facts(settings)}, made, is_baseline=True)


def ensemble_trial(name: str, members: Sequence[Trial], settings: PipelineSettings, *, made: str) -> Trial:
    """The trial of a stack of models, which is another with any other member, and with other thresholds of the user's own.

    Who moves a threshold until a candidate passes has chosen among as many candidates.
    """
    own = flat(settings.model_dump(mode="json", include={"ensemble": True, "gate": THRESHOLDS}))
    roster = {"roster": [member.name for member in members], "members": [member.key for member in members]}
    return Trial(name, {"candidate": name, **roster, **own, **shared_facts(settings)}, made)
