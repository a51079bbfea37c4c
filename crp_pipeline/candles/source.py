"""Where raw candles come from: the embedded demo market or a folder of files."""

from pathlib import Path

import pandas as pd

from crp_pipeline.candles.demo import DEMO_COINS, demo_candles
from crp_pipeline.candles.files import coin_files, read_candles
from crp_pipeline.errors import DataContractError
from crp_pipeline.settings import PipelineSettings

_NO_EXCHANGE = "source 'exchange' cannot download yet: export candles to files and set CRP_SOURCE=files"


def available_coins(settings: PipelineSettings) -> tuple[str, ...]:
    """The coins that are configured, else every coin that the source has.

    Raises `DataContractError` when there is none, or for one that is not on the demo market; a coin without a file fails alone.
    """
    coins = settings.coins or _coins_of_source(settings)
    if settings.source == "demo":
        for coin in coins:
            _require_demo_coin(coin)
    if not coins:
        raise DataContractError(f"source {settings.source!r} has no coins: put parquet or CSV files into {settings.files_dir}")
    return coins


def read_source(settings: PipelineSettings, coin: str) -> pd.DataFrame:
    """Raw candles of one coin in the order in which the source gives them; raises `DataContractError` when it has none."""
    match settings.source:
        case "demo":
            _require_demo_coin(coin)
            return demo_candles(coin, settings.demo, settings.interval)
        case "files":
            return read_candles(_file_of(settings, coin), source=source_name(settings, coin))
        case "exchange":
            raise DataContractError(_NO_EXCHANGE)


def source_name(settings: PipelineSettings, coin: str) -> str:
    """Coin and place of its raw candles, for messages: `BTC-USDT (data/raw/btc-usdt.csv)` or `EDGE-DEMO (demo market)`."""
    match settings.source:
        case "demo":
            _require_demo_coin(coin)
            return f"{coin} (demo market)"
        case "files":
            return f"{coin} ({_file_of(settings, coin)})"
        case "exchange":
            raise DataContractError(_NO_EXCHANGE)


def _require_demo_coin(coin: str) -> None:
    if coin not in DEMO_COINS:
        raise DataContractError(f"{coin} is not on the demo market, which has {', '.join(DEMO_COINS)}")


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
            raise DataContractError(_NO_EXCHANGE)
