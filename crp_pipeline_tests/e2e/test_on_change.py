"""Declarative automation: what is asked for when something changed, and that nothing is when nothing did."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from crp_pipeline.definitions import floor_plan
from crp_pipeline.defs.automation import CORRIDOR, NIGHT, PHASES
from crp_pipeline_tests.e2e.corridor import small_settings

COINS = ("EDGE-DEMO", "NOISE-DEMO")
SETTINGS = small_settings(Path("unused"))
NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
AFTER_MIDNIGHT = datetime(2026, 3, 4, 0, 15, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def plan():
    return floor_plan(SETTINGS)


@pytest.fixture(scope="module")
def corridor(plan):
    """Names of the assets that a run of one coin makes."""
    return {key.to_user_string() for key in plan.resolve_job_def(PHASES[3]).asset_layer.selected_asset_keys}


class Installation:
    """Stored values without computing: what is stored under which data version, and what the next look asks for."""

    def __init__(self, instance, plan):
        self.instance, self.plan, self.cursor = instance, plan, None

    def store(self, name, coin=None, version="1", *, night=False):
        event = dg.AssetMaterialization(dg.AssetKey(name.split("/")), partition=coin, tags={DATA_VERSION_TAG: version})
        if not night:
            self.instance.report_runless_asset_event(event)
            return
        run = dg.DagsterRun(job_name=PHASES[0], run_id=f"{name} {coin} {version}", tags={NIGHT: "2026-03-03"})
        self.instance.add_run(run)
        planned = dg.DagsterEvent(
            dg.DagsterEventType.ASSET_MATERIALIZATION.value,
            PHASES[0],
            event_specific_data=dg._core.events.StepMaterializationData(event),
        )
        self.instance.report_dagster_event(planned, run.run_id)

    def store_all(self, version="1"):
        graph = self.plan.resolve_asset_graph()
        for key in CORRIDOR.resolve(graph):
            for coin in COINS if graph.get(key).is_partitioned else (None,):
                self.store(key.to_user_string(), coin, version)

    def look(self, plan=None, at=NOON):
        """What is asked for, by name: the coins, or None for what spans all of them."""
        found = dg.evaluate_automation_conditions(
            plan or self.plan, self.instance, cursor=self.cursor, asset_selection=CORRIDOR, evaluation_time=at
        )
        self.cursor = found.cursor
        asked = {it.key.to_user_string(): it.true_subset for it in found.results if not it.true_subset.is_empty}
        return {
            name: tuple(sorted(subset.expensively_compute_partition_keys())) if subset.is_partitioned else None
            for name, subset in asked.items()
        }


@pytest.fixture
def settled(plan):
    """Everything is stored, and nothing is asked for."""
    with dg.DagsterInstance.ephemeral() as instance:
        there = Installation(instance, plan)
        there.store_all()
        assert there.look() == {}, "switching it on rebuilds nothing"
        yield there


def test_unchanged_candles_rebuild_nothing(settled):
    for coin in COINS:
        settled.store("candles", coin)
    assert settled.look() == {}


def test_changed_candles_of_a_coin_rebuild_that_coin_once_the_market_has_them(settled, corridor):
    settled.store("candles", "EDGE-DEMO", "2")
    assert settled.look() == {"market": None}
    assert settled.look() == {}, "the coin waits for the market"
    settled.store("market", version="2")
    assert settled.look() == dict.fromkeys(corridor, ("EDGE-DEMO",))
    assert settled.look() == {}, "what was asked for is not asked for twice"


@pytest.mark.slow
def test_a_market_that_stayed_as_it_was_still_lets_the_coin_go_on(settled, corridor):
    settled.store("candles", "NOISE-DEMO", "2")
    settled.look()
    settled.store("market")
    assert settled.look() == dict.fromkeys(corridor, ("NOISE-DEMO",)), "its volume may have changed"


@pytest.mark.slow
def test_the_market_alone_begins_nothing(settled):
    settled.store("market", version="2")
    assert settled.look() == {}


@pytest.mark.slow
def test_the_summary_follows_a_coin_whose_registry_changed_and_no_coin_that_stayed_as_it_was(settled):
    for coin in COINS:
        settled.store("registry", coin)
        settled.store("report", coin)
    assert settled.look() == {}
    settled.store("registry", "EDGE-DEMO", "2")
    assert settled.look() == {"summary": None}


def test_controls_that_came_out_otherwise_have_every_coin_judged_anew_and_none_trained(settled):
    settled.store("controls", version="2")
    assert settled.look() == dict.fromkeys(("gate", "registry", "drift", "report"), COINS)


@pytest.mark.parametrize(
    ("changes", "rebuilt"),
    [
        ({"gate": replace(SETTINGS.gate, min_trades=101)}, {"gate", "registry", "drift", "report"}),
        ({"threads": 2, "notify": replace(SETTINGS.notify, stale_hours=99.0)}, set()),
        pytest.param({"explanation": replace(SETTINGS.explanation, top=7)}, {"explanation", "report"}, marks=pytest.mark.slow),
    ],
    ids=["gate", "operation", "explanation"],
)
def test_a_changed_recipe_rebuilds_what_it_touches_and_what_follows(changes, rebuilt, settled):
    changed = floor_plan(SETTINGS.model_copy(update=changes))
    assert settled.look(changed) == dict.fromkeys(rebuilt, COINS)


@pytest.mark.slow
def test_a_changed_seed_rebuilds_every_coin_from_its_labels_on(settled, corridor):
    changed = floor_plan(SETTINGS.model_copy(update={"seed": 7}))
    assert settled.look(changed) == dict.fromkeys(corridor - {"feeds", "features"}, COINS)


def test_candles_and_controls_are_asked_for_every_night(settled):
    assert settled.look(at=AFTER_MIDNIGHT) == {"candles": COINS, "controls": None}


@pytest.mark.slow
def test_what_a_scheduled_night_makes_begins_nothing(settled):
    settled.store("candles", "EDGE-DEMO", "2", night=True)
    assert settled.look() == {}
    settled.store("candles", "EDGE-DEMO", "3")
    assert settled.look() == {"market": None}


def test_a_coin_that_is_retired_is_asked_for_no_more(settled, corridor):
    without = floor_plan(small_settings(Path("unused"), coins=COINS, retired=("NOISE-DEMO",)))
    settled.store("candles", "EDGE-DEMO", "2")
    settled.store("candles", "NOISE-DEMO", "2")
    assert settled.look(without) == {"market": None}
    settled.store("market", version="2")
    assert settled.look(without) == dict.fromkeys(corridor, ("EDGE-DEMO",))


def test_schedule_and_declarative_automation_are_alternatives():
    def statuses(begins):
        plan = floor_plan(small_settings(Path("unused"), automation={"begins": begins}))
        told = [*plan.schedules, *plan.sensors]
        return {it.name for it in told if it.default_status.value == "RUNNING"}

    watchers = {"dead_runs", "tell_failures", "tell_summaries", "tell_verdicts", "tell_stale_candles", "tell_drift"}
    assert statuses("nightly") == {"nightly", "signals", "weekly_controls", "night_watch", *watchers}
    assert statuses("on_change") == {"on_change", "signals", "weekly_controls", "night_watch", *watchers}
    assert statuses("by_hand") == watchers
