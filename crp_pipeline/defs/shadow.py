"""Room 8 in Dagster, before the verdict: what champion and shadow decide about the bars that have come since."""

import dagster as dg
import pandas as pd

from crp_pipeline.defs.partitions import coin_partitions
from crp_pipeline.defs.pictures import picture, table
from crp_pipeline.defs.versions import version_of
from crp_pipeline.features import ready_rows
from crp_pipeline.places import Places
from crp_pipeline.provenance import stamp
from crp_pipeline.registry import Registry
from crp_pipeline.reporting.gate import fresh_decisions_figure
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.shadow import EMPTY_SEAT, ShadowLog, decide_fresh_bars


def assets(settings: PipelineSettings, places: Places) -> list[dg.AssetsDefinition]:
    """`shadow` per coin."""

    @dg.asset(group_name="gate", kinds={"parquet"}, partitions_def=coin_partitions(settings))
    def shadow(
        context: dg.AssetExecutionContext, candles: pd.DataFrame, features: pd.DataFrame
    ) -> dg.MaterializeResult[pd.DataFrame]:
        """What champion and shadow decide about bars that they had never seen, kept before the outcome is looked at."""
        coin, log = context.partition_key, ShadowLog(places.shadow(context.partition_key))
        ready = ready_rows(candles) & ~candles["is_repaired"].to_numpy()
        book, now = Registry(places.registry), settings.present()
        fresh = decide_fresh_bars(book, coin, features, ready=ready, interval=settings.interval, log=log, now=now)
        for role, reason in fresh.silent.items():
            if reason != EMPTY_SEAT:
                context.log.warning(f"{coin}: the {role} decides nothing: {reason}")
        stamp(fresh.decisions, "shadow", behind=[candles, features])
        return dg.MaterializeResult(
            value=fresh.decisions,
            data_version=version_of(fresh.decisions, "shadow"),
            metadata={
                "dagster/row_count": len(fresh.decisions),
                "added": fresh.added,
                **{f"{role}_silent": reason for role, reason in fresh.silent.items()},
                "last_decisions": table(fresh.decisions.tail(10)),
                **({"picture": picture(fresh_decisions_figure(fresh.decisions))} if len(fresh.decisions) else {}),
            },
        )

    return [shadow]
