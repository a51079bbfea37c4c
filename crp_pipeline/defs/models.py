"""Room 5 in Dagster: what the models learn from, then one asset per model and coin from one factory over the catalogue."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
from pydantic import Field

from crp_pipeline.contracts import FINAL, PROBABILITIES
from crp_pipeline.defs.partitions import coin_partitions
from crp_pipeline.defs.pictures import numbers, picture, table
from crp_pipeline.defs.storage import Places
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
    recipe_facts,
    recipe_of,
    samples_of,
    save_bundle,
    select_features,
    status_table,
    train,
)
from crp_pipeline.provenance import lineage_of, merged, recipe_hash, stamp
from crp_pipeline.reporting.figures import folds_figure, selection_figure
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.splits import recent_roles

BASELINE = "prior"
BASELINES = tuple(name for name, kind in MODEL_CLASSES.items() if kind.is_baseline)
ANY_DEVICE = "auto"
SELECTION = "selection"
GOLDEN_ROWS = 32


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


def assets(settings: PipelineSettings, places: Places) -> list[dg.AssetsDefinition]:
    """`models/selection` and `models/<type>` per coin: every type of the catalogue, in the roster or not."""
    models = [_model_asset(model_type, settings, places) for model_type in MODEL_TYPES]
    return [_selection_asset(settings, places), *models]


def _selection_asset(settings: PipelineSettings, places: Places) -> dg.AssetsDefinition:
    @dg.asset(
        key=["models", SELECTION],
        group_name="models",
        kinds={"lightgbm", "parquet"},
        partitions_def=coin_partitions(settings),
    )
    def selection(
        context: dg.AssetExecutionContext, features: pd.DataFrame, labels: pd.DataFrame, splits: pd.DataFrame
    ) -> dg.MaterializeResult[pd.DataFrame]:
        """The features that each fold's models and the final ones learn from, chosen inside the training block."""
        selected = select_features(
            features,
            labels,
            splits,
            config=settings.selection,
            seed=settings.seed,
            validation_share=settings.walk_forward.validation_share,
            n_threads=settings.threads,
            progress=context.log.info,
            record=_record(features, settings, places, SELECTION),
        )
        metadata = _selection_metadata(selected)
        stamp(selected, f"models/{SELECTION}", behind=[features, labels, splits], files={"settings": recipe_hash(settings)})
        return dg.MaterializeResult(value=selected, metadata=metadata)

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
        "kept_in_every_fold": int(of_folds.all(axis=0).sum()),
        **numbers(stability),
        "by_fold": table(status_table(selected)),
        "most_stable": table(frequency_table(selected).head(20)),
        "picture": picture(selection_figure(kept, stability=stability["stability"])),
    }


def _model_asset(model_type: str, settings: PipelineSettings, places: Places) -> dg.AssetsDefinition:
    inputs = () if model_type == BASELINE else (BASELINE, SELECTION)

    @dg.asset(
        key=["models", model_type],
        group_name="models",
        kinds={"python"} if model_type in BASELINES else {model_type},
        partitions_def=coin_partitions(settings),
        ins={name: dg.AssetIn(["models", name]) for name in inputs},
        description=f"Out-of-fold probabilities of {model_type}, and its final model fitted on all labelled bars.",
    )
    def model(
        context: dg.AssetExecutionContext,
        config: TrainingConfig,
        features: pd.DataFrame,
        labels: pd.DataFrame,
        splits: pd.DataFrame,
        **before: pd.DataFrame,
    ) -> dg.MaterializeResult[pd.DataFrame]:
        coin, seed = context.partition_key, settings.seed if config.seed is None else config.seed
        selection = None if config.all_features else before.get(SELECTION)
        spec, bundle = _spec(model_type, config, settings), places.bundle(coin, model_type)
        trained = train(
            spec,
            features,
            labels,
            _roles(splits, config, settings),
            seed=seed,
            selection=selection,
            validation_share=settings.walk_forward.validation_share,
            progress=context.log.info,
            record=_record(features, settings, places, model_type, bundle),
        )
        predictions, behind = trained.predictions, [features, labels, splits, *([] if selection is None else [selection])]
        recipe = {**recipe_facts(spec), "coin": coin, "seed": seed, "days_of_history": config.days_of_history}
        _save_final(trained, features, bundle, lineage=merged(*map(lineage_of, behind)), **recipe)
        stamp(predictions, f"models/{model_type}", behind=behind, files=places.model_file(coin, model_type))
        losses = log_loss_by_fold(predictions, before.get(BASELINE, predictions), labels)
        return dg.MaterializeResult(value=predictions, metadata=_model_metadata(trained, losses, model_type))

    return model


def _model_metadata(trained: Trained, losses: pd.DataFrame, model_type: str) -> dict[str, Any]:
    return {
        "dagster/row_count": int((trained.predictions["fold"] >= 0).sum()),
        "learned_rows": trained.n_learned,
        "learned_features": len(trained.features),
        "rounds": trained.rounds,
        "folds_read_back": trained.folds_read_back,
        "final_read_back": trained.reused,
        "log_loss": float(losses["log_loss"].mean()),
        "prior_log_loss": float(losses["prior"].mean()),
        "by_fold": table(losses.reset_index()),
        "folds": table(fold_table(trained.folds)),
        "picture": picture(folds_figure(losses, model=model_type)),
    }


def _spec(model_type: str, config: TrainingConfig, settings: PipelineSettings) -> ModelSpec:
    asked = {
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "sequence_length": config.sequence_length,
        "device": None if config.device == ANY_DEVICE else config.device,
    }
    params, n_threads = config.params, settings.threads
    return recipe_of(model_type, config.variant, asked=asked, params=params, n_threads=n_threads, device=ANY_DEVICE)


def _roles(splits: pd.DataFrame, config: TrainingConfig, settings: PipelineSettings) -> pd.DataFrame:
    """The role table, of the last days only where the run asks for it."""
    if config.days_of_history is None:
        return splits
    return recent_roles(splits, config.days_of_history, fewest=settings.walk_forward.test_size)


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


def _save_final(trained: Trained, features: pd.DataFrame, folder: Path, **facts: Any) -> None:
    """Store the final model with the columns of the feature set that it must be shown, unless it lies there already."""
    columns = list(trained.features)
    golden = np.flatnonzero(trained.predictions[PROBABILITIES[0]].notna())[-GOLDEN_ROWS:]
    card = {
        "feature_set_id": features.attrs["feature_set_id"],
        "features": columns,
        "rounds": trained.rounds,
        MADE_FROM: trained.made_from,
        **facts,
    }
    if not (trained.reused and is_on_card(folder, card)):
        save_bundle(trained.model, folder, card=card, golden=samples_of(features[columns]).take(golden))
