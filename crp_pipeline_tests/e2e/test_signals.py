"""Live decisions through Dagster: the job beside the night, its schedule, its checks and what it leaves."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from crp_pipeline.contracts import LiveOutcomeSchema, check_frame
from crp_pipeline.definitions import floor_plan
from crp_pipeline.defs.automation import CORRIDOR, PHASES
from crp_pipeline.defs.signals import JOB
from crp_pipeline.settings import ExchangeConfig
from crp_pipeline.signals import FileStore, SignalLog
from crp_pipeline.storage import read_parquet
from crp_pipeline_tests.e2e.corridor import small_settings
from crp_pipeline_tests.live import COIN, LEARNED, OTHER, LiveCoin
from crp_pipeline_tests.shadows import HORIZON

DRAWS_PICTURES = True
FIRST = LEARNED + 20
LAST = FIRST + HORIZON + 1
"""When the label of the first decision has ended."""


@pytest.fixture(scope="module")
def instance():
    with dg.DagsterInstance.ephemeral() as it:
        yield it


@pytest.fixture(scope="module")
def live(tmp_path_factory, live_parts):
    return LiveCoin(tmp_path_factory.mktemp("signals"), live_parts)


def run(live, instance, n_bars, *, coin=COIN, seconds=20.0):
    """The job as the schedule starts it, when so many bars have closed."""
    live.at(n_bars, seconds=seconds)
    plan = floor_plan(live.settings.model_copy(update={"clock": live.clock.now}))
    result = plan.resolve_job_def(JOB).execute_in_process(partition_key=coin, instance=instance)
    [event] = result.get_asset_materialization_events()
    checks = {it.check_name: it.passed for it in result.get_asset_check_evaluations()}
    return event.materialization.metadata, checks


def test_every_closed_bar_gets_its_decision_and_decisions_are_scored_when_their_label_has_ended(live, instance):
    for n_bars in range(FIRST, LAST):
        live.at(n_bars).decide()
    metadata, checks = run(live, instance, LAST)
    assert checks == {"fresh": True, "decided": True}
    lines = SignalLog(live.places.signals(COIN)).read()
    assert [it.closed_at for it in lines] == sorted({it.closed_at for it in lines})
    assert len(lines) == HORIZON + 2
    assert metadata["version"].value == live.version
    assert metadata["latency_ms"].value == 20_000.0
    assert metadata["picture"].value.startswith("![picture](data:image/png;base64,")
    outcomes = check_frame(read_parquet(live.places.outcomes(COIN)), LiveOutcomeSchema, what="outcomes")
    assert len(outcomes) == metadata["scored"].value == 1
    assert FileStore(live.places.online).get(COIN).signal == lines[-1]


def test_a_run_that_comes_again_finds_the_decision(live, instance):
    before = SignalLog(live.places.signals(COIN)).read()
    metadata, checks = run(live, instance, LAST, seconds=90)
    assert SignalLog(live.places.signals(COIN)).read() == before
    assert (checks["decided"], metadata["decided_at"].value) == (True, before[-1].to_dict()["decided_at"])


def test_a_decision_waits_for_no_night_of_its_coin(live):
    """A night holds its turn for as long as it lasts, and a bar is old by then."""
    assert SignalLog(live.places.signals(COIN)).latest()
    assert not live.places.turn(COIN).exists()


def test_no_decision_warns_and_says_why(live, instance):
    metadata, checks = run(live, instance, FIRST, coin=OTHER)
    assert (checks, metadata["reason"].value) == ({"fresh": True, "decided": False}, f"{OTHER} has no champion")


def test_the_nights_tables_stay_as_they_are(live):
    stages = {path.name for path in live.places.root.iterdir() if not path.name.startswith(".")}
    assert stages - {"gathered"} == {"registry", "market", "signals"}


def test_a_dead_online_store_delays_no_decision_and_is_told_without_its_password(tmp_path, live_parts, capfd):
    live = LiveCoin(tmp_path, live_parts, online_store="redis://:s3cret@127.0.0.1:1/0")
    with dg.DagsterInstance.ephemeral() as instance:
        _, checks = run(live, instance, FIRST)
    said = capfd.readouterr().err
    assert checks == {"fresh": True, "decided": True}
    assert f"the online store redis://127.0.0.1:1 did not take {COIN}: ConnectionError" in said
    assert "s3cret" not in said


def test_the_schedule_asks_for_every_coin_that_has_a_champion_once_per_bar(live):
    plan = floor_plan(live.settings)
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(2026, 3, 3, 5, 1, tzinfo=UTC), repository_def=plan.get_repository_def()
    )
    schedule = plan.resolve_schedule_def("signals")
    requests = list(schedule.evaluate_tick(context).run_requests)
    assert [(it.run_key, it.partition_key) for it in requests] == [(f"2026-03-03T05:01 signals {COIN}", COIN)]
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("1 */1 * * *", "UTC")


def test_a_bar_that_the_exchange_does_not_give_yet_is_waited_for(live, instance, monkeypatch):
    waited = []
    monkeypatch.setattr("crp_pipeline.defs.signals.unsettled_s", lambda *_: 7.5)
    monkeypatch.setattr("crp_pipeline.defs.signals.sleep", waited.append)
    run(live, instance, LAST, seconds=90)
    assert waited == [7.5]


def test_the_schedule_follows_the_exchange(live):
    plan = floor_plan(
        live.settings.model_copy(update={"source": "exchange", "exchange": ExchangeConfig(settle_s=200.0), "coins": (COIN,)})
    )
    assert plan.resolve_schedule_def("signals").cron_schedule == "4 */1 * * *"


def test_signals_are_no_part_of_a_night():
    plan = floor_plan(small_settings(Path("unused")))
    key = dg.AssetKey("signals")
    assert key not in CORRIDOR.resolve(plan.resolve_asset_graph())
    assert not any(key in plan.resolve_job_def(phase).asset_layer.selected_asset_keys for phase in PHASES)
    assert plan.resolve_job_def(JOB).asset_layer.selected_asset_keys == {key}
