"""Whether today still resembles what the champion learned from, and what to do where it does not.

`evidence` gathers what is known of the champion, `distance` and `features` hold its inputs against their history, `live` holds
what it decided against what it promised, `report` says what follows by a table of rules, `stored` keeps every report.
"""

from crp_pipeline.drift.evidence import Evidence, gather_evidence
from crp_pipeline.drift.measure import fall_back, measure
from crp_pipeline.drift.outcomes import Market, live_facts, one_at_a_time, outcomes_of
from crp_pipeline.drift.report import RULES, SUMMARIES, Action, DriftReport, Reading, Rule, State
from crp_pipeline.drift.stored import measured_coins, read_history, read_report, save_report

__all__ = [
    "RULES",
    "SUMMARIES",
    "Action",
    "DriftReport",
    "Evidence",
    "Market",
    "Reading",
    "Rule",
    "State",
    "fall_back",
    "gather_evidence",
    "live_facts",
    "measure",
    "measured_coins",
    "one_at_a_time",
    "outcomes_of",
    "read_history",
    "read_report",
    "save_report",
]
