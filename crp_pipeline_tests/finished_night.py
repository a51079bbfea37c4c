"""A small finished night of a coin in which every chapter of a report has something to show."""

from pathlib import Path

import numpy as np
import pandas as pd

from crp_pipeline.backtest import (
    ExecutionModel,
    Sizing,
    cost_walks,
    equity_by_cost,
    exit_table,
    ladder_of,
    latency_penalised,
    run_backtest,
)
from crp_pipeline.backtest.files import save_result
from crp_pipeline.contracts import PROBABILITIES
from crp_pipeline.explanation import save_explanation
from crp_pipeline.gate.comparison import with_exits
from crp_pipeline.gate.feasibility import feasibility_table
from crp_pipeline.labels import make_labels
from crp_pipeline.places import Places
from crp_pipeline.provenance import stamp
from crp_pipeline.settings import ExitConfig, LabelConfig, WalkForwardConfig
from crp_pipeline.splits import TEST, fold_table
from crp_pipeline.storage import seal, write_json, write_parquet
from crp_pipeline_tests.drifting import store_live
from crp_pipeline_tests.explained import explanation_of, store_tuned
from crp_pipeline_tests.random_walk import random_walk
from crp_pipeline_tests.stored_night import comparison_of, decisions_of, forecast_of, selection_of, verdict_of

HORIZON = 6
N = 1_500
EXECUTION, SIZING = ExecutionModel(horizon=HORIZON), Sizing()
MODELS = {"prior": 0.0, "logistic": 0.4, "lightgbm": 0.8}
SENTINELS = {
    "leak_shuffled_accuracy": 0.8,
    "leak_purged_accuracy": 0.55,
    "leak_gap": 0.25,
    "feature_alarms": 1.0,
}


def candles_of(*, n: int = N, seed: int = 3) -> pd.DataFrame:
    candles = random_walk(n, seed=seed).assign(is_repaired=False, segment=0)
    candles.iloc[[50, 51], candles.columns.get_loc("is_repaired")] = True
    return candles


def tested_only(forecast: pd.DataFrame, roles: pd.DataFrame) -> pd.DataFrame:
    """A forecast on the bars that a fold tests, under the number of the fold."""
    fold = pd.Series(-1, index=roles.index)
    for number, name in enumerate(roles.columns):
        fold[roles[name] == TEST] = number
    known = forecast.assign(fold=fold)
    known.loc[fold < 0, list(PROBABILITIES)] = np.nan
    return known


def untraded(decisions: pd.DataFrame) -> pd.DataFrame:
    """The same decisions, none of which takes a side."""
    return decisions.assign(signal=0, tier="none")


def finish_night(
    root: Path, *, coin: str = "BTC-USDT", feature: str = "blank", change=lambda it: it, **verdict: float
) -> Places:
    """Write everything that a coin's corridor leaves; `change` is applied to the decisions before they are traded."""
    places, candles = Places(root), candles_of()
    labels = make_labels(candles, LabelConfig(horizon=HORIZON, volatility_window=50))
    roles = fold_table(labels, np.ones(N, dtype=bool), WalkForwardConfig(train_size=500, test_size=300, embargo=HORIZON))
    forecasts = {name: tested_only(forecast_of(labels, knows, seed=5), roles) for name, knows in MODELS.items()}
    decisions = change(_decided(forecasts["lightgbm"]))
    result = _trade(places, coin, candles, labels, decisions)
    features = pd.DataFrame({"momentum": 1.0, "blank": np.nan}, index=candles.index)
    frames = {
        ("candles",): candles,
        ("features",): features,
        ("labels",): labels,
        ("splits",): roles,
        ("ensemble",): decisions,
        ("comparison",): comparison_of(trades=len(result.trades)),
        ("sentinels",): sentinels_of(),
        ("feasibility",): feasibility_table(candles, horizons=(1, HORIZON), costs=14.0, cost_multiples=(1.0, 2.0)),
        ("models", "selection"): selection_of(),
        **{("models", name): forecast for name, forecast in forecasts.items()},
    }
    for key, frame in frames.items():
        write_parquet(places.frame(*key, coin=coin), stamp(frame, "/".join(key), coin=coin, interval="1h"))
    _store_cards(places, coin)
    save_explanation(places, explanation_of(candles.index, coin=coin))
    store_tuned(places, coin)
    store_live(places, coin)
    free = dict.fromkeys(("refresh_margin", "e_value_margin", "fresh_gain_bps"), 1e9)
    told = verdict_of(coin, **{"has_champion": 0.0, **free})
    write_json(places.verdict(coin), told.to_dict())
    return places


def sentinels_of() -> pd.DataFrame:
    rows = [(name, value, np.nan, name == "feature_alarms", f"{name} on 500 bars") for name, value in SENTINELS.items()]
    return pd.DataFrame(rows, columns=["name", "value", "limit", "alarm", "sentence"])


def _decided(forecast: pd.DataFrame) -> pd.DataFrame:
    known = forecast["p_long"].notna()
    made = decisions_of(forecast.fillna(1 / 3))
    made.loc[~known, [*PROBABILITIES, "confidence", "expected_return"]] = np.nan
    return made.assign(signal=made["signal"].where(known, 0), tier=made["tier"].where(known, "none"))


def _trade(places: Places, coin: str, candles: pd.DataFrame, labels: pd.DataFrame, decisions: pd.DataFrame):
    decided = with_exits(
        decisions.loc[decisions["confidence"].notna()], exit_table(labels["volatility"], HORIZON, ExitConfig())
    )
    traded = {"execution": EXECUTION, "sizing": SIZING}
    result = run_backtest(candles, decided, **traded)
    save_result(result, places.value("backtest", coin=coin))
    walks = cost_walks(candles, decided, factors=(1.0, 3.0), **traded)
    stressed = {"ladder": ladder_of(walks), "equity_by_cost": equity_by_cost(walks)}
    for name, table in {**stressed, "latency": latency_penalised(candles, decided, p90_ms=5.0, **traded)}.items():
        write_parquet(places.stress(coin, name), table)
    return result


def _store_cards(places: Places, coin: str) -> None:
    for seed, name in enumerate(MODELS):
        folder = places.bundle(coin, name)
        folder.mkdir(parents=True)
        seal(folder, {"model_type": name, "seed": seed, "features": ["momentum"], "parameters": {"depth": 3}, "latency": []})
