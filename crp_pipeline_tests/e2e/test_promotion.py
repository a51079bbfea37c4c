"""What may move a champion, and what the morning is told when something went wrong in the night."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from crp_pipeline.candles import demo_candles
from crp_pipeline.dataset import TABLES, export_dataset, import_dataset
from crp_pipeline.definitions import floor_plan
from crp_pipeline.features import CATALOG, feature_set_id
from crp_pipeline.models import load_bundle
from crp_pipeline.nightly import run_night
from crp_pipeline.provenance import stamp
from crp_pipeline.registry import Registry
from crp_pipeline.settings import EnsembleConfig, GateConfig, SentinelConfig, Sizing
from crp_pipeline.storage import read_parquet, write_parquet
from crp_pipeline_tests.e2e.corridor import small_settings

pytestmark = pytest.mark.slow

EDGE, NOISE = COINS = ("EDGE-DEMO", "NOISE-DEMO")
ROSTER = ("lightgbm", "xgboost")
BEHIND_THE_MODELS = ("ensemble", "backtest", "comparison", "sentinels", "gate")
NOW = datetime(2026, 3, 3, tzinfo=UTC)


def settings_of(root: Path, **changes: object):
    """The first coin has costs of its own, which must make no difference to who is of whose recipe."""
    return small_settings(root, roster=ROSTER, coin_overrides={EDGE: {"execution": {"fee_bps": 4.0}}}, **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The data folder of one finished night."""
    root = tmp_path_factory.mktemp("night")
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_night(floor_plan(settings_of(root)), COINS, instance) == []
    return root


