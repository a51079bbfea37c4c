"""Pictures of one model's forecasts, and of several models side by side; each takes a table of `reporting.curves` or of scores.

The title states the finding's number and n; figures are returned, never shown.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crp_pipeline.contracts import CLASSES
from crp_pipeline.reporting.figures import BAD, GOOD, INK, SOFT, canvas

COLORS = dict(zip(CLASSES, (BAD, SOFT, GOOD), strict=True))


def accuracy_phrase(confusion: pd.DataFrame, scores: Mapping[str, float]) -> str:
    """An accuracy with its interval, n and what always calling the commonest class would have had."""
    often, share = confusion["n"].idxmax(), confusion["n"].max() / confusion["n"].sum()
    ends = f"{scores['accuracy_low']:.1%} to {scores['accuracy_high']:.1%}"
    return (
        f"{scores['accuracy']:.1%} ({ends}) of {scores['n']:,.0f} calls right,\n"
        f"always {often} {share:.1%}; {scores['effective_n']:,.0f} independent labels"
    )


def confusion_figure(confusion: pd.DataFrame, *, title: str) -> Figure:
    """What was called where each class came: shares of each row in colour, counts written (`curves.confusion_table`)."""
    figure, axes = canvas(width=5.2, height=4.2)
    shares, counts = confusion[[f"share_{name}" for name in CLASSES]].to_numpy(), confusion[list(CLASSES)].to_numpy()
    axes.imshow(np.nan_to_num(shares), cmap="Greys", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        told = "never came" if np.isnan(share) else f"{share:.0%}\n{counts[row, column]:,}"
        axes.text(column, row, told, ha="center", va="center", fontsize=9, color="white" if share > 0.5 else INK)
    axes.set_xticks(range(len(CLASSES)), [f"{name}\n{confusion[name].sum():,}" for name in CLASSES])
    axes.set_yticks(range(len(CLASSES)), [f"{name}\n{n:,}" for name, n in confusion["n"].items()])
    axes.set_xlabel("called (share of what came in the row, and bars)", fontsize=8)
    axes.set_ylabel("came", fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def roc_figure(curves: pd.DataFrame, *, title: str) -> Figure:
    """One curve per class with its area, the diagonal of no skill, a line of the legend for a class that never came."""
    figure, axes = canvas(width=6.4, height=4.2)
    axes.plot([0, 1], [0, 1], color=INK, lw=1, ls=":", label="no skill, AUC 0.5")
    for name, curve in curves.groupby("class", sort=False):
        first = curve.iloc[0]
        told = first["note"] or f"AUC {first['auc']:.3f} ({first['auc_low']:.3f} to {first['auc_high']:.3f})"
        label = f"{name}: {told}, {first['n_positive']:,} bars"
        axes.plot(curve["false_positive_rate"], curve["true_positive_rate"], color=COLORS[str(name)], lw=1.6, label=label)
    axes.set_xlabel("share of the other bars called so", fontsize=8)
    axes.set_ylabel("share of the class called so", fontsize=8)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.suptitle(title, fontsize=10)
    return figure


def importance_figure(importance: pd.DataFrame, *, title: str, measure: str, footnote: str = "") -> Figure:
    """Bars of `importance` with a line from `low` to `high`, the most important on top; one row per feature as the index."""
    figure, axes = canvas(width=8, height=1.2 + 0.22 * len(importance))
    places, middle = np.arange(len(importance)), importance["importance"].to_numpy()
    axes.barh(places, middle, color=SOFT, height=0.7)
    axes.hlines(places, importance["low"], importance["high"], color=INK, lw=1)
    axes.axvline(0, color=INK, lw=0.6)
    axes.set_yticks(places, list(importance.index))
    axes.set_ylim(len(importance) - 0.4, -0.6)
    axes.tick_params(axis="y", labelsize=7)
    # the names take half of the width: a label under the axes would not fit
    figure.supxlabel(measure + (f"\n{footnote}" if footnote else ""), fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def forest_figure(scores: pd.DataFrame, *, title: str, measure: str, no_skill: float | None, in_percent: bool) -> Figure:
    """A point with its interval per row, in the order of the rows; baselines are grey.

    `scores` has the model as index and `value`, `low`, `high`, `counted` (what n stands beside the row), `is_baseline`, and
    optionally `no_skill`: a row's own value of no skill, drawn as a small line. `no_skill` is the one of all rows.
    """
    figure, axes = canvas(width=8, height=1.2 + 0.3 * len(scores))
    scale = 100 if in_percent else 1
    for place, row in enumerate(scores.to_dict("records")):
        color = SOFT if row["is_baseline"] else INK
        axes.hlines(place, scale * row["low"], scale * row["high"], color=color, lw=1.6)
        axes.plot(scale * row["value"], place, "o", ms=5, color=color)
    if "no_skill" in scores:
        axes.plot(scale * scores["no_skill"], range(len(scores)), "|", ms=11, mew=1.6, color=BAD, label="its own zero skill")
    if no_skill is not None:
        axes.axvline(scale * no_skill, color=BAD, lw=1, ls="--", label=f"no skill, {_number(no_skill, in_percent=in_percent)}")
    _name_rows(axes, scores, in_percent=in_percent)
    axes.set_xlabel(measure, fontsize=8)
    figure.legend(frameon=False, fontsize=8, loc="outside lower right")
    figure.suptitle(title, fontsize=10)
    return figure


def _name_rows(axes: Axes, scores: pd.DataFrame, *, in_percent: bool) -> None:
    """Model on the left, its value, interval and n on the right."""
    axes.set_yticks(range(len(scores)), list(scores.index))
    axes.set_ylim(len(scores) - 0.4, -0.6)
    right = axes.twinx()
    right.spines[["top", "right", "left"]].set_visible(False)
    right.set_ylim(axes.get_ylim())
    numbers = scores[["value", "low", "high"]].map(_number, in_percent=in_percent)
    told = numbers["value"] + " (" + numbers["low"] + " to " + numbers["high"] + "), " + scores["counted"]
    right.set_yticks(range(len(scores)), list(told))
    right.tick_params(length=0, labelsize=7, colors=INK)


def _number(value: float, *, in_percent: bool) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:.1%}" if in_percent else f"{value:+.4f}"
