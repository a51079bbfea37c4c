"""Champion against challenger: on the same past bars, and night after night on bars that nobody had seen.

On past bars both are backtested and their days are paired: tonight's decisions out of fold with the champion's out of fold
and, after these, with what the champion's recipe decided night after night in its reign. On bars that both have out of fold
they read the same settled folds back and mostly agree, so that only later bars can tell a refreshed model from the champion.
That shows whether it is no worse, which is all that it must show. It cannot show that another recipe is better: whoever looks
every night and promotes at p < 0.05 promotes noise in one year of three.

Another recipe is proved on fresh decisions, which were written down before their outcome was known. They are paired in rounds
of whole UTC days, no shorter than two horizons. Each contender trades only the bars that both decided, enters a round flat and
leaves it flat, so that no trade and no label is counted in two rounds: under the null of equal skill the next round is then a
fair coin whatever came before, which decisions of neighbouring bars, that share most of their horizon, are not. Rounds with
equal results are dropped. The stake on the others is an e-process (`metrics.mixture_e_value`): whether it is looked at once or
every night, the chance that it ever reaches 20 without skill is at most 1 in 20.

Whoever seats one recipe after the other tries his luck as often. The e-value of each is divided by the number of recipes that
have been seated in the present reign (Bonferroni), tonight's among them: the chance that the k-th gets there without skill
is at most 1 in 20 k. An e-value counts rounds and not money, so that many small wins could outweigh a few ruinous losses:
the mean difference of all rounds must be above 0 as well.

A champion that cannot read today's features decides nothing. It then counts as flat, which is what it would be in production,
and returns 0 in the rounds.

In a round, positions are closed by time alone and are all of one size. With stops and targets a contender without skill would
win most rounds as soon as the stop is wider than the target.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from crp_pipeline.backtest import BacktestResult, exit_table, run_backtest
from crp_pipeline.contracts import CHALLENGER, CHAMPION, PROBABILITIES, interval_length
from crp_pipeline.gate.comparison import with_exits
from crp_pipeline.gate.scores import block_days, horizon_days
from crp_pipeline.metrics import block_bootstrap_interval, daily_returns, mixture_e_value
from crp_pipeline.models.scoring import log_losses
from crp_pipeline.settings import PipelineSettings

Backtest = Callable[..., BacktestResult]

_COMPARED = ("signal", *PROBABILITIES, "confidence")
DAY = pd.Timedelta(1, "D")
SAME_RETURN = 1e-9
"""Results of a round that differ by less are equal: the same trades on another equity round differently."""
LARGEST_E_VALUE = 1e9
"""An e-value is told up to here: an infinite number would count as not measured."""

FEWEST_PAIRED_DAYS = 20
"""Fewer say nothing: a refresh that cannot be compared stays in the shadow until as many days of its reign are paired."""

_UNPAIRED: Mapping[str, float] = {
    "paired_days": 0.0,
    **dict.fromkeys(
        (f"{name}{end}" for name in ("pnl_difference_bps", "log_loss_difference") for end in ("", "_low", "_high")), math.nan
    ),
}
"""What `paired_evidence` tells where nothing could be compared."""


_NOT_FRESH: Mapping[str, float] = {"paired_days_fresh": 0.0, "recipes_tried": 0.0}


@dataclass(frozen=True, kw_only=True)
class Margins:
    """How much worse a refreshed model may be, and how well another recipe must be proved."""

    pnl_bps: float = 2.0
    """Basis points of equity per day."""
    log_loss: float = 0.01
    """Nats per bar."""
    e_value: float = 20.0

    def __post_init__(self) -> None:
        """Raises `ValueError` for a margin that is not positive: slacks are told in margins."""
        if not (self.pnl_bps > 0 and self.log_loss > 0 and self.e_value > 0):
            raise ValueError(f"margins must be positive, got {self}")


@dataclass(frozen=True)
class Contender:
    """Tonight's candidate or the champion."""

    recipe: str
    """As `recipe_key` has it."""
    decisions: pd.DataFrame | None
    """Out of fold, `contracts.DecisionSchema`; None where a version did not keep them."""
    reign: int = 0
    """Of the champion: line of the journal at which the reign began."""


def recipe_key(recipe: str, feature_set_id: str) -> str:
    """What must be the same for two versions to be of one recipe: the settings behind them and the features."""
    return f"{recipe}-{feature_set_id}"


