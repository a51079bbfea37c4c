"""What models made their forecasts of, as pictures, tables and sentences, drawn from the stored explanation of a coin.

Each picture says in its title what it found, and below it on how many rows and by which rule these were chosen. A direction is
told as the log-odds of long against short: to the right is towards long.
"""

from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from crp_pipeline.contracts import CLASSES, DIRECTIONS, Floats
from crp_pipeline.errors import DataContractError
from crp_pipeline.explanation import BASE, CoinExplanation, over_folds
from crp_pipeline.models import LOG_ODDS, contrast
from crp_pipeline.reporting.figures import BAD, GOOD, INK, SOFT, canvas
from crp_pipeline.reporting.tables import shown, to_text

SIDES = {-1: "SELL", 0: "HOLD", 1: "BUY"}
LEANS = {-1: "short against long", 0: "neutral against the rest", 1: "long against short"}
MOST_DOTS = 400
"""Rows of a beeswarm: more dots hide each other."""
_LOW_TO_HIGH = LinearSegmentedColormap.from_list("low_to_high", ["#2f6db3", "#b9b4bd", "#c0392b"])


def importance_table(found: CoinExplanation, model: str) -> pd.DataFrame:
    """`feature, share, least, most, folds`: mean share of all contributions, its range over folds, and folds that knew it."""
    found.of(model)
    own = found.importances[found.importances["model"] == model]
    means = over_folds(own)
    by_fold = own.pivot_table(index="feature", columns="fold", values="share", aggfunc="sum", fill_value=0.0)
    known = own.groupby("feature")["fold"].nunique()
    return pd.DataFrame(
        {
            "feature": means["feature"],
            "importance": means["importance"],
            "share": means["share"],
            "least": by_fold.min(axis=1).reindex(means["feature"]).to_numpy(),
            "most": by_fold.max(axis=1).reindex(means["feature"]).to_numpy(),
            "folds": known.reindex(means["feature"]).to_numpy(),
        }
    )


def models_table(found: CoinExplanation) -> pd.DataFrame:
    """One row per model of the roster: by which method, on which rows, or why there is nothing."""
    return found.models[["model", "method", "unit", "n_rows", "n_tested", "folds", "seconds", "residual", "refused"]]


def importance_figure(found: CoinExplanation, model: str, *, top: int = 15) -> Figure:
    """Share of each feature in all contributions, with its range over folds."""
    facts, table = found.of(model), importance_table(found, model)
    told = table.head(top).iloc[::-1]
    figure, axes = canvas(height=0.27 * len(told) + 1.5)
    share = 100 * told[["share", "least", "most"]].to_numpy(dtype=np.float64)
    axes.barh(range(len(told)), share[:, 0], color=GOOD, height=0.65)
    axes.hlines(range(len(told)), share[:, 1], share[:, 2], color=INK, lw=1.2)
    _name_rows(axes, told["feature"])
    axes.set_xlabel("share of all contributions, %; the line spans the folds, from 0 where a fold was not shown the feature")
    first = table.iloc[0]
    n_known, rest = len(table), 100 * (1 - table["share"].head(top).sum())
    sentence = f"{first['feature']} is {first['share']:.0%} of what {model} says of {facts['n_rows']:,} bars"
    _title(figure, found, facts, f"{sentence}; {n_known} features, those not drawn {max(rest, 0):.0f}%")
    return figure


def beeswarm_figure(found: CoinExplanation, model: str, *, top: int = 12) -> Figure:
    """Every explained bar's contribution of the leading features, coloured by the feature's value."""
    facts, names = found.of(model), importance_table(found, model)["feature"].head(top).tolist()
    rows = thinned_bars(leaning_of(found, model))
    figure, axes = canvas(height=0.36 * len(names) + 1.6)
    for place, name in enumerate(reversed(names)):
        own = rows[rows["feature"] == name]
        x = own["contribution"].to_numpy()
        axes.scatter(x, place + swarm_of(x), c=rank_of(own["value"]), cmap=_LOW_TO_HIGH, s=7, lw=0, vmin=0, vmax=1)
    axes.axvline(0, color=SOFT, lw=0.8)
    _name_rows(axes, names[::-1])
    axes.set_xlabel(f"contribution to {leaning_phrase(facts)}")
    bar = figure.colorbar(axes.collections[0], ax=axes, fraction=0.03, ticks=[0, 1])
    bar.ax.set_yticklabels(["low", "high"], fontsize=7)
    bar.set_label("value of the feature", fontsize=7)
    leading = rows[rows["feature"] == names[0]]
    told = direction_of(leading["value"].to_numpy(), leading["contribution"].to_numpy())
    n_bars = rows["open_time"].nunique()
    _title(figure, found, facts, f"{model}: {names[0]} {told}, {n_bars:,} bars drawn")
    return figure


