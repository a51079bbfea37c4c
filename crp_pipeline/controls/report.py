"""The answer of a control run, kept under the code that gave it.

<data>/controls/<source hash>.json
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd

from crp_pipeline.controls.expectation import Outcome, control_table, failures
from crp_pipeline.errors import DataContractError
from crp_pipeline.storage import write_json

_NO_REPORT: Mapping[str, float] = {"control_failures": math.nan, "control_age_days": math.nan}


@dataclass(frozen=True)
class ControlReport:
    """Every outcome of one control run, of which code, when, and how long it took."""

    source: str
    """`provenance.source_hash` of the code that ran."""
    at: str
    """UTC, ISO 8601."""
    seconds: float
    outcomes: tuple[Outcome, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """Controls that did not come out as they must; all of them where nothing was run."""
        return failures(self.outcomes)

    @property
    def is_green(self) -> bool:
        """True when every control came out as it must."""
        return not self.failures

    def table(self) -> pd.DataFrame:
        """One row per control."""
        return control_table(self.outcomes)


def report_path(data_dir: Path, source: str) -> Path:
    """Where the report of a state of the code lies."""
    return Path(data_dir) / "controls" / f"{source}.json"


def write_report(report: ControlReport, data_dir: Path) -> Path:
    """Keep a report; an earlier one of the same code is replaced."""
    path = report_path(data_dir, report.source)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**asdict(report), "outcomes": [_to_json(outcome) for outcome in report.outcomes]})
    return path


def read_report(data_dir: Path, source: str) -> ControlReport | None:
    """The report of a state of the code, None where it never ran; raises `DataContractError` where it is damaged."""
    path = report_path(data_dir, source)
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        report = ControlReport(**{**stored, "outcomes": _outcomes(stored["outcomes"])})
        datetime.fromisoformat(report.at)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataContractError(f"{path} holds no control report: {error!r}") from error
    if report.source != source:
        raise DataContractError(f"{path} is the report of {report.source}, not of {source}")
    return report


def control_evidence(report: ControlReport | None, *, now: datetime) -> dict[str, float]:
    """Failures and age in whole days of a report; not measured where there is none, which passes no gate."""
    if report is None:
        return dict(_NO_REPORT)
    age = now - datetime.fromisoformat(report.at)
    return {"control_failures": float(len(report.failures)), "control_age_days": float(age.days)}


def _to_json(outcome: Outcome) -> dict[str, object]:
    numbers = {name: value if math.isfinite(value) else None for name, value in outcome.numbers.items()}
    return {**vars(outcome), "numbers": numbers}


def _outcomes(stored: Sequence[Mapping[str, object]]) -> tuple[Outcome, ...]:
    return tuple(Outcome(**{**row, "numbers": _numbers(row["numbers"])}) for row in stored)  # type: ignore[arg-type]


def _numbers(stored: object) -> dict[str, float]:
    if not isinstance(stored, dict):
        raise TypeError(f"{stored!r} is no table of numbers")
    return {name: math.nan if value is None else float(value) for name, value in stored.items()}
