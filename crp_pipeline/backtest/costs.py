"""What a fill costs: fees, half the spread, and slippage that is fixed, scaled by volatility, or drawn."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from crp_pipeline.backtest.execution import BPS, Bars
from crp_pipeline.backtest.funding import Funding, funding_of
from crp_pipeline.backtest.latency import delayed_opens
from crp_pipeline.candles.volatility import causal_volatility
from crp_pipeline.contracts import Floats
from crp_pipeline.settings import ExecutionModel
from crp_pipeline.settings.slippage import read_slippage


class Costs(NamedTuple):
    """What a fill costs, as fractions of its price; an empty array costs nothing."""

    fee: float
    """Of a taker: every fill but that of a target."""
    maker_fee: float
    """Of a target, which rests in the book."""
    adverse: float
    """Half the spread and the mean slippage."""
    expected_noise: float
    """Mean of the draws, for whoever has to plan before they are known."""
    noise: Floats
    """Draws on top, (n, 2): buys, then sells; (0, 2) when there are none."""
    scaled: Floats
    """Slippage by volatility of a fill in each bar, known at its open, (n,) or (0,)."""
    delayed: Floats
    """Price after the delay of an entry at each bar, (n,) or (0,): a price, not a fraction."""
    funding: Funding


@dataclass(frozen=True, eq=False)
class CostData:
    """What the market itself tells about costs, beside the candles."""

    funding: "pd.Series[float] | None" = None
    """Settled rates by UTC stamp, as fractions of the notional: a long pays a positive one to a short."""
    finer: pd.DataFrame | None = None
    """Candles of a shorter interval, for prices within a bar."""


def slippage_draws(n_bars: int, execution: ExecutionModel) -> Floats:
    """Adverse slippage beyond the mean of a buy and a sell at each bar, fractions of price: (n_bars, 2), or (0, 2).

    Exponential, from the sample of `slippage_file`, or the sum of both. There is one draw per bar and side whether or not
    anything trades, taken in time order: a draw changes neither when other trades happen nor when bars are appended.
    """
    if execution.slippage_noise_bps == 0 and execution.slippage_file is None:
        return np.empty((0, 2))
    draws: Floats = np.random.default_rng(execution.seed).exponential(execution.slippage_noise_bps * BPS, (n_bars, 2))
    if execution.slippage_file is not None:
        sample = execution.cost_factor * BPS * read_slippage(execution.slippage_file)
        drawn = np.random.default_rng([execution.seed, 1]).random((n_bars, 2))
        draws = draws + sample[(drawn * len(sample)).astype(np.int64)]
    return draws


def volatility_slippage(candles: pd.DataFrame, execution: ExecutionModel) -> Floats:
    """Share of the volatility known at the open of each bar, as a fraction of price: (n,), or (0,) for none.

    The volatility is `causal_volatility` at the close before. Where that is still unknown it is the standard deviation of
    such returns as there are in the window, and 0 while there are fewer than two.
    """
    if execution.slippage_volatility_share == 0:
        return np.empty(0)
    window = execution.slippage_volatility_window
    known = pd.Series(causal_volatility(candles, window))
    returns = np.log(candles["close"]).diff().reset_index(drop=True)
    if "segment" in candles:
        returns = returns.where((candles["segment"].diff() == 0).to_numpy())
    volatility = known.fillna(returns.rolling(window, min_periods=2).std()).shift(1).fillna(0.0)
    return np.asarray(execution.slippage_volatility_share * volatility.to_numpy(dtype=np.float64))


def costs_of(execution: ExecutionModel, candles: pd.DataFrame, bars: Bars, data: CostData) -> Costs:
    """Basis points as fractions, with draws, delays and funding laid over the candles; `bars` are `bars_of(candles)`."""
    maker = execution.fee_bps if execution.maker_fee_bps is None else execution.maker_fee_bps
    return Costs(
        fee=execution.fee_bps * BPS,
        maker_fee=maker * BPS,
        adverse=(execution.spread_bps / 2 + execution.slippage_bps) * BPS,
        expected_noise=(execution.slippage_noise_bps + execution.sample_mean_bps) * BPS,
        noise=slippage_draws(len(candles), execution),
        scaled=volatility_slippage(candles, execution),
        delayed=delayed_opens(candles, bars, execution, data.finer),
        funding=funding_of(candles, bars, execution, data.funding),
    )
