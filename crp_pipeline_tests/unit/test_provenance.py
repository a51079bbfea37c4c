"""Lineage: what a frame was made from, and whether all ingredients of a result agree on it."""

import shutil
import subprocess

import pandas as pd
import pytest

from crp_pipeline import provenance
from crp_pipeline.provenance import (
    candidate_recipe,
    code_revision,
    conflicts,
    feeds_recipe,
    lineage_of,
    merged,
    recipe_hash,
    stamp,
)
from crp_pipeline.settings import load_settings
from crp_pipeline.storage import frame_hash, read_parquet, write_parquet

COIN = "BTC-USDT"


def frame(*values):
    index = pd.date_range("2024-01-01", periods=len(values), freq="h", tz="UTC", name="open_time", unit="ns")
    return pd.DataFrame({"value": list(values)}, index=index)


def candles_and(*values):
    candles = stamp(frame(1.0, 2.0), "candles", coin="BTC-USDT")
    return candles, stamp(frame(*values), "labels", behind=[candles])


def test_a_frame_names_itself_and_all_that_lies_behind_it():
    candles, labels = candles_and(3.0)
    splits = stamp(frame(4.0), "splits", behind=[labels])
    assert lineage_of(splits) == {
        name: [frame_hash(it)] for name, it in (("candles", candles), ("labels", labels), ("splits", splits))
    }
    assert splits.attrs["coin"] == "BTC-USDT"


def test_ingredients_of_one_night_agree():
    candles, labels = candles_and(3.0)
    assert conflicts(merged(lineage_of(candles), lineage_of(labels))) == []


def test_an_ingredient_that_was_made_anew_is_named():
    candles, labels = candles_and(3.0)
    predictions = stamp(frame(5.0), "models/lightgbm", behind=[labels], files={"models/lightgbm.bundle": "aa"})
    again = stamp(frame(3.5), "labels", behind=[candles])
    assert conflicts(merged(lineage_of(predictions), lineage_of(again))) == ["labels"]
    assert conflicts(merged(lineage_of(predictions), {"models/lightgbm.bundle": ["bb"]})) == ["models/lightgbm.bundle"]


def test_a_conflict_further_back_is_found_through_what_was_made_from_it():
    old, labels = candles_and(3.0)
    new = stamp(frame(1.0, 2.5), "candles", coin="BTC-USDT")
    assert frame_hash(old) != frame_hash(new)
    mixed = stamp(frame(6.0), "ensemble", behind=[labels, new])
    assert conflicts(lineage_of(mixed)) == ["candles"]


def test_lineage_survives_the_disk(tmp_path):
    _, labels = candles_and(3.0)
    write_parquet(tmp_path / "labels.parquet", labels)
    assert lineage_of(read_parquet(tmp_path / "labels.parquet")) == lineage_of(labels)


@pytest.mark.parametrize(
    ("change", "is_another"),
    [({"horizon": 12}, True), ({"seed": 1}, True), ({"selection": {"keep": 9}}, True), ({"threads": 2}, False)],
)
def test_the_recipe_changes_with_what_the_results_depend_on(change, is_another):
    assert (recipe_hash(load_settings(**change), COIN) != recipe_hash(load_settings(), COIN)) is is_another


CARD = {"model_type": "tcn", "variant": "default", "parameters": {"width": 8}, "days_of_history": None, "all_features": False}


@pytest.mark.parametrize(
    ("change", "is_another"),
    [
        ({"variant": "lightweight"}, True),
        ({"parameters": {"width": 16}}, True),
        ({"days_of_history": 90}, True),
        ({"all_features": True}, True),
        ({"seed": 5}, False),
    ],
)
def test_what_a_run_asks_of_a_model_is_another_recipe_and_a_seed_is_luck(change, is_another):
    other = {**CARD, "model_type": "lightgbm"}
    known = candidate_recipe(load_settings(), COIN, [CARD, other])
    assert (candidate_recipe(load_settings(), COIN, [other, {**CARD, **change}]) != known) is is_another
    assert candidate_recipe(load_settings(seed=3), COIN, [other, CARD]) == known
    assert candidate_recipe(load_settings(horizon=3), COIN, [other, CARD]) != known