def dependence_figure(found: CoinExplanation, model: str, feature: str) -> Figure:
    """Contribution of one feature against its value, one dot per explained bar.

    Raises `DataContractError` for a feature that no fold's model was shown, or that has no value on any explained bar.
    """
    facts, rows = found.of(model), leaning_of(found, model)
    of_feature = rows[rows["feature"] == feature]
    own = of_feature[of_feature["value"].notna()]
    if own.empty:
        never = "was not shown to" if of_feature.empty else f"is missing on all {len(of_feature):,} bars explained of"
        raise DataContractError(f"{found.coin}: {feature} {never} {model}: there is nothing to draw")
    figure, axes = canvas(height=3.6)
    axes.scatter(own["value"], own["contribution"], s=9, color=GOOD, alpha=0.6, lw=0)
    middles, means = _means_by_value(own)
    axes.plot(middles, means, "-", color=INK, lw=1.4, label="mean of each tenth of the bars")
    axes.axhline(0, color=SOFT, lw=0.8)
    axes.set_xlabel(feature)
    axes.set_ylabel(f"contribution to\n{leaning_phrase(facts)}", fontsize=8)
    n_missing = len(of_feature) - len(own)
    axes.legend(frameon=False, fontsize=8)
    missing = f", missing on {n_missing:,}" if n_missing else ""
    told = direction_of(own["value"].to_numpy(), own["contribution"].to_numpy())
    _title(figure, found, facts, f"{model}: {feature} {told}, {len(own):,} bars{missing}")
    return figure


def waterfall_figure(found: CoinExplanation, model: str, *, by: str | None = None, top: int = 10) -> Figure:
    """Why the latest signal: from what the model says of no bar in particular to what it says of this one."""
    facts, rows = found.of(model), why_rows(found, model, by)
    first = rows.iloc[0]
    told, rest = rows.head(top), rows.iloc[top:]["contribution"].sum()
    names = ["to begin with", *told["feature"], f"{max(len(rows) - top, 0)} other features"]
    steps = np.array([first["base"], *told["contribution"], rest])
    ends = steps.cumsum()
    figure, axes = canvas(height=0.28 * len(steps) + 1.8)
    places = np.arange(len(steps))[::-1]
    axes.barh(places, steps, left=ends - steps, color=[SOFT, *(GOOD if step > 0 else BAD for step in steps[1:])], height=0.62)
    for place, step, end in zip(places, steps, ends, strict=True):
        axes.annotate(f"{step:+.3g}", (max(end, end - step), place), xytext=(3, -3), textcoords="offset points", fontsize=7)
    axes.vlines(ends[:-1], places[1:] - 0.31, places[:-1] + 0.31, color=SOFT, lw=0.6)
    axes.axvline(0, color=SOFT, lw=0.8)
    axes.use_sticky_edges = False
    axes.margins(x=0.12)
    _name_rows(axes, names[::-1], values=[np.nan, *told["value"], np.nan][::-1])
    axes.set_xlabel(f"{_unit(facts)} of {LEANS[int(first['signal'])]}, adding up to {ends[-1]:+.3g}")
    _title(figure, found, facts, f"{decision_of(first)}: what {model} ({first['by']}) made of it", rule=maker_of(first))
    return figure


def attention_figure(found: CoinExplanation, model: str) -> Figure:
    """When a network looked: share of its contributions, and of its attention where it has any, by bars back.

    Raises `DataContractError` for a model that looks at one bar at a time.
    """
    facts = found.of(model)
    own = found.lags[found.lags["model"] == model]
    if own.empty:
        raise DataContractError(f"{found.coin}: {model} looks at one bar at a time, so that there is no when to draw")
    figure, axes = canvas(height=3.4)
    mean = own.groupby("bars_back")[["share", "attention"]].mean()
    axes.fill_between(mean.index, 100 * mean["share"], color=GOOD, alpha=0.35, lw=0, step="mid", label="contributions")
    if mean["attention"].notna().any():
        axes.plot(mean.index, 100 * mean["attention"], color=INK, lw=1.3, label="attention, mean of heads and layers")
    axes.axhline(100 / len(mean), color=SOFT, ls="--", lw=1, label="every bar alike")
    axes.set_xlabel("bars back from the one that is forecast; mean of folds")
    axes.set_ylabel("share, %")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)
    half = int((mean["share"].cumsum() < 0.5).sum()) + 1
    _title(figure, found, facts, f"{model}: half of what it says comes from the latest {half} of {len(mean)} bars")
    return figure


