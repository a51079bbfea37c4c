"""Nights one after another through Dagster: what is trained, what is read back, and what an operator may ask for."""

import shutil
from pathlib import Path

import dagster as dg
import pytest
from pandas.testing import assert_frame_equal

from crp_pipeline.definitions import floor_plan
from crp_pipeline.models import load_bundle
from crp_pipeline.nightly import run_night
from crp_pipeline.registry import Registry
from crp_pipeline.settings import DemoConfig
from crp_pipeline.storage import read_parquet
from crp_pipeline_tests.e2e.corridor import small_settings

pytestmark = pytest.mark.slow

COIN = "EDGE-DEMO"
ROSTER = ("lightgbm", "catboost")
FIRST, NEXT, LATER = 3_000, 3_024, 3_240
"""Bars: four folds, the last of 300 test rows; a day more; and a fold more."""


def settings_of(root, n_bars, **changes):
    return small_settings(root, coins=(COIN,), roster=ROSTER, demo=DemoConfig(n_bars=n_bars), **changes)


def metadata_of(instance, *names):
    events = {name: instance.get_latest_materialization_event(dg.AssetKey(["models", name])) for name in names}
    return {name: event.asset_materialization.metadata for name, event in events.items()}


def read_back(instance):
    """(folds read back, whether the final model was) of every model, and of the selection."""
    models = ("prior", *ROSTER)
    found = metadata_of(instance, *models, "selection")
    told = {name: (found[name]["folds_read_back"].value, found[name]["final_read_back"].value) for name in models}
    return {**told, "selection": found["selection"]["folds_read_back"].value}


def forecasts(root):
    return {name: read_parquet(root / "models" / COIN / f"{name}.parquet") for name in ("prior", *ROSTER)}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The data folder of one finished night."""
    root = tmp_path_factory.mktemp("night")
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_night(floor_plan(settings_of(root, FIRST)), (COIN,), instance) == []
        assert read_back(instance) == {**dict.fromkeys(("prior", *ROSTER), (0, False)), "selection": 0}
    return root


@pytest.fixture
def root(first, tmp_path):
    return Path(shutil.copytree(first, tmp_path / "data"))


def night(root, n_bars):
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_night(floor_plan(settings_of(root, n_bars)), (COIN,), instance) == []
        return read_back(instance), metadata_of(instance, *ROSTER)


@pytest.mark.parametrize("n_bars", [NEXT, LATER])
def test_a_later_night_reads_every_settled_fold_back_and_rewrites_no_forecast(root, n_bars):
    before = forecasts(root)
    told, metadata = night(root, n_bars)
    assert told == {**dict.fromkeys(("prior", *ROSTER), (4, False)), "selection": 4}
    for name, forecast in forecasts(root).items():
        assert len(forecast) == n_bars
        assert forecast["fold"].max() == (3 if n_bars == NEXT else 4)
        assert_frame_equal(forecast.iloc[:FIRST], before[name], check_exact=True)
    assert metadata["lightgbm"]["folds"].md_str.count("True") == 4


@pytest.mark.slow
def test_what_was_read_back_is_what_a_night_from_nothing_makes(root, tmp_path):
    night(root, NEXT)
    (tmp_path / "fresh").mkdir()
    night(tmp_path / "fresh", NEXT)
    for name, forecast in forecasts(root).items():
        assert_frame_equal(forecast, forecasts(tmp_path / "fresh")[name], check_exact=True)


def test_the_same_night_again_trains_nothing_and_is_the_same_version(root):
    before = Registry(root / "registry").history(COIN)
    told, _ = night(root, FIRST)
    assert told == {**dict.fromkeys(("prior", *ROSTER), (4, True)), "selection": 4}
    assert Registry(root / "registry").history(COIN) == before


def materialize(root, *keys, config=None):
    plan, [key, *_] = floor_plan(settings_of(root, FIRST)), keys
    with dg.DagsterInstance.ephemeral() as instance:
        result = plan.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=[dg.AssetKey(key.split("/")) for key in keys],
            partition_key=COIN,
            instance=instance,
            raise_on_error=False,
            run_config={"ops": {key.replace("/", "__"): {"config": config or {}}}},
        )
        failures = [event.step_failure_data.error.cause.message for event in result.all_events if event.is_step_failure]
        event = instance.get_latest_materialization_event(dg.AssetKey(key.split("/")))
    return failures, None if event is None else event.asset_materialization.metadata


def test_a_model_outside_the_roster_is_trained_when_it_is_asked_for(root):
    before = {path: path.read_bytes() for path in root.rglob("*.json") if "xgboost" not in str(path)}
    failures, metadata = materialize(root, "models/xgboost", config={"epochs": 5, "variant": "lightweight"})
    assert failures == []
    assert metadata["folds_read_back"].value == 0
    assert metadata["rounds"].value <= 5
    assert load_bundle(root / "models" / COIN / "xgboost.bundle")[1]["variant"] == "lightweight"
    assert all(path.read_bytes() == content for path, content in before.items())
    assert (
        materialize(root, "models/xgboost", config={"epochs": 5, "variant": "lightweight"})[1]["final_read_back"].value is True
    )


def test_an_operators_wish_that_a_model_cannot_grant_is_answered_with_what_it_can(root):
    [sentence], _ = materialize(root, "models/lightgbm", config={"batch_size": 5})
    assert sentence.strip().startswith("ValueError: lightgbm has no batch_size; there are n_rounds, learning_rate")
    [sentence], _ = materialize(root, "models/lightgbm", config={"params": {"n_round": 5}})
    assert "parameter 'n_round' does not exist; there are n_rounds" in sentence


def test_a_run_on_the_last_days_learns_and_tests_nothing_older(root):
    failures, metadata = materialize(root, "models/lightgbm", config={"days_of_history": 50, "params": {"l2": 2}})
    assert failures == []
    found = read_parquet(root / "models" / COIN / "lightgbm.parquet")
    assert found["fold"].unique().tolist() == [-1, 3], "the fold before would learn from fewer rows than a block tests"
    assert metadata["learned_rows"].value <= 50 * 24
    _, card = load_bundle(root / "models" / COIN / "lightgbm.bundle")
    assert (card["days_of_history"], card["parameters"]["l2"]) == (50, 2)


def test_too_few_days_are_refused_in_one_sentence(root):
    [sentence], _ = materialize(root, "models/lightgbm", config={"days_of_history": 3})
    assert "3 days before 2022-05-05 23:00:00+00:00 leave no fold with 500 rows to learn from: the most is " in sentence
