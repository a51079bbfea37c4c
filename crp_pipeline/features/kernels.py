"""Loops over trailing windows for which numpy has no fast words, compiled at their first call.

Every kernel takes (n,) float64 arrays without NaN unless it says otherwise and gives (n,) floats, NaN where the window
reaches back before the first element. Value `t` is made of the window's elements alone and always in the same order: it
is the same to the bit wherever the array starts.

Numba is imported by the first call, so that importing the features stays cheap. It keeps compiled code per source file
and does not see changes in another one: all kernels live here and none calls another.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

import numpy as np

from crp_pipeline.contracts import Floats, Ints

BLOCK = 512
"""Bars whose running sums fit into the fastest cache together."""

_F = TypeVar("_F", bound=Callable[..., Any])


def _compiled(function: _F) -> _F:
    @lru_cache(maxsize=1)
    def machine_code() -> Callable[..., Any]:
        from numba import njit

        return cast("Callable[..., Any]", njit(cache=True, nogil=True)(function))

    @wraps(function)
    def call(*arguments: object) -> object:
        return machine_code()(*arguments)

    return cast("_F", call)


@_compiled
def sum_by_doubling(values: Floats, window: int, step: int) -> Floats:
    """Sum of the `window` elements that lie `step` apart and end here; NaN where one of them is.

    Sums of 1, 2, 4, 8 ... elements are joined to `window`, always in the same order, for some log2(window) additions.
    """
    result = np.full(len(values), np.nan)
    if len(values) <= (window - 1) * step:
        return result
    total, power = np.zeros(len(values)), values.copy()  # power[i] is the sum of the `width` elements from i on
    covered, width = 0, 1
    while covered < window:
        if window & width:
            later = power[covered * step :]
            for i in range(len(later)):
                total[i] += later[i]
            covered += width
        if covered < window:
            later = power[width * step :]
            for i in range(len(later)):
                power[i] += later[i]
            width *= 2
    result[(window - 1) * step :] = total[: len(values) - (window - 1) * step]
    return result


@_compiled
def rolling_percentile(values: Floats, window: int) -> Floats:
    """Share of the window's other elements that lie below its last one, equal ones counted half: 0 to 1."""
    result = np.full(len(values), np.nan)
    for t in range(window - 1, len(values)):
        last, others, twice_below = values[t], values[t - window + 1 : t], 0
        for k in range(window - 1):
            twice_below += (1 if others[k] < last else 0) + (1 if others[k] <= last else 0)
        result[t] = twice_below / (2 * (window - 1))
    return result


@_compiled
def age_of_highest(values: Floats, window: int) -> Floats:
    """Elements since the largest one of the window, the latest among equals: 0 to window - 1."""
    result = np.full(len(values), np.nan)
    falling = np.empty(len(values), np.int64)  # positions of the largest, of the largest after it, and so on
    first, behind = 0, 0
    for t in range(len(values)):
        while behind > first and values[falling[behind - 1]] <= values[t]:
            behind -= 1
        falling[behind] = t
        behind += 1
        if falling[first] <= t - window:
            first += 1
        if t >= window - 1:
            result[t] = t - falling[first]
    return result


@_compiled
def weighted_sum(values: Floats, weights: Floats) -> Floats:
    """Sum of the window's elements, the last one times `weights[0]`, the one before times `weights[1]` ...: a filter."""
    window = len(weights)
    result = np.full(len(values), np.nan)
    for start in range(window - 1, len(values), BLOCK):
        total = result[start : start + BLOCK]
        for i in range(len(total)):
            total[i] = 0.0
        for k in range(window):
            weight, lagged = weights[k], values[start - k :]
            for i in range(len(total)):
                total[i] += weight * lagged[i]
    return result


@_compiled
def deepest_fall(steps: Floats, window: int) -> Floats:
    """Sum of the latest steps of the window, as many as make it lowest; 0 where every such sum rises.

    Of log returns it is the log drawdown from the highest level of the window. NaN where the window holds one.
    """
    result = np.full(len(steps), np.nan)
    total = np.empty(BLOCK)
    for start in range(window - 1, len(steps), BLOCK):
        lowest = result[start : start + BLOCK]
        for i in range(len(lowest)):
            total[i], lowest[i] = 0.0, 0.0
        for k in range(window):
            lagged = steps[start - k :]
            for i in range(len(lowest)):
                total[i] += lagged[i]
                lowest[i] = min(lowest[i], total[i])
        for i in range(len(lowest)):
            lowest[i] += 0 * total[i]
    return result


@_compiled
def rolling_quantiles(values: Floats, window: int, shares: Floats) -> Floats:
    """Quantiles of the window, one row per share, linear between neighbours: (shares, n)."""
    result = np.full((len(shares), len(values)), np.nan)
    ordered = np.full(window, np.inf)
    for t in range(len(values)):
        oldest = values[t - window] if t >= window else np.inf
        leaves, enters = 0, 0
        for i in range(window):  # a processor compares several at once, which a search by halves does not let it do
            leaves += 1 if ordered[i] < oldest else 0
            enters += 1 if ordered[i] < values[t] else 0
        if enters > leaves:
            enters -= 1
        for i in range(leaves, enters):
            ordered[i] = ordered[i + 1]
        for i in range(leaves, enters, -1):
            ordered[i] = ordered[i - 1]
        ordered[enters] = values[t]
        if t >= window - 1:
            for j in range(len(shares)):
                place = shares[j] * (window - 1)
                lower = int(place)
                upper = min(lower + 1, window - 1)
                result[j, t] = ordered[lower] + (place - lower) * (ordered[upper] - ordered[lower])
    return result


@_compiled
def rolling_entropy(codes: Ints, n_codes: int, window: int) -> Floats:
    """Entropy in nats of the codes in the window, each from 0 to `n_codes` - 1; codes are (n,) whole numbers."""
    surprise = np.zeros(window + 1)
    for count in range(1, window + 1):
        surprise[count] = -count / window * np.log(count / window)
    result, counts = np.full(len(codes), np.nan), np.zeros(n_codes, np.int64)
    for t in range(len(codes)):
        counts[codes[t]] += 1
        if t >= window:
            counts[codes[t - window]] -= 1
        if t >= window - 1:
            entropy = 0.0
            for code in range(n_codes):
                entropy += surprise[counts[code]]
            result[t] = entropy
    return result


@_compiled
def share_of_bars_across(price: Floats, high: Floats, low: Floats, window: int) -> Floats:
    """Share of the window's other bars whose range, its ends included, holds the last price: 0 to 1."""
    result = np.full(len(price), np.nan)
    for t in range(window - 1, len(price)):
        last, across = price[t], 0
        highs, lows = high[t - window + 1 : t], low[t - window + 1 : t]
        for k in range(window - 1):
            across += 1 if (lows[k] <= last) & (last <= highs[k]) else 0
        result[t] = across / (window - 1)
    return result
