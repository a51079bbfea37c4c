"""What is known since the champion was registered: drift night by night, and what live decisions came to."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from crp_pipeline.drift import SUMMARIES, live_facts, one_at_a_time
from crp_pipeline.drift.stored import latest_report
from crp_pipeline.metrics import calibration_curve, expected_calibration_error
from crp_pipeline.reporting.document import Block, Grid, Section, Table, Words
from crp_pipeline.reporting.drift import FALLS_BACK, nearness
from crp_pipeline.reporting.plots import (
    BAD,
    INK,
    SEQUENCE,
    SOFT,
    Plot,
    axis,
    columns,
    dates,
    level,
    line,
    moments,
    packed,
    shares,
    thinned,
)
from crp_pipeline.reporting.results import CoinResults
from crp_pipeline.reporting.sections.trading import MOST_POINTS
from crp_pipeline.reporting.tables import counted, percent, percent_with_interval
from crp_pipeline.signals.outcomes import sides

KEY, TITLE = "live", "Since then: drift and live decisions"
MOST_ROWS = 20
TOLD = ("hit_rate", "hit_rate_low", "hit_rate_high", "expected_hit_rate", "zero_skill_hit_rate", "coverage")


def live_section(results: CoinResults) -> Section:
    """Drift over time and live results; a sentence for each of them that there is nothing of yet."""
    return Section(KEY, TITLE, [*_drift(results), *_live(results)])


def _drift(results: CoinResults) -> list[Block]:
    history = results.drift
    if history is None or history.empty:
        return [Words(f"No drift was measured of {results.coin} yet: materialize the asset drift.")]
    report = latest_report(results.coin, history)
    near = nearness(history)
    plots: list[Block] = [drift_plot(near)] if near.notna().to_numpy().any() else []
    note = (
        "Limits are what stretches of the champion's own history showed, and never below the settings' thresholds. "
        "Unknown is what has too few bars to tell, and is not taken for ok."
    )
    table = Table("drift", f"latest report, {report.at:%Y-%m-%d %H:%M} UTC", report.table(), _drift_view)
    return [Words(f"{report.sentence}."), *plots, Words(note, is_note=True), table]


def drift_plot(near: pd.DataFrame) -> Plot:
    """Each measure as a share of its limit, report by report (`reporting.drift.nearness`)."""
    traces = [
        line(moments(near.index), packed(share.clip(upper=FALLS_BACK)), str(name), color, mode="lines+markers")
        for color, (name, share) in zip(SEQUENCE, near.items(), strict=False)
    ]
    shape, label = level(1, "limit", BAD)
    latest = near.iloc[-1]
    nearest = f"{latest.idxmax()} at {latest.max():.0%} of its limit" if latest.notna().any() else "nothing known"
    layout = {
        "xaxis": dates(),
        "yaxis": shares("share of the limit", range=[-0.05, FALLS_BACK + 0.05]),
        "shapes": [shape],
        "annotations": [label],
    }
    return Plot("drift", f"Drift over {counted(len(near), 'report')}: latest, {nearest}", traces, layout)


def _drift_view(table: pd.DataFrame) -> pd.DataFrame:
    """What rules ask about, then the single numbers nearest to their limits."""
    is_asked = np.array([pair in SUMMARIES for pair in zip(table["measure"], table["subject"], strict=True)], dtype=bool)
    single = table[~is_asked]
    order = (single["value"] / single["limit"]).sort_values(ascending=False, kind="stable").index
    return pd.concat([table[is_asked], single.loc[order]]).head(MOST_ROWS)


def _live(results: CoinResults) -> list[Block]:
    outcomes = results.outcomes
    own = sides(outcomes)
    if own.empty:
        return [Words(f"No live decision of {results.coin} that took a side has been scored yet.")]
    whole = live_facts(outcomes, level=results.level)
    by_version = {str(it): live_facts(of, level=results.level) for it, of in outcomes.groupby("version", sort=False)}
    facts = pd.DataFrame({"all": whole, **by_version}).T.rename_axis("version").reset_index()
    return [
        Words(live_sentence(results.coin, whole)),
        Grid([equity_plot(outcomes), calibration_plot(own)], is_wide=True),
        Table("live", f"live decisions by version, n {len(outcomes):,}", facts, _facts_view),
    ]


def live_sentence(coin: str, facts: Mapping[str, float]) -> str:
    """Hit rate with its interval and what it must be held against."""
    rate, low, high, promised, chance, coverage = (percent(facts[name]) for name in TOLD)
    payoff = "unknown" if np.isnan(facts["payoff"]) else f"{facts['payoff']:.2f}"
    return (
        f"{coin} live: {rate} hits ({low} to {high}) of {facts['sides']:,.0f} sides taken, {facts['effective_n']:,.0f} of them "
        f"independent; {promised} promised, {chance} without skill; payoff {payoff}; a side taken in {coverage} of "
        f"{facts['scored']:,.0f} decisions."
    )


def equity_plot(outcomes: pd.DataFrame) -> Plot:
    """Equity of an account that puts all of it into one live decision after the other, net of costs."""
    alone = one_at_a_time(outcomes)
    equity = np.cumprod(1 + alone["net_return"].to_numpy(dtype=float))
    shown = thinned(len(alone), MOST_POINTS)
    curve = line(moments(alone["label_end"].iloc[shown]), packed(equity[shown]), "equity", INK)
    shape, _ = level(1, "start", SOFT)
    title = f"Live equity {equity[-1] - 1:+.1%} after costs, {counted(len(alone), 'decision')} one at a time"
    layout = {"xaxis": dates(), "yaxis": axis("equity, 1 at the start"), "shapes": [shape], "showlegend": False}
    return Plot("live-equity", title, [curve], layout)


def calibration_plot(own: pd.DataFrame) -> Plot:
    """Hit rate against confidence of the live decisions that took a side, with their number below."""
    curve = calibration_curve(own["confidence"], own["hit"])
    confidence = packed(curve["mean_confidence"])
    traces = [
        columns(confidence, [int(it) for it in curve["n"]], "decisions", SOFT, yaxis="y2", width=0.05),
        line([0, 1], [0, 1], "perfect", SOFT, dash="dash"),
        line(confidence, packed(curve["hit_rate"]), "hit rate", INK, mode="lines+markers"),
    ]
    layout = {
        "xaxis": shares("confidence", range=[0, 1], anchor="y2"),
        "yaxis": shares("hit rate", range=[0, 1], domain=[0.32, 1]),
        "yaxis2": axis("decisions", domain=[0, 0.22]),
    }
    error = expected_calibration_error(own["confidence"], own["hit"])
    title = f"Live calibration error {error:.1%} over {len(own):,} overlapping decisions"
    return Plot("live-calibration", title, traces, layout)


def _facts_view(facts: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "version": facts["version"],
            "decisions": facts["scored"],
            "coverage": facts["coverage"].map(percent),
            "independent": facts["effective_n"].round(),
            "hit rate": percent_with_interval(facts, "hit_rate"),
            "promised": facts["expected_hit_rate"].map(percent),
            "zero skill": facts["zero_skill_hit_rate"].map(percent),
            "payoff": facts["payoff"],
            "net, bps": facts["net_return_bps"],
        }
    )
