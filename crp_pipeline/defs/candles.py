"""Room 1 in Dagster: repaired candles per coin, and the closes of all coins side by side."""

from datetime import UTC, datetime

import dagster as dg
import pandas as pd

from crp_pipeline.candles import market_closes, repair_candles, require_history, validate_candles
from crp_pipeline.candles.source import read_source, source_name
from crp_pipeline.defs.partitions import coin_check, coin_partitions
from crp_pipeline.defs.pictures import picture, table
from crp_pipeline.defs.standing import failed_assets
from crp_pipeline.defs.storage import FRAME, Places
from crp_pipeline.provenance import lineage_of, stamp
from crp_pipeline.reporting.figures import candles_figure
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import read_parquet


def assets(settings: PipelineSettings, places: Places) -> list[dg.AssetsDefinition]:
    """`candles` per coin and `market` over all coins that have candles."""
    return [_candles(settings), _market(settings, places)]


def _candles(settings: PipelineSettings) -> dg.AssetsDefinition:
    coins = coin_partitions(settings)

    @dg.asset(
        group_name="candles",
        kinds={"pandas", "parquet"},
        partitions_def=coins,
        dagster_type=FRAME,
        check_specs=[
            coin_check("contract_holds", "candles", coins, "Every rule of the candle contract, after repair.", blocking=True),
            coin_check("source_is_clean", "candles", coins, "Nothing had to be repaired and nothing looks odd."),
        ],
    )
    def candles(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """Open, high, low, close and volume of every bar, in time order, with holes filled and flagged or split."""
        coin, now = context.partition_key, pd.Timestamp(datetime.now(UTC))
        source = source_name(settings, coin)
        raw = read_source(settings, coin)
        bars, report = repair_candles(raw, settings.interval, max_gap=settings.max_gap, now=now, source=source)
        require_history(bars, settings.walk_forward.train_size + 1, source=source)
        repaired = validate_candles(bars, settings.interval, now=now)
        stamp(bars, "candles", coin=coin)
        [data_hash] = lineage_of(bars)["candles"]
        context.log.info(report.summary())
        return dg.MaterializeResult(
            value=bars,
            data_version=dg.DataVersion(data_hash),
            check_results=[
                dg.AssetCheckResult(check_name="contract_holds", passed=repaired.ok, description=repaired.summary()),
                dg.AssetCheckResult(
                    check_name="source_is_clean",
                    passed=not report.issues,
                    severity=dg.AssetCheckSeverity.WARN,
                    description=report.summary(),
                ),
            ],
            metadata={
                "dagster/row_count": len(bars),
                "repaired_bars": int(bars["is_repaired"].sum()),
                "segments": int(bars["segment"].nunique()),
                "first_bar": str(bars.index[0]),
                "last_bar": str(bars.index[-1]),
                "data_hash": data_hash,
                "issues": table(report.to_frame()),
                "picture": picture(candles_figure(bars, coin=coin)),
            },
        )

    return candles


def _market(settings: PipelineSettings, places: Places) -> dg.AssetsDefinition:
    coins = coin_partitions(settings)

    @dg.asset(
        group_name="candles",
        kinds={"pandas", "parquet"},
        deps=[dg.AssetDep("candles", partition_mapping=dg.AllPartitionMapping())],
    )
    def market(context: dg.AssetExecutionContext) -> dg.MaterializeResult[pd.DataFrame]:
        """Closes of every coin whose candles stand, side by side; a coin whose candles failed is named and holds up nobody."""
        failed = failed_assets(context.instance, [dg.AssetKey("candles")], coins)
        standing = [coin for coin in coins.get_partition_keys() if coin not in failed and places.candles(coin).exists()]
        closes = market_closes({coin: read_parquet(places.candles(coin)) for coin in standing})
        stamp(closes, "market")
        return dg.MaterializeResult(
            value=closes,
            data_version=dg.DataVersion(lineage_of(closes)["market"][0]),
            metadata={
                "dagster/row_count": len(closes),
                "coins": ", ".join(closes.columns),
                "missing_coins": ", ".join(coin for coin in coins.get_partition_keys() if coin not in standing) or "none",
            },
        )

    return market
