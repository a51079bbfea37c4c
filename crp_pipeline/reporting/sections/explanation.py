"""What the models make their forecasts of: importances over folds, contributions bar by bar, and why the latest signal."""

import numpy as np
import pandas as pd

from crp_pipeline.contracts import CLASSES
from crp_pipeline.explanation import CoinExplanation, stability_table
from crp_pipeline.reporting.document import Block, Grid, Section, Table, Words
from crp_pipeline.reporting.explanation import (
    decision_of,
    direction_of,
    importance_table,
    leaning_of,
    leaning_phrase,
    maker_of,
    models_table,
    rank_of,
    swarm_of,
    thinned_bars,
    why_rows,
)
from crp_pipeline.reporting.plots import (
    ACCENT,
    BAD,
    GOOD,
    INK,
    SOFT,
    Plot,
    axis,
    columns,
    line,
    named,
    packed,
    points,
    ranges,
    shares,
)
from crp_pipeline.reporting.results import CoinResults
from crp_pipeline.reporting.tables import percent

KEY, TITLE = "explanation", "What the forecasts are made of"
MOST_FEATURES = 12
LEADING = 8
"""Features whose every bar is drawn."""
MOST_BARS = 200
"""Bars that a figure of dots draws: many models share the page's 6 MB."""
TOP = 10
"""Features whose agreement between folds and nights is told."""
LOW_TO_HIGH = [[0, "#2f6db3"], [0.5, "#b9b4bd"], [1, "#c0392b"]]


def explanation_section(results: CoinResults) -> Section:
    """Importances, contributions and the latest signal of every model of the roster; words where nothing was explained."""
    found = results.explanation
    if found is None:
        missing = f"Nothing was explained of {results.coin}: materialize the asset explanation, then report."
        return Section(KEY, TITLE, [Words(missing)])
    models = found.explained
    if not models:
        return Section(KEY, TITLE, [Words(f"Not explained: {reason}.") for reason in found.models["refused"]])
    stability = stability_table(found.importances, found.nights, top=TOP)
    blocks: list[Block] = [
        Words("Only bars that the explaining model had not learned from; the rule stands below each figure.", is_note=True),
        Words(f"Why the latest signal: {decision_of(why_rows(found, models[0]).iloc[0])}."),
        Grid([waterfall_plot(found, model) for model in models], is_wide=True),
        Grid([importance_plot(found, model) for model in models], is_wide=True),
        Grid([beeswarm_plot(found, model) for model in models], is_wide=True),
        Grid([dependence_plot(found, model) for model in models], is_wide=True),
        Grid([lags_plot(found, model) for model in models if (found.lags["model"] == model).any()], is_wide=True),
        Table("importances", f"importances of {len(models)} models, every feature in the file", _importances(found), _leaders),
        Table("importance_stability", "agreement of importances over folds and nights, 1 is the same order", stability),
        Table("explained_models", "by which method, on which rows, or why not", models_table(found)),
    ]
    return Section(KEY, TITLE, [it for it in blocks if not _is_empty(it)])


def waterfall_plot(found: CoinExplanation, model: str, *, top: int = TOP) -> Plot:
    """What each feature of the latest bar moved the model's score by, from its base to where it ended."""
    rows, facts = why_rows(found, model), found.of(model)
    told, rest = rows.head(top), float(rows.iloc[top:]["contribution"].sum())
    names = ["to begin with", *_with_values(told), f"{max(len(rows) - top, 0)} others"]
    steps = np.array([rows.iloc[0]["base"], *told["contribution"], rest])
    starts, places = steps.cumsum() - steps, list(range(len(steps)))
    color = [SOFT, *(GOOD if step > 0 else BAD for step in steps[1:])]
    bars = columns(packed(steps), places, str(facts["unit"]), color, base=packed(starts), orientation="h")
    first = rows.iloc[0]
    chances = ", ".join(f"{name} {first[f'p_{name}']:.2f}" for name in CLASSES)
    most = f"most by {first['feature']} ({first['contribution']:+.2f}) of {len(rows)} features"
    layout = {"xaxis": axis(f"{facts['unit']} for the decision"), "yaxis": named(names), "showlegend": False}
    title = f"{model}: {chances}; {steps.sum():+.2f} {facts['unit']} for the decision, {most}"
    return Plot(f"why-{model}", title, [bars], layout, height=110 + 24 * len(steps), note=f"{maker_of(first)}.")


