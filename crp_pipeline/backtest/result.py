"""A backtest and its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crp_pipeline.backtest.costs import CostData, Costs, costs_of
from crp_pipeline.backtest.execution import Bars, Orders, Stake, bars_of, orders_of, rules_of, stake_of
from crp_pipeline.backtest.rules import Challenge, challenge
from crp_pipeline.backtest.summary import by_group, equity_summary, trade_summary
from crp_pipeline.contracts import Floats, Tier
from crp_pipeline.metrics import SESSIONS, expectancy, trading_session, win_rate
from crp_pipeline.settings import ExecutionModel, PropFirmRules, Sizing

_TIERS = tuple(str(tier) for tier in Tier)


@dataclass(frozen=True, eq=False)
class BacktestResult:
    """What the decisions earned.

    `trades` has one row per closed trade, oldest first:

    - `decision_time`, `entry_time`, `exit_time`: open times of the bars of the decision, the entry and the exit. A
      decision is taken at its bar's close, an entry and an exit by time happen at the open, other exits within the bar
      or at its close.
    - `side` (-1, 1), `tier`, `confidence` (NaN where the decision had none), `session` at entry.
    - `entry_price`, `exit_price`: as filled, delay, spread and slippage included, fees not. `units`, and `notional`: units
      at the entry price.
    - `gross_pnl` before and `pnl` after `costs` (delay, spread, slippage, fees) and `funding` (positive when paid), in units of
      equity; `delay_cost` is the part of the costs that the delay made, never negative; `return_net` is `pnl` over `notional`.
    - `bars_held`: bars in which the position was open, parts counting as whole. `exit_reason`: stop, target, time, gap
      (its segment ended), end (the data ended), ruin (nothing was left; its `exit_price` is the one that leaves nothing).

    `equity` is marked at every close from the first decision's bar to the last candle, indexed by `open_time`, includes
    a position left open at the end and is 0 from a ruin on. `worst_equity` is what it was worth at each bar's worst price while
    a position was open in it, not beyond the price at which a stop or ruin closed it, and never above `equity`.

    `metrics` takes a bar that touches stop and target as stopped; of these there are `ambiguous_trades`, and `optimistic_pnl`,
    `optimistic_win_rate` and `optimistic_expectancy_bps` are those of the same walk with the target first. `metrics`,
    `by_tier` and `by_session` hold NaN where nothing can be said; all tiers and sessions have a row, those without trades too.
    """

    trades: pd.DataFrame
    equity: "pd.Series[float]"
    worst_equity: "pd.Series[float]"
    metrics: Mapping[str, float]
    by_tier: pd.DataFrame
    by_session: pd.DataFrame
    challenge: Challenge | None = None
    """How the prop firm's challenge went on this path, where its rules were given; it is not stored with the rest."""


def run_backtest(
    candles: pd.DataFrame,
    decisions: pd.DataFrame,
    *,
    execution: ExecutionModel,
    sizing: Sizing,
    funding: "pd.Series[float] | None" = None,
    finer: pd.DataFrame | None = None,
    rules: PropFirmRules | None = None,
) -> BacktestResult:
    """Trade the decisions on the candles by the market rules of `engine`.

    `candles`: `open`, `high`, `low`, `close`, and optionally `is_repaired`, `segment` and `volume`, indexed by UTC `open_time`.
    `decisions`: `signal` in {-1, 0, 1} at some or all of these times, and optionally `stop_distance` and
    `target_distance` (fractions of the entry price, NaN for none), `tier` and `confidence`. Without a stop a position
    is as large as leverage allows. `funding`: settled rates by UTC stamp, in place of `execution.funding_bps`. `finer`: candles
    of a shorter interval, for the price after a delay. Raises `DataContractError` naming the first time that breaks this. Same
    arguments, same result. With the `rules` of a prop firm the result tells how its challenge went; trading
    goes on whatever it says.
    """
    from crp_pipeline.backtest.engine import simulate

    bars, orders = bars_of(candles), orders_of(decisions, candles)
    costs = costs_of(execution, candles, bars, CostData(funding, finer))
    stake = stake_of(sizing, execution, candles)
    fills, *curves = simulate(bars, orders, costs, rules_of(execution), stake)
    trades = _trades(fills, candles, decisions, costs)
    first = candles.index.get_indexer(decisions.index[:1])[0] if len(decisions) else 0
    equity, worst = (
        pd.Series(curve, index=candles.index, name=name).iloc[first:]
        for curve, name in zip(curves, ("equity", "worst_equity"), strict=True)
    )
    return BacktestResult(
        trades=trades,
        equity=equity,
        worst_equity=worst,
        metrics=_metrics(trades, equity, decisions, initial=sizing.initial_equity)
        | _optimistic(fills, bars, orders, costs, execution, stake),
        by_tier=by_group(trades, "tier", list(_TIERS)).assign(coverage=_tier_coverage(decisions)),
        by_session=by_group(trades, "session", [*(session.name for session in SESSIONS), "none"]),
        challenge=None if rules is None else challenge(equity, worst, trades, rules, initial=sizing.initial_equity),
    )


