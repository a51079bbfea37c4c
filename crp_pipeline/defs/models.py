"""Room 5 in Dagster: what the models learn from, then one asset per model and coin from one factory over the catalogue."""

from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from crp_pipeline.contracts import FINAL
from crp_pipeline.defs.partitions import coin_partitions
from crp_pipeline.defs.pictures import numbers, picture, table
from crp_pipeline.defs.storage import Places
from crp_pipeline.gate.scores import log_loss_by_fold
from crp_pipeline.metrics import mean_jaccard, selection_stability
from crp_pipeline.models import (
    ModelSpec,
    Trained,
    columns_of,
    frequency_table,
    kept_table,
    samples_of,
    save_bundle,
    select_features,
    status_table,
    train,
)
from crp_pipeline.provenance import lineage_of, merged, recipe_hash, stamp
from crp_pipeline.reporting.figures import folds_figure, selection_figure
from crp_pipeline.settings import PipelineSettings

BASELINE = "prior"
SELECTION = "selection"
GOLDEN_ROWS = 32


class TrainingConfig(dg.Config):
    """What an operator may change for one run."""

    variant: str = "default"
    """`default`, `lightweight` or `deep`."""
    seed: int | None = None
    """Seed of this run; the one in the settings when it is left out."""
    all_features: bool = False
    """True: learn from the whole feature set, whatever was selected."""


def assets(settings: PipelineSettings, places: Places) -> list[dg.AssetsDefinition]:
    """`models/selection` and `models/<type>` per coin: the baseline, then the roster."""
    models = [_model_asset(model_type, settings, places) for model_type in (BASELINE, *settings.roster)]
    return [_selection_asset(settings), *models]


def _selection_asset(settings: PipelineSettings) -> dg.AssetsDefinition:
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
        )
        recipe = {"settings": recipe_hash(settings)}
        stamp(selected, f"models/{SELECTION}", behind=[features, labels, splits], files=recipe)
        return dg.MaterializeResult(value=selected, metadata=_selection_metadata(selected))

    return selection


def _selection_metadata(selected: pd.DataFrame) -> dict[str, Any]:
    kept = kept_table(selected)
    of_folds = kept.drop(index=FINAL).to_numpy()
    stability = {"stability": selection_stability(of_folds), "mean_jaccard": mean_jaccard(of_folds)}
    return {
        "dagster/row_count": len(selected),
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
        kinds={"python"} if model_type == BASELINE else {model_type},
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
        trained = train(
            _spec(model_type, config, settings),
            features,
            labels,
            splits,
            seed=seed,
            selection=selection,
            validation_share=settings.walk_forward.validation_share,
            progress=context.log.info,
        )
        predictions, behind = trained.predictions, [features, labels, splits, *([] if selection is None else [selection])]
        recipe = {"coin": coin, "variant": config.variant, "seed": seed}
        _save_final(trained, features, places.bundle(coin, model_type), lineage=merged(*map(lineage_of, behind)), **recipe)
        stamp(predictions, f"models/{model_type}", behind=behind, files=places.model_file(coin, model_type))
        losses = log_loss_by_fold(predictions, before.get(BASELINE, predictions), labels)
        return dg.MaterializeResult(
            value=predictions,
            metadata={
                "dagster/row_count": int((predictions["fold"] >= 0).sum()),
                "learned_rows": trained.n_learned,
                "learned_features": len(trained.features),
                "rounds": trained.rounds,
                "log_loss": float(losses["log_loss"].mean()),
                "prior_log_loss": float(losses["prior"].mean()),
                "by_fold": table(losses.reset_index()),
                "picture": picture(folds_figure(losses, model=model_type)),
            },
        )

    return model


def _spec(model_type: str, config: TrainingConfig, settings: PipelineSettings) -> ModelSpec:
    return ModelSpec(model_type, config.variant, {} if model_type == BASELINE else {"n_threads": settings.threads})


def _save_final(trained: Trained, features: pd.DataFrame, folder: Path, **facts: Any) -> None:
    """Store the final model with the columns of the feature set that it must be shown, in their order."""
    columns = list(trained.features)
    golden = features.loc[trained.predictions["fold"] >= 0, columns].tail(GOLDEN_ROWS)
    card = {"feature_set_id": features.attrs["feature_set_id"], "features": columns, "rounds": trained.rounds, **facts}
    save_bundle(trained.model, folder, card=card, golden=samples_of(golden))
