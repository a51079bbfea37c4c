"""Room 1 in Dagster, beside the candles: the feeds of each coin, as known at each bar's close."""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
import pandas as pd

from crp_pipeline.candles import Coverage, align_feeds, coverage_table, feed_coverage, read_feeds
from crp_pipeline.defs.partitions import coin_check, coin_partitions
from crp_pipeline.defs.pictures import picture, table
from crp_pipeline.defs.storage import FRAME
from crp_pipeline.defs.versions import version_of
from crp_pipeline.features import Leak, alignment_cuts, leak_table, prove_feed_alignment, refuse_leaks
from crp_pipeline.provenance import feeds_recipe, stamp
from crp_pipeline.reporting.figures import feeds_figure
from crp_pipeline.settings import PipelineSettings


def assets(settings: PipelineSettings) -> list[dg.AssetsDefinition]:
    """`feeds` per coin."""
    coins = coin_partitions(settings)

    @dg.asset(
        group_name="candles",
        kinds={"pandas", "parquet"},
        partitions_def=coins,
        dagster_type=FRAME,
        check_specs=[
            coin_check(
                "is_causal",
                "feeds",
                coins,
                "Blocks values that change with what became known after the bar's close. What is stored stays.",
                blocking=True,
            ),
            coin_check("feeds_reach_tonight", "feeds", coins, "Warns of a feed that ended before the latest bar."),
            coin_check("feeds_are_known", "feeds", coins, "Warns of a feed without a value on more than a few of the bars."),
        ],
    )
    def feeds(context: dg.AssetExecutionContext, candles: pd.DataFrame) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        """Latest value of every configured feed that is known at each bar's close; no column where there is none."""
        coin = context.partition_key
        found = read_feeds(settings.feeds, coin)
        made, reports = align_feeds(candles, found, interval=settings.interval)
        for report in reports:
            context.log.info(report.summary())
        cuts = alignment_cuts(candles, found, interval=settings.interval, seed=settings.seed)
        leaks = prove_feed_alignment(made, candles, found, interval=settings.interval, cuts=cuts, seed=settings.seed)
        if leaks:
            yield _causality(leaks, n_cuts=len(cuts))
        refuse_leaks(leaks, f"{coin}: the aligned feeds")
        coverage = feed_coverage(made, found, reports)
        stamp(made, "feeds", behind=[candles], files=feeds_recipe(settings))
        yield dg.MaterializeResult(
            value=made,
            data_version=version_of(made, "feeds"),
            check_results=[
                _causality(leaks, n_cuts=len(cuts)),
                _warning("feeds_reach_tonight", [it.end for it in coverage]),
                _warning("feeds_are_known", [it.gaps for it in coverage]),
            ],
            metadata=_metadata(made, coverage, coin=coin),
        )

    return [feeds]


def _causality(leaks: Sequence[Leak], *, n_cuts: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name="is_causal",
        passed=not leaks,
        metadata={"cuts": n_cuts, "leaks": len(leaks), "first": table(leak_table(leaks).head(10))},
    )


def _warning(name: str, sentences: Sequence[str]) -> dg.AssetCheckResult:
    said = [sentence for sentence in sentences if sentence]
    return dg.AssetCheckResult(
        check_name=name,
        passed=not said,
        severity=dg.AssetCheckSeverity.WARN,
        description="\n".join(said) or "nothing found",
        metadata={"columns": len(said)},
    )


def _metadata(made: pd.DataFrame, coverage: Sequence[Coverage], *, coin: str) -> dict[str, Any]:
    return {
        "dagster/row_count": len(made),
        "columns": ", ".join(made.columns) or "none",
        "coverage": table(coverage_table(coverage)),
        **({"picture": picture(feeds_figure(made, coin=coin))} if len(made.columns) else {}),
    }
