"""Criteria, findings and the verdict: numbers in, a decision with its reasons out.

>>> verdict = judge({"trades": 120.0}, (Criterion("trades", ">=", 200, Stage.EVIDENCE),))
>>> print(verdict.outcome, "|", verdict.reason)
INSUFFICIENT_EVIDENCE | trades is 120, needs >= 200
"""

import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from crp_pipeline.errors import DataContractError


class Stage(StrEnum):
    """What a criterion is about, in the order in which criteria are judged."""

    INTEGRITY = "integrity"
    FEASIBILITY = "feasibility"
    EVIDENCE = "evidence"
    SKILL = "skill"
    ECONOMICS = "economics"
    CALIBRATION = "calibration"
    THRESHOLDS = "thresholds"
    RISK = "risk"
    PLAUSIBILITY = "plausibility"
    CHAMPION = "champion"


class Outcome(StrEnum):
    """What may happen to a candidate."""

    PROMOTE = "PROMOTE"
    SHADOW = "SHADOW"
    """Good enough by itself, and either not yet shown to be better than the champion or too good to be believed unseen."""
    REJECT = "REJECT"
    INSUFFICIENT_EVIDENCE = "INSUFFICIENT_EVIDENCE"
    IMPOSSIBLE = "IMPOSSIBLE"
    """The threshold lies above what a perfect oracle reaches: nothing was wrong with the model."""


OUTCOME_OF_FAILURE: Mapping[Stage, Outcome] = {
    Stage.FEASIBILITY: Outcome.IMPOSSIBLE,
    Stage.EVIDENCE: Outcome.INSUFFICIENT_EVIDENCE,
    Stage.PLAUSIBILITY: Outcome.SHADOW,
    Stage.CHAMPION: Outcome.SHADOW,
}
"""What follows from the first stage that fails; REJECT from any other."""


Comparison = Literal[">=", "<=", ">"]
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le, ">": operator.gt}


@dataclass(frozen=True)
class Criterion:
    """A named number and the bound it must keep."""

    name: str
    comparison: Comparison
    threshold: float
    stage: Stage = Stage.THRESHOLDS
    meaning: str = ""
    ideal: float | None = None
    """A stricter bound that decides nothing: kept, it is a badge; missed, a remark."""
    standard: float | None = None
    """The bound of the house, where the one in force may be looser; None where it is the user's own affair."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a comparison that does not exist or a bound that is no number."""
        bounds = (self.threshold, self.ideal, self.standard)
        if self.comparison not in COMPARISONS or not all(bound is None or math.isfinite(bound) for bound in bounds):
            raise ValueError(f"{self.name} {self.comparison} {self.threshold} is no bound: compare by {', '.join(COMPARISONS)}")

    def holds(self, value: float) -> bool:
        """True when the value keeps the bound; a number that was not measured (NaN, infinite) keeps none."""
        return self._keeps(value, self.threshold)

    def is_ideal(self, value: float) -> bool:
        """True when the value keeps the stricter bound, where there is one."""
        return self.ideal is not None and self._keeps(value, self.ideal)

    def is_waived(self, value: float) -> bool:
        """True when the value keeps the bound in force and not the one of the house."""
        return self.holds(value) and self.standard is not None and not self._keeps(value, self.standard)

    def _keeps(self, value: float, bound: float) -> bool:
        return math.isfinite(value) and COMPARISONS[self.comparison](value, bound)


@dataclass(frozen=True)
class Finding:
    """What a criterion found."""

    criterion: Criterion
    value: float

    @property
    def passed(self) -> bool:
        """True when the value keeps the criterion's bound."""
        return self.criterion.holds(self.value)

    @property
    def sentence(self) -> str:
        """`trades is 120, needs >= 200`."""
        value = _shown(self.value) if math.isfinite(self.value) else "not measured"
        return f"{self.criterion.name} is {value}, needs {self.criterion.comparison} {_shown(self.criterion.threshold)}"

    @property
    def waiver(self) -> str:
        """`trades is 120, the house asks for >= 200`; empty unless only a loosened bound let it pass."""
        if not self.criterion.is_waived(self.value) or self.criterion.standard is None:
            return ""
        asked = f"{self.criterion.comparison} {_shown(self.criterion.standard)}"
        return f"{self.criterion.name} is {_shown(self.value)}, the house asks for {asked}"

    @property
    def remark(self) -> str:
        """`ideal`, or by how much the stricter bound was missed; empty where there is none."""
        if self.criterion.ideal is None:
            return ""
        if self.criterion.is_ideal(self.value):
            return "ideal"
        return f"ideal is {self.criterion.comparison} {_shown(self.criterion.ideal)}"

    @property
    def shortfall(self) -> float:
        """How much is missing to the threshold; 0 when it is kept, NaN when the number was not measured."""
        return 0.0 if self.passed else abs(self.value - self.criterion.threshold)


