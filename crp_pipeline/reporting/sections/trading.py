"""What the decisions earned: equity with the costs laddered, by tier, session, side and volatility."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from crp_pipeline.backtest import BacktestResult, by_regime, by_side, volatility_regime
from crp_pipeline.metrics import wilson_interval
from crp_pipeline.reporting.document import Block, Section, Table, Words
from crp_pipeline.reporting.plots import (
    BAD,
    BAD_FILL,
    INK,
    SEQUENCE,
    SOFT,
    Plot,
    Trace,
    axis,
    dates,
    line,
    moments,
    named,
    packed,
    points,
    ranges,
    shares,
    thinned,
)
from crp_pipeline.reporting.results import CoinResults
from crp_pipeline.reporting.tables import percent, percent_with_interval

MOST_POINTS = 1_500
"""Points of a curve over time: more than a screen has columns."""
NOT_STORED = "This night's backtest stored no walks at higher costs or later orders: materialize `backtest` again to see them."


def trading_section(results: CoinResults) -> Section:
    """Equity and drawdown, the ladder of costs, late orders, and every grouping of the trades."""
    equity = [_equity_plot(results), *_stress(results)]
    return Section("trading", "Equity, drawdown and costs", equity)


def groups_section(results: CoinResults) -> Section:
    """Win rate and net result by tier, session, side and volatility, each with n."""
    trades, result = results.backtest.trades, results.backtest
    if trades.empty:
        return Section("groups", "By tier, session, side and volatility", [Words(no_trades(results))])
    regime = volatility_regime(results.labels["volatility"])
    tables = {
        "by_tier": ("by tier", result.by_tier),
        "by_session": ("by session at entry", result.by_session),
        "by_side": ("long and short", by_side(trades)),
        "by_volatility": ("by volatility at the decision", by_regime(trades, regime)),
    }
    told = {key: (name, with_intervals(table).reset_index()) for key, (name, table) in tables.items()}
    note = Words("An interval here counts every trade as independent: read it as the narrowest possible.", is_note=True)
    shown = [
        Table(key, f"{name}, n {int(table['trades'].sum()):,}", table, _groups_view) for key, (name, table) in told.items()
    ]
    plot = _groups_plot([table for _, table in told.values()], results.verdict.evidence.get("zero_skill_win_rate", np.nan))
    return Section("groups", "By tier, session, side and volatility", [plot, note, *shown])


def no_trades(results: CoinResults) -> str:
    """Why there is nothing to show of a coin that never traded."""
    decided = int((results.decisions["signal"] != 0).sum())
    sides = f"{decided:,} of {len(results.decisions):,} decisions took a side"
    return f"{results.coin} made no trade: {sides}, and none of them was filled."


def with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """A table by group with the interval of each win rate, by Wilson, all trades independent."""
    ends = [
        wilson_interval(rate * n, n) if n > 0 else (np.nan, np.nan)
        for rate, n in zip(table["win_rate"], table["trades"], strict=True)
    ]
    low, high = zip(*ends, strict=True)
    told = table.copy()
    told.insert(2, "win_rate_low", low)
    told.insert(3, "win_rate_high", high)
    return told


def _groups_view(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            table.columns[0]: table[table.columns[0]],
            "trades": table["trades"],
            "win rate": percent_with_interval(table, "win_rate"),
            "net, bps": table["expectancy_bps"],
            "payoff": table["payoff_ratio"],
            "profit factor": table["profit_factor"],
            "mean confidence": table["mean_confidence"].map(percent),
            "pnl": table["pnl"].round(),
        }
    )


def _groups_plot(tables: Sequence[pd.DataFrame], zero_skill: float) -> Plot:
    """Every group's win rate and interval in one picture, with the zero-skill rate of all trades."""
    every = pd.concat([table.set_axis(["group", *table.columns[1:]], axis=1).assign(by=table.columns[0]) for table in tables])
    traded = every[every["trades"] > 0].reset_index(drop=True)
    names = [f"{row.by} {row.group}, n {row.trades:,.0f}" for row in traded.itertuples()]
    places = list(range(len(traded)))
    spread = {**ranges(traded["win_rate_low"], traded["win_rate"], traded["win_rate_high"]), "color": INK}
    traces = [points(packed(traded["win_rate"]), places, "win rate", INK, size=9, error_x=spread)]
    if not np.isnan(zero_skill):
        traces.insert(
            0, line([zero_skill] * 2, [-0.5, len(traded) - 0.5], f"zero skill {percent(zero_skill)}", SOFT, dash="dash")
        )
    best, worst = (traded.iloc[int(it)] for it in (traded["win_rate"].argmax(), traded["win_rate"].argmin()))
    title = (
        f"Win rate from {percent(worst['win_rate'])} ({worst['by']} {worst['group']}, n {worst['trades']:,.0f}) to "
        f"{percent(best['win_rate'])} ({best['by']} {best['group']}, n {best['trades']:,.0f}); zero skill {percent(zero_skill)}"
    )
    layout = {"xaxis": shares("net winners among the trades"), "yaxis": named(names)}
    return Plot("groups", title, traces, layout, height=110 + 24 * len(traded))


