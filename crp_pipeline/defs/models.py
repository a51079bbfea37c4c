"""Room 5 in Dagster: what the models learn from, then one asset per model and coin from one factory over the catalogue."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
from pydantic import Field

from crp_pipeline.contracts import FINAL
from crp_pipeline.defs.partitions import coin_check, coin_partitions
from crp_pipeline.defs.pictures import numbers, picture, table
from crp_pipeline.defs.pools import CPU_TRAINING, pool_of
from crp_pipeline.defs.storage import FRAME
from crp_pipeline.defs.trials import append_model
from crp_pipeline.defs.versions import version_of
from crp_pipeline.gate.scores import log_loss_by_fold
from crp_pipeline.metrics import mean_jaccard, selection_stability
from crp_pipeline.models import (
    MADE_FROM,
    MODEL_CLASSES,
    MODEL_TYPES,
    ModelSpec,
    Record,
    Trained,
    columns_of,
    fold_table,
    frequency_table,
    is_on_card,
    kept_table,
    measure_latency,
    quarantined_in,
    recipe_facts,
    recipe_of,
    save_bundle,
    status_table,
)
from crp_pipeline.models.base import Progress
from crp_pipeline.models.diagnosis import FLAGS, Flag, diagnose
from crp_pipeline.models.parameters import Parameter
from crp_pipeline.models.scoring import forecast_scores, known_bars
from crp_pipeline.places import Places
from crp_pipeline.provenance import kind_of_market, lineage_of, made_by, merged, stamp
from crp_pipeline.reporting.curves import confusion_table
from crp_pipeline.reporting.figures import folds_figure, selection_figure, training_figure
from crp_pipeline.reporting.model_figures import accuracy_phrase, confusion_figure
from crp_pipeline.rooms import Asked, golden_samples_of, roles_since, sees_every_feature, selection_table, trained_model
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import read_manifest
from crp_pipeline.tuning import Applied, tuned_params

BASELINE = "prior"
BASELINES = tuple(name for name, kind in MODEL_CLASSES.items() if kind.is_baseline)
POOLED = "pooled_transformer"
"""Made of all coins at once, in `defs.pool`."""
ANY_DEVICE = "auto"
SELECTION = "selection"
LATENCY_CALLS = 100
RESAMPLES = 300
"""Enough for a warning; the gate has its own."""


class TrainingConfig(dg.Config):
    """What an operator may change for one run; what a model type does not have is refused with what it has."""

    variant: str = "default"
    """`default`, `lightweight` or `deep`."""
    seed: int | None = None
    """Seed of this run; the one in the settings when it is left out."""
    all_features: bool = False
    """True: learn from the whole feature set, whatever was selected."""
    epochs: int | None = None
    """Epochs, or boosting rounds, at most."""
    batch_size: int | None = None
    """Rows per step of a network."""
    sequence_length: int | None = None
    """Bars that a network looks at."""
    days_of_history: int | None = None
    """Only the last so many days of bars are learned from and tested."""
    device: str = ANY_DEVICE
    """Where a network is trained: `auto`, `cpu` or `cuda`."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Any hyper-parameter by its own name."""
    tuned: bool = True
    """False: not with the hyper-parameters that tuning found, where there are such."""


def assets(settings: PipelineSettings, places: Places) -> list[dg.AssetsDefinition]:
    """`models/selection` and `models/<type>` per coin: every type of the catalogue, in the roster or not."""
    models = [_model_asset(model_type, settings, places) for model_type in MODEL_TYPES if model_type != POOLED]
    return [_selection_asset(settings, places), *models]


def _selection_asset(settings: PipelineSettings, places: Places) -> dg.AssetsDefinition:
    @dg.asset(
        key=["models", SELECTION],
        group_name="models",
        kinds={"lightgbm", "parquet"},
        pool=CPU_TRAINING,
        deps=["feasibility"],  # what is achievable is told before anything is trained
        partitions_def=coin_partitions(settings),
    )
    def selection(
        context: dg.AssetExecutionContext, features: pd.DataFrame, labels: pd.DataFrame, splits: pd.DataFrame
    ) -> dg.MaterializeResult[pd.DataFrame]:
        """The features that each fold's models and the final ones learn from, chosen inside the training block.

        What predicts too well to be believed is judged on all labels and kept from every model: leaving a feature out because
        it does too well can only make a backtest worse.
        """
        record = _record(features, settings, places, SELECTION)
        selected = selection_table(features, labels, splits, settings, progress=context.log.info, record=record)
        metadata = _selection_metadata(selected)
        files = {**made_by(settings, context.partition_key), **kind_of_market(settings)}
        stamp(selected, f"models/{SELECTION}", behind=[features, labels, splits], files=files)
        version = version_of(selected, f"models/{SELECTION}")
        return dg.MaterializeResult(value=selected, data_version=version, metadata=metadata)

    return selection


