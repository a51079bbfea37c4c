"""Pictures of what the sentinels saw."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from crp_pipeline.gate.sentinels import LeakReading, ShiftReading
from crp_pipeline.reporting.figures import BAD, DPI, GOOD, INK, SOFT, WARN
from crp_pipeline.settings import SentinelConfig


def label_shift_figure(profile: pd.DataFrame, reading: ShiftReading, *, horizon: int) -> Figure:
    """Agreement of decisions with labels of other times (`shift_profile`), those that had ended and those to come shaded."""
    figure = Figure(figsize=(8, 3), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.axvspan(profile["shift"].min(), -horizon - 1, color=BAD, alpha=0.08, lw=0, label="had ended")
    axes.axvspan(horizon + 1, profile["shift"].max(), color=WARN, alpha=0.1, lw=0, label="begin later")
    axes.plot(profile["shift"], 100 * profile["accuracy"], "o-", ms=3, color=INK, label="agreement")
    axes.plot(profile["shift"], 100 * profile["chance"], color=SOFT, ls="--", label="chance")
    axes.axvline(0, color=GOOD, lw=1)
    axes.set_xlabel("labels so many bars later than the decision")
    axes.set_ylabel("sides that agree, %")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside right upper")
    peak = "nothing to compare" if np.isnan(reading.peak) else f"agreement peaks at {reading.peak:+.0f} bars"
    axes.set_title(f"{peak}, own labels {_percent(reading.own_accuracy)}, {_count(profile):,.0f} independent", loc="left")
    return figure


def feature_alarm_figure(readings: pd.DataFrame, config: SentinelConfig) -> Figure:
    """Every feature's AUC alone against its distance from chance in standard errors (`feature_readings`)."""
    figure = Figure(figsize=(8, 3), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    alarmed = readings["alarm"]
    for chosen, color in ((~alarmed, INK), (alarmed, BAD)):
        axes.plot(readings.loc[chosen, "auc"], readings.loc[chosen, "z"].abs(), "o", ms=3, color=color, alpha=0.7)
    axes.axhline(config.max_feature_z, color=BAD, lw=1)
    for edge in (1 - config.max_feature_auc, config.max_feature_auc):
        axes.axvline(edge, color=WARN, lw=1)
    axes.axhline(readings.attrs["significant_z"], color=WARN, lw=1, ls="--")
    axes.set_xlabel("AUC of up against down")
    axes.set_ylabel("standard errors from 0.5")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{int(alarmed.sum())} of {len(readings)} features predict too well alone")
    return figure


def leak_meter_figure(leak: LeakReading) -> Figure:
    """Accuracy of the same small model by shuffled and by purged folds."""
    figure = Figure(figsize=(5.2, 1.8), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.barh(
        ["shuffled", "purged"],
        [100 * np.nan_to_num(leak.shuffled_accuracy), 100 * np.nan_to_num(leak.purged_accuracy)],
        color=[BAD, GOOD],
    )
    axes.axvline(50, color=SOFT, ls="--", lw=1)
    axes.set_xlim(0, 100)
    axes.invert_yaxis()
    axes.set_xlabel("direction told, %")
    axes.spines[["top", "right"]].set_visible(False)
    gap = "too few bars" if np.isnan(leak.gap) else f"{100 * leak.gap:.0f} points"
    axes.set_title(f"shuffling would have flattered by {gap}, {leak.n_rows:,} bars")
    return figure


def _percent(share: float) -> str:
    return "none" if np.isnan(share) else f"{share:.0%}"


def _count(profile: pd.DataFrame) -> float:
    return float(profile.loc[profile["shift"] == 0, "n_effective"].sum())
