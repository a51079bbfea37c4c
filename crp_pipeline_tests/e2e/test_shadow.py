"""The champion decides fresh bars night by night through Dagster, before tonight's version is registered."""

import shutil
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from crp_pipeline.candles import demo_candles
from crp_pipeline.contracts import CHAMPION, FreshDecisionSchema, check_frame
from crp_pipeline.definitions import floor_plan
from crp_pipeline.errors import BundleError
from crp_pipeline.nightly import run_night
from crp_pipeline.provenance import lineage_of
from crp_pipeline.registry import Registry
from crp_pipeline.settings import DemoConfig
from crp_pipeline.shadow import ShadowLog
from crp_pipeline.storage import read_parquet
from crp_pipeline_tests.e2e.corridor import small_settings

pytestmark = pytest.mark.slow

COIN = "EDGE-DEMO"
FIRST, NEXT = 3_000, 3_024


def after(n_bars):
    """A quarter of an hour after the last of so many bars has closed."""
    return demo_candles(COIN, DemoConfig(n_bars=n_bars)).index[-1].to_pydatetime() + timedelta(hours=1, minutes=15)


def plan_of(root, n_bars):
    return floor_plan(small_settings(root, coins=(COIN,), demo=DemoConfig(n_bars=NEXT), clock=after(n_bars)))


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """The data folder after a night and the rooms before the verdict of the next one, and the champion."""
    root = tmp_path_factory.mktemp("nights")
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_night(plan_of(root, FIRST), (COIN,), instance) == []
        assert read_parquet(root / "shadow" / f"{COIN}.parquet").empty
        job = plan_of(root, NEXT).resolve_implicit_global_asset_job_def()
        for coin, keys in ((COIN, ["candles"]), (None, ["market"]), (COIN, ["feeds", "features", "shadow"])):
            selection = [dg.AssetKey(key) for key in keys]
            assert job.execute_in_process(asset_selection=selection, partition_key=coin, instance=instance).success
    return root, Registry(root / "registry").champion(COIN)


def test_last_nights_champion_decides_the_bars_that_have_come_since(nights):
    root, champion = nights
    fresh = check_frame(read_parquet(root / "shadow" / f"{COIN}.parquet"), FreshDecisionSchema, what="shadow")
    candles = read_parquet(root / "candles" / f"{COIN}.parquet")
    assert champion is not None
    assert (set(fresh["version"]), set(fresh["role"])) == ({champion}, {CHAMPION})
    assert list(fresh["open_time"]) == list(candles.index[FIRST:NEXT])
    assert fresh["confidence"].notna().all()
    assert len(ShadowLog(root / "shadow" / COIN).read()) == 1


def test_the_frame_names_the_tables_that_it_was_made_from(nights):
    fresh, candles = (read_parquet(nights[0] / name / f"{COIN}.parquet") for name in ("shadow", "candles"))
    assert lineage_of(fresh)["candles"] == lineage_of(candles)["candles"]
    assert "features" in lineage_of(fresh)


def test_a_version_says_which_definitions_its_columns_had(nights):
    root, champion = nights
    assert len(Registry(root / "registry").card(COIN, champion)["columns_id"]) == 16


def test_a_champion_that_no_longer_loads_blocks_no_night_and_is_told(nights, tmp_path, monkeypatch, capfd):
    def of_tomorrow(*_, **__):
        raise BundleError("it is of tomorrow")

    root, champion = Path(shutil.copytree(nights[0], tmp_path / "data")), nights[1]
    monkeypatch.setattr("crp_pipeline.shadow.load_bundle", of_tomorrow)
    job = plan_of(root, NEXT).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(asset_selection=[dg.AssetKey("shadow")], partition_key=COIN, instance=instance).success
        told = instance.get_latest_materialization_event(dg.AssetKey("shadow")).asset_materialization.metadata
    silent = f"version {champion} no longer loads: it is of tomorrow"
    assert told["champion_silent"].value == silent
    assert f"{COIN}: the champion decides nothing: {silent}" in capfd.readouterr().err


def test_the_registry_comes_after_the_shadow(tmp_path):
    graph = plan_of(tmp_path, FIRST).resolve_asset_graph()
    assert dg.AssetKey("shadow") in graph.get(dg.AssetKey("registry")).parent_keys
