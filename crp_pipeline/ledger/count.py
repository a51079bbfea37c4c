"""How many trials there were.

Recipes that differ count once each, however many nights evaluate them: a night that sees later days extends its trial. A second
evaluation of a recipe on days that end no later than those it had seen is a second look at the same data and counts again, if
something else came out of it: other forecasts, hence another draw to choose from. The very forecasts that were evaluated before
are the same evaluation, whoever looks at them: the asset of a model and the night's comparison, or a run that is repeated.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Bools, Floats
from crp_pipeline.ledger.event import Event, Look


@dataclass(frozen=True, eq=False)
class Trials:
    """Everything that was tried on a coin, for the deflated Sharpe ratio and the probability of backtest overfitting."""

    n_trials: int
    """Every trial, those that are left out of the matrix included."""
    sharpes: Floats
    """(n_contenders,) Sharpe ratios per day of the trials that could have been chosen, the latest of each; NaN where there is
    none. Baselines count among the trials and not here."""
    returns: Floats
    """(n_days, n_in_matrix) daily net returns over the days that all of these have."""
    days: pd.DatetimeIndex
    """(n_days,) UTC."""
    names: tuple[str, ...]
    """(n_in_matrix,) what the trials of the matrix are called; not unique."""
    is_baseline: Bools
    """(n_in_matrix,) True for what could never be chosen."""

    @property
    def n_in_matrix(self) -> int:
        """Trials that share enough days."""
        return int(self.returns.shape[1])

    @property
    def n_left_out(self) -> int:
        """Trials that share too few days."""
        return self.n_trials - self.n_in_matrix


@dataclass(frozen=True)
class Counted:
    """The latest that is known of one trial."""

    event: Event
    look: Look


class _Recipe:
    """The trials of one recipe, as its evaluations come in."""

    def __init__(self) -> None:
        self.trials: list[Counted] = []
        self._place_of: dict[str, int] = {}

    def take(self, found: Counted) -> None:
        """Count an evaluation, or let it stand for a trial that is counted."""
        place = self._place_of.get(found.look.made)
        if place is None and self.trials and found.look.last_day > max(trial.look.last_day for trial in self.trials):
            place = len(self.trials) - 1
        if place is None:
            place = len(self.trials)
            self.trials.append(found)
        elif found.look.last_day >= self.trials[place].look.last_day:
            self.trials[place] = found
        self._place_of[found.look.made] = place


def counted(events: Iterable[Event]) -> list[Counted]:
    """The trials of a ledger by the rule of this module, in the order in which their recipes first came."""
    recipes: dict[str, _Recipe] = {}
    for event in events:
        for look in event.looks:
            recipes.setdefault(look.key, _Recipe()).take(Counted(event, look))
    return [trial for recipe in recipes.values() for trial in recipe.trials]


def counted_before(events: Iterable[Event]) -> int:
    """How many trials were made before a ledger was begun anew."""
    return sum(event.anew.n_trials for event in events if event.anew is not None)


def tried(events: Sequence[Event], days: pd.DatetimeIndex, returns_of: Callable[[Counted], "pd.Series[float]"]) -> Trials:
    """The trials, and the matrix of those that share enough of the candidate's `days`.

    Of trials before a ledger was begun anew only the number is known. The others join in the order of how many of these days
    they have, as long as the days common to all are at least half of them.
    """
    found = counted(events)
    may_join = [number for number, trial in enumerate(found) if 2 * _most_shared(trial.look, days) >= len(days)]
    columns = {number: returns_of(found[number]).loc[lambda it: it.index.isin(days)] for number in may_join}
    joined, common = _joined({number: pd.DatetimeIndex(column.index) for number, column in columns.items()}, days)
    matrix = [columns[number].loc[common].to_numpy(dtype=np.float64) for number in joined]
    contenders = [it for it in found if not it.look.is_baseline]
    return Trials(
        n_trials=len(found) + counted_before(events),
        sharpes=np.array([it.look.daily_sharpe for it in contenders], dtype=np.float64),
        returns=np.column_stack(matrix) if matrix else np.empty((0, 0)),
        days=common if matrix else days[:0],
        names=tuple(found[number].look.name for number in joined),
        is_baseline=np.array([found[number].look.is_baseline for number in joined], dtype=bool),
    )


def _joined(days_of: Mapping[int, pd.DatetimeIndex], days: pd.DatetimeIndex) -> tuple[list[int], pd.DatetimeIndex]:
    """Who joins the matrix, and the days that they have in common."""
    joined: list[int] = []
    common = days
    for number in sorted(days_of, key=lambda number: -len(days_of[number])):
        narrower = common[common.isin(days_of[number])]
        if 2 * len(narrower) >= len(days):
            joined, common = [*joined, number], narrower
    return sorted(joined), common


def _most_shared(look: Look, days: pd.DatetimeIndex) -> int:
    """How many of the days a trial can have at most."""
    return int(((days >= _day(look.first_day)) & (days <= _day(look.last_day))).sum()) if look.n_days else 0


def _day(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC")
