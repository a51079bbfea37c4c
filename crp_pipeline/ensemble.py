"""From the predictions of several models to one decision per bar, learned only from what had already happened.

A stack is a row of members in time. Each member is a multinomial logistic regression over the base models' log-probabilities,
fitted on out-of-fold predictions whose labels had ended before the member took office, and calibrated on a later slice of them.
A decision at a bar comes from the member in office at that bar; before the first one there is no decision.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from crp_pipeline.contracts import CLASSES, PROBABILITIES, Bools, Floats, Fold, Ints, Tier
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.settings import EnsembleConfig
from crp_pipeline.splits import purged_tail
from crp_pipeline.storage import write_json

__all__ = ["EnsembleConfig", "Member", "Stack", "fit_stack"]

Predictions = Mapping[str, pd.DataFrame]

SMALLEST_PROBABILITY = 1e-6
FEWEST_ROWS = 200
"""Rows below which a member does not try to learn weights and takes the mean."""


@dataclass(frozen=True)
class Member:
    """One meta-model and the moment it takes office."""

    in_office_from: pd.Timestamp
    learned_until: pd.Timestamp
    """End of the last label learned from; before `in_office_from`."""
    combination: str
    """`stack` or `mean`: the mean is taken when the stack does not beat it on the calibration slice."""
    weights: Floats
    """(3, 3 * models), classes by log-probabilities; of no effect for `mean`, nought where nothing was learned."""
    intercept: Floats
    temperature: float
    tier_cuts: tuple[float, float]
    class_return: Floats
    """Mean forward return of each class among the rows learned from."""
    n_rows: int
    n_calibration: int
    """Rows of the later slice, which the temperature was fitted on."""
    log_loss_stack: float
    log_loss_mean: float

    def probabilities(self, logits: Floats) -> Floats:
        """Calibrated class probabilities of (n, 3 * models) base log-probabilities: (n, 3)."""
        from scipy.special import softmax

        raw = _mean_logits(logits) if self.combination == "mean" else logits @ self.weights.T + self.intercept
        return np.asarray(softmax(raw / self.temperature, axis=1))

    def to_dict(self) -> dict[str, Any]:
        """The member as JSON values."""
        arrays = {name: getattr(self, name).tolist() for name in ("weights", "intercept", "class_return")}
        times = {name: getattr(self, name).isoformat() for name in ("in_office_from", "learned_until")}
        return {**asdict(self), **arrays, **times}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        """The member that `to_dict` described."""
        arrays = {name: np.asarray(stored[name], dtype=np.float64) for name in ("weights", "intercept", "class_return")}
        times = {name: pd.Timestamp(stored[name]) for name in ("in_office_from", "learned_until")}
        return cls(**{**stored, **arrays, **times, "tier_cuts": tuple(stored["tier_cuts"])})


@dataclass(frozen=True)
class Stack:
    """Members in the order in which they take office, over base models in a fixed order."""

    models: tuple[str, ...]
    members: tuple[Member, ...]

    def decide(self, predictions: Predictions) -> pd.DataFrame:
        """One decision per row of the base predictions: frame of `contracts.DecisionSchema`."""
        logits, times = _stacked(predictions, self.models)
        office = self._in_office(times)
        office[np.isnan(logits).any(axis=1)] = -1
        decisions = _undecided(times)
        for number, member in enumerate(self.members):
            rows = np.flatnonzero(office == number)
            if len(rows):
                _write_decisions(decisions, rows, member, member.probabilities(logits[rows]))
        return pd.DataFrame(decisions, index=times).astype({"tier": "str"})

    def calibration_rows(self, times: pd.DatetimeIndex) -> Ints:
        """How many rows the member in office at each time was calibrated on, (n,); 0 before the first takes office."""
        rows = np.array([*(member.n_calibration for member in self.members), 0], dtype=np.int64)
        return rows[self._in_office(times)]

    def _in_office(self, times: pd.DatetimeIndex) -> Ints:
        """Number of the member in office at each time, (n,), -1 before the first."""
        offices = pd.DatetimeIndex([member.in_office_from for member in self.members])
        return np.asarray(np.searchsorted(_as_ns(offices), _as_ns(times), side="right") - 1, dtype=np.int64)

    def save(self, path: Path) -> None:
        """Write the stack as JSON."""
        write_json(path, {"models": list(self.models), "members": [member.to_dict() for member in self.members]})

    @classmethod
    def load(cls, path: Path) -> Self:
        """The stack that `save` wrote."""
        stored = json.loads(path.read_text(encoding="utf-8"))
        return cls(tuple(stored["models"]), tuple(Member.from_dict(member) for member in stored["members"]))

    def table(self) -> pd.DataFrame:
        """One row per member: when it takes office, how it combines, and what stack and mean did on its calibration slice."""
        shown = (
            "in_office_from",
            "combination",
            "n_rows",
            "n_calibration",
            "log_loss_stack",
            "log_loss_mean",
            "temperature",
            "tier_cuts",
        )
        return pd.DataFrame([{name: getattr(member, name) for name in shown} for member in self.members])


def fit_stack(
    predictions: Predictions,
    labels: pd.DataFrame,
    folds: Sequence[Fold],
    *,
    seed: int,
    config: EnsembleConfig | None = None,
) -> Stack:
    """A member for every fold but the first, and one for the time after the last bar; raises when there is one fold only.

    `predictions` maps each base model to its out-of-fold frame (`contracts.PredictionSchema`), `labels` has the same rows.
    """
    config = config or EnsembleConfig()
    models = tuple(predictions)
    if len(folds) < 2:
        raise InsufficientHistoryError(f"stacking learns from earlier folds and needs at least 2, there are {len(folds)}")
    logits, times = _stacked(predictions, models)
    if not times.equals(pd.DatetimeIndex(labels.index)):
        raise DataContractError(f"predictions have {len(times)} rows, labels {len(labels)}: they must be the same bars")
    starts = [times[fold.test[0]] for fold in folds[1:]]
    tested = [np.concatenate([fold.test for fold in folds[:count]]) for count in range(1, len(folds) + 1)]
    last_end = max(labels["label_end"].max(), times[-1]) + pd.Timedelta(1, "ns")
    members = [
        _fit_member(since, _learnable(rows, since, logits, labels), logits, labels, seed, config)
        for since, rows in zip([*starts, last_end], tested, strict=True)
    ]
    return Stack(models, tuple(members))


def _learnable(rows: Ints, since: pd.Timestamp, logits: Floats, labels: pd.DataFrame) -> Ints:
    """Tested rows whose label had ended before the member takes office."""
    ended = (labels["label_end"].iloc[rows] < since).to_numpy()
    return rows[ended & np.isfinite(logits[rows]).all(axis=1)]


def _fit_member(
    since: pd.Timestamp, rows: Ints, logits: Floats, labels: pd.DataFrame, seed: int, config: EnsembleConfig
) -> Member:
    from scipy.special import softmax

    learn, watch = purged_tail(rows, labels.index, labels["label_end"], share=config.calibration_share)
    signal, weight = labels["signal"].to_numpy(), labels["weight"].to_numpy()
    weights, intercept = _regression(logits[learn], signal[learn], weight[learn], seed, config)
    candidates = {"stack": logits[watch] @ weights.T + intercept, "mean": _mean_logits(logits[watch])}
    fitted = {name: _temperature(raw, signal[watch], weight[watch]) for name, raw in candidates.items()}
    combination = "stack" if weights.any() and fitted["stack"][1] < fitted["mean"][1] else "mean"
    temperature = fitted[combination][0]
    return Member(
        in_office_from=since,
        learned_until=labels["label_end"].iloc[rows].max(),
        combination=combination,
        weights=weights,
        intercept=intercept,
        temperature=temperature,
        tier_cuts=_tier_cuts(np.asarray(softmax(candidates[combination] / temperature, axis=1)), config.tier_quantiles),
        class_return=_class_returns(signal[rows], labels["forward_return"].to_numpy()[rows]),
        n_rows=len(rows),
        n_calibration=len(watch),
        log_loss_stack=fitted["stack"][1],
        log_loss_mean=fitted["mean"][1],
    )


def _regression(logits: Floats, signal: Floats, weight: Floats, seed: int, config: EnsembleConfig) -> tuple[Floats, Floats]:
    """Weights and intercept of the meta-model; all nought where there is too little to learn from."""
    if len(signal) < FEWEST_ROWS or len(np.unique(signal)) < len(CLASSES):
        return np.zeros((len(CLASSES), logits.shape[1])), np.zeros(len(CLASSES))
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=config.regularization, max_iter=2_000, random_state=seed).fit(logits, signal, weight)
    return np.asarray(fitted.coef_), np.asarray(fitted.intercept_)


def _temperature(raw: Floats, signal: Floats, weight: Floats) -> tuple[float, float]:
    """The temperature that calibrates best, and the log-loss it leaves. Source: Guo et al. (2017)."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    came = (np.arange(len(signal)), signal.astype(np.int64) + 1)

    def loss(log_temperature: float) -> float:
        return float(-np.average(log_softmax(raw / np.exp(log_temperature), axis=1)[came], weights=weight))

    best = minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded")
    return float(np.exp(best.x)), float(best.fun)


