"""Room 8: whether tonight's model may replace the one in production, and why.

`evidence` measures, `criteria` says what must hold, `verdict` judges. A number that was not measured passes nothing.
"""

from crp_pipeline.gate.criteria import criteria, is_in_force
from crp_pipeline.gate.verdict import Criterion, Finding, Outcome, Stage, Verdict, judge
from crp_pipeline.settings import GateConfig

__all__ = ["Criterion", "Finding", "GateConfig", "Outcome", "Stage", "Verdict", "criteria", "is_in_force", "judge"]
