"""Pictures of what decisions earned: candidates side by side, and how dear trading may become."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from crp_pipeline.reporting.figures import BAD, DPI, GOOD, INK, SOFT, tidy

CHANCE = "zero skill"


def comparison_figure(compared: pd.DataFrame) -> Figure:
    """Win rate with its interval beside zero skill, log-loss, and net return per trade of every candidate, baselines on top.

    `compared` is a table of `gate.comparison.compare`. A candidate without trades has no mark, and its name says so.
    """
    places = np.arange(len(compared))
    figure = Figure(figsize=(9, 1.1 + 0.24 * len(compared)), dpi=DPI, layout="constrained")
    rates, losses, earnings = figure.subplots(1, 3, sharey=True, width_ratios=[2, 1, 1])
    spans = 100 * np.array([compared["win_rate"] - compared["win_rate_low"], compared["win_rate_high"] - compared["win_rate"]])
    rates.errorbar(100 * compared["win_rate"], places, xerr=np.maximum(spans, 0), fmt="o", ms=4, color=INK, lw=1)
    rates.plot(100 * compared["zero_skill_win_rate"], places, "|", ms=9, mew=2, color=BAD, label=CHANCE)
    losses.plot(compared["log_loss"], places, "o", ms=4, color=INK)
    colors = np.where(compared["expectancy_bps"] > 0, GOOD, BAD)
    earnings.barh(places, compared["expectancy_bps"], height=0.6, color=colors)
    for axes, told in ((rates, "win rate, %"), (losses, "log-loss, nats"), (earnings, "net per trade, bps")):
        axes.set_xlabel(told, fontsize=8)
        tidy(axes)
    rates.set_yticks(places, [_named(row) for row in compared.to_dict("records")])
    rates.invert_yaxis()
    figure.legend(frameon=False, loc="outside right upper", fontsize=8)
    figure.suptitle(_told(compared), fontsize=10)
    return figure


def ladder_figure(ladder: pd.DataFrame, *, break_even_bps: float, cost_bps: float) -> Figure:
    """Net return per trade as every cost is multiplied (`backtest.cost_ladder`); costs of a round trip in basis points."""
    figure = Figure(figsize=(5.2, 2.4), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.plot(ladder.index, ladder["expectancy_bps"], "o-", color=INK)
    axes.axhline(0, color=SOFT, lw=1, ls="--")
    axes.set_xlabel("costs, as a multiple of those in force", fontsize=8)
    axes.set_ylabel("net per trade, bps", fontsize=8)
    tidy(axes)
    trades = f"{ladder['trades'].iloc[0]:,.0f} trades"
    even = (
        "no trades"
        if np.isnan(break_even_bps)
        else f"{trades} break even at {break_even_bps:.1f} bps, costs are {cost_bps:.1f}"
    )
    axes.set_title(even, fontsize=10)
    return figure


def _named(row: dict[object, object]) -> str:
    return f"{row['candidate']} (n {row['trades']:,.0f})"


def _told(compared: pd.DataFrame) -> str:
    """The last candidate, which is the one that is judged."""
    last = compared.iloc[-1]
    if not last["trades"] > 0:
        return f"{last['candidate']} takes no trade"
    return (
        f"{last['candidate']} wins {last['win_rate']:.1%} ({last['win_rate_low']:.1%} to {last['win_rate_high']:.1%}, "
        f"n {last['trades']:,.0f}); zero skill {last['zero_skill_win_rate']:.1%}, payoff {last['payoff_ratio']:.2f}"
    )