def _tier_cuts(probabilities: Floats, quantiles: tuple[float, float]) -> tuple[float, float]:
    """Confidences that part low, medium and high among the directed decisions of the calibration slice."""
    directed = probabilities.max(axis=1)[probabilities.argmax(axis=1) != CLASSES.index("neutral")]
    if len(directed) == 0:
        return (1.0, 1.0)
    low, high = np.quantile(directed, quantiles)
    return (float(low), float(high))


def _class_returns(signal: Floats, forward_return: Floats) -> Floats:
    return np.array([forward_return[signal == value].mean() if (signal == value).any() else 0.0 for value in (-1, 0, 1)])


def _stacked(predictions: Predictions, models: Sequence[str]) -> tuple[Floats, pd.DatetimeIndex]:
    """Log-probabilities of all base models side by side, (n, 3 * models), and their bars."""
    missing = [name for name in models if name not in predictions]
    if missing:
        raise DataContractError(f"the stack was built on {', '.join(models)}; predictions of {missing[0]} are missing")
    frames = [predictions[name] for name in models]
    times = pd.DatetimeIndex(frames[0].index)
    if any(not times.equals(pd.DatetimeIndex(frame.index)) for frame in frames):
        raise DataContractError(f"the predictions of {', '.join(models)} are not about the same bars")
    values = np.concatenate([frame[list(PROBABILITIES)].to_numpy(dtype=np.float64) for frame in frames], axis=1)
    return np.log(np.maximum(values, SMALLEST_PROBABILITY)), times


