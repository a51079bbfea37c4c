"""What a number of dependent values could have been: the stationary bootstrap of Politis and Romano (1994), from `arch`.

`values` are (n,) in time order. Same seed, same resamples.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from crp_pipeline.contracts import Floats
from crp_pipeline.metrics.validity import require_level

Statistic = Callable[[Floats], float]
"""A number of one sample, (n,)."""


def block_bootstrap_interval(
    values: ArrayLike,
    statistic: Statistic,
    *,
    block: float,
    level: float = 0.95,
    n_resamples: int = 2_000,
    seed: int,
    horizon: float = 1,
) -> tuple[float, float]:
    """Percentile interval of a statistic of dependent values, (n,); NaN below two values.

    `statistic` is any function of one sample that gives a number. `block` is the mean block length, no shorter than the
    dependence reaches: a mean over values that share a `horizon` of 24 bars needs at least 24, and less is a `ValueError`.
    """
    reach = require_level(level) / 2
    found = block_bootstrap(values, statistic, block=block, n_resamples=n_resamples, seed=seed, horizon=horizon)
    low, high = np.quantile(found, [0.5 - reach, 0.5 + reach]) if len(found) else (math.nan, math.nan)
    return float(low), float(high)


def block_bootstrap(
    values: ArrayLike, statistic: Statistic, *, block: float, n_resamples: int, seed: int, horizon: float = 1
) -> Floats:
    """Draw stationary-bootstrap resamples and take the statistic of each: (n_resamples,); empty below two values.

    Blocks have geometric lengths with mean `block`, at least `horizon`, and wrap round the end.
    """
    from arch.bootstrap import StationaryBootstrap

    data = np.asarray(values, dtype=float)
    require_blocks(block, n_resamples, horizon)
    if len(data) < 2:
        return np.empty(0)
    drawn = StationaryBootstrap(block, data, seed=np.random.default_rng(seed))
    found: Floats = drawn.apply(statistic, reps=n_resamples).ravel()
    return found


def require_blocks(block: float, n_resamples: int, horizon: float = 1) -> None:
    """Raises `ValueError` unless blocks reach over the horizon and something is resampled."""
    if not block >= 1:
        raise ValueError(f"block must be at least 1, got {block}")
    if not block >= horizon:
        raise ValueError(f"block must be no shorter than the horizon of {horizon}, got {block}")
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, got {n_resamples}")
