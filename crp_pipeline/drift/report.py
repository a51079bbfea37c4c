"""What was measured on a coin's champion, in what state that is, and what follows from it: a rule is a value.

`warn` looks closer: people are told, nothing else happens. `retrain` says that the champion no longer decides about what it
learned from, or that its recipe keeps less than it promised: people are told, and whoever watches the reports may start the
coin's night before its hour. Every night trains anew in any case, and whoever is trained passes the gate or does not reign.
`fall_back` says that this very version broke its promise live, beyond what luck explains: the champion before it is the better
guess until a night has found another.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np
import pandas as pd

from crp_pipeline.registry import NOBODY

FEATURE_PSI, FEATURE_KS, DRIFTED_SHARE = "feature_psi", "feature_ks", "drifted_share"
FORECAST_PSI, FORECAST_KS, FORECAST_SHIFT = "forecast_psi", "forecast_ks", "forecast_shift"
CALIBRATION, HIT_RATE, DRAWDOWN, CHAMPION = "calibration_error", "hit_rate_e_value", "drawdown", "champion"
VERSION, RECIPE, ALL = "version", "recipe", "all"
"""Whose decisions: this version's since it took the throne, or those of every champion of its recipe in this reign."""


class State(StrEnum):
    """What a number says against its limits."""

    OK = "ok"
    WARN = "warn"
    DRIFTED = "drifted"
    BREACH = "breach"
    """Of live decisions: what was promised is disproved."""
    UNKNOWN = "unknown"
    """Too little to tell by, which is never taken for ok."""


class Action(StrEnum):
    """What follows, the mildest first."""

    OK = "ok"
    WARN = "warn"
    RETRAIN = "retrain"
    FALL_BACK = "fall_back"


@dataclass(frozen=True)
class Rule:
    """A measure in this state asks for this action."""

    measure: str
    subject: str
    state: State
    action: Action


RULES = (
    Rule(HIT_RATE, VERSION, State.BREACH, Action.FALL_BACK),
    Rule(DRAWDOWN, VERSION, State.BREACH, Action.FALL_BACK),
    Rule(HIT_RATE, RECIPE, State.BREACH, Action.RETRAIN),
    Rule(DRIFTED_SHARE, ALL, State.DRIFTED, Action.RETRAIN),
    Rule(FORECAST_SHIFT, ALL, State.DRIFTED, Action.RETRAIN),
    Rule(CALIBRATION, VERSION, State.DRIFTED, Action.RETRAIN),
    Rule(HIT_RATE, VERSION, State.WARN, Action.WARN),
    Rule(HIT_RATE, RECIPE, State.WARN, Action.WARN),
    Rule(DRAWDOWN, VERSION, State.WARN, Action.WARN),
    Rule(DRIFTED_SHARE, ALL, State.WARN, Action.WARN),
    Rule(FORECAST_SHIFT, ALL, State.WARN, Action.WARN),
    Rule(CALIBRATION, VERSION, State.WARN, Action.WARN),
)
"""The strongest action of the rules that apply is the report's; single features and columns tell and never ask."""

SUMMARIES = tuple(dict.fromkeys((rule.measure, rule.subject) for rule in RULES))
"""Measures and subjects that a rule asks about, which are one per coin and night."""


