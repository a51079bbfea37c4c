"""Room 5 in Dagster: one asset per model and coin, all from one factory over the catalogue."""

import dagster as dg
import pandas as pd

from crp_pipeline.contracts import PredictionSchema, check_frame
from crp_pipeline.defs.partitions import coin_partitions
from crp_pipeline.defs.pictures import picture, table
from crp_pipeline.defs.storage import Places
from crp_pipeline.models import ModelSpec, cross_fit, final_fit, samples_of, save_bundle, typical_rounds
from crp_pipeline.gate.scores import log_loss_by_fold
from crp_pipeline.reporting.figures import folds_figure
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.splits import folds_of, learnable_rows

BASELINE = "prior"
GOLDEN_ROWS = 32


class TrainingConfig(dg.Config):
    """What an operator may change for one run."""

    variant: str = "default"
    """`default`, `lightweight` or `deep`."""
    seed: int | None = None
    """Seed of this run; the one in the settings when it is left out."""


def assets(settings: PipelineSettings, places: Places) -> list[dg.AssetsDefinition]:
    """`models/<type>` per coin: the baseline, then the roster."""
    return [_model_asset(model_type, settings, places) for model_type in (BASELINE, *settings.roster)]


def _model_asset(model_type: str, settings: PipelineSettings, places: Places) -> dg.AssetsDefinition:
    @dg.asset(
        key=["models", model_type],
        group_name="models",
        kinds={"python"} if model_type == BASELINE else {model_type},
        partitions_def=coin_partitions(settings),
        ins={} if model_type == BASELINE else {BASELINE: dg.AssetIn(["models", BASELINE])},
        description=f"Out-of-fold probabilities of {model_type}, and its final model fitted on all labelled bars.",
    )
    def model(
        context: dg.AssetExecutionContext,
        config: TrainingConfig,
        features: pd.DataFrame,
        labels: pd.DataFrame,
        splits: pd.DataFrame,
        **baseline: pd.DataFrame,
    ) -> dg.MaterializeResult[pd.DataFrame]:
        coin = context.partition_key
        threads = {} if model_type == BASELINE else {"n_threads": settings.threads}
        spec = ModelSpec(model_type, config.variant, threads)
        seed = settings.seed if config.seed is None else config.seed
        predictions = cross_fit(
            spec,
            features,
            labels,
            folds_of(splits),
            seed=seed,
            validation_share=settings.walk_forward.validation_share,
            progress=context.log.info,
        )
        check_frame(predictions, PredictionSchema, what=f"{model_type} predictions of {coin}")
        rounds = typical_rounds(predictions)
        learnable = learnable_rows(splits, labels["label_end"])
        final = final_fit(spec, features, labels, learnable, rounds=rounds, seed=seed)
        lineage = {name: features.attrs[name] for name in ("data_hash", "feature_set_id", "table_hash")}
        recipe = {"variant": config.variant, "seed": seed, "rounds": rounds, "features": list(features.columns)}
        golden = samples_of(features.loc[predictions["fold"] >= 0].tail(GOLDEN_ROWS))
        save_bundle(final, places.bundle(coin, model_type), card={"coin": coin, **lineage, **recipe}, golden=golden)
        predictions.attrs = {"coin": coin, **lineage}
        losses = log_loss_by_fold(predictions, baseline.get(BASELINE, predictions), labels)
        return dg.MaterializeResult(
            value=predictions,
            metadata={
                "dagster/row_count": int((predictions["fold"] >= 0).sum()),
                "learned_rows": len(learnable),
                "rounds": rounds,
                "log_loss": float(losses["log_loss"].mean()),
                "prior_log_loss": float(losses["prior"].mean()),
                "folds": table(losses.reset_index()),
                "picture": picture(folds_figure(losses, model=model_type)),
            },
        )

    return model
