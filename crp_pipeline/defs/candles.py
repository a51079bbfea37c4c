"""Room 1 in Dagster: repaired candles per coin, and the closes of all coins side by side."""

from datetime import UTC, datetime

import dagster as dg
import pandas as pd

from crp_pipeline.candles import market_closes, repair_candles
from crp_pipeline.candles.source import read_source
from crp_pipeline.contracts import CandleSchema, check_frame
from crp_pipeline.defs.partitions import coin_check, coin_partitions
from crp_pipeline.defs.pictures import picture, table
from crp_pipeline.defs.storage import FRAME
from crp_pipeline.reporting.figures import candles_figure
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import frame_hash


def assets(settings: PipelineSettings) -> list[dg.AssetsDefinition]:
    """`candles` per coin and `market` over all coins that have candles."""
    return [_candles(settings), _market(settings)]


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
        coin = context.partition_key
        raw = read_source(settings, coin)
        bars, report = repair_candles(
            raw, settings.interval, max_gap=settings.max_gap, now=pd.Timestamp(datetime.now(UTC)), source=coin
        )
        check_frame(bars, CandleSchema, what=f"candles of {coin}")
        data_hash = frame_hash(bars)
        bars.attrs = {"coin": coin, "data_hash": data_hash}
        context.log.info(report.summary())
        return dg.MaterializeResult(
            value=bars,
            data_version=dg.DataVersion(data_hash),
            check_results=[
                dg.AssetCheckResult(check_name="contract_holds", passed=True, metadata={"rows": len(bars)}),
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


def _market(settings: PipelineSettings) -> dg.AssetsDefinition:
    @dg.asset(
        group_name="candles",
        kinds={"pandas", "parquet"},
        ins={"candles": dg.AssetIn(partition_mapping=dg.AllPartitionMapping(), metadata={"allow_missing_partitions": True})},
    )
    def market(candles: dict[str, pd.DataFrame]) -> dg.MaterializeResult[pd.DataFrame]:
        """Closes of every coin whose candles stand, side by side; a coin that is missing is recorded and holds up nobody."""
        closes = market_closes(candles)
        missing = sorted(set(coin_partitions(settings).get_partition_keys()) - set(candles))
        return dg.MaterializeResult(
            value=closes,
            data_version=dg.DataVersion(frame_hash(closes)),
            metadata={
                "dagster/row_count": len(closes),
                "coins": ", ".join(closes.columns),
                "missing_coins": ", ".join(missing) or "none",
            },
        )

    return market