def challenge_evidence(
    tonight: Contender,
    champion: Contender | None,
    fresh: pd.DataFrame,
    candles: pd.DataFrame,
    labels: pd.DataFrame,
    settings: PipelineSettings,
    *,
    margins: Margins | None = None,
    backtest: Backtest = run_backtest,
) -> dict[str, float]:
    """Every number about tonight's candidate and the champion; differences are the candidate's minus the champion's.

    `champion_margin` is not negative where the rule that applies holds: for a refreshed model the smaller of its two slacks to
    the margins of non-inferiority, in margins; for another recipe the e-value minus the one that is needed. `refresh_margin`
    and `e_value_margin` are these two apart. A rule that does not apply is kept by `LARGEST_E_VALUE`, however strict it is
    made; without a champion neither applies. `e_value_margin` is of the e-value divided by `recipes_tried`; `fresh_gain_bps` is
    `fresh_difference_bps` where it counts. A refresh's margin is NaN, which promotes nothing, while fewer than
    `FEWEST_PAIRED_DAYS` can be paired; each night of the champion adds to them. `paired_days_fresh` of them lie in its reign.

    `fresh` is of `contracts.FreshDecisionSchema`; `backtest` trades for both: `run_backtest` with whatever it is told besides
    execution and sizing.
    """
    margins = margins or Margins()
    if champion is None:
        free = dict.fromkeys(("champion_margin", "refresh_margin", "e_value_margin", "fresh_gain_bps"), LARGEST_E_VALUE)
        return {"has_champion": 0.0, "same_recipe": 0.0, **_UNPAIRED, **_NOT_FRESH, **_tally(_no_rounds()), **free}
    lived, told = decided_in_reign(champion, fresh), (candles, labels, settings)
    paired = paired_evidence(tonight.decisions, with_reign(champion, lived), *told, backtest=backtest)
    paired["paired_days_fresh"] = _common_days(tonight.decisions, lived, candles.index.intersection(labels.index))
    tally = _tally(fresh_rounds(fresh, tonight.recipe, champion, candles, settings, backtest=backtest))
    is_refresh = tonight.recipe == champion.recipe
    refresh = _slack(paired, margins) if is_refresh else LARGEST_E_VALUE
    tally["recipes_tried"] = float(recipes_tried(tonight, champion, fresh))
    proof = LARGEST_E_VALUE if is_refresh else tally["e_value"] / tally["recipes_tried"] - margins.e_value
    margin = {"champion_margin": refresh if is_refresh else proof, "refresh_margin": refresh, "e_value_margin": proof}
    gain = {"fresh_gain_bps": LARGEST_E_VALUE if is_refresh else tally["fresh_difference_bps"]}
    return {"has_champion": 1.0, "same_recipe": float(is_refresh), **paired, **tally, **margin, **gain}


def recipes_tried(tonight: Contender, champion: Contender, fresh: pd.DataFrame) -> int:
    """Recipes other than the champion's that were seated in the present reign and decided something, tonight's among them."""
    seated = fresh.loc[(fresh["reign"] == champion.reign) & (fresh["role"] == CHALLENGER), "recipe"]
    return len({*seated, tonight.recipe} - {champion.recipe})


def challenge_sentence(evidence: Mapping[str, float], *, margins: Margins | None = None) -> str:
    """What `challenge_evidence` found, for people."""
    margins = margins or Margins()
    if not evidence["has_champion"]:
        return "there is no champion yet, so there is nothing to compare with"
    if not evidence["same_recipe"]:
        return (
            f"another recipe than the champion's: {evidence['fresh_wins']:.0f} of {evidence['fresh_pairs']:.0f} fresh rounds "
            f"won, {evidence['fresh_difference_bps']:+.3g} bps a round, e-value {evidence['e_value']:.4g}, needs "
            f">= {margins.e_value * evidence['recipes_tried']:g} with {evidence['recipes_tried']:.0f} recipes tried in this "
            f"reign; {_paired_phrase(evidence)}"
        )
    if math.isnan(evidence["champion_margin"]):
        told = f"{_paired_phrase(evidence)}; it waits until {FEWEST_PAIRED_DAYS} days can be compared"
        return f"a refreshed model of the champion's recipe; {told}"
    return (
        f"a refreshed model of the champion's recipe, which must not be worse by more than {margins.pnl_bps:g} bps a day or "
        f"{margins.log_loss:g} nats; {_paired_phrase(evidence)}"
    )