def _selection_metadata(selected: pd.DataFrame) -> dict[str, Any]:
    kept = kept_table(selected)
    of_folds = kept.drop(index=FINAL).to_numpy()
    stability = {"stability": selection_stability(of_folds), "mean_jaccard": mean_jaccard(of_folds)}
    return {
        "dagster/row_count": len(selected),
        "folds_read_back": selected.attrs["blocks_read_back"],
        "features": kept.shape[1],
        "kept_in_final": len(columns_of(selected, FINAL)),
        "quarantined": ", ".join(quarantined_in(selected)) or "none",
        "kept_in_every_fold": int(of_folds.all(axis=0).sum()),
        **numbers(stability),
        "by_fold": table(status_table(selected)),
        "most_stable": table(frequency_table(selected).head(20)),
        "picture": picture(selection_figure(kept, stability=stability["stability"])),
    }


def _model_asset(model_type: str, settings: PipelineSettings, places: Places) -> dg.AssetsDefinition:
    inputs, coins = () if model_type == BASELINE else (BASELINE, SELECTION), coin_partitions(settings)
    flags = {} if model_type == BASELINE else FLAGS

    @dg.asset(
        key=["models", model_type],
        group_name="models",
        pool=pool_of(model_type, settings.limits),
        kinds={"python"} if model_type in BASELINES else {model_type},
        partitions_def=coins,
        ins={name: dg.AssetIn(["models", name]) for name in inputs},
        dagster_type=FRAME,
        check_specs=[coin_check(check_name(flag), ["models", model_type], coins, told) for flag, told in flags.items()],
        description=f"Out-of-fold probabilities of {model_type}, and its final model fitted on all labelled bars.",
    )
    def model(
        context: dg.AssetExecutionContext,
        config: TrainingConfig,
        candles: pd.DataFrame,
        features: pd.DataFrame,
        labels: pd.DataFrame,
        splits: pd.DataFrame,
        **before: pd.DataFrame,
    ) -> dg.MaterializeResult:
        coin, seed = context.partition_key, settings.seed if config.seed is None else config.seed
        sees_all, chosen = sees_every_feature(model_type, all_features=config.all_features), before.get(SELECTION)
        roles, bundle = roles_since(splits, config.days_of_history, settings), places.bundle(coin, model_type)
        spec, applied = _tuned(model_type, config, settings, places, features, roles, tell=context.log.info)
        asked = Asked(seed=seed, days_of_history=config.days_of_history, all_features=config.all_features)
        record, tables = _record(features, settings, places, model_type, bundle), (features, labels, splits, chosen)
        trained = trained_model(spec, *tables, settings, asked, progress=context.log.info, record=record)
        predictions, behind = trained.predictions, [features, labels, splits, *([] if chosen is None else [chosen])]
        recipe = _facts(spec, config, coin=coin, seed=seed, all_features=sees_all, **_facts_of_tuning(applied))
        card = save_final(trained, features, bundle, lineage=merged(*map(lineage_of, behind)), **recipe)
        stamp(predictions, f"models/{model_type}", behind=behind, files=_files(places, settings, coin, model_type, applied))
        append_model(context, model_type, predictions, card, candles, labels, settings, places)
        prior = before.get(BASELINE, predictions)
        return dg.MaterializeResult(
            value=predictions,
            data_version=version_of(predictions, f"models/{model_type}", f"models/{model_type}.bundle"),
            check_results=_checks(predictions, prior, labels, settings) if flags else [],
            metadata=_metadata(trained, card, labels, prior, applied.told),
        )

    return model


def _tuned(
    model_type: str,
    config: TrainingConfig,
    settings: PipelineSettings,
    places: Places,
    features: pd.DataFrame,
    roles: pd.DataFrame,
    *,
    tell: Progress,
) -> tuple[ModelSpec, Applied]:
    """The recipe of a run, and what tuning had to say to it, which it may not have wanted to hear."""
    applied = Applied({}, "tuned parameters were not asked for", {})
    if config.tuned:
        applied = tuned_params(places, settings, model_type, variant=config.variant, features=features, roles=roles)
    tell(f"{model_type}: {applied.told}")
    return spec_of(model_type, config, settings, applied.params), applied


def _files(places: Places, settings: PipelineSettings, coin: str, model_type: str, applied: Applied) -> dict[str, str]:
    """Hashes of what belongs to a model's forecasts beside the tables behind them."""
    return {**places.model_file(coin, model_type), **made_by(settings, coin), **applied.files}


def _facts_of_tuning(applied: Applied) -> dict[str, Any]:
    """What a card says of it: nothing where nothing was used."""
    return {"tuned": dict(applied.params), "tuning": dict(applied.files)} if applied.files else {}


