"""What is achievable at all: the win rates between which every win rate must be read."""

import math

import pandas as pd

from crp_pipeline.reporting.document import Block, Section, Table, Words
from crp_pipeline.reporting.feasibility import ceilings_table
from crp_pipeline.reporting.plots import ACCENT, BAD, GOOD, INK, SOFT, WARN, Plot, axis, level, line, shares
from crp_pipeline.reporting.results import CoinResults
from crp_pipeline.reporting.tables import percent

_LINES = (
    ("ceiling_100%", "oracle, every bar", GOOD, "solid"),
    ("trade_ceiling", "best sequence of trades", ACCENT, "solid"),
    ("break_even", "break-even", WARN, "solid"),
    ("coin_flip", "coin flip", SOFT, "dash"),
    ("always_long", "always long", SOFT, "dot"),
)


def feasibility_section(results: CoinResults) -> Section:
    """Ceiling, break-even and luck by horizon, with what was asked for and what was won."""
    table = results.feasibility
    note = Words(
        "An oracle knows the future and takes the better side of every bar; a coin flip has no skill. A win rate below "
        "break-even loses money, one above the ceiling cannot be.",
        is_note=True,
    )
    title = f"ceilings by horizon and costs, {table['horizon'].nunique()} horizons, {len(table)} rows"
    blocks: list[Block] = [_ceilings_plot(results), note, Table("feasibility", title, table, ceilings_table)]
    return Section("feasibility", "What is achievable at all", blocks)


def _ceilings_plot(results: CoinResults) -> Plot:
    usual = results.feasibility.query("cost_multiple == 1").sort_values("horizon")
    horizons = [str(int(it)) for it in usual["horizon"]]
    traces = [
        line(horizons, [float(it) for it in usual[name]], label, color, dash=dash, mode="lines+markers")
        for name, label, color, dash in _LINES
    ]
    shapes, labels = zip(
        *(level(at, words, color, is_left=color == INK) for at, words, color in _asked_and_won(results)), strict=True
    )
    layout = {
        "xaxis": axis("bars held at most", type="category"),
        "yaxis": shares("win rate after costs", rangemode="tozero"),
        "shapes": list(shapes),
        "annotations": list(labels),
    }
    return Plot("feasibility", _title(results, usual), traces, layout, height=360)


def _asked_and_won(results: CoinResults) -> list[tuple[float, str, str]]:
    """The win rate that the gate asks for and the one that was won, where they are known."""
    asked = next((it.criterion.threshold for it in results.verdict.findings if it.criterion.name == "gated_win_rate"), math.nan)
    won = results.verdict.evidence.get("gated_win_rate", math.nan)
    told = [(asked, f"asked for {percent(asked)}", BAD), (won, f"won {percent(won)}", INK)]
    return [it for it in told if not math.isnan(it[0])] or [(0.5, "one half", SOFT)]


def _title(results: CoinResults, usual: pd.DataFrame) -> str:
    evidence = results.verdict.evidence
    oracle, luck, even = (
        evidence.get(name, math.nan) for name in ("oracle_win_rate", "coin_flip_win_rate", "break_even_win_rate")
    )
    return (
        f"At the horizon in force an oracle wins on {percent(oracle)} of the bars, a coin flip {percent(luck)}, break-even is "
        f"{percent(even)}; {len(results.candles):,} bars, costs {usual['cost_bps'].iloc[0]:.1f} bps a round trip"
    )