@dataclass(frozen=True)
class Reading:
    """One number with the limits that it is held against."""

    measure: str
    subject: str
    value: float
    warn: float
    limit: float
    state: State
    n: int
    """Rows, decisions or features behind it."""
    missing: int = 0
    """... and how many more it takes to tell."""
    why: str = ""
    """What keeps it unknown, where no number of them would do."""

    @classmethod
    def held(cls, measure: str, subject: str, value: float, *, warn: float, limit: float, n: int, worst: State) -> "Reading":
        """A number in the state that its limits put it in; above `limit` it is in the `worst` one, unknown where one is NaN."""
        state = _state(value, warn, limit, worst)
        why = "the number or one of its limits is not a number" if state is State.UNKNOWN else ""
        return cls(measure, subject, float(value), float(warn), float(limit), state, n, why=why)

    @classmethod
    def unknown(cls, measure: str, subject: str, *, n: int = 0, missing: int = 0, why: str = "") -> "Reading":
        """Too little to tell by: there were `n`, and `missing` more are needed; or `why` none of them would do."""
        return cls(measure, subject, np.nan, np.nan, np.nan, State.UNKNOWN, n, missing, why)

    @property
    def sentence(self) -> str:
        """`drifted_share of all is 0.41 over 50, above 0.25: drifted`."""
        what = f"{self.measure} of {self.subject}"
        if self.state is State.UNKNOWN:
            return f"{what} is unknown: {self.why or f'{self.n:,} are there, {self.missing:,} more are needed'}"
        crossed = self.limit if self.state in {State.DRIFTED, State.BREACH} else self.warn
        side = "not above" if self.state is State.OK else "above"
        return f"{what} is {self.value:.4g} over {self.n:,}, {side} {crossed:.4g}: {self.state}"


@dataclass(frozen=True)
class DriftReport:
    """Everything that was measured on one champion at one time."""

    coin: str
    at: datetime
    version: str
    """The champion, `registry.NOBODY` where there is none."""
    readings: tuple[Reading, ...]

    @property
    def action(self) -> Action:
        """The strongest that a rule asks for; ok where none does, however little is known: see `unknown`."""
        order = list(Action)
        return order[max((order.index(rule.action) for rule, _ in self._applied()), default=0)]

    @property
    def reasons(self) -> tuple[str, ...]:
        """A sentence for each rule that asks for the report's action; none where it is ok."""
        return tuple(reading.sentence for rule, reading in self._applied() if rule.action is self.action)

    @property
    def unknown(self) -> tuple[Reading, ...]:
        """What a rule asks about and could not be told."""
        return tuple(it for it in self.summaries if it.state is State.UNKNOWN)

    @property
    def summaries(self) -> tuple[Reading, ...]:
        """The readings that rules ask about."""
        return tuple(it for it in self.readings if (it.measure, it.subject) in SUMMARIES)

    @property
    def sentence(self) -> str:
        """The action, why, and how much could not be told."""
        if self.version == NOBODY:
            return f"{self.coin}: nobody reigns, so there is nothing to measure"
        if self.summaries and len(self.unknown) == len(self.summaries):
            return f"{self.coin}: nothing can be told of champion {self.version} yet, {self.unknown[0].sentence}"
        why = f": {'; '.join(self.reasons)}" if self.reasons else ""
        untold = f"; {len(self.unknown)} of {len(self.summaries)} unknown" if self.unknown else ""
        return f"{self.coin}: champion {self.version}, {self.action}{why}{untold}"

    def of(self, measure: str, subject: str) -> Reading | None:
        """One reading; None where it was not taken."""
        return next((it for it in self.readings if (it.measure, it.subject) == (measure, subject)), None)

    def table(self) -> pd.DataFrame:
        """One row per reading: `measure`, `subject`, `value`, `warn`, `limit`, `state`, `n`, `missing`, `why`."""
        rows = [{**vars(reading), "state": str(reading.state)} for reading in self.readings]
        return pd.DataFrame(rows, columns=list(Reading.__dataclass_fields__))

    def _applied(self) -> list[tuple[Rule, Reading]]:
        readings = {(it.measure, it.subject, it.state): it for it in self.readings}
        asked = ((rule, readings.get((rule.measure, rule.subject, rule.state))) for rule in RULES)
        return [(rule, reading) for rule, reading in asked if reading is not None]


def _state(value: float, warn: float, limit: float, worst: State) -> State:
    if np.isnan([value, warn, limit]).any():
        return State.UNKNOWN
    if value > limit:
        return worst
    return State.WARN if value > warn else State.OK
