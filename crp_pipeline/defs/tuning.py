"""Tuning in Dagster: one study per model and coin, outside of the night, from one factory over the catalogue."""

from typing import Any

import dagster as dg
import pandas as pd

from crp_pipeline.defs.partitions import coin_partitions
from crp_pipeline.defs.pictures import numbers, picture, table
from crp_pipeline.defs.pools import pool_of
from crp_pipeline.defs.trials import occasion_of
from crp_pipeline.defs.versions import version_from
from crp_pipeline.models.inner import OBJECTIVES
from crp_pipeline.places import Places
from crp_pipeline.reporting.tuning import best_trials, study_figure
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import frame_hash
from crp_pipeline.tuning import MOST_TRIALS, TUNABLE, TunedModel, TuningRun, table_row, tune_model

GROUP = "tuning"


class TuningConfig(dg.Config):
    """What an operator may ask of one study."""

    trials: int = MOST_TRIALS
    """Trials that the study has in the end, those of earlier runs included."""
    timeout_s: float | None = None
    """No trial begins after so many seconds; none unless given."""
    objective: str = OBJECTIVES[0]
    """`log_loss` or `accuracy`."""
    seed: int | None = None
    """Seed of the study; the one in the settings when it is left out."""
    jobs: int = 1
    """Trials at a time; with one the study can be repeated."""
    variant: str = "default"
    """Whose other parameters stay as they are: `default`, `lightweight` or `deep`."""
    compare: bool = True
    """True: tuned against default on the outer folds in the end."""


def assets(settings: PipelineSettings, places: Places) -> list[dg.AssetsDefinition]:
    """`tuning/<type>` per coin, for every model with a search space."""
    return [_tuning_asset(model_type, settings, places) for model_type in TUNABLE]


def _tuning_asset(model_type: str, settings: PipelineSettings, places: Places) -> dg.AssetsDefinition:
    @dg.asset(
        key=[GROUP, model_type],
        group_name=GROUP,
        kinds={"optuna", "sqlite"},
        pool=pool_of(model_type, settings.limits),
        deps=["candles", "features", "labels", "splits"],
        partitions_def=coin_partitions(settings),
        description=f"Hyper-parameters of {model_type}, searched before the first test bar; a study that was killed goes on.",
    )
    def tuning(context: dg.AssetExecutionContext, config: TuningConfig) -> dg.MaterializeResult[pd.DataFrame]:
        found = tune_model(
            places,
            settings,
            context.partition_key,
            model_type,
            _run_of(config),
            occasion=occasion_of(context),
            clock=settings.present,
            progress=context.log.info,
        )
        version = version_from(frame_hash(found.found.trials))
        return dg.MaterializeResult(
            value=found.found.trials, data_version=version, metadata=_metadata(found, context.partition_key)
        )

    return tuning


def _run_of(config: TuningConfig) -> TuningRun:
    own = {name: getattr(config, name) for name in ("timeout_s", "objective", "seed", "variant", "compare")}
    return TuningRun(n_trials=config.trials, n_jobs=config.jobs, **own)


def _metadata(tuned: TunedModel, coin: str) -> dict[str, Any]:
    found, row = tuned.found, table_row(tuned.document)
    told = {name: float(value) for name, value in row.items() if isinstance(value, int | float)}
    model, objective = row["model"], row["objective"]
    return {
        "dagster/row_count": len(found.trials),
        **numbers(told),
        "parameters": ", ".join(f"{name} = {value}" for name, value in sorted(found.params.items())) or "the default's",
        "learned_until": str(found.learned_until),
        "first_test_bar": str(found.first_test),
        "seconds": round(found.seconds, 1),
        "training_seconds": round(found.training_s, 1),
        "best_trials": table(best_trials(found.trials, lowers=objective == "log_loss")),
        "picture": picture(study_figure(found.trials, name=f"{coin} {model}", objective=objective)),
    }
