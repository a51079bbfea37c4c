"""Nights of the small corridor in processes of their own, to be run side by side and to be killed.

`python -m crp_pipeline_tests.e2e.nights` imports everything once and forks a child for each night that it is asked for. In a
child every clock stands still, so that two nights of the same bars write the same bytes.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from crp_pipeline import rooms
from crp_pipeline.definitions import floor_plan
from crp_pipeline.defs import candles, controls, trials
from crp_pipeline.defs.turn import PARTITION
from crp_pipeline.errors import TrainingError
from crp_pipeline.explanation import explain_coin
from crp_pipeline.features import feed_proof, proof
from crp_pipeline.models.latency import measure_latency
from crp_pipeline.nightly import run_night
from crp_pipeline.reporting import figures
from crp_pipeline.settings import DemoConfig, GateConfig, SentinelConfig, WalkForwardConfig
from crp_pipeline_tests.e2e.corridor import green_report, small_settings
from crp_pipeline_tests.e2e.kill_points import Point, exit_code, watched
from crp_pipeline_tests.e2e.web_server import PROJECT

EDGE, NOISE = "EDGE-DEMO", "NOISE-DEMO"
FIRST, SECOND = "2022-04-02T16:15:00Z", "2022-04-03T16:15:00Z"
"""A quarter of an hour after bar 2,200 of the demo market has closed, and a day later."""
CONFIG: dict[str, Any] = {
    "demo": DemoConfig(n_bars=2_224),
    "walk_forward": WalkForwardConfig(train_size=700, test_size=400, embargo=6),
    "sentinels": SentinelConfig(leak_rows=500, leak_rounds=3, leak_folds=2),
    "gate": GateConfig(
        min_trades=50,
        min_effective_n=50,
        min_test_days=10,
        max_calibration_error=0.5,
        max_tier_calibration_error=0.5,
        min_deflated_sharpe=0.5,
        refresh_margins=50.0,
        n_resamples=100,
    ),
}
HISTORY = ".dagster"


@dataclass(frozen=True)
class Night:
    """What is asked of a child."""

    data_dir: str
    clock: str = SECOND
    coins: Sequence[str] = (EDGE,)
    """All that are configured."""
    asked: Sequence[str] = ()
    """Those that the night is about; all where none is named."""
    fatal: Point | None = None
    """Where it ends itself by SIGKILL."""
    spoilt: str = ""
    """Coin of which the source has bars that cannot be."""
    fails_once: bool = False
    """True: the ensemble fails, and the coin's run is re-executed from there."""

    def run(self) -> list[str]:
        """What failed."""
        _stand_still(self.clock)
        if self.spoilt:
            _spoil(self.spoilt)
        home = Path(self.data_dir).parent
        os.chdir(home)  # the history that it names lies relative to it
        with dg.DagsterInstance.from_config(str(home)) as instance:
            if self.fatal is not None:
                watched(Path(self.data_dir), self.fatal)
            return self._run_and_fail(instance) if self.fails_once else self._run(instance)

    def _run(self, instance: dg.DagsterInstance) -> list[str]:
        plan = plan_of(self.data_dir, self.clock, self.coins)
        return run_night(plan, self.asked or self.coins, instance)

    def _run_and_fail(self, instance: dg.DagsterInstance) -> list[str]:
        """The night, whose one coin fails; then its run again from where it failed, and the summary."""
        fit, rooms.fit_stack = rooms.fit_stack, _out_of_memory
        assert self._run(instance) == list(self.coins)
        rooms.fit_stack = fit
        [failed] = instance.get_runs(dg.RunsFilter(job_name="nightly", statuses=[dg.DagsterRunStatus.FAILURE]))
        job = dg.build_reconstructable_job(
            "crp_pipeline_tests.e2e.nights", "corridor_of", (self.data_dir, self.clock, list(self.coins))
        )
        anew = dg.execute_job(
            job,
            instance,
            # as the web UI hands them on
            tags={PARTITION: failed.tags[PARTITION]},
            reexecution_options=dg.ReexecutionOptions.from_failure(failed.run_id, instance),
        )
        steps = {event.step_key for event in anew.all_events if event.is_step_start}
        assert "ensemble" in steps
        assert not any(step.startswith("models__") for step in steps), "what was done is done once"
        plan = plan_of(self.data_dir, self.clock, self.coins)
        last = plan.resolve_job_def("nightly_summary").execute_in_process(instance=instance)
        return [] if anew.success and last.success else ["re-execution"]


def plan_of(data_dir: str, clock: str, coins: Sequence[str]) -> dg.Definitions:
    """The floor plan of the small corridor."""
    return floor_plan(small_settings(Path(data_dir), coins=tuple(coins), clock=clock, **CONFIG))


def corridor_of(data_dir: str, clock: str, coins: Sequence[str]) -> dg.JobDefinition:
    """A coin's job, made anew for a run that is re-executed."""
    return plan_of(data_dir, clock, coins).resolve_job_def("nightly")


def _out_of_memory(*_: object, **__: object) -> None:
    raise TrainingError("no memory is left")


def _spoil(coin: str) -> None:
    """More bars than a repair may drop have a high below their low."""
    read = candles.read_source

    def spoilt(settings: Any, name: str, **how: Any) -> pd.DataFrame:
        bars = read(settings, name, **how)
        if name == coin:
            bars = bars.copy()
            bars.iloc[100:300, bars.columns.get_loc("high")] = 0.01
        return bars

    candles.read_source = spoilt


def _stand_still(clock: str) -> None:
    """No clock moves, no proof is long, no picture is drawn, and the controls came out as they must."""
    for name, module in list(sys.modules.items()):
        if name.startswith("crp_pipeline.") and hasattr(module, "perf_counter"):
            module.perf_counter = lambda: 0.0
    time.perf_counter = lambda: 0.0  # for what is imported later
    for timed in (explain_coin, measure_latency):
        timed.__kwdefaults__["clock"] = lambda: 0.0
    for name in ("RANDOM_CUTS", "HOLE_CUTS", "LATEST_CUTS"):
        setattr(proof, name, 1)
    feed_proof.HOLE_CUTS = 1
    figures.png = lambda _: b""
    green = green_report()
    controls.run_suite = lambda **_: type(green)(green.source, clock.replace("Z", "+00:00"), 0.0, green.outcomes)
    trials.occasion_of = lambda _: "night"


class Nights:
    """The server of nights."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "crp_pipeline_tests.e2e.nights"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def run(self, *nights: Night) -> list[int]:
        """Run them at once and return how they ended: 0 where nothing failed, 1 where something did, -9 where it was killed."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        for night in nights:
            shutil.copy(PROJECT / "dagster.yaml", Path(night.data_dir).parent)
        print(json.dumps([asdict(night) for night in nights]), file=self._server.stdin, flush=True)
        return list(json.loads(self._server.stdout.readline()))

    def close(self) -> None:
        """Let it go."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


def _night(told: dict[str, Any]) -> Night:
    return Night(**{**told, "fatal": None if told["fatal"] is None else Point(**told["fatal"])})


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        children = [_child(_night(told)) for told in json.loads(line)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), file=answers, flush=True)


def _child(night: Night) -> int:
    log = Path(f"{night.data_dir}.log")
    if (child := os.fork()) == 0:
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        exit_code(lambda: sys.exit(bool(night.run())))
    return child


if __name__ == "__main__":
    _serve()
