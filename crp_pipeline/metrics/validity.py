"""How much of a result luck explains.

Sharpe ratios here are per period (not annualised), kurtosis is not in excess (3 for a normal), and `n` counts returns.
What cannot be computed (fewer than two values, a variance that is not positive) is NaN, which passes no gate; an
argument without meaning (a level of 1.5, no trials) is a `ValueError` that names it.
"""

import math
from itertools import combinations
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from crp_pipeline.contracts import Bools, Floats

_SAME = 1e-12
"""Sharpe ratios that differ by less are equal: matrix products round the columns of copies differently."""


def probabilistic_sharpe_ratio(sharpe: float, n: float, *, skew: float, kurtosis: float, benchmark: float = 0.0) -> float:
    """Probability that the true Sharpe ratio exceeds `benchmark`; Bailey and Lopez de Prado 2012."""
    variance = _sharpe_variance(sharpe, skew, kurtosis)
    if n < 2 or not variance > 0:
        return math.nan
    z = (sharpe - benchmark) * math.sqrt((n - 1) / variance)
    return math.erfc(-z / math.sqrt(2)) / 2


def deflated_sharpe_ratio(
    sharpe: float, n: float, *, skew: float, kurtosis: float, n_trials: float, trial_variance: float
) -> float:
    """Probability that the true Sharpe ratio exceeds what the best of `n_trials` worthless ones would show.

    `trial_variance` is the variance of the trials' Sharpe ratios, per period like `sharpe` (Bailey and Lopez de Prado
    2014). Trials that are copies of each other count too much, trials that nobody wrote down count nothing.
    """
    benchmark = expected_maximum_sharpe(n_trials, trial_variance)
    return probabilistic_sharpe_ratio(sharpe, n, skew=skew, kurtosis=kurtosis, benchmark=benchmark)


def expected_maximum_sharpe(n_trials: float, trial_variance: float) -> float:
    """Largest Sharpe ratio to expect among independent trials whose true one is 0; 0 for a single trial.

    The extreme-value approximation of Bailey and Lopez de Prado 2014; 8 % low at two trials, 1 % high at a hundred. An
    effective number of trials may be fractional; below 1.28, where the approximation turns negative, the value is 0.

    >>> round(expected_maximum_sharpe(100, 0.5 / 250), 4)
    0.1132
    """
    if not n_trials >= 1:
        raise ValueError(f"n_trials must be at least 1, got {n_trials}")
    if not trial_variance >= 0:
        raise ValueError(f"trial_variance must not be negative, got {trial_variance}")
    if n_trials == 1:
        return 0.0
    usual, rare = -_quantile(1 / n_trials), -_quantile(1 / (n_trials * math.e))
    return math.sqrt(trial_variance) * max(0.0, (1 - np.euler_gamma) * usual + np.euler_gamma * rare)


def minimum_track_record_length(
    sharpe: float, *, skew: float, kurtosis: float, benchmark: float = 0.0, level: float = 0.95
) -> float:
    """How many returns `probabilistic_sharpe_ratio` needs to reach `level`; infinite unless above `benchmark`."""
    z = _one_sided(level)
    variance = _sharpe_variance(sharpe, skew, kurtosis)
    if math.isnan(sharpe) or not variance > 0:
        return math.nan
    return 1 + variance * (z / (sharpe - benchmark)) ** 2 if sharpe > benchmark else math.inf


def minimum_backtest_length(n_trials: float, target_sharpe: float) -> float:
    """Years below which the best of `n_trials` worthless strategies is expected to show the annualised `target_sharpe`.

    Bailey, Borwein, Lopez de Prado and Zhu 2014: with five years, 45 trials are expected to show a Sharpe ratio of 1.
    """
    if not target_sharpe > 0:
        raise ValueError(f"target_sharpe must be positive, got {target_sharpe}")
    return (expected_maximum_sharpe(n_trials, 1.0) / target_sharpe) ** 2


