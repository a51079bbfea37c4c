"""Whether decisions agree best with the labels that they are about, or with those of another time."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Floats, Ints

STEPS = 12
"""Shifts on either side, over two horizons."""


@dataclass(frozen=True)
class ShiftReading:
    """What a profile over shifts says; every accuracy NaN where nothing could be compared."""

    peak: float
    """Bars between a decision and the labels that it agrees with best, against chance."""
    own_accuracy: float
    """With the decisions' own labels."""
    ended_accuracy: float
    """The best with labels that had ended when it was decided: an echo of the past."""
    later_accuracy: float
    """The best with labels that begin when the own one has ended: nobody can know more of them."""
    z: float
    """Standard errors by which the better of these two exceeds the own, each measured from its chance."""


def shifts_of(horizon: int) -> Ints:
    """Bars from two horizons back to two ahead, with 0 and both ends of a label's life, in order: (m,)."""
    reach = np.linspace(-2 * horizon, 2 * horizon, 2 * STEPS + 1).round()
    return np.unique(np.append(reach, [-horizon - 1, 0, horizon + 1])).astype(np.int64)


def shift_profile(decisions: pd.DataFrame, labels: pd.DataFrame, *, horizon: int, interval: pd.Timedelta) -> pd.DataFrame:
    """One row per `shift` in bars: `accuracy` of the sides taken against labels so many bars later, `chance`, `n_effective`.

    Decisions that took a side and labels that have one are compared. `chance` is what independent sides of the same
    frequencies would score, so that a rising market and a preference for long alone are no agreement; `n_effective` is the sum
    of the labels' average uniqueness.
    """
    sides = decisions.loc[decisions["confidence"].notna() & (decisions["signal"] != 0), "signal"]
    directed = labels.loc[labels["signal"].abs() == 1, ["signal", "weight"]]
    rows = [_agreement(sides, directed, int(shift), interval) for shift in shifts_of(horizon)]
    return pd.DataFrame(rows)


def shift_reading(profile: pd.DataFrame, *, horizon: int) -> ShiftReading:
    """Where the profile peaks, and whether labels of another time are agreed with better than the own ones.

    A part of a label that began less than a horizon ago is known, and what drives it may go on: the peak of an honest forecast
    may lie half a horizon back, and within a label's life it judges nothing. A forecast that follows the last move agrees with
    labels that have ended by its nature. Where it does not agree with its own labels at all, that is all it does; the reading
    says so, and whether it is a lag or a habit is for a person to see.
    """
    told = profile.dropna()
    shift, excess = told["shift"].to_numpy(), (told["accuracy"] - told["chance"]).to_numpy()
    accuracy, error = told["accuracy"].to_numpy(), 0.5 / np.sqrt(told["n_effective"].to_numpy())
    if not (shift == 0).any():
        return ShiftReading(*[math.nan] * 5)
    own = int(np.flatnonzero(shift == 0)[0])
    ended, later = np.flatnonzero(shift <= -horizon - 1), np.flatnonzero(shift >= horizon + 1)
    others = np.append(ended, later)
    # a hit has a variance of 1/4 at most
    z = (excess[others] - excess[own]) / np.hypot(error[others], error[own])
    return ShiftReading(
        peak=float(shift[excess.argmax()]),
        own_accuracy=float(accuracy[own]),
        ended_accuracy=_best(accuracy, excess, ended),
        later_accuracy=_best(accuracy, excess, later),
        z=float(z.max()) if len(z) else math.nan,
    )


def _agreement(sides: "pd.Series[int]", directed: pd.DataFrame, shift: int, interval: pd.Timedelta) -> dict[str, float]:
    there = directed.reindex(pd.DatetimeIndex(sides.index) + shift * interval)
    known = there["signal"].notna().to_numpy()
    side, label = sides.to_numpy()[known], there["signal"].to_numpy()[known]
    if len(side) == 0:
        return {"shift": shift, "accuracy": math.nan, "chance": math.nan, "n_effective": 0.0}
    long, up = float((side > 0).mean()), float((label > 0).mean())
    return {
        "shift": shift,
        "accuracy": float((side == label).mean()),
        "chance": long * up + (1 - long) * (1 - up),
        "n_effective": float(there["weight"].to_numpy()[known].sum()),
    }


def _best(accuracy: Floats, excess: Floats, places: Ints) -> float:
    """Accuracy at the place that is furthest above chance."""
    return float(accuracy[places[excess[places].argmax()]]) if len(places) else math.nan
