"""A version made again is the same to the bit, or says which ingredient is gone."""

import hashlib
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from crp_pipeline.cli import app
from crp_pipeline.errors import BundleError, DataContractError, RegistryError
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry
from crp_pipeline.registry.ingredients import prune_ingredients
from crp_pipeline.replay import replay
from crp_pipeline.replay.ingredients import look_for
from crp_pipeline.replay.rebuild import Rebuild
from crp_pipeline.replay.registered import registered
from crp_pipeline.settings import ExecutionModel
from crp_pipeline.storage import read_parquet
from crp_pipeline_tests.registered_version import COIN, FEW_FEATURES, OTHER, store_market, train_version, version_settings

ROOMS = ("features", "labels", "splits", "models/selection", "models/lightgbm", "lightgbm answers", "stack", "decisions")
MODULES = ("crp_pipeline.replay.rebuild", "crp_pipeline.replay.ingredients")


@pytest.fixture(scope="module", autouse=True)
def few_features():
    with pytest.MonkeyPatch.context() as patch:
        for module in MODULES:
            patch.setattr(f"{module}.CATALOG", FEW_FEATURES)
        yield


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A champion and what was stored in its night."""
    root = tmp_path_factory.mktemp("night") / "data"
    settings, places = version_settings(root), Places(root)
    store_market(places, settings, 850)
    return places, train_version(places, settings)


@pytest.fixture
def night(original, tmp_path):
    """A copy that a test may change."""
    places, version = original
    shutil.copytree(places.root, tmp_path / "data")
    return Places(tmp_path / "data"), version


@pytest.fixture
def again(tmp_path):
    """Replay the champion of these places."""

    def play(places, version=None, **how):
        return replay(places, COIN, version, folder=tmp_path / "again", **how)

    return play


def others(told):
    """Names of what differs."""
    return {line.name for line in (*told.ingredients, *told.made) if not line.is_same}


def hashes(root):
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(root.rglob("*")) if path.is_file()}


# the same


def test_a_version_made_again_is_the_same_to_the_bit_and_nothing_stored_is_changed(night, again, tmp_path):
    places, version = night
    before = hashes(places.root)
    told = again(places)
    assert told.is_same, told.table().to_string()
    assert (told.version, tuple(line.name for line in told.made)) == (version, ROOMS)
    assert told.sentences() == [f"{COIN}: version {version} was made again and is the same to the bit"]
    assert set(told.table()["same"]) == {"yes"}
    assert hashes(places.root) == before
    kept = sorted(path.name for path in (tmp_path / "again").iterdir())
    assert kept == ["decisions.parquet", "features.parquet", "labels.parquet", "models", "splits.parquet", "stack.json"]


def test_a_version_is_the_same_when_more_bars_and_coins_have_come_and_the_settings_are_others(
    night, again, monkeypatch, tmp_path
):
    places, _ = night
    (tmp_path / "fills.csv").write_text("bps\n40.0\n")
    monkeypatch.setenv("CRP_SEED", "99")
    monkeypatch.setenv("CRP_EXECUTION__FEE_BPS", "31")
    monkeypatch.setenv("CRP_EXECUTION__SLIPPAGE_FILE", str(tmp_path / "fills.csv"))
    monkeypatch.setenv("CRP_WALK_FORWARD__TRAIN_SIZE", "600")
    shutil.rmtree(places.ingredients(COIN))
    store_market(places, version_settings(places.root), 900, coins=(COIN, OTHER, "NOISE-DEMO-3"))
    assert again(places).is_same


def test_a_restated_bar_is_no_loss_because_the_champions_candles_are_kept(night, again):
    places, _ = night
    store_market(places, version_settings(places.root), 900, changed=700)
    assert again(places).is_same


@pytest.mark.slow
def test_nothing_stored_but_the_registry_is_needed(night, again):
    places, _ = night
    for folder in places.root.iterdir():
        if folder.name != "registry":
            shutil.rmtree(folder)
    assert again(places).is_same


@pytest.mark.slow
def test_a_seed_that_a_run_asked_of_a_model_is_taken_from_its_card(night, again):
    places, champion = night
    version = train_version(places, version_settings(places.root), trades=1.0, seed=5)
    assert version != champion
    assert again(places, version).is_same


# what is gone, or another


def test_a_restated_bar_of_a_version_that_kept_nothing_is_told_and_nothing_is_made(night, again):
    places, _ = night
    settings = version_settings(places.root)
    rejected = train_version(places, settings, trades=2.0)
    shutil.rmtree(places.ingredients(COIN))
    store_market(places, settings, 900, changed=700)
    told = again(places, rejected)
    assert (told.made, told.is_same, [line.name for line in told.missing]) == ((), False, ["candles"])
    first, last = told.sentences()
    assert re.fullmatch(
        r"candles of hash [0-9a-f]{16} until .+ are no longer kept; the stored ones until then are [0-9a-f]{16}", first
    )
    assert last == f"{COIN}: version {rejected} is not made again, because 1 of its ingredients are gone or others"


@pytest.mark.slow
def test_with_a_changed_candle_every_result_that_it_reaches_is_told(night, again):
    places, _ = night
    shutil.rmtree(places.ingredients(COIN))
    store_market(places, version_settings(places.root), 850, changed=700)
    told = again(places, anyway=True)
    assert others(told) >= {"candles", "features", "decisions"}
    assert {"market", "labels"}.isdisjoint(others(told)), "a volume touches neither"
    assert any(re.search(r"\d+ of 850 decisions are others, the first at", sentence) for sentence in told.sentences())


@pytest.mark.slow
def test_a_market_that_is_gone_is_told_and_without_it_other_features_come_out(night, again):
    places, _ = night
    shutil.rmtree(places.market_ingredients)
    places.frame("market").unlink()
    told = again(places, anyway=True)
    assert "features" in others(told)
    assert "labels" not in others(told)
    [line] = told.missing
    assert (line.name, line.found) == ("market", "gone")
    assert "there is no stored table either" in line.difference


def test_without_any_candles_nothing_can_be_made(night, again):
    places, version = night
    shutil.rmtree(places.ingredients(COIN))
    places.candles(COIN).unlink()
    with pytest.raises(DataContractError, match=f"version {version} cannot be made again: there are no candles until"):
        again(places, anyway=True)


def test_other_code_is_told_with_the_way_back(night, again, monkeypatch):
    places, version = night
    monkeypatch.setattr("crp_pipeline.replay.ingredients.source_hash", lambda: "f" * 16)
    told = again(places)
    was = registered(places, COIN, version).recorded("source")
    assert told.sentences()[0] == (
        f"code was commit 0123456789ab with source hash {was}, this is {'f' * 16}: check out 0123456789ab"
    )
    assert others(told) == {"code"}
    anyway = again(places, anyway=True)
    assert (anyway.is_same, others(anyway)) == (False, {"code"})
    assert anyway.sentences()[-1].endswith("was made again and is the same to the bit, of other ingredients")


def test_another_library_is_told_by_name_and_version(night, again, monkeypatch):
    places, version = night
    here = dict(registered(places, COIN, version).card["libraries"])
    monkeypatch.setattr("crp_pipeline.replay.ingredients.library_versions", lambda: {**here, "lightgbm": "3.1"})
    told = again(places)
    assert others(told) == {"lightgbm"}
    assert told.sentences()[0] == f"lightgbm was {here['lightgbm']}, is 3.1: install lightgbm=={here['lightgbm']}"


def test_other_features_of_the_same_name_are_told(night, again, monkeypatch):
    places, _ = night
    monkeypatch.setattr("crp_pipeline.replay.ingredients.CATALOG", FEW_FEATURES[1:])
    assert others(again(places)) == {"feature definitions"}


@pytest.mark.slow
def test_another_seed_comes_out_in_every_result_that_draws(night, tmp_path):
    places, version = night
    told = registered(places, COIN, version)
    found = look_for(places, told)
    other = replace(found, settings=found.settings.model_copy(update={"seed": 7}))
    differs = {line.name for line in Rebuild(told, other, tmp_path / "again").lines() if not line.is_same}
    assert "models/selection" in differs
    assert differs.isdisjoint({"features", "labels", "splits"})


def with_settings(told, **changes):
    return replace(told, card={**told.card, "settings": {**told.card["settings"], **changes}})


def test_settings_that_this_code_does_not_know_are_told_as_an_ingredient(night):
    places, version = night
    told = registered(places, COIN, version)
    selection = {**told.card["settings"]["selection"], "tide": "high"}
    lines = look_for(places, with_settings(told, moon_phase=3, selection=selection)).lines
    assert {line.name: line.recorded for line in lines if not line.is_same} == {"moon_phase": "3", "selection.tide": "high"}
    (moon,) = (line for line in lines if line.name == "moon_phase")
    assert moon.difference == "moon_phase = 3 on the card is no setting of this code"


def test_settings_that_only_run_a_night_have_no_say(night):
    places, version = night
    told = registered(places, COIN, version)
    strange = with_settings(told, signals={"moon_phase": 3}, limits={"run_minutes": -1})
    assert look_for(places, strange).lines == look_for(places, told).lines


def test_a_setting_that_this_code_does_not_allow_is_named(night):
    places, version = night
    told = registered(places, COIN, version)
    with pytest.raises(RegistryError, match="max_gap on the card is no setting of this code: Input should be"):
        look_for(places, with_settings(told, max_gap=-1))


def test_an_altered_bundle_is_refused(night, again):
    places, version = night
    book = places.registry / COIN / "versions" / version
    model = next(path for path in (book / "models" / "lightgbm").iterdir() if path.suffix == ".txt")
    model.write_text(model.read_text().replace("leaf_value=", "leaf_value=9", 1))
    with pytest.raises(BundleError, match="has been altered since the manifest was made"):
        again(places)


@pytest.mark.slow
def test_a_final_model_that_answers_otherwise_is_told(night, tmp_path, monkeypatch):
    places, version = night
    told = registered(places, COIN, version)
    honest = Rebuild._answers

    def of_one_row_less(self, name, trained):
        learned = replace(trained, predictions=trained.predictions.iloc[:-1])
        return honest(self, name, learned)

    monkeypatch.setattr(Rebuild, "_answers", of_one_row_less)
    lines = {line.name: line for line in Rebuild(told, look_for(places, told), tmp_path / "again").lines()}
    assert not lines["lightgbm answers"].is_same
    assert lines["lightgbm answers"].difference == "the final model of lightgbm is asked about other golden inputs"


def test_a_folder_that_holds_anything_is_not_written_to(night, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="is not empty"):
        replay(night[0], COIN, folder=tmp_path / "mine")


def test_a_coin_without_a_champion_is_told_to_name_a_version(tmp_path):
    with pytest.raises(RegistryError, match="X has no champion: name the version to replay"):
        replay(Places(tmp_path), "X", folder=tmp_path / "again")


def test_a_version_that_does_not_say_what_it_was_made_from_is_refused(night):
    places, _ = night
    book, source = Registry(places.registry), registered(places, COIN, None)
    for missing in ("settings", "libraries", "code"):
        card = {name: it for name, it in source.card.items() if name not in {missing, "files", "format"}}
        version = book.register(places.candidate(COIN), card)
        with pytest.raises(RegistryError, match=f"version {version} does not tell its {missing}"):
            registered(places, COIN, version)


@pytest.mark.slow
def test_a_version_from_before_ingredients_were_told_is_found_by_the_bars_of_its_decisions(night, again):
    places, _ = night
    book, source = Registry(places.registry), registered(places, COIN, None)
    card = {name: it for name, it in source.card.items() if name not in {"ingredients", "files", "format"}}
    version = book.register(places.candidate(COIN), card)
    store_market(places, version_settings(places.root), 900)
    prune_ingredients(places, COIN, [])
    assert again(places, version).is_same


# slippage


@pytest.mark.slow
def test_slippage_that_was_drawn_from_a_file_is_kept_with_the_champion(original, tmp_path, again):
    places, sample = Places(tmp_path / "data"), tmp_path / "slippage.csv"
    sample.write_text("bps\n40.0\n55.0\n60.0\n")
    settings = version_settings(places.root, execution=ExecutionModel(slippage_file=sample))
    store_market(places, settings, 850)
    train_version(places, settings)
    sample.unlink()
    assert again(places).is_same
    [kept] = places.ingredients(COIN).glob("slippage-*")
    kept.write_text("bps\n1.0\n")
    told = replay(places, COIN, folder=tmp_path / "poorer", anyway=True)
    assert {"slippage", "labels"} <= others(told)
    assert "is no longer kept: costs are those without it" in told.sentences()[0]


# the command


@pytest.fixture
def crp(monkeypatch):
    def run(places, *arguments):
        monkeypatch.setenv("CRP_DATA_DIR", str(places.root))
        return CliRunner().invoke(app, ["replay", "--coin", COIN, *arguments])

    return run


def test_the_command_prints_every_ingredient_and_succeeds_only_when_all_is_the_same(night, crp, tmp_path):
    places, version = night
    done = crp(places, "--folder", str(tmp_path / "kept"))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["ingredient", "recorded", "found", "same"]
    assert {"candles", "threads", *ROOMS} <= {line.split("  ")[0] for line in lines}
    assert lines[-1] == f"{COIN}: version {version} was made again and is the same to the bit"
    assert (tmp_path / "kept" / "decisions.parquet").exists()


def test_the_command_refuses_to_pretend(night, crp, monkeypatch):
    monkeypatch.setattr("crp_pipeline.replay.ingredients.source_hash", lambda: "f" * 16)
    refused = crp(night[0], "--version", night[1])
    assert refused.exit_code == 1
    assert "decisions" not in refused.stdout
    assert refused.stdout.splitlines()[-1] == "--anyway goes on with what there is"
    went_on = crp(night[0], "--anyway")
    assert went_on.exit_code == 1
    assert "the same to the bit, of other ingredients" in went_on.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("threads", "roster"), [(1, ("tcn", "attention_lstm")), (2, ("tcn",))])
def test_a_network_is_the_same_to_the_bit_on_the_recorded_threads(threads, roster, tmp_path):
    places = Places(tmp_path / "data")
    settings = version_settings(places.root, roster=roster, threads=threads)
    versions = []
    for n_bars in (850, 870):
        store_market(places, settings, n_bars)
        versions.append(train_version(places, settings))
    store_market(places, settings, 900)
    # the second night read the folds of the first back, and let their models forecast the bars that had come
    for version in versions:
        told = replay(places, COIN, version, folder=tmp_path / version)
        assert told.is_same, told.table().to_string()
        decisions = read_parquet(tmp_path / version / "decisions.parquet")
        assert np.isfinite(decisions["p_long"]).sum() > 100