def wilson_interval(successes: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Two-sided score interval of a proportion (Wilson 1927); `n` may be an effective, fractional size, NaN at 0.

    The lower end alone holds with (1 + level) / 2: pass 0.90 for a one-sided bound at 95 %.

    >>> low, high = wilson_interval(81, 263)
    >>> print(f"{low:.4f} to {high:.4f}")
    0.2553 to 0.3662
    """
    if n < 0 or not 0 <= successes <= max(n, 0):
        raise ValueError(f"{successes} successes of {n} are not a proportion")
    z = _two_sided(level)
    if n == 0:
        return math.nan, math.nan
    share, weight = successes / n, 1 + z * z / n
    middle = (share + z * z / (2 * n)) / weight
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / weight
    # rounding could leave a share of 0 or 1 outside by 1e-17
    return max(0.0, min(middle - reach, share)), min(1.0, max(middle + reach, share))


def probability_of_backtest_overfitting(performance: ArrayLike, *, n_blocks: int = 16, beside_nothing: bool = False) -> float:
    """How often the trial that is best in one half of the history is at or below the median in the other half.

    Combinatorially symmetric cross-validation (Bailey, Borwein, Lopez de Prado and Zhu 2017): `performance` holds
    per-period returns, (n_periods, n_trials); its last `n_blocks * k` rows are cut into `n_blocks` blocks, every half
    of them is once the choice and the rest the test, ranked by Sharpe ratio. A rank counts when its logit is 0 or less,
    as in the paper, and so does the middle one of an odd number of trials.

    0 when one trial is truly best. About 0.5 when all are worthless, but (n + 1) / 2n for an odd number n of them: 2/3
    for three, 0.6 for five. Trials that tie take their places by lot, so that copies of one trial give the same. With
    `beside_nothing` as many trials that do nothing, and are never the choice, are ranked beside them: their median is
    nothing, and what is counted is how often the choice loses (the paper's probability of loss). NaN below two trials,
    one beside nothing, or two periods per block; `n_blocks` must be even and at most 20 (184,756 halves).
    """
    returns = np.asarray(performance, dtype=float)
    if returns.ndim != 2:
        raise ValueError(f"performance must be (n_periods, n_trials), got {returns.shape}")
    if n_blocks % 2 or not 2 <= n_blocks <= 20:
        raise ValueError(f"n_blocks must be even and from 2 to 20, got {n_blocks}")
    length = len(returns) // n_blocks
    fewest = 1 if beside_nothing else 2
    if returns.shape[1] < fewest or length < 2 or not np.isfinite(returns).all():
        return math.nan
    blocks = returns[-n_blocks * length :].reshape(n_blocks, length, -1)
    n_idle, parts = returns.shape[1] if beside_nothing else 0, np.array_split(_halves(n_blocks), n_blocks * n_blocks)
    below = [_at_or_below_median(blocks, part, n_idle) for part in parts]
    return float(np.concatenate(below).mean())


def effective_sample_size(values: ArrayLike, *, max_lag: int) -> float:
    """How many independent values carry as much about the mean as these, never more than there are.

    n over 1 plus twice the Bartlett-weighted autocorrelations up to `max_lag` (Newey and West 1987), which should cover
    the horizon that neighbouring values share. NaN below two values; n when all are equal.
    """
    if max_lag < 0:
        raise ValueError(f"max_lag must not be negative, got {max_lag}")
    data = np.asarray(values, dtype=float)
    n = len(data)
    if n < 2:
        return math.nan
    centred = data - data.mean()
    variance = float(centred @ centred)
    if np.ptp(data) == 0:
        return float(n)
    lags = range(1, min(max_lag, n - 1) + 1)
    shared = sum((1 - lag / (max_lag + 1)) * float(centred[lag:] @ centred[:-lag]) for lag in lags) / variance
    return n / max(1.0, 1 + 2 * shared)


class ShareInterval(NamedTuple):
    """How much a sequence that may hang together says about a share."""

    effective_n: float
    low: float
    high: float


def dependent_share_interval(happened: ArrayLike, *, level: float = 0.95) -> ShareInterval:
    """`wilson_interval` of how often something happened, (n,) in time order, on the effective sample size.

    Neighbours may share a regime: autocorrelation up to the square root of n steps is counted. NaN without any, and the plain
    interval where all are alike, which tell nothing of what neighbours share.
    """
    came = np.asarray(happened, dtype=float)
    n = effective_sample_size(came, max_lag=math.isqrt(len(came))) if len(came) > 1 else float(len(came))
    return ShareInterval(n, *wilson_interval(float(came.mean()) * n if len(came) else 0.0, n, level=level))


def _sharpe_variance(sharpe: float, skew: float, kurtosis: float) -> float:
    """Asymptotic variance of the Sharpe ratio times n - 1 (Mertens 2002)."""
    return 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2


def require_level(level: float) -> float:
    """The level; raises `ValueError` unless it lies between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    return level


def _one_sided(level: float) -> float:
    return -_quantile(1 - require_level(level))


def _two_sided(level: float) -> float:
    return -_quantile((1 - require_level(level)) / 2)


def _quantile(p: float) -> float:
    """Standard normal quantile, asked for the lower tail, where a small `p` keeps all its digits."""
    return NormalDist().inv_cdf(p)


def _halves(n_blocks: int) -> Bools:
    """Every way to choose half of the blocks, (ways, n_blocks)."""
    chosen = np.array(list(combinations(range(n_blocks), n_blocks // 2)))
    mask = np.zeros((len(chosen), n_blocks), dtype=bool)
    np.put_along_axis(mask, chosen, values=True, axis=1)
    return mask


def _at_or_below_median(blocks: Floats, chosen: Bools, n_idle: int) -> Floats:
    """Chance that the best trial of the chosen half ranks no higher than the middle of the other half, (ways,).

    0 or 1, but for ties: the best takes each of the tied places with equal chance. So many trials that do nothing are ranked
    as well, and are never the best.
    """
    best = _block_sharpe(blocks, chosen).argmax(axis=1)
    tested = np.pad(_block_sharpe(blocks, ~chosen), ((0, 0), (0, n_idle)))
    ahead = tested - tested[np.arange(len(best)), best][:, None]
    tied = np.abs(ahead) <= _SAME
    worse, level = (ahead < -_SAME).sum(axis=1), tied.sum(axis=1)
    places = (tested.shape[1] + 1) // 2
    chance: Floats = np.clip(places - worse, 0, level) / level
    return chance


def _block_sharpe(blocks: Floats, chosen: Bools) -> Floats:
    """Sharpe ratio of each trial over the chosen blocks, (ways, trials); 0 for a trial that never moves."""
    weight = chosen.astype(float)
    n = weight.sum(axis=1, keepdims=True) * blocks.shape[1]
    mean = weight @ blocks.sum(axis=1) / n
    variance = weight @ (blocks**2).sum(axis=1) / n - mean**2
    moves = variance > 1e-12 * mean**2
    sharpe: Floats = np.divide(mean, np.sqrt(np.abs(variance)), out=np.zeros_like(mean), where=moves)
    return sharpe
