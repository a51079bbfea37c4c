"""Leaks that are planted every night on the night's own tables, to see that what should catch them does."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crp_pipeline.contracts import Floats, Ints
from crp_pipeline.errors import DataContractError
from crp_pipeline.features import Bars, Family, Feature, prove_nightly
from crp_pipeline.splits import PURGED, TEST, TRAIN, folds_of, overlaps

LEAKING_COLUMN = "canary_forward_return"
NOISE = 0.5
"""Of the planted feature, in standard deviations of the return that it carries."""
PROOF_BARS = 300
"""Latest candles on which the proof of causality is made."""
CENTRED_BARS = 9


@dataclass(frozen=True)
class Canary:
    """A planted leak."""

    name: str
    caught: bool


def leaking_column(labels: pd.DataFrame, *, seed: int) -> "pd.Series[float]":
    """A feature that carries the return which the label is about, under noise; missing where there is no label.

    Its AUC of some 0.93 stands out of 260 features of no worth from about 30 independent labels on.
    """
    forward = labels["forward_return"]
    noise = np.random.default_rng(seed).standard_normal(len(forward))
    return (forward + NOISE * forward.std() * noise).rename(LEAKING_COLUMN)


def _distance_to_centred_mean(bars: Bars) -> Floats:
    mean = pd.Series(bars.close).rolling(CENTRED_BARS, center=True, min_periods=1).mean()
    return np.asarray(bars.close / mean.to_numpy() - 1)


def _whole_table_score(bars: Bars) -> Floats:
    return np.asarray((bars.close - bars.close.mean()) / max(bars.close.std(), np.finfo(np.float64).tiny))


LOOKING_AHEAD = (
    Feature("canary_centred_mean", Family.TREND, CENTRED_BARS, _distance_to_centred_mean),
    Feature("canary_whole_table_score", Family.STATISTICAL, 1, _whole_table_score),
)
"""Features whose past changes when the future arrives."""


def causality_canaries(candles: pd.DataFrame, *, seed: int) -> tuple[Canary, ...]:
    """Whether the night's proof of causality finds each feature that looks ahead, on the latest candles."""
    leaks = prove_nightly(LOOKING_AHEAD, candles.iloc[-PROOF_BARS:], seed=seed)
    found = {leak.feature for leak in leaks}
    return tuple(Canary(feature.name, feature.name in found) for feature in LOOKING_AHEAD)


def purge_canary(roles: pd.DataFrame, labels: pd.DataFrame) -> Canary:
    """Whether the audit of the purge finds one training label that meets a test block."""
    planted, fold, row = with_overlap(roles, labels)
    found = overlaps(folds_of(planted), pd.DatetimeIndex(labels.index), labels["label_end"])
    here = pd.DatetimeIndex(labels.index[[row]]).as_unit("ns").tz_localize(None)[0]
    is_it = (found["fold"] == fold) & (found["open_time"] == here)
    return Canary("canary_overlapping_label", bool(is_it.any()))


def with_overlap(roles: pd.DataFrame, labels: pd.DataFrame) -> tuple[pd.DataFrame, int, int]:
    """The role table with one more training row, whose label meets its fold's test block; the fold's number and the row.

    It is the first that a purge took out: its label only just reaches the test block, so that an audit which is off by a bar
    misses it. Where a hole lies before every test block, it is the first labelled row of a test block itself. Raises
    `DataContractError` where no test block has a labelled row in it or before it.
    """
    end, places = pd.DatetimeIndex(labels["label_end"]), []
    for role in (PURGED, TEST):
        places += [
            (name, row) for name in roles.columns for row in _meeting(roles[name].to_numpy(), role, labels.index, end)[:1]
        ]
    if not places:
        raise DataContractError(f"none of the {roles.shape[1]} test blocks has a labelled row in it or just before it")
    name, row = places[0]
    planted = roles.copy()
    planted.loc[roles.index[row], name] = TRAIN
    return planted, int(name.removeprefix("fold_")), int(row)


def _meeting(roles: NDArray[np.int8], role: int, times: pd.Index, end: pd.DatetimeIndex) -> Ints:
    """Rows of that role whose label ends in the test block or later."""
    return np.flatnonzero((roles == role) & (end >= times[roles == TEST][0]))
