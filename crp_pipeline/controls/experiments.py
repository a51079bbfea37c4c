"""What is tried on one synthetic market: each experiment gives the outcome of one or several controls.

Decisions that were made once are judged again under other exits and costs, so that a market is learned from only once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import pi, sqrt

import numpy as np
import pandas as pd

from crp_pipeline.controls.expectation import Outcome
from crp_pipeline.controls.market import HOURLY_VOLATILITY, control_candles, planted_edge
from crp_pipeline.controls.night import Night, control_settings, sharpe_tests, shuffled_labels, walk
from crp_pipeline.gate import Outcome as Decision
from crp_pipeline.gate import Stage, Verdict
from crp_pipeline.settings import ExecutionModel, ExitConfig, PipelineSettings

N_BARS = 8_000
FREE = ExecutionModel(fee_bps=0.0, spread_bps=0.0, slippage_bps=0.0, horizon=1)
NEAR_TARGET = 0.45
"""Target over stop at which a coin flip wins 1 / 1.45 = 69 % of its trades."""
AHEAD = 6
"""Bars whose labels overlap those of the bars beside them."""
N_STRATEGIES = 100
SHOWN = (
    *("directional_accuracy", "win_rate", "zero_skill_win_rate", "trades", "net_expectancy_bps"),
    *("deflated_sharpe_ratio", "probability_of_backtest_overfitting", "tier_calibration_error", "calibration_error"),
)
"""Numbers of a verdict that a table of controls shows."""


@dataclass(frozen=True)
class Experiment:
    """One kind of market and what is tried on it."""

    run: Callable[[int], tuple[Outcome, ...]]
    is_null: bool
    controls: tuple[str, ...]
    """What it tells the outcomes of, in their order."""


def run_experiment(name: str, seed: int) -> tuple[Outcome, ...]:
    """The outcomes of one experiment on one seed."""
    return EXPERIMENTS[name].run(seed)


def null_market(seed: int) -> tuple[Outcome, ...]:
    """A market without an edge: as it is, with a stop far wider than its target, and with a hundred strategies of coins."""
    settings = control_settings(seed)
    night = walk(control_candles(0.5, n_bars=N_BARS, seed=seed), settings)
    wide = replace_settings(
        settings, exits=ExitConfig(stop_volatility_multiple=1.5, target_volatility_multiple=1.5 * NEAR_TARGET)
    )
    held = replace(FREE, horizon=None)
    trick = replace_settings(wide, execution=held, gate=replace(settings.gate, min_win_rate=0.68))
    return (
        _promotion("null market", seed, night.verdict(settings)),
        _promotion("wide stop, near target", seed, night.verdict(trick)),
        *_best_of_many(seed, night),
    )


def planted(bayes_accuracy: float) -> Callable[[int], tuple[Outcome, ...]]:
    """A market with an edge: at costs that it pays, and at twice what it is worth."""

    def run(seed: int) -> tuple[Outcome, ...]:
        settings, name = control_settings(seed), f"planted {bayes_accuracy:.2f}"
        night = walk(control_candles(bayes_accuracy, n_bars=N_BARS, seed=seed), settings)
        dear = replace_settings(settings, execution=replace(FREE, fee_bps=_edge_bps(bayes_accuracy)))
        verdict = night.verdict(dear)
        return (
            _promotion(name, seed, night.verdict(settings)),
            _outcome(f"{name}, dear", seed, happened=is_rejected_on_economics(verdict), verdict=verdict),
        )

    return run


def overlapping(accuracy: float, control: str) -> Callable[[int], tuple[Outcome, ...]]:
    """A market that is forecast six bars ahead, where labels overlap and only the purge parts what is learned from the test."""

    def run(seed: int) -> tuple[Outcome, ...]:
        settings = control_settings(seed, horizon=AHEAD)
        night = walk(control_candles(accuracy, n_bars=N_BARS, seed=seed, horizon=AHEAD), settings)
        return (_promotion(control, seed, night.verdict(settings)),)

    return run


def shuffled(seed: int) -> tuple[Outcome, ...]:
    """A market with an edge and labels that belong to other bars: nothing can be right more often than a coin."""
    settings = control_settings(seed)
    night = walk(control_candles(0.7, n_bars=N_BARS, seed=seed), settings, relabel=shuffled_labels)
    accuracy, standard_error = night.balanced_accuracy()
    standard_errors = abs(accuracy - 0.5) / standard_error
    numbers = {"balanced_accuracy": accuracy, "standard_errors": standard_errors}
    return (Outcome("shuffled labels", seed, standard_errors <= 3, "", "", numbers),)


EXPERIMENTS = {
    "null": Experiment(
        null_market,
        is_null=True,
        controls=("null market", "wide stop, near target", f"best of {N_STRATEGIES}", f"best of {N_STRATEGIES}, deflated"),
    ),
    "shuffled": Experiment(shuffled, is_null=False, controls=("shuffled labels",)),
    "planted 0.60": Experiment(planted(0.60), is_null=False, controls=("planted 0.60", "planted 0.60, dear")),
    "planted 0.70": Experiment(planted(0.70), is_null=False, controls=("planted 0.70", "planted 0.70, dear")),
    **{
        control: Experiment(overlapping(accuracy, control), is_null=False, controls=(control,))
        for control, accuracy in (("null market, six bars ahead", 0.5), ("planted 0.65, six bars ahead", 0.65))
    },
}


def is_rejected_on_economics(verdict: Verdict) -> bool:
    """True when the candidate earns too little, whether or not its skill was shown on this sample before that was asked."""
    return verdict.outcome is Decision.REJECT and any(
        finding.criterion.stage is Stage.ECONOMICS and not finding.passed for finding in verdict.findings
    )


def replace_settings(settings: PipelineSettings, **sections: object) -> PipelineSettings:
    """The settings with some sections replaced and nothing derived from them: labels stay as they were learned from."""
    return settings.model_copy(update=sections)


def _edge_bps(bayes_accuracy: float) -> float:
    """What the planted edge earns per bar before costs, in bps; as a fee per side it costs twice that."""
    return 1e4 * HOURLY_VOLATILITY * planted_edge(bayes_accuracy) * sqrt(2 / pi)


def _best_of_many(seed: int, night: Night) -> tuple[Outcome, ...]:
    """The best of a hundred strategies that toss coins, tested as if it were the only one, and as what it is."""
    earned = night.labels.loc[night.decisions["confidence"].notna(), "forward_return"].dropna()
    sides = np.random.default_rng(seed).choice([-1, 1], (len(earned), N_STRATEGIES))
    by_bar = pd.DataFrame(sides * earned.to_numpy()[:, None], index=earned.index)
    best, corrected = sharpe_tests(by_bar.groupby(pd.DatetimeIndex(earned.index).floor("D")).sum())
    told = {"probabilistic_sharpe_ratio": best, "deflated_sharpe_ratio": corrected}
    return tuple(
        Outcome(f"best of {N_STRATEGIES}{kind}", seed, chance >= 0.95, "", "", told)
        for kind, chance in (("", best), (", deflated", corrected))
    )


def _promotion(control: str, seed: int, verdict: Verdict) -> Outcome:
    return _outcome(control, seed, happened=verdict.outcome is Decision.PROMOTE, verdict=verdict)


def _outcome(control: str, seed: int, *, happened: bool, verdict: Verdict) -> Outcome:
    numbers = {name: verdict.evidence[name] for name in SHOWN}
    return Outcome(control, seed, happened, str(verdict.outcome), verdict.reason, numbers)
