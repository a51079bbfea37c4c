"""What a run pulls and pushes by itself, and the weekly run that forgets what is old."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest

from crp_pipeline.definitions import floor_plan
from crp_pipeline.defs.pruning import PRUNE
from crp_pipeline.defs.sharing import NEEDED
from crp_pipeline.depot import SHARED, Depot
from crp_pipeline.errors import StorageError
from crp_pipeline.places import Places
from crp_pipeline_tests.depots import A_NIGHT, COIN, held, session_of, write
from crp_pipeline_tests.e2e.corridor import small_settings

STAGES = ("candles", "features", "feasibility", "backtest", "gate", "registry", "drift", "signals", "reports", "shadow")


@pytest.mark.parametrize(
    ("job", "coin", "stages"),
    [
        ("weekly_controls", None, set()),
        ("nightly_controls", None, set()),
        ("nightly_market", None, {"candles"}),
        ("nightly_summary", None, {"feasibility", "backtest", "gate", "registry", "drift", "reports"}),
        ("after_each_bar", COIN, {"candles", "registry", "signals"}),
        ("nightly", COIN, set(STAGES)),
    ],
)
def test_a_machine_that_has_nothing_fetches_what_its_run_reads(machines, job, coin, stages):
    (here, mine), (there, theirs) = machines
    write(mine, {f"{stage}/{COIN}.parquet": stage for stage in STAGES})
    here.push(mine, COIN)
    session_of(there, theirs, job=job, coin=coin).pull()
    assert {path.partition("/")[0] for path in held(theirs)} == stages


def test_what_a_run_needs_is_told_of_jobs_that_exist():
    plan = floor_plan(small_settings(Path("unused"), storage="memory://unused"))
    assert set(NEEDED) <= {job.name for job in plan.resolve_all_job_defs()}


def test_what_belongs_to_no_coin_and_cannot_be_pushed_keeps_no_coin_back(both, monkeypatch):
    (here, mine), (there, theirs) = both
    push = Depot.push

    def refuse_shared(self, places, coin, **options):
        if coin is None:
            raise StorageError(f"{SHARED}: refused")
        return push(self, places, coin, **options)

    monkeypatch.setattr(Depot, "push", refuse_shared)
    write(mine, {f"labels/{COIN}.parquet": "labels"})
    with pytest.raises(StorageError, match="refused"):
        session_of(here, mine, job="nightly", coin=COIN).push()
    there.pull(theirs, COIN)
    assert held(theirs) == held(mine)


class TestPruning:
    def test_a_week_without_a_depot_has_nothing_to_forget(self):
        plan = floor_plan(small_settings(Path("unused")))
        assert PRUNE not in {schedule.name for schedule in plan.schedules}

    @pytest.mark.parametrize("begins", ["nightly", "on_change", "by_hand"])
    def test_the_schedule_is_on_unless_everything_is_done_by_hand(self, begins):
        plan = floor_plan(small_settings(Path("unused"), storage="memory://unused", automation={"begins": begins}))
        [schedule] = [it for it in plan.schedules if it.name == PRUNE]
        assert (schedule.default_status is dg.DefaultScheduleStatus.RUNNING) == (begins != "by_hand")

    def test_old_generations_are_forgotten(self, tmp_path):
        url, mine = f"memory://{uuid4().hex}", Places(tmp_path)
        depot, long_ago = Depot(url), datetime.now(UTC) - timedelta(days=90)
        for night in range(32):
            write(mine, {**A_NIGHT, f"candles/{COIN}.parquet": f"night {night}"})
            depot.push(mine, COIN, now=long_ago)
        job = floor_plan(small_settings(tmp_path, storage=url)).resolve_job_def(PRUNE)
        with dg.DagsterInstance.ephemeral() as instance:
            assert job.execute_in_process(instance=instance).success
        assert len(depot.store.numbers(COIN)) == 30
