"""One line of a ledger: an event of evaluation and every trial that it looked at."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import pandas as pd

from crp_pipeline.ledger.trial import Recipe, Trial, key_of
from crp_pipeline.metrics import sharpe_ratio


@dataclass(frozen=True)
class Look:
    """How one trial did on certain days."""

    key: str
    name: str
    recipe: Recipe
    made: str
    """Hash of what was traded."""
    earned: str
    """Hash of the daily returns and their days."""
    is_baseline: bool
    first_day: str
    """UTC, ISO 8601; empty where there were no days."""
    last_day: str
    n_days: int
    daily_sharpe: float | None
    """Per day; None below two returns or when all are equal."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a key that is not the recipe's."""
        if self.key != key_of(self.recipe):
            raise ValueError(f"the key of {self.name} is not the hash of its recipe")

    @classmethod
    def of(cls, trial: Trial, returns: "pd.Series[float]") -> Self:
        """What the ledger tells of a trial that earned these daily net returns, indexed by UTC day."""
        days, earned = pd.DatetimeIndex(returns.index), _hash(returns)
        sharpe = sharpe_ratio(returns, periods_per_year=1)
        return cls(
            key=trial.key,
            name=trial.name,
            recipe=dict(trial.recipe),
            made=trial.made or earned,
            earned=earned,
            is_baseline=trial.is_baseline,
            first_day=f"{days[0]:%Y-%m-%d}" if len(days) else "",
            last_day=f"{days[-1]:%Y-%m-%d}" if len(days) else "",
            n_days=len(days),
            daily_sharpe=None if pd.isna(sharpe) else sharpe,
        )


@dataclass(frozen=True)
class Anew:
    """What the first line of a ledger says of the one in whose place it was begun."""

    reason: str
    heads: tuple[str, ...]
    """Every head that the earlier ledger is known to have had."""
    n_trials: int
    """How many trials are known to have been made by then: they count on."""
    aside: str
    """Where the earlier ledger lies, from the coin's folder; empty where there was none."""


@dataclass(frozen=True)
class Event:
    """Trials that were looked at together, on the same days; of a ledger that was begun anew the first event has none."""

    at: str
    """UTC, ISO 8601."""
    coin: str
    occasion: str
    """The night, or the run, in which it happened."""
    returns: str
    """SHA-256 of the file of daily returns, which is named by it; empty where there are no trials."""
    looks: tuple[Look, ...]
    previous: str
    """SHA-256 of the line before."""
    anew: Anew | None = None

    @classmethod
    def from_document(cls, document: Any, *, coin: str) -> Self:
        """The event that a line tells; raises `ValueError`, `TypeError` or `KeyError` for what is none, or of another coin."""
        told: Mapping[str, Any] = {**document, "looks": tuple(Look(**look) for look in document["looks"])}
        if told.get("anew") is not None:
            told = {**told, "anew": Anew(**{**told["anew"], "heads": tuple(told["anew"]["heads"])})}
        event = cls(**told)
        if event.coin != coin:
            raise ValueError(f"it is about {event.coin}")
        if (event.anew is None) != bool(event.looks):
            raise ValueError("it tells of no trial and of no earlier ledger, or of both")
        return event

    def document(self) -> dict[str, Any]:
        """The event as JSON values."""
        return {name: value for name, value in asdict(self).items() if name != "anew" or value is not None}


def _hash(returns: "pd.Series[float]") -> str:
    digest = hashlib.sha256(pd.DatetimeIndex(returns.index).as_unit("ns").asi8.tobytes())
    digest.update(returns.to_numpy(dtype="float64").tobytes())
    return digest.hexdigest()[:32]