def _trades(fills: NDArray[np.void], candles: pd.DataFrame, decisions: pd.DataFrame, costs: Costs) -> pd.DataFrame:
    from crp_pipeline.backtest.engine import REASONS, TIME

    time, side, units = candles.index, fills["side"], fills["units"]
    gross = side * units * (fills["exit_quote"] - fills["entry_open"])
    pnl, funding, notional = _net_pnl(fills, costs), units * fills["owed"], units * fills["entry_price"]
    entry_time, decision_time = time[fills["entry_bar"]], time[fills["entry_bar"] - 1]
    decided = decisions.reindex(decision_time)
    return pd.DataFrame(
        {
            "decision_time": decision_time,
            "entry_time": entry_time,
            "exit_time": time[fills["exit_bar"]],
            "side": side,
            "tier": decided["tier"].astype("str").array if "tier" in decided else _untold_tiers(len(fills)),
            "confidence": _column(decided, "confidence", default=np.nan).astype(float),
            "entry_price": fills["entry_price"],
            "exit_price": fills["exit_price"],
            "units": units,
            "notional": notional,
            "pnl": pnl,
            "gross_pnl": gross,
            "costs": gross - pnl - funding,
            "delay_cost": units * np.abs(fills["entry_quote"] - fills["entry_open"]),
            "funding": funding,
            "return_net": pnl / notional,
            "bars_held": fills["exit_bar"] - fills["entry_bar"] + (fills["reason"] != TIME),
            "exit_reason": pd.array(REASONS, dtype="str").take(fills["reason"]),
            "session": trading_session(pd.DatetimeIndex(entry_time))["primary"].array,
        }
    )


def _net_pnl(fills: NDArray[np.void], costs: Costs) -> Floats:
    """(m,) what each trade earned after fees and funding."""
    from crp_pipeline.backtest.engine import TARGET

    units, paid, got = fills["units"], fills["entry_price"], fills["exit_price"]
    rebate = np.where(fills["reason"] == TARGET, costs.fee - costs.maker_fee, 0.0) * units * got
    pnl = fills["side"] * units * (got - paid) - costs.fee * units * (paid + got) + rebate - units * fills["owed"]
    return np.asarray(pnl, dtype=np.float64)


def _optimistic(
    fills: NDArray[np.void], bars: Bars, orders: Orders, costs: Costs, execution: ExecutionModel, stake: Stake
) -> dict[str, float]:
    """Numbers of the same walk with the target first; a second one is only taken where it would differ."""
    from crp_pipeline.backtest.engine import simulate

    ambiguous = int(fills["ambiguous"].sum())
    if ambiguous:
        fills = simulate(bars, orders, costs, rules_of(execution, target_first=True), stake)[0]
    pnl = _net_pnl(fills, costs)
    return {
        "ambiguous_trades": float(ambiguous),
        "optimistic_pnl": float(pnl.sum()),
        "optimistic_win_rate": win_rate(pnl),
        "optimistic_expectancy_bps": 1e4 * expectancy(pnl / (fills["units"] * fills["entry_price"])),
    }


def _untold_tiers(n: int) -> Any:
    return pd.array([str(Tier.NONE)], dtype="str").take(np.zeros(n, np.int64))


def _column(frame: pd.DataFrame, name: str, *, default: object) -> NDArray[Any]:
    return frame[name].to_numpy() if name in frame else np.full(len(frame), default)


def _metrics(trades: pd.DataFrame, equity: "pd.Series[float]", decisions: pd.DataFrame, *, initial: float) -> dict[str, float]:
    return {
        **trade_summary(trades),
        **equity_summary(equity, trades, initial=initial),
        "exposure": float(trades["bars_held"].sum() / len(equity)) if len(equity) else float("nan"),
        "coverage": float((decisions["signal"] != 0).mean()),
    }


def _tier_coverage(decisions: pd.DataFrame) -> list[float]:
    """Share of the decisions that take a side on each tier."""
    decided = decisions["signal"] != 0
    if "tier" not in decisions:
        return [decided.mean() if name == Tier.NONE else 0.0 for name in _TIERS]
    return [(decided & (decisions["tier"] == name)).mean() for name in _TIERS]
