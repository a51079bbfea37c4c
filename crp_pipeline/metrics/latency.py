"""How long answers took."""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike


def nearest_rank_percentile(values: ArrayLike, percent: float) -> float:
    """The smallest value that at least `percent` of a hundred of the values do not exceed: always one of them.

    The rank is ceil(percent / 100 * n), counted from 1. `percent` is above 0 and at most 100; NaN without values or with a
    missing one.

    >>> nearest_rank_percentile([15, 20, 35, 40, 50], 40)
    20.0
    """
    if not 0 < percent <= 100:
        raise ValueError(f"percent must be above 0 and at most 100, got {percent}")
    ordered = np.sort(np.asarray(values, dtype=float))
    if not len(ordered) or np.isnan(ordered[-1]):
        return math.nan
    # as written: 7 % of 100 is rank 7, and 0.07 * 100 is above 7
    rank = math.ceil(Fraction(str(percent)) * len(ordered) / 100)
    return float(ordered[rank - 1])


def latency_summary(milliseconds: ArrayLike) -> dict[str, float]:
    """`mean_ms` and `p90_ms`, the 90th percentile by nearest rank; NaN without values or with a missing one."""
    taken = np.asarray(milliseconds, dtype=float)
    mean = float(taken.mean()) if len(taken) else math.nan
    return {"mean_ms": mean, "p90_ms": nearest_rank_percentile(taken, 90)}