def _equity_plot(results: CoinResults) -> Plot | Words:
    """Equity at each multiple of the costs above the drawdown as traded."""
    result = results.backtest
    if result.trades.empty:
        return Words(no_trades(results))
    drawdown = result.equity / result.equity.cummax() - 1
    at = thinned(len(result.equity), MOST_POINTS)
    times = moments(result.equity.index[at])
    deepest = packed(np.minimum.reduceat(drawdown.to_numpy(), at))
    below = line(times, deepest, "drawdown", BAD, width=1, yaxis="y2", fill="tozeroy", fillcolor=BAD_FILL, showlegend=False)
    is_wide = 0 < 3 * result.equity.min() < result.equity.max()
    layout = {
        "xaxis": dates(anchor="y2"),
        "yaxis": axis(
            "equity, thousands", domain=[0.34, 1], tickformat=",~r", **({"type": "log", "dtick": "D2"} if is_wide else {})
        ),
        "yaxis2": shares("drawdown", domain=[0, 0.26]),
    }
    deep = f"deepest drawdown {percent(result.metrics['max_drawdown'])}"
    title = f"{_gain(result)} after costs over {len(result.trades):,} trades, {deep}{_dearest(results)}"
    return Plot("equity", title, [*_ladder(results, at), below], layout, height=440, note="Marked at every close.")


def _gain(result: BacktestResult) -> str:
    return f"{result.equity.iloc[-1] / result.equity.iloc[0] - 1:+.1%}"


def _dearest(results: CoinResults) -> str:
    """What is left of a trade at the highest costs, where that is known."""
    if results.ladder is None:
        return ""
    return f"; at {results.ladder.index[-1]:g} times the costs {results.ladder['expectancy_bps'].iloc[-1]:+.1f} bps a trade"


def _ladder(results: CoinResults, at: np.ndarray) -> list[Trace]:
    """Equity as traded, or at each multiple of the costs, at these bars."""
    curves = results.equity_by_cost
    if curves is None:
        curves = results.backtest.equity.to_frame("as set")
    times = moments(curves.index[at])
    return [
        line(times, packed(curve.iloc[at] / 1e3), f"costs {name}", SEQUENCE[place % len(SEQUENCE)], width=1.2 if place else 2)
        for place, (name, curve) in enumerate(curves.items())
    ]


def _stress(results: CoinResults) -> list[Block]:
    if results.ladder is None or results.latency is None:
        return [Words(NOT_STORED)]
    n = f"n {int(results.ladder['trades'].iloc[0]):,}"
    return [
        Table("cost_ladder", f"the same decisions at multiples of the costs, {n}", results.ladder.reset_index(), _ladder_view),
        Table("latency", f"the same decisions with late orders, {n}", results.latency.reset_index(), _latency_view),
    ]


def _ladder_view(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(
        cost_factor=table["cost_factor"].map("x{:g}".format), win_rate=table["win_rate"].map(percent), pnl=table["pnl"].round()
    )


def _latency_view(table: pd.DataFrame) -> pd.DataFrame:
    money = {name: table[name].round() for name in ("pnl", "delay_cost", "penalised_pnl")}
    return table.assign(win_rate=table["win_rate"].map(percent), **money)
