"""Room 3 in Dagster: labels per coin."""

import dagster as dg
import pandas as pd

from crp_pipeline.defs.partitions import coin_partitions
from crp_pipeline.defs.pictures import picture
from crp_pipeline.defs.versions import version_of
from crp_pipeline.provenance import made_by, stamp
from crp_pipeline.reporting.figures import labels_figure
from crp_pipeline.rooms import label_table
from crp_pipeline.settings import PipelineSettings


def assets(settings: PipelineSettings) -> list[dg.AssetsDefinition]:
    """`labels` per coin."""

    @dg.asset(group_name="labels", kinds={"pandas", "parquet"}, partitions_def=coin_partitions(settings))
    def labels(candles: pd.DataFrame, feeds: pd.DataFrame) -> dg.MaterializeResult[pd.DataFrame]:
        """What a decision at each bar's close would have earned, and when that was known."""
        coin = candles.attrs["coin"]
        config, made = settings.of(coin).labels, label_table(candles, feeds, settings)
        stamp(made, "labels", behind=[candles, feeds], files=made_by(settings, coin))
        return dg.MaterializeResult(
            value=made,
            data_version=version_of(made, "labels"),
            metadata={
                "dagster/row_count": len(made),
                "labelled_bars": int(made["signal"].notna().sum()),
                "independent_labels": float(made["weight"].sum()),
                "horizon_bars": config.horizon,
                "open_interest_changes": int(made.get("open_interest_change", pd.Series(dtype=float)).notna().sum()),
                "round_trip_cost_bps": config.round_trip_cost_bps,
                "picture": picture(labels_figure(made)),
            },
        )

    return [labels]
