"""What one model's out-of-fold predictions are worth by themselves, before any ensemble, stop or account: `crp evaluate`.

A call is the most probable class of a bar; it takes a side unless it is neutral, and then wins when the label's forward return
on that side pays the round trip. Calls of neighbouring bars overlap, so intervals count independent labels.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Floats
from crp_pipeline.gate.verdict import Criterion, Stage, Verdict, judge
from crp_pipeline.metrics import expected_calibration_error, payoff_ratio
from crp_pipeline.models.diagnosis import FLAGS, Flag, diagnose
from crp_pipeline.models.scoring import forecast_scores, known_bars, log_loss_gain, rows_of, share_interval
from crp_pipeline.settings import GateConfig


@dataclass(frozen=True)
class Evaluation:
    """The verdict on a model's forecasts, with every number in its evidence, and what is wrong with them."""

    verdict: Verdict
    flags: tuple[Flag, ...]


def evaluate_forecast(
    predictions: pd.DataFrame,
    prior: pd.DataFrame,
    labels: pd.DataFrame,
    *,
    horizon: int,
    round_trip_cost_bps: float,
    config: GateConfig,
    seed: int = 0,
) -> Evaluation:
    """Every criterion of `forecast_criteria` on the bars that the model and the class prior both forecast.

    `min_win_rate` and `max_calibration_error` of the config are the bounds of all calls here. Raises
    `DataContractError` for a forecast of a bar that the labels do not have.
    """
    common = labels.loc[known_bars([predictions, prior], labels)]
    own, naive = predictions.loc[common.index], prior.loc[common.index]
    resampled = {"block": horizon + 1, "level": config.level, "n_resamples": config.n_resamples, "seed": seed}
    scores = forecast_scores(own, common, level=config.level)
    flags = diagnose(predictions, prior, labels, **resampled)  # type: ignore[arg-type]
    evidence = {
        **scores,
        **log_loss_gain(own, naive, common, **resampled),  # type: ignore[arg-type]
        "brier_gain": forecast_scores(naive, common)["brier"] - scores["brier"],
        **call_evidence(own, common, round_trip_cost_bps=round_trip_cost_bps, level=config.level),
        **{flag.name: float(flag.is_raised) for flag in flags},
    }
    return Evaluation(judge(evidence, forecast_criteria(config)), flags)


def forecast_criteria(config: GateConfig) -> tuple[Criterion, ...]:
    """What must hold, in the order in which it is judged."""
    needed, skill, honest, own = Stage.EVIDENCE, Stage.SKILL, Stage.CALIBRATION, Stage.THRESHOLDS
    limit, oracle = config.max_calibration_error, "what a perfect oracle wins when it calls as many bars"
    return (
        Criterion("oracle_ceiling", ">=", config.min_win_rate, Stage.FEASIBILITY, oracle),
        Criterion("calls", ">=", config.min_trades, needed, "calls that take a side"),
        Criterion("calls_effective_n", ">=", config.min_effective_n, needed, "independent labels among them"),
        Criterion("coverage", ">", 0, needed, "share of the bars on which a side is taken"),
        *(Criterion(name, "<=", 0, skill, f"must not be: {meaning}") for name, meaning in FLAGS.items()),
        Criterion("log_loss_gain_low", ">", 0, skill, "lower bound of log-loss saved against the class prior, in nats"),
        Criterion("brier_gain", ">", 0, skill, "Brier score saved against the class prior"),
        Criterion("directional_accuracy_low", ">", 0.5, skill, "lower bound, on labels that are not neutral"),
        Criterion("auc", ">", 0.5, skill, "how well up is ranked above down"),
        Criterion("win_rate_over_zero_skill", ">", 0, skill, "lower bound of the win rate minus that of sides dealt at random"),
        Criterion("calibration_error", "<=", limit, honest, "confidence against hit rate of all calls, ten bins"),
        Criterion("calls_calibration_error", "<=", limit, honest, "the same of calls that take a side"),
        Criterion("win_rate", ">=", config.min_win_rate, own, "calls that pay their costs"),
    )


def call_evidence(
    predictions: pd.DataFrame, labels: pd.DataFrame, *, round_trip_cost_bps: float, level: float
) -> dict[str, float]:
    """Win rate of the calls that take a side, and everything that it must be read with.

    `zero_skill_win_rate` is what the same calls would win with their sides dealt at random: as many long and as many short.
    """
    times = known_bars([predictions], labels)
    probability, signal, weight = rows_of(predictions, labels, times)
    side = probability.argmax(axis=1) - 1
    taken = side != 0
    moves = labels.loc[times, "forward_return"].to_numpy(dtype=np.float64)
    move = moves[taken]
    cost, effective_n = round_trip_cost_bps / 1e4, float(weight[taken].sum())
    net = side[taken] * move - cost
    rate = _mean(net > 0)
    low, high = share_interval(rate, effective_n, level=level)
    chance = _zero_skill(side[taken] > 0, move, cost)
    oracle = _mean(np.abs(moves) > cost)
    return {
        "calls": float(taken.sum()),
        "calls_effective_n": effective_n,
        "coverage": _mean(taken),
        "win_rate": rate,
        "win_rate_low": low,
        "win_rate_high": high,
        "zero_skill_win_rate": chance,
        "win_rate_over_zero_skill": low - chance,
        "oracle_win_rate": oracle,
        "oracle_ceiling": min(1.0, oracle / _mean(taken)) if taken.any() else 1.0,
        "payoff_ratio": payoff_ratio(net),
        "net_expectancy_bps": 1e4 * _mean(net),
        "calls_calibration_error": expected_calibration_error(probability.max(axis=1)[taken], (side == signal)[taken]),
    }


def _zero_skill(is_long: np.ndarray, move: Floats, cost: float) -> float:
    share_long = _mean(is_long)
    return share_long * _mean(move > cost) + (1 - share_long) * _mean(-move > cost)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
