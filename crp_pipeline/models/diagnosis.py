"""What can be wrong with a model's out-of-fold predictions before anybody trades on them.

>>> for flag in diagnose(predictions, prior, labels, block=25):    # doctest: +SKIP
...     print(flag.name, "RAISED" if flag.is_raised else "fine", flag.sentence)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crp_pipeline.contracts import CLASSES, PROBABILITIES, Floats
from crp_pipeline.models.scoring import log_loss_gain, log_losses

WORSE_THAN_PRIOR, ONE_CLASS, CONSTANT, OVERCONFIDENT = "worse_than_prior", "one_class", "constant", "overconfident"
MOSTLY = 0.97
"""Share of the bars above which one class is all that a model calls."""
CERTAIN = 0.99
"""Confidence that nobody can have in the next move."""
SAME = 1e-9
"""Probabilities that differ by less are the same number, rounded elsewhere."""

FLAGS: Mapping[str, str] = {
    WORSE_THAN_PRIOR: "Log-loss that does not beat the class prior's: the features taught nothing.",
    ONE_CLASS: f"One class is the most probable one on more than {MOSTLY:.0%} of the bars.",
    CONSTANT: "The same answer to every bar of a fold.",
    OVERCONFIDENT: f"Confidence above {CERTAIN:.0%} on every bar.",
}
"""What each flag warns of, in the order in which `diagnose` gives them."""


@dataclass(frozen=True)
class Flag:
    """One thing that can be wrong, whether it is, and the number that says so; without a forecast every flag is raised."""

    name: str
    is_raised: bool
    value: float
    """Nats lost against the prior; share of the commonest class; folds with one answer; share of bars that are certain."""
    sentence: str


def diagnose(
    predictions: pd.DataFrame,
    prior: pd.DataFrame,
    labels: pd.DataFrame,
    *,
    block: int,
    level: float = 0.95,
    n_resamples: int = 1_000,
    seed: int = 0,
) -> tuple[Flag, ...]:
    """Every flag of `FLAGS`, raised or not, of out-of-fold predictions beside those of the class prior.

    `block` is how many bars a label lives, the horizon or one more: the log-loss that was lost is resampled in such blocks.
    """
    known = predictions[predictions[list(PROBABILITIES)].notna().all(axis=1)]
    probability = known[list(PROBABILITIES)].to_numpy(dtype=np.float64)
    if known.empty:
        return tuple(Flag(name, True, math.nan, "no bar has a forecast") for name in FLAGS)
    gain = log_loss_gain(predictions, prior, labels, block=block, level=level, n_resamples=n_resamples, seed=seed)
    return (
        _worse_than_prior(gain, predictions, prior, labels),
        _one_class(probability),
        _constant(probability, known["fold"]),
        _overconfident(probability),
    )


def _worse_than_prior(gain: Mapping[str, float], predictions: pd.DataFrame, prior: pd.DataFrame, labels: pd.DataFrame) -> Flag:
    saved, low, high = (gain[name] for name in ("log_loss_gain", "log_loss_gain_low", "log_loss_gain_high"))
    if math.isnan(saved):
        return Flag(WORSE_THAN_PRIOR, True, math.nan, "no bar has a label and a forecast of both the model and the class prior")
    own, known = log_losses(predictions, labels), log_losses(prior, labels)
    common = own.index.intersection(known.index)
    is_worse = not saved > 0
    verb, side = ("does not beat", "worse") if is_worse else ("beats", "better")
    lost = (-high, -low) if is_worse else (low, high)
    sureness = "beyond chance" if low > 0 or high < 0 else "which chance can explain"
    return Flag(
        WORSE_THAN_PRIOR,
        is_worse,
        -saved,
        f"log-loss {own[common].mean():.4f} {verb} the class prior's {known[common].mean():.4f}: "
        f"{abs(saved):.4f} nats {side} ({lost[0]:+.4f} to {lost[1]:+.4f}), {sureness}",
    )


def _one_class(probability: Floats) -> Flag:
    counts = np.bincount(probability.argmax(axis=1), minlength=len(CLASSES))
    share, name = float(counts.max() / counts.sum()), CLASSES[int(counts.argmax())]
    return Flag(
        ONE_CLASS, share > MOSTLY, share, f"{name} is the most probable class on {share:.1%} of {len(probability):,} bars"
    )


def _constant(probability: Floats, fold: "pd.Series[int]") -> Flag:
    """A fold of a single bar cannot tell."""
    by_fold = pd.DataFrame(probability).groupby(fold.to_numpy())
    judged = by_fold.size() > 1
    is_constant = (by_fold.max() - by_fold.min()).max(axis=1)[judged] < SAME
    count = int(is_constant.sum())
    return Flag(CONSTANT, count > 0, float(count), f"every bar gets the same answer in {count} of {len(is_constant)} folds")


def _overconfident(probability: Floats) -> Flag:
    is_certain = probability.max(axis=1) > CERTAIN
    share = float(is_certain.mean())
    return Flag(OVERCONFIDENT, bool(is_certain.all()), share, f"confidence is above {CERTAIN:.0%} on {share:.1%} of the bars")
