"""Scores of class probabilities against what came.

`probability` is (n, classes) with rows that sum to 1 and `outcome` (n,) the column that came true: for our three
classes the signal plus one. The binary forms take the probability of one event, (n,), and whether it happened. Every
score is the mean over rows and NaN without rows; a probability outside [0, 1], an outcome without a column or a hit that
is neither 0 nor 1 is a `ValueError`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crp_pipeline.contracts import Floats

_SMALLEST = 1e-15
"""A class that was called impossible costs 34.5 nats, not infinity, when it comes."""


def log_loss(probability: ArrayLike, outcome: ArrayLike) -> float:
    """Mean of -ln p(outcome), in nats; 1.0986 for three classes means knowing nothing."""
    p, came = _classes(probability, outcome)
    return _mean(-np.log(np.maximum(p[np.arange(len(p)), came], _SMALLEST)))


def accuracy(probability: ArrayLike, outcome: ArrayLike) -> float:
    """Share of rows whose most probable class came; ties go to the first class."""
    p, came = _classes(probability, outcome)
    return _mean((p.argmax(axis=1) == came).astype(float)) if len(p) else float("nan")


def brier_score(probability: ArrayLike, outcome: ArrayLike) -> float:
    """Mean squared distance between probabilities and the outcome, summed over classes: 0 to 2 (Brier 1950)."""
    p, came = _classes(probability, outcome)
    happened = np.zeros_like(p)
    happened[np.arange(len(p)), came] = 1.0
    return _mean(((p - happened) ** 2).sum(axis=1))


def directional_accuracy(score: ArrayLike, direction: ArrayLike) -> float:
    """Share of rows whose `score` (n,) has the sign of the `direction` (n,), -1 or 1, that came; a score of 0 counts half.

    >>> directional_accuracy([0.3, -0.1, 0.0], [1, 1, -1])
    0.5
    """
    values, up = _sides(score, direction)
    return _mean(np.where(values == 0, 0.5, (values > 0) == up))


def directional_auc(score: ArrayLike, direction: ArrayLike) -> float:
    """Chance that a row that went up has a higher `score` than one that went down; a tie counts half.

    The area under the ROC curve by ranks (Mann and Whitney 1947); `score` and `direction` are (n,), the latter -1 or 1. 0.5
    means knowing nothing of the direction; NaN where one of the two never came.

    >>> directional_auc([0.3, -0.1, 0.0, 0.2], [1, -1, -1, -1])
    1.0
    """
    from scipy.stats import rankdata

    values, up = _sides(score, direction)
    n_up, n_down = int(up.sum()), int((~up).sum())
    if not n_up or not n_down:
        return float("nan")
    return float((rankdata(values)[up].sum() - n_up * (n_up + 1) / 2) / (n_up * n_down))


def binary_log_loss(probability: ArrayLike, hit: ArrayLike) -> float:
    """Mean of -ln of the probability given to what happened; ln 2 = 0.6931 means knowing nothing."""
    p, happened = binary(probability, hit)
    return _mean(-np.log(np.maximum(np.where(happened, p, 1 - p), _SMALLEST)))


def binary_brier_score(probability: ArrayLike, hit: ArrayLike) -> float:
    """Mean squared distance between one event's probability and whether it happened: 0 to 1, half of `brier_score`."""
    p, happened = binary(probability, hit)
    return _mean((p - happened) ** 2)


def binary(probability: ArrayLike, hit: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    """Both as arrays of one length; raises `ValueError` on a probability or a hit that is missing or none."""
    p, happened = np.asarray(probability, dtype=float), np.asarray(hit, dtype=float)
    if p.ndim != 1 or p.shape != happened.shape:
        raise ValueError(f"probability and hit must be (n,), got {p.shape} and {happened.shape}")
    _require_probabilities(p)
    # a missing hit would count as one: bool(nan) is True
    if (wrong := ~np.isin(happened, (0, 1))).any():
        raise ValueError(f"row {int(wrong.argmax())} of hit is {happened[wrong][0]:g}, neither 0 nor 1")
    return p, happened == 1


def _sides(score: ArrayLike, direction: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    """Scores, and whether each row went up; raises `ValueError` for a score that is missing or a direction that is none."""
    values, came = np.asarray(score, dtype=float), np.asarray(direction, dtype=float)
    if values.ndim != 1 or values.shape != came.shape:
        raise ValueError(f"score and direction must be (n,), got {values.shape} and {came.shape}")
    if (missing := np.isnan(values)).any():
        raise ValueError(f"row {int(missing.argmax())} of score is missing")
    if (wrong := ~np.isin(came, (-1, 1))).any():
        raise ValueError(f"row {int(wrong.argmax())} of direction is {came[wrong][0]:g}, neither -1 nor 1")
    return values, came > 0


def _classes(probability: ArrayLike, outcome: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    p, came = np.asarray(probability, dtype=float), np.asarray(outcome)
    if p.ndim != 2 or came.shape != p.shape[:1]:
        raise ValueError(f"probability must be (n, classes) and outcome (n,), got {p.shape} and {came.shape}")
    _require_probabilities(p)
    # float32 boosters sum to 1 within a few 1e-7
    if (off := np.abs(p.sum(axis=1) - 1)).max(initial=0) > 1e-3:
        raise ValueError(f"row {int(off.argmax())} of probability sums to {p[off.argmax()].sum():.6g}, not 1")
    if (outside := ~np.isin(came, np.arange(p.shape[1]))).any():
        raise ValueError(f"outcome {came[outside][0]} has no column among {p.shape[1]} classes")
    return p, came.astype(np.int64)


def _require_probabilities(p: Floats) -> None:
    if (wrong := ~((p >= 0) & (p <= 1))).any():
        raise ValueError(f"{int(wrong.sum())} probabilities are outside [0, 1], the first is {p[wrong][0]}")


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")
