"""Feeds through Dagster: what reaches the features, what is reported, and what a bad file costs."""

import tomllib
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

import crp_pipeline
from crp_pipeline.candles import align_feed, align_feed_with_report, demo_candles
from crp_pipeline.definitions import floor_plan
from crp_pipeline.features.feeds import FEEDS
from crp_pipeline.nightly import run_night
from crp_pipeline.provenance import lineage_of
from crp_pipeline.settings import FeedConfig
from crp_pipeline.storage import read_parquet
from crp_pipeline_tests.e2e.corridor import corridor_of, small_settings

pytestmark = pytest.mark.slow

EDGE, NOISE = COINS = ("EDGE-DEMO", "NOISE-DEMO")
README = Path(crp_pipeline.__file__).parents[1] / "README.md"


def readme_feeds(folder):
    """The example of the front door, with its files in a folder."""
    [example] = [block for block in README.read_text().split("```") if "[tool.crp_pipeline.feeds." in block]
    given = tomllib.loads(example.removeprefix("toml"))["tool"]["crp_pipeline"]["feeds"]
    return {name: {**feed, "path": feed["path"].replace("data/raw/feeds", str(folder))} for name, feed in given.items()}


def funding_of(bars, seed):
    stamps = pd.date_range(bars.index[0] + pd.Timedelta(days=3), bars.index[-1], freq="8h")
    return pd.DataFrame({"timestamp": stamps, "fundingRate": 1e-4 * np.random.default_rng(seed).standard_normal(len(stamps))})


def write_feeds(folder, settings):
    """What the example of the front door names: funding from the fourth day on, sentiment with three weeks missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, coin in enumerate(COINS):
        bars = demo_candles(coin, settings.demo)
        funding_of(bars, number).to_csv(folder / f"funding_{coin}.csv", index=False)
    days = pd.date_range(bars.index[0].floor("D"), bars.index[-1], freq="1D", name="timestamp")
    mood = pd.DataFrame({"fear_greed": np.random.default_rng(5).integers(5, 95, len(days))}, index=days)
    mood.drop(mood.index[60:81]).to_csv(folder / "fear_greed.csv")


def with_feeds(root, **changes):
    write_feeds(root / "raw" / "feeds", small_settings(root))
    return small_settings(root, **{"feeds": readme_feeds(root / "raw" / "feeds"), **changes})


def materialize(settings, *keys, coin, instance):
    job = floor_plan(settings).resolve_implicit_global_asset_job_def()
    selection = [dg.AssetKey(key.split("/")) for key in keys]
    return job.execute_in_process(asset_selection=selection, partition_key=coin, instance=instance, raise_on_error=False)


def failure_of(result):
    [failure] = [event.step_failure_data.error.cause for event in result.all_events if event.is_step_failure]
    return failure.message.strip().removeprefix("crp_pipeline.errors.DataContractError: ")


def checks_of(result):
    found = [
        event.asset_check_evaluation_data for event in result.all_events if event.event_type_value == "ASSET_CHECK_EVALUATION"
    ]
    return {it.check_name: it for it in found if it.asset_key == dg.AssetKey("feeds")}


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as it:
        yield it


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A finished night of one coin with the feeds of the front door."""
    root = tmp_path_factory.mktemp("night")
    settings = with_feeds(root)
    with dg.DagsterInstance.ephemeral() as instance:
        failed = run_night(floor_plan(settings), [EDGE], instance)
        yield root, settings, instance, failed


def test_a_night_with_the_feeds_of_the_front_door_ends_without_failure(night):
    assert night[3] == []


def test_the_stored_feeds_are_those_of_the_coin_as_known_at_each_close(night):
    root, coin = night[0], EDGE
    stored, candles = (read_parquet(root / room / f"{coin}.parquet") for room in ("feeds", "candles"))
    assert list(stored) == ["funding_rate", "fear_greed"]
    assert stored.index.equals(candles.index)
    file = pd.read_csv(root / "raw" / "feeds" / f"funding_{coin}.csv", parse_dates=["timestamp"]).set_index("timestamp")
    expected = align_feed(candles.index, file, available_after="1min", interval="1h")["fundingRate"]
    assert stored["funding_rate"].equals(expected.rename("funding_rate"))
    assert lineage_of(stored)["candles"] == lineage_of(candles)["candles"]


def test_features_of_feeds_reach_the_table_that_the_models_learn_from(night):
    table, stored = (read_parquet(night[0] / room / f"{EDGE}.parquet") for room in ("features", "feeds"))
    assert table["funding_bps"].to_numpy() == pytest.approx(1e4 * stored["funding_rate"].to_numpy(), nan_ok=True)
    has_value = table[[feature.name for feature in FEEDS]].notna().mean()
    assert has_value[["funding_zscore_168", "fear_greed_change_168"]].gt(0.5).all()
    assert has_value.filter(like="open_interest").eq(0).all(), "boosters were trained with columns that are missing throughout"
    assert lineage_of(table)["feeds"] == lineage_of(stored)["feeds"]