@pytest.fixture
def root(finished, tmp_path):
    """A copy of it to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "data"))


def materialize(root: Path, *keys: str, coin: str, run_config: dict | None = None, **changes: object) -> str:
    """Materialize these assets of one coin alone; what the first failed step said, or nothing."""
    job = floor_plan(settings_of(root, **changes)).resolve_implicit_global_asset_job_def()
    selection = [dg.AssetKey(key.split("/")) for key in keys]
    result = job.execute_in_process(
        asset_selection=selection, partition_key=coin, run_config=run_config or {}, raise_on_error=False
    )
    failures = [event.step_failure_data.error.cause for event in result.all_events if event.is_step_failure]
    return failures[0].message if failures else ""


def verdict_of(root: Path, coin: str) -> dict:
    return json.loads((root / "gate" / f"{coin}.json").read_text())


def failed_criteria(root: Path, coin: str) -> list[str]:
    return [finding["name"] for finding in verdict_of(root, coin)["findings"] if not finding["passed"]]


def test_the_finished_night_promoted_the_edge(finished):
    assert failed_criteria(finished, EDGE) == []
    assert Registry(finished / "registry").champion(EDGE) is not None


@pytest.mark.parametrize("model", ROSTER)
def test_a_model_trained_anew_behind_the_backtest_is_not_promoted(root, model):
    before = Registry(root / "registry").champion(EDGE)
    config = {"ops": {f"models__{model}": {"config": {"seed": 99}}}}
    assert materialize(root, f"models/{model}", coin=EDGE, run_config=config) == ""
    assert materialize(root, "gate", "registry", coin=EDGE) == ""
    assert failed_criteria(root, EDGE) == ["mismatched_ingredients"]
    assert Registry(root / "registry").champion(EDGE) == before


def test_decisions_on_another_version_of_one_model_are_not_promoted(root):
    path = root / "models" / EDGE / "xgboost.parquet"
    yesterday = read_parquet(path)
    yesterday.attrs["lineage"]["candles"] = ["of yesterday"]
    write_parquet(path, yesterday)
    assert materialize(root, "ensemble", "backtest", "comparison", "gate", "registry", coin=EDGE) == ""
    assert failed_criteria(root, EDGE) == ["mismatched_ingredients"]


def another_selection(root: Path) -> None:
    """Store a selection of the same tables that keeps one feature less, as other code could have made it."""
    path = root / "models" / EDGE / "selection.parquet"
    selection = read_parquet(path)
    behind = [read_parquet(root / name / f"{EDGE}.parquet") for name in ("features", "labels", "splits")]
    selection.loc[selection.index[selection["status"] == "kept"][0], "status"] = "outranked"
    write_parquet(path, stamp(selection, "models/selection", behind=behind))


def test_models_of_another_selection_than_the_one_at_hand_are_not_promoted(root):
    another_selection(root)
    assert materialize(root, "gate", "registry", coin=EDGE) == ""
    assert failed_criteria(root, EDGE) == ["mismatched_ingredients"]


@pytest.mark.slow
def test_a_stack_of_models_of_two_selections_is_not_promoted(root):
    path = root / "models" / EDGE / "selection.parquet"
    before = path.read_bytes()
    another_selection(root)
    assert materialize(root, "models/xgboost", coin=EDGE) == ""
    path.write_bytes(before)
    assert materialize(root, "ensemble", "backtest", "comparison", "gate", "registry", coin=EDGE) == ""
    assert "mismatched_ingredients" in failed_criteria(root, EDGE)


@pytest.mark.slow
def test_a_model_of_the_whole_set_is_judged_like_any_other_and_names_all_of_it(root):
    config = {"ops": {f"models__{model}": {"config": {"all_features": True}} for model in ROSTER}}
    assert materialize(root, *(f"models/{model}" for model in ROSTER), coin=EDGE, run_config=config) == ""
    assert materialize(root, *BEHIND_THE_MODELS, coin=EDGE) == ""
    assert "mismatched_ingredients" not in failed_criteria(root, EDGE)
    for model in ROSTER:
        _, card = load_bundle(root / "models" / EDGE / f"{model}.bundle")
        assert card["features"] == [feature.name for feature in CATALOG]
        assert card["all_features"] is True


@pytest.mark.parametrize("forgotten", ["sentinels", "comparison"])
def test_models_are_not_promoted_on_what_was_said_of_the_models_before(root, forgotten):
    config = {"ops": {f"models__{model}": {"config": {"seed": 7}} for model in ROSTER}}
    rooms = [room for room in (*BEHIND_THE_MODELS, "registry") if room != forgotten]
    before = Registry(root / "registry").champion(EDGE)
    assert materialize(root, *(f"models/{model}" for model in ROSTER), *rooms, coin=EDGE, run_config=config) == ""
    assert failed_criteria(root, EDGE) == ["mismatched_ingredients"]
    assert Registry(root / "registry").champion(EDGE) == before


def test_sentinels_that_were_told_of_a_planted_edge_say_nothing_of_a_real_market(root):
    real = {"source": "files", "files_dir": root / "raw", "coins": COINS}
    assert materialize(root, "gate", coin=EDGE, **real) == ""
    assert "mismatched_ingredients" in failed_criteria(root, EDGE)


def test_a_horizon_that_changed_between_two_rooms_is_not_promoted(root):
    assert materialize(root, "backtest", "comparison", "gate", "registry", coin=EDGE, horizon=12) == ""
    assert "mismatched_ingredients" in failed_criteria(root, EDGE)


@pytest.mark.parametrize("by", ["settings", "source"])
def test_tables_that_were_made_by_other_settings_or_other_code_than_those_in_force_are_not_promoted(root, monkeypatch, by):
    other = {"sizing": Sizing(max_leverage=0.5)} if by == "settings" else {}
    if by == "source":
        monkeypatch.setattr("crp_pipeline.provenance.source_hash", lambda: "of tomorrow")
    before = Registry(root / "registry").champion(EDGE)
    assert materialize(root, "gate", "registry", coin=EDGE, **other) == ""
    assert verdict_of(root, EDGE)["evidence"]["mismatched_ingredients"] == 1
    assert failed_criteria(root, EDGE)[0] == "mismatched_ingredients"
    assert Registry(root / "registry").champion(EDGE) == before


def test_decisions_of_a_stack_by_other_settings_are_not_promoted_once_these_are_put_back(root):
    assert materialize(root, "ensemble", coin=EDGE, ensemble=EnsembleConfig(regularization=2.0)) == ""
    assert materialize(root, "backtest", "comparison", "sentinels", "gate", coin=EDGE) == ""
    assert "mismatched_ingredients" in failed_criteria(root, EDGE)


def test_a_verdict_edited_by_hand_promotes_nothing(root):
    path = root / "gate" / f"{NOISE}.json"
    path.write_text(path.read_text().replace('"outcome": "REJECT"', '"outcome": "PROMOTE"'))
    assert verdict_of(root, NOISE)["outcome"] == "PROMOTE"
    assert "outcome = 'PROMOTE' does not follow from the findings" in materialize(root, "registry", coin=NOISE)
    assert Registry(root / "registry").champion(NOISE) is None


def test_a_verdict_under_other_thresholds_or_other_settings_promotes_nothing(root):
    (root / "registry" / EDGE / "champion.json").unlink()
    shutil.rmtree(root / "registry" / EDGE)
    stricter = GateConfig(min_trades=100_000, min_test_days=30, n_resamples=200)
    message = materialize(root, "registry", coin=EDGE, gate=stricter)
    assert "EDGE-DEMO: the gate's settings have changed since it judged; materialize `gate` again" in message
    anew = "since the gate judged it; materialize the coin again from `labels` on"
    assert f"EDGE-DEMO: the settings have changed {anew}" in materialize(root, "registry", coin=EDGE, horizon=12)
    assert Registry(root / "registry").champion(EDGE) is None


def test_the_next_model_of_a_coin_with_costs_of_its_own_is_of_the_champions_recipe_and_may_follow_it(root):
    book = Registry(root / "registry")
    first = book.champion(EDGE)
    config = {"ops": {"models__lightgbm": {"config": {"seed": 5}}}}
    assert materialize(root, "models/lightgbm", coin=EDGE, run_config=config) == ""
    assert materialize(root, *BEHIND_THE_MODELS, "registry", coin=EDGE) == ""
    told = verdict_of(root, EDGE)["evidence"]
    assert (told["has_champion"], told["same_recipe"]) == (1, 1)
    assert book.champion(EDGE) != first


def test_a_model_of_another_variant_is_another_recipe_and_must_prove_itself(root):
    first = Registry(root / "registry").champion(EDGE)
    config = {"ops": {"models__lightgbm": {"config": {"variant": "lightweight"}}}}
    assert materialize(root, "models/lightgbm", *BEHIND_THE_MODELS, "registry", coin=EDGE, run_config=config) == ""
    assert verdict_of(root, EDGE)["evidence"]["same_recipe"] == 0
    assert {"e_value_margin", "fresh_gain_bps"} <= set(failed_criteria(root, EDGE))
    assert Registry(root / "registry").champion(EDGE) == first


@pytest.mark.slow
def test_a_verdict_against_a_champion_that_is_gone_or_by_other_code_promotes_nothing(root, monkeypatch):
    book, told = Registry(root / "registry"), verdict_of(root, EDGE)
    assert told["subject"]["champion"] == "none"
    assert materialize(root, "registry", coin=EDGE) == "", "who was promoted on it stays where it is"
    stale = (root / "gate" / f"{EDGE}.json").read_bytes()
    monkeypatch.setattr("crp_pipeline.defs.registry.source_hash", lambda: "of tomorrow")
    assert "the code has changed since the gate judged it; materialize the coin again from `labels` on" in materialize(
        root, "registry", coin=EDGE
    )
    monkeypatch.undo()
    first = book.champion(EDGE)
    config = {"ops": {"models__lightgbm": {"config": {"seed": 5}}}}
    assert materialize(root, "models/lightgbm", *BEHIND_THE_MODELS, "registry", coin=EDGE, run_config=config) == ""
    second = book.champion(EDGE)
    assert second not in {None, first}
    (root / "gate" / f"{EDGE}.json").write_bytes(stale)
    assert "the models have changed since the gate judged them" in materialize(root, "registry", coin=EDGE)
    assert book.champion(EDGE) == second


@pytest.mark.slow
def test_a_champion_that_was_rolled_back_does_not_come_back_by_itself(root):
    book = Registry(root / "registry")
    first = book.champion(EDGE)
    config = {"ops": {f"models__{model}": {"config": {"seed": 5}} for model in ROSTER}}
    assert materialize(root, *(f"models/{model}" for model in ROSTER), coin=EDGE, run_config=config) == ""
    assert materialize(root, *BEHIND_THE_MODELS, "registry", coin=EDGE) == ""
    assert failed_criteria(root, EDGE) == []
    assert book.champion(EDGE) != first
    book.rollback(EDGE, now=NOW, reason="it bleeds")
    assert materialize(root, "registry", coin=EDGE) == ""
    assert book.champion(EDGE) == first


@pytest.mark.slow
def test_tables_that_were_exported_and_imported_give_the_same_verdict(root, tmp_path):
    before = verdict_of(root, EDGE)
    folder = export_dataset(root, EDGE, tmp_path / "dataset")
    for name in TABLES:
        (root / name / f"{EDGE}.parquet").unlink()
    import_dataset(folder, root, feature_set_id=feature_set_id(CATALOG))
    models = tuple(f"models/{name}" for name in ("prior", "selection", *ROSTER))
    # against the champion that it has become, the same candidate would be a refresh
    shutil.rmtree(root / "registry" / EDGE)
    assert materialize(root, *models, *BEHIND_THE_MODELS, coin=EDGE) == ""
    assert verdict_of(root, EDGE) == before


@pytest.mark.slow
def test_a_coin_that_fails_tonight_has_no_verdict_tonight(tmp_path):
    # from files nobody knows that the edge is planted: features that know it alone would be kept from the models
    settings = small_settings(
        tmp_path / "data", source="files", files_dir=tmp_path / "raw", sentinels=SentinelConfig(quarantine=False)
    )
    (tmp_path / "raw").mkdir()
    for coin in COINS:
        demo_candles(coin, settings.demo).to_csv(tmp_path / "raw" / f"{coin}.csv")
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_night(floor_plan(settings), COINS, instance) == []
        broken = demo_candles(EDGE, settings.demo)
        broken.iloc[100:300, broken.columns.get_loc("high")] = 0.01
        broken.to_csv(tmp_path / "raw" / f"{EDGE}.csv")
        assert run_night(floor_plan(settings), COINS, instance) == [EDGE]
        event = instance.get_latest_materialization_event(dg.AssetKey("summary"))
    summary = read_parquet(tmp_path / "data" / "summary" / "summary.parquet").set_index("coin")
    assert summary.loc[EDGE, "verdict"] == "NO VERDICT"
    assert summary.loc[EDGE, "failed first"] == "the run failed at candles"
    assert summary.loc[EDGE, "champion"] == Registry(tmp_path / "data" / "registry").champion(EDGE), "the champion stands"
    assert event.asset_materialization.metadata["fleet"].text.startswith("0 of 2 coins promoted; ")
    results = (tmp_path / "data" / "reports" / "results.md").read_text()
    assert f"## {EDGE}: NO VERDICT\n\nThe run failed at candles" in results
    assert event.asset_materialization.metadata["results"].md_str == results
    assert read_parquet(tmp_path / "data" / "market" / "market.parquet").columns.tolist() == [NOISE]


def test_nobody_trains_when_the_market_fails(tmp_path, monkeypatch):
    def nothing(_):
        raise ValueError("no closes")

    monkeypatch.setattr("crp_pipeline.defs.candles.market_closes", nothing)
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_night(floor_plan(settings_of(tmp_path)), COINS, instance) == [EDGE, NOISE, "market"]
    assert not (tmp_path / "models").exists()


def test_a_damaged_registry_of_one_coin_hides_no_other_verdict(root):
    (root / "registry" / NOISE / "champion.json").write_text("[]")
    with dg.DagsterInstance.ephemeral() as instance:
        summary = floor_plan(settings_of(root)).resolve_job_def("nightly_summary")
        assert summary.execute_in_process(instance=instance, raise_on_error=False).success
    table = read_parquet(root / "summary" / "summary.parquet").set_index("coin")
    assert table.loc[EDGE, "verdict"] == "PROMOTE"
    assert table.loc[NOISE, "champion"].startswith("unreadable: NOISE-DEMO")