def _facts(spec: ModelSpec, config: TrainingConfig, **run: Any) -> dict[str, Any]:
    """What a card says of the recipe and of the run that it was made in."""
    return {**recipe_facts(spec), "days_of_history": config.days_of_history, **run}


def check_name(flag: str) -> str:
    """`not_worse_than_prior` for the flag `worse_than_prior`."""
    return f"not_{flag}"


def _checks(
    predictions: pd.DataFrame, prior: pd.DataFrame, labels: pd.DataFrame, settings: PipelineSettings
) -> list[dg.AssetCheckResult]:
    found = diagnose(predictions, prior, labels, block=settings.horizon + 1, n_resamples=RESAMPLES)
    return [_check(flag) for flag in found]


def _check(flag: Flag) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=check_name(flag.name),
        passed=not flag.is_raised,
        severity=dg.AssetCheckSeverity.WARN,
        description=flag.sentence,
        metadata={"value": flag.value},
    )


def _metadata(
    trained: Trained, card: Mapping[str, Any], labels: pd.DataFrame, prior: pd.DataFrame, tuning: str
) -> dict[str, Any]:
    """What a model's page shows: pictures of folds, epochs and calls, sizes, losses beside the prior's, scores, speed."""
    model_type, losses = trained.model.model_type, log_loss_by_fold(trained.predictions, prior, labels)
    histories = {f"fold {it.fold.number}": it.history for it in trained.folds if "learning_rate" in it.history}
    trained_by_epoch = {"training": picture(training_figure(histories, model=model_type))} if histories else {}
    return {
        "dagster/row_count": int((trained.predictions["fold"] >= 0).sum()),
        "picture": picture(folds_figure(losses, model=model_type)),
        **trained_by_epoch,
        **_score_metadata(trained.predictions, labels, model_type),
        "learned_rows": trained.n_learned,
        "learned_features": len(trained.features),
        "parameters": trained.model.n_parameters,
        "rounds": trained.rounds,
        "folds_read_back": trained.folds_read_back,
        "final_read_back": trained.reused,
        "log_loss": float(losses["log_loss"].mean()),
        "prior_log_loss": float(losses["prior"].mean()),
        "tuning": tuning,
        "latency": table(pd.DataFrame(card["latency"])),
        "by_fold": table(losses.reset_index()),
        "folds": table(fold_table(trained.folds)),
    }


def _score_metadata(predictions: pd.DataFrame, labels: pd.DataFrame, model_type: str) -> dict[str, Any]:
    """What the out-of-fold forecasts were worth, and what was called where each class came; words where no bar can tell."""
    if known_bars([predictions], labels).empty:
        return {"confusion": f"no bar has both a forecast of {model_type} and a label"}
    scores, confusion = forecast_scores(predictions, labels), confusion_table(predictions, labels)
    told = {name: value for name, value in scores.items() if name != "log_loss"}
    title = f"{model_type}: {accuracy_phrase(confusion, scores)}"
    return {"confusion": picture(confusion_figure(confusion, title=title)), **numbers(told)}


def spec_of(
    model_type: str, config: TrainingConfig, settings: PipelineSettings, tuned: Mapping[str, Parameter] | None = None
) -> ModelSpec:
    """The recipe that an operator's choices, what tuning found and the settings make, the first before the others."""
    asked = {
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "sequence_length": config.sequence_length,
        "device": None if config.device == ANY_DEVICE else config.device,
    }
    params, n_threads = config.params, settings.threads
    more: dict[str, Parameter] = {"n_threads": n_threads, "device": ANY_DEVICE}
    return recipe_of(model_type, config.variant, asked=asked, params=params, tuned=tuned, **more)


def _record(
    features: pd.DataFrame, settings: PipelineSettings, places: Places, kind: str, bundle: Path | None = None
) -> Record:
    """What was made for the features' coin in earlier runs."""
    return Record(
        folder=places.record(features.attrs["coin"], kind),
        feature_set_id=features.attrs["feature_set_id"],
        label_settings=asdict(settings.labels),
        bundle=bundle,
    )


def save_final(trained: Trained, features: pd.DataFrame, folder: Path, **facts: Any) -> Mapping[str, Any]:
    """Store the final model with the columns of the feature set that it must be shown, unless it lies there already.

    Returns its card, on which stands how fast it is.
    """
    card = {
        "feature_set_id": features.attrs["feature_set_id"],
        "features": list(trained.features),
        "rounds": trained.rounds,
        MADE_FROM: trained.made_from,
        **facts,
    }
    if trained.reused and is_on_card(folder, card):
        return read_manifest(folder)
    shown = golden_samples_of(trained, features)
    speed = [latency.row() for latency in measure_latency(trained.model, shown, n_calls=LATENCY_CALLS)]
    seconds = trained.seconds + sum(result.seconds for result in trained.folds)
    save_bundle(trained.model, folder, card={**card, "latency": speed, "seconds": seconds}, golden=shown)
    return read_manifest(folder)
