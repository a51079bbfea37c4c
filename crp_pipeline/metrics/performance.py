"""What trades and an equity curve earned. Numbers are NaN where there is nothing to divide by or a value is missing."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from crp_pipeline.contracts import Floats
from crp_pipeline.metrics.drawdown import curve_days

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


def sortino_ratio(returns: ArrayLike, *, target: float = 0.0, periods_per_year: float = DAYS_PER_YEAR) -> float:
    """Annualised mean excess over `target` per downside deviation; NaN below two returns or when none misses the target.

    The downside deviation is the root of the mean squared shortfall below `target` over *all* returns, those above count as 0
    (Sortino and Price 1994). `target` is per period.
    """
    values = np.asarray(returns, dtype=float) - target
    shortfall = np.minimum(values, 0)
    if len(values) < 2 or not shortfall.any():
        return float("nan")
    return float(values.mean() / np.sqrt((shortfall**2).mean()) * np.sqrt(periods_per_year))


def calmar_ratio(daily: ArrayLike, *, deepest_drawdown: float) -> float:
    """Compound growth per year over the deepest drawdown of the whole curve (Young 1991); NaN when it never falls.

    `daily` are returns per day, 365 to the year. The curve may fall deeper within a day than from one to the next, so
    its drawdown is told. Growth over less than a year is compounded to a year: over a few weeks the ratio says little, over a
    few days it may be infinite.
    """
    returns = np.asarray(daily, dtype=float)
    if not len(returns) or not deepest_drawdown > 0:
        return float("nan")
    with np.errstate(over="ignore"):
        growth = np.float_power(np.prod(1 + returns), DAYS_PER_YEAR / len(returns)) - 1
    return float(growth / deepest_drawdown)


def turnover(notional: ArrayLike, equity: "pd.Series[float]") -> float:
    """How often per year (365 days) the mean equity was bought or sold.

    `notional` is that of every fill in units of equity: both entries and exits, so that a round trip of the whole equity
    counts two. `equity` is indexed by UTC open time, one value per bar, and lasts from the first open to the last close. NaN
    below two bars, with a missing value or without a positive mean.
    """
    traded = np.asarray(notional, dtype=float)
    years = curve_days(equity) / DAYS_PER_YEAR
    mean = float(equity.mean(skipna=False))
    return float(np.abs(traded).sum() / mean / years) if years > 0 and mean > 0 else float("nan")


def daily_returns(equity: "pd.Series[float]", *, initial: float | None = None) -> "pd.Series[float]":
    """Daily returns: simple, between the last equities of successive UTC days, indexed by day.

    `equity` is indexed by the open time of each bar and holds the value at its close, so a bar that opens at 23:00
    still belongs to its day. With `initial` the first day has a return too. A day without bars returns 0: nothing is
    held across a hole. So does a day after ruin, when equity was 0 already. A day whose last equity is missing,
    and the next, return NaN.
    """
    time = pd.DatetimeIndex(equity.index)
    if time.tz is None:
        raise ValueError(f"equity must be indexed by UTC time, got {time.dtype}")
    day = time.tz_convert("UTC").floor("1D")
    # fills the days without bars, and no value that is missing
    last = equity.set_axis(day)[~day.duplicated(keep="last")].asfreq("1D", method="ffill")
    before = last.shift(1)
    if initial is not None and len(last):
        before.iloc[0] = initial
    returns = (last / before - 1).mask((before == 0) & last.notna(), 0.0)
    return returns.iloc[1:] if initial is None else returns


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