@dataclass(frozen=True)
class Verdict:
    """Every finding on a candidate, the outcome that follows from them, and what the candidate was made of."""

    findings: tuple[Finding, ...]
    subject: Mapping[str, str] = field(default_factory=dict)
    """Coin, data hash, feature set and code that the numbers are about."""
    evidence: Mapping[str, float] = field(default_factory=dict)
    """Every number measured, also those that no criterion asks for."""
    words: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Reason and stamp as they were stored, which a later release might word otherwise; none of a verdict just reached."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a verdict without findings: there is nothing to promote on."""
        if not self.findings:
            raise ValueError("a verdict needs at least one criterion")

    @property
    def outcome(self) -> Outcome:
        """Decided by the stage of the first finding that did not pass; PROMOTE when all did."""
        if self.first_failed is None:
            return Outcome.PROMOTE
        return OUTCOME_OF_FAILURE.get(self.first_failed.criterion.stage, Outcome.REJECT)

    @property
    def first_failed(self) -> Finding | None:
        """The first finding, in order of the stages, that did not pass."""
        return next((finding for finding in self.findings if not finding.passed), None)

    @property
    def reason(self) -> str:
        """One line: why."""
        if "reason" in self.words:
            return self.words["reason"]
        if self.first_failed is None:
            return f"all {len(self.findings)} criteria hold" + (f"; {self.stamp}" if self.stamp else "")
        others = sum(not finding.passed for finding in self.findings) - 1
        return self.first_failed.sentence + (f" ({others} more failed)" if others else "")

    @property
    def stamp(self) -> str:
        """`promoted without evidence: ...` where a promotion stands on loosened bounds, else empty."""
        if "stamp" in self.words:
            return self.words["stamp"]
        waivers = [finding.waiver for finding in self.findings if finding.waiver]
        return f"promoted without evidence: {'; '.join(waivers)}" if self.outcome is Outcome.PROMOTE and waivers else ""

    @property
    def badges(self) -> tuple[str, ...]:
        """Names of the criteria whose stricter, ideal bound is kept."""
        return tuple(finding.criterion.name for finding in self.findings if finding.criterion.is_ideal(finding.value))

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON values; NaN becomes null."""
        return {
            "outcome": str(self.outcome),
            "reason": self.reason,
            "stamp": self.stamp,
            "badges": list(self.badges),
            "findings": [_finding_to_dict(finding) for finding in self.findings],
            "subject": dict(self.subject),
            "evidence": {name: _number_or_none(value) for name, value in self.evidence.items()},
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        """The verdict that `to_dict` described, in its own words, whatever else is stored beside it.

        Raises `ValueError` when its outcome, or what passed, does not follow from its numbers.
        """
        evidence = {name: _measured(value) for name, value in stored["evidence"].items()}
        verdict = cls(tuple(_finding_from_dict(finding) for finding in stored["findings"]), stored["subject"], evidence)
        follows, told = _what_follows(verdict.to_dict()), _what_follows(stored)
        altered = [name for name, value in follows.items() if told[name] != value]
        if altered:
            raise ValueError(f"{altered[0]} = {told[altered[0]]!r} does not follow from the findings")
        return replace(verdict, words={name: str(stored[name]) for name in ("reason", "stamp")})


def judge(
    evidence: Mapping[str, float | None], criteria: Sequence[Criterion], *, subject: Mapping[str, str] | None = None
) -> Verdict:
    """The verdict on a candidate: all criteria are judged, in the order of their stages, and the first stage to fail decides.

    `OUTCOME_OF_FAILURE` says what follows from it. A number that `evidence` lacks, or None, counts as not measured and passes
    nothing. Raises `ValueError` without criteria.
    """
    order, measured = list(Stage), {name: _measured(value) for name, value in evidence.items()}
    findings = tuple(
        Finding(criterion, measured.get(criterion.name, math.nan))
        for criterion in sorted(criteria, key=lambda criterion: order.index(criterion.stage))
    )
    return Verdict(findings, dict(subject or {}), measured)


def _what_follows(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from the numbers of a verdict, whatever words it was told in."""
    return {
        "outcome": stored["outcome"],
        "badges": stored["badges"],
        "passed": [(it["name"], it["passed"], it["shortfall"]) for it in stored["findings"]],
        "is_stamped": bool(stored["stamp"]),
    }


def _finding_to_dict(finding: Finding) -> dict[str, Any]:
    shown = {
        "value": _number_or_none(finding.value),
        "passed": finding.passed,
        "shortfall": _number_or_none(finding.shortfall),
    }
    return {**asdict(finding.criterion), "stage": str(finding.criterion.stage), **shown}


def _finding_from_dict(stored: dict[str, Any]) -> Finding:
    names = ("name", "comparison", "threshold", "meaning", "ideal", "standard")
    criterion = Criterion(stage=Stage(stored["stage"]), **{name: stored[name] for name in names})
    return Finding(criterion, _measured(stored["value"]))


def _measured(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _number_or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _shown(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 1 else f"{value:.4g}"


def read_verdict(path: Path) -> Verdict:
    """A stored verdict; raises `DataContractError` when it is missing or damaged."""
    try:
        return Verdict.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataContractError(f"{path} holds no verdict: {error}") from error
