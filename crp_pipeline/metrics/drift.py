"""Whether a recent stretch still looks like the history that it is held against.

Two distances between samples: the population stability index and the statistic of Kolmogorov and Smirnov. Neither comes with a
p-value here. Bars that follow each other resemble each other, and so do features that share their window: 720 hourly values of
a 200-bar average are worth a handful of independent ones, and a p-value that counts them as 720 finds drift in nearly every
stretch of a market that never changed. The honest yardstick is the history itself: what the same distance is when stretches of
the same length are taken out of it, one after the other, and held against the rest (`psi_of_stretches`, `ks_of_stretches`).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from crp_pipeline.contracts import Floats, Ints

N_BINS = 10
HALF_A_ROW = 0.5
"""An empty bin counts as half a row of its sample: no share is 0, whose logarithm would be infinite."""


def population_stability_index(reference: ArrayLike, recent: ArrayLike, *, n_bins: int = N_BINS) -> float:
    """Sum over bins of (share in recent - share in reference) * log(the one over the other); 0 for equal shares, never below.

    `reference` (n,) and `recent` (m,) in any order. Bins lie between the reference's quantiles, so that each holds as much of
    it; a value that is more common than a bin is a bin of its own, and so are missing values. A bin that is empty in one sample
    counts as half a row of that sample. NaN where a sample has no row. Source: Siddiqi (2006), Credit Risk Scorecards, whose
    rule of thumb takes 0.10 for a remark and 0.25 for a change; without any change it is near (bins - 1) * (1/n + 1/m) for
    independent rows (Yurdakul 2018), and as much more as rows depend on each other.

    >>> quarters = np.repeat([1.0, 2.0, 3.0, 4.0], 25)
    >>> round(population_stability_index(quarters, np.repeat([1.0, 2.0, 3.0, 4.0], [40, 30, 20, 10]), n_bins=4), 4)
    0.2282
    """
    old, new = _sample(reference, "reference"), _sample(recent, "recent")
    if not len(old) or not len(new):
        return float("nan")
    edges = quantile_edges(old, n_bins=n_bins)
    n_cells = len(edges) + 2
    counts = [np.bincount(_cells(values, edges), minlength=n_cells)[:, None] for values in (old, new)]
    return float(_psi(*counts)[0])


def ks_statistic(reference: ArrayLike, recent: ArrayLike) -> float:
    """Largest distance between the two empirical distribution functions, in [0, 1]; NaN where a sample has no known value.

    Missing values are left out. The statistic of `scipy.stats.ks_2samp`, without the p-value that takes most of its time: see
    the module. Source: Smirnov (1939).
    """
    old, new = (_known(values) for values in (_sample(reference, "reference"), _sample(recent, "recent")))
    return _distance(old, new) if len(old) and len(new) else float("nan")


def quantile_edges(reference: Floats, *, n_bins: int = N_BINS) -> Floats:
    """Ascending edges between the bins of a sample, (edges,); a bin holds its upper edge. Empty without a known value."""
    if n_bins < 2:
        raise ValueError(f"n_bins must be at least 2, got {n_bins}")
    known = reference[~np.isnan(reference)]
    if not len(known):
        return np.empty(0)
    inner = np.quantile(known, np.arange(1, n_bins) / n_bins, method="inverted_cdf")
    value, times = np.unique(inner, return_counts=True)
    return np.unique(np.concatenate([value, np.nextafter(value[times > 1], -np.inf)]))


def stretch_starts(n: int, length: int, *, per_length: int = 4) -> Ints:
    """First rows of the stretches of a history of `n` rows: `per_length` begin in every `length` rows, and all end in it.

    Stretches overlap, which smooths a quantile over them; independent are no more than n / length of them.
    """
    if not 1 <= length <= n:
        raise ValueError(f"a stretch must have 1 to {n} rows, got {length}")
    step = max(length // per_length, 1)
    return np.arange(0, n - length + 1, step, dtype=np.int64)


def psi_of_stretches(values: ArrayLike, length: int, *, n_bins: int = N_BINS, per_length: int = 4) -> Floats:
    """`population_stability_index` of stretches of a history against the rest of it: (stretches, k) of (n, k) in time order.

    Bins lie between the quantiles of the whole history. A history that is no longer than a stretch has no rest: `ValueError`.
    """
    table = _history(values, length)
    starts = stretch_starts(len(table), length, per_length=per_length)
    return np.column_stack([_psi_of_column(column, starts, length, n_bins) for column in table.T])


def ks_of_stretches(values: ArrayLike, length: int, *, per_length: int = 4) -> Floats:
    """`ks_statistic` of stretches of a history against the rest of it: (stretches, k) of (n, k) in time order.

    NaN for a stretch without a known value, or that has all of them.
    """
    table = _history(values, length)
    starts = stretch_starts(len(table), length, per_length=per_length)
    return np.column_stack([list(_ks_of_column(column, starts, length)) for column in table.T])


def _psi_of_column(column: Floats, starts: Ints, length: int, n_bins: int) -> Floats:
    edges = quantile_edges(column, n_bins=n_bins)
    is_in = np.eye(len(edges) + 2, dtype=np.int64)[_cells(column, edges)]
    so_far = np.vstack([np.zeros((1, is_in.shape[1]), dtype=np.int64), is_in.cumsum(axis=0)])
    inside = (so_far[starts + length] - so_far[starts]).T
    return _psi(so_far[-1][:, None] - inside, inside)


def _psi(reference: Ints, recent: Ints) -> Floats:
    """The index of counts (cells, stretches) each: (stretches,)."""
    old, new = (np.maximum(counts, HALF_A_ROW) / counts.sum(axis=0) for counts in (reference, recent))
    is_used = (reference > 0) | (recent > 0)
    found: Floats = np.where(is_used, (new - old) * np.log(new / old), 0.0).sum(axis=0)
    return found


def _ks_of_column(column: Floats, starts: Ints, length: int) -> Iterator[float]:
    """Within a stretch of m of n rows the distance to the rest is n / (n - m) times that to the whole."""
    known = _known(column)
    for start in starts:
        inside = _known(column[start : start + length])
        m, n = len(inside), len(known)
        yield _distance(known, inside) * n / (n - m) if 0 < m < n else float("nan")


def _distance(whole: Floats, part: Floats) -> float:
    """Largest distance between two empirical distribution functions of sorted samples, at and just before the part's values."""
    gaps = [
        np.searchsorted(whole, part, side=side) / len(whole) - np.searchsorted(part, part, side=side) / len(part)
        for side in ("left", "right")
    ]
    return float(np.abs(gaps).max())


def _known(values: Floats) -> Floats:
    """The values that are not missing, in ascending order."""
    return np.sort(values[~np.isnan(values)])


def _cells(values: Floats, edges: Floats) -> Ints:
    """Bin of each value, (n,): 0 to the number of edges, and one more for a missing value."""
    cells = np.searchsorted(edges, values, side="left")
    cells[np.isnan(values)] = len(edges) + 1
    return np.asarray(cells, dtype=np.int64)


def _sample(values: ArrayLike, name: str) -> Floats:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1:
        raise ValueError(f"{name} must be (n,), got {sample.shape}")
    return sample


def _history(values: ArrayLike, length: int) -> Floats:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not 1 <= length < len(table):
        raise ValueError(f"a history must be (n, k) with more rows than the {length} of a stretch, got {table.shape}")
    return table