@pytest.mark.parametrize(
    "change",
    [
        {"prop_firm": {"daily_loss": 0.03}},
        {"gate": {"min_trades": 500, "n_resamples": 5_000}},
        *(
            {"sentinels": {name: value}}
            for name, value in {
                "max_accuracy": 0.7,
                "max_auc": 0.7,
                "plausibility_horizon": "2h",
                "max_shift_z": 5.0,
                "leak_rows": 7_000,
                "leak_rounds": 31,
                "leak_folds": 6,
            }.items()
        ),
    ],
)
def test_what_neither_a_model_nor_a_trade_depends_on_makes_no_other_recipe(change):
    told = [candidate_recipe(settings, COIN, [CARD]) for settings in (load_settings(), load_settings(**change))]
    assert told[0] == told[1]
    assert (recipe_hash(load_settings(**change), COIN) != recipe_hash(load_settings(), COIN)) is ("gate" not in change)


@pytest.mark.parametrize(
    "change",
    [
        *({"sentinels": it} for it in ({"quarantine": False}, {"released": ["return_1"]}, {"false_alarm_level": 0.02})),
        *({"sentinels": it} for it in ({"max_feature_auc": 0.7}, {"max_feature_z": 7.0})),
        *({name: it} for name, it in (("sizing", {"max_leverage": 0.5}), ("exits", {"stop_volatility_multiple": 2.0}))),
    ],
)
def test_what_models_see_and_what_trades_are_is_another_recipe(change):
    told = [candidate_recipe(settings, COIN, [CARD]) for settings in (load_settings(), load_settings(**change))]
    assert told[0] != told[1]


def test_the_recipe_of_a_coin_knows_its_own_overrides_and_no_others():
    other, own = ({"coin_overrides": {coin: {"execution": {"fee_bps": 9.0}}}} for coin in ("ETH-USDT", COIN))
    plain = recipe_hash(load_settings(), COIN)
    assert recipe_hash(load_settings(**other), COIN) == plain != recipe_hash(load_settings(**own), COIN)
    assert recipe_hash(load_settings(**own).of(COIN), COIN) == recipe_hash(load_settings(**own), COIN)


FUNDING = {"path": "funding.csv", "available_after": "1D"}


@pytest.mark.parametrize(
    ("feeds", "is_another"),
    [
        ({"funding": {**FUNDING, "path": "/elsewhere/funding.csv"}}, False),
        ({"funding": {**FUNDING, "available_after": "0h"}}, True),
        ({"funding": {**FUNDING, "symbol": "{coin}"}}, True),
        ({"funding": {**FUNDING, "coins": ["BTC-USDT"]}}, True),
        ({"funding": {**FUNDING, "columns": {"funding_rate": "rate"}}}, True),
        ({"funding": {**FUNDING, "max_age": "3D"}}, True),
        ({"funding": FUNDING, "sentiment": FUNDING}, True),
        ({}, True),
    ],
)
def test_the_recipe_knows_what_a_feed_means_and_not_where_it_lies(feeds, is_another):
    one, other = load_settings(feeds={"funding": FUNDING}), load_settings(feeds=feeds)
    assert (recipe_hash(one, COIN) != recipe_hash(other, COIN)) is is_another
    assert (feeds_recipe(one) != feeds_recipe(other)) is is_another


def test_the_recipe_of_the_feeds_knows_nothing_else():
    assert feeds_recipe(load_settings(horizon=12)) == feeds_recipe(load_settings())
    assert list(feeds_recipe(load_settings())) == ["feeds.settings"]


def test_a_copy_inside_a_strangers_checkout_does_not_take_his_commit(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("site-packages\n")
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "-C", tmp_path, "add", "."], check=True)
    subprocess.run(["git", "-C", tmp_path, *author, "commit", "-qm", "his"], check=True)
    copy = tmp_path / "site-packages" / "provenance.py"
    copy.parent.mkdir()
    shutil.copy(provenance.__file__, copy)
    monkeypatch.setattr(provenance, "__file__", str(copy))
    assert code_revision().startswith("crp-pipeline ")
