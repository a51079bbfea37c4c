"""The answer of a control run, kept under the code that gave it.

<data>/controls/<source hash>.json
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import pandas as pd

from crp_pipeline.chain import only_writer
from crp_pipeline.controls.expectation import Outcome, control_table, failures
from crp_pipeline.errors import DataContractError
from crp_pipeline.storage import write_json

NULL_MARKET = "null market"
_NO_REPORT: Mapping[str, float] = {"control_failures": math.nan, "control_age_days": math.nan, "control_runs": math.nan}


@dataclass(frozen=True)
class ControlReport:
    """Every outcome of the control runs of one state of the code, when the last of them was, and how long they all took."""

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

    @property
    def errors(self) -> tuple[str, ...]:
        """What came to nothing, and why."""
        return tuple(dict.fromkeys(outcome.error for outcome in self.outcomes if outcome.error))

    @property
    def null_markets(self) -> int:
        """On how many markets without an edge nothing may have been promoted."""
        return sum(outcome.control == NULL_MARKET and not outcome.error for outcome in self.outcomes)

    def table(self) -> pd.DataFrame:
        """One row per control."""
        return control_table(self.outcomes)


def report_path(data_dir: Path, source: str) -> Path:
    """Where the report of a state of the code lies."""
    return Path(data_dir) / "controls" / f"{source}.json"


def keep_report(report: ControlReport, data_dir: Path, *, tell: Callable[[str], None]) -> ControlReport:
    """Add a run to what is kept of the same code, and return the whole.

    Of a control on a seed the newest outcome counts, and nothing else takes its place: what came out red stays red until that
    seed is run again. A damaged report is told and begun anew.
    """
    path = report_path(data_dir, report.source)
    path.parent.mkdir(parents=True, exist_ok=True)
    with only_writer(path.parent / ".lock"):
        earlier = read_report(data_dir, report.source, tell=tell)
        whole = report if earlier is None else pooled(earlier, report)
        write_report(whole, data_dir)
    return whole


def pooled(earlier: ControlReport, later: ControlReport) -> ControlReport:
    """The outcomes of both, by control and seed; of the moment of the later one."""
    found = {(outcome.control, outcome.seed): outcome for outcome in (*earlier.outcomes, *later.outcomes)}
    order = {control: None for control, _ in found}
    outcomes = [outcome for control in order for (its, _), outcome in found.items() if its == control]
    return replace(later, seconds=earlier.seconds + later.seconds, outcomes=tuple(outcomes))


def write_report(report: ControlReport, data_dir: Path) -> Path:
    """Write a report in the place of an earlier one of the same code."""
    path = report_path(data_dir, report.source)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**asdict(report), "outcomes": [_to_json(outcome) for outcome in report.outcomes]})
    return path


def read_report(data_dir: Path, source: str, *, tell: Callable[[str], None] | None = None) -> ControlReport | None:
    """The report of a state of the code, None where it never ran or is damaged, which is told in a sentence."""
    path = report_path(data_dir, source)
    if not path.exists():
        return None
    try:
        return _read(path, source)
    except DataContractError as error:
        if tell is not None:
            tell(str(error))
        return None


def control_evidence(report: ControlReport | None, *, now: datetime) -> dict[str, float]:
    """Failures, age in begun days and null markets of a report.

    Not measured, which passes no gate, where there is none, and where it says to have been made after `now`: no clock that
    told so can tell how old it is.
    """
    if report is None or now < datetime.fromisoformat(report.at):
        return dict(_NO_REPORT)
    days = math.ceil((now - datetime.fromisoformat(report.at)).total_seconds() / 86_400)
    return {
        "control_failures": float(len(report.failures)),
        "control_age_days": float(days),
        "control_runs": float(report.null_markets),
    }


def _read(path: Path, source: str) -> ControlReport:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        report = ControlReport(**{**stored, "outcomes": _outcomes(stored["outcomes"])})
        datetime.fromisoformat(report.at)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataContractError(f"{path} holds no control report: {error!r}") from error
    if datetime.fromisoformat(report.at).tzinfo is None:
        raise DataContractError(f"{path} holds no control report: {report.at} names no time zone")
    if report.source != source:
        raise DataContractError(f"{path} is the report of {report.source}, not of {source}")
    return report


def _to_json(outcome: Outcome) -> dict[str, object]:
    numbers = {name: value if math.isfinite(value) else None for name, value in outcome.numbers.items()}
    return {**vars(outcome), "numbers": numbers}


def _outcomes(stored: Sequence[Mapping[str, object]]) -> tuple[Outcome, ...]:
    return tuple(Outcome(**{**row, "numbers": _numbers(row["numbers"])}) for row in stored)  # type: ignore[arg-type]


def _numbers(stored: object) -> dict[str, float]:
    if not isinstance(stored, dict):
        raise TypeError(f"{stored!r} is no table of numbers")
    return {name: math.nan if value is None else float(value) for name, value in stored.items()}
