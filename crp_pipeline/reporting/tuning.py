"""Pictures of a study: how its best score came about, and which values of each hyper-parameter did well."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crp_pipeline.models.study_file import COMPLETE, FAILED, PRUNED
from crp_pipeline.reporting.figures import BAD, DPI, GOOD, INK, SOFT

FACTS = ("trial", "state", "score", "folds", "seconds", "is_default", "reason")
"""Columns of a trial table that are no hyper-parameters."""
PER_ROW = 4


def best_trials(trials: pd.DataFrame, *, lowers: bool, n: int = 10) -> pd.DataFrame:
    """The completed trials with the best scores, best first."""
    completed = trials[trials["state"] == COMPLETE]
    return completed.sort_values("score", ascending=lowers, kind="stable").head(n).drop(columns=["state", "folds", "reason"])


def study_figure(trials: pd.DataFrame, *, name: str, objective: str) -> Figure:
    """The score of each trial in its order with the best so far, and below it the score over each hyper-parameter."""
    lowers, parameters = objective == "log_loss", [str(column) for column in trials if column not in FACTS]
    n_rows = 1 + -(-len(parameters) // PER_ROW)
    figure = Figure(figsize=(8, 2.4 * n_rows), dpi=DPI, layout="constrained")
    grid = figure.add_gridspec(n_rows, PER_ROW)
    _history(figure.add_subplot(grid[0, :]), trials, lowers=lowers, objective=objective)
    for place, parameter in enumerate(parameters):
        _slice(figure.add_subplot(grid[1 + place // PER_ROW, place % PER_ROW]), trials, parameter)
    figure.suptitle(_finding(trials, name=name, objective=objective, lowers=lowers), fontsize=10)
    return figure


def _finding(trials: pd.DataFrame, *, name: str, objective: str, lowers: bool) -> str:
    completed = trials[trials["state"] == COMPLETE]
    best = completed["score"].min() if lowers else completed["score"].max()
    own = completed.loc[completed["is_default"], "score"]
    default = f", default {own.iloc[0]:.4f}" if len(own) else ""
    counts = ", ".join(f"{int((trials['state'] == state).sum())} {state}" for state in (COMPLETE, PRUNED, FAILED))
    return f"{name}: best {objective.replace('_', '-')} {best:.4f}{default} on the inner folds; {counts}"


def _history(axes: Axes, trials: pd.DataFrame, *, lowers: bool, objective: str) -> None:
    completed, pruned = (trials[trials["state"] == state] for state in (COMPLETE, PRUNED))
    axes.plot(completed["trial"], completed["score"], "o", ms=4, color=INK, label="ran through all folds")
    axes.plot(pruned["trial"], pruned["score"], "x", ms=4, color=SOFT, label="pruned")
    so_far = completed["score"].cummin() if lowers else completed["score"].cummax()
    axes.plot(completed["trial"], so_far, color=GOOD, lw=1.2, drawstyle="steps-post", label="best so far")
    own = completed.loc[completed["is_default"], "score"]
    if len(own):
        axes.axhline(own.iloc[0], color=BAD, lw=0.8, ls="--", label="default")
    low, high = np.nanquantile(completed["score"], [0, 1])
    room = max(high - low, 1e-6)
    axes.set_ylim(low - 0.1 * room, high + 0.1 * room)
    axes.set_xlabel("trial")
    axes.set_ylabel(objective.replace("_", "-"))
    axes.legend(frameon=False, fontsize=7)
    _plain(axes)


def _slice(axes: Axes, trials: pd.DataFrame, parameter: str) -> None:
    completed = trials[trials["state"] == COMPLETE]
    values = completed[parameter]
    axes.plot(values, completed["score"], "o", ms=3, color=INK)
    if pd.api.types.is_float_dtype(values) and values.min() > 0 and values.max() > 20 * values.min():
        axes.set_xscale("log")
    axes.set_title(parameter, fontsize=8, loc="left")
    axes.tick_params(labelsize=7)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
