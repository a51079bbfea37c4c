"""Room 5 in Dagster: one asset per model and coin, all from one factory over the catalogue."""

import dagster as dg
import pandas as pd

from crp_pipeline.defs.partitions import coin_partitions
from crp_pipeline.defs.pictures import picture, table
from crp_pipeline.defs.storage import Places
from crp_pipeline.gate.scores import log_loss_by_fold
from crp_pipeline.models import ModelSpec, samples_of, save_bundle, train
from crp_pipeline.provenance import lineage_of, merged, stamp
from crp_pipeline.reporting.figures import folds_figure
from crp_pipeline.settings import PipelineSettings

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
        threads: dict[str, int] = {} if model_type == BASELINE else {"n_threads": settings.threads}
        spec = ModelSpec(model_type, config.variant, threads)
        seed = settings.seed if config.seed is None else config.seed
        trained = train(
            spec,
            features,
            labels,
            splits,
            seed=seed,
            validation_share=settings.walk_forward.validation_share,
            progress=context.log.info,
        )
        predictions, behind = trained.predictions, [features, labels, splits]
        recipe = {"variant": config.variant, "seed": seed, "rounds": trained.rounds, "features": list(features.columns)}
        golden = samples_of(features.loc[predictions["fold"] >= 0].tail(GOLDEN_ROWS))
        lineage = merged(*map(lineage_of, behind))
        card = {"coin": coin, "feature_set_id": features.attrs["feature_set_id"], "lineage": lineage, **recipe}
        save_bundle(trained.model, places.bundle(coin, model_type), card=card, golden=golden)
        stamp(predictions, f"models/{model_type}", behind=behind, files=places.model_file(coin, model_type))
        losses = log_loss_by_fold(predictions, baseline.get(BASELINE, predictions), labels)
        return dg.MaterializeResult(
            value=predictions,
            metadata={
                "dagster/row_count": int((predictions["fold"] >= 0).sum()),
                "learned_rows": trained.n_learned,
                "rounds": trained.rounds,
                "log_loss": float(losses["log_loss"].mean()),
                "prior_log_loss": float(losses["prior"].mean()),
                "by_fold": table(losses.reset_index()),
                "picture": picture(folds_figure(losses, model=model_type)),
            },
        )

    return model
