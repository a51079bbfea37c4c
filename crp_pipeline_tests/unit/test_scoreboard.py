"""All models of a coin side by side, from the files that are there."""

import math

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.contracts import PROBABILITIES
from crp_pipeline.errors import DataContractError
from crp_pipeline.gate.scoreboard import Result, result_name, scoreboard, stored_results, stored_scoreboard
from crp_pipeline.models.scoring import forecast_scores, log_losses
from crp_pipeline.reporting.scoreboard import scoreboard_table
from crp_pipeline.storage import seal, write_json, write_parquet
from crp_pipeline_tests.forecasts import guesses, sharpened, stacking_problem

MODELS = {
    "prior": lambda p: np.tile(p.mean(axis=0), (len(p), 1)),
    "lightgbm": lambda p: p,
    "catboost": lambda p: sharpened(p, 2),
    "tcn@seed0": lambda p: guesses(len(p), seed=5),
    "tcn@seed1": lambda p: guesses(len(p), seed=6),
    "tcn.deep@seed0": lambda p: sharpened(p, 0.5),
}
FRAMES, LABELS, FOLDS = stacking_problem(2_000, models=MODELS)


def results(*names):
    return [Result("BTC-USDT", name.split("@")[0], FRAMES[name]) for name in names]


@pytest.fixture
def data_dir(tmp_path):
    """Results of a coin as the pipeline and the zoo leave them, between other files."""
    folder = tmp_path / "models" / "BTC-USDT"
    write_parquet(tmp_path / "labels" / "BTC-USDT.parquet", LABELS)
    for name, frame in FRAMES.items():
        write_parquet(folder / f"{name}.parquet", frame)
    write_parquet(folder / "selection.parquet", pd.DataFrame({"feature": ["x"], "status": ["kept"]}))
    (folder / "lightgbm.bundle").mkdir()
    seal(folder / "lightgbm.bundle", {"variant": "default", "seconds": 12.5, "n_parameters": 640})
    latency = {"native": {"p50_ms": 0.11, "p99_ms": 0.2}, "onnx": {"p50_ms": 0.05, "p99_ms": 0.09}}
    write_json(folder / "tcn@seed0.json", {"seconds": 30.0, "latency": latency})
    write_json(folder / "tcn@seed1.json", {"seconds": 50.0, "latency": [{"runtime": "native", "p50_ms": 0.13, "p99_ms": 0.4}]})
    return tmp_path


def test_a_result_is_scored_as_it_is_alone():
    row = scoreboard(results("lightgbm"), LABELS).iloc[0]
    for name, value in forecast_scores(FRAMES["lightgbm"], LABELS).items():
        assert row[name] == pytest.approx(value)
    by_fold = log_losses(FRAMES["lightgbm"], LABELS).groupby(FRAMES["lightgbm"]["fold"]).mean()
    assert row["folds"] == len(FOLDS)
    assert row["log_loss_fold_sd"] == pytest.approx(by_fold.std())
    assert row["seeds"] == 1
    assert math.isnan(row["log_loss_seed_sd"])


def test_baselines_come_first_and_then_the_lowest_log_loss():
    board = scoreboard(results("tcn@seed0", "catboost", "lightgbm", "prior"), LABELS)
    assert board["model"].iloc[0] == "prior"
    learned = board.iloc[1:]
    assert list(learned["log_loss"]) == sorted(learned["log_loss"])
    assert learned["model"].iloc[-1] == "tcn"


def test_several_seeds_are_one_row_with_mean_and_spread():
    board = scoreboard(results("tcn@seed0", "tcn@seed1", "tcn.deep@seed0"), LABELS).set_index("model")
    alone = [forecast_scores(FRAMES[f"tcn@seed{seed}"], LABELS) for seed in (0, 1)]
    assert list(board["seeds"].loc[["tcn", "tcn.deep"]]) == [2, 1]
    for name in ("log_loss", "accuracy", "directional_accuracy", "auc", "brier", "calibration_error"):
        values = [scores[name] for scores in alone]
        assert board.loc["tcn", name] == pytest.approx(np.mean(values))
        assert board.loc["tcn", f"{name}_seed_sd"] == pytest.approx(np.std(values, ddof=1))


def test_all_models_of_a_coin_are_scored_on_the_same_bars():
    late = FRAMES["catboost"].copy()
    late.iloc[:900, :3] = np.nan
    board = scoreboard([*results("prior", "lightgbm"), Result("BTC-USDT", "catboost", late)], LABELS)
    assert len(set(board["n"])) == 1
    shared = late["p_short"].notna() & LABELS["signal"].notna()
    assert board["n"].iloc[0] == shared.sum()
    alone = forecast_scores(FRAMES["lightgbm"][shared], LABELS)
    assert board.set_index("model").loc["lightgbm", "log_loss"] == pytest.approx(alone["log_loss"])


@pytest.mark.parametrize(
    ("choices", "name"),
    [
        ({}, "tcn"),
        ({"seed": 3}, "tcn@seed3"),
        ({"variant": "deep"}, "tcn.deep"),
        ({"variant": "deep", "seed": 0}, "tcn.deep@seed0"),
    ],
)
def test_variants_and_seeds_have_files_of_their_own(choices, name):
    assert result_name("tcn", **choices) == name


