"""Stage 1: candles that later stages can rely on.

    read_source / load_candles / demo_market -> quality, validate_candles -> repair_candles -> causal_volatility, market_closes
    read_feed -> align_feed, and by the settings of a coin: read_feeds -> align_feeds

A file or the demo market gives a table of OHLCV; `validate_candles` counts what breaks the contract; `repair_candles`
gives the frame of `contracts.CandleSchema`, whose filled bars are flagged and whose long holes part it into segments.
"""

from crp_pipeline.candles.coin_feeds import Coverage, Feed, align_feeds, coverage_table, feed_coverage, read_feeds
from crp_pipeline.candles.contract import (
    CandleReport,
    Issue,
    IssueKind,
    commonest_interval,
    require_history,
    validate_candles,
)
from crp_pipeline.candles.demo import (
    DEMO_COINS,
    DEMO_END,
    DEMO_START,
    CoinSpec,
    bayes_accuracy,
    demo_candles,
    demo_market,
    visible_state,
)
from crp_pipeline.candles.feed_files import read_feed
from crp_pipeline.candles.feeds import FeedColumn, FeedReport, align_feed, align_feed_with_report
from crp_pipeline.candles.files import any_candles, coin_files, coin_of, load_candles, read_candles, to_candles
from crp_pipeline.candles.market import market_closes
from crp_pipeline.candles.quality import Finding, QualityReport, Severity, Suspicion, quality, refuse_blocked
from crp_pipeline.candles.repair import repair_candles
from crp_pipeline.candles.source import available_coins, read_source, source_name
from crp_pipeline.candles.volatility import causal_volatility

__all__ = [
    "DEMO_COINS",
    "DEMO_END",
    "DEMO_START",
    "CandleReport",
    "CoinSpec",
    "Coverage",
    "Feed",
    "FeedColumn",
    "FeedReport",
    "Finding",
    "Issue",
    "IssueKind",
    "QualityReport",
    "Severity",
    "Suspicion",
    "align_feed",
    "align_feed_with_report",
    "align_feeds",
    "any_candles",
    "available_coins",
    "bayes_accuracy",
    "causal_volatility",
    "coin_files",
    "coin_of",
    "commonest_interval",
    "coverage_table",
    "demo_candles",
    "demo_market",
    "feed_coverage",
    "load_candles",
    "market_closes",
    "quality",
    "read_candles",
    "read_feed",
    "read_feeds",
    "read_source",
    "refuse_blocked",
    "repair_candles",
    "require_history",
    "source_name",
    "to_candles",
    "validate_candles",
    "visible_state",
]
