"""Pictures of stored results: each takes a table, returns a matplotlib figure and says its finding and n in the title.

Figures are returned, never shown, and hold no global state.
"""

import base64
from collections.abc import Mapping
from io import BytesIO

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.dates import AutoDateLocator
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from crp_pipeline.candles import QualityReport, Severity
from crp_pipeline.contracts import CLASSES
from crp_pipeline.splits import PURGED, TEST, TRAIN

INK, SOFT, GOOD, BAD, WARN = "#1f2a36", "#9aa7b4", "#1b7f79", "#b8433f", "#d99a2b"
DPI = 90
MOST_MISSING = 16
"""Features that a picture names."""
MOST_POINTS = 2_000
"""Points of a line that one picture shows."""
MOST_FEATURES = 60
"""Features that one picture can name."""


def candles_figure(candles: pd.DataFrame, *, coin: str) -> Figure:
    """Close price over time, filled-in bars marked, holes left open."""
    figure, axes = canvas()
    for _, segment in candles.groupby("segment"):
        axes.plot(segment.index, segment["close"], color=INK, lw=0.7)
    filled = candles[candles["is_repaired"]]
    axes.plot(filled.index, filled["close"], "o", ms=4, color=BAD, label=f"{len(filled)} filled-in bars")
    axes.set_yscale("log")
    axes.legend(frameon=False, loc="upper left")
    segments = candles["segment"].nunique()
    axes.set_title(f"{coin}: {len(candles):,} bars in {segments} unbroken stretch{'es' if segments > 1 else ''}")
    return figure


def market_figure(closes: pd.DataFrame) -> Figure:
    """Closes of all coins, each as a multiple of its first, every so many bars (`candles.market_closes`)."""
    figure, axes = canvas()
    shown = closes.iloc[:: max(len(closes) // MOST_POINTS, 1)]
    for coin, close in shown.items():
        known = close.dropna()
        axes.plot(known.index, known / known.iloc[:1].mean(), lw=0.8, label=str(coin))
    axes.set_yscale("log")
    axes.set_ylabel("close, in first closes")
    figure.legend(frameon=False, loc="outside right upper", fontsize=7)
    axes.set_title(f"{closes.shape[1]} coins side by side on {len(closes):,} bars")
    return figure


def quality_figure(candles: pd.DataFrame, report: QualityReport, *, coin: str) -> Figure:
    """Close price over time, and below it one line per kind of finding: where, and whether it blocks."""
    figure = Figure(figsize=(8, 3 + 0.25 * len(report.findings)), dpi=DPI, layout="constrained")
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=[8, 1 + len(report.findings)])
    top.plot(candles.index, candles["close"], color=INK, lw=0.7)
    top.set_yscale("log")
    for line, finding in enumerate(report.findings):
        color = BAD if finding.severity is Severity.BLOCK else WARN
        first, last = (pd.DatetimeIndex([span[end] for span in finding.spans]) for end in (0, 1))
        below.hlines([line] * len(first), first, last, color=color, lw=6)
        below.plot(first, [line] * len(first), "|", ms=9, color=color)
    below.set_yticks(range(len(report.findings)), [f"{it.kind}: {it.count:,}".replace("_", " ") for it in report.findings])
    below.set_ylim(len(report.findings) - 0.4, -0.6)
    kinds = f"{len(report.findings)} kinds of finding" if report.findings else "nothing found"
    top.set_title(f"{coin}: {kinds} in {report.n_rows:,} bars{'' if report.ok else ', refused'}")
    tidy(top)
    tidy(below)
    return figure


def feeds_figure(feeds: pd.DataFrame, *, coin: str) -> Figure:
    """Each feed column over time as the bars know it, stretches without a value shaded; at least one column."""
    figure = Figure(figsize=(8, 0.8 + 1.5 * feeds.shape[1]), dpi=DPI, layout="constrained")
    panels = np.atleast_1d(figure.subplots(feeds.shape[1], 1, sharex=True))
    for axes, (name, values) in zip(panels, feeds.items(), strict=True):
        axes.plot(feeds.index, values, color=INK, lw=0.7, drawstyle="steps-post")
        _shade(axes, feeds.index, values.isna().to_numpy())
        axes.set_title(f"{name}: known on {values.count():,} of {len(feeds):,} bars", loc="left", fontsize=8)
        axes.set_xlim(feeds.index[0], feeds.index[-1])
        tidy(axes)
    panels[-1].xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=8))  # type: ignore[no-untyped-call]
    n_unknown, columns = int(feeds.isna().to_numpy().sum()), "column" if feeds.shape[1] == 1 else "columns"
    figure.suptitle(f"{coin}: {n_unknown:,} values unknown (shaded) in {feeds.shape[1]} feed {columns}", fontsize=10)
    return figure


