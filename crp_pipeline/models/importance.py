"""What a fitted model loses when it is shown a feature of other rows."""

from collections.abc import Callable

import numpy as np

from crp_pipeline.contracts import Floats, Ints

SMALLEST_PROBABILITY = 1e-15
ROWS_PER_CALL = 20_000
"""Rows of permuted copies that are predicted at once: few calls, and no more than some 30 MB."""


def permutation_importance(
    predict: Callable[[Floats], Floats],
    table: Floats,
    outcome: Ints,
    permutations: Ints,
    *,
    weight: Floats | None = None,
) -> Floats:
    """Increase of the mean log-loss, in nats, when one column's rows change places: (k,), the mean over permutations.

    `predict` gives (n, classes) probabilities of an (n, k) table, `outcome` is the class that came, `permutations` (repeats, n)
    holds orders of the rows, the same for every column, so that columns are compared under equal luck. Source: Breiman (2001),
    section 10; Fisher, Rudin and Dominici (2019).
    """
    n, k = table.shape
    before = _log_loss(predict(table), outcome, weight)
    at_once = max(ROWS_PER_CALL // (n * len(permutations)), 1)
    found = np.empty(k)
    for first in range(0, k, at_once):
        columns = np.arange(first, min(first + at_once, k))
        copies = _permuted(table, columns, permutations)
        probabilities = predict(copies.reshape(-1, k)).reshape(len(columns), len(permutations), n, -1)
        for column, shown in zip(columns, probabilities, strict=True):
            found[column] = np.mean([_log_loss(p, outcome, weight) for p in shown]) - before
    return found


def _permuted(table: Floats, columns: Ints, permutations: Ints) -> Floats:
    """One copy of the table per column and permutation, with that column in that order: (columns, repeats, n, k)."""
    copies = np.tile(table, (len(columns), len(permutations), 1, 1))
    for place, column in enumerate(columns):
        copies[place, :, :, column] = table[permutations, column]
    return copies


def _log_loss(probabilities: Floats, outcome: Ints, weight: Floats | None) -> float:
    came = np.maximum(probabilities[np.arange(len(outcome)), outcome], SMALLEST_PROBABILITY)
    return float(np.average(-np.log(came), weights=weight))
