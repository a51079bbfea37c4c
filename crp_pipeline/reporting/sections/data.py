"""What the numbers stand on: folds, leaks, labels, candles and features."""

import pandas as pd

from crp_pipeline.candles import quality
from crp_pipeline.contracts import CLASSES
from crp_pipeline.reporting.document import Block, Section, Table, Words
from crp_pipeline.reporting.plots import (
    ACCENT,
    BAD,
    GOOD,
    SOFT,
    Plot,
    Trace,
    axis,
    columns,
    dates,
    level,
    line,
    moments,
    named,
    packed,
    shares,
    thinned,
)
from crp_pipeline.reporting.results import CoinResults
from crp_pipeline.reporting.tables import counted, percent
from crp_pipeline.splits import PURGED, timeline

MOST_POINTS = 1_500


def folds_section(results: CoinResults) -> Section:
    """What every fold learned from, purged and tested."""
    table = timeline(results.splits)
    purged = [int((results.splits[name] == PURGED).sum()) for name in results.splits.columns]
    traces = [
        _spans(table["train_start"], table["train_end"], "learned from", SOFT),
        _spans(*_purged_ends(results.splits), "purged", BAD),
        _spans(table["test_start"], table["test_end"], "tested", GOOD),
    ]
    tested = int(table["n_test"].sum())
    title = f"{len(table)} folds walk forward and test {tested:,} bars once each; {sum(purged):,} rows purged between"
    layout = {"xaxis": dates(), "yaxis": named([f"fold {it}" for it in table["fold"]])}
    plot = Plot("folds", title, traces, layout, height=110 + 22 * len(table))
    return Section("folds", "Fold timeline", [plot, Table("folds", f"{len(table)} folds", table)])


def _purged_ends(roles: pd.DataFrame) -> tuple[list[pd.Timestamp], list[pd.Timestamp]]:
    """First and last purged bar of every fold; no time where none is."""
    spans = [roles.index[roles[name] == PURGED] for name in roles.columns]
    return [it.min() for it in spans], [it.max() for it in spans]


def _spans(start: list[pd.Timestamp] | pd.Series, end: list[pd.Timestamp] | pd.Series, name: str, color: str) -> Trace:
    """One thick line per fold."""
    x: list[str | None] = []
    y: list[int | None] = []
    for place, (first, last) in enumerate(zip(start, end, strict=True)):
        if not (pd.isna(first) or pd.isna(last)):
            x += [first.isoformat(), last.isoformat(), None]
            y += [place, place, None]
    return line(x, y, name, color, width=11)


def leaks_section(results: CoinResults) -> Section:
    """The leak meter, and every reading that would have been too good to be true."""
    readings = results.sentinels
    value = dict(zip(readings["name"], readings["value"], strict=True))
    shuffled, purged = value.get("leak_shuffled_accuracy", float("nan")), value.get("leak_purged_accuracy", float("nan"))
    n_alarms = int(readings["alarm"].sum())
    title = f"{n_alarms} of {len(readings)} readings raise an alarm"
    table = Table("sentinels", title, readings, _alarms_first)
    if pd.isna(shuffled) or pd.isna(purged):
        return Section(
            "leaks", "Leak meter", [Words("There were too few rows to measure what shuffled folds would have shown."), table]
        )
    said = f"{percent(shuffled)} of directions told instead of {percent(purged)}; {_leak_rows(readings)}"
    title = f"Shuffled folds would have flattered by {100 * (shuffled - purged):.0f} points: {said}"
    shape, label = level(0.5, "coin flip")
    layout = {
        "xaxis": axis(type="category"),
        "yaxis": shares("directions told", range=[0, 1]),
        "shapes": [shape],
        "annotations": [label],
        "showlegend": False,
    }
    kinds, told = ["shuffled folds", "purged folds"], [float(shuffled), float(purged)]
    note = "The same small model on the same rows; the meter is shown and judges nothing."
    bars = columns(kinds, told, "directions", [BAD, GOOD], width=0.5)
    plot = Plot("leak-meter", title, [bars], layout, height=260, note=note, is_square=True)
    return Section("leaks", "Leak meter", [plot, table])


