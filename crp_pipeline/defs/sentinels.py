"""Beside room 8 in Dagster: what would be too good to be true, measured each night before anything is judged."""

import dagster as dg
import pandas as pd

from crp_pipeline.defs.models import SELECTION
from crp_pipeline.defs.partitions import coin_check, coin_partitions
from crp_pipeline.defs.pictures import numbers, picture, table
from crp_pipeline.defs.storage import FRAME
from crp_pipeline.defs.versions import version_of
from crp_pipeline.gate.costs import cost_data, cost_hashes
from crp_pipeline.gate.sentinels import Watched, alarms_of, keep_watch, sentinel_evidence, sentinel_table
from crp_pipeline.provenance import kind_of_market, made_by, stamp
from crp_pipeline.reporting.sentinels import feature_alarm_figure, label_shift_figure, leak_meter_figure
from crp_pipeline.settings import PipelineSettings

CHECKS = {
    "canaries_are_caught": ("canaries_missed", "Every leak that was planted tonight was found."),
    "no_feature_predicts_too_well": ("feature_alarms", "No feature alone ranks labels too well to be believed."),
    "forecast_is_plausible": ("implausible", "Over an hour or less no forecast is too good to be believed."),
    "decisions_know_their_own_labels": ("shift_z", "Decisions agree best with the labels that they are about."),
    "edge_outlives_one_bar": ("edge_lost_with_delay", "What decisions earn is not all gone one bar later."),
}
"""The number that each check is about, and what passes it."""
BROKEN = ("canaries_are_caught",)
"""Checks whose failure says that the night's own guards do not work."""


def assets(settings: PipelineSettings) -> list[dg.AssetsDefinition]:
    """`sentinels` per coin."""
    coins = coin_partitions(settings)

    @dg.asset(
        group_name="gate",
        kinds={"lightgbm", "parquet"},
        partitions_def=coins,
        ins={SELECTION: dg.AssetIn(["models", SELECTION])},
        dagster_type=FRAME,
        check_specs=[coin_check(name, "sentinels", coins, told) for name, (_, told) in CHECKS.items()],
    )
    def sentinels(
        context: dg.AssetExecutionContext,
        candles: pd.DataFrame,
        features: pd.DataFrame,
        labels: pd.DataFrame,
        splits: pd.DataFrame,
        selection: pd.DataFrame,
        ensemble: pd.DataFrame,
    ) -> dg.MaterializeResult:
        """Signs of a leak, a lag or a forecast that nobody should believe, with their limits."""
        behind = [candles, features, labels, splits, selection, ensemble]
        own, costs = settings.of(context.partition_key), cost_data(settings, context.partition_key)
        found = keep_watch(Watched(candles, features, labels, splits, selection, ensemble, costs), own)
        readings = sentinel_table(found, settings.sentinels)
        files = {
            **made_by(settings, context.partition_key),
            **kind_of_market(settings),
            **cost_hashes(settings, context.partition_key, costs),
        }
        stamp(readings, "sentinels", behind=behind, files=files)
        for sentence in alarms_of(readings, *readings["name"]):
            context.log.warning(f"{context.partition_key}: {sentence}")
        return dg.MaterializeResult(
            value=readings,
            data_version=version_of(readings, "sentinels"),
            check_results=[_check(name, readings) for name in CHECKS],
            metadata={
                "dagster/row_count": len(readings),
                "quarantined": ", ".join(found.quarantined) or "none",
                "picture": picture(label_shift_figure(found.profile, found.shift, horizon=settings.horizon)),
                "feature_picture": picture(feature_alarm_figure(found.features, settings.sentinels)),
                "leak_picture": picture(leak_meter_figure(found.leak)),
                **numbers(sentinel_evidence(readings)),
                "readings": table(readings),
                "loudest_features": table(found.features.sort_values("z", key=abs, ascending=False).head(10).reset_index()),
            },
        )

    return [sentinels]


def _check(name: str, readings: pd.DataFrame) -> dg.AssetCheckResult:
    number, told = CHECKS[name]
    alarms = alarms_of(readings, number)
    return dg.AssetCheckResult(
        check_name=name,
        passed=not alarms,
        severity=dg.AssetCheckSeverity.ERROR if name in BROKEN else dg.AssetCheckSeverity.WARN,
        description=alarms[0] if alarms else told,
        metadata={"value": sentinel_evidence(readings)[number]},
    )
