"""Room 1 in Dagster: repaired candles per coin, and the closes of all coins side by side."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pandas as pd

from crp_pipeline.candles import (
    IssueKind,
    QualityReport,
    Suspicion,
    market_closes,
    quality,
    refuse_blocked,
    repair_candles,
    require_history,
    validate_candles,
)
from crp_pipeline.candles.archive import restatements
from crp_pipeline.candles.quality import BLOCKING
from crp_pipeline.candles.source import read_source, source_name
from crp_pipeline.defs.partitions import coin_check, coin_partitions
from crp_pipeline.defs.pictures import picture, table
from crp_pipeline.defs.retries import asked_again
from crp_pipeline.defs.standing import failed_assets
from crp_pipeline.defs.storage import FRAME
from crp_pipeline.defs.versions import version_of
from crp_pipeline.places import Places
from crp_pipeline.provenance import lineage_of, stamp
from crp_pipeline.reporting.figures import candles_figure, market_figure, quality_figure
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import read_parquet


@dataclass(frozen=True)
class QualityCheck:
    """An asset check that passes when the night's quality report has none of these kinds."""

    name: str
    kinds: tuple[IssueKind | Suspicion, ...]
    description: str

    @property
    def blocking(self) -> bool:
        """True where a failure stops the coin before its candles are stored."""
        return not BLOCKING.isdisjoint(self.kinds)


_BROKEN_ROWS = (
    *(IssueKind.EMPTY, IssueKind.OUT_OF_ORDER, IssueKind.DUPLICATE, IssueKind.CONFLICTING_DUPLICATE),
    *(IssueKind.IMPOSSIBLE_BAR, IssueKind.OFF_GRID, IssueKind.UNFINISHED_BAR),
)
QUALITY_CHECKS = (
    QualityCheck("no_gaps", (IssueKind.GAP,), "Warns of bars that the source does not have."),
    QualityCheck("rows_are_sound", _BROKEN_ROWS, "Warns of rows that had to be dropped, or put in order."),
    QualityCheck(
        "trading_goes_on",
        (Suspicion.ZERO_VOLUME_RUN, Suspicion.STALE_PRICE),
        "Warns of runs without a trade, or of one price, that are longer than chance makes them.",
    ),
    QualityCheck("no_bad_prints", (Suspicion.BAD_PRINT,), "Warns of prices that nobody could trade at; a crash is none."),
    QualityCheck("volume_in_one_unit", (IssueKind.VOLUME_UNIT_SWITCH,), "Warns of volume in quote and in base units."),
    QualityCheck(
        "history_not_rewritten",
        (Suspicion.RESTATED_BAR, Suspicion.VANISHED_BAR),
        "Warns of bars that the night before, or the download, had otherwise, and of bars that are gone.",
    ),
    QualityCheck("history_reaches_tonight", (Suspicion.STALE_END,), "Warns of a history that ends days before now."),
    QualityCheck(
        "stamps_agree_with_the_market",
        (Suspicion.SHIFTED_CLOCK,),
        "Blocks bars that agree with the other coins, or with the night before, only when stamped otherwise. "
        "What is stored stays.",
    ),
    QualityCheck(
        "prices_of_this_coin",
        (Suspicion.OTHER_COIN,),
        "Blocks prices of another coin than the one stored under this name. What is stored stays.",
    ),
)


def assets(settings: PipelineSettings, places: Places) -> list[dg.AssetsDefinition]:
    """`candles` per coin and `market` over all coins that have candles."""
    return [_candles(settings, places), _market(settings, places)]


def _candles(settings: PipelineSettings, places: Places) -> dg.AssetsDefinition:
    coins = coin_partitions(settings)

    @dg.asset(
        group_name="candles",
        kinds={"pandas", "parquet"},
        partitions_def=coins,
        dagster_type=FRAME,
        check_specs=[
            coin_check(
                "contract_holds", "candles", coins, "Blocks candles that break the contract after repair.", blocking=True
            ),
            *(coin_check(it.name, "candles", coins, it.description, blocking=it.blocking) for it in QUALITY_CHECKS),
        ],
    )
    def candles(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        """Open, high, low, close and volume of every bar, in time order, with holes filled and flagged or split."""
        coin, now = context.partition_key, pd.Timestamp(settings.present())
        source = source_name(settings, coin)
        with asked_again(context, settings.limits):
            raw = read_source(settings, coin, now=now, progress=context.log.info)
        bars, _ = repair_candles(raw, settings.interval, max_gap=settings.max_gap, now=now, source=source)
        require_history(bars, settings.walk_forward.train_size + 1, source=source)
        report = _quality_tonight(settings, places, coin, raw, now)
        context.log.info(report.summary())
        if not report.ok:
            yield from _quality_results(report)
        refuse_blocked(raw, report)
        repaired = validate_candles(bars, settings.interval, now=now)
        stamp(bars, "candles", coin=coin, interval=settings.interval)
        [data_hash] = lineage_of(bars)["candles"]
        contract = dg.AssetCheckResult(check_name="contract_holds", passed=repaired.ok, description=repaired.summary())
        yield dg.MaterializeResult(
            value=bars,
            data_version=dg.DataVersion(data_hash),
            check_results=[contract, *_quality_results(report)],
            metadata={
                "dagster/row_count": len(bars),
                "repaired_bars": int(bars["is_repaired"].sum()),
                "segments": int(bars["segment"].nunique()),
                "first_bar": str(bars.index[0]),
                "last_bar": str(bars.index[-1]),
                "data_hash": data_hash,
                "findings": table(report.to_frame()),
                "picture": picture(candles_figure(bars, coin=coin)),
                "findings_picture": picture(quality_figure(bars, report, coin=coin)),
            },
        )

    return candles


def _quality_tonight(
    settings: PipelineSettings, places: Places, coin: str, raw: pd.DataFrame, now: pd.Timestamp
) -> QualityReport:
    """Beside the night before and the market of that night; the demo market is made anew from its settings, and has neither."""
    source = source_name(settings, coin)
    if settings.source == "demo":
        return quality(raw, settings.interval, source=source)
    market = _stored(places.frame("market"), settings.interval)
    return quality(
        raw,
        settings.interval,
        earlier=_stored(places.candles(coin), settings.interval),
        market=None if market is None else market.drop(columns=coin, errors="ignore"),
        restated=pd.DatetimeIndex([bar.open_time for bar in restatements(raw)]),
        now=now,
        source=source,
    )


def _stored(path: Path, interval: str) -> pd.DataFrame | None:
    """The frame of an earlier night, where there is one of the same interval."""
    frame = read_parquet(path) if path.exists() else None
    return frame if frame is not None and frame.attrs.get("interval") == interval else None


def _quality_results(report: QualityReport) -> Iterator[dg.AssetCheckResult]:
    for check in QUALITY_CHECKS:
        found = report.of(*check.kinds)
        yield dg.AssetCheckResult(
            check_name=check.name,
            passed=not found,
            severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
            description="\n".join(map(str, found)) or "nothing found",
            metadata={"bars": sum(finding.count for finding in found)},
        )


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
        stamp(closes, "market", interval=settings.interval)
        return dg.MaterializeResult(
            value=closes,
            data_version=version_of(closes, "market"),
            metadata={
                "dagster/row_count": len(closes),
                "coins": ", ".join(closes.columns),
                "missing_coins": ", ".join(coin for coin in coins.get_partition_keys() if coin not in standing) or "none",
                "picture": picture(market_figure(closes)),
            },
        )

    return market
