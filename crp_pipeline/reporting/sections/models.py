"""The candidates of the night side by side, baselines on top, and what they learned from."""

import pandas as pd

from crp_pipeline.gate.scores import log_loss_by_fold
from crp_pipeline.models.selection import frequency_table
from crp_pipeline.reporting.document import Block, Section, Table, Words
from crp_pipeline.reporting.plots import (
    ACCENT,
    GOOD,
    INK,
    SEQUENCE,
    SOFT,
    WARN,
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
from crp_pipeline.reporting.tables import percent, percent_with_interval

BASELINE = "prior"
MOST_FEATURES = 30
"""Features that a picture can name."""
MOST_ROWS = 12
"""Features of the table on the page; its file holds all."""


def comparison_section(results: CoinResults) -> Section:
    """Win rates and accuracies with intervals, and the log-loss of every model fold by fold."""
    compared = results.comparison
    words = Words(
        "All candidates on the same bars, costs and exits; an interval counts independent trades, not all.", is_note=True
    )
    table = Table("comparison", f"{len(compared)} candidates, baselines on top", compared, comparison_view)
    losses = fold_losses(results)
    blocks: list[Block] = [
        words,
        _win_rates_plot(compared),
        table,
        _losses_plot(losses),
        Table("fold_losses", "log-loss by fold", losses),
    ]
    return Section("models", "Model comparison", blocks)


def comparison_view(compared: pd.DataFrame) -> pd.DataFrame:
    """The comparison with every rate beside its interval and its n."""
    return pd.DataFrame(
        {
            "candidate": compared["candidate"],
            "log-loss": compared["log_loss"],
            "accuracy": percent_with_interval(compared, "accuracy"),
            "independent labels": compared["effective_n"].round(),
            "win rate": percent_with_interval(compared, "win_rate"),
            "zero skill": compared["zero_skill_win_rate"].map(percent),
            "trades": compared["trades"],
            "effective": compared["effective_trades"].round(),
            "payoff": compared["payoff_ratio"],
            "coverage": compared["coverage"].map(percent),
            "net, bps": compared["expectancy_bps"],
            "luck p": compared["permutation_p"],
            "drawdown": compared["max_drawdown"].map(percent),
            "Sharpe": compared["sharpe"],
        }
    )


def fold_losses(results: CoinResults) -> pd.DataFrame:
    """Mean out-of-fold log-loss of every model, a row per fold, and the labelled bars `n`."""
    prior = results.predictions[BASELINE]
    by_model = {name: log_loss_by_fold(table, prior, results.labels) for name, table in results.predictions.items()}
    losses = pd.DataFrame({name: table["log_loss"] for name, table in by_model.items()})
    return losses.assign(n=by_model[BASELINE]["n"]).rename_axis("fold").reset_index()


def _win_rates_plot(compared: pd.DataFrame) -> Plot | Words:
    traded = compared[compared["trades"] > 0].reset_index(drop=True)
    if traded.empty:
        return Words(f"None of {len(compared)} candidates made a trade, so there is no win rate to compare.")
    places = list(range(len(traded)))
    spread = ranges(traded["win_rate_low"], traded["win_rate"], traded["win_rate_high"])
    traces = [
        points(packed(traded["zero_skill_win_rate"]), places, "zero skill", WARN, symbol="diamond-open", size=8),
        points(packed(traded["win_rate"]), places, "win rate", INK, size=9, error_x={**spread, "color": INK}),
    ]
    best = traded.iloc[int(traded["win_rate"].argmax())]
    title = (
        f"Best win rate: {best['candidate']} {percent(best['win_rate'])} ({percent(best['win_rate_low'])} to "
        f"{percent(best['win_rate_high'])}), zero skill {percent(best['zero_skill_win_rate'])}, n {best['trades']:,.0f}; "
        f"{len(traded)} candidates"
    )
    layout = {"xaxis": shares("net winners among the trades"), "yaxis": named(traded["candidate"])}
    return Plot("win-rates", title, traces, layout, height=110 + 28 * len(traded))


def _losses_plot(losses: pd.DataFrame) -> Plot:
    names = [name for name in losses.columns if name not in {"fold", "n"}]
    folds = [str(it) for it in losses["fold"]]
    traces = [
        line(folds, packed(losses[name]), name, SOFT if name == BASELINE else SEQUENCE[place % len(SEQUENCE)],
             dash="dash" if name == BASELINE else ("solid", "dot", "dashdot")[place // len(SEQUENCE) % 3], mode="lines+markers")
        for place, name in enumerate(names)
    ]  # fmt: skip
    mean = losses[names].mul(losses["n"], axis=0).sum() / losses["n"].sum()
    n_bars = f"{losses['n'].sum():,} bars"
    title = f"Lowest log-loss out of fold: {mean.idxmin()} {mean.min():.4f}, class prior {mean[BASELINE]:.4f}; {n_bars}"
    layout = {"xaxis": axis("fold", type="category"), "yaxis": axis("log-loss, nats")}
    return Plot("fold-losses", title, traces, layout, height=360)


def importance_section(results: CoinResults) -> Section:
    """Which features the folds kept to learn from."""
    often = frequency_table(results.selection)
    chosen = often[often["folds_kept"] > 0].head(MOST_FEATURES)
    title = f"how often each of {len(often)} features was kept"
    table = Table("feature_selection", title, often, _frequency_view)
    words = Words("Features are chosen inside each fold, never on what it tests.", is_note=True)
    if chosen.empty:
        return Section("importance", "Feature importance", [Words(f"No fold kept any of {len(often)} features."), table])
    return Section("importance", "Feature importance", [words, _frequency_plot(chosen, often, results), table])


def _frequency_view(often: pd.DataFrame) -> pd.DataFrame:
    often = often[often["folds_kept"] > 0].head(MOST_ROWS)
    share, in_final = often["share_of_folds"].map(percent), often["in_final"].map({True: "yes", False: "no"})
    return often.assign(share_of_folds=share, in_final=in_final)


def _frequency_plot(chosen: pd.DataFrame, often: pd.DataFrame, results: CoinResults) -> Plot:
    n_folds = results.splits.shape[1]
    always = int((often["folds_kept"] == n_folds).sum())
    color = [GOOD if kept == n_folds else ACCENT for kept in chosen["folds_kept"]]
    traces = [columns([int(it) for it in chosen["folds_kept"]], list(range(len(chosen))), "folds", color, orientation="h")]
    title = f"{always} of {len(often)} features kept in each of {n_folds} folds; the {len(chosen)} most often kept"
    layout = {"xaxis": axis("folds that keep it"), "yaxis": named(chosen["feature"]), "showlegend": False}
    return Plot("feature-selection", title, traces, layout, height=90 + 18 * len(chosen))
