"""Columns of a feature table that say nothing, or nothing that another column does not say.

`table` is (n, k) with NaN where a value is missing. What is missing is no value: when a feature was first recorded says
something about its source and nothing about the market.
"""

from collections import Counter

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Bools, Floats, Ints

FEWEST_COMMON_ROWS = 100
"""Rows on which both columns are present, below which their correlation is not known: its error near 0.95 is 0.01 at this n."""

HEAD = 64
"""Rows by which columns are told apart before whole ones are compared."""


def constant_columns(table: Floats) -> Bools:
    """True for every column without two different values: (k,)."""
    low, high = np.fmin.reduce(table, axis=0, initial=np.inf), np.fmax.reduce(table, axis=0, initial=-np.inf)
    return np.asarray(low >= high)


def first_of_same(table: Floats) -> Ints:
    """Position of the first column with exactly the same values, missing ones included: (k,); its own where there is none."""
    heads = [_canonical(column) for column in table[:HEAD].T]
    shared = Counter(heads)
    first: dict[bytes, int] = {}
    return np.array(
        [first.setdefault(_canonical(table[:, j]) if shared[head] > 1 else head, j) for j, head in enumerate(heads)]
    )


def rank_correlation(table: Floats) -> Floats:
    """Correlation of the columns' ranks: (k, k), Spearman's where nothing is missing.

    A column is ranked among its own values and a pair compared on the rows where both are present. 0 where these are fewer than
    `FEWEST_COMMON_ROWS` or one of the two does not vary on them.
    """
    present = np.isfinite(table).astype(np.float64)
    ranks = pd.DataFrame(table).rank().to_numpy()
    # about the middle, or sums of squares would lose their last digits
    ranks = np.where(present > 0, ranks - (np.nan_to_num(ranks).sum(axis=0) / np.maximum(present.sum(axis=0), 1)), 0.0)
    n, total, squares = present.T @ present, ranks.T @ present, (ranks**2).T @ present
    spread = np.maximum(squares - total**2 / np.maximum(n, 1), 0.0)
    product = np.sqrt(spread * spread.T)
    known = (n >= FEWEST_COMMON_ROWS) & (product > 1e-9 * np.maximum(n, 1))
    covariance = ranks.T @ ranks - total * total.T / np.maximum(n, 1)
    correlation = np.divide(covariance, product, out=np.zeros_like(product), where=known)
    return np.asarray(np.clip(correlation, -1.0, 1.0))


def representatives(correlation: Floats, order: Ints, *, limit: float) -> Ints:
    """Position of the column that stands for each column of `order`: its own, or the most correlated one above the limit.

    Columns are taken in turn, and one is dropped when a column taken before it is correlated more than `limit` with it, in
    absolute value. So no two that stay are above the limit, and whatever is dropped is above it with what stands for it:
    linkage clusters promise only one of the two. Source: the leader algorithm, Hartigan (1975), chapter 3.
    """
    alike = np.abs(correlation)
    stands = np.arange(len(correlation))
    leaders: list[int] = []
    for column in order.tolist():
        nearest = max(leaders, key=lambda leader: alike[column, leader], default=column)
        if nearest != column and alike[column, nearest] > limit:
            stands[column] = nearest
        else:
            leaders.append(column)
    return stands


def _canonical(column: Floats) -> bytes:
    """The same bytes for the same values: one zero and one NaN, whatever their signs and payloads."""
    return np.where(np.isnan(column), np.nan, column + 0.0).tobytes()