def decided_in_reign(champion: Contender, fresh: pd.DataFrame) -> pd.DataFrame:
    """What the champion's recipe decided night after night in the present reign, about bars that the champion did not keep."""
    here = fresh[(fresh["reign"] == champion.reign) & (fresh["role"] == CHAMPION) & (fresh["recipe"] == champion.recipe)]
    lived = here.set_index("open_time")[list(_COMPARED)]
    return lived if champion.decisions is None else lived[~lived.index.isin(_decided(champion.decisions))]


def with_reign(champion: Contender, lived: pd.DataFrame) -> pd.DataFrame:
    """The decisions that the champion kept, and after them those of its reign."""
    if champion.decisions is None:
        return lived
    return pd.concat([champion.decisions.loc[_decided(champion.decisions), list(_COMPARED)], lived]).sort_index()


def paired_evidence(
    challenger: pd.DataFrame | None,
    champion: pd.DataFrame | None,
    candles: pd.DataFrame,
    labels: pd.DataFrame,
    settings: PipelineSettings,
    *,
    backtest: Backtest = run_backtest,
) -> dict[str, float]:
    """Differences of daily net return, in bps, and of daily mean log-loss on the bars that both decided out of fold.

    Both trade these bars alone, from the first of them to the last one's horizon, with the same costs, sizes and exits. The
    intervals are of the mean over days, resampled in blocks of days no shorter than two horizons.
    """
    if challenger is None or champion is None:
        return dict(_UNPAIRED)
    common = _both_decided(challenger, champion, candles.index.intersection(labels.index))
    if common.empty:
        return dict(_UNPAIRED)
    own, other = challenger.loc[common], champion.loc[common]
    earned = _daily(own, candles, labels, settings, backtest) - _daily(other, candles, labels, settings, backtest)
    lost = (log_losses(own, labels) - log_losses(other, labels)).dropna()
    by_day = lost.groupby(pd.DatetimeIndex(lost.index).floor("D")).mean()
    return {
        "paired_days": float(len(earned)),
        **_interval("pnl_difference_bps", 1e4 * earned, settings),
        **_interval("log_loss_difference", by_day, settings),
    }


