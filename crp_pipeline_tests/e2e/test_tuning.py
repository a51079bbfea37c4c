"""Tuning through Dagster: an asset per model outside of the night, whose parameters the model's asset trains with."""

import dagster as dg
import pytest

from crp_pipeline.definitions import floor_plan
from crp_pipeline.models import load_bundle
from crp_pipeline.provenance import lineage_of
from crp_pipeline.storage import read_manifest, read_parquet, sha256
from crp_pipeline_tests.e2e.corridor import corridor_of, small_settings

COIN = "EDGE-DEMO"
TUNED = {"tuning/lightgbm", "tuning/xgboost", "tuning/catboost", "tuning/tcn", "tuning/hybrid"}


def materialize(settings, instance, *names, config=None, coin=COIN):
    keys = {dg.AssetKey(name.split("/")) for name in names}
    job = floor_plan(settings).resolve_implicit_global_asset_job_def().get_subset(asset_selection=keys)
    run_config = {"ops": {name.replace("/", "__"): {"config": it} for name, it in (config or {}).items()}}
    result = job.execute_in_process(partition_key=coin, instance=instance, run_config=run_config, raise_on_error=True)
    assert result.success
    events = {name: instance.get_latest_materialization_event(dg.AssetKey(name.split("/"))) for name in names}
    return {name: event.asset_materialization.metadata for name, event in events.items()}


def test_tuning_is_a_job_of_its_own_and_no_part_of_a_night(tmp_path):
    plan = floor_plan(small_settings(tmp_path))
    selected = {key.to_user_string() for key in plan.resolve_job_def("tune").asset_layer.selected_asset_keys}
    assert selected >= TUNED
    assert all(name.startswith("tuning/") for name in selected)
    assert not [key for key in corridor_of(plan) if key.path[0] == "tuning"]
    assert "tuning/pooled_transformer" not in selected
    assert "tuning/prior" not in selected


@pytest.mark.slow
def test_a_model_trains_with_what_was_tuned_and_says_so(tmp_path):
    settings = small_settings(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        for coin in (COIN, "NOISE-DEMO"):
            materialize(settings, instance, "candles", coin=coin)
        materialize(settings, instance, "market", coin=None)
        materialize(
            settings, instance, "feeds", "features", "labels", "splits", "feasibility", "models/selection", "models/prior"
        )
        plain = materialize(settings, instance, "models/lightgbm")["models/lightgbm"]
        asked = {"tuning/lightgbm": {"trials": 12}}
        shown = materialize(settings, instance, "tuning/lightgbm", config=asked)["tuning/lightgbm"]
        found = materialize(settings, instance, "models/lightgbm")["models/lightgbm"]
        refused = materialize(settings, instance, "models/lightgbm", config={"models/lightgbm": {"tuned": False}})[
            "models/lightgbm"
        ]
    path = tmp_path / "tuning" / COIN / "lightgbm.json"
    assert shown["trials"].value == 12
    assert {"picture", "best_trials", "gain", "gain_low", "gain_high", "learned_until"} <= set(shown)
    assert plain["tuning"].value == "not tuned"
    assert found["tuning"].value.startswith("tuned: ")
    assert refused["tuning"].value == "tuned parameters were not asked for"
    assert "tuned" not in read_manifest(tmp_path / "models" / COIN / "lightgbm.bundle")
    with dg.DagsterInstance.ephemeral() as instance:
        materialize(settings, instance, "models/lightgbm")
    model, card = load_bundle(tmp_path / "models" / COIN / "lightgbm.bundle")
    assert card["tuning"] == {"tuning/lightgbm": sha256(path)}
    assert {name: card["parameters"][name] for name in card["tuned"]} == card["tuned"]
    predictions = read_parquet(tmp_path / "models" / COIN / "lightgbm.parquet")
    assert lineage_of(predictions)["tuning/lightgbm"] == [sha256(path)]
    assert model.rounds <= card["parameters"]["n_rounds"]
