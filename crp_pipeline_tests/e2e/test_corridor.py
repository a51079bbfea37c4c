"""The corridor through Dagster, on a small market: what is stored, what is checked, and who may be promoted."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from crp_pipeline.candles import DEMO_COINS, demo_candles, visible_state
from crp_pipeline.contracts import (
    FINAL,
    CandleSchema,
    DecisionSchema,
    LabelSchema,
    PredictionSchema,
    SelectionSchema,
    check_frame,
)
from crp_pipeline.definitions import floor_plan
from crp_pipeline.defs.automation import PHASES
from crp_pipeline.features import CATALOG, Family, Feature
from crp_pipeline.gate import Outcome, criteria
from crp_pipeline.models import MODEL_CLASSES, MODEL_TYPES, columns_of, load_bundle, samples_of
from crp_pipeline.nightly import run_night
from crp_pipeline.places import Places
from crp_pipeline.provenance import lineage_of
from crp_pipeline.registry import Registry
from crp_pipeline.reporting.document import plotly_script
from crp_pipeline.storage import read_parquet
from crp_pipeline_tests.e2e.corridor import corridor_of, small_settings

COINS = ("EDGE-DEMO", "NOISE-DEMO")
DRAWS_PICTURES = True
NUMBERS = Path(__file__).parents[1] / "golden" / "metadata_numbers.json"
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """One finished night on the small market: its data folder, its instance and the coins that failed."""
    root = tmp_path_factory.mktemp("night")
    with dg.DagsterInstance.ephemeral() as instance:
        failed = run_night(floor_plan(small_settings(root)), COINS, instance)
        yield root, instance, failed


def verdict_of(root: Path, coin: str) -> dict:
    return json.loads((root / "gate" / f"{coin}.json").read_text())


ROOMS_AND_TABLES = sorted(
    [
        "backtest",
        "candles",
        "comparison",
        "controls",
        "drift",
        "ensemble",
        "feasibility",
        "features",
        "feeds",
        "gate",
        "labels",
        "market",
        "registry",
        "report",
        "explanation",
        "sentinels",
        "shadow",
        "splits",
        "summary",
    ]
)
BESIDE_THE_NIGHT = {"signals"}
MODELS_AND_SELECTION = {f"models/{name}" for name in ("selection", *MODEL_TYPES)}
STUDIES = {f"tuning/{name}" for name, kind in MODEL_CLASSES.items() if not kind.is_baseline} - {"tuning/pooled_transformer"}


def names_of(keys) -> set[str]:
    return {key.to_user_string() for key in keys}


def test_the_asset_keys_are_the_ones_that_users_rely_on():
    graph = floor_plan(small_settings(Path("unused"))).resolve_asset_graph()
    assert names_of(graph.get_all_asset_keys()) == {*ROOMS_AND_TABLES, *BESIDE_THE_NIGHT, *MODELS_AND_SELECTION, *STUDIES}
    assert {"models/prior", "models/xgboost", "models/lightgbm", "models/catboost"} <= MODELS_AND_SELECTION


def test_every_model_of_the_catalogue_is_an_asset_and_a_night_makes_the_roster_and_the_baselines():
    plan = floor_plan(small_settings(Path("unused"), roster=("catboost", "lightgbm")))
    by_night = set().union(*(names_of(plan.resolve_job_def(phase).asset_layer.selected_asset_keys) for phase in PHASES))
    baselines = {f"models/{name}" for name, kind in MODEL_CLASSES.items() if kind.is_baseline}
    assert by_night - {*ROOMS_AND_TABLES} == {"models/selection", "models/catboost", "models/lightgbm", *baselines}
    assert by_night >= {*ROOMS_AND_TABLES}


@pytest.mark.parametrize("selection", re.findall(r"--select '([^']*)'|filter by `([^`]*)`", README))
def test_what_the_readme_selects_is_what_a_night_makes(selection):
    plan = floor_plan(small_settings(Path("unused")))
    by_night = set().union(*(names_of(plan.resolve_job_def(phase).asset_layer.selected_asset_keys) for phase in PHASES))
    [text] = filter(None, selection)
    assert names_of(dg.AssetSelection.from_string(text).resolve(plan.resolve_asset_graph())) == by_night


def test_the_groups_are_the_nine_rooms_and_what_tunes_explains_and_signals():
    graph = floor_plan(small_settings(Path("unused"))).resolve_asset_graph()
    assert {node.group_name for node in graph.asset_nodes} == {
        "candles",
        "features",
        "labels",
        "splits",
        "models",
        "ensemble",
        "backtest",
        "drift",
        "explanation",
        "gate",
        "registry",
        "signals",
        "tuning",
    }


def test_every_asset_says_what_it_is():
    graph = floor_plan(small_settings(Path("unused"))).resolve_asset_graph()
    assert [node.key for node in graph.asset_nodes if len(node.description or "") < 30] == []


def test_a_night_ends_without_failure(night):
    assert night[2] == []


def test_the_edge_is_promoted_and_the_noise_is_not(night):
    root = night[0]
    assert verdict_of(root, "EDGE-DEMO")["outcome"] == Outcome.PROMOTE
    assert verdict_of(root, "NOISE-DEMO")["outcome"] != Outcome.PROMOTE


def test_every_value_of_a_night_has_a_data_version_from_its_content(night):
    root, instance, _ = night
    graph = floor_plan(small_settings(root)).resolve_asset_graph()
    versions = {}
    for key in corridor_of(floor_plan(small_settings(root))):
        coin = COINS[0] if graph.get(key).is_partitioned else None
        tags = instance.fetch_materializations(dg.AssetRecordsFilter(key, asset_partitions=[coin] if coin else None), limit=1)
        versions[key.to_user_string()] = tags.records[0].asset_materialization.tags
    assert [name for name, tags in versions.items() if "dagster/data_version_is_user_provided" not in tags] == []
    for name in ("labels", "splits", "comparison", "models/selection", "shadow"):
        path = Places(root).frame(*name.split("/"), coin=COINS[0])
        assert versions[name]["dagster/data_version"] == lineage_of(read_parquet(path))[name][0]


def directional_hits(root: Path, coin: str) -> pd.DataFrame:
    """Bars where a side was taken and the label has one: whether the decision and the perfect forecaster were right."""
    candles, labels, decisions = (read_parquet(root / room / f"{coin}.parquet") for room in ("candles", "labels", "ensemble"))
    came = labels["signal"]
    perfect = np.sign(visible_state(candles, DEMO_COINS[coin]))
    taken = (decisions["signal"] != 0) & came.notna() & (came != 0)
    hits = pd.DataFrame({"ours": decisions["signal"] == came, "perfect": perfect == came, "weight": labels["weight"]})
    return hits[taken]


def test_the_edge_is_found_and_is_not_better_than_the_perfect_forecaster(night):
    hits = directional_hits(night[0], "EDGE-DEMO")
    assert len(hits) > 1_000
    assert 0.6 < hits["ours"].mean() < hits["perfect"].mean() + 0.03


def test_the_noise_is_forecast_no_better_than_a_coin(night):
    hits = directional_hits(night[0], "NOISE-DEMO")
    three_standard_errors = 1.5 / hits["weight"].sum() ** 0.5
    assert abs(hits["ours"].mean() - 0.5) < three_standard_errors < 0.2


def test_only_the_promoted_coin_has_a_champion(night):
    book = Registry(night[0] / "registry")
    assert book.champion("EDGE-DEMO") is not None
    assert book.champion("NOISE-DEMO") is None
    assert [entry.action for entry in book.history("NOISE-DEMO")] == ["register", "reject"]
    for coin in COINS:
        book.verify(coin)


@pytest.mark.parametrize("coin", COINS)
@pytest.mark.parametrize(
    ("table", "schema"),
    [
        ("candles/{}", CandleSchema),
        ("labels/{}", LabelSchema),
        ("models/{}/selection", SelectionSchema),
        ("models/{}/lightgbm", PredictionSchema),
        ("ensemble/{}", DecisionSchema),
    ],
)
def test_stored_tables_meet_their_contract(night, coin, table, schema):
    check_frame(read_parquet(night[0] / f"{table.format(coin)}.parquet"), schema, what=table)


@pytest.mark.parametrize("coin", COINS)
def test_a_final_model_names_the_columns_that_were_selected_for_it_and_answers_them(night, coin):
    selection = read_parquet(night[0] / "models" / coin / "selection.parquet")
    features = read_parquet(night[0] / "features" / f"{coin}.parquet")
    folds = read_parquet(night[0] / "splits" / f"{coin}.parquet").columns
    assert [f"fold_{fold}" for fold in selection["fold"].unique()] == [*folds, f"fold_{FINAL}"]
    model, card = load_bundle(night[0] / "models" / coin / "lightgbm.bundle")
    assert card["features"] == columns_of(selection, FINAL)
    assert len(card["features"]) == 50 < features.shape[1]
    assert model.predict(samples_of(features[card["features"]].tail(3))).shape == (3, 3)
    assert load_bundle(night[0] / "models" / coin / "prior.bundle")[1]["features"] == features.columns.tolist()


def test_every_table_names_the_candles_it_came_from(night):
    for coin in COINS:
        tables = [
            read_parquet(night[0] / name.format(coin))
            for name in ("candles/{}.parquet", "features/{}.parquet", "labels/{}.parquet", "splits/{}.parquet")
        ]
        [candles] = lineage_of(tables[0])["candles"]
        assert all(lineage_of(table)["candles"] == [candles] for table in tables)
        assert verdict_of(night[0], coin)["subject"]["data_hash"] == candles


def test_there_is_one_check_per_criterion_and_coin(night):
    settings = small_settings(night[0])
    names = {criterion.name for criterion in criteria(settings.gate)}
    keys = [dg.AssetCheckKey(dg.AssetKey("gate"), name) for name in names]
    found = {
        (key.name, record.partition): record.status.value
        for key in keys
        for record in night[1].event_log_storage.get_asset_check_execution_history(key, limit=10)
    }
    assert {(name, coin) for name in names for coin in COINS} == set(found)
    failed = {finding["name"] for finding in verdict_of(night[0], "NOISE-DEMO")["findings"] if not finding["passed"]}
    assert {name for (name, coin), status in found.items() if coin == "NOISE-DEMO" and status == "FAILED"} == failed


def metadata_of(instance, key: dg.AssetKey):
    return instance.get_latest_materialization_event(key).asset_materialization.metadata


def test_every_asset_of_a_night_carries_a_picture_where_there_is_something_to_draw(night):
    drawn = {
        key.to_user_string()
        for key in corridor_of(floor_plan(small_settings(night[0])))
        if any("data:image/png;base64," in str(getattr(it, "md_str", "")) for it in metadata_of(night[1], key).values())
    }
    no_feed_no_champion, told_in_words = {"drift", "feeds", "shadow"}, {"registry", "report"}
    assert names_of(corridor_of(floor_plan(small_settings(night[0])))) - drawn == no_feed_no_champion | told_in_words


def test_numbers_stand_under_names_that_stay_or_their_plots_over_the_nights_would_break_off(night):
    found = {
        key.to_user_string(): sorted(
            name
            for name, it in metadata_of(night[1], key).items()
            if isinstance(it, dg.IntMetadataValue | dg.FloatMetadataValue)
        )
        for key in corridor_of(floor_plan(small_settings(night[0])))
    }
    assert found == json.loads(NUMBERS.read_text(encoding="utf-8"))


def test_the_report_stands_alone(night):
    page = (night[0] / "reports" / "EDGE-DEMO.html").read_text().replace(plotly_script(), "")
    assert "PROMOTE" in page
    assert "http://" not in page
    assert "https://" not in page
    assert "costs x3" in page
    assert (night[0] / "reports" / "EDGE-DEMO" / "findings.csv").exists()


def test_the_first_step_of_the_stored_ladder_is_the_stored_backtest(night):
    ladder = read_parquet(night[0] / "backtest" / "EDGE-DEMO.ladder.parquet")
    metrics = json.loads((night[0] / "backtest" / "EDGE-DEMO" / "metrics.json").read_text())
    assert ladder["pnl"].loc[1.0] == metrics["pnl"]


def test_the_fleet_has_a_page_that_leads_to_every_coin(night):
    page = (night[0] / "reports" / "fleet.html").read_text()
    assert all(f'<a href="{coin}.html">' in page for coin in COINS)


def test_the_summary_shows_every_coin_with_the_whole_win_rate(night):
    table = read_parquet(night[0] / "summary" / "summary.parquet")
    assert table["coin"].tolist() == list(COINS)
    for phrase in table["win rate"]:
        for part in (" to ", "n ", "zero skill", "payoff", "coverage"):
            assert part in phrase


@pytest.mark.slow
def test_the_same_night_twice_gives_the_same_version(night):
    root, instance, _ = night
    book = Registry(root / "registry")
    before = {coin: sorted(path.name for path in (root / "registry" / coin / "versions").iterdir()) for coin in COINS}
    assert run_night(floor_plan(small_settings(root)), COINS, instance) == []
    after = {coin: sorted(path.name for path in (root / "registry" / coin / "versions").iterdir()) for coin in COINS}
    assert after == before
    assert [entry.action for entry in book.history("EDGE-DEMO")] == ["register", "promote"]


def test_models_changed_after_the_verdict_are_not_registered(night):
    root, instance, _ = night
    stack = root / "ensemble" / "EDGE-DEMO.stack.json"
    original = stack.read_text()
    stack.write_text(original.replace('"temperature"', ' "temperature"'))
    try:
        result = (
            floor_plan(small_settings(root))
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                asset_selection=[dg.AssetKey("registry")],
                partition_key="EDGE-DEMO",
                instance=instance,
                raise_on_error=False,
            )
        )
    finally:
        stack.write_text(original)
    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert "the models have changed since the gate judged them" in failure.step_failure_data.error.cause.message


def write_files(folder: Path, settings, *, broken: str) -> None:
    folder.mkdir()
    for coin in COINS:
        bars = demo_candles(coin, settings.demo)
        if coin == broken:
            bars.iloc[100:300, bars.columns.get_loc("high")] = 0.01
        bars.to_csv(folder / f"{coin}.csv")


@pytest.mark.slow
def test_a_coin_with_a_broken_file_fails_alone(tmp_path, capfd):
    settings = small_settings(tmp_path, source="files", files_dir=tmp_path / "raw")
    write_files(tmp_path / "raw", settings, broken="NOISE-DEMO")
    with dg.DagsterInstance.ephemeral() as instance:
        failed = run_night(floor_plan(settings), COINS, instance)
    assert failed == ["NOISE-DEMO"]
    assert verdict_of(tmp_path, "EDGE-DEMO")["outcome"]
    assert not (tmp_path / "candles" / "NOISE-DEMO.parquet").exists()
    assert "NOISE-DEMO ({}): row 101, at ".format(tmp_path / "raw" / "NOISE-DEMO.csv") in capfd.readouterr().err
    assert read_parquet(tmp_path / "market" / "market.parquet").columns.tolist() == ["EDGE-DEMO"]


CANDLE_CHECKS = [
    "contract_holds",
    "history_not_rewritten",
    "history_reaches_tonight",
    "no_bad_prints",
    "no_gaps",
    "prices_of_this_coin",
    "rows_are_sound",
    "stamps_agree_with_the_market",
    "trading_goes_on",
    "volume_in_one_unit",
]


def test_the_checks_on_candles_pass_on_the_demo_market_and_say_whether_they_block(night):
    graph = floor_plan(small_settings(night[0])).resolve_asset_graph()
    specs = [graph.get_check_spec(key) for key in graph.asset_check_keys if key.asset_key == dg.AssetKey("candles")]
    assert sorted(spec.name for spec in specs) == CANDLE_CHECKS
    assert all(spec.description.startswith("Blocks " if spec.blocking else "Warns ") for spec in specs)
    for spec in specs:
        records = night[1].event_log_storage.get_asset_check_execution_history(spec.key, limit=10)
        assert {(record.partition, record.status.value) for record in records} >= {(coin, "SUCCEEDED") for coin in COINS}
        assert {record.status.value for record in records} == {"SUCCEEDED"}


@pytest.mark.parametrize("fault", ["prices_of_this_coin", "stamps_agree_with_the_market"])
def test_a_wrong_file_is_refused_and_leaves_the_stored_candles_as_they_are(tmp_path, fault):
    settings = small_settings(tmp_path, source="files", files_dir=tmp_path / "raw")
    write_files(tmp_path / "raw", settings, broken="")
    candles, market, *_ = (floor_plan(settings).resolve_job_def(name) for name in PHASES)
    path, stored = tmp_path / "raw" / "NOISE-DEMO.csv", tmp_path / "candles" / "NOISE-DEMO.parquet"
    with dg.DagsterInstance.ephemeral() as instance:
        for coin in COINS:
            assert candles.execute_in_process(partition_key=coin, instance=instance).success
        assert market.execute_in_process(instance=instance).success
        before = stored.read_bytes()
        wrong = demo_candles("NOISE-DEMO", settings.demo)
        wrong = wrong * 7 if fault == "prices_of_this_coin" else wrong.set_axis(wrong.index + pd.Timedelta("5h"))
        wrong.to_csv(path)
        night = candles.execute_in_process(partition_key="NOISE-DEMO", instance=instance, raise_on_error=False)
    [failure] = [event for event in night.all_events if event.is_step_failure]
    assert f"NOISE-DEMO ({path}): row 1, at " in failure.step_failure_data.error.cause.message
    assert [event.asset_check_evaluation_data.passed for event in checks_of(night, fault)] == [False]
    assert stored.read_bytes() == before


@pytest.mark.slow
def test_selecting_the_corridor_for_one_coin_works_from_nothing(tmp_path):
    settings = small_settings(tmp_path)
    plan = floor_plan(settings)
    job, corridor = plan.resolve_implicit_global_asset_job_def(), corridor_of(plan)
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(asset_selection=corridor, partition_key="EDGE-DEMO", instance=instance).success
    assert read_parquet(tmp_path / "summary" / "summary.parquet")["coin"].tolist() == ["EDGE-DEMO"]
    assert Registry(tmp_path / "registry").history("EDGE-DEMO")[0].at <= datetime.now(UTC).isoformat()
    assert isinstance(read_parquet(tmp_path / "market" / "market.parquet"), pd.DataFrame)


@pytest.mark.slow
def test_a_leaking_feature_stops_its_coin_and_spoils_a_verdict_made_without_it(tmp_path, monkeypatch):
    tomorrow = Feature(
        "next_close", Family.TREND, 1, lambda bars: np.append(bars.close[1:] / bars.close[:-1] - 1, 0.0), summary="A leak."
    )
    monkeypatch.setattr("crp_pipeline.defs.features.CATALOG", (*CATALOG, tomorrow))
    plan = floor_plan(small_settings(tmp_path))
    job, corridor = plan.resolve_implicit_global_asset_job_def(), corridor_of(plan)
    with dg.DagsterInstance.ephemeral() as instance:
        night = job.execute_in_process(
            asset_selection=corridor, partition_key="NOISE-DEMO", instance=instance, raise_on_error=False
        )
        passed = {
            event.asset_check_evaluation_data.asset_key.to_user_string(): event.asset_check_evaluation_data.passed
            for event in checks_of(night, "is_causal")
        }
        assert passed == {"feeds": True, "features": False}
        assert not (tmp_path / "models").exists(), "nothing may learn from a table with a leak"
        downstream = [key for key in corridor if key.path[0] not in {"candles", "market", "feeds", "features", "summary"}]
        job.execute_in_process(asset_selection=downstream, partition_key="NOISE-DEMO", instance=instance, raise_on_error=False)
    verdict = verdict_of(tmp_path, "NOISE-DEMO")
    assert verdict["reason"].startswith("leaking_features is 1, needs <= 0")
    assert Registry(tmp_path / "registry").champion("NOISE-DEMO") is None


def checks_of(result, name):
    evaluations = [event for event in result.all_events if event.event_type_value == "ASSET_CHECK_EVALUATION"]
    return [event for event in evaluations if event.asset_check_evaluation_data.check_name == name]
