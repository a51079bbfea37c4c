"""Who is told of failed runs, verdicts, stale candles, drift and summaries, and that each is told once."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pandas as pd
import pytest
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.definitions.freshness_evaluator import TimeWindowFreshnessPolicyEvaluator
from dagster._core.workspace.context import LoadingContext

from crp_pipeline.definitions import floor_plan
from crp_pipeline.gate import Criterion, Outcome, Stage, judge
from crp_pipeline.places import Places
from crp_pipeline.reporting import news
from crp_pipeline.reporting.news import drift_news, newest_close, stale_news, verdict_news
from crp_pipeline.storage import write_json, write_parquet
from crp_pipeline_tests.e2e.corridor import small_settings
from crp_pipeline_tests.unit.test_notices import Webhook, serving

COINS = ("EDGE-DEMO", "NOISE-DEMO")
NOW = datetime(2026, 3, 3, 0, 15, tzinfo=UTC)
ASKED = (Criterion("trades", ">=", 200, Stage.SKILL), Criterion("champion_margin", ">=", 0, Stage.CHAMPION))


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path)


def judged(places, coin, outcome):
    evidence = {"trades": 10.0 if outcome is Outcome.REJECT else 300.0, "champion_margin": 1.0}
    verdict = judge(evidence, ASKED, subject={"coin": coin})
    assert verdict.outcome is outcome
    write_json(places.verdict(coin), verdict.to_dict())


def candles_until(places, coin, last_bar):
    opened = pd.date_range(end=last_bar, periods=10, freq="1h", tz="UTC", name="open_time").as_unit("ns")
    write_parquet(places.candles(coin), pd.DataFrame({"close": 1.0}, index=opened))


def titles(found):
    return [notice.title for notice in found[1]]


def test_a_verdict_that_is_another_than_before_is_told_once(places):
    told, first = verdict_news({}, places, COINS)
    assert (told, first) == (dict.fromkeys(COINS, "none, champion none"), []), "there is no yesterday to differ from"
    judged(places, "EDGE-DEMO", Outcome.PROMOTE)
    told, [notice] = verdict_news(told, places, COINS)
    assert (notice.coin, notice.title) == ("EDGE-DEMO", "EDGE-DEMO: PROMOTE, champion none")
    assert notice.text == "before: none, champion none"
    assert verdict_news(told, places, COINS) == (told, [])
    judged(places, "EDGE-DEMO", Outcome.REJECT)
    assert titles(verdict_news(told, places, COINS)) == ["EDGE-DEMO: REJECT, champion none"]


def test_a_champion_that_changed_without_a_night_is_told(places, monkeypatch):
    judged(places, "EDGE-DEMO", Outcome.PROMOTE)
    told, _ = verdict_news({}, places, ["EDGE-DEMO"])
    monkeypatch.setattr(news, "Registry", lambda _: SimpleNamespace(champion=lambda _: "0007"))
    assert titles(verdict_news(told, places, ["EDGE-DEMO"])) == ["EDGE-DEMO: PROMOTE, champion 0007"]


def test_a_retired_coin_is_forgotten_and_a_coin_that_is_added_has_no_yesterday(places):
    told, _ = verdict_news({}, places, COINS)
    assert verdict_news(told, places, ["EDGE-DEMO", "NOISE-DEMO-3"]) == (
        dict.fromkeys(["EDGE-DEMO", "NOISE-DEMO-3"], "none, champion none"),
        [],
    )


@pytest.mark.parametrize(("hours", "is_stale"), [(29, False), (30, False), (31, True)])
def test_candles_are_stale_when_their_newest_bar_closed_too_long_ago(hours, is_stale, places):
    candles_until(places, "EDGE-DEMO", pd.Timestamp(NOW).tz_localize(None).floor("h") - pd.Timedelta(hours=hours))
    now = datetime(2026, 3, 3, 1, tzinfo=UTC)  # a bar that opened at 00:00 has just closed
    assert newest_close(places, "EDGE-DEMO", "1h") == pd.Timestamp(now) - pd.Timedelta(hours=hours)
    settings = small_settings(places.root)
    told, notices = stale_news({}, places, COINS, settings=settings, now=now)
    assert [it.coin for it in notices] == ["EDGE-DEMO"] * is_stale
    assert stale_news(told, places, COINS, settings=settings, now=now + timedelta(minutes=0.1 * is_stale))[1] == []


def test_stale_candles_that_grow_staler_are_told_once_and_again_after_a_recovery(places):
    settings, coin = small_settings(places.root), "EDGE-DEMO"
    candles_until(places, coin, "2026-03-01 00:00")
    told, first = stale_news({}, places, [coin], settings=settings, now=NOW)
    closed = "the newest bar closed at 2026-03-01 01:00:00+00:00"
    assert [it.title for it in first] == [f"{coin}: {closed}, which is more than notify.stale_hours = 30 ago"]
    assert stale_news(told, places, [coin], settings=settings, now=NOW + timedelta(hours=9)) == (told, [])
    candles_until(places, coin, "2026-03-03 00:00")
    told, none = stale_news(told, places, [coin], settings=settings, now=NOW + timedelta(hours=9))
    assert (told, none) == ({}, [])
    assert len(titles(stale_news(told, places, [coin], settings=settings, now=NOW + timedelta(hours=40)))) == 1


def test_drift_is_told_when_it_asks_for_something_else_than_before(places, monkeypatch):
    actions = {"EDGE-DEMO": "ok", "NOISE-DEMO": None}
    monkeypatch.setattr(
        news,
        "read_report",
        lambda _, coin: SimpleNamespace(action=actions[coin], sentence="hits are rare") if actions[coin] else None,
    )
    told, none = drift_news({}, places, COINS)
    assert (told, none) == ({"EDGE-DEMO": "ok"}, [])
    actions["EDGE-DEMO"] = "retrain"
    told, [notice] = drift_news(told, places, COINS)
    assert (notice.title, notice.text) == ("EDGE-DEMO: drift says retrain", "before: ok\nhits are rare")
    assert drift_news(told, places, COINS) == (told, [])
    actions["EDGE-DEMO"], actions["NOISE-DEMO"] = "ok", "warn"
    assert titles(drift_news(told, places, COINS)) == ["EDGE-DEMO: drift says ok", "NOISE-DEMO: drift says warn"]


def test_a_coin_whose_files_are_damaged_is_told_and_silences_no_other(places):
    judged(places, "NOISE-DEMO", Outcome.REJECT)
    candles_until(places, "NOISE-DEMO", "2026-03-01 00:00")
    told, _ = verdict_news({}, places, COINS)
    for path in (places.candles("EDGE-DEMO"), places.verdict("EDGE-DEMO")):
        path.write_bytes(b"PAR1 is no more")
    judged(places, "NOISE-DEMO", Outcome.PROMOTE)
    found = titles(verdict_news(told, places, COINS))
    assert [title.partition(",")[0][:28] for title in found] == [
        "EDGE-DEMO: damaged: " + str(places.root)[:8],
        "NOISE-DEMO: PROMOTE",
    ]
    stale = titles(stale_news({}, places, COINS, settings=small_settings(places.root), now=NOW))
    assert [title.partition(":")[0] for title in stale] == list(COINS)


def watched(plan, name, instance, cursor=None):
    context = dg.build_sensor_context(instance, cursor=cursor, repository_def=plan.get_repository_def())
    return next(it for it in plan.sensors if it.name == name).evaluate_tick(context)


def test_a_sensor_posts_what_it_found_and_remembers_it(tmp_path):
    places = Places(tmp_path)
    with serving(Webhook()) as server, dg.DagsterInstance.ephemeral() as instance:
        plan = floor_plan(small_settings(tmp_path, notify={"webhook": server.url}))
        first = watched(plan, "tell_verdicts", instance)
        judged(places, "EDGE-DEMO", Outcome.PROMOTE)
        second = watched(plan, "tell_verdicts", instance, first.cursor)
        third = watched(plan, "tell_verdicts", instance, second.cursor)
    assert [it.skip_message for it in (first, second, third)] == [
        "nothing that was not told",
        "told: EDGE-DEMO: PROMOTE, champion none",
        "nothing that was not told",
    ]
    [(_, _, body)] = server.got
    assert json.loads(body)["title"] == "EDGE-DEMO: PROMOTE, champion none"


def test_a_sensor_tells_all_that_it_found_in_one_post_and_ends_in_time_where_nobody_answers(tmp_path):
    for coin in COINS:
        candles_until(Places(tmp_path), coin, "2026-03-01 00:00")

    with serving(Webhook(pause_s=30.0)) as server, dg.DagsterInstance.ephemeral() as instance:
        notify = {"webhook": server.url, "email_to": ("a@b.org",), "smtp_port": server.server_port, "timeout_s": 0.5}
        plan, began = floor_plan(small_settings(tmp_path, clock=NOW, notify=notify)), time.monotonic()
        tick = watched(plan, "tell_stale_candles", instance)
        assert time.monotonic() - began < 5
        server.pause.set()
    assert set(json.loads(tick.cursor)) == set(COINS)
    [(_, _, body)] = server.got
    assert json.loads(body)["title"].startswith("2 notices: EDGE-DEMO: the newest bar closed")


def test_a_sensor_whose_webhook_is_down_goes_on(tmp_path):
    with Webhook() as server:
        url = server.url
    candles_until(Places(tmp_path), "EDGE-DEMO", "2026-03-01 00:00")
    with dg.DagsterInstance.ephemeral() as instance:
        plan = floor_plan(small_settings(tmp_path, clock=NOW, notify={"webhook": url}))
        said = watched(plan, "tell_stale_candles", instance)
    assert said.skip_message.startswith("told: EDGE-DEMO: the newest bar closed at 2026-03-01 01:00")


def test_a_failed_run_is_told_once_with_its_coin_its_asset_and_its_reason(tmp_path):
    with serving(Webhook()) as server, dg.DagsterInstance.ephemeral() as instance:
        changes = {"source": "files", "coins": ("BTC-USDT",), "files_dir": tmp_path}
        plan = floor_plan(small_settings(tmp_path, notify={"webhook": server.url}, **changes))
        before = watched(plan, "tell_failures", instance)
        job = plan.resolve_job_def("nightly_candles")
        result = job.execute_in_process(partition_key="BTC-USDT", instance=instance, raise_on_error=False)
        after = watched(plan, "tell_failures", instance, before.cursor)
        watched(plan, "tell_failures", instance, after.cursor)
    [(_, _, body)] = server.got
    told = json.loads(body)
    assert (told["occasion"], told["coin"]) == ("failure", "BTC-USDT")
    assert told["title"] == "nightly_candles BTC-USDT failed in candles"
    assert "BTC-USDT has no file in" in told["text"]
    assert result.run_id in told["text"]


def test_a_summary_is_told_with_the_coins_that_have_no_verdict(tmp_path):
    with serving(Webhook()) as server, dg.DagsterInstance.ephemeral() as instance:
        plan = floor_plan(small_settings(tmp_path, notify={"webhook": server.url}))
        said = {"fleet": "1 of 2 coins promoted", "without_verdict": "NOISE-DEMO", "coins": 1}
        instance.report_runless_asset_event(dg.AssetMaterialization("summary", metadata=said))
        tick = watched(plan, "tell_summaries", instance)
        watched(plan, "tell_summaries", instance, tick.cursor)
    [(_, _, body)] = server.got
    assert json.loads(body)["text"] == "1 of 2 coins promoted\nwithout a verdict: NOISE-DEMO"
    assert json.loads(body)["occasion"] == "summary"


def freshness(plan, instance, key):
    """What the daemon would find for an asset now."""
    node = plan.resolve_asset_graph().get(dg.AssetKey(key))

    class Context(LoadingContext):
        loaders = {}  # noqa: RUF012

        @property
        def instance(self):
            return instance

    import asyncio

    return asyncio.run(TimeWindowFreshnessPolicyEvaluator().evaluate_freshness(Context(), node))


def test_candles_registry_and_summary_have_an_age_limit_that_one_coin_can_keep_for_all():
    plan = floor_plan(small_settings(Path("unused")))
    graph = plan.resolve_asset_graph()
    limited = {node.key.to_user_string() for node in graph.asset_nodes if node.freshness_policy_or_from_metadata}
    assert limited == {"candles", "registry", "summary"}
    with dg.DagsterInstance.ephemeral() as instance:
        assert freshness(plan, instance, "candles") is FreshnessState.UNKNOWN
        instance.report_runless_asset_event(dg.AssetMaterialization("candles", partition="EDGE-DEMO"))
        assert freshness(plan, instance, "candles") is FreshnessState.PASS, (
            "NOISE-DEMO has none: tell_stale_candles looks per coin"
        )
