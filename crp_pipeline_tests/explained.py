"""An explanation of a coin and a tuned model, as a night would have stored them, with numbers that a test can count on."""

import numpy as np
import pandas as pd

from crp_pipeline.contracts import CLASSES
from crp_pipeline.explanation import BASE, CoinExplanation
from crp_pipeline.models import LOG_ODDS
from crp_pipeline.places import Places
from crp_pipeline.storage import write_json

TREE, NETWORK = "lightgbm", "attention_lstm"
FEATURES = ("momentum", "blank")
RULE = "40 of 900 tested bars, evenly spread, in 3 of 3 folds"
OUTPUTS = CLASSES


def explanation_of(times: pd.DatetimeIndex, *, coin: str, n: int = 40, seed: int = 0) -> CoinExplanation:
    """Two models of which `momentum` says nearly all, higher values for long; `blank` has no value anywhere."""
    told = {
        model: _contributions(times[-n:], np.random.default_rng(seed + place)) for place, model in enumerate((TREE, NETWORK))
    }
    facts = [{"model": model, "method": "exact", "unit": LOG_ODDS, "outputs": ", ".join(OUTPUTS)} for model in told]
    counts = {"n_rows": n, "n_tested": 900, "folds": 3, "all_folds": 3, "seconds": 1.0, "residual": 0.0, "rule": RULE}
    importances = pd.concat([_importances(model, n) for model in told], ignore_index=True)
    return CoinExplanation(
        coin,
        importances,
        told,
        pd.DataFrame([{**it, **counts, "refused": ""} for it in facts]),
        lags=pd.DataFrame(
            {
                "model": NETWORK,
                "fold": 0,
                "bars_back": range(4),
                "share": [0.6, 0.2, 0.1, 0.1],
                "attention": [0.4, 0.3, 0.2, 0.1],
            }
        ),
        why=pd.concat([_why(model, times[-1]) for model in told], ignore_index=True),
        nights=importances[importances["fold"] == 0][["model", "feature", "importance", "share"]].assign(night=times[-1]),
    )


def store_tuned(places: Places, coin: str, *, gain: float = 0.01) -> None:
    """A study of the tree that ended, with its comparison."""
    compared = {
        "default_log_loss": 1.0,
        "tuned_log_loss": 1.0 - gain,
        "gain": gain,
        "gain_low": gain - 0.02,
        "gain_high": gain + 0.02,
    }
    counts = {"n": 900.0, "effective_n": 150.0, "trials_in_ledger": 31}
    document = {
        "coin": coin,
        "model": TREE,
        "variant": "default",
        "params": {"learning_rate": 0.02},
        "objective": "log_loss",
        "score": 0.99,
        "default_score": 1.0,
        "trials": {"complete": 20, "pruned": 10, "failed": 1},
        "learned_until": "2023-01-01",
        "labels": {},
        "feature_set_id": "a set",
        "comparison": {**compared, **counts},
    }
    path = places.value("tuning", TREE, coin=coin).with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, document)


def _contributions(times: pd.DatetimeIndex, rng: np.random.Generator) -> pd.DataFrame:
    value = rng.normal(size=len(times))
    parts = [
        _rows(times, BASE, np.full(len(times), np.nan), np.full(len(times), 0.1)),
        _rows(times, "momentum", value, value),
        _rows(times, "blank", np.full(len(times), np.nan), np.zeros(len(times))),
    ]
    return pd.concat(parts, ignore_index=True)


def _rows(times: pd.DatetimeIndex, feature: str, value: np.ndarray, towards_long: np.ndarray) -> pd.DataFrame:
    outputs = dict(zip(OUTPUTS, (-towards_long / 2, np.zeros(len(times)), towards_long / 2), strict=True))
    return pd.DataFrame({"open_time": times, "fold": 0, "feature": feature, "value": value, **outputs})


def _importances(model: str, n: int) -> pd.DataFrame:
    shares = pd.DataFrame({"feature": FEATURES, "importance": [0.9, 0.0], "share": [1.0, 0.0]})
    return pd.concat([shares.assign(model=model, fold=fold, n_rows=n, method="exact") for fold in range(3)], ignore_index=True)


def _why(model: str, time: pd.Timestamp) -> pd.DataFrame:
    decision = {"model": model, "by": "fold 2", "open_time": time, "signal": 1, "confidence": 0.61, "tier": "high"}
    chances = {"p_short": 0.2, "p_neutral": 0.2, "p_long": 0.6, "unit": LOG_ODDS, "base": 0.1}
    return pd.DataFrame({**decision, **chances, "feature": FEATURES, "value": [1.5, np.nan], "contribution": [0.8, 0.0]})
