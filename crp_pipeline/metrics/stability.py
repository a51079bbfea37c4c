"""How much the choices of one method over several samples agree.

`chosen` is (choices, items) of True where a choice has the item. No interval is given: the published one is for samples that
share nothing, and training blocks that grow share most of their rows.
"""

from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from crp_pipeline.contracts import Bools


def mean_jaccard(chosen: ArrayLike) -> float:
    """Mean over all pairs of choices of shared items over items in either: 0 to 1; NaN below two choices.

    Not corrected for chance: two random halves of the same items score 1/3. Two empty choices agree.
    """
    table = _choices(chosen)
    pairs = [((a & b).sum(), (a | b).sum()) for a, b in combinations(table, 2)]
    return float(np.mean([shared / either if either else 1.0 for shared, either in pairs])) if pairs else float("nan")


def selection_stability(chosen: ArrayLike) -> float:
    """Agreement of the choices corrected for chance: 1 for equal ones, about 0 for random ones.

    NaN below two choices, and where every choice takes all items or none: chance would agree as well. Source: Nogueira,
    Sechidis and Brown (2018), Journal of Machine Learning Research 18(174), definition 4.
    """
    table = _choices(chosen)
    n_choices = len(table)
    share = table.sum() / table.size if table.size else 0.0
    if n_choices < 2 or not 0 < share < 1:
        return float("nan")
    frequency = table.mean(axis=0)
    variance = n_choices / (n_choices - 1) * frequency * (1 - frequency)
    return float(1 - variance.mean() / (share * (1 - share)))


def mean_rank_correlation(values: ArrayLike) -> float:
    """Mean Spearman correlation of all pairs of rows of (samples, items): -1 to 1; NaN below two samples.

    An item that is missing in one of a pair is left out of it.
    """
    from scipy.stats import spearmanr

    found = []
    for a, b in combinations(np.asarray(values, dtype=np.float64), 2):
        told = np.isfinite(a) & np.isfinite(b)
        varies = told.sum() > 1 and len(np.unique(a[told])) > 1 and len(np.unique(b[told])) > 1
        found.append(float(spearmanr(a[told], b[told]).statistic) if varies else float("nan"))
    known = [value for value in found if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def mean_top_overlap(values: ArrayLike, top: int) -> float:
    """Mean share of the `top` largest items that two rows of (samples, items) have in common; NaN below two samples.

    Not corrected for chance: two random orders of k items share `top / k`. Items of 0, and missing ones, are in nobody's
    top.
    """
    table = np.nan_to_num(np.asarray(values, dtype=np.float64))
    tops = [set(np.argsort(-row, kind="stable")[:top]) & set(np.flatnonzero(row > 0)) for row in table]
    pairs = [len(a & b) / max(len(a), len(b), 1) for a, b in combinations(tops, 2)]
    return float(np.mean(pairs)) if pairs else float("nan")


def _choices(chosen: ArrayLike) -> Bools:
    table = np.asarray(chosen)
    if table.ndim != 2 or table.dtype != np.bool_:
        raise ValueError(f"chosen must be (choices, items) of booleans, got {table.dtype} of shape {table.shape}")
    return table
