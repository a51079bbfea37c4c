"""What each feature alone tells of a label's direction: what tells too much is a leak until a person has looked."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Bools, Floats
from crp_pipeline.errors import DataContractError
from crp_pipeline.settings import SentinelConfig


def feature_readings(features: pd.DataFrame, labels: pd.DataFrame, config: SentinelConfig) -> pd.DataFrame:
    """One row per feature, in the order of the table: `auc`, `z`, `alarm`, `released`; `attrs["significant_z"]`.

    All labels with a direction count, those of test blocks too: what follows from an alarm is that a feature is left out, and
    leaving one out because it does too well can only make a backtest worse.

    An alarm is a `|z|` above `max_feature_z`, or an AUC of at least `max_feature_auc`, either way round, that is no luck: the
    best of as many features of no worth comes that far from 0.5 in `false_alarm_level` of cases at most (Bonferroni). Without
    that second condition 39 of 40 random walks of 3,000 hourly bars, about 100 independent labels of a day, set off an alarm.
    Raises `DataContractError` for a released name that is no feature.
    """
    _require_known(config.released, features.columns)
    signal, weight = labels["signal"].to_numpy(), labels["weight"].to_numpy()
    directed = np.flatnonzero(np.abs(signal) == 1)
    ranks = features.iloc[directed].rank().to_numpy()
    auc, z = auc_of_ranks(ranks, signal[directed] > 0, weight[directed])
    significant = significant_z(features.shape[1], config.false_alarm_level)
    is_large = (np.abs(auc - 0.5) >= config.max_feature_auc - 0.5) & (np.abs(z) >= significant)
    found = pd.DataFrame({"auc": auc, "z": z, "alarm": is_large | (np.abs(z) > config.max_feature_z)}, index=features.columns)
    found["released"] = found.index.isin(config.released)
    found.attrs = {"significant_z": significant}
    return found


def quarantined(readings: pd.DataFrame) -> tuple[str, ...]:
    """The features that set off the alarm and that nobody has released."""
    return tuple(readings.index[readings["alarm"] & ~readings["released"]])


def auc_of_ranks(ranks: Floats, is_up: Bools, weight: Floats) -> tuple[Floats, Floats]:
    """AUC of telling up from down by each column, and its distance from 0.5 in standard errors: (k,), (k,).

    `ranks` (n, k) are average ranks within each column, NaN where a value is missing; `is_up` and `weight` are (n,). Both are
    NaN for a column that is missing on all rows of one side, and z for one that is constant.

    AUC = (R - u(u+1)/2) / (u d), R the rank sum of the u rows that went up, against d that went down (Mann and Whitney 1947).
    Labels overlap, so u and d are not how many independent ones there are: the standard error counts each label by its average
    uniqueness, U and D in sum, and is sqrt((U+D+1) / (12 U D)) times the root of the ranks' variance over that of ranks without
    ties, (n^2-1)/12. It holds for a feature that hardly moves while a label lives; for a faster one it is too large, so
    that z errs towards silence.
    """
    known = ~np.isnan(ranks)
    n_up, n_down = known[is_up].sum(axis=0), known[~is_up].sum(axis=0)
    up, down = weight[is_up] @ known[is_up], weight[~is_up] @ known[~is_up]
    excess = np.nansum(ranks[is_up], axis=0) - n_up * (n_up + 1) / 2
    auc = _ratio(excess, (n_up * n_down).astype(np.float64))
    error = np.sqrt(_ratio(up + down + 1, 12 * up * down) * _tie_factor(ranks, known))
    return auc, _ratio(auc - 0.5, error)


def significant_z(n_features: int, level: float) -> float:
    """Standard errors that the best of so many features of no worth exceeds, either way, in `level` of cases at most."""
    from scipy.stats import norm

    return float(norm.isf(level / (2 * max(n_features, 1))))


def _tie_factor(ranks: Floats, known: Bools) -> Floats:
    """Variance of each column's ranks over that of ranks without ties: (k,), 1 without ties."""
    n = known.sum(axis=0).astype(np.float64)
    squares = np.nansum((ranks - (n + 1) / 2) ** 2, axis=0)
    return _ratio(12 * squares, n * (n**2 - 1))


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Elementwise, NaN over 0."""
    return np.asarray(np.divide(numerator, denominator, out=np.full(len(denominator), np.nan), where=denominator > 0))


def _require_known(released: Sequence[str], columns: pd.Index) -> None:
    unknown = [name for name in released if name not in columns]
    if unknown:
        raise DataContractError(f"sentinels.released names {unknown[0]}, which is none of the {len(columns)} features")
