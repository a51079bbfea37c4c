"""What a run writes into the ledger: the trials of a night, and the one trial of a model that is trained.

A model is a trial as soon as it is made, in the roster or not, whatever the variant, the seed or the days that were asked for:
its asset appends what the plain decisions of its forecasts would have earned, by the rules of the night's comparison but on all
bars that it forecast. The comparison evaluates the same forecasts again on the bars that it shares with the others: they stay
one trial.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import pandas as pd

from crp_pipeline.defs.automation import NIGHT
from crp_pipeline.errors import LedgerError
from crp_pipeline.gate.comparison import plain_net_returns
from crp_pipeline.gate.costs import cost_data
from crp_pipeline.ledger import Ledger, Trial, check_returns, ensemble_trial, model_trial, rule_trial
from crp_pipeline.models import MODEL_CLASSES
from crp_pipeline.places import Places
from crp_pipeline.provenance import lineage_of
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import frame_hash, read_manifest

ENSEMBLE = "ensemble"


def occasion_of(context: dg.AssetExecutionContext) -> str:
    """The night that a run belongs to; the run itself where it was started by hand."""
    return context.run.tags.get(NIGHT, context.run.run_id)


def night_trials(
    candidates: Mapping[str, pd.DataFrame], models: Mapping[str, pd.DataFrame], settings: PipelineSettings, places: Places
) -> list[Trial]:
    """A trial per candidate, in their order: of `models` by the cards of their bundles, of the ensemble by its members."""
    coin = candidates[ENSEMBLE].attrs["coin"]
    trials = {
        name: _model_trial(name, forecast, read_manifest(places.bundle(coin, name)), settings)
        for name, forecast in models.items()
    }
    made, members = _made(candidates[ENSEMBLE], ENSEMBLE), [trials[name] for name in settings.roster]
    trials[ENSEMBLE] = ensemble_trial(ENSEMBLE, members, settings, made=made)
    return [trials.get(name) or rule_trial(name, settings, made=frame_hash(it)) for name, it in candidates.items()]


def append_trials(
    context: dg.AssetExecutionContext,
    coin: str,
    trials: Sequence[Trial],
    earned: pd.DataFrame,
    settings: PipelineSettings,
    places: Places,
) -> str | None:
    """Write an event into a coin's ledger and return its head; None where it is damaged, which is told.

    Raises `LedgerError` for returns that are none.
    Nothing is written onto a damaged ledger, and nobody stops for it: the gate finds it, says so and promotes nothing.
    """
    check_returns(coin, trials, earned)
    try:
        return Ledger(places.ledger).append(coin, occasion_of(context), trials, earned, now=settings.present())
    except LedgerError as error:
        context.log.warning(f"{error}; nothing is written onto it, and nothing is promoted until `crp ledger` begins another")
        return None


def append_model(
    context: dg.AssetExecutionContext,
    model_type: str,
    predictions: pd.DataFrame,
    card: Mapping[str, Any],
    candles: pd.DataFrame,
    labels: pd.DataFrame,
    settings: PipelineSettings,
    places: Places,
) -> None:
    """Write a model that was just made, and whose forecasts carry their lineage, into its coin's ledger."""
    coin = predictions.attrs["coin"]
    own = settings.of(coin)
    trial = _model_trial(model_type, predictions, card, own)
    earned = plain_net_returns({model_type: predictions}, candles, labels, settings=own, data=cost_data(settings, coin))
    append_trials(context, coin, [trial], earned, settings, places)


def _model_trial(model_type: str, forecast: pd.DataFrame, card: Mapping[str, Any], settings: PipelineSettings) -> Trial:
    made, is_baseline = _made(forecast, f"models/{model_type}"), MODEL_CLASSES[model_type].is_baseline
    return model_trial(model_type, card, settings, made=made, is_baseline=is_baseline)


def _made(table: pd.DataFrame, name: str) -> str:
    """Hash that a stamped table had when it was made."""
    return lineage_of(table)[name][0]
