"""What must come out of each control, and the table of what did."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf, nan

import pandas as pd

from crp_pipeline.metrics import wilson_interval

CHANCE = 0.01
"""A control that is in order is refuted by chance no more often than this, however short the run."""


@dataclass(frozen=True)
class Outcome:
    """What one control came to on one seed."""

    control: str
    seed: int
    happened: bool
    """Whether what the control is about came true: a promotion, a rejection on economics, an accuracy within chance."""
    verdict: str
    reason: str
    numbers: Mapping[str, float]
    error: str = ""
    """Why it came to nothing, where it did: the control has then failed."""


@dataclass(frozen=True)
class Expectation:
    """How often something must happen among the seeds of a control."""

    what: str
    at_least: float = 0.0
    at_most: float = 1.0
    is_strict: bool = False
    """True: the observed rate itself must lie within; False: it is refuted by an exact binomial test at 1 %."""

    def holds(self, successes: int, n: int) -> bool:
        """True when so many of n agree with the expectation; nothing agrees where nothing was run."""
        if n == 0:
            return False
        if self.is_strict:
            return self.at_least <= successes / n <= self.at_most
        from scipy.stats import binom

        as_many, as_few = binom.sf(successes - 1, n, self.at_most), binom.cdf(successes, n, self.at_least)
        return bool(min(as_many, as_few) >= CHANCE)


EXPECTATIONS: Mapping[str, Expectation] = {
    "null market": Expectation("promoted", at_most=0.0, is_strict=True),
    "wide stop, near target": Expectation("promoted", at_most=0.0, is_strict=True),
    "null market, six bars ahead": Expectation("promoted", at_most=0.0, is_strict=True),
    "planted 0.65, six bars ahead": Expectation("promoted", at_least=0.90),
    "shuffled labels": Expectation("accuracy within 3 standard errors of 0.5", at_least=0.99),
    "planted 0.60": Expectation("promoted", at_least=0.90),
    "planted 0.70": Expectation("promoted", at_least=0.90),
    "planted 0.60, dear": Expectation("rejected on economics", at_least=1.0, is_strict=True),
    "planted 0.70, dear": Expectation("rejected on economics", at_least=1.0, is_strict=True),
    "best of 100, deflated": Expectation("deflated Sharpe ratio passes", at_most=0.05),
}
"""By control; `best of 100` without correction is shown beside them and fools, as it must."""


def control_table(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """One row per control: how often it happened, with its 95 % interval, what was expected, and the medians of the numbers."""
    by_control: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_control.setdefault(outcome.control, []).append(outcome)
    return pd.DataFrame([_row(control, found) for control, found in by_control.items()])


def failures(outcomes: Iterable[Outcome]) -> tuple[str, ...]:
    """Controls that did not come out as they must, those that did not run among them."""
    table = control_table(outcomes)
    sound = set(table.loc[table["holds"] == "yes", "control"]) if len(table) else set()
    return tuple(control for control in EXPECTATIONS if control not in sound)


def _row(control: str, found: list[Outcome]) -> dict[str, object]:
    finished = [outcome for outcome in found if not outcome.error]
    happened, n = sum(outcome.happened for outcome in finished), len(finished)
    low, high = wilson_interval(happened, n)
    expected = EXPECTATIONS.get(control)
    told = pd.DataFrame([outcome.numbers for outcome in finished]).median()
    holds = expected is not None and expected.holds(happened, n) and len(finished) == len(found)
    return {
        "control": control,
        "what": expected.what if expected else "uncorrected Sharpe test passes",
        "runs": n,
        "happened": happened,
        "rate": happened / n if n else nan,
        "low": low,
        "high": high,
        "expected": _bounds(expected) if expected else "-",
        "holds": "-" if expected is None else "yes" if holds else "NO",
        **{str(name): float(value) for name, value in told.items()},
    }


def _bounds(expected: Expectation) -> str:
    if expected.at_most < 1:
        return f"<= {expected.at_most:.0%}"
    return f">= {expected.at_least if expected.at_least > -inf else 0:.0%}"
