"""What the forecasts did: confusion, ROC, precision and recall, calibration, returns foretold and come."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from crp_pipeline.contracts import CLASSES
from crp_pipeline.errors import DataContractError
from crp_pipeline.gate.scores import calibration_of, scored
from crp_pipeline.metrics import wilson_interval
from crp_pipeline.reporting.curves import (
    class_scores,
    confusion_table,
    precision_recall_table,
    regression_scores,
    residuals_table,
    roc_table,
)
from crp_pipeline.reporting.document import Block, Grid, Section, Table, Words
from crp_pipeline.reporting.plots import (
    ACCENT,
    BAD,
    GOOD,
    INK,
    SOFT,
    Plot,
    Trace,
    axis,
    columns,
    line,
    packed,
    points,
    shares,
    thinned,
)
from crp_pipeline.reporting.results import CoinResults
from crp_pipeline.reporting.tables import percent, percent_with_interval

CLASS_COLORS = dict(zip(CLASSES, (BAD, SOFT, GOOD), strict=True))
MOST_DOTS = 2_000
"""Dots that a picture can show apart."""


def forecasts_section(results: CoinResults) -> Section:
    """The ensemble's forecasts against what came; what cannot be drawn is told in a sentence."""
    blocks: list[Block] = []
    for chapter in (_confusion, _roc, _precision_recall, _calibration, _regression):
        blocks += _told_or_said(chapter, results)
    plots = [block for block in blocks if isinstance(block, Plot)]
    others = [block for block in blocks if not isinstance(block, Plot)]
    pictures = [Grid(plots, is_wide=True)] if plots else []
    return Section("forecasts", "What the forecasts did, out of fold", [*_single_class_folds(results), *pictures, *others])


def _told_or_said(chapter: Callable[[CoinResults], list[Block]], results: CoinResults) -> list[Block]:
    """A chapter, or the sentence that says why there is none."""
    try:
        return chapter(results)
    except DataContractError as error:
        return [Words(f"{str(error)[:1].upper()}{str(error)[1:]}.")]


def _single_class_folds(results: CoinResults) -> list[Block]:
    """A sentence on folds whose test block knows one class only: no skill can be seen there."""
    prior = next(iter(results.predictions.values()))
    tested = prior["fold"] >= 0
    signal = results.labels["signal"].reindex(prior.index)[tested].dropna()
    kinds = signal.groupby(prior["fold"].reindex(signal.index)).nunique()
    alone = [str(fold) for fold in kinds.index[kinds < 2]]
    return [Words(f"One class only came in the test block of fold {', '.join(alone)}: it tells no skill.")] if alone else []


def _confusion(results: CoinResults) -> list[Block]:
    table = confusion_table(results.decisions, results.labels)
    counts = table[list(CLASSES)].to_numpy()
    share = table[[f"share_{name}" for name in CLASSES]].to_numpy()
    n, right = int(counts.sum()), int(np.trace(counts))
    cells = [[f"{percent(at)}<br>n {of:,}" for at, of in zip(*row, strict=True)] for row in zip(share, counts, strict=True)]
    trace = {
        "type": "heatmap",
        "x": list(CLASSES),
        "y": list(CLASSES),
        "z": np.nan_to_num(share).tolist(),
        "zmin": 0,
        "zmax": 1,
        "text": cells,
        "texttemplate": "%{text}",
        "colorscale": [[0, "@paper"], [1, ACCENT]],
        "showscale": False,
        "hovertemplate": "came %{y}, called %{x}: %{text}<extra></extra>",
    }
    commonest = percent(counts.sum(axis=1).max() / n)
    title = f"{percent(right / n)} of {n:,} decisions call the class that came; the commonest class is {commonest}"
    layout = {"xaxis": axis("called", type="category"), "yaxis": axis("came", type="category", autorange="reversed")}
    plot = Plot("confusion", title, [trace], layout, note="Shares of each row: of what came, what was called.")
    scores = class_scores(results.decisions, results.labels).reset_index()
    told = Table("confusion", f"counts, n {n:,}", table.reset_index(), _confusion_view)
    return [plot, told, Table("class_scores", f"per class, with intervals, n {n:,}", scores, _scores_view)]


def _confusion_view(table: pd.DataFrame) -> pd.DataFrame:
    """Counts alone: the picture has the shares."""
    return table[["came", *CLASSES, "n"]]


def _scores_view(scores: pd.DataFrame) -> pd.DataFrame:
    rates = {name: percent_with_interval(scores, name) for name in ("precision", "recall")}
    return pd.DataFrame({"class": scores["class"], **rates, **{name: scores[name] for name in ("f1", "called", "support")}})


def _roc(results: CoinResults) -> list[Block]:
    table = roc_table(results.decisions, results.labels)
    by_class = table.dropna(subset="auc").groupby("class", sort=False)
    traces = [line([0, 1], [0, 1], "no skill", SOFT, dash="dash")]
    traces += [
        line(
            packed(it["false_positive_rate"]),
            packed(it["true_positive_rate"]),
            f"{name} {it['auc'].iloc[0]:.3f}",
            CLASS_COLORS[str(name)],
        )
        for name, it in by_class
    ]
    first = by_class.first()
    areas = ", ".join(f"{name} {row.auc:.3f} ({row.auc_low:.3f} to {row.auc_high:.3f})" for name, row in first.iterrows())
    layout = {"xaxis": shares("false positives", range=[0, 1]), "yaxis": shares("true positives", range=[0, 1.01])}
    plot = Plot("roc", f"Area under the ROC curve: {areas}; n {table['n'].iloc[0]:,}", traces, layout, height=380)
    return [plot, *_missing_classes(table), Table("roc", "the curve of each class", table, _first_of_class)]