def stability_figure(found: CoinExplanation, model: str, *, over: str = "fold", top: int = 12) -> Figure:
    """Rank of the leading features fold by fold, or night by night (`over="night"`)."""
    facts, names = found.of(model), importance_table(found, model)["feature"].head(top).tolist()
    source = found.importances if over == "fold" else found.nights
    own = source[source["model"] == model]
    ranks = own.set_index([over, "feature"])["share"].unstack().rank(axis=1, ascending=False)  # noqa: PD010 - gaps stay gaps
    shown_ranks = ranks.reindex(columns=names)
    figure, axes = canvas(height=0.27 * len(names) + 1.8)
    values = shown_ranks.T.to_numpy(dtype=np.float64)
    image = axes.imshow(values, aspect="auto", cmap="YlGnBu_r", vmin=1, vmax=2 * top)
    for (row, column), rank in np.ndenumerate(values):
        text, color = ("-", SOFT) if np.isnan(rank) else (f"{rank:.0f}", "white" if rank <= top else INK)
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
    axes.set_xticks(range(len(ranks)), [_column(label) for label in ranks.index], fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_xlabel(f"{over}; a dash: not shown to that {over}'s models")
    figure.colorbar(image, ax=axes, fraction=0.03, label="rank")
    often = int((values <= top).all(axis=1).sum())
    finding = f"{often} of the {len(names)} leading features are among the first {top} in each of {len(ranks)} {over}s"
    _title(figure, found, facts, f"{model}: {finding}")
    return figure


def why_sentence(found: CoinExplanation, model: str, *, by: str | None = None, top: int = 3) -> str:
    """Why this signal: the decision, what of the bar spoke for it and what against it, in the model's unit."""
    facts, rows = found.of(model), why_rows(found, model, by)
    first, unit = rows.iloc[0], _unit(facts)
    score = first["base"] + rows["contribution"].sum()
    signs = (("for", rows["contribution"] > 0), ("against", rows["contribution"] < 0))
    sides = [f"{word}: {_listed(rows[chosen].head(top))}" for word, chosen in signs if chosen.any()]
    chances = ", ".join(f"{name} {first[f'p_{name}']:.2f}" for name in CLASSES)
    lean = f"{model} ({first['by']}) gives {chances} and {score:+.2f} {unit} for {LEANS[int(first['signal'])]}"
    return f"{decision_of(first)}. {lean}; {'; '.join(sides)}; to begin with {first['base']:+.2f}. {maker_of(first)}."


def explanation_page(found: CoinExplanation, model: str, stability: pd.DataFrame, *, top: int) -> str:
    """One model for a terminal: its leading features, on which rows, how far folds and nights agree, why the latest signal."""
    facts = found.of(model)
    makers = found.why.loc[found.why["model"] == model, "by"].unique()
    own = stability.loc[stability["model"] == model].drop(columns="model")
    parts = [
        f"{found.coin} {model}: {facts['method']}, in {facts['unit']}\n{facts['rule']}",
        to_text(importance_table(found, model).head(top)),
        f"agreement of importances\n{to_text(own)}",
        *(why_sentence(found, model, by=by) for by in makers),
        *(f"not explained: {reason}" for reason in found.models["refused"] if reason),
    ]
    return "\n\n".join(parts)


def why_rows(found: CoinExplanation, model: str, by: str | None = None) -> pd.DataFrame:
    """Rows of one decision: by the newest fold's model unless `by` says otherwise."""
    own = found.why[found.why["model"] == model]
    return own[own["by"] == (own["by"].iloc[0] if by is None else by)]


def decision_of(first: pd.Series) -> str:
    """`BUY at 0.61 (medium) on 2024-04-13 07:00`."""
    when = f"on {pd.Timestamp(first['open_time']):%Y-%m-%d %H:%M}"
    side = SIDES[int(first["signal"])]
    if np.isnan(first["confidence"]):
        return f"no decision {when}, the model's own is {side}"
    return f"{side} at {first['confidence']:.2f} ({first['tier']}) {when}"


def maker_of(first: pd.Series) -> str:
    """Which model explains the latest decision, and that it had not learned from the bar."""
    if first["by"] == "final":
        return "By the model for production, which has not learned from this bar: its label is still to come"
    return f"By the model of {first['by']}, which had not learned from this bar"


def _listed(rows: pd.DataFrame) -> str:
    return ", ".join(f"{row.feature} {row.contribution:+.2g}" for row in rows.itertuples())


def _unit(facts: pd.Series) -> str:
    return str(facts["unit"])


def leaning_of(found: CoinExplanation, model: str) -> pd.DataFrame:
    """`open_time, feature, value, contribution`: towards long, of every explained bar."""
    rows, outputs = found.contributions[model], tuple(str(found.of(model)["outputs"]).split(", "))
    kept = rows[rows["feature"] != BASE]
    return kept[["open_time", "feature", "value"]].assign(contribution=kept[list(outputs)].to_numpy() @ contrast(outputs, 1))


def leaning_phrase(facts: pd.Series) -> str:
    """What contributions of a model add up to, as the words of an axis."""
    outputs = tuple(str(facts["outputs"]).split(", "))
    if facts["unit"] != LOG_ODDS:
        return f"the {facts['unit']}"
    return f"the log-odds of {'up against down' if outputs == DIRECTIONS else 'long against short'}"


def thinned_bars(rows: pd.DataFrame, *, most: int = MOST_DOTS) -> pd.DataFrame:
    """Evenly spread bars, so many that dots can still be told apart."""
    times = rows["open_time"].unique()
    if len(times) <= most:
        return rows
    return rows[rows["open_time"].isin(times[np.linspace(0, len(times) - 1, most).round().astype(int)])]


def rank_of(values: pd.Series) -> Floats:
    """Place of each value among the others, 0 to 1; a missing one in the middle."""
    return np.asarray(values.rank(pct=True).fillna(0.5), dtype=np.float64)


def swarm_of(x: Floats) -> Floats:
    """Offsets from a line that keep dots of the same place apart: (n,), within 0.4."""
    if len(x) == 0 or np.ptp(x) == 0:
        return np.zeros(len(x))
    cells = np.floor((x - x.min()) / np.ptp(x) * 60).astype(int)
    place = pd.Series(x).groupby(cells).cumcount().to_numpy()
    side = np.where(place % 2 == 0, 1, -1) * ((place + 1) // 2)
    return np.asarray(0.4 * side / max(np.abs(side).max(), 1))


def direction_of(values: Floats, contributions: Floats) -> str:
    """Whether higher values speak for long, by rank correlation."""
    known = np.isfinite(values)
    if known.sum() < 3 or np.ptp(values[known]) == 0 or np.ptp(contributions[known]) == 0:
        return "says the same of every bar"
    correlation = pd.Series(values[known]).corr(pd.Series(contributions[known]), method="spearman")
    if abs(correlation) < 0.3:
        return f"speaks for long or short with no clear order of values (rank correlation {correlation:+.2f})"
    return f"speaks for {'long' if correlation > 0 else 'short'} where it is high (rank correlation {correlation:+.2f})"


def _means_by_value(own: pd.DataFrame) -> tuple[Floats, Floats]:
    """Mean value and mean contribution of each tenth of the bars."""
    tenths = (own["value"].rank(method="first", pct=True) * 10).clip(upper=9.99).astype(int)
    means = own.groupby(tenths)[["value", "contribution"]].mean()
    return means["value"].to_numpy(), means["contribution"].to_numpy()


def _column(label: object) -> str:
    return f"{label:%m-%d %H}" if isinstance(label, pd.Timestamp) else str(label)


def _name_rows(axes: Axes, names: "list[str] | pd.Series", *, values: list[float] | None = None) -> None:
    known = [np.nan] * len(names) if values is None else values
    labels = [name if np.isnan(value) else f"{name} = {shown(float(value))}" for name, value in zip(names, known, strict=True)]
    axes.set_yticks(range(len(labels)), labels, fontsize=7)


def _title(figure: Figure, found: CoinExplanation, facts: pd.Series, finding: str, *, rule: str | None = None) -> None:
    """The finding on top; below it how it was measured, and on which rows."""
    told = f"{facts['method']}; {facts['rule'] if rule is None else rule}"
    figure.suptitle(f"{fill(f'{found.coin} {finding}', 100)}", fontsize=10, x=0.01, ha="left")
    figure.supxlabel(fill(told, 130), fontsize=7, color=INK, x=0.01, ha="left")
