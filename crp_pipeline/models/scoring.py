"""What out-of-fold predictions were worth: their scores against the labels that came.

Only bars with both a forecast and a label count. Intervals are for overlapping labels: accuracies count independent labels, the
sum of average uniqueness, and the log-loss that was saved is resampled in blocks.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from crp_pipeline.contracts import PROBABILITIES, Bools, Floats
from crp_pipeline.errors import DataContractError
from crp_pipeline.metrics import (
    accuracy,
    block_bootstrap_interval,
    brier_score,
    directional_accuracy,
    directional_auc,
    expected_calibration_error,
    log_loss,
    wilson_interval,
)

SCORES = (
    *("n", "effective_n", "log_loss", "accuracy", "accuracy_low", "accuracy_high"),
    *("directional_accuracy", "directional_accuracy_low", "directional_accuracy_high", "directional_effective_n"),
    *("auc", "brier", "calibration_error"),
)
"""What `forecast_scores` measures."""
SCORES_AGAINST_PRIOR = (*SCORES, "log_loss_gain", "log_loss_gain_low", "log_loss_gain_high")
"""What `scores_side_by_side` measures."""


def known_bars(predictions: Iterable[pd.DataFrame], labels: pd.DataFrame) -> pd.Index:
    """Bars that have a label and a forecast in every one of the prediction frames, in time order.

    Raises `DataContractError` for a forecast of a bar that the labels do not have.
    """
    times = labels.index[labels["signal"].notna()]
    for frame in predictions:
        forecast = frame.index[frame[list(PROBABILITIES)].notna().all(axis=1)]
        if not forecast.isin(labels.index).all():
            stranger = forecast[~forecast.isin(labels.index)][0]
            raise DataContractError(f"there is a forecast for {stranger} and no such bar among the labels")
        times = times[times.isin(forecast)]
    return times


def forecast_scores(predictions: pd.DataFrame, labels: pd.DataFrame, *, level: float = 0.95) -> dict[str, float]:
    """Every number of `SCORES` over the bars with a forecast and a label; NaN where nothing can be said.

    Direction is asked on bars whose label is not neutral: whether p_long - p_short had its sign, and how well it ranks them.
    The calibration error is that of the most probable class, whichever it is.
    """
    times = known_bars([predictions], labels)
    probability, signal, weight = rows_of(predictions, labels, times)
    effective_n, went = float(weight.sum()), signal != 0
    right = accuracy(probability, signal + 1)
    low, high = share_interval(right, effective_n, level=level)
    return {
        "n": float(len(times)),
        "effective_n": effective_n,
        "log_loss": log_loss(probability, signal + 1),
        "accuracy": right,
        "accuracy_low": low,
        "accuracy_high": high,
        **_direction(probability[went], signal[went], float(weight[went].sum()), level),
        "brier": brier_score(probability, signal + 1),
        "calibration_error": expected_calibration_error(probability.max(axis=1), hits(probability, signal)),
    }


def log_loss_gain(
    predictions: pd.DataFrame,
    prior: pd.DataFrame,
    labels: pd.DataFrame,
    *,
    block: int,
    level: float = 0.95,
    n_resamples: int = 1_000,
    seed: int = 0,
) -> dict[str, float]:
    """Nats per bar that the predictions save against the class prior: `log_loss_gain`, and its interval `_low`, `_high`.

    The bars are those that both forecast. Resampled in blocks of `block` bars, no shorter than a label lives:
    neighbouring labels share most of their lives. NaN without a bar.
    """
    saved = (log_losses(prior, labels) - log_losses(predictions, labels)).dropna()
    low, high = block_bootstrap_interval(saved, np.mean, block=block, level=level, n_resamples=n_resamples, seed=seed)
    mean = float(saved.mean()) if len(saved) else math.nan
    return {"log_loss_gain": mean, "log_loss_gain_low": low, "log_loss_gain_high": high}


def scores_side_by_side(
    forecasts: Mapping[str, pd.DataFrame], labels: pd.DataFrame, *, prior: str, block: int, seed: int = 0
) -> dict[str, dict[str, float]]:
    """`SCORES_AGAINST_PRIOR` of each forecast, all on the bars that every one of them has; `prior` names the class prior."""
    common = labels.loc[known_bars(forecasts.values(), labels)]
    frames = {name: frame.loc[common.index] for name, frame in forecasts.items()}
    return {
        name: {**forecast_scores(frame, common), **log_loss_gain(frame, frames[prior], common, block=block, seed=seed)}
        for name, frame in frames.items()
    }


def class_returns(predictions: pd.DataFrame, labels: pd.DataFrame) -> list[float]:
    """Mean forward return of short, neutral and long among the bars with a forecast and a label; 0 for one that never came."""
    known = labels.loc[known_bars([predictions], labels)]
    means = known.groupby("signal")["forward_return"].mean().reindex([-1.0, 0.0, 1.0]).fillna(0.0)
    return [float(mean) for mean in means]


def log_losses(predictions: pd.DataFrame, labels: pd.DataFrame) -> "pd.Series[float]":
    """Log-loss of each bar that has both a forecast and a label, in nats."""
    times = known_bars([predictions], labels)
    probability, signal, _ = rows_of(predictions, labels, times)
    came = probability[np.arange(len(signal)), signal.astype(np.int64) + 1]
    return pd.Series(-np.log(np.maximum(came, 1e-15)), index=times)


def rows_of(predictions: pd.DataFrame, labels: pd.DataFrame, times: pd.Index) -> tuple[Floats, Floats, Floats]:
    """Probabilities (n, 3), signals and label weights (n,) of some bars."""
    known = labels.loc[times]
    probability = predictions.loc[times, list(PROBABILITIES)].to_numpy(dtype=np.float64)
    return probability, known["signal"].to_numpy(dtype=np.float64), known["weight"].to_numpy(dtype=np.float64)


def hits(probability: Floats, signal: Floats) -> Bools:
    """(n,) whether the most probable class came."""
    return np.asarray(probability.argmax(axis=1) == signal + 1)


def share_interval(share: float, effective_n: float, *, level: float) -> tuple[float, float]:
    """Wilson interval of a share of so many independent rows; NaN where there are none."""
    if math.isnan(share) or not effective_n > 0:
        return math.nan, math.nan
    return wilson_interval(min(share, 1.0) * effective_n, effective_n, level=level)


def _direction(probability: Floats, signal: Floats, effective_n: float, level: float) -> dict[str, float]:
    lean = probability[:, 2] - probability[:, 0]
    right = directional_accuracy(lean, signal)
    low, high = share_interval(right, effective_n, level=level)
    return {
        "directional_accuracy": right,
        "directional_accuracy_low": low,
        "directional_accuracy_high": high,
        "directional_effective_n": effective_n,
        "auc": directional_auc(lean, signal),
    }
