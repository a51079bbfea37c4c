"""What trades and an equity curve earned. Numbers are NaN where there is nothing to divide by or a value is missing."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from crp_pipeline.contracts import Floats

DAYS_PER_YEAR = 365
"""Crypto trades every day."""


def sharpe_ratio(returns: ArrayLike, *, periods_per_year: float = DAYS_PER_YEAR) -> float:
    """Annualised mean over sample standard deviation of simple returns; NaN below two returns or when all are equal.

    Multiplying by sqrt(periods) supposes returns without autocorrelation (Lo 2002). `periods_per_year=1` gives the
    per-period ratio that `probabilistic_sharpe_ratio` wants.
    """
    values = np.asarray(returns, dtype=float)
    if len(values) < 2 or np.ptp(values) == 0:
        return float("nan")
    return float(values.mean() / values.std(ddof=1) * np.sqrt(periods_per_year))


def daily_returns(equity: "pd.Series[float]", *, initial: float | None = None) -> "pd.Series[float]":
    """Daily returns: simple, between the last equities of successive UTC days, indexed by day.

    `equity` is indexed by the open time of each bar and holds the value at its close, so a bar that opens at 23:00
    still belongs to its day. With `initial` the first day has a return too. A day without bars returns 0: nothing is
    held across a hole. So does a day after ruin, when equity was 0 already.
    """
    time = pd.DatetimeIndex(equity.index)
    if time.tz is None:
        raise ValueError(f"equity must be indexed by UTC time, got {time.dtype}")
    last = equity.set_axis(time.tz_convert("UTC")).resample("1D").last().ffill()
    before = last.shift(1)
    if initial is not None and len(last):
        before.iloc[0] = initial
    return (last / before - 1).mask(before == 0, 0.0).dropna()


def max_drawdown(equity: ArrayLike) -> float:
    """Deepest fall from a running peak, as a positive fraction of it; 0 for a curve that never falls, NaN for none."""
    depth = _depth(equity)
    return float(depth.max()) if len(depth) else float("nan")


def average_drawdown(equity: ArrayLike) -> float:
    """Mean depth of the drawdown episodes, each measured at its deepest.

    An episode runs from a peak to the recovery or the end. A positive fraction; 0 for a curve that never falls, NaN for
    none.
    """
    depth = _depth(equity)
    if not len(depth) or np.isnan(depth).any():
        return float("nan")
    under = depth > 0
    episode = np.cumsum(under & ~np.r_[False, under[:-1]])[under]
    return float(pd.Series(depth[under]).groupby(episode).max().mean()) if len(episode) else 0.0


def win_rate(pnl: ArrayLike) -> float:
    """Share of trades that made money; a trade that broke even did not."""
    values = np.asarray(pnl, dtype=float)
    won = np.where(np.isnan(values), np.nan, values > 0)
    return float(won.mean()) if len(won) else float("nan")


def expectancy(returns: ArrayLike) -> float:
    """Mean result per trade, in the unit of `returns`."""
    values = np.asarray(returns, dtype=float)
    return float(values.mean()) if len(values) else float("nan")


def payoff_ratio(pnl: ArrayLike) -> float:
    """Mean win over mean loss; NaN without a win or without a loss. Break-even win rate is 1 / (1 + payoff)."""
    wins, losses = _wins_and_losses(pnl)
    return float(wins.mean() / -losses.mean()) if len(wins) and len(losses) else float("nan")


def profit_factor(pnl: ArrayLike) -> float:
    """Sum of wins over sum of losses; NaN without a loss."""
    wins, losses = _wins_and_losses(pnl)
    return float(wins.sum() / -losses.sum()) if len(losses) else float("nan")


def _wins_and_losses(pnl: ArrayLike) -> tuple[Floats, Floats]:
    """What each won and what each lost; a missing result is among both, so that sums and means of them are missing."""
    values = np.asarray(pnl, dtype=float)
    return values[~(values <= 0)], values[~(values >= 0)]


def _depth(equity: ArrayLike) -> Floats:
    values = np.asarray(equity, dtype=float)
    return 1 - values / np.maximum.accumulate(values)