def importance_plot(found: CoinExplanation, model: str) -> Plot:
    """Share of each feature in all contributions, with its range over the folds."""
    facts, table = found.of(model), importance_table(found, model)
    shown, places = table.head(MOST_FEATURES), list(range(min(len(table), MOST_FEATURES)))
    spread = {**ranges(shown["least"], shown["share"], shown["most"]), "color": INK}
    bars = columns(packed(shown["share"]), places, "share", ACCENT, orientation="h", error_x=spread)
    first = shown.iloc[0]
    title = f"{model}: {first['feature']} is {percent(first['share'])} of what it says; {facts['n_rows']:,} bars"
    layout = {"xaxis": shares("share of all contributions"), "yaxis": named(shown["feature"]), "showlegend": False}
    return Plot(f"importance-{model}", title, [bars], layout, height=110 + 24 * len(shown), note=_rule(facts))


def beeswarm_plot(found: CoinExplanation, model: str) -> Plot:
    """Every drawn bar's contribution of the leading features, coloured by how high the feature's value is."""
    facts, names = found.of(model), importance_table(found, model)["feature"].head(LEADING).tolist()
    rows = thinned_bars(leaning_of(found, model), most=MOST_BARS)
    traces = [_swarm(rows[rows["feature"] == name], place) for place, name in enumerate(names)]
    leader = rows[rows["feature"] == names[0]]
    told = direction_of(leader["value"].to_numpy(), leader["contribution"].to_numpy())
    title = f"{model}: {names[0]} {told}; {rows['open_time'].nunique():,} bars drawn"
    layout = {"xaxis": axis(f"contribution, {facts['unit']}"), "yaxis": named(names), "showlegend": False}
    note = f"To the right: raises {leaning_phrase(facts)}. Blue: the feature's value is low, red: high. {_rule(facts)}"
    return Plot(f"beeswarm-{model}", title, traces, layout, height=130 + 32 * len(names), note=note)


def dependence_plot(found: CoinExplanation, model: str) -> Plot:
    """The leading feature's contribution against its value."""
    facts, name = found.of(model), str(importance_table(found, model)["feature"].iloc[0])
    rows = leaning_of(found, model)
    own = thinned_bars(rows[(rows["feature"] == name) & rows["value"].notna()], most=MOST_BARS)
    dots = points(packed(own["value"]), packed(own["contribution"]), name, GOOD, size=5, opacity=0.6)
    told = direction_of(own["value"].to_numpy(), own["contribution"].to_numpy())
    title = f"{model}: {name} {told}; {len(own):,} bars drawn"
    layout = {"xaxis": axis(name), "yaxis": axis(f"contribution, {facts['unit']}"), "showlegend": False}
    note = f"Upwards: raises {leaning_phrase(facts)}. {_rule(facts)}"
    return Plot(f"dependence-{model}", title, [dots], layout, note=note)


def lags_plot(found: CoinExplanation, model: str) -> Plot:
    """How far back a network looked: share of its contributions by bars back, and of its attention where it has any."""
    own = found.lags[found.lags["model"] == model]
    mean = own.groupby("bars_back")[["share", "attention"]].mean()
    back = [int(it) for it in mean.index]
    traces = [line(back, packed(mean["share"]), "contributions", GOOD)]
    if mean["attention"].notna().any():
        traces.append(line(back, packed(mean["attention"]), "attention", INK))
    half = int((mean["share"].cumsum() < 0.5).sum()) + 1
    title = f"{model}: half of what it says comes from the latest {half} of {len(mean)} bars; {own['fold'].nunique()} folds"
    return Plot(
        f"lags-{model}", title, traces, {"xaxis": axis("bars back"), "yaxis": shares("share")}, note=_rule(found.of(model))
    )


def _swarm(own: pd.DataFrame, place: int) -> dict[str, object]:
    x = own["contribution"].to_numpy(dtype=float)
    dots = points(packed(x), packed(place + swarm_of(x)), str(place), size=4)
    shown = {"color": packed(rank_of(own["value"])), "colorscale": LOW_TO_HIGH, "cmin": 0, "cmax": 1}
    return {**dots, "marker": {**dots["marker"], **shown}, "hoverinfo": "x"}


def _with_values(rows: pd.DataFrame) -> list[str]:
    return [f"{row.feature} = {row.value:.3g}" for row in rows.itertuples()]


def _importances(found: CoinExplanation) -> pd.DataFrame:
    tables = [importance_table(found, model).assign(model=model) for model in found.explained]
    table = pd.concat(tables, ignore_index=True)
    return table[["model", *(name for name in table.columns if name != "model")]]


def _leaders(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.groupby("model", sort=False).head(5)
    return shown.assign(**{name: shown[name].map(percent) for name in ("share", "least", "most")})


def _rule(facts: pd.Series) -> str:
    return str(facts["rule"])


def _is_empty(block: Block) -> bool:
    return isinstance(block, Grid) and not block.plots