def _mean_logits(logits: Floats) -> Floats:
    """Logarithm of the mean of the base probabilities: (n, 3)."""
    return np.asarray(np.log(np.exp(logits).reshape(len(logits), -1, len(CLASSES)).mean(axis=1)))


def _undecided(times: pd.DatetimeIndex) -> dict[str, Any]:
    empty = {name: np.full(len(times), np.nan) for name in (*PROBABILITIES, "confidence", "expected_return")}
    tier = np.full(len(times), str(Tier.NONE), dtype=object)
    return {"signal": np.zeros(len(times), dtype=np.int64), **empty, "tier": tier}


def _write_decisions(decisions: dict[str, Any], rows: Ints, member: Member, probabilities: Floats) -> None:
    chosen = probabilities.argmax(axis=1)
    confidence = probabilities[np.arange(len(rows)), chosen]
    for position, name in enumerate(PROBABILITIES):
        decisions[name][rows] = probabilities[:, position]
    decisions["signal"][rows] = chosen - 1
    decisions["confidence"][rows] = confidence
    decisions["expected_return"][rows] = probabilities @ member.class_return
    decisions["tier"][rows] = _tier(confidence, chosen != CLASSES.index("neutral"), member.tier_cuts)


def _tier(confidence: Floats, directed: Bools, cuts: tuple[float, float]) -> np.ndarray:
    names = np.array([str(Tier.LOW), str(Tier.MEDIUM), str(Tier.HIGH)], dtype=object)
    return np.where(directed, names[np.digitize(confidence, cuts)], str(Tier.NONE))


def _as_ns(times: pd.DatetimeIndex) -> Ints:
    return np.asarray(times.as_unit("ns").asi8)
