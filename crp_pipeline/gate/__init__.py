"""Room 8: whether tonight's model may replace the one in production, and why.

`feasibility` says beforehand what is achievable, `sentinels` watch for leaks, `comparison` trades every candidate of the night;
`evidence` measures, with `economics`, `trials` and `challenge`; `criteria` says what must hold, `verdict` judges. A number that
was not measured passes nothing.
"""

from crp_pipeline.gate.criteria import criteria, is_in_force
from crp_pipeline.gate.feasibility import Feasibility, feasibility
from crp_pipeline.gate.verdict import Criterion, Finding, Outcome, Stage, Verdict, judge
from crp_pipeline.settings import GateConfig

__all__ = [
    "Criterion",
    "Feasibility",
    "Finding",
    "GateConfig",
    "Outcome",
    "Stage",
    "Verdict",
    "criteria",
    "feasibility",
    "is_in_force",
    "judge",
]
