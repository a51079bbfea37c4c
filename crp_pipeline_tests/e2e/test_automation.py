"""The unattended night: who starts what, and what one coin's trouble costs the others."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from crp_pipeline.candles.source import available_coins
from crp_pipeline.definitions import floor_plan
from crp_pipeline.defs.automation import NIGHT, PHASE, PHASES, next_requests
from crp_pipeline.defs.automation.night import first_requests
from crp_pipeline.defs.automation.schedules import begin_night
from crp_pipeline.nightly import run_night
from crp_pipeline_tests.e2e.corridor import small_settings

CANDLES, MARKET, CONTROLS, CORRIDOR, SUMMARY = PHASES
MIDNIGHT = datetime(2026, 3, 3, 0, 15, tzinfo=UTC)
CANCELED = dg.DagsterRunStatus.CANCELED
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


def began(instance, *, clock=MIDNIGHT, **changes):
    """The coins of the night of 3 March 2026, or why there is none, when it is asked for at another time."""
    settings = small_settings(Path("unused"), clock=clock, **changes)
    found = begin_night(instance, settings, available_coins(settings), MIDNIGHT)
    return found.skip_message if isinstance(found, dg.SkipReason) else [request.partition_key for request in found]


def test_the_schedule_starts_one_candle_run_per_coin(tmp_path):
    defs = floor_plan(small_settings(tmp_path, clock=MIDNIGHT))
    with dg.DagsterInstance.local_temp(str(tmp_path)) as stored:
        context = dg.build_schedule_context(stored, scheduled_execution_time=MIDNIGHT, repository_def=defs.get_repository_def())
        requests = defs.resolve_schedule_def("nightly").evaluate_tick(context).run_requests
    assert [(request.job_name, request.partition_key) for request in requests] == [
        (CANDLES, "EDGE-DEMO"),
        (CANDLES, "NOISE-DEMO"),
    ]
    assert {request.tags[NIGHT] for request in requests} == {"2026-03-03"}


def test_a_coin_that_is_added_to_the_settings_has_its_night_and_one_that_is_retired_has_none(instance):
    coins = ("EDGE-DEMO", "NOISE-DEMO", "NOISE-DEMO-3")
    assert began(instance, coins=coins) == list(coins)
    assert began(instance, coins=coins, retired=("NOISE-DEMO",)) == ["EDGE-DEMO", "NOISE-DEMO-3"]


def test_a_night_that_was_missed_is_left_to_the_later_one(instance):
    in_the_evening = MIDNIGHT + timedelta(hours=23)
    assert began(instance, clock=in_the_evening) == ["EDGE-DEMO", "NOISE-DEMO"], "a machine that was off has its night late"
    missed = "the night of 2026-03-03 was missed, and a later one downloads its bars as well"
    assert began(instance, clock=MIDNIGHT + timedelta(days=1)) == missed


@pytest.mark.parametrize("status", [RUNNING, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING])
def test_a_night_waits_for_the_one_before_and_says_so(status, instance):
    with_runs(instance, (CANDLES, "A", OK), (CORRIDOR, "A", status), night="2026-03-02")
    assert began(instance) == (
        "the night of 2026-03-02 still has 1 to run, nightly A among them: "
        "a night begins when the one before has ended, and downloads the bars of both"
    )


@pytest.mark.parametrize("status", [OK, BAD, CANCELED])
def test_a_night_does_not_wait_for_one_that_has_ended_however_it_did(status, instance):
    with_runs(instance, (CANDLES, "A", status), night="2026-03-02")
    assert len(began(instance)) == 2


def test_a_run_by_hand_is_none_of_the_nights_business(instance):
    instance.add_run(
        dg.DagsterRun(job_name=CORRIDOR, run_id="by hand", status=RUNNING, tags={"dagster/partition": "EDGE-DEMO"})
    )
    assert len(began(instance)) == 2
    assert next_requests(instance, ["EDGE-DEMO"]) == []


@pytest.mark.parametrize(("minutes", "begins"), [(361, True), (359, False)])
def test_a_run_that_outlived_its_time_stops_no_night(minutes, begins, instance):
    with_runs(instance, (CANDLES, "A", dg.DagsterRunStatus.NOT_STARTED), night="2026-03-02")
    [run] = instance.get_runs()
    start = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, CANDLES)
    instance.run_storage.handle_run_event(run.run_id, start, MIDNIGHT - timedelta(minutes=minutes))
    assert isinstance(began(instance), list) == begins


def test_the_schedule_is_at_a_quarter_past_midnight_utc():
    schedule = floor_plan(small_settings(Path("unused"))).resolve_schedule_def("nightly")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("15 0 * * *", "UTC")


def test_a_code_server_can_load_the_definitions():
    dg.Definitions.validate_loadable(floor_plan(small_settings(Path("unused"))))  # importing them does not look at all of it


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


def test_a_coin_that_was_repeated_after_the_summary_is_summed_up_once_more(instance):
    runs = [(CANDLES, "A", OK), (MARKET, None, OK), (CONTROLS, None, OK), (CORRIDOR, "A", BAD), (SUMMARY, None, OK)]
    assert with_runs(instance, *runs) == []
    assert with_runs(instance, (CORRIDOR, "A", RUNNING), coins=["A"]) == []
    instance.report_run_failed(instance.get_runs(limit=1)[0])
    [again] = next_requests(instance, ["A"])
    assert (again.job_name, again.run_key) == (SUMMARY, "2026-03-03 nightly_summary all after 2026-03-03-5")
    assert with_runs(instance, (SUMMARY, None, OK), coins=["A"]) == []


def test_a_coin_that_was_canceled_holds_up_nobody(instance):
    runs = [(CANDLES, "A", OK), (CANDLES, "B", CANCELED), (MARKET, None, OK), (CONTROLS, None, OK)]
    assert with_runs(instance, *runs) == [(CORRIDOR, "A")]
    assert with_runs(instance, (CORRIDOR, "A", CANCELED), coins=["A", "B"]) == [(SUMMARY, None)]


def test_a_coin_that_is_retired_during_its_night_is_left_out_of_the_rest(instance):
    runs = [(CANDLES, "A", OK), (CANDLES, "B", OK), (MARKET, None, OK), (CONTROLS, None, OK)]
    assert with_runs(instance, *runs, coins=["A"]) == [(CORRIDOR, "A")]


def test_a_run_that_crashed_and_will_be_repeated_is_waited_for(instance):
    with_runs(instance, (CANDLES, "A", OK), (MARKET, None, OK), (CONTROLS, None, OK), (CORRIDOR, "A", BAD))
    [crashed] = instance.get_runs(limit=1)
    instance.add_run_tags(crashed.run_id, {"dagster/will_retry": "true"})
    assert next_requests(instance, ["A"]) == []
    instance.add_run_tags(crashed.run_id, {"dagster/auto_retry_run_id": "2026-03-03-4"})
    assert with_runs(instance, (CORRIDOR, "A", RUNNING), coins=["A"]) == []
    instance.report_run_failed(instance.get_runs(limit=1)[0])
    assert [it.job_name for it in next_requests(instance, ["A"])] == [SUMMARY]


def test_last_night_is_none_of_tonights_business(instance):
    with_runs(
        instance, (CANDLES, "A", OK), (MARKET, None, OK), (CONTROLS, None, OK), (CORRIDOR, "A", RUNNING), night="2026-03-02"
    )
    assert with_runs(instance, (CANDLES, "A", OK), night="2026-03-03") == [(MARKET, None), (CONTROLS, None)]


def test_a_coin_that_is_added_during_the_night_waits_for_the_next_one(instance):
    coins, with_another = ["A", "B"], ["A", "B", "NEW"]
    [first, *others] = first_requests("2026-03-03", coins)
    assert "crp/coins" not in {name for it in others for name in it.tags}, "a thousand coins name a thousand coins once"
    for request in (first, *others):
        run = dg.DagsterRun(job_name=CANDLES, run_id=request.partition_key, status=RUNNING)
        instance.add_run(run.with_tags({**request.tags, "dagster/partition": request.partition_key}))
        assert next_requests(instance, with_another) == []
        instance.report_run_failed(instance.get_run_by_id(request.partition_key))
    assert [it.job_name for it in next_requests(instance, with_another)] == [SUMMARY]


def test_a_night_waits_for_every_coin_that_it_asked_for_and_that_is_still_configured(instance):
    tags = {NIGHT: "2026-03-03", PHASE: CANDLES, "crp/coins": json.dumps(["A", "B"]), "dagster/partition": "A"}
    instance.add_run(dg.DagsterRun(job_name=CANDLES, run_id="A", tags=tags, status=OK))
    assert next_requests(instance, ["A", "B", "C"]) == []
    assert [it.job_name for it in next_requests(instance, ["A", "C"])] == [MARKET, CONTROLS]


def test_a_run_of_last_night_that_is_executed_again_does_not_stop_tonight(instance):
    with_runs(instance, (CANDLES, "A", BAD), (SUMMARY, None, OK), night="2026-03-02")
    with_runs(instance, (CANDLES, "A", OK), night="2026-03-03")
    again = with_runs(instance, (CANDLES, "A", OK), night="2026-03-02")
    assert again == [(MARKET, None), (CONTROLS, None)]
    assert {it.tags[NIGHT] for it in next_requests(instance, ["A"])} == {"2026-03-03"}


def test_a_phase_is_asked_for_under_one_key(instance):
    with_runs(instance, (CANDLES, "A", OK))
    assert [request.run_key for request in next_requests(instance, ["A"])] == [
        "2026-03-03 nightly_market all",
        "2026-03-03 nightly_controls all",
    ]
