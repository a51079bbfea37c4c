"""Scale of each feature, learned from the rows of a training block and from nothing else."""

from dataclasses import dataclass

import numpy as np

from crp_pipeline.contracts import Floats

NORMAL_IQR = 1.349
"""Interquartile range of a normal variable of standard deviation 1."""


@dataclass(frozen=True)
class Scale:
    """Median and spread of each column: (k,) each."""

    center: Floats
    spread: Floats


def fit_scale(table: Floats) -> Scale:
    """Median, and interquartile range as a standard deviation, of each column of (n, k); missing values are left out.

    A column whose middle half is one value is scaled by its standard deviation, one that never varies by 1.
    """
    present = np.isfinite(table)
    filled = np.where(present, table, np.nan)
    filled[:, ~present.any(axis=0)] = 0.0
    low, center, high = np.nanquantile(filled, (0.25, 0.5, 0.75), axis=0)
    spread = (high - low) / NORMAL_IQR
    spread = np.where(spread > 0, spread, np.nanstd(filled, axis=0))
    return Scale(center, np.where(spread > 0, spread, 1.0))
