"""The asset `drift` through Dagster: checks, metadata, history, and the throne after a proved breach."""

import dagster as dg
import pandas as pd
import pytest

from crp_pipeline.definitions import floor_plan
from crp_pipeline.drift import read_report
from crp_pipeline.drift.report import HIT_RATE
from crp_pipeline.gate import Outcome
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry
from crp_pipeline.settings import DriftConfig, LabelConfig, load_settings
from crp_pipeline.storage import write_parquet
from crp_pipeline_tests.drifting import decided
from crp_pipeline_tests.shadows import COIN, HORIZON, KNOWS_SOME, candidate, market, register

DRAWS_PICTURES = True
LEARNED, LAST = 900, 1_200
MARKET = market(LAST, seed=1)
BARS = MARKET.candles.index
CROWNED = (BARS[LEARNED] + pd.Timedelta(15, "min")).to_pydatetime()
SUCCEEDED = CROWNED + pd.Timedelta(1, "D")
CHECKS = {
    *("features_stable", "forecasts_stable", "calibrated_live", "hit_rate_as_promised"),
    *("recipe_hit_rate_as_promised", "drawdown_within_the_past"),
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return [candidate(MARKET.until(LEARNED), tmp_path_factory.mktemp(f"c{seed}"), *KNOWS_SOME, seed=seed) for seed in (0, 1)]


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The stored tables of a coin whose features are all ready."""
    stored, known = Places(tmp_path), MARKET.until(LAST)
    monkeypatch.setattr("crp_pipeline.defs.drift.ready_rows", lambda _: known.ready)
    for name, frame in (("candles", known.candles), ("features", known.features), ("labels", known.labels)):
        write_parquet(stored.frame(name, coin=COIN), frame)
    return stored


def settings_of(places, **drift):
    clock = BARS[-1] + pd.Timedelta(1, "h")
    labels = LabelConfig(volatility_window=20)
    own = {"coins": (COIN,), "source": "files", "files_dir": places.root, "horizon": HORIZON, "labels": labels, "clock": clock}
    return load_settings(data_dir=places.root, drift=DriftConfig(**drift), **own)


def measured(places, **drift):
    """Metadata and checks of a drift run."""
    with dg.DagsterInstance.ephemeral() as instance:
        job = floor_plan(settings_of(places, **drift)).resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(asset_selection=[dg.AssetKey("drift")], partition_key=COIN, instance=instance)
        told = instance.get_latest_materialization_event(dg.AssetKey("drift")).asset_materialization.metadata
    checks = {it.check_name: it for it in result.get_asset_check_evaluations()}
    return {name: getattr(it, "value", it) for name, it in told.items()}, checks


def two_champions(places, parts):
    book = Registry(places.registry)
    first = register(book, parts[0], Outcome.PROMOTE, recipe="a", now=CROWNED)
    second = register(book, parts[1], Outcome.PROMOTE, recipe="b", now=SUCCEEDED)
    broken = decided(250, hit_rate=0.05, confidence=0.7, version=second, first=pd.Timestamp(SUCCEEDED).floor("h"))
    write_parquet(places.outcomes(COIN), broken)
    return book, first, second


def test_without_a_champion_the_asset_says_so_and_holds_up_nobody(places):
    told, checks = measured(places)
    assert told["sentence"] == f"{COIN}: nobody reigns, so there is nothing to measure"
    assert set(checks) == CHECKS
    assert {it.metadata["state"].value for it in checks.values()} == {"unknown"}
    assert all(it.description.endswith("is unknown: nobody reigns") for it in checks.values())
    assert "picture" not in told


def test_a_breach_fails_its_check_and_is_told_and_moves_nobody_without_the_setting(places, parts):
    book, _, second = two_champions(places, parts)
    told, checks = measured(places)
    assert (told["action"], told["rolled_back_to"], book.champion(COIN)) == ("fall_back", "none", second)
    broken = checks["hit_rate_as_promised"]
    assert (broken.passed, broken.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert broken.metadata["value"].value >= 20
    assert "data:image/png;base64," in told["picture"]


def test_with_the_setting_the_champion_before_reigns_again_once(places, parts):
    book, first, second = two_champions(places, parts)
    told, _ = measured(places, automatic_rollback=True)
    assert (told["rolled_back_to"], told["champion"], book.champion(COIN)) == (first, second, first)
    again, checks = measured(places, automatic_rollback=True)
    assert (again["rolled_back_to"], again["champion"], book.champion(COIN)) == ("none", first, first)
    assert checks["hit_rate_as_promised"].metadata["state"].value == "unknown"
    assert [entry.action for entry in book.history(COIN)].count("rollback") == 1
    assert read_report(places, COIN).version == first


def test_what_is_told_of_a_champion_stays_when_another_is_looked_at_the_same_day(places, parts):
    _, first, second = two_champions(places, parts)
    for _ in range(2):
        measured(places, automatic_rollback=True)
    history = pd.read_parquet(places.frame("drift", coin=COIN))
    proved = history[(history["measure"] == HIT_RATE) & (history["state"] == "breach")]
    assert set(proved["version"]) == {second}
    assert set(history["version"]) == {first, second}


def test_a_damaged_history_of_drift_holds_up_no_rollback(places, parts, capfd):
    book, first, _ = two_champions(places, parts)
    places.frame("drift", coin=COIN).parent.mkdir(parents=True)
    places.frame("drift", coin=COIN).write_bytes(b"torn")
    told, _ = measured(places, automatic_rollback=True)
    assert (told["rolled_back_to"], book.champion(COIN)) == (first, first)
    assert f"is laid aside as {COIN}.damaged.parquet" in capfd.readouterr().err


def test_the_report_comes_after_the_drift_and_the_drift_after_the_throne_is_settled(tmp_path):
    graph = floor_plan(load_settings(data_dir=tmp_path)).resolve_asset_graph()
    assert dg.AssetKey("drift") in graph.get(dg.AssetKey("report")).parent_keys
    assert dg.AssetKey("registry") in graph.get(dg.AssetKey("drift")).parent_keys