def test_the_page_of_the_feeds_shows_what_the_bars_know(night):
    metadata = night[2].get_latest_materialization_event(dg.AssetKey("feeds")).asset_materialization.metadata
    assert "data:image/png;base64," in metadata["picture"].md_str
    assert metadata["columns"].value == "funding_rate, fear_greed"
    for part in ("not_yet", "in_holes", "after_end", "fear_greed"):
        assert part in metadata["coverage"].md_str


def test_features_made_under_other_feed_settings_are_not_promoted(night):
    root, settings, _, _ = night
    feeds = {**settings.feeds, "sentiment": FeedConfig(path=settings.feeds["sentiment"].path, available_after="0h")}
    later = small_settings(root, feeds=feeds)
    downstream = (
        "labels",
        "splits",
        "models/selection",
        "models/prior",
        "models/persistence",
        "models/logistic",
        "models/lightgbm",
        "ensemble",
        "backtest",
        "comparison",
        "sentinels",
        "gate",
    )
    with dg.DagsterInstance.ephemeral() as instance:
        assert materialize(later, *downstream, coin=EDGE, instance=instance).success
        metadata = instance.get_latest_materialization_event(dg.AssetKey("gate")).asset_materialization.metadata
    assert metadata["mismatched"].value == "feeds.settings"


def test_a_coin_with_a_feed_of_open_interest_has_labels_of_its_change(tmp_path, instance):
    bars = demo_candles(EDGE, small_settings(tmp_path).demo)
    values = pd.DataFrame({"open_interest": np.linspace(100, 200, len(bars))}, index=bars.index.rename("timestamp"))
    values.to_csv(tmp_path / "open_interest.csv")
    feed = FeedConfig(path=str(tmp_path / "open_interest.csv"), available_after="0h", coins=(EDGE,))
    settings = small_settings(tmp_path, feeds={"interest": feed})
    for coin, has_target in ((EDGE, True), (NOISE, False)):
        assert materialize(settings, "candles", "feeds", "labels", coin=coin, instance=instance).success
        labels, feeds = (read_parquet(tmp_path / room / f"{coin}.parquet") for room in ("labels", "feeds"))
        assert ("open_interest_change" in labels) is has_target
        assert lineage_of(labels)["feeds"] == lineage_of(feeds)["feeds"]
        if has_target:
            assert labels["open_interest_change"].notna().equals(labels["signal"].notna())
            known = feeds["open_interest"]
            changes = known.shift(-settings.horizon) / known - 1
            np.testing.assert_allclose(labels["open_interest_change"].dropna(), changes[labels["signal"].notna()])


def test_without_feeds_the_table_has_every_bar_and_no_column(tmp_path, instance):
    settings = small_settings(tmp_path)
    result = materialize(settings, "candles", "feeds", coin=EDGE, instance=instance)
    assert result.success
    assert {name: check.passed for name, check in checks_of(result).items()} == {
        "is_causal": True,
        "feeds_reach_tonight": True,
        "feeds_are_known": True,
    }
    stored, candles = (read_parquet(tmp_path / room / f"{EDGE}.parquet") for room in ("feeds", "candles"))
    assert stored.shape == (len(candles), 0)
    assert stored.index.equals(candles.index)


def test_the_checks_say_whether_they_block(tmp_path):
    graph = floor_plan(small_settings(tmp_path)).resolve_asset_graph()
    specs = [graph.get_check_spec(key) for key in graph.asset_check_keys if key.asset_key == dg.AssetKey("feeds")]
    assert {spec.name: spec.blocking for spec in specs} == {
        "is_causal": True,
        "feeds_reach_tonight": False,
        "feeds_are_known": False,
    }
    assert all(spec.description.startswith("Blocks " if spec.blocking else "Warns ") for spec in specs)


def test_a_feed_that_ended_years_ago_is_reported_and_stops_nobody(tmp_path, instance):
    settings = with_feeds(tmp_path)
    days = pd.date_range("2015-01-01", "2015-03-01", freq="1D", name="timestamp")
    pd.DataFrame({"fear_greed": 50.0}, index=days).to_csv(tmp_path / "raw" / "feeds" / "fear_greed.csv")
    result = materialize(settings, "candles", "feeds", coin=EDGE, instance=instance)
    assert result.success
    found = checks_of(result)
    assert not found["feeds_reach_tonight"].passed
    assert found["feeds_reach_tonight"].severity is dg.AssetCheckSeverity.WARN
    assert "the last fear_greed is of 2015-03-01 00:00:00+00:00, too old on the latest 3,000 bars" in (
        found["feeds_reach_tonight"].description
    )
    assert not found["feeds_are_known"].passed
    assert "fear_greed is unknown on all 3,000 bars" in found["feeds_are_known"].description
    assert "funding_rate" not in found["feeds_reach_tonight"].description


