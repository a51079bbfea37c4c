"""Whether a confidence of 0.7 comes true seven times in ten."""

from typing import Any, Literal, NamedTuple, assert_never

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from crp_pipeline.contracts import Bools, Floats, Ints
from crp_pipeline.metrics.forecast import binary

Weighting = Literal["none", "n", "max"]


def expected_calibration_error(probability: ArrayLike, outcome: ArrayLike, *, n_bins: int = 10) -> float:
    """Mean gap between confidence and hit rate over equal-width bins, weighted by their rows (Guo et al. 2017).

    `probability` (n,) of one event and `outcome` (n,), whether it happened; NaN without rows. Perfect forecasts do not
    score 0: by chance alone the value is near sqrt(n_bins * p * (1 - p) * 2 / (pi * n)).

    >>> round(expected_calibration_error([0.62, 0.68, 0.91, 0.99], [1, 0, 1, 1]), 4)
    0.1
    """
    p, hit, place, _ = _binned(probability, outcome, n_bins)
    return _weighted_gap(_gaps(p, hit, place), weighting="n")


def calibration_curve(probability: ArrayLike, outcome: ArrayLike, *, n_bins: int = 10) -> pd.DataFrame:
    """One row per bin that has rows: `low`, `high`, `n`, `mean_confidence`, `hit_rate`.

    A bin holds low <= p < high, the last one 1 as well; `probability` and `outcome` are (n,).
    """
    p, hit, place, edges = _binned(probability, outcome, n_bins)
    gaps = _gaps(p, hit, place)
    columns = {
        "low": edges[gaps.group],
        "high": edges[gaps.group + 1],
        "n": gaps.n,
        "mean_confidence": gaps.mean_confidence,
        "hit_rate": gaps.hit_rate,
    }
    return pd.DataFrame(columns, index=pd.Index(gaps.group, name="bin"))


def tier_calibration_error(confidence: ArrayLike, hit: ArrayLike, *, tiers: ArrayLike, weighting: Weighting = "n") -> float:
    """Gap between mean confidence and hit rate of the tiers.

    Weighted alike ("none"), by their rows ("n"), or the worst one alone ("max"). `confidence`, `hit` and `tiers` are
    (n,); NaN without rows. Within a tier, too high and too low cancel out.

    >>> tiers = ["high", "high", "low", "low"]
    >>> round(tier_calibration_error([0.7, 0.7, 0.6, 0.6], [1, 1, 1, 0], tiers=tiers, weighting="max"), 4)
    0.3
    """
    p, happened = binary(confidence, hit)
    names = np.asarray(tiers)
    if names.shape != p.shape:
        raise ValueError(f"tiers must be {p.shape}, got {names.shape}")
    return _weighted_gap(_gaps(p, happened, names), weighting=weighting)


class _Gaps(NamedTuple):
    """Confidence and outcome of each group that has rows, (groups,) each."""

    group: NDArray[Any]
    n: Ints
    mean_confidence: Floats
    hit_rate: Floats


def _gaps(confidence: Floats, hit: Bools, group: NDArray[Any]) -> _Gaps:
    names, place = np.unique(group, return_inverse=True)
    n = np.bincount(place, minlength=len(names)).astype(np.int64)
    confidences, hits = (np.bincount(place, weights=values, minlength=len(names)) for values in (confidence, hit))
    return _Gaps(names, n, confidences / n, hits / n)


def _binned(probability: ArrayLike, outcome: ArrayLike, n_bins: int) -> tuple[Floats, Bools, Ints, Floats]:
    """Probability, hit and bin of each row, (n,), and the edges of the bins, (n_bins + 1,)."""
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    p, hit = binary(probability, outcome)
    # linspace multiplies by a rounded step: its 0.3 is above 0.3
    edges = np.arange(n_bins + 1) / n_bins
    return p, hit, np.searchsorted(edges[1:-1], p, side="right"), edges


def _weighted_gap(gaps: _Gaps, *, weighting: Weighting) -> float:
    if not len(gaps.n):
        return float("nan")
    gap = np.abs(gaps.mean_confidence - gaps.hit_rate)
    match weighting:
        case "none":
            return float(gap.mean())
        case "n":
            return float(np.average(gap, weights=gaps.n))
        case "max":
            return float(gap.max())
        case _:
            assert_never(weighting)
