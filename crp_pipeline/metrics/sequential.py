"""Evidence that may be looked at every night without being used up.

An e-value is what a bet against "no better than a coin" has made of 1: the chance that it ever reaches 20, however often one
looks, is at most 1 in 20 (Ville 1939).
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from crp_pipeline.contracts import Floats

STAKES = tuple(np.geomspace(0.05, 3.0, 16).tolist())
"""Log-odds by which a hit may be rarer than promised, betted on alike: from 1 point below a promise of 1/2 to 45 points."""
_TRUSTED = 1e-250
"""Tail probabilities below come near the smallest float and lose digits."""


def mixture_e_value(wins: int, n: int) -> float:
    """What 1 has become after `wins` of `n` paired decisions, staked on every win rate between 1/2 and 1 alike.

    E = 2 * 2^n * B(k + 1, n - k + 1) * (1 - I_1/2(k + 1, n - k + 1)) for k wins: the likelihood of the uniform mixture over
    (1/2, 1) against that of a fair coin (Robbins 1970). 1 at n = 0; infinite beyond the largest float, see
    `log_mixture_e_value`. Ties are no decisions: leave them out.

    >>> round(mixture_e_value(9, 10), 3)
    18.509
    """
    return float(_exponential(_log_e_values([wins], [n]))[0])


def log_mixture_e_value(wins: int, n: int) -> float:
    """Natural logarithm of `mixture_e_value`, finite for any `n`."""
    return float(_log_e_values([wins], [n])[0])


def e_process(wins: ArrayLike) -> Floats:
    """`mixture_e_value` after each decision, (n,), of whether each was won, (n,) booleans in time order.

    A martingale when wins are the throws of a fair coin, and a supermartingale when they are rarer than that given the past.

    >>> e_process(np.array([True, True, False])).round(4).tolist()
    [1.5, 2.3333, 0.9167]
    """
    won = np.asarray(wins)
    if won.ndim != 1 or won.dtype != np.bool_:
        raise ValueError(f"wins must be (n,) of booleans, got {won.dtype} of shape {won.shape}")
    return _exponential(_log_e_values(np.cumsum(won), np.arange(1, len(won) + 1)))


def shortfall_e_process(promised: ArrayLike, hit: ArrayLike) -> Floats:
    """What 1 has become after each decision, (n,), staked on hits that are rarer than `promised`.

    `promised` (n,) are probabilities above 0 and below 1, known when each decision was taken; `hit` (n,) booleans, whether it
    came true, in time order. E = mean over `STAKES` s of the product over decisions of exp(-s * hit) / (1 - c + c * exp(-s))
    for promises c: the likelihood of hits whose log-odds are lower by s against that of the promises, mixed over s (Robbins
    1970). A martingale when every decision comes true with what was promised, given all that was known when it was taken, and a
    supermartingale when with more: the chance that it ever reaches 20, however often one looks, is then at most 1 in 20.

    The outcome of each decision must be known before the next is taken. A bet that is open while others of the same hours are
    settled is half seen: whoever may stop then stops at a moment that the bet favours. Decisions with overlapping labels, and
    averages over interleaved sequences of them, may be looked at once and not every night.

    >>> shortfall_e_process([0.6, 0.6], [False, False]).round(2).tolist()
    [1.42, 2.19]
    """
    c, came = np.asarray(promised, dtype=float), np.asarray(hit)
    if c.ndim != 1 or came.shape != c.shape or came.dtype != np.bool_:
        raise ValueError(f"promises and hits must be (n,), hits booleans, got {c.shape} and {came.dtype} of {came.shape}")
    if (wrong := ~((c > 0) & (c < 1))).any():
        raise ValueError(f"a promise must lie between 0 and 1, got {c[wrong][0]:g}")
    stake = np.asarray(STAKES)
    steps = -stake * came[:, None] - np.log1p(c[:, None] * np.expm1(-stake))
    return _exponential(_log_mean_exp(steps.cumsum(axis=0)))


def _log_mean_exp(log_values: Floats) -> Floats:
    from scipy.special import logsumexp

    found: Floats = logsumexp(log_values, axis=1) - math.log(log_values.shape[1])
    return found


def _log_e_values(wins: ArrayLike, n: ArrayLike) -> Floats:
    from scipy.special import betainc, betaln

    k, size = np.asarray(wins, dtype=float), np.asarray(n, dtype=float)
    if (wrong := ~((k >= 0) & (k <= size))).any():
        raise ValueError(f"{k[wrong][0]:g} wins of {size[wrong][0]:g} decisions are impossible")
    upper = betainc(size - k + 1, k + 1, 0.5)
    known = upper > _TRUSTED
    found: Floats = (
        math.log(2) * (size + 1) + betaln(k + 1, size - k + 1) + np.log(upper, where=known, out=np.zeros_like(upper))
    )
    found[~known] = [_log_of_few_wins(few, of) for few, of in zip(k[~known], size[~known], strict=True)]
    return found


def _log_of_few_wins(wins: float, n: float) -> float:
    """The same as a series: E = sum over i <= k of C(n + 1, i) / C(n + 1, k), over n + 1 - k; quick where wins are rare."""
    total, term, i = 1.0, 1.0, wins
    while i > 0 and term > 1e-17 * total:
        term *= i / (n + 2 - i)
        total += term
        i -= 1
    return math.log(total) - math.log(n + 1 - wins)


def _exponential(log_value: Floats) -> Floats:
    with np.errstate(over="ignore"):
        value: Floats = np.exp(log_value)
    return value
