"""Drift of a coin over time: how near each measure came to its limit, night by night, and the latest report in words."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.dates import AutoDateLocator
from matplotlib.figure import Figure

from crp_pipeline.drift import SUMMARIES, Action, DriftReport, read_report
from crp_pipeline.drift.report import HIT_RATE
from crp_pipeline.errors import CrpError
from crp_pipeline.places import Places
from crp_pipeline.reporting.figures import BAD, GOOD, INK, SOFT, WARN, canvas
from crp_pipeline.reporting.tables import to_text

LINES = (INK, GOOD, WARN, "#7a5195", "#2f6db3", SOFT)
FALLS_BACK = 2.0
"""Limits that the picture shows at most."""


def nearness(history: pd.DataFrame) -> pd.DataFrame:
    """Value of each measure that a rule asks about as a share of its limit, a column each, by the time of the report.

    1 is the limit. Evidence doubles with every few decisions, so that its logarithms are compared. NaN where unknown.
    """
    own = history[[pair in SUMMARIES for pair in zip(history["measure"], history["subject"], strict=True)]]
    value, limit = (own[name].to_numpy(dtype=float) for name in ("value", "limit"))
    is_evidence = (own["measure"] == HIT_RATE).to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(is_evidence, np.log(np.maximum(value, 1)) / np.log(limit), value / limit)
    told = pd.DataFrame({"at": own["at"], "what": own["measure"] + " of " + own["subject"], "share": share})
    return told.pivot_table(index="at", columns="what", values="share", aggfunc="last", dropna=False)


def has_values(history: pd.DataFrame) -> bool:
    """True where any measure was ever known."""
    return bool(nearness(history).notna().to_numpy().any())


def drift_figure(history: pd.DataFrame, *, coin: str) -> Figure:
    """Each measure that a rule asks about as a share of its limit, report by report; `history` is of `drift.stored`."""
    shares = nearness(history)
    figure, axes = canvas(height=3.2)
    for color, (name, share) in zip(LINES, shares.items(), strict=False):
        known = share.dropna()
        axes.plot(known.index, known.clip(upper=FALLS_BACK), "o-", ms=3.5, lw=1, color=color, label=str(name))
    axes.axhline(1, color=BAD, lw=1, ls="--")
    axes.set_ylim(-0.05, FALLS_BACK + 0.05)
    axes.set_ylabel("share of the limit (1: drifted, or breach)", fontsize=8)
    axes.xaxis.set_major_locator(AutoDateLocator(minticks=2, maxticks=6))  # type: ignore[no-untyped-call]
    figure.legend(frameon=False, loc="outside lower center", ncols=3, fontsize=7)
    latest = shares.iloc[-1]
    told = f"{int((latest > 1).sum())} of {int(latest.notna().sum())} known measures beyond their limit"
    axes.set_title(f"{coin}: {told}, {len(shares):,} reports", fontsize=10)
    return figure


def fleet_drift(places: Places, coins: Iterable[str]) -> str:
    """A sentence for each coin whose latest report asks for something, or cannot be read; one where none does."""
    told = [sentence for coin in coins if (sentence := _asked_of(places, coin))]
    return "; ".join(told) or "no champion's drift asks for anything"


def _asked_of(places: Places, coin: str) -> str:
    """What the latest report asks for; a file that cannot be read says so and silences no other coin."""
    try:
        report = read_report(places, coin)
    except CrpError as error:
        return str(error)
    return "" if report is None or report.action is Action.OK else report.sentence


def drift_page(report: DriftReport, *, top: int) -> str:
    """A report for the terminal: the sentence, what rules ask about, then the `top` features that moved most."""
    whole = report.table()
    asked = [pair in SUMMARIES for pair in zip(whole["measure"], whole["subject"], strict=True)]
    single = whole[~np.array(asked, dtype=bool)] if len(whole) else whole
    farthest = (single["value"] / single["limit"]).sort_values(ascending=False, kind="stable").index[:top]
    parts = [f"{report.at:%Y-%m-%d %H:%M} UTC  {report.sentence}", to_text(whole[asked] if any(asked) else whole)]
    return "\n\n".join([*parts, *([to_text(single.loc[farthest])] if len(single) and any(asked) else [])])