def test_what_is_stored_is_read_with_what_is_known_of_it(data_dir):
    board = stored_scoreboard(data_dir).set_index("model")
    assert set(board.index) == {"prior", "lightgbm", "catboost", "tcn", "tcn.deep"}
    assert set(board["coin"]) == {"BTC-USDT"}
    assert list(board.loc["lightgbm", ["seconds", "n_parameters"]]) == [12.5, 640]
    assert math.isnan(board.loc["lightgbm", "native_p50_ms"])
    assert board.loc["tcn", "seconds"] == 40
    assert board.loc["tcn", "native_p50_ms"] == pytest.approx(0.12)
    assert board.loc["tcn", "onnx_p99_ms"] == 0.09
    assert board.loc["catboost", ["seconds", "n_parameters", "onnx_p50_ms"]].isna().all()


def test_the_variant_of_an_unnamed_file_is_that_of_its_bundle(data_dir):
    seal(data_dir / "models" / "BTC-USDT" / "lightgbm.bundle", {"variant": "lightweight"})
    assert "lightgbm.lightweight" in {result.model for result in stored_results(data_dir, "BTC-USDT")}


def test_coins_come_one_after_the_other(data_dir):
    for name in ("prior", "catboost"):
        write_parquet(data_dir / "models" / "ETH-USDT" / f"{name}.parquet", FRAMES[name])
    write_parquet(data_dir / "labels" / "ETH-USDT.parquet", LABELS)
    board = stored_scoreboard(data_dir)
    assert list(board["coin"].unique()) == ["BTC-USDT", "ETH-USDT"]
    assert list(board.groupby("coin", sort=False)["model"].first()) == ["prior", "prior"]
    assert list(stored_scoreboard(data_dir, ["ETH-USDT"])["model"]) == ["prior", "catboost"]


def test_folders_and_files_that_are_no_coin_are_passed_over(data_dir):
    write_parquet(data_dir / "models" / ".record" / "lightgbm.parquet", FRAMES["lightgbm"])
    write_parquet(data_dir / "models" / "pooled.parquet", FRAMES["lightgbm"])
    (data_dir / "models" / "empty").mkdir()
    assert list(stored_scoreboard(data_dir)["coin"].unique()) == ["BTC-USDT"]


def test_what_is_not_there_is_one_sentence(data_dir, tmp_path):
    with pytest.raises(DataContractError, match=r"XRP-USDT has no stored predictions in .*models/XRP-USDT"):
        stored_scoreboard(data_dir, ["XRP-USDT"])
    with pytest.raises(DataContractError, match="has no stored predictions of any coin"):
        stored_scoreboard(tmp_path / "empty")
    (data_dir / "labels" / "BTC-USDT.parquet").unlink()
    with pytest.raises(DataContractError, match=r"labels/BTC-USDT\.parquet cannot be read"):
        stored_scoreboard(data_dir)


def test_a_card_that_is_no_json_is_one_sentence(data_dir):
    (data_dir / "models" / "BTC-USDT" / "tcn@seed0.json").write_text("{")
    with pytest.raises(DataContractError, match=r"tcn@seed0\.json cannot be read"):
        stored_scoreboard(data_dir)


def test_the_table_says_every_score_with_its_spread(data_dir):
    table = scoreboard_table(stored_scoreboard(data_dir)).set_index("model")
    board = stored_scoreboard(data_dir).set_index("model")
    tcn, lightgbm = board.loc["tcn"], board.loc["lightgbm"]
    assert table.loc["tcn", "log-loss"] == (
        f"{tcn['log_loss']:.4f} +- {tcn['log_loss_fold_sd']:.4f} (seeds +- {tcn['log_loss_seed_sd']:.4f})"
    )
    assert table.loc["lightgbm", "log-loss"] == f"{lightgbm['log_loss']:.4f} +- {lightgbm['log_loss_fold_sd']:.4f}"
    low, high = lightgbm["accuracy_low"], lightgbm["accuracy_high"]
    assert table.loc["lightgbm", "accuracy"] == f"{lightgbm['accuracy']:.1%} ({low:.1%} to {high:.1%})"
    assert (table.loc["tcn", "native, ms"], table.loc["lightgbm", "native, ms"]) == ("0.120 / 0.300", "-")
    assert (table.loc["lightgbm", "training, s"], table.loc["lightgbm", "parameters"]) == ("12.5", "640")


def test_a_forecast_without_a_label_anywhere_is_shown_as_missing():
    board = scoreboard(results("lightgbm"), LABELS.assign(signal=math.nan))
    assert scoreboard_table(board).loc[0, "log-loss"] == "- +- -"
    assert board.loc[0, "n"] == 0


def test_probabilities_make_a_result_and_nothing_else_does(data_dir):
    folder = data_dir / "models" / "BTC-USDT"
    write_parquet(folder / "other.parquet", FRAMES["lightgbm"].drop(columns=list(PROBABILITIES)))
    write_parquet(folder / "No Model.parquet", FRAMES["lightgbm"])
    assert {result.model for result in stored_results(data_dir, "BTC-USDT")} == {
        "prior",
        "lightgbm",
        "catboost",
        "tcn",
        "tcn.deep",
    }


def test_results_without_a_common_bar_are_refused_with_where_each_lies():
    middle = LABELS.index[len(LABELS) // 2]
    early, late = (FRAMES["lightgbm"].copy() for _ in range(2))
    early.loc[early.index >= middle, list(PROBABILITIES)] = np.nan
    late.loc[late.index < middle, list(PROBABILITIES)] = np.nan
    with pytest.raises(DataContractError, match=r"BTC-USDT: the results have no bar in common: tcn from .*, lightgbm from "):
        scoreboard([Result("BTC-USDT", "tcn", early), Result("BTC-USDT", "lightgbm", late)], LABELS)
