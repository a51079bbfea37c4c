"""The zoo stores each result as it comes, goes on where it was, and its table is the scoreboard of what is stored."""

import json

import pytest

from crp_pipeline.candles import demo_candles, repair_candles
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.gate.scoreboard import stored_scoreboard
from crp_pipeline.models import MODEL_TYPES
from crp_pipeline.settings import DemoConfig
from crp_pipeline_tests.benchmarks import zoo
from crp_pipeline_tests.benchmarks.zoo import POOLED, Recipe, jobs_of, known_params, markdown, run_pool, run_zoo
from crp_pipeline_tests.quick import SMALL

COINS = ("EDGE-DEMO", "NOISE-DEMO")
CANDLES = {
    coin: repair_candles(demo_candles(coin, DemoConfig(n_bars=1_200), "1h"), "1h", max_gap=0, source=coin)[0] for coin in COINS
}
RECIPE = Recipe(days=35, train_days=20, test_days=5, horizon=6)
JOBS = jobs_of(COINS, ("lightgbm", "prior"), "default", (0, 1))


def run(folder, jobs=JOBS, recipe=RECIPE, tell=lambda _: None):
    return run_zoo(jobs, CANDLES, recipe, folder, params=SMALL, tell=tell)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder, told = tmp_path_factory.mktemp("zoo"), []
    assert run(folder, tell=told.append) == []
    return folder, told


def results(folder):
    return {path: path.stat().st_mtime_ns for path in (folder / "models").rglob("*.parquet")}


def test_baselines_come_first_and_with_one_seed():
    assert [job.name for job in JOBS] == ["prior", "lightgbm@seed0", "lightgbm@seed1"] * 2
    assert [job.name for job in jobs_of(COINS[:1], MODEL_TYPES, "deep", (7,))][-1].endswith(".deep@seed7")
    named = {job.model_type for job in jobs_of(COINS, MODEL_TYPES, "default", (0,))}
    assert named == set(MODEL_TYPES), "a type of the catalogue joins by itself"


def test_every_job_leaves_predictions_and_a_card(finished):
    folder, told = finished
    for job in JOBS:
        card = json.loads((folder / "models" / job.coin / f"{job.name}.json").read_text())
        assert (card["model_type"], card["coin"]) == (job.model_type, job.coin)
        assert card["seconds"] > 0
    assert told[0] == "0 of 6 results are stored, 6 to go"
    assert told[-1].startswith("6 of 6 done, NOISE-DEMO lightgbm@seed1; ")
    assert told[-1].endswith(" 0 s left")


def test_the_table_is_that_of_the_stored_results(finished):
    folder, _ = finished
    board = stored_scoreboard(folder)
    assert list(board["model"]) == ["prior", "lightgbm"] * 2
    assert list(board["seeds"]) == [1, 2] * 2
    assert list(board["folds"]) == [3] * 4
    lines = markdown(folder).splitlines()
    assert len(lines) == 2 + 4
    assert "(seeds +- " in lines[3]


def test_what_is_stored_is_not_trained_again(finished, monkeypatch):
    folder, _ = finished
    before = results(folder)
    monkeypatch.setattr(zoo, "train", None)
    told = []
    assert run(folder, tell=told.append) == []
    assert told == ["6 of 6 results are stored, 0 to go"]
    assert results(folder) == before


def test_a_run_that_was_cut_off_goes_on_where_it_was(finished, tmp_path, monkeypatch):
    calls, honest = [], zoo.train

    def interrupted(spec, *arguments, **options):
        calls.append(spec.model_type)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return honest(spec, *arguments, **options)

    monkeypatch.setattr(zoo, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    first = results(tmp_path)
    assert {path.stem for path in first} == {"prior", "lightgbm@seed0", "selection"}
    told = []
    run(tmp_path, tell=told.append)
    assert told[0] == "2 of 6 results are stored, 4 to go"
    assert {path: at for path, at in results(tmp_path).items() if path in first} == first
    assert stored_scoreboard(tmp_path)["log_loss"].equals(stored_scoreboard(finished[0])["log_loss"])


def test_results_of_another_recipe_are_not_mixed_in(finished):
    folder, _ = finished
    with pytest.raises(DataContractError, match="holds results with test_days = 5, not 6: name another folder"):
        run(folder, recipe=Recipe(days=35, train_days=20, test_days=6, horizon=6))


def test_a_model_that_cannot_learn_holds_up_nobody(tmp_path, monkeypatch):
    honest = zoo.train

    def partly(spec, *arguments, **options):
        if spec.model_type == "prior":
            raise InsufficientHistoryError("nothing to tell apart")
        return honest(spec, *arguments, **options)

    monkeypatch.setattr(zoo, "train", partly)
    failed = run(tmp_path, jobs=jobs_of(COINS[:1], ("prior", "lightgbm"), "default", (0,)))
    assert failed == ["EDGE-DEMO prior: nothing to tell apart"]
    assert list(stored_scoreboard(tmp_path)["model"]) == ["lightgbm"]


def test_parameters_reach_the_models_that_have_them():
    assert known_params("lightgbm", {"n_rounds": 3, "epochs": 2}) == {"n_rounds": 3}
    assert known_params("prior", {"n_rounds": 3}) == {}


def test_the_model_of_all_coins_is_trained_once_for_all_of_them(tmp_path, monkeypatch):
    jobs = jobs_of(COINS, (POOLED,), "default", (0,))
    params = {**SMALL, "width": 8, "n_heads": 2, "chunk": 32}
    told = []
    run_pool(jobs, CANDLES, RECIPE, tmp_path, params=params, tell=told.append)
    assert told[-1] == "pooled_transformer@seed0: 2 coins done"
    assert set(stored_scoreboard(tmp_path)["coin"]) == set(COINS)
    monkeypatch.setattr(zoo, "train_pool", None)
    run_pool(jobs, CANDLES, RECIPE, tmp_path, params=params)
