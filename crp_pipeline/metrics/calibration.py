"""Whether a confidence of 0.7 comes true seven times in ten."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, assert_never

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from crp_pipeline.contracts import Bools, Floats, Ints
from crp_pipeline.metrics.forecast import binary
from crp_pipeline.metrics.validity import require_level

Weighting = Literal["none", "n", "max"]

_CELLS_AT_ONCE = 4_000_000
"""Drawn outcomes held in memory together: 32 MB."""


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
    return _weighted_gap(_gaps(p, happened, _groups_of(tiers, p)), weighting=weighting)


@dataclass(frozen=True)
class CalibrationFloor:
    """What a calibration error is by chance alone: its mean and the bound that it stays below with the chosen probability."""

    mean: float
    upper: float


def tier_calibration_floor(
    confidence: ArrayLike,
    tiers: ArrayLike,
    *,
    weighting: Weighting = "n",
    calibration_rows: ArrayLike | None = None,
    effective_share: float = 1.0,
    level: float = 0.95,
    n_draws: int = 2_000,
    seed: int,
) -> CalibrationFloor:
    """The `tier_calibration_error` that honest forecasts with these confidences and tiers, (n,), would show by chance.

    Every row is drawn to come true with its confidence, `n_draws` times; an error above `upper` is more than such luck
    explains at `level`. A confidence that was learned from k outcomes is as far off as these were lucky, however many rows
    it is asked about later: with `calibration_rows` k, (n,), the same for those that were calibrated together, they are
    all drawn to come true that much more or less often. Rows whose labels overlap carry less than their number:
    `effective_share` is the effective number of rows over n, and each tier's gap is widened by 1 / sqrt(effective_share), as
    far as a hit rate can go. NaN without rows. Same seed, same floor.
    """
    if not 0 < effective_share <= 1:
        raise ValueError(f"effective_share must be above 0 and at most 1, got {effective_share}")
    if n_draws < 1:
        raise ValueError(f"n_draws must be at least 1, got {n_draws}")
    reach = require_level(level)
    p, _ = binary(confidence, np.zeros(np.shape(confidence)))
    names = _groups_of(tiers, p)
    if not len(p):
        return CalibrationFloor(float("nan"), float("nan"))
    learned_from = None if calibration_rows is None else _groups_of(calibration_rows, p, what="calibration_rows")
    n, mean, hits = _honest_hits(p, names, learned_from, n_draws, np.random.default_rng(seed))
    widened = np.abs(hits / n - mean) / np.sqrt(effective_share)
    errors = _combined(np.minimum(widened, np.maximum(mean, 1 - mean)), n, weighting)
    return CalibrationFloor(float(errors.mean()), float(np.quantile(errors, reach)))


@dataclass(frozen=True)
class BrierDecomposition:
    """Why a Brier score is what it is; the terms add up to it exactly.

    `reliability` (0 is best) is how far the bins' confidences are from their hit rates, `resolution` (high is best) how far
    their hit rates are from each other, `uncertainty` the score of always saying the overall hit rate (Murphy 1973). As the
    forecasts of a bin differ, their variance within bins adds and their covariance with the outcome takes away (Stephenson,
    Coelho and Jolliffe 2008).
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_bin_variance: float
    within_bin_covariance: float

    @property
    def brier_score(self) -> float:
        """The terms put together: `binary_brier_score` of the same rows."""
        within = self.within_bin_variance - self.within_bin_covariance
        return self.reliability - self.resolution + self.uncertainty + within


def brier_decomposition(probability: ArrayLike, outcome: ArrayLike, *, n_bins: int = 10) -> BrierDecomposition:
    """`binary_brier_score` taken apart over equal-width bins of the probability; NaN without rows.

    `probability` (n,) of one event and `outcome` (n,), whether it happened.
    """
    p, hit, place, _ = _binned(probability, outcome, n_bins)
    if not len(p):
        return BrierDecomposition(*[float("nan")] * 5)
    gaps = _gaps(p, hit, place)
    row = np.searchsorted(gaps.group, place)
    off, missed, base = p - gaps.mean_confidence[row], hit - gaps.hit_rate[row], float(hit.mean())
    return BrierDecomposition(
        reliability=float(np.average((gaps.mean_confidence - gaps.hit_rate) ** 2, weights=gaps.n)),
        resolution=float(np.average((gaps.hit_rate - base) ** 2, weights=gaps.n)),
        uncertainty=base * (1 - base),
        within_bin_variance=float((off**2).mean()),
        within_bin_covariance=float(2 * (off * missed).mean()),
    )


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


def _groups_of(tiers: ArrayLike, p: Floats, *, what: str = "tiers") -> NDArray[Any]:
    names = np.asarray(tiers)
    if names.shape != p.shape:
        raise ValueError(f"{what} must be {p.shape}, got {names.shape}")
    return names


def _honest_hits(
    p: Floats, tiers: NDArray[Any], learned_from: NDArray[Any] | None, n_draws: int, rng: np.random.Generator
) -> tuple[Ints, Floats, Ints]:
    """Rows and mean confidence of each tier, (tiers,), and its hits in every draw, (n_draws, tiers)."""
    _, place, n = np.unique(tiers, return_inverse=True, return_counts=True)
    order = np.argsort(place, kind="stable")
    by_tier, first = p[order], np.r_[0, np.cumsum(n)[:-1]]
    step = max(1, _CELLS_AT_ONCE // len(p))
    hits = []
    for size in (min(step, n_draws - done) for done in range(0, n_draws, step)):
        truth = by_tier if learned_from is None else by_tier + _luck_of_calibration(by_tier, learned_from[order], size, rng)
        hits.append(np.add.reduceat(rng.random((size, len(p))) < truth, first, axis=1, dtype=np.int64))
    return n, np.add.reduceat(by_tier, first) / n, np.concatenate(hits)


def _luck_of_calibration(p: Floats, learned_from: NDArray[Any], n_draws: int, rng: np.random.Generator) -> Floats:
    """By how much the outcomes that confidences were learned from came true too seldom, (n_draws, n), alike for each group."""
    rows, group = np.unique(learned_from, return_inverse=True)
    if rows[0] < 1:
        raise ValueError(f"calibration_rows must be at least 1, got {rows[0]}")
    mean = np.bincount(group, weights=p) / np.bincount(group)
    luck: Floats = mean - rng.binomial(rows.astype(np.int64), mean, (n_draws, len(rows))) / rows
    return luck[:, group]


def _weighted_gap(gaps: _Gaps, *, weighting: Weighting) -> float:
    if not len(gaps.n):
        return float("nan")
    return float(_combined(np.abs(gaps.mean_confidence - gaps.hit_rate), gaps.n, weighting))


def _combined(gap: Floats, n: Ints, weighting: Weighting) -> Floats:
    """One error of the gaps (..., groups) of groups with `n` rows: (...)."""
    match weighting:
        case "none":
            error: Floats = gap.mean(axis=-1)
        case "n":
            error = np.average(gap, weights=n, axis=-1)
        case "max":
            error = gap.max(axis=-1)
        case _:
            assert_never(weighting)
    return error
