"""Volatility that was known at each bar's close."""

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Floats


def causal_volatility(candles: pd.DataFrame, window: int) -> Floats:
    """(n,) sample standard deviation of the last `window` close-to-close log returns, as a fraction per bar.

    The value at a bar uses bars up to it, of its own segment only; NaN until the segment has `window` returns. A table
    without a `segment` column is one segment.
    """
    returns = np.log(candles["close"]).diff()
    if "segment" in candles:
        returns = returns.where(candles["segment"].diff() == 0)
    # a NaN at each segment's first bar keeps every window that would reach across the hole below `min_periods`
    volatility: Floats = returns.rolling(window, min_periods=window).std().to_numpy(dtype="float64")
    return volatility