def features_figure(features: pd.DataFrame, *, n_leaks: int) -> Figure:
    """The features with most missing values by name, so that a gap in the table is seen before a model hides it."""
    missing = features.isna().mean().sort_values(ascending=False, kind="stable")
    shown = missing.head(MOST_MISSING)
    figure, axes = canvas(height=0.9 + 0.2 * len(shown))
    axes.barh(range(len(shown)), 100 * shown.to_numpy(), color=[BAD if share == 1 else INK for share in shown])
    axes.set_yticks(range(len(shown)), list(shown.index))
    axes.set_xlim(0, 100)
    axes.invert_yaxis()
    axes.set_xlabel(f"missing values, %, of the {len(shown)} features that miss most")
    without = f"{int((missing == 1).sum())} without any value, {n_leaks} that look ahead"
    axes.set_title(f"{features.shape[1]} features x {len(features):,} bars: {without}")
    return figure


def labels_figure(labels: pd.DataFrame) -> Figure:
    """Class shares month by month."""
    known = labels["signal"].dropna()
    month = pd.DatetimeIndex(known.index).strftime("%Y-%m")
    shares = pd.crosstab(month, known.astype(int), normalize="index").reindex(columns=[-1, 0, 1], fill_value=0.0)
    figure, axes = canvas()
    bottom = np.zeros(len(shares))
    for value, name, color in zip((-1, 0, 1), CLASSES, (BAD, SOFT, GOOD), strict=True):
        axes.bar(shares.index, shares[value], bottom=bottom, color=color, label=name, width=0.9)
        bottom += shares[value].to_numpy()
    axes.set_xticks(range(0, len(shares), max(len(shares) // 8, 1)))
    figure.legend(frameon=False, loc="outside right upper")
    overall = known.value_counts(normalize=True)
    parts = ", ".join(f"{name} {overall.get(value, 0.0):.0%}" for value, name in zip((-1, 0, 1), CLASSES, strict=True))
    axes.set_title(f"{len(known):,} labels of {len(labels):,} bars: {parts}")
    return figure


def timeline_figure(role_table: pd.DataFrame) -> Figure:
    """What every bar is to every fold: learned from, purged or tested."""
    figure, axes = canvas(height=0.9 + 0.28 * role_table.shape[1])
    times = pd.DatetimeIndex(role_table.index)
    for position, name in enumerate(role_table.columns):
        for role, color, label in ((TRAIN, SOFT, "learned from"), (PURGED, BAD, "purged"), (TEST, GOOD, "tested")):
            _spans(axes, times, role_table[name].to_numpy() == role, position, color, label if position == 0 else "")
    axes.set_yticks(range(role_table.shape[1]), [name.replace("_", " ") for name in role_table.columns])
    axes.invert_yaxis()
    figure.legend(frameon=False, loc="outside right upper")
    tested = int((role_table == TEST).to_numpy().sum())
    axes.set_title(f"{role_table.shape[1]} folds walk forward and test {tested:,} bars once each")
    return figure


def calibration_figure(curve: pd.DataFrame, *, error: float) -> Figure:
    """Hit rate against confidence with the number of decisions in each bin (`metrics.calibration.calibration_curve`)."""
    figure, axes = canvas(width=5.2)
    axes.plot([0, 1], [0, 1], color=SOFT, lw=1, ls="--")
    filled = curve[curve["n"] > 0]
    axes.plot(filled["mean_confidence"], filled["hit_rate"], "o-", color=INK)
    for place, (confidence, n) in enumerate(zip(filled["mean_confidence"], filled["n"], strict=True)):
        # neighbouring bins may lie close together
        height = 0.02 + 0.05 * (place % 2)
        axes.annotate(f"{n:,}", (confidence, height), xycoords=("data", "axes fraction"), ha="center", fontsize=7, color=INK)
    axes.set_ylim(-0.12, 1.05)
    axes.set_xlabel("confidence (above the axis: decisions in each bin)")
    axes.set_ylabel("hit rate")
    axes.set_title(f"calibration error {error:.1%} over {int(curve['n'].sum()):,} decisions")
    return figure


def equity_figure(equity: pd.Series, *, n_trades: int) -> Figure:
    """Equity marked to market and its drawdown; on a log scale where equity has more than tripled or shrunk to a third."""
    figure = Figure(figsize=(8, 4), dpi=DPI, layout="constrained")
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    drawdown = equity / equity.cummax() - 1
    top.plot(equity.index, equity / 1e3, color=INK, lw=0.9)
    if 0 < 3 * equity.min() < equity.max():
        top.set_yscale("log")
        top.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        top.yaxis.set_minor_locator(NullLocator())
    top.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    top.set_ylabel("equity, thousands")
    below.fill_between(drawdown.index, 100 * drawdown, 0, color=BAD, lw=0)
    below.set_ylabel("drawdown, %")
    gain = equity.iloc[-1] / equity.iloc[0] - 1
    top.set_title(f"{gain:+.1%} after costs over {n_trades:,} trades, deepest drawdown {-drawdown.min():.1%}")
    tidy(top)
    tidy(below)
    return figure


def selection_figure(kept: pd.DataFrame, *, stability: float) -> Figure:
    """Which features each fold keeps, the most often kept on top and the final model last (`models.kept_table`)."""
    of_folds = kept[kept.index >= 0]
    often = of_folds.sum().sort_values(ascending=False, kind="stable")
    shown = often[(often > 0) | kept.iloc[-1]].index[:MOST_FEATURES]
    figure, axes = canvas(height=0.9 + 0.14 * len(shown))
    axes.imshow(kept[shown].T.to_numpy(), aspect="auto", cmap=ListedColormap(["white", GOOD]), vmin=0, vmax=1)
    axes.set_yticks(range(len(shown)), shown)
    axes.set_xticks(range(len(kept)), [f"fold {number}" if number >= 0 else "final" for number in kept.index], rotation=90)
    axes.tick_params(axis="y", labelsize=6)
    axes.set_xlabel("stability: 1 when every fold keeps the same, 0 when no more than chance", fontsize=8)
    known = "" if np.isnan(stability) else f", stability {stability:.2f}"
    every = int(of_folds.all().sum())
    # the names take half of the width: a title over the axes would not fit
    figure.suptitle(f"{every} of {kept.shape[1]} features kept in each of {len(of_folds)} folds{known}", fontsize=10)
    return figure


def folds_figure(losses: pd.DataFrame, *, model: str) -> Figure:
    """Out-of-fold log-loss of a model, fold by fold, against the class prior (`gate.scores.log_loss_by_fold`)."""
    figure, axes = canvas()
    axes.plot(losses.index, losses["prior"], "s--", color=SOFT, label="class prior")
    axes.plot(losses.index, losses["log_loss"], "o-", color=INK, label=model)
    axes.set_xlabel("fold")
    axes.set_ylabel("log-loss, nats")
    axes.legend(frameon=False)
    better = int((losses["log_loss"] < losses["prior"]).sum())
    axes.set_title(f"{model} beats the class prior in {better} of {len(losses)} folds, {int(losses['n'].sum()):,} bars")
    return figure


def training_figure(histories: Mapping[str, pd.DataFrame], *, model: str) -> Figure:
    """Learned and watched loss by epoch, one line per fit, and the learning rate below (`models.Model.history`)."""
    figure = Figure(figsize=(8, 4), dpi=DPI, layout="constrained")
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    for number, history in enumerate(histories.values()):
        told = number == 0
        top.plot(history["epoch"], history["loss"], "-", color=SOFT, lw=0.8, label="learned" if told else "")
        top.plot(history["epoch"], history["validation_loss"], "-", color=INK, lw=1, label="watched" if told else "")
        if history["validation_loss"].notna().any():
            best = history.iloc[int(history["validation_loss"].argmin())]
            top.plot(best["epoch"], best["validation_loss"], "o", ms=4, color=GOOD, label="gone back to" if told else "")
        below.step(history["epoch"], history["learning_rate"], where="mid", color=SOFT, lw=0.8)
    top.set_ylabel("loss")
    top.legend(frameon=False)
    below.set_yscale("log")
    below.set_ylabel("learning rate")
    below.set_xlabel("epoch")
    seconds = sum(float(history["seconds"].sum()) for history in histories.values() if "seconds" in history)
    epochs = sum(len(history) for history in histories.values())
    top.set_title(f"{model}: {epochs:,} epochs in {len(histories)} fits, {seconds:,.0f} s")
    tidy(top)
    tidy(below)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()


def inline(figure: Figure) -> str:
    """The figure as a `data:` address that a page or a Markdown cell can show without a file."""
    return "data:image/png;base64," + base64.b64encode(png(figure)).decode()


def canvas(*, width: float = 8, height: float = 3) -> tuple[Figure, Axes]:
    """An empty figure of so many inches in the style of the house, and its axes."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    tidy(axes)
    return figure, axes


def tidy(axes: Axes) -> None:
    """Axes in the style of the house: open at the top and the right, small ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=INK)
    axes.title.set_fontsize(10)


def _shade(axes: Axes, times: pd.Index, chosen: np.ndarray) -> None:
    """Full-height shade over the bars where `chosen` holds."""
    height, until_the_next = axes.get_xaxis_transform(), np.append(False, chosen[:-1])
    axes.fill_between(times, 0, 1, where=chosen | until_the_next, step="post", transform=height, color=WARN, alpha=0.35, lw=0)


def _spans(axes: Axes, times: pd.DatetimeIndex, chosen: np.ndarray, row: int, color: str, label: str) -> None:
    """Horizontal bars over the runs where `chosen` holds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen.astype(int), [0]])))
    for number, (first, last) in enumerate(zip(edges[::2], edges[1::2], strict=True)):
        start, end = times[first], times[last - 1]
        axes.barh(row, end - start, left=start, height=0.7, color=color, label=label if number == 0 else "")
