"""The feasibility panel in words and as a picture: what a trader reads in ten seconds, before any training."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from crp_pipeline.gate.feasibility import COVERAGES, POWER, Feasibility
from crp_pipeline.reporting.figures import BAD, DPI, GOOD, INK, SOFT, WARN
from crp_pipeline.reporting.tables import to_text

_TRADES = "of the trades that an oracle takes one at a time, at most; those on the other bars do not count"


def feasibility_page(found: Feasibility, *, coin: str) -> str:
    """The answer first, then the win rates to read it with, then what it takes to prove the target."""
    return "\n\n".join([f"{coin}: {verdict_phrase(found)}", to_text(win_rates_table(found)), _proof(found)])


def verdict_phrase(found: Feasibility) -> str:
    """Whether the target is possible, on which share of the bars, and on what market that was asked."""
    target = f"a win rate of {found.target_win_rate:.0%} on {found.coverage:.0%} of the bars"
    answer = "possible" if found.is_possible else "IMPOSSIBLE"
    reach = f"within reach on up to {found.largest_coverage:.1%} of them"
    return (
        f"{target} is {answer}, {reach}\n"
        f"horizon {found.horizon}, costs {found.cost_bps:.1f} bps, mean move {found.mean_move_bps:.1f} bps, volatility "
        f"{found.volatility_bps:.1f} bps, {found.n:,} bars ({found.effective_n:,.0f} independent)"
    )


def win_rates_table(found: Feasibility) -> pd.DataFrame:
    """One row per win rate that another win rate must be read with, and what it means."""
    span = f"({found.oracle_win_rate_low:.1%} to {found.oracle_win_rate_high:.1%})"
    rows = [
        ("target", f"{found.target_win_rate:.1%}", f"asked for on {found.coverage:.0%} of the bars"),
        *((f"ceiling at {at:.0%}", f"{found.ceiling_at(at):.1%}", _ceiling_words(found, at, span)) for at in COVERAGES),
        (f"trades at {found.coverage:.0%}", f"{found.trade_ceiling:.1%}", _TRADES),
        ("break-even", f"{found.break_even_win_rate:.1%}", "of trades with average wins and losses: below it money is lost"),
        ("coin flip", f"{found.coin_flip_win_rate:.1%}", "no skill, after costs"),
        ("always long", f"{found.always_long_win_rate:.1%}", "no model, after costs"),
        ("break-even accuracy", _accuracy(found), _accuracy_words(found)),
    ]
    return pd.DataFrame(rows, columns=["win rate", "value", "meaning"])


def ceilings_table(table: pd.DataFrame) -> pd.DataFrame:
    """`gate.feasibility.feasibility_table` with its shares as percentages and its columns in words."""
    rates = [name for name in table.columns if name not in {"horizon", "cost_multiple", "cost_bps", "mean_move_bps"}]
    words = {name: table[name].map("{:.1%}".format) for name in rates}
    costs = table["cost_multiple"].map("x{:g}".format) + table["cost_bps"].map(" = {:.1f}".format)
    moves = table["mean_move_bps"].map("{:.1f}".format)
    shown = pd.DataFrame({"horizon": table["horizon"], "costs, bps": costs, "mean move, bps": moves, **words})
    return shown.rename(columns=lambda name: name.replace("_", " "))


def feasibility_figure(found: Feasibility, *, coin: str) -> Figure:
    """The ceiling of bars by coverage, good where the target fits under it or that of trades, and lines for other win rates."""
    figure = Figure(figsize=(8, 3.4), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=INK)
    ceilings = [found.ceiling_at(share) for share in COVERAGES]
    colors = [GOOD if found.highest_at(share) >= found.target_win_rate else BAD for share in COVERAGES]
    axes.bar(range(len(COVERAGES)), 100 * np.array(ceilings), color=colors, width=0.6, alpha=0.55)
    for place, ceiling in enumerate(ceilings):
        axes.annotate(f"{ceiling:.0%}", (place, 100 * ceiling), ha="center", va="bottom", fontsize=8, color=INK)
    of_trades = [100 * found.highest_trades_at(share) for share in COVERAGES]
    axes.scatter(range(len(COVERAGES)), of_trades, marker="D", s=18, color=INK, label="of its trades, at most")
    for rate, name, color, style in (
        (found.target_win_rate, "target", INK, "-"),
        (found.break_even_win_rate, "break-even", WARN, "--"),
        (found.coin_flip_win_rate, "coin flip", SOFT, "--"),
        (found.always_long_win_rate, "always long", SOFT, ":"),
    ):
        axes.axhline(100 * rate, color=color, lw=1.3, ls=style, label=f"{name} {rate:.1%}")
    axes.set_xticks(range(len(COVERAGES)), [f"{share:.0%}" for share in COVERAGES])
    axes.set_xlabel("share of the bars that are acted on", fontsize=8)
    axes.set_ylabel("win rate of an oracle, %", fontsize=8)
    axes.set_ylim(0, 108)
    figure.legend(frameon=False, loc="outside right center", fontsize=8)
    answer = "possible" if found.is_possible else "impossible"
    axes.set_title(
        f"{coin}: {found.target_win_rate:.0%} on {found.coverage:.0%} of {found.n:,} bars is {answer}, "
        f"horizon {found.horizon}, costs {found.cost_bps:.1f} bps",
        fontsize=10,
    )
    return figure


def _ceiling_words(found: Feasibility, coverage: float, span: str) -> str:
    if coverage == 1:
        return f"{span} an oracle that knows the future and acts on every bar"
    return "an oracle that picks its bars" + ("" if found.highest_at(coverage) >= found.target_win_rate else ", still too low")


def _accuracy(found: Feasibility) -> str:
    return "-" if math.isnan(found.break_even_accuracy) else f"{found.break_even_accuracy:.1%}"


def _accuracy_words(found: Feasibility) -> str:
    if found.break_even_accuracy > 1:
        return "of directions: acting on every bar, not even all of them right would pay"
    return "of directions that must be right to pay the costs, acting on every bar"


def _proof(found: Feasibility) -> str:
    """Trades and nights until the target stands above break-even and coin flip."""
    if not found.is_possible:
        return "to prove: never, what an oracle does not reach is not proven"
    if math.isinf(found.trades_to_prove):
        return f"to prove: never, {found.target_win_rate:.0%} is not above what costs and chance ask for"
    return (
        f"to prove {found.target_win_rate:.0%} by the lower end of the gate's two-sided interval: "
        f"{found.trades_to_prove:,.0f} independent trades for {POWER:.0%} power "
        f"({found.trades_if_observed:,.0f} if it is observed exactly), {found.trades_per_night:,.3g} a night: "
        f"{found.nights_to_prove:,.1f} nights ({found.nights_if_observed:,.1f})"
    )
