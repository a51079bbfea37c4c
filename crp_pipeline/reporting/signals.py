"""Picture of live decisions: which side was taken where, on the price that came."""

import pandas as pd
from matplotlib.figure import Figure

from crp_pipeline.reporting.figures import BAD, DPI, GOOD, INK, SOFT, tidy

SIDES = ((1, "^", GOOD, "long"), (0, "o", SOFT, "neutral"), (-1, "v", BAD, "short"))


def decisions_figure(candles: pd.DataFrame, decisions: pd.DataFrame, *, coin: str) -> Figure:
    """Close price since the first of these decisions, one mark per decision, and stop and target of the newest.

    `decisions` are rows of `Signal` by their bar's open time; those without a signal have no mark.
    """
    shown = candles.loc[decisions.index[0] :] if len(decisions) else candles.tail(1)
    figure = Figure(figsize=(8, 3), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.plot(shown.index, shown["close"], color=INK, lw=0.8)
    counts = []
    for side, marker, color, name in SIDES:
        own = decisions[decisions["signal"] == side]
        axes.plot(own.index, own["close"], marker, ms=5, color=color, label=name)
        counts.append(f"{len(own)} {name}")
    if len(decisions) and pd.notna(decisions["stop"].iloc[-1]):
        axes.axhline(decisions["stop"].iloc[-1], color=BAD, lw=1, ls=":", label="stop")
        axes.axhline(decisions["target"].iloc[-1], color=GOOD, lw=1, ls=":", label="target")
    tidy(axes)
    figure.legend(frameon=False, loc="outside right upper", fontsize=8)
    none = int(decisions["signal"].isna().sum())
    axes.set_title(f"{coin}: the last {len(decisions)} bars decided {', '.join(counts)}, {none} not at all", fontsize=10)
    return figure