def _leak_rows(readings: pd.DataFrame) -> str:
    """How many bars the meter was read on, as its sentence tells."""
    told = readings.loc[readings["name"] == "leak_gap", "sentence"]
    return str(told.iloc[0]).rpartition(" on ")[2] if len(told) else "bars unknown"


def _alarms_first(readings: pd.DataFrame) -> pd.DataFrame:
    ordered = readings.sort_values("alarm", ascending=False, kind="stable")
    return ordered.assign(alarm=ordered["alarm"].map({True: "yes", False: "no"}))


def quality_section(results: CoinResults) -> Section:
    """Candles, labels and features: what is missing, filled in or odd."""
    return Section("quality", "Data quality", [*_candles(results), *_labels(results), *_features(results)])


def _candles(results: CoinResults) -> list[Block]:
    candles = results.candles
    report = quality(candles, candles.attrs["interval"], source=results.coin)
    at = thinned(len(candles), MOST_POINTS)
    n_filled, n_segments = int(candles["is_repaired"].sum()), candles["segment"].nunique()
    title = (
        f"{len(candles):,} bars, {n_filled:,} filled in, {counted(n_segments, 'unbroken stretch', 'unbroken stretches')}; "
        f"{counted(len(report.findings), 'kind of finding', 'kinds of finding')}"
    )
    traces = [line(moments(candles.index[at]), packed(candles["close"].iloc[at]), "close", ACCENT, width=1)]
    plot = Plot(
        "candles", title, traces, {"xaxis": dates(), "yaxis": axis("close", type="log"), "showlegend": False}, height=260
    )
    findings = report.to_frame()
    if findings.empty:
        return [plot, Words("Nothing is odd about the stored candles.")]
    return [
        plot,
        Table("quality", f"{counted(len(findings), 'kind of finding', 'kinds of finding')} in the stored candles", findings),
    ]


def _labels(results: CoinResults) -> list[Block]:
    known = results.labels["signal"].dropna()
    if known.empty:
        return [Words(f"{results.coin} has no bar with a known label.")]
    month = pd.DatetimeIndex(known.index).strftime("%Y-%m")
    counts = pd.crosstab(month, known.astype(int)).reindex(columns=[-1, 0, 1], fill_value=0)
    counts = counts.set_axis(list(CLASSES), axis=1).rename_axis("month").reset_index()
    n = counts[list(CLASSES)].sum(axis=1)
    traces = [
        columns(counts["month"].tolist(), packed(counts[name] / n), name, color)
        for name, color in zip(CLASSES, (BAD, SOFT, GOOD), strict=True)
    ]
    overall = counts[list(CLASSES)].sum() / len(known)
    told = ", ".join(f"{name} {share:.0%}" for name, share in overall.items())
    layout = {
        "barmode": "stack",
        "xaxis": dates(),
        "yaxis": shares("share of the labels", range=[0, 1]),
        "bargap": 0.08,
    }
    title = f"{len(known):,} labels of {len(results.labels):,} bars: {told}"
    return [
        Plot("labels", title, traces, layout, height=260),
        Table("labels", "labels by month", counts.assign(n=n), lambda it: it.tail(12)),
    ]


def _features(results: CoinResults) -> list[Block]:
    missing = results.features.isna().mean()
    empty = list(missing.index[missing == 1])
    table = pd.DataFrame({"feature": missing.index, "missing": missing.to_numpy()}).sort_values(
        "missing", ascending=False, kind="stable", ignore_index=True
    )
    is_empty = f"{len(empty)} of {len(missing)} features have no value on any bar: {', '.join(empty[:12])}." if empty else (
        f"Each of {len(missing)} features has values; the one that misses most, {table['feature'].iloc[0]}, misses "
        f"{percent(table['missing'].iloc[0])} of {len(results.features):,} bars."
    )  # fmt: skip
    view = lambda frame: frame.head(12).assign(missing=frame["missing"].head(12).map(percent))  # noqa: E731
    return [Words(is_empty), Table("features_missing", "the features that miss most", table, view)]
