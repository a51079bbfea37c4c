"""A coin with stored tables, a model that is fitted in no time to be tuned, and a study of it to be killed."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.places import Places
from crp_pipeline.provenance import stamp
from crp_pipeline.settings import SelectionConfig, SentinelConfig, WalkForwardConfig, load_settings
from crp_pipeline.splits import fold_table
from crp_pipeline.storage import write_parquet
from crp_pipeline.tuning import TuningRun, tune_model
from crp_pipeline_tests.random_walk import random_walk
from crp_pipeline_tests.recording import learnable_history
from crp_pipeline_tests.slope import Slope

COIN = "BTC-USDT"
NOW = datetime(2024, 5, 1, 0, 15, tzinfo=UTC)
N_BARS, TRAIN_SIZE = 900, 600


def settings_of(root, **changes):
    values = {
        "source": "files",
        "coins": (COIN,),
        "data_dir": Path(root),
        "horizon": 6,
        "walk_forward": WalkForwardConfig(train_size=TRAIN_SIZE, test_size=100, embargo=6),
        "selection": SelectionConfig(enabled=False),
        "sentinels": SentinelConfig(quarantine=False),
    }
    return load_settings(**{**values, **changes})


def tables_of(settings, *, seed=0):
    """The stored tables of a coin whose first feature tells the signal."""
    features, labels = learnable_history(N_BARS, seed=seed)
    candles = random_walk(N_BARS).set_axis(features.index)
    roles = fold_table(labels, np.ones(N_BARS, dtype=bool), settings.walk_forward)
    return {"candles": candles, "features": features, "labels": labels, "splits": roles}


def store(root, tables):
    places = Places(Path(root))
    stamp(tables["candles"], "candles", coin=COIN)
    stamp(tables["features"], "features", behind=[tables["candles"]], feature_set_id="0a")
    stamp(tables["labels"], "labels", behind=[tables["candles"]])
    stamp(tables["splits"], "splits", behind=[tables["labels"]])
    for name, table in tables.items():
        write_parquet(places.frame(name, coin=COIN), table)
    return places


def tuned(places, settings, model_type="slope", *, progress=str, **asked):
    run = TuningRun(**{"n_trials": 8, "compare": False, **asked})
    return tune_model(places, settings, COIN, model_type, run, occasion="test", clock=lambda: NOW, progress=progress)


def victim(root, n_trials, pause_s):
    """A study that says aloud how far it is, for another process to kill."""
    MODEL_CLASSES["slope"] = Slope
    Slope.pause_s = pause_s
    tuned(Places(Path(root)), settings_of(root), n_trials=n_trials, progress=lambda line: print(line, flush=True))
