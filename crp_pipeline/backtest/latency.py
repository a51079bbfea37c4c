"""What the time between a decision and its fill does to the price.

A decision is taken at a bar's close. The model needs its inference time, the order its way to the exchange; only then is it
filled. A position pays the worse of the next open and the price after that delay: a price that came towards it meanwhile is
not credited, since an order that is late is not the one that a favourable price waits for.
"""

import numpy as np
import pandas as pd

from crp_pipeline.backtest.execution import Bars, bar_length_ns, bars_of
from crp_pipeline.contracts import Bools, Floats, Ints
from crp_pipeline.errors import DataContractError
from crp_pipeline.settings import ExecutionModel

_NS_PER_MS = 1e6
_ROUNDING = 1e-6


def delay_draws(n_bars: int, execution: ExecutionModel) -> Floats:
    """Milliseconds between the decision and the fill of an entry at each bar: (n_bars,).

    Inference latency plus an exponential draw for the network, one per bar in time order whether or not anything trades.
    """
    rng = np.random.default_rng([execution.seed, 2])
    return np.asarray(execution.latency_ms + rng.exponential(execution.network_ms, n_bars))


def delayed_opens(candles: pd.DataFrame, bars: Bars, execution: ExecutionModel, finer: pd.DataFrame | None) -> Floats:
    """Price after the delay of an entry at each bar: (n,), or (0,) without latency.

    It is the open of the first finer bar that begins no earlier, where the entry bar has one. Elsewhere it lies on the straight
    line from the entry bar's open to its close, which is the mean of all paths between the two: a path bends, and paying the
    worse of two prices costs more on a bent one, so without finer candles a delay is understated. One that outlasts the bar
    pays the bar's close. Raises `DataContractError` for finer candles that break the contract or belong to other prices.
    """
    if execution.latency_ms == 0 and execution.network_ms == 0:
        return np.empty(0)
    length = bar_length_ns(candles.index)
    delay: Ints = (delay_draws(len(candles), execution) * _NS_PER_MS).astype(np.int64)
    prices: Floats = bars.open + np.minimum(delay / length, 1.0) * (bars.close - bars.open)
    if finer is None or finer.empty:
        return prices
    start = pd.DatetimeIndex(candles.index).as_unit("ns").asi8
    opens = bars_of(finer, what="finer candles").open
    begins = pd.DatetimeIndex(finer.index).as_unit("ns").asi8
    first = np.searchsorted(begins, start + delay)
    place = np.minimum(first, len(begins) - 1)
    is_there = (first < len(begins)) & (begins[place] < start + length)
    _refuse_other_prices(is_there & ~bars.repaired, opens[place], candles, bars)
    return np.where(is_there, opens[place], prices)


def _refuse_other_prices(used: Bools, price: Floats, candles: pd.DataFrame, bars: Bars) -> None:
    """Finer candles of another market would fill orders at prices that nobody here has seen."""
    outside = used & ((price < bars.low * (1 - _ROUNDING)) | (price > bars.high * (1 + _ROUNDING)))
    if outside.any():
        where = f"in the bar of {candles.index[outside][0]} between {bars.low[outside][0]} and {bars.high[outside][0]}"
        raise DataContractError(f"finer candles: open is {price[outside][0]} {where}: they belong to another market")
