"""Room 4 in Dagster: the fold table per coin."""

import dagster as dg
import pandas as pd

from crp_pipeline.defs.partitions import coin_check, coin_partitions
from crp_pipeline.defs.pictures import picture, table
from crp_pipeline.defs.storage import FRAME
from crp_pipeline.defs.versions import version_of
from crp_pipeline.provenance import made_by, stamp
from crp_pipeline.reporting.figures import timeline_figure
from crp_pipeline.rooms import role_table
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.splits import folds_of, overlaps, timeline


def assets(settings: PipelineSettings) -> list[dg.AssetsDefinition]:
    """`splits` per coin."""
    coins = coin_partitions(settings)

    @dg.asset(
        group_name="splits",
        kinds={"pandas", "parquet"},
        partitions_def=coins,
        dagster_type=FRAME,
        check_specs=[
            coin_check("labels_are_purged", "splits", coins, "No training label meets its test block.", blocking=True)
        ],
    )
    def splits(candles: pd.DataFrame, labels: pd.DataFrame) -> dg.MaterializeResult:
        """What each bar is to each fold: learned from, purged or tested."""
        found = role_table(candles, labels, settings)
        stamp(found, "splits", behind=[candles, labels], files=made_by(settings, candles.attrs["coin"]))
        overlapping = overlaps(folds_of(found), labels.index, labels["label_end"])
        return dg.MaterializeResult(
            value=found,
            data_version=version_of(found, "splits"),
            check_results=[
                dg.AssetCheckResult(
                    check_name="labels_are_purged",
                    passed=overlapping.empty,
                    metadata={"overlapping_labels": len(overlapping), "first": table(overlapping.head(5))},
                )
            ],
            metadata={
                "dagster/row_count": len(found),
                "folds": found.shape[1],
                "timeline": table(timeline(found)),
                "picture": picture(timeline_figure(found)),
            },
        )

    return [splits]
