"""Where raw candles come from: the embedded demo market or a folder of files."""

import pandas as pd

from crp_pipeline.candles.demo import DEMO_COINS, demo_candles
from crp_pipeline.candles.files import coin_files, read_candles
from crp_pipeline.errors import DataContractError
from crp_pipeline.settings import PipelineSettings

_NO_EXCHANGE = "source 'exchange' cannot download yet: export candles to files and set CRP_SOURCE=files"


def available_coins(settings: PipelineSettings) -> tuple[str, ...]:
    """The coins that are configured, else every coin that the source has; raises `DataContractError` when there is none."""
    coins = settings.coins or _coins_of_source(settings)
    if not coins:
        raise DataContractError(f"source {settings.source!r} has no coins: put parquet or CSV files into {settings.files_dir}")
    return coins


def read_source(settings: PipelineSettings, coin: str) -> pd.DataFrame:
    """Raw candles of one coin in the order in which the source gives them; raises `DataContractError` when it has none."""
    match settings.source:
        case "demo":
            if coin not in DEMO_COINS:
                raise DataContractError(f"{coin} is not on the demo market, which has {', '.join(DEMO_COINS)}")
            return demo_candles(coin, settings.demo, settings.interval)
        case "files":
            files = coin_files(settings.files_dir)
            if coin not in files:
                raise DataContractError(f"{coin} has no file in {settings.files_dir}, which has {', '.join(files) or 'none'}")
            return read_candles(files[coin])
        case "exchange":
            raise DataContractError(_NO_EXCHANGE)


def _coins_of_source(settings: PipelineSettings) -> tuple[str, ...]:
    match settings.source:
        case "demo":
            return tuple(DEMO_COINS)
        case "files":
            return tuple(coin_files(settings.files_dir))
        case "exchange":
            raise DataContractError(_NO_EXCHANGE)
