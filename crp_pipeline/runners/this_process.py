"""One run after another, in this process."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from crp_pipeline.runners.one_run import Ended, execute, tasks_of


@dataclass(frozen=True)
class ThisProcess:
    """Executes each run where it is asked for; needs no second interpreter and works with any instance."""

    floor_plan: dg.Definitions
    instance: dg.DagsterInstance

    def run(self, job: str, coins: Sequence[str | None]) -> Iterator[Ended]:
        """Run the job once per coin, in the given order."""
        for task in tasks_of(job, coins):
            yield execute(self.floor_plan, self.instance, task)
