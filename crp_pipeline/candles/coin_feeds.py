"""The feeds of one coin: which are configured for it, what their files hold, and what of it each bar knows at its close.

read_feeds -> align_feeds
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import pandas as pd

from crp_pipeline.candles.contract import Moment
from crp_pipeline.candles.feed_files import read_feed
from crp_pipeline.candles.feeds import FeedColumn, FeedReport, align_feed_with_report
from crp_pipeline.errors import DataContractError
from crp_pipeline.settings import FeedConfig

UNNOTICED = 0.01
"""Share of the bars that a feed may leave unknown, before its first value and in holes, without a word."""


@dataclass(frozen=True, eq=False)
class Feed:
    """What the file of one feed holds for one coin."""

    source: str
    """Coin, feed and file, for messages."""
    config: FeedConfig
    rows: pd.DataFrame
    """float64 columns under the names of the house, by UTC stamp, in time order."""


@dataclass(frozen=True)
class Coverage:
    """On how many of the bars a feed column has a value, and where it has none."""

    source: str
    column: str
    bars: int
    known: int
    not_yet: int
    """Bars that close before the first value is known."""
    in_holes: int
    """Bars between two values whose latest one is too old."""
    after_end: int
    """Latest bars, where the last value is too old."""
    first: Moment
    last: Moment
    """Stamps of the first and the last value."""

    @property
    def end(self) -> str:
        """A sentence when the feed has no value for the latest bar any more, else nothing."""
        if not self.after_end:
            return ""
        return f"{self.source}: the last {self.column} is of {self.last}, too old on the latest {self.after_end:,} bars"

    @property
    def gaps(self) -> str:
        """A sentence when there is no value at all, or more than a few bars are without one before the end, else nothing."""
        if not self.known:
            return f"{self.source}: {self.column} is unknown on all {self.bars:,} bars"
        if self.not_yet + self.in_holes <= UNNOTICED * self.bars:
            return ""
        where = f"the first {self.not_yet:,} bars and on {self.in_holes:,} in holes, of {self.bars:,}"
        return f"{self.source}: {self.column} is unknown on {where}"


def read_feeds(configs: Mapping[str, FeedConfig], coin: str) -> tuple[Feed, ...]:
    """Every feed that is configured for the coin, in the order of the settings.

    Raises `DataContractError` naming coin, feed and file for one that cannot be read or has no row of the coin, and for two
    feeds with a column of one name.
    """
    feeds = tuple(_read(name, config, coin) for name, config in configs.items() if not config.coins or coin in config.coins)
    origin: dict[str, str] = {}
    for feed in feeds:
        for column in map(str, feed.rows):
            if column in origin:
                raise DataContractError(f"{feed.source} has the column {column} that {origin[column]} has: rename one of them")
            origin[column] = feed.source
    return feeds


def align_feeds(candles: pd.DataFrame, feeds: Sequence[Feed], *, interval: str) -> tuple[pd.DataFrame, tuple[FeedReport, ...]]:
    """Values known at each bar's close, one float64 column per feed column on the candles' index; and a report per feed."""
    aligned = [
        align_feed_with_report(
            candles.index,
            feed.rows,
            available_after=feed.config.available_after,
            max_age=feed.config.max_age,
            interval=interval,
            source=feed.source,
        )
        for feed in feeds
    ]
    table = pd.concat([pd.DataFrame(index=candles.index), *(columns for columns, _ in aligned)], axis=1)
    return table, tuple(report for _, report in aligned)


def feed_coverage(table: pd.DataFrame, feeds: Sequence[Feed], reports: Sequence[FeedReport]) -> tuple[Coverage, ...]:
    """Coverage of every column of an aligned table, in its order."""
    return tuple(
        _coverage(table[column.name], feed, column)
        for feed, report in zip(feeds, reports, strict=True)
        for column in report.columns
    )


def coverage_table(coverage: Sequence[Coverage]) -> pd.DataFrame:
    """One row per feed column, one column per field of `Coverage`."""
    return pd.DataFrame([asdict(it) for it in coverage], columns=[field.name for field in fields(Coverage)])


def _read(name: str, config: FeedConfig, coin: str) -> Feed:
    path = _of_coin(config.path, coin)
    source = f"{coin}: feed {name} ({path})"
    symbol = None if config.symbol is None else _of_coin(config.symbol, coin)
    wanted = list(config.columns.values())
    rows = read_feed(path, columns=wanted or None, coin=symbol, source=source)
    return Feed(source, config, rows[wanted].set_axis([*config.columns], axis=1) if wanted else rows.rename(columns=str))


def _of_coin(template: str, coin: str) -> str:
    return template.replace("{coin}", coin).replace("{base}", re.split("[-_]", coin)[0])


def _coverage(aligned: "pd.Series[float]", feed: Feed, column: FeedColumn) -> Coverage:
    silent_bars = int(aligned.notna().to_numpy()[::-1].argmax()) if column.known else len(aligned)
    after_end = min(silent_bars, column.stale)
    stamps = feed.rows[column.name].dropna().index
    return Coverage(
        source=feed.source,
        column=column.name,
        bars=len(aligned),
        known=column.known,
        not_yet=column.missing_before,
        in_holes=column.stale - after_end,
        after_end=after_end,
        first=stamps[0] if len(stamps) else pd.NaT,
        last=stamps[-1] if len(stamps) else pd.NaT,
    )
