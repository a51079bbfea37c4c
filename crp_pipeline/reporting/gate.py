"""Pictures of room 8: which criteria hold, what fresh decisions say, whether the controls came out, and all coins at once."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from crp_pipeline.contracts import CHALLENGER, CHAMPION
from crp_pipeline.gate import GateConfig, Outcome, Stage, Verdict
from crp_pipeline.reporting.figures import BAD, DPI, GOOD, INK, SOFT, WARN, tidy

ROLE_COLORS = {CHAMPION: GOOD, CHALLENGER: WARN}


def findings_figure(verdict: Verdict) -> Figure:
    """One mark per criterion, stage by stage in the order of judging: whether it holds."""
    figure = Figure(figsize=(7, 3), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for row, stage in enumerate(Stage):
        found = [finding.passed for finding in verdict.findings if finding.criterion.stage is stage]
        axes.scatter(range(len(found)), [row] * len(found), c=[GOOD if it else BAD for it in found], marker="s", s=60)
        axes.annotate(f"{sum(found)} of {len(found)}", (len(found) - 0.3, row), va="center", fontsize=8, color=INK)
    axes.set_yticks(range(len(Stage)), [str(stage) for stage in Stage])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(labelsize=8, colors=INK, length=0)
    held = sum(finding.passed for finding in verdict.findings)
    first = "" if verdict.first_failed is None else f", first failed {verdict.first_failed.criterion.name}"
    axes.set_title(f"{verdict.outcome}: {held} of {len(verdict.findings)} criteria hold{first}", fontsize=10)
    return figure


def fresh_decisions_figure(decisions: pd.DataFrame) -> Figure:
    """Confidence of what champion and shadow decided about bars that had come since, by time and side (`ShadowLog`)."""
    figure = Figure(figsize=(8, 2.6), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    counts = []
    for role, color in ROLE_COLORS.items():
        own = decisions[decisions["role"] == role]
        axes.plot(own["open_time"], own["signal"] * own["confidence"], ".", ms=4, color=color, label=role)
        counts.append(f"{len(own):,} of the {role}")
    axes.axhline(0, color=SOFT, lw=1)
    axes.set_ylim(-1.05, 1.05)
    axes.set_ylabel("confidence, long above 0", fontsize=8)
    tidy(axes)
    figure.legend(frameon=False, loc="outside right upper", fontsize=8)
    axes.set_title(f"fresh decisions: {', '.join(counts)}", fontsize=10)
    return figure


def controls_figure(controls: pd.DataFrame) -> Figure:
    """How often each control came out, with its interval, and what was expected (`ControlReport.table`)."""
    places = np.arange(len(controls))
    figure = Figure(figsize=(8, 0.9 + 0.26 * len(controls)), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    rates, low, high = (100 * controls[name].to_numpy(dtype=float) for name in ("rate", "low", "high"))
    colors = [{"yes": GOOD, "no": BAD}.get(str(holds), SOFT) for holds in controls["holds"]]
    axes.hlines(places, low, high, colors=colors, lw=2)
    axes.scatter(rates, places, c=colors, s=28, zorder=3)
    named = controls["control"] + ": " + controls["what"] + ", " + controls["expected"].astype(str)
    axes.set_yticks(places, list(named))
    axes.invert_yaxis()
    axes.set_xlim(-2, 102)
    axes.set_xlabel("runs in which it happened, %, with its 95 % interval", fontsize=8)
    tidy(axes)
    bad = int((controls["holds"] == "no").sum())
    told = "every control came out" if not bad else f"{bad} of {len(controls)} controls did NOT come out"
    axes.set_title(f"{told}, {int(controls['runs'].sum()):,} runs", fontsize=10)
    return figure


def fleet_figure(verdicts: Mapping[str, Verdict], config: GateConfig) -> Figure:
    """The win rate that is asked for and what every judged coin has, with its interval and zero skill; at least one coin."""
    prefix = "high_tier_" if config.win_rate_of == "high" else ""
    figure = Figure(figsize=(8, 1.1 + 0.3 * len(verdicts)), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for row, verdict in enumerate(verdicts.values()):
        rate, low, high, chance = (
            100 * verdict.evidence.get(prefix + name, np.nan)
            for name in ("win_rate", "win_rate_low", "win_rate_high", "zero_skill_win_rate")
        )
        color = GOOD if verdict.outcome is Outcome.PROMOTE else BAD
        axes.hlines(row, low, high, color=color, lw=2)
        axes.plot(rate, row, "o", ms=6, color=color)
        axes.plot(chance, row, "|", ms=11, mew=2, color=SOFT, label="zero skill" if row == 0 else "")
    axes.axvline(100 * config.min_win_rate, color=INK, lw=1, ls="--", label=f"asked for, {config.min_win_rate:.0%}")
    axes.set_yticks(range(len(verdicts)), [f"{coin}: {verdict.outcome}" for coin, verdict in verdicts.items()])
    axes.set_ylim(len(verdicts) - 0.5, -0.5)
    axes.set_xlabel(f"win rate of {config.win_rate_of} trades, %, with its interval", fontsize=8)
    tidy(axes)
    figure.legend(frameon=False, loc="outside right upper", fontsize=8)
    promoted = sum(verdict.outcome is Outcome.PROMOTE for verdict in verdicts.values())
    axes.set_title(f"{promoted} of {len(verdicts)} judged coins promoted", fontsize=10)
    return figure
