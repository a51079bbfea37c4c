"""The newest closed bars of a coin, of the others and of its feeds, from the source; the night's tables stay as they are.

Only as many bars are taken as a decision can depend on: the block of the clock that the newest one lies in, the block before,
and the bars that these are computed from. An exchange's bars go into its archive, where the night finds them, and are asked for
only where the archive does not have them yet.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import pandas as pd

from crp_pipeline.candles import (
    align_feeds,
    market_closes,
    quality,
    read_feeds,
    read_source,
    refuse_blocked,
    repair_candles,
    source_name,
)
from crp_pipeline.candles.source import exchange_archive
from crp_pipeline.contracts import interval_length
from crp_pipeline.errors import CrpError
from crp_pipeline.features import warm_up_bars
from crp_pipeline.features.blocks import BLOCK_BARS, OVERLAP_BARS
from crp_pipeline.places import Places
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.signals.decision import Inputs
from crp_pipeline.storage import read_parquet

Tell = Callable[[str], object]
MINUTE = pd.Timedelta("1min")


def newest_inputs(
    settings: PipelineSettings,
    places: Places,
    coin: str,
    *,
    now: datetime,
    with_market: bool,
    since: pd.Timestamp | None,
    tell: Tell,
) -> Inputs:
    """What is known at the close of the coin's newest bar at `now`.

    `since` asks for bars from then on at least; `tell` hears why another coin's close is missing. Raises `CrpError` where the
    source does not give the coin's bars, or gives those of another coin or another clock.
    """
    first = min(filter(None, (since, tail_start(now, settings))))
    candles = newest_candles(settings, coin, now=now, since=first, stored=_stored(places, coin, settings.interval))
    market, late = _market(settings, _others(places, coin), candles.index, now=now, tell=tell) if with_market else (None, ())
    feeds, _ = align_feeds(candles, read_feeds(settings.feeds, coin), interval=settings.interval)
    return Inputs(candles, market, feeds, late)


def newest_candles(
    settings: PipelineSettings, coin: str, *, now: datetime, since: pd.Timestamp, stored: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The coin's closed bars from `since` on, repaired; `contracts.CandleSchema`.

    With the night's `stored` candles, bars that are those of another coin or clock are refused as the night refuses them.
    """
    moment, source = pd.Timestamp(now), source_name(settings, coin)
    raw = _raw(settings, coin, moment, since)
    if stored is not None:
        refuse_blocked(raw, quality(raw, settings.interval, earlier=stored.loc[since:], now=moment, source=source))
    bars, _ = repair_candles(raw, settings.interval, max_gap=settings.max_gap, now=moment, source=source)
    return bars


def newest_open(now: datetime, interval: str) -> pd.Timestamp:
    """Open time of the newest bar that has closed by then."""
    length = interval_length(interval)
    return pd.Timestamp(now).floor(length) - length


def settle_s(settings: PipelineSettings) -> float:
    """Seconds after its close before the source gives a bar."""
    return settings.exchange.settle_s if settings.source == "exchange" else 0.0


def unsettled_s(now: datetime, settings: PipelineSettings) -> float:
    """Seconds until the source gives the newest closed bar of one minute, which leaves a schedule of whole minutes no room.

    0 of longer bars, and in a rehearsal, whose clock stands still.
    """
    length = interval_length(settings.interval)
    if length > MINUTE or settings.clock is not None:
        return 0.0
    since_close = (pd.Timestamp(now) - newest_open(now, settings.interval) - length).total_seconds()
    return max(settle_s(settings) - since_close, 0.0)


def tail_start(now: datetime, settings: PipelineSettings) -> pd.Timestamp:
    """The bars from then on give the newest rows of a feature table to the bit, whatever came before."""
    length = interval_length(settings.interval)
    block = length * BLOCK_BARS
    behind = max(OVERLAP_BARS, warm_up_bars(), settings.labels.volatility_window) + settings.max_gap + 1
    return (
        pd.Timestamp(newest_open(now, settings.interval).value // block.value * block.value, tz="UTC") - block - behind * length
    )


def _raw(settings: PipelineSettings, coin: str, now: pd.Timestamp, since: pd.Timestamp) -> pd.DataFrame:
    """From the archive where it has the newest bar, which another coin's decision may have asked for; else from the source."""
    if settings.source == "exchange":
        archive = exchange_archive(settings, coin)
        settled = now.to_pydatetime() - timedelta(seconds=settle_s(settings))
        last = archive.last_open_time()
        if last is not None and last >= newest_open(settled, settings.interval):
            return archive.read(since=since)
    return read_source(settings, coin, now=now, since=since)


def _stored(places: Places, coin: str, interval: str) -> pd.DataFrame | None:
    """The night's candles of a coin, where there are some of this interval."""
    path = places.candles(coin)
    bars = read_parquet(path) if path.exists() else None
    return bars if bars is not None and bars.attrs.get("interval") == interval else None


def _others(places: Places, coin: str) -> "pd.Series[bool]":
    """The coins of the night's market, and whether each was still trading at its last bar."""
    path = places.frame("market")
    if not path.exists():
        return pd.Series(dtype=bool)
    closes = read_parquet(path).drop(columns=coin, errors="ignore")
    return closes.iloc[-1].notna()


def _market(
    settings: PipelineSettings, others: "pd.Series[bool]", times: pd.Index, *, now: datetime, tell: Tell
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Closes of the other coins from the first of these bars on, and who should have closed the last one and has not."""
    found = {}
    for other in map(str, others.index):
        try:
            found[other] = newest_candles(settings, other, now=now, since=times[0])
        except CrpError as error:
            tell(f"{other} has no newest candles: {error}")
    closes = market_closes(found).reindex(columns=list(others.index))
    return closes, _late(closes, others, times[-1])


def _late(closes: pd.DataFrame, others: "pd.Series[bool]", bar: pd.Timestamp) -> tuple[str, ...]:
    known = closes.reindex(pd.DatetimeIndex([bar])).notna().to_numpy()[0]
    has_closed = dict(zip(map(str, closes.columns), known, strict=True))
    return tuple(name for name, trades in zip(map(str, others.index), others, strict=True) if trades and not has_closed[name])