def _precision_recall(results: CoinResults) -> list[Block]:
    table = precision_recall_table(results.decisions, results.labels)
    traces = []
    for name, it in table.dropna(subset="average_precision").groupby("class", sort=False):
        color, base = CLASS_COLORS[str(name)], float(it["class_share"].iloc[0])
        traces.append(
            line(packed(it["recall"]), packed(it["precision"]), f"{name} {it['average_precision'].iloc[0]:.3f}", color)
        )
        traces.append(line([0, 1], [base, base], f"no skill, {name}", color, dash="dot", width=1, showlegend=False))
    first = table.dropna(subset="average_precision").groupby("class", sort=False).first()
    told = ", ".join(f"{name} {row.average_precision:.3f} (no skill {row.class_share:.3f})" for name, row in first.iterrows())
    layout = {"xaxis": shares("recall", range=[0, 1.01]), "yaxis": shares("precision", range=[0, 1.02])}
    title = f"Average precision: {told}; n {table['n'].iloc[0]:,}"
    return [
        Plot(
            "precision-recall",
            title,
            traces,
            layout,
            height=380,
            note="Dotted: what a forecast without skill reaches.",
        ),
        Table("precision_recall", "the curve of each class", table, _first_of_class),
    ]


def _first_of_class(table: pd.DataFrame) -> pd.DataFrame:
    """One row per class: what is alike on all of its points."""
    points = {"threshold", "false_positive_rate", "true_positive_rate", "recall", "precision"}
    told = table.drop_duplicates("class")[[name for name in table.columns if name not in points]]
    return told if (told["note"] != "").any() else told.drop(columns="note")


def _missing_classes(table: pd.DataFrame) -> list[Block]:
    return [Words(f"{note[:1].upper()}{note[1:]}.") for note in table["note"].unique() if note]


def _calibration(results: CoinResults) -> list[Block]:
    curve, error = calibration_of(scored(results.decisions, results.labels))
    filled = curve[curve["n"] > 0]
    if filled.empty:
        return [Words("No decision took a side where the label is known, so there is no calibration to show.")]
    n = int(filled["n"].sum())
    confidence, hits = packed(filled["mean_confidence"]), packed(filled["hit_rate"])
    traces = [
        columns(confidence, [int(it) for it in filled["n"]], "decisions", SOFT, yaxis="y2", width=0.05),
        line([0, 1], [0, 1], "perfect", SOFT, dash="dash"),
        line(confidence, hits, "hit rate", INK, mode="lines+markers", error_y=_hit_intervals(filled)),
    ]
    layout = {
        "xaxis": shares("confidence", range=[0, 1], anchor="y2"),
        "yaxis": shares("hit rate", range=[0, 1], domain=[0.32, 1]),
        "yaxis2": axis("decisions", domain=[0, 0.22]),
    }
    title = f"Calibration error {error:.1%} over {n:,} decisions that took a side"
    note = "Whiskers: 95 % by Wilson, every decision independent, so the narrowest possible; their number is below."
    table = Table("calibration", f"confidence against hit rate, n {n:,}", curve.reset_index(), _calibration_view)
    return [Plot("calibration", title, traces, layout, height=380, note=note), table]


def _hit_intervals(bins: pd.DataFrame) -> Trace:
    ends = np.array([wilson_interval(rate * n, n) for rate, n in zip(bins["hit_rate"], bins["n"], strict=True)])
    rate = bins["hit_rate"].to_numpy()
    spread = {"array": packed(ends[:, 1] - rate), "arrayminus": packed(rate - ends[:, 0])}
    return {"type": "data", "symmetric": False, **spread, "color": SOFT, "thickness": 1.2, "width": 3}


def _calibration_view(curve: pd.DataFrame) -> pd.DataFrame:
    return curve.assign(**{name: curve[name].map(percent) for name in ("mean_confidence", "hit_rate")})


def _regression(results: CoinResults) -> list[Block]:
    told = residuals_table(results.decisions, results.labels)
    scores = regression_scores(results.decisions, results.labels)
    drawn = told.iloc[thinned(len(told), MOST_DOTS)]
    some = f"{len(drawn):,} of {len(told):,} bars drawn, evenly spread" if len(drawn) < len(told) else f"n {len(told):,}"
    correlation = "rank correlation {rank_correlation:.3f} ({rank_correlation_low:.3f} to {rank_correlation_high:.3f})".format(
        **scores
    )
    foretold = packed(drawn["forecast"])
    scatter = Plot(
        "returns",
        f"Returns foretold and come: {correlation}, {scores['effective_n']:,.0f} independent; {some}",
        [points(foretold, packed(drawn["realised"]), "bars", INK, size=4, opacity=0.35)],
        {"xaxis": shares("foretold", tickformat=".2%"), "yaxis": shares("came"), "showlegend": False},
    )
    residuals = Plot(
        "residuals",
        f"Residuals: mean error {scores['mae']:.3%} absolute, {scores['mae_of_zero']:.3%} of foretelling nothing; {some}",
        [points(foretold, packed(drawn["residual"]), "bars", INK, size=4, opacity=0.35)],
        {"xaxis": shares("foretold", tickformat=".2%"), "yaxis": shares("came less foretold"), "showlegend": False},
    )
    table = pd.DataFrame({"score": list(scores), "value": list(scores.values())})
    return [scatter, residuals, Table("regression", f"foretold returns, n {len(told):,}", table)]
