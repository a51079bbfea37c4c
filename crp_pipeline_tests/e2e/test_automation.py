"""The unattended night: who starts what, and what one coin's trouble costs the others."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from crp_pipeline.definitions import floor_plan
from crp_pipeline.defs.automation import NIGHT, PHASE, PHASES, next_requests
from crp_pipeline.nightly import run_night
from crp_pipeline_tests.e2e.corridor import small_settings

CANDLES, MARKET, CONTROLS, CORRIDOR, SUMMARY = PHASES
OK, BAD, RUNNING = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED


def with_runs(instance, *runs, night="2026-03-03", coins=None):
    """What is asked for next when these runs, oldest first, are all there is; the coins are those with candle runs."""
    before = instance.get_runs_count()
    for number, (phase, coin, status) in enumerate(runs, start=before):
        tags = {NIGHT: night, PHASE: phase} | ({"dagster/partition": coin} if coin else {})
        run = dg.DagsterRun(job_name=phase, run_id=f"{night}-{number}", tags=tags, status=status)
        instance.add_run(run)
    coins = coins or sorted({coin for phase, coin, _ in runs if phase == CANDLES})
    return [(request.job_name, request.partition_key) for request in next_requests(instance, coins)]


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as it:
        yield it


class PlanOnPaper:
    """A floor plan whose jobs only say that they ran; those that are named fail."""

    def __init__(self, *failing):
        self.failing, self.ran = failing, []

    def resolve_job_def(self, name):
        def execute(**how):
            self.ran.append((name, how["partition_key"]))
            return SimpleNamespace(success=name not in self.failing, all_events=[])

        return SimpleNamespace(name=name, execute_in_process=execute)


@pytest.mark.parametrize(
    ("failing", "failed", "trained"),
    [
        ((), [], ["A", "B"]),
        ((CONTROLS,), ["controls"], ["A", "B"]),
        ((MARKET,), ["A", "B", "market"], []),
        ((CANDLES,), ["A", "B"], []),
        ((SUMMARY, CONTROLS), ["controls", "summary"], ["A", "B"]),
    ],
    ids=["nothing", "controls", "market", "candles", "controls and summary"],
)
def test_a_night_from_the_shell_goes_on_without_its_controls_and_not_without_its_market(failing, failed, trained, instance):
    plan = PlanOnPaper(*failing)
    assert run_night(plan, ["A", "B"], instance) == failed
    assert [coin for job, coin in plan.ran if job == CORRIDOR] == trained
    jobs = [job for job, _ in plan.ran]
    assert CONTROLS not in jobs or CORRIDOR not in jobs or jobs.index(CONTROLS) < jobs.index(CORRIDOR)


def test_the_schedule_starts_one_candle_run_per_coin():
    defs = floor_plan(small_settings(Path("unused")))
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(2026, 3, 3, 0, 15, tzinfo=UTC), repository_def=defs.get_repository_def()
    )
    requests = list(defs.resolve_schedule_def("nightly").evaluate_tick(context).run_requests)
    assert [(request.job_name, request.partition_key) for request in requests] == [
        (CANDLES, "EDGE-DEMO"),
        (CANDLES, "NOISE-DEMO"),
    ]
    assert {request.tags[NIGHT] for request in requests} == {"2026-03-03"}


def test_the_schedule_is_at_a_quarter_past_midnight_utc():
    schedule = floor_plan(small_settings(Path("unused"))).resolve_schedule_def("nightly")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("15 0 * * *", "UTC")


def test_the_feeds_of_a_coin_belong_to_the_phase_of_its_corridor():
    defs = floor_plan(small_settings(Path("unused")))
    phases = {
        phase: {key.to_user_string() for key in defs.resolve_job_def(phase).asset_layer.selected_asset_keys} for phase in PHASES
    }
    assert [phase for phase, keys in phases.items() if "feeds" in keys] == [CORRIDOR]
    assert phases[CANDLES] == {"candles"}


def test_nothing_follows_before_a_night_has_begun(instance):
    assert with_runs(instance, coins=["A"]) == []


def test_the_market_waits_for_every_coin(instance):
    assert with_runs(instance, (CANDLES, "A", OK), (CANDLES, "B", RUNNING)) == []


def test_market_and_controls_follow_the_candles(instance):
    assert with_runs(instance, (CANDLES, "A", OK), (CANDLES, "B", OK)) == [(MARKET, None), (CONTROLS, None)]


def test_controls_that_were_never_launched_are_launched_before_the_coins(instance):
    assert with_runs(instance, (CANDLES, "A", OK), (MARKET, None, OK)) == [(CONTROLS, None)]


def test_the_coins_wait_for_the_controls(instance):
    assert with_runs(instance, (CANDLES, "A", OK), (CONTROLS, None, RUNNING), (MARKET, None, OK)) == []


def test_controls_that_failed_stop_no_coin(instance):
    assert with_runs(instance, (CANDLES, "A", OK), (CONTROLS, None, BAD), (MARKET, None, OK)) == [(CORRIDOR, "A")]


def test_a_coin_without_candles_holds_up_nobody(instance):
    runs = [(CANDLES, "A", OK), (CANDLES, "B", BAD), (CANDLES, "C", OK), (MARKET, None, OK), (CONTROLS, None, OK)]
    assert with_runs(instance, *runs) == [(CORRIDOR, "A"), (CORRIDOR, "C")]


def test_a_night_without_any_candles_goes_straight_to_its_summary(instance):
    assert with_runs(instance, (CANDLES, "A", BAD)) == [(SUMMARY, None)]


def test_nobody_trains_on_the_market_of_an_earlier_night(instance):
    assert with_runs(instance, (CANDLES, "A", OK), (MARKET, None, BAD), (CONTROLS, None, OK)) == [(SUMMARY, None)]


def test_the_market_waits_for_a_coin_that_the_schedule_has_not_launched_yet(instance):
    assert with_runs(instance, (CANDLES, "A", OK), coins=["A", "B"]) == []


def test_a_coin_whose_run_was_never_launched_is_launched_before_the_summary(instance):
    runs = [(CANDLES, "A", OK), (CANDLES, "B", OK), (MARKET, None, OK), (CONTROLS, None, OK), (CORRIDOR, "A", OK)]
    assert with_runs(instance, *runs) == [(CORRIDOR, "B")]


def test_a_coin_whose_candles_came_at_the_second_try_is_not_left_out(instance):
    runs = [
        (CANDLES, "A", OK),
        (CANDLES, "B", BAD),
        (MARKET, None, OK),
        (CONTROLS, None, OK),
        (CORRIDOR, "A", OK),
        (CANDLES, "B", OK),
    ]
    assert with_runs(instance, *runs) == [(CORRIDOR, "B")]


def test_the_summary_comes_even_after_a_failed_corridor(instance):
    runs = [(CANDLES, "A", OK), (MARKET, None, OK), (CONTROLS, None, OK), (CORRIDOR, "A", BAD)]
    assert with_runs(instance, *runs) == [(SUMMARY, None)]


def test_nothing_follows_the_summary(instance):
    runs = [(CANDLES, "A", OK), (MARKET, None, OK), (CONTROLS, None, OK), (CORRIDOR, "A", OK), (SUMMARY, None, OK)]
    assert with_runs(instance, *runs) == []


def test_last_night_is_none_of_tonights_business(instance):
    with_runs(
        instance, (CANDLES, "A", OK), (MARKET, None, OK), (CONTROLS, None, OK), (CORRIDOR, "A", RUNNING), night="2026-03-02"
    )
    assert with_runs(instance, (CANDLES, "A", OK), night="2026-03-03") == [(MARKET, None), (CONTROLS, None)]


def test_a_phase_is_asked_for_under_one_key(instance):
    with_runs(instance, (CANDLES, "A", OK))
    assert [request.run_key for request in next_requests(instance, ["A"])] == [
        "2026-03-03 nightly_market all",
        "2026-03-03 nightly_controls all",
    ]
