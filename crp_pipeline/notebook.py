"""For notebooks: what the pipeline stored, read back in one line each, and what is wrong with candles of your own.

>>> from crp_pipeline.notebook import ModelPerformanceReporter, load_features, normalize, quality    # doctest: +SKIP
>>> print(quality(load_candles("BTC-USDT.csv")))                           # doctest: +SKIP
>>> table = load_features("BTC-USDT")                                      # doctest: +SKIP
>>> past, future = normalize(table[:"2023"], table["2024":])               # doctest: +SKIP
>>> ModelPerformanceReporter("BTC-USDT").comparison_table()                # doctest: +SKIP
"""

from os import PathLike
from pathlib import Path

import pandas as pd

from crp_pipeline.candles import QualityReport, commonest_interval
from crp_pipeline.candles import quality as candles_quality
from crp_pipeline.errors import DataContractError
from crp_pipeline.reporting.performance import ModelPerformanceReporter
from crp_pipeline.settings import load_settings
from crp_pipeline.storage import read_parquet

__all__ = ["ModelPerformanceReporter", "load_features", "normalize", "quality"]


def load_features(coin: str, *, data_dir: str | PathLike[str] | None = None) -> pd.DataFrame:
    """The feature table of a coin's latest night, one row per bar, each known at its bar's close.

    `data_dir` is that of the settings unless given. Raises `DataContractError` when the coin has none.
    """
    root = load_settings().data_dir if data_dir is None else Path(data_dir)
    return read_parquet(root / "features" / f"{coin}.parquet")


def quality(candles: pd.DataFrame, *, interval: str | None = None) -> QualityReport:
    """What is odd about candles (`candles.load_candles`): print it, or take `to_frame()`; nothing is changed or raised for it.

    The interval is the commonest step of the index unless given. Raises `DataContractError` where that is none of the house's.
    """
    return candles_quality(candles, commonest_interval(candles.index) if interval is None else interval)


def normalize(train: pd.DataFrame, *others: pd.DataFrame) -> tuple[pd.DataFrame, ...]:
    """All frames in standard deviations of `train` from its means: nothing of the others enters the scale.

    A missing value stays missing, a column that is constant in `train` becomes 0 where it still has that value. Raises
    `DataContractError` when another frame has other columns or begins before `train` ends.
    """
    for number, other in enumerate(others, start=1):
        if list(other.columns) != list(train.columns):
            raise DataContractError(f"frame {number} has other columns than the frame to learn the scale from")
        if len(other) and other.index.min() <= train.index.max():
            ends = f"before the frame to learn the scale from ends at {train.index.max()}"
            raise DataContractError(f"frame {number} begins at {other.index.min()}, {ends}")
    mean, spread = train.mean(), train.std(ddof=0)
    return tuple((frame - mean) / spread.where(spread > 0, 1.0) for frame in (train, *others))
