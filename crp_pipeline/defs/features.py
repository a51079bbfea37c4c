"""Room 2 in Dagster: the feature table per coin, proved causal before anything learns from it."""

import dagster as dg
import pandas as pd

from crp_pipeline.defs.partitions import coin_check, coin_partitions
from crp_pipeline.defs.pictures import picture, table
from crp_pipeline.defs.storage import FRAME
from crp_pipeline.defs.versions import version_of
from crp_pipeline.features import CATALOG, extend_features, feature_set_id, leak_table, nightly_cuts, prove_nightly
from crp_pipeline.places import Places
from crp_pipeline.provenance import stamp
from crp_pipeline.reporting.figures import features_figure
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import read_if_sound


def assets(settings: PipelineSettings, places: Places) -> list[dg.AssetsDefinition]:
    """`features` per coin."""
    coins = coin_partitions(settings)
    set_id = feature_set_id(CATALOG)

    @dg.asset(
        group_name="features",
        kinds={"pandas", "parquet"},
        partitions_def=coins,
        code_version=set_id,
        dagster_type=FRAME,
        check_specs=[coin_check("is_causal", "features", coins, "No past value changes with the future.", blocking=True)],
    )
    def features(
        context: dg.AssetExecutionContext, candles: pd.DataFrame, market: pd.DataFrame, feeds: pd.DataFrame
    ) -> dg.MaterializeResult:
        """Every catalogued feature of every bar, known at the bar's close."""
        coin = candles.attrs["coin"]
        others = market.drop(columns=coin, errors="ignore")
        earlier = read_if_sound(places.features(coin), tell=context.log.warning)
        made = extend_features(earlier, candles, CATALOG, market=others, feeds=feeds, set_id=set_id)
        rows_kept, blocks = made.attrs["rows_kept"], made.attrs["blocks"]
        n_cuts = sum(map(len, nightly_cuts(candles, others, feeds=feeds, seed=settings.seed)))
        leaks = prove_nightly(CATALOG, candles, market=others, feeds=feeds, seed=settings.seed)
        leaking = len({leak.feature for leak in leaks})
        facts = {"feature_set_id": set_id, "leaking_features": leaking, "blocks": blocks}
        stamp(made, "features", behind=[candles, market, feeds], **facts)
        return dg.MaterializeResult(
            value=made,
            data_version=version_of(made, "features"),
            check_results=[
                dg.AssetCheckResult(
                    check_name="is_causal",
                    passed=not leaks,
                    metadata={"cuts": n_cuts, "leaks": len(leaks), "first": table(leak_table(leaks).head(10))},
                )
            ],
            metadata={
                "dagster/row_count": len(made),
                "rows_kept": rows_kept,
                "features": made.shape[1],
                "feature_set_id": set_id,
                "others_in_market": ", ".join(others.columns) or "none",
                "feeds": ", ".join(feeds.columns) or "none",
                "picture": picture(features_figure(made, n_leaks=leaking)),
            },
        )

    return [features]
