"""Room 6 in Dagster: one decision per bar and coin."""

import dagster as dg
import pandas as pd

from crp_pipeline.defs.partitions import coin_partitions
from crp_pipeline.defs.pictures import picture, table
from crp_pipeline.defs.versions import version_of
from crp_pipeline.gate.scores import calibration_of, scored
from crp_pipeline.places import Places
from crp_pipeline.provenance import made_by, stamp
from crp_pipeline.reporting.figures import calibration_figure
from crp_pipeline.rooms import stacked
from crp_pipeline.settings import PipelineSettings


def assets(settings: PipelineSettings, places: Places) -> list[dg.AssetsDefinition]:
    """`ensemble` per coin."""

    @dg.asset(
        group_name="ensemble",
        kinds={"scikitlearn", "parquet"},
        partitions_def=coin_partitions(settings),
        ins={name: dg.AssetIn(["models", name]) for name in settings.roster},
    )
    def ensemble(
        context: dg.AssetExecutionContext, labels: pd.DataFrame, splits: pd.DataFrame, **predictions: pd.DataFrame
    ) -> dg.MaterializeResult[pd.DataFrame]:
        """The decision at each bar's close, from meta-models that learned only from labels that had ended."""
        coin = context.partition_key
        stack, decisions = stacked(predictions, labels, splits, settings, coin=coin)
        stack.save(places.stack(coin))
        behind = [labels, splits, *predictions.values()]
        stamp(decisions, "ensemble", behind=behind, files={**places.stack_file(coin), **made_by(settings, coin)})
        curve, error = calibration_of(scored(decisions, labels))
        return dg.MaterializeResult(
            value=decisions,
            data_version=version_of(decisions, "ensemble", "ensemble.stack"),
            metadata={
                "dagster/row_count": int(decisions["confidence"].notna().sum()),
                "directed_decisions": int((decisions["signal"] != 0).sum()),
                "calibration_error": error,
                "members": table(stack.table()),
                "picture": picture(calibration_figure(curve, error=error)),
            },
        )

    return [ensemble]
