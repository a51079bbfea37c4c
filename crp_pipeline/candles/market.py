"""The market beside one coin: the closes of all coins on one time axis."""

from collections.abc import Mapping

import pandas as pd

from crp_pipeline.contracts import OPEN_TIME_DTYPE


def market_closes(candles_by_coin: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Join the closes of repaired candles: one float64 column per coin, in name order, a row per time any coin has.

    A filled bar carries its flat close; a time that a coin does not have is NaN.
    """
    closes = {coin: candles_by_coin[coin]["close"] for coin in sorted(candles_by_coin)}
    if not closes:
        return pd.DataFrame(index=pd.DatetimeIndex([], dtype=OPEN_TIME_DTYPE, name="open_time"))
    return pd.concat(closes, axis=1, join="outer", sort=True).rename_axis(index="open_time").astype("float64")
