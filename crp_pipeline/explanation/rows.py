"""Which rows are explained: some of all that were tested, spread evenly over time, the last one always among them."""

from collections.abc import Sequence

import numpy as np

from crp_pipeline.contracts import Fold, Ints


def spread(folds: Sequence[Fold], most: int) -> dict[int, Ints]:
    """Rows of each fold, by its number: at most `most` in all, evenly spread over all test rows, the last among them.

    No draw is taken: the same folds give the same rows.
    """
    in_order = sorted(folds, key=lambda fold: int(fold.test[-1]) if len(fold.test) else -1)
    tested = np.concatenate([fold.test for fold in in_order])
    of_fold = np.concatenate([np.full(len(fold.test), fold.number) for fold in in_order])
    n_chosen = min(most, len(tested))
    # from the last row backwards, so that one row alone is the last
    back = np.unique(np.linspace(0, len(tested) - 1, n_chosen).round().astype(np.int64))
    chosen = (len(tested) - 1 - back)[::-1]
    return {fold.number: tested[chosen[of_fold[chosen] == fold.number]] for fold in in_order}


def rule(n_rows: int, n_tested: int, folds: int, all_folds: int, max_seconds: float) -> str:
    """Which rows were explained, in words."""
    told = f"{n_rows:,} of {n_tested:,} out-of-sample rows, spread evenly over time, each by its own fold's model"
    if folds == all_folds:
        return told
    return f"{told}; only the newest {folds} of {all_folds} folds, stopped after {max_seconds:g} s"
