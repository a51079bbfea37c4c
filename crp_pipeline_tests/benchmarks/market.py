"""The bars that are measured on: real candles where there are any, else the demo market."""

import os
from pathlib import Path

import pandas as pd

from crp_pipeline.candles import demo_market

PARENTS = 3
"""Folders from this file up to the one that may hold `shared/market`."""


def real_hourly() -> Path | None:
    """Folder of real hourly candles: in CRP_MARKET_DATA, else in ../shared/market; None when there is none."""
    beside = Path(__file__).parents[PARENTS] / "shared" / "market"
    folder = Path(os.environ.get("CRP_MARKET_DATA", beside)) / "1h"
    return folder if folder.is_dir() else None


def demo_bars(n_bars: int, *, n_others: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Candles of a demo coin and the closes of others: hourly bars up to ten years of them, minutes beyond."""
    interval = "1h" if n_bars < 100_000 else "1m"
    market = demo_market({f"COIN-{number}": 0.3 for number in range(1 + n_others)}, n_bars=n_bars, seed=7, interval=interval)
    closes = market.xs("close", axis=1, level="field")
    return market["COIN-0"], closes.drop(columns="COIN-0")
