"""Experiments whose answer is known beforehand: whether this very code promotes what it must, and nothing else.

`market` makes synthetic markets, `night` takes one through every room to a verdict, `experiments` says what is tried on it,
`expectation` what must come out, `suite` runs many seeds side by side and `report` keeps the answer for the code that gave it.
A gate that has no such answer for its own code promotes nothing.
"""

from crp_pipeline.controls.expectation import EXPECTATIONS, Expectation, Outcome, control_table
from crp_pipeline.controls.report import ControlReport, control_evidence, keep_report, read_report, write_report
from crp_pipeline.controls.suite import run_suite

__all__ = [
    "EXPECTATIONS",
    "ControlReport",
    "Expectation",
    "Outcome",
    "control_evidence",
    "control_table",
    "keep_report",
    "read_report",
    "run_suite",
    "write_report",
]