def test_holes_and_a_late_start_are_counted(night):
    key = dg.AssetCheckKey(dg.AssetKey("feeds"), "feeds_are_known")
    [record] = night[2].event_log_storage.get_asset_check_execution_history(key, limit=1)
    funding, mood = record.event.asset_check_evaluation.description.split("\n")
    # stamped 72 h after the first bar opens and known a minute later: the bar that closes then does not see it
    assert funding.endswith("funding_rate is unknown on the first 72 bars and on 0 in holes, of 3,000")
    # 21 days are missing; the value before them is carried for three
    assert mood.endswith(f"fear_greed is unknown on the first 0 bars and on {19 * 24 - 1} in holes, of 3,000")


BROKEN = {
    "empty": ("", "is empty"),
    "two time zones": (
        "timestamp,fundingRate\n2024-01-01 00:00:00+00:00,0.1\n2024-01-01 08:00:00,0.2\n",
        "row 2, column timestamp: '2024-01-01 08:00:00' has no time zone, the first row has one",
    ),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_cannot_be_read_stops_its_coin_with_one_sentence_and_leaves_what_is_stored(
    tmp_path, instance, text, message
):
    settings = with_feeds(tmp_path)
    assert materialize(settings, "candles", "feeds", coin=NOISE, instance=instance).success
    stored, path = tmp_path / "feeds" / f"{NOISE}.parquet", tmp_path / "raw" / "feeds" / f"funding_{NOISE}.csv"
    before = stored.read_bytes()
    path.write_text(text)
    result = materialize(settings, "candles", "feeds", coin=NOISE, instance=instance)
    sentence = failure_of(result)
    assert sentence.startswith(f"{NOISE}: feed funding ({path})")
    assert message in sentence
    assert "\n" not in sentence
    assert stored.read_bytes() == before


def test_another_coin_of_the_same_night_carries_on(tmp_path, instance, capfd):
    write_feeds(tmp_path / "raw" / "feeds", small_settings(tmp_path))
    one = pd.read_csv(tmp_path / "raw" / "feeds" / f"funding_{EDGE}.csv").assign(coin=EDGE)
    one.to_csv(tmp_path / "raw" / "feeds" / "funding.csv", index=False)
    of_one = {
        "funding": {
            "path": str(tmp_path / "raw" / "feeds" / "funding.csv"),
            "symbol": "{coin}",
            "columns": {"funding_rate": "fundingRate"},
            "available_after": "1min",
        }
    }
    assert run_night(floor_plan(small_settings(tmp_path, feeds=of_one)), COINS, instance) == [NOISE]
    assert (tmp_path / "gate" / f"{EDGE}.json").exists()
    assert not (tmp_path / "models" / NOISE).exists()
    told = capfd.readouterr().err
    assert f"{NOISE}: feed funding ({tmp_path / 'raw' / 'feeds' / 'funding.csv'}) has no rows of {NOISE}, found: {EDGE}" in told
    summary = read_parquet(tmp_path / "summary" / "summary.parquet").set_index("coin")
    assert summary.loc[NOISE, "failed first"] == "the run failed at feeds"
    for_the_other = {"funding": {**of_one["funding"], "coins": [EDGE]}}
    assert materialize(small_settings(tmp_path, feeds=for_the_other), "feeds", coin=NOISE, instance=instance).success


def from_behind(index, rows, **arguments):
    table, report = align_feed_with_report(index, rows, **arguments)
    return table.bfill(), report


def at_once(index, rows, **arguments):
    return align_feed_with_report(index, rows, **{**arguments, "available_after": "0h"})


@pytest.mark.parametrize("aligner", [from_behind, at_once])
def test_feeds_that_look_ahead_stop_their_coin_before_anything_is_stored(tmp_path, instance, monkeypatch, aligner):
    settings = with_feeds(tmp_path)
    monkeypatch.setattr("crp_pipeline.candles.coin_feeds.align_feed_with_report", aligner)
    plan = floor_plan(settings)
    result = plan.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=corridor_of(plan), partition_key=EDGE, instance=instance, raise_on_error=False
    )
    found = checks_of(result)
    assert {name: check.passed for name, check in found.items()} == {"is_causal": False}
    assert found["is_causal"].metadata["leaks"].value > 0
    assert failure_of(result).startswith(f"{EDGE}: the aligned feeds show what became known later, in ")
    assert not (tmp_path / "feeds" / f"{EDGE}.parquet").exists()
    assert not (tmp_path / "features").exists()
