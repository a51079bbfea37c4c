"""What a model's asset writes into the ledger, without Dagster."""

import logging
from types import SimpleNamespace

import numpy as np
import pandas as pd

from crp_pipeline.backtest import CostData
from crp_pipeline.contracts import PROBABILITIES
from crp_pipeline.defs.automation import NIGHT
from crp_pipeline.defs.trials import append_model
from crp_pipeline.ledger import Ledger
from crp_pipeline.places import Places
from crp_pipeline.provenance import stamp
from crp_pipeline.settings import PipelineSettings
from crp_pipeline_tests.random_walk import random_walk

COIN = "BTC-USDT"
CARD = {
    "model_type": "lightgbm",
    "variant": "default",
    "parameters": {},
    "seed": 0,
    "days_of_history": None,
    "all_features": False,
    "feature_set_id": "0a",
}


def total_of(root, monkeypatch, funding):
    """What a model that always goes long is told to have earned."""
    candles = random_walk(600)
    monkeypatch.setattr("crp_pipeline.defs.trials.cost_data", lambda *_: CostData(funding=funding))
    forecast = pd.DataFrame(np.tile([0.1, 0.1, 0.8], (600, 1)), index=candles.index, columns=list(PROBABILITIES))
    forecast = stamp(forecast, "models/lightgbm", coin=COIN)
    labels = pd.DataFrame({"volatility": 0.01}, index=candles.index)
    context = SimpleNamespace(run=SimpleNamespace(run_id="0", tags={NIGHT: "2024-01-01"}), log=logging.getLogger())
    append_model(context, "lightgbm", forecast, CARD, candles, labels, PipelineSettings(), Places(root))
    found = Ledger(root / "ledger").trials(COIN)
    assert len(found.days) > 20
    return found.returns.sum()


def test_a_model_is_traded_with_the_funding_that_the_comparison_has(tmp_path, monkeypatch):
    times = random_walk(600).index
    paid = total_of(tmp_path / "paid", monkeypatch, pd.Series(0.01, index=times[::8]))
    assert paid < total_of(tmp_path / "free", monkeypatch, None), "long positions pay"
