"""Networks through Dagster: one coin by name and by run config, all coins in a pool, what is shown and what is warned of."""

import re
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from crp_pipeline.contracts import PredictionSchema, check_frame
from crp_pipeline.definitions import floor_plan
from crp_pipeline.models import load_bundle, samples_of
from crp_pipeline.models.diagnosis import FLAGS
from crp_pipeline.nightly import run_night
from crp_pipeline.provenance import conflicts, lineage_of
from crp_pipeline.storage import read_parquet
from crp_pipeline_tests.e2e.corridor import small_settings

pytestmark = pytest.mark.slow
COINS = ("EDGE-DEMO", "NOISE-DEMO")
SMALL = {"epochs": 3, "batch_size": 128, "sequence_length": 12, "params": {"width": 16, "n_heads": 2, "chunk": 64}}


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Two coins through a night, ready for more models; its data folder, its settings and its instance."""
    root = tmp_path_factory.mktemp("night")
    settings = small_settings(root)
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_night(floor_plan(settings), COINS, instance) == []
        yield root, settings, instance


def materialize(night, name, *, coin=None, config=None):
    """(result, metadata) of one asset."""
    _, settings, instance = night
    key = dg.AssetKey(["models", name])
    result = (
        floor_plan(settings)
        .resolve_implicit_global_asset_job_def()
        .get_subset(asset_selection={key})
        .execute_in_process(
            partition_key=coin,
            instance=instance,
            raise_on_error=False,
            run_config={"ops": {f"models__{name}": {"config": config or {}}}},
        )
    )
    event = instance.get_latest_materialization_event(key)
    return result, None if event is None else event.asset_materialization.metadata


def sentences(result):
    return [event.step_failure_data.error.cause.message.strip() for event in result.all_events if event.is_step_failure]


def test_a_network_is_trained_by_name_and_shows_its_epochs_its_speed_and_its_size(night):
    root = night[0]
    result, metadata = materialize(night, "attention_lstm", coin="EDGE-DEMO", config=SMALL)
    assert result.success
    assert {"picture", "training", "latency", "folds", "by_fold"} <= set(metadata)
    assert metadata["training"].value.startswith("![picture](data:image/png;base64,")
    model, card = load_bundle(root / "models" / "EDGE-DEMO" / "attention_lstm.bundle")
    assert (model.reach, model.params.width, metadata["parameters"].value) == (12, 16, model.n_parameters)
    assert {row["runtime"] for row in card["latency"]} == {"native", "onnx"}
    assert all(0 < row["p50_ms"] <= row["p99_ms"] < 1_000 for row in card["latency"])
    found = read_parquet(root / "models" / "EDGE-DEMO" / "attention_lstm.parquet")
    check_frame(found, PredictionSchema, what="attention_lstm")
    assert metadata["log_loss"].value < metadata["prior_log_loss"].value, "the coin has an edge"


def test_every_warning_is_a_check_of_the_asset(night):
    result, _ = materialize(night, "attention_lstm", coin="EDGE-DEMO", config=SMALL)
    checks = {it.check_name: it for it in result.get_asset_check_evaluations()}
    assert set(checks) == {f"not_{flag}" for flag in FLAGS}
    assert all(it.passed and it.severity is dg.AssetCheckSeverity.WARN for it in checks.values())
    assert "beats the class prior's" in checks["not_worse_than_prior"].description


def test_a_model_that_learned_nothing_is_warned_of_and_not_stopped(night):
    config = {**SMALL, "epochs": 1, "params": {**SMALL["params"], "learning_rate": 0.5}}
    result, _ = materialize(night, "attention_lstm", coin="NOISE-DEMO", config=config)
    assert result.success
    checks = {it.check_name: it for it in result.get_asset_check_evaluations()}
    assert not checks["not_worse_than_prior"].passed
    assert "does not beat the class prior's" in checks["not_worse_than_prior"].description


def test_the_pool_gives_every_coin_its_forecasts_and_its_model(night):
    root, _, _ = night
    result, metadata = materialize(night, "pooled_transformer", config=SMALL)
    assert result.success
    assert (metadata["coins"].value, metadata["missing_coins"].value) == ("EDGE-DEMO, NOISE-DEMO", "none")
    summary = read_parquet(root / "models" / "pooled_transformer.parquet").set_index("coin")
    assert summary.loc["EDGE-DEMO", "log_loss"] < summary.loc["EDGE-DEMO", "prior"]
    for coin in COINS:
        found = read_parquet(root / "models" / coin / "pooled_transformer.parquet")
        check_frame(found, PredictionSchema, what=coin)
        assert conflicts(lineage_of(found)) == []
        model, card = load_bundle(root / "models" / coin / "pooled_transformer.bundle")
        assert list(card["pool"]) == list(COINS)
        features = read_parquet(root / "features" / f"{coin}.parquet")
        assert np.isfinite(model.predict(samples_of(features[card["features"]]).take(np.arange(2_900, 2_950)))).all()


@pytest.mark.parametrize(
    ("name", "config", "told"),
    [
        ("attention_lstm", {"variant": "huge"}, "variant = 'huge' does not exist; there are default, lightweight, deep"),
        ("tcn", {"sequence_length": 12}, "tcn has no sequence_length; there are epochs, .*levels"),
        (
            "attention_lstm",
            {"sequence_length": 5_000},
            "attention_lstm looks at 5000 bars and none of .* rows to learn from has 4999",
        ),
    ],
)
def test_what_cannot_be_trained_is_one_sentence_and_leaves_nothing_behind(name, config, told, night):
    root: Path = night[0]
    before = {path: path.read_bytes() for path in (root / "models").rglob("*") if path.is_file()}
    result, _ = materialize(night, name, coin="EDGE-DEMO", config=config)
    [sentence] = sentences(result)
    assert re.search(told, sentence)
    assert {path: path.read_bytes() for path in (root / "models").rglob("*") if path.is_file()} == before
