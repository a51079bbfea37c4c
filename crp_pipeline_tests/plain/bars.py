"""What the plain formulas are written in."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

Series = "pd.Series[float]"


@dataclass(frozen=True, eq=False)
class PlainBars:
    """Columns of one segment of candles, closes of the other coins, feed values known at each close: pandas, by open time."""

    candles: pd.DataFrame
    market: pd.DataFrame | None = None
    feeds: pd.DataFrame | None = None

    @cached_property
    def open(self) -> Series:
        return self.candles["open"]

    @cached_property
    def high(self) -> Series:
        return self.candles["high"]

    @cached_property
    def low(self) -> Series:
        return self.candles["low"]

    @cached_property
    def close(self) -> Series:
        return self.candles["close"]

    @cached_property
    def volume(self) -> Series:
        return self.candles["volume"]

    @cached_property
    def change(self) -> Series:
        """Close-to-close log return; NaN on the first bar."""
        return np.log(self.close).diff()

    @cached_property
    def market_change(self) -> Series:
        """Mean log return of the other coins that have both bars."""
        return np.log(self.market).diff().mean(axis=1)


Plain = Callable[[PlainBars], Series]
