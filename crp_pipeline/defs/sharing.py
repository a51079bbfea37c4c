"""Runs on several machines that share one depot: what a run needs is there before its first step, what it made after each.

The resource lives as long as the process of a run: a whole run where steps share it, one step where each has its own, on Ray or
Kubernetes. It pulls when it begins. Every step that stores or writes something pushes it, and fails where that cannot be; when
it ends it pushes what is left, whatever became of the run. A coin's run is about that coin and what belongs to none; a run
over all coins is about everything.

Steps of one run that append to the same journal, as models do to the ledger, must not run on two machines at once: the second
push would be a fork and is refused. Give each machine whole coins, or one step after another.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import dagster as dg

from crp_pipeline.defs.dead_runs import tell_process
from crp_pipeline.defs.pruning import PRUNE
from crp_pipeline.defs.storage import StageIOManager
from crp_pipeline.defs.turn import PARTITION, turn
from crp_pipeline.depot import SHARED, Depot, Moved
from crp_pipeline.errors import StorageError
from crp_pipeline.places import Places
from crp_pipeline.settings import PipelineSettings

NEEDED: Mapping[str, tuple[str, ...]] = {
    "nightly_market": ("candles",),
    "nightly_controls": (),
    "weekly_controls": (),
    "nightly_summary": ("feasibility", "backtest", "gate", "registry", "drift", "reports"),
    "after_each_bar": ("candles", "registry", "signals"),
    "rollback": ("registry",),
    PRUNE: (),
}
"""Stages that a run needs of its coin, or of each where it is over all, by its job; every stage where the job is not named."""


class SharedStageIOManager(StageIOManager):
    """Values in their places, each pushed as soon as it is stored."""

    def __init__(self, places: Places, session: "Session") -> None:
        super().__init__(places)
        self._session = session

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Write a value whole or not at all, then push what it belongs to; raises `StorageError` where that cannot be."""
        super().handle_output(context, obj)
        self._session.push_own()

    def settled(self, coin: str) -> None:
        """Push a coin, then what belongs to none; raises `StorageError` where that cannot be."""
        for subject in (coin, None):
            self._session.push_about(subject)


class Session:
    """What one run pulls and pushes."""

    def __init__(self, depot: Depot, settings: PipelineSettings, places: Places, context: dg.InitResourceContext) -> None:
        run = context.run
        assert run is not None
        assert context.log is not None
        self._depot, self._places, self._now, self._log = depot, places, settings.present, context.log
        self._run_id, self._coin = run.run_id, run.tags.get(PARTITION)
        self._stages = NEEDED.get(run.job_name)

    def pull(self) -> None:
        """Bring the machine to where the depot stands.

        What an earlier run could not push makes way where others have gone on since, such as the trials of one that was killed;
        a promotion never does, nor a live decision, so that a person must choose. Of other coins nothing does: one that is
        refused stays as this machine has it.
        """
        self._pull(None)
        if self._coin:
            self._pull(self._coin)
        elif self._stages != ():
            pulled = self._depot.pull_each(self._places, self._coins(), stages=self._stages, run=self._run_id)
            self._tell_each("pulled", pulled)

    def push_own(self) -> None:
        """Push what the run is about."""
        self.push_about(self._coin)

    def push_about(self, coin: str | None) -> None:
        """Push a coin, or what belongs to none."""
        self._tell("pushed", coin, self._depot.push(self._places, coin, now=self._now(), run=self._run_id))

    def push(self) -> None:
        """Push everything that the run may have changed, first what it is about."""
        self.push_own()
        if self._coin:
            self.push_about(None)
        else:
            pushed = self._depot.push_each(self._places, self._coins(), now=self._now(), run=self._run_id)
            self._tell_each("pushed", pushed)

    def _pull(self, coin: str | None) -> None:
        stages = self._stages if coin else None
        pulled = self._depot.pull(self._places, coin, stages=stages, lay_aside=True, unattended=True, run=self._run_id)
        self._tell("pulled", coin, pulled)

    def _coins(self) -> list[str]:
        return [subject for subject in self._depot.subjects(self._places) if subject != SHARED]

    def _tell_each(self, done: str, outcomes: Mapping[str, Moved | StorageError]) -> None:
        for coin, outcome in outcomes.items():
            if isinstance(outcome, StorageError):
                self._log.warning(f"{outcome}; it stays as this machine has it")
            else:
                self._tell(done, coin, outcome)

    def _tell(self, done: str, coin: str | None, moved: Moved) -> None:
        if moved.laid_aside:
            self._log.warning(f"{coin or SHARED}: never pushed and overtaken, laid aside: {', '.join(moved.laid_aside)}")
        if moved.n_files:
            size = f"{moved.n_files} files, {moved.n_bytes / 1e6:.1f} MB"
            self._log.info(f"{coin or SHARED}: {done} generation {moved.generation}: {size}")


def stage_io_manager(settings: PipelineSettings, places: Places) -> dg.IOManagerDefinition:
    """The IO manager of the floor plan: on this machine alone, or sharing a depot where `storage` names one.

    A run has it when it is its turn, and has said by then by which process it is executed.
    """
    url = settings.storage

    def stages(context: dg.InitResourceContext) -> Iterator[StageIOManager]:
        tell_process(context)
        with turn(context, places):
            if url is None:
                yield StageIOManager(places)
            else:
                yield from _shared(Depot(url), settings, places, context)

    return dg.IOManagerDefinition(resource_fn=cast("Any", stages))


def _shared(
    depot: Depot, settings: PipelineSettings, places: Places, context: dg.InitResourceContext
) -> Iterator[SharedStageIOManager]:
    session = Session(depot, settings, places, context)
    session.pull()
    try:
        yield SharedStageIOManager(places, session)
    finally:
        session.push()
