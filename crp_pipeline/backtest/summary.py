"""Trades and an equity curve in numbers: all of them, by side, and by what was known of the market when they were decided.

`trades` and `equity` are those of a `BacktestResult`. Numbers are NaN where nothing can be said.
"""

from collections.abc import Iterable
from enum import StrEnum

import numpy as np
import pandas as pd

from crp_pipeline.metrics import (
    binary_brier_score,
    brier_decomposition,
    calmar_ratio,
    daily_returns,
    drawdowns,
    expectancy,
    expected_calibration_error,
    payoff_ratio,
    profit_factor,
    sharpe_ratio,
    sortino_ratio,
    turnover,
    win_rate,
)

UNKNOWN = "unknown"
SUMMARISED = ["pnl", "return_net", "confidence"]
"""What a summary of trades reads of them."""

REGIME_BARS = 720
"""Bars among which a bar's volatility is low, normal or high."""


class VolatilityRegime(StrEnum):
    """How volatile a market is against its own past."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    UNKNOWN = UNKNOWN


def trade_summary(trades: pd.DataFrame) -> dict[str, float]:
    """Count, win rate, results and calibration of the trades; confidences that are missing are left out of the latter."""
    pnl, confidence = trades["pnl"].to_numpy(), trades["confidence"].to_numpy()
    told = ~np.isnan(confidence)
    sure, won = confidence[told], pnl[told] > 0
    parts = brier_decomposition(sure, won)
    return {
        "trades": float(len(trades)),
        "win_rate": win_rate(pnl),
        "pnl": float(pnl.sum()),
        "average_pnl": expectancy(pnl),
        "expectancy_bps": 1e4 * expectancy(trades["return_net"]),
        "payoff_ratio": payoff_ratio(pnl),
        "profit_factor": profit_factor(pnl),
        "mean_confidence": expectancy(sure),
        "brier_score": binary_brier_score(sure, won),
        "brier_reliability": parts.reliability,
        "brier_resolution": parts.resolution,
        "brier_uncertainty": parts.uncertainty,
        "win_calibration_error": expected_calibration_error(sure, won),
    }


def equity_summary(equity: "pd.Series[float]", trades: pd.DataFrame, *, initial: float) -> dict[str, float]:
    """Depth and days of the drawdowns, ratios of the daily returns from `initial` on, and turnover per year."""
    daily, below = daily_returns(equity, initial=initial), drawdowns(equity, initial=initial)
    notional = (trades["units"] * (trades["entry_price"] + trades["exit_price"])).to_numpy()
    return {
        "max_drawdown": below.deepest,
        "average_drawdown": below.average,
        "longest_drawdown_days": below.longest_days,
        "average_drawdown_days": below.average_days,
        "sharpe": sharpe_ratio(daily),
        "sortino": sortino_ratio(daily),
        "calmar": calmar_ratio(daily, deepest_drawdown=below.deepest),
        "turnover": turnover(notional, equity),
    }


def by_group(trades: pd.DataFrame, column: str, names: Iterable[str]) -> pd.DataFrame:
    """`trade_summary` of the trades of each name in the column, indexed by name; a row for those without trades too."""
    index, told = pd.Index(list(names), name=column), trades[SUMMARISED]
    return pd.DataFrame([trade_summary(told[trades[column] == name]) for name in index], index=index)


def by_side(trades: pd.DataFrame) -> pd.DataFrame:
    """`trade_summary` of `long` and `short` apart."""
    named = trades.assign(side=trades["side"].map({1: "long", -1: "short"}))
    return by_group(named, "side", ["long", "short"])


def by_regime(trades: pd.DataFrame, regime: "pd.Series[str]") -> pd.DataFrame:
    """`trade_summary` by the label that held when each trade was decided.

    `regime` has a label per bar, indexed by `open_time`, that is known at the bar's close. Trades decided at a bar without a
    label are `unknown`, which has the last row; the other labels come in the order of the alphabet, `volatility_regime` from
    low to high.
    """
    at_decision = regime.reindex(pd.DatetimeIndex(trades["decision_time"])).astype(object)
    known = set(regime.dropna().unique()) - {UNKNOWN}
    places = list(VolatilityRegime)
    names = sorted(known, key=places.index) if known <= set(places) else sorted(known)
    labelled = trades.assign(regime=at_decision.where(at_decision.notna(), UNKNOWN).to_numpy())
    return by_group(labelled, "regime", [*names, UNKNOWN])


def volatility_regime(
    volatility: "pd.Series[float]", *, window: int = REGIME_BARS, low: float = 1 / 3, high: float = 2 / 3
) -> "pd.Series[str]":
    """Whether each bar's volatility is `low`, `normal` or `high` among the last `window` bars, itself among them.

    `volatility` is known at the bar's close, and so is its label: `low` where at most a share `low` of the window is as calm
    or calmer, `high` where more than a share `high` is; ties take their mean place. `unknown` until the window is full of
    known values.
    """
    if window < 2:
        raise ValueError(f"window must be at least 2 bars, got {window}")
    if not 0 < low < high < 1:
        raise ValueError(f"low and high must be shares with low < high, got {low:g} and {high:g}")
    place = volatility.rolling(window).rank(pct=True).to_numpy()
    regimes = [VolatilityRegime.UNKNOWN, VolatilityRegime.LOW, VolatilityRegime.HIGH]
    label = np.select([np.isnan(place), place <= low, place > high], [str(name) for name in regimes], default="normal")
    return pd.Series(pd.array(label, dtype="str"), index=volatility.index, name="regime")
