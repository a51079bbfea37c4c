"""Criteria, findings and the verdict: numbers in, a decision with its reasons out.

>>> verdict = judge({"trades": 120.0}, (Criterion("trades", Stage.EVIDENCE, ">=", 200),))
>>> print(verdict.outcome, "|", verdict.reason)
INSUFFICIENT_EVIDENCE | trades is 120, needs >= 200
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal, Self


class Stage(StrEnum):
    """What a criterion is about, in the order in which criteria are judged."""

    INTEGRITY = "integrity"
    EVIDENCE = "evidence"
    SKILL = "skill"
    ECONOMICS = "economics"
    CALIBRATION = "calibration"
    THRESHOLDS = "thresholds"


class Outcome(StrEnum):
    """What may happen to a candidate."""

    PROMOTE = "PROMOTE"
    REJECT = "REJECT"
    INSUFFICIENT_EVIDENCE = "INSUFFICIENT_EVIDENCE"


@dataclass(frozen=True)
class Criterion:
    """A named number and the bound it must keep."""

    name: str
    stage: Stage
    comparison: Literal[">=", "<=", ">"]
    threshold: float
    meaning: str = ""

    def holds(self, value: float) -> bool:
        """True when the value keeps the bound; a number that was not measured (NaN, infinite) keeps none."""
        if not math.isfinite(value):
            return False
        return {">=": value >= self.threshold, "<=": value <= self.threshold, ">": value > self.threshold}[self.comparison]


@dataclass(frozen=True)
class Finding:
    """What a criterion found."""

    criterion: Criterion
    value: float
    passed: bool

    @property
    def sentence(self) -> str:
        """`trades is 120, needs >= 200`."""
        value = _shown(self.value) if math.isfinite(self.value) else "not measured"
        return f"{self.criterion.name} is {value}, needs {self.criterion.comparison} {_shown(self.criterion.threshold)}"

    @property
    def shortfall(self) -> float:
        """How much is missing to the threshold; 0 when it is kept, NaN when the number was not measured."""
        return 0.0 if self.passed else abs(self.value - self.criterion.threshold)


@dataclass(frozen=True)
class Verdict:
    """The outcome, every finding behind it and what the candidate was made of."""

    outcome: Outcome
    findings: tuple[Finding, ...]
    subject: Mapping[str, str] = field(default_factory=dict)
    """Coin, data hash, feature set and code that the numbers are about."""
    evidence: Mapping[str, float] = field(default_factory=dict)
    """Every number measured, also those that no criterion asks for."""

    @property
    def first_failed(self) -> Finding | None:
        """The first finding, in order of the stages, that did not pass."""
        return next((finding for finding in self.findings if not finding.passed), None)

    @property
    def reason(self) -> str:
        """One line: why."""
        if self.first_failed is None:
            return f"all {len(self.findings)} criteria hold"
        others = sum(not finding.passed for finding in self.findings) - 1
        return self.first_failed.sentence + (f" ({others} more failed)" if others else "")

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON values; NaN becomes null."""
        return {
            "outcome": str(self.outcome),
            "reason": self.reason,
            "findings": [_finding_to_dict(finding) for finding in self.findings],
            "subject": dict(self.subject),
            "evidence": {name: _number_or_none(value) for name, value in self.evidence.items()},
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        """The verdict that `to_dict` described."""
        evidence = {name: math.nan if value is None else float(value) for name, value in stored["evidence"].items()}
        findings = tuple(_finding_from_dict(finding) for finding in stored["findings"])
        return cls(Outcome(stored["outcome"]), findings, stored["subject"], evidence)


def judge(evidence: Mapping[str, float], criteria: Sequence[Criterion], *, subject: Mapping[str, str] | None = None) -> Verdict:
    """The verdict on a candidate: all criteria are judged, in the order of their stages, and the first stage to fail decides.

    A failure of evidence is INSUFFICIENT_EVIDENCE, any other a REJECT. A number that is missing from `evidence` counts as not
    measured and passes nothing. Without criteria there is nothing to promote on: raises `ValueError`.
    """
    if not criteria:
        raise ValueError("a verdict needs at least one criterion")
    order = list(Stage)
    findings = tuple(
        Finding(criterion, value := float(evidence.get(criterion.name, math.nan)), criterion.holds(value))
        for criterion in sorted(criteria, key=lambda criterion: order.index(criterion.stage))
    )
    return Verdict(_outcome(findings), findings, dict(subject or {}), dict(evidence))


def _outcome(findings: Sequence[Finding]) -> Outcome:
    failed = next((finding.criterion.stage for finding in findings if not finding.passed), None)
    if failed is None:
        return Outcome.PROMOTE
    return Outcome.INSUFFICIENT_EVIDENCE if failed is Stage.EVIDENCE else Outcome.REJECT


def _finding_to_dict(finding: Finding) -> dict[str, Any]:
    shown = {
        "value": _number_or_none(finding.value),
        "passed": finding.passed,
        "shortfall": _number_or_none(finding.shortfall),
    }
    return {**asdict(finding.criterion), "stage": str(finding.criterion.stage), **shown}


def _finding_from_dict(stored: dict[str, Any]) -> Finding:
    names = ("name", "comparison", "threshold", "meaning")
    criterion = Criterion(stage=Stage(stored["stage"]), **{name: stored[name] for name in names})
    value = math.nan if stored["value"] is None else float(stored["value"])
    return Finding(criterion, value, bool(stored["passed"]))


def _number_or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _shown(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 1 else f"{value:.4g}"
