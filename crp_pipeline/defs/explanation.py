"""Beside room 8 in Dagster: what tonight's forecasts are made of, and why the latest signal is what it is."""

from typing import Any

import dagster as dg
import pandas as pd

from crp_pipeline.defs.models import SELECTION
from crp_pipeline.defs.partitions import coin_partitions
from crp_pipeline.defs.pictures import numbers, picture, table
from crp_pipeline.defs.versions import version_of
from crp_pipeline.explanation import CoinExplanation, Tables, explain_coin, save_explanation, stability_table
from crp_pipeline.places import Places
from crp_pipeline.provenance import made_by, stamp
from crp_pipeline.reporting.explanation import (
    beeswarm_figure,
    importance_figure,
    importance_table,
    models_table,
    waterfall_figure,
    why_sentence,
)
from crp_pipeline.settings import PipelineSettings

TOLD = 15
"""Features of a model in a table of the page."""


def assets(settings: PipelineSettings, places: Places) -> list[dg.AssetsDefinition]:
    """`explanation` per coin."""

    @dg.asset(
        group_name="explanation",
        kinds={"parquet"},
        partitions_def=coin_partitions(settings),
        ins={SELECTION: dg.AssetIn(["models", SELECTION])},
    )
    def explanation(
        context: dg.AssetExecutionContext,
        features: pd.DataFrame,
        labels: pd.DataFrame,
        splits: pd.DataFrame,
        selection: pd.DataFrame,
        ensemble: pd.DataFrame,
    ) -> dg.MaterializeResult[pd.DataFrame]:
        """Contributions of features to out-of-sample forecasts, importances with their stability, and why the latest signal."""
        coin, behind = context.partition_key, [features, labels, splits, selection, ensemble]
        found = explain_coin(coin, Tables(*behind), settings=settings, places=places, tell=context.log.info)
        save_explanation(places, found)
        stamp(found.importances, "explanation", behind=behind, files=made_by(settings, coin))
        version = version_of(found.importances, "explanation")
        return dg.MaterializeResult(value=found.importances, data_version=version, metadata=_metadata(found, settings))

    return [explanation]


def _metadata(found: CoinExplanation, settings: PipelineSettings) -> dict[str, Any]:
    """Numbers under names that stay the same, so that the page plots them night by night, then every model by itself."""
    stability = stability_table(found.importances, found.nights, top=settings.explanation.top)
    agreement = {
        f"{row['model']}_{measure}_over_{row['over']}": row[measure]
        for row in stability.to_dict("records")
        for measure in ("rank_correlation", "top_overlap")
        if row["n"] > 1
    }
    return {
        "dagster/row_count": len(found.importances),
        **numbers(agreement),
        "models": table(models_table(found)),
        "stability": table(stability),
        **{key: value for model in found.explained for key, value in _of_model(found, model).items()},
    }


def _of_model(found: CoinExplanation, model: str) -> dict[str, Any]:
    return {
        f"{model}_why": why_sentence(found, model),
        f"{model}_importances": table(importance_table(found, model).head(TOLD)),
        f"{model}_importance_picture": picture(importance_figure(found, model)),
        f"{model}_beeswarm_picture": picture(beeswarm_figure(found, model)),
        f"{model}_why_picture": picture(waterfall_figure(found, model)),
    }
