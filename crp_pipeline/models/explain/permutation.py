"""Sampled Shapley values of any model of single bars, by what its answer gains as features are told one after another.

Each draw takes a row of the background and an order of the features; in that order the background's values give way to the
row's own, and what the score gains at each step is the feature's. However few the draws, the gains add up to the score less
that of the background. Source: Strumbelj and Kononenko (2014).
"""

import numpy as np

from crp_pipeline.contracts import Floats, Ints, Samples
from crp_pipeline.models.base import Model
from crp_pipeline.models.explain.explanation import explained_outputs, scores_of

ROWS_AT_ONCE = 20_000
"""Rows that are predicted in one call: some 30 MB."""


def sampled_shapley(model: Model, X: Samples, background: Samples, *, n_draws: int, seed: int) -> tuple[Floats, Floats]:
    """Contributions (n, k, outputs) and mean score of each row's background draws (n, outputs)."""
    rng, table, others = np.random.default_rng(seed), X.table(), background.table()
    n, k = table.shape
    outputs = explained_outputs(model)
    values, base = np.zeros((n, k, len(outputs))), np.zeros((n, len(outputs)))
    at_once = max(ROWS_AT_ONCE // (k + 1), 1)
    for _ in range(n_draws):
        drawn = others[rng.integers(len(others), size=n)]
        orders = rng.permuted(np.tile(np.arange(k), (n, 1)), axis=1)
        for first in range(0, n, at_once):
            part = slice(first, first + at_once)
            told = _told_one_by_one(table[part], drawn[part], orders[part])
            shown = Samples(told.reshape(-1, k), np.arange(told.shape[0] * (k + 1)), columns=X.columns)
            scores = scores_of(model.predict(shown), outputs).reshape(-1, k + 1, len(outputs))
            gains = np.diff(scores, axis=1)
            np.add.at(values, (np.arange(n)[part, None], orders[part]), gains / n_draws)
            base[part] += scores[:, 0] / n_draws
    return values, base


def _told_one_by_one(table: Floats, background: Floats, orders: Ints) -> Floats:
    """The background with none, one, ... all features of each row in place, in that row's order: (n, k + 1, k)."""
    n, k = table.shape
    turn = np.empty_like(orders)
    np.put_along_axis(turn, orders, np.broadcast_to(np.arange(k), (n, k)), axis=1)
    is_told = turn[:, None, :] < np.arange(k + 1)[:, None]
    return np.where(is_told, table[:, None, :], background[:, None, :])