def fresh_rounds(
    fresh: pd.DataFrame,
    recipe: str,
    champion: Contender,
    candles: pd.DataFrame,
    settings: PipelineSettings,
    *,
    backtest: Backtest = run_backtest,
) -> pd.DataFrame:
    """One row per round that is over and that both decided in, by its first day: net returns and their `difference`.

    A champion that was asked and had no confidence is flat.

    Rounds are counted from the first UTC day on which the challenger's recipe and the champion's decided the same bar in the
    present reign: bars that come later change no earlier round.
    """
    here = fresh[fresh["reign"] == champion.reign].set_index("open_time")
    own = here[(here["role"] == CHALLENGER) & (here["recipe"] == recipe)]
    other = here[(here["role"] == CHAMPION) & (here["recipe"] == champion.recipe)]
    common = pd.DatetimeIndex(candles.index[candles.index.isin(_decided(own)) & candles.index.isin(other.index)])
    if common.empty:
        return _no_rounds()
    begins = common[0].floor("D")
    length = round_length(settings)
    n_over = int((candles.index[-1] + interval_length(settings.interval) - begins) // length)
    bars = candles[(candles.index >= begins) & (candles.index < begins + n_over * length)]
    common = common[common < begins + n_over * length]
    if common.empty:
        return _no_rounds()
    number = _round_of(bars, begins, length)
    table = pd.DataFrame(
        {
            CHALLENGER: _round_returns(own.loc[common], bars, number, settings, backtest),
            CHAMPION: _round_returns(other.loc[common], bars, number, settings, backtest),
        }
    ).loc[number[common].unique()]
    table.index = pd.DatetimeIndex([begins + row * length for row in table.index], name="begins")
    return table.assign(difference=table[CHALLENGER] - table[CHAMPION])


def round_length(settings: PipelineSettings) -> pd.Timedelta:
    """Whole days, no shorter than two horizons."""
    return max(math.ceil(2 * horizon_days(settings)), 1) * DAY


def _daily(
    decisions: pd.DataFrame, candles: pd.DataFrame, labels: pd.DataFrame, settings: PipelineSettings, backtest: Backtest
) -> "pd.Series[float]":
    """Net return of each day from the first decision to the end of the last one's horizon."""
    end = candles.index.searchsorted(decisions.index[-1]) + settings.horizon + 2
    exits = exit_table(labels["volatility"], settings.horizon, settings.exits)
    result = backtest(candles.iloc[:end], with_exits(decisions, exits), execution=settings.execution, sizing=settings.sizing)
    return daily_returns(result.equity, initial=settings.sizing.initial_equity)


def _round_of(bars: pd.DataFrame, begins: pd.Timestamp, length: pd.Timedelta) -> "pd.Series[int]":
    """Number of the round that each bar lies in, counted from 0."""
    since = pd.DatetimeIndex(bars.index) - begins
    return pd.Series((since // length).to_numpy(dtype="int64"), index=bars.index)


def _round_returns(
    decisions: pd.DataFrame, bars: pd.DataFrame, number: "pd.Series[int]", settings: PipelineSettings, backtest: Backtest
) -> "pd.Series[float]":
    """Net return of each round by its number; a round is a stretch of its own, over whose end nothing is held."""
    stretch = bars["segment"] if "segment" in bars else pd.Series(0, index=bars.index)
    begins = (stretch.diff().fillna(0) != 0) | (number.diff().fillna(0) != 0)
    execution = replace(settings.execution, horizon=settings.horizon, close_at_end=True)
    result = backtest(
        bars.assign(segment=begins.cumsum()), decisions[["signal", "confidence"]], execution=execution, sizing=settings.sizing
    )
    at_end = result.equity.groupby(number[result.equity.index]).last()
    return at_end / at_end.shift(1, fill_value=settings.sizing.initial_equity) - 1


def _tally(rounds: pd.DataFrame) -> dict[str, float]:
    """Rounds with unequal results, how many of them the challenger won, and what the stake has become."""
    decided = rounds["difference"][rounds["difference"].abs() > SAME_RETURN]
    n, wins = len(decided), int((decided > 0).sum())
    return {
        "fresh_rounds": float(len(rounds)),
        "fresh_pairs": float(n),
        "fresh_wins": float(wins),
        "fresh_difference_bps": 1e4 * float(rounds["difference"].mean()),
        "e_value": min(mixture_e_value(wins, n), LARGEST_E_VALUE),
    }


def _slack(paired: Mapping[str, float], margins: Margins) -> float:
    """The smaller distance to the margins of non-inferiority, in margins; NaN where one was not measured, or on few days."""
    if paired["paired_days"] < FEWEST_PAIRED_DAYS:
        return math.nan
    earned = (paired["pnl_difference_bps_low"] + margins.pnl_bps) / margins.pnl_bps
    lost = (margins.log_loss - paired["log_loss_difference_high"]) / margins.log_loss
    return float(np.minimum(earned, lost))


def _interval(name: str, by_day: "pd.Series[float]", settings: PipelineSettings) -> dict[str, float]:
    gate, horizon = settings.gate, horizon_days(settings)
    low, high = block_bootstrap_interval(
        by_day.to_numpy(),
        np.mean,
        block=block_days(horizon),
        level=gate.level,
        n_resamples=gate.n_resamples,
        seed=settings.seed,
        horizon=horizon,
    )
    return {name: float(by_day.mean()), f"{name}_low": low, f"{name}_high": high}


def _paired_phrase(evidence: Mapping[str, float]) -> str:
    if not evidence["paired_days"]:
        return "on past bars not compared, since the two have no decided bar in common"
    earned, lost = (
        f"{evidence[name]:+.3g} ({evidence[f'{name}_low']:+.3g} to {evidence[f'{name}_high']:+.3g})"
        for name in ("pnl_difference_bps", "log_loss_difference")
    )
    days = f"{evidence['paired_days']:.0f} days ({evidence['paired_days_fresh']:.0f} fresh)"
    return f"on {days} {earned} bps a day and {lost} nats a bar against the champion"


def _both_decided(one: pd.DataFrame, other: pd.DataFrame, among: pd.Index) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(among[among.isin(_decided(one)) & among.isin(_decided(other))])


def _common_days(one: pd.DataFrame | None, other: pd.DataFrame, among: pd.Index) -> float:
    return 0.0 if one is None else float(_both_decided(one, other, among).floor("D").nunique())


def _decided(frame: pd.DataFrame) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(frame.index[frame["confidence"].notna()])


def _no_rounds() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype="float64") for name in (CHALLENGER, CHAMPION, "difference")})
