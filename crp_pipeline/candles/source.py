"""Where raw candles come from: the embedded demo market, a folder of files or an exchange."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from crp_pipeline.candles.archive import Archive
from crp_pipeline.candles.contract import closed
from crp_pipeline.candles.demo import DEMO_COINS, demo_candles, demo_coin
from crp_pipeline.candles.exchange import download, exchange_source, open_market
from crp_pipeline.candles.files import coin_files, read_candles
from crp_pipeline.errors import DataContractError
from crp_pipeline.settings import PipelineSettings


def available_coins(settings: PipelineSettings) -> tuple[str, ...]:
    """The coins that are configured, else every coin that the source has, without those that are retired.

    Raises `DataContractError` when there is none, or for one that is not on the demo market; a coin without a file, or
    without a market on the exchange, fails alone.
    """
    coins = tuple(coin for coin in settings.coins or _coins_of_source(settings) if coin not in settings.retired)
    if settings.source == "demo":
        for coin in coins:
            demo_coin(coin)
    if not coins:
        raise DataContractError(f"source {settings.source!r} has no coins: put parquet or CSV files into {settings.files_dir}")
    return coins


def read_source(
    settings: PipelineSettings,
    coin: str,
    *,
    now: pd.Timestamp | None = None,
    since: pd.Timestamp | None = None,
    progress: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Raw candles of one coin in the order in which the source gives them; raises `DataContractError` when it has none.

    Of the demo market those are the bars that have closed by `now`. From an exchange they are all stored bars, after a download
    of the closed ones that were missing; `now` is that of `exchange.download`, and `progress` is told a line now and then.
    What it restated: `archive.restatements` of the frame. With `since` only the bars that open from then on.
    """
    match settings.source:
        case "demo":
            bars = demo_candles(coin, settings.demo, settings.interval)
            return _since(bars[closed(bars, settings.interval, now)], since)
        case "files":
            return _since(read_candles(_file_of(settings, coin), source=source_name(settings, coin)), since)
        case "exchange":
            archive = exchange_archive(settings, coin)
            with open_market(settings.exchange, coin, settings.interval) as market:
                download(archive, market, settings.exchange, now=now, progress=progress)
            return archive.read(since=since)


def _since(bars: pd.DataFrame, since: pd.Timestamp | None) -> pd.DataFrame:
    """The bars from an open time on, in whatever order they come."""
    return bars if since is None else bars[bars.index >= since]


def exchange_archive(settings: PipelineSettings, coin: str) -> Archive:
    """The stored bars of a coin from the configured exchange, market and interval."""
    exchange = settings.exchange
    folder = settings.data_dir / "raw" / "exchange" / exchange.name / exchange.market / coin / settings.interval
    return Archive(folder, source_name(settings, coin))


def source_name(settings: PipelineSettings, coin: str) -> str:
    """Coin and place of its raw candles, for messages: `BTC-USDT (data/raw/btc-usdt.csv)` or `EDGE-DEMO (demo market)`."""
    match settings.source:
        case "demo":
            return f"{demo_coin(coin).name} (demo market)"
        case "files":
            return f"{coin} ({_file_of(settings, coin)})"
        case "exchange":
            return exchange_source(settings.exchange, coin)


def _file_of(settings: PipelineSettings, coin: str) -> Path:
    files = coin_files(settings.files_dir)
    if coin not in files:
        raise DataContractError(f"{coin} has no file in {settings.files_dir}, which has {', '.join(files) or 'none'}")
    return files[coin]


def _coins_of_source(settings: PipelineSettings) -> tuple[str, ...]:
    match settings.source:
        case "demo":
            return tuple(DEMO_COINS)
        case "files":
            return tuple(coin_files(settings.files_dir))
        case "exchange":
            raise DataContractError("source 'exchange' needs coins: set CRP_COINS or coins, such as BTC-USDT")
