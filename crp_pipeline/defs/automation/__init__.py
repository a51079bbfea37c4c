"""The night, unattended: what it is, who begins it, what follows, and who is told.

    jobs        one per phase of a night, each with the time it may take
    night       what of the latest night has been run, and what it needs next
    schedules   the night at 00:15 UTC, the control suite every week
    sensors     the end of dead runs; the watch over a night; declarative automation as its alternative
    conditions  what is rebuilt when something changed
    watch       failed runs, verdicts, stale candles, drift and summaries, told once each

Schedule and declarative automation are alternatives: `automation.begins` says which of them is on, or none.
"""

from crp_pipeline.defs.automation.conditions import automated
from crp_pipeline.defs.automation.jobs import CORRIDOR, control_job, jobs, tune_job
from crp_pipeline.defs.automation.night import NIGHT, PHASE, PHASES, next_requests
from crp_pipeline.defs.automation.schedules import schedules
from crp_pipeline.defs.automation.sensors import sensors

__all__ = [
    "CORRIDOR",
    "NIGHT",
    "PHASE",
    "PHASES",
    "automated",
    "control_job",
    "jobs",
    "next_requests",
    "schedules",
    "sensors",
    "tune_job",
]
