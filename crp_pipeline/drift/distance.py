"""A recent stretch of a table against the history before it, with the history's own stretches as the yardstick."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Floats
from crp_pipeline.drift.report import Reading, State
from crp_pipeline.metrics import ks_of_stretches, ks_statistic, population_stability_index, psi_of_stretches
from crp_pipeline.settings import DriftConfig

FEWEST_ROWS = 100
"""Ten for each bin of the stability index."""
STRETCHES = 20
"""Stretches of the recent length that the history must hold, or it does not tell what is usual."""
USUAL = 0.95
"""Share of the history's stretches below the limit of a remark; beyond the other limit lies none of them."""


@dataclass(frozen=True, eq=False)
class Distances:
    """Of each column: how far the recent stretch is from the history, and how far the history's own stretches are."""

    names: tuple[str, ...]
    psi: Floats
    """(columns,)."""
    ks: Floats
    psi_of_stretches: Floats
    """(stretches, columns)."""
    ks_of_stretches: Floats
    n: int
    """Recent rows."""

    def psi_limits(self, config: DriftConfig) -> tuple[Floats, Floats]:
        """What is remarked upon and what counts as drifted, (columns,) each: unusual in this history, and large as well."""
        usual, most = usual_and_most(self.psi_of_stretches)
        return np.maximum(usual, config.warn_psi), np.maximum(most, config.max_psi)

    def readings(self, config: DriftConfig, *, psi: str, ks: str) -> list[Reading]:
        """A row per column and distance, under these names."""
        limits = {psi: self.psi_limits(config), ks: usual_and_most(self.ks_of_stretches)}
        return [
            Reading.held(measure, name, float(value), warn=float(warn), limit=float(limit), n=self.n, worst=State.DRIFTED)
            for measure, values in ((psi, self.psi), (ks, self.ks))
            for name, value, warn, limit in zip(self.names, values, *limits[measure], strict=True)
        ]


def recent_rows(n_reference: int, n_recent: int) -> int:
    """Latest rows that are compared: so many that the history holds `STRETCHES` of them."""
    return min(n_recent, n_reference // STRETCHES)


def too_few(measure: str, subject: str, *, n_reference: int, n_recent: int) -> Reading | None:
    """The reading that says how many rows are missing, of the recent ones or of the history; None where there are enough."""
    for there, needed in ((n_recent, FEWEST_ROWS), (n_reference, STRETCHES * FEWEST_ROWS)):
        if there < needed:
            return Reading.unknown(measure, subject, n=there, missing=needed - there)
    return None


def distances(reference: pd.DataFrame, recent: pd.DataFrame) -> Distances:
    """The latest rows of `recent` against `reference`, column by column; neither may be `too_few`."""
    n = recent_rows(len(reference), len(recent))
    names = tuple(map(str, reference.columns))
    old, new = (frame.to_numpy(dtype=np.float64) for frame in (reference, recent[list(names)].iloc[-n:]))
    pairs = list(zip(old.T, new.T, strict=True))
    return Distances(
        names,
        np.array([population_stability_index(*pair) for pair in pairs]),
        np.array([ks_statistic(*pair) for pair in pairs]),
        psi_of_stretches(old, n),
        ks_of_stretches(old, n),
        n,
    )


def usual_and_most(of_stretches: Floats) -> tuple[Floats, Floats]:
    """The `USUAL` quantile and the maximum over stretches, (columns,) each of (stretches, columns)."""
    return np.quantile(of_stretches, USUAL, axis=0), of_stretches.max(axis=0)
