"""The sentinels through Dagster: what a feature that predicts too well is kept from, and what a night shows of it."""

import dagster as dg
import pytest

from crp_pipeline.candles import demo_candles
from crp_pipeline.definitions import floor_plan
from crp_pipeline.defs.sentinels import CHECKS
from crp_pipeline.gate.sentinels import sentinel_evidence
from crp_pipeline.models import columns_of, load_bundle, quarantined_in
from crp_pipeline.nightly import run_night
from crp_pipeline.provenance import lineage_of
from crp_pipeline.storage import read_parquet, write_parquet
from crp_pipeline_tests.e2e.corridor import small_settings

pytestmark = pytest.mark.slow

COIN = "TOO-GOOD"
PLANTED = "log_volume_surprise_3d"
"""It shows the hidden state of the demo market; in a market that nobody has planted it would be a leak."""


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """One night on the candles of the demo's edge, given as if they were anybody's: its folder, settings and instance."""
    root = tmp_path_factory.mktemp("night")
    settings = small_settings(root, source="files", files_dir=root / "raw", coins=(COIN,))
    write_parquet(root / "raw" / f"{COIN}.parquet", demo_candles("EDGE-DEMO", settings.demo))
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_night(floor_plan(settings), [COIN], instance) == []
        yield root, settings, instance


def selection_of(night):
    return read_parquet(night[0] / "models" / COIN / "selection.parquet")


def features_of(night, model_type):
    return load_bundle(night[0] / "models" / COIN / f"{model_type}.bundle")[1]["features"]


def test_a_feature_that_predicts_too_well_is_kept_from_what_models_learn_from(night):
    selection = selection_of(night)
    hidden = set(quarantined_in(selection))
    assert PLANTED in hidden
    for fold in selection["fold"].unique():
        assert not hidden & set(columns_of(selection, fold))
    assert not hidden & set(features_of(night, "lightgbm"))
    assert PLANTED in features_of(night, "persistence"), "a baseline is never promoted"


def test_a_model_that_asks_for_every_feature_is_not_shown_it_either(night):
    _, settings, instance = night
    key = dg.AssetKey(["models", "catboost"])
    job = floor_plan(settings).resolve_implicit_global_asset_job_def().get_subset(asset_selection={key})
    config = {"ops": {"models__catboost": {"config": {"all_features": True, "epochs": 5}}}}
    assert job.execute_in_process(partition_key=COIN, instance=instance, run_config=config).success
    shown, hidden = set(features_of(night, "catboost")), set(quarantined_in(selection_of(night)))
    every = set(selection_of(night)["feature"])
    assert shown == every - hidden


def test_the_night_shows_its_numbers_its_pictures_and_its_checks(night):
    root, _, instance = night
    found = read_parquet(root / "sentinels" / f"{COIN}.parquet")
    evidence = sentinel_evidence(found)
    hidden = quarantined_in(selection_of(night))
    assert evidence["quarantined_features"] == evidence["feature_alarms"] == len(hidden)
    assert evidence["canaries_missed"] == 0
    assert {"candles", "features", "labels", "splits", "models/selection", "ensemble", "sentinels"} <= set(lineage_of(found))
    metadata = instance.get_latest_materialization_event(dg.AssetKey("sentinels")).asset_materialization.metadata
    assert metadata["quarantined"].value == ", ".join(hidden)
    for name in ("picture", "feature_picture", "leak_picture"):
        assert "data:image/png;base64," in metadata[name].md_str
    assert PLANTED in metadata["loudest_features"].md_str


def test_an_alarm_warns_and_a_caught_canary_passes(night):
    instance = night[2]
    passed = {}
    for name in CHECKS:
        [record] = instance.event_log_storage.get_asset_check_execution_history(
            check_key=dg.AssetCheckKey(dg.AssetKey("sentinels"), name), limit=1
        )
        found = record.event.dagster_event.asset_check_evaluation_data
        passed[name], severity = found.passed, found.severity
        expected = dg.AssetCheckSeverity.ERROR if name == "canaries_are_caught" else dg.AssetCheckSeverity.WARN
        assert severity is expected
    assert passed["canaries_are_caught"]
    assert not passed["no_feature_predicts_too_well"]
    assert passed["forecast_is_plausible"], "six hours are more than the hour that the cap holds for"
