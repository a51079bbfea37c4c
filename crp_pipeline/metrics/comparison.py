"""Whether one of several forecasters or strategies is better than another, beyond chance and beyond the choice among many.

Values are (n,) or (n, candidates) in time order, on the same periods. What cannot be tested is NaN, which passes no gate.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from crp_pipeline.contracts import Floats, Ints
from crp_pipeline.metrics.bootstrap import require_blocks
from crp_pipeline.metrics.validity import require_level

if TYPE_CHECKING:
    from arch.bootstrap import SPA

_FEWEST_PERIODS = 10
"""The threshold of the consistent p-value has ln ln n in it, which means nothing for a handful of periods."""


class DieboldMariano(NamedTuple):
    """Positive where the first forecaster loses more; the p-value is two-sided."""

    statistic: float
    p_value: float


class SuperiorAbility(NamedTuple):
    """P-values of "no candidate is better than the benchmark", from liberal to conservative; judge by `consistent`.

    They differ in which candidates still count: only those no worse than the benchmark, those not clearly worse, all.
    """

    lower: float
    consistent: float
    upper: float


def diebold_mariano(loss_a: ArrayLike, loss_b: ArrayLike, *, horizon: int) -> DieboldMariano:
    """Test that two forecasters lose the same on average, with the small-sample correction of Harvey et al. 1997.

    `loss_a` and `loss_b` are the losses of each row, (n,), of forecasts that reach `horizon` rows ahead, so that differences
    share `horizon` - 1 lags: their autocovariances count in full (Diebold and Mariano 1995), and the statistic is held
    against Student's t with n - 1 degrees (Harvey, Leybourne and Newbold 1997). A sum of full autocovariances need not be
    positive; where it is not, they are weighted down linearly (Bartlett), which is never negative. NaN where all
    differences are equal, and unless there are more rows than `horizon`.

    >>> test = diebold_mariano([0.9, 0.7, 0.8, 0.6, 0.9], [0.6, 0.6, 0.7, 0.7, 0.5], horizon=1)
    >>> print(f"{test.statistic:.3f} {test.p_value:.3f}")
    1.835 0.140
    """
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1, got {horizon}")
    worse = _differences(loss_a, loss_b)
    n = len(worse)
    if n <= horizon or not np.ptp(worse) > 0:
        return DieboldMariano(math.nan, math.nan)
    from scipy.stats import t

    correction = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n
    statistic = float(worse.mean() * math.sqrt(correction * n / _long_run_variance(worse, horizon - 1)))
    return DieboldMariano(statistic, float(2 * t.sf(abs(statistic), n - 1)))


def superior_predictive_ability(
    benchmark: ArrayLike, returns: ArrayLike, *, block: float, n_resamples: int = 10_000, seed: int, horizon: float = 1
) -> SuperiorAbility:
    """Test that no candidate of a roster earns more than the benchmark, whichever of them was chosen (Hansen 2005).

    `benchmark` (n,) and `returns` (n, candidates) are what each earned per period: higher is better. The largest mean
    advantage, each divided by its own long-run standard deviation, is held against stationary-bootstrap resamples with
    mean block length `block`, at least `horizon`. The p-value is (1 + resamples not below) / (1 + resamples), never 0. A
    candidate whose advantage never varies takes no part; NaN below ten periods, with a missing value, or where none is left.
    """
    require_blocks(block, n_resamples, horizon)
    candidates, advantage = _studentised(benchmark, returns, block)
    if not len(candidates):
        return SuperiorAbility(math.nan, math.nan, math.nan)
    shares = _bootstrapped(advantage, block, n_resamples, seed).pvalues
    return SuperiorAbility(*(float((1 + shares[name] * n_resamples) / (1 + n_resamples)) for name in SuperiorAbility._fields))


def stepm_survivors(
    benchmark: ArrayLike,
    returns: ArrayLike,
    *,
    block: float,
    level: float = 0.95,
    n_resamples: int = 10_000,
    seed: int,
    horizon: float = 1,
) -> Ints:
    """Columns of the candidates that are better than the benchmark, with at most 1 - `level` chance of a single false one.

    The step-down test of Romano and Wolf (2005): those found are set aside and the rest are tested again among themselves,
    until no more are found. Arguments as in `superior_predictive_ability`; empty where nothing can be tested.
    """
    size = 1 - require_level(level)
    require_blocks(block, n_resamples, horizon)
    candidates, advantage = _studentised(benchmark, returns, block)
    if not len(candidates):
        return candidates
    test = _bootstrapped(advantage, block, n_resamples, seed)
    left = np.ones(len(candidates), dtype=bool)
    # `arch.bootstrap.StepM` does the same, but fails when the last step leaves no candidate
    while left.any() and len(better := test.better_models(size)):
        left[better] = False
        if left.any():
            test.subset(left)
            test.compute()
    return candidates[~left]


def _differences(a: ArrayLike, b: ArrayLike) -> Floats:
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"both losses must be (n,), got {first.shape} and {second.shape}")
    difference: Floats = first - second
    return difference


def _long_run_variance(values: Floats, lags: int) -> float:
    """Variance of the mean times n, with full autocovariances, or with Bartlett weights where these give none."""
    centred, n = values - values.mean(), len(values)
    shared = np.array([centred[lag:] @ centred[: n - lag] / n for lag in range(lags + 1)])
    full = shared[0] + 2 * shared[1:].sum()
    # rounding leaves 1e-17 of a sum that is 0
    weight = 1.0 if full > 1e-12 * shared[0] else 1 - np.arange(1, lags + 1) / (lags + 1)
    return float(shared[0] + 2 * (weight * shared[1:]).sum())


def _studentised(benchmark: ArrayLike, returns: ArrayLike, block: float) -> tuple[Ints, Floats]:
    """Columns that can be tested, and their advantages over their long-run standard deviations, (n, columns).

    `arch` estimates these deviations too, but its statistic is the plain mean: noisy candidates would hide calm ones.
    """
    base, earned = np.asarray(benchmark, dtype=float), np.asarray(returns, dtype=float)
    if base.ndim != 1 or earned.ndim != 2 or len(base) != len(earned):
        raise ValueError(f"benchmark must be (n,) and returns (n, candidates), got {base.shape} and {earned.shape}")
    advantage: Floats = earned - base[:, None]
    if len(advantage) < _FEWEST_PERIODS or not np.isfinite(advantage).all():
        return np.empty(0, np.int64), advantage[:, :0]
    candidates = np.flatnonzero(np.ptp(advantage, axis=0) > 0)
    moving = advantage[:, candidates]
    studentised: Floats = moving / np.sqrt(_stationary_variance(moving, block))
    return candidates, studentised


def _stationary_variance(values: Floats, block: float) -> Floats:
    """Variance of a resample's mean times n under the stationary bootstrap, (columns,); Politis and Romano 1994, lemma 1."""
    centred, n = values - values.mean(axis=0), len(values)
    lag, stay = np.arange(1, n), 1 - 1 / block
    weight = (1 - lag / n) * stay**lag + lag / n * stay ** (n - lag)
    shared = [np.einsum("ij,ij->j", centred[k:], centred[: n - k]) for k in lag]
    variance: Floats = ((centred**2).sum(axis=0) + 2 * weight @ np.array(shared)) / n
    return variance


def _bootstrapped(advantage: Floats, block: float, n_resamples: int, seed: int) -> "SPA":
    """The test, computed; `arch` compares losses, of which a candidate that earns more has less."""
    from arch.bootstrap import SPA

    rng = np.random.default_rng(seed)
    test = SPA(np.zeros(len(advantage)), -advantage, block_size=block, reps=n_resamples, seed=rng)
    test.compute()
    return test
