"""What a coin's night leaves on disk, small and made up: for tests of whatever reads stored results."""

from pathlib import Path

import numpy as np
import pandas as pd

from crp_pipeline.contracts import PROBABILITIES
from crp_pipeline.gate import criteria, judge
from crp_pipeline.models.scoring import share_interval
from crp_pipeline.places import Places
from crp_pipeline.settings import GateConfig
from crp_pipeline.storage import write_json, write_parquet

COIN = "BTC-USDT"
N = 400
KNOWN = {"prior": 0.0, "logistic": 0.6, "lightgbm": 1.4}
"""How much each model knows of the class that comes."""


def times(n: int = N) -> pd.DatetimeIndex:
    return pd.date_range("2024-01-01", periods=n, freq="h", tz="UTC", name="open_time")


def labels_of(n: int = N, *, seed: int = 0, signals=(-1.0, 0.0, 1.0)) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    signal = rng.choice(signals, n, p=np.arange(1, len(signals) + 1) / sum(range(len(signals) + 1)))
    columns = {
        "signal": signal,
        "forward_return": 0.01 * signal + rng.normal(scale=0.01, size=n),
        "trend_strength": 0.5,
        "label_end": times(n) + pd.Timedelta("6h"),
        "weight": 0.25,
        "volatility": 0.01,
    }
    return pd.DataFrame(columns, index=times(n))


def forecast_of(labels: pd.DataFrame, knows: float, *, seed: int) -> pd.DataFrame:
    """Probabilities that lean by so many nats towards the class that comes; with nothing known, the class frequencies."""
    came = labels["signal"].to_numpy()[:, None] == np.array([-1, 0, 1])
    noise = np.random.default_rng(seed).normal(size=came.shape) if knows else 0
    weights = np.exp(np.log(came.mean(axis=0) + 1e-9) + knows * came + noise)
    p = weights / weights.sum(axis=1, keepdims=True)
    return pd.DataFrame(p, index=labels.index, columns=list(PROBABILITIES)).assign(fold=0, rounds=1)


def decisions_of(forecast: pd.DataFrame) -> pd.DataFrame:
    p = forecast[list(PROBABILITIES)]
    sides = p.to_numpy().argmax(axis=1) - 1
    return p.assign(signal=sides, confidence=p.max(axis=1), expected_return=0.01 * (p["p_long"] - p["p_short"]), tier="high")


def comparison_of(names=("prior", "always_long", "lightgbm", "ensemble"), *, trades: int = 120) -> pd.DataFrame:
    rate = np.linspace(0.5, 0.6, len(names)) if trades else np.full(len(names), np.nan)
    low, high = zip(*(share_interval(value, trades, level=0.95) for value in rate), strict=True)
    return pd.DataFrame(
        {
            "candidate": names,
            "log_loss": 1.0,
            "accuracy": 0.5,
            "accuracy_low": 0.4,
            "accuracy_high": 0.6,
            "effective_n": 100.0,
            "trades": float(trades),
            "effective_trades": float(trades),
            "win_rate": rate,
            "win_rate_low": low,
            "win_rate_high": high,
            "zero_skill_win_rate": 0.5,
            "payoff_ratio": 1.0,
            "coverage": 1.0,
            "expectancy_bps": 2.0,
            "permutation_p": 0.2,
            "max_drawdown": 0.1,
            "sharpe": 0.4,
            "daily_sharpe": 0.02,
        }
    )


def verdict_of(coin: str = COIN, *, candidate: str = "0", **changed: float):
    """A verdict by the house's criteria on evidence that keeps every one of them, but for what is `changed`."""
    numbers = dict.fromkeys(("trades", "effective_n", "test_days", "resamples", "gated_trades"), 1000.0)
    evidence = {
        **{criterion.name: _kept(criterion) for criterion in criteria(GateConfig())},
        **numbers,
        "resamples": 5e3,
        "win_rate": 0.7,
        "win_rate_low": 0.66,
        "win_rate_high": 0.74,
        "zero_skill_win_rate": 0.5,
        "payoff_ratio": 1.2,
        "coverage": 0.4,
        "effective_trades": 900.0,
        "accuracy": 0.6,
        "accuracy_low": 0.57,
        "accuracy_high": 0.63,
        "majority_share": 0.4,
        "net_expectancy_bps": 20.0,
        "net_expectancy_lower_bps": 10.0,
        "net_expectancy_upper_bps": 30.0,
        "pnl": 3e4,
        "max_drawdown": 0.08,
        "sharpe": 2.0,
        **changed,
    }
    return judge(evidence, criteria(GateConfig()), subject={"coin": coin, "candidate": candidate})


def _kept(criterion) -> float:
    """A number that keeps the bound in force and that of the house."""
    bounds = [bound for bound in (criterion.threshold, criterion.standard) if bound is not None]
    return {">=": max(bounds), "<=": min(bounds), ">": max(bounds) + 0.01}[criterion.comparison]


def store_night(root: Path, *, coin: str = COIN, labels=None, comparison=None, decisions=None, empty_feature=True) -> Places:
    """Every file that `CoinResults` asks for; those that no report reads are empty."""
    places, labels = Places(root), labels_of() if labels is None else labels
    forecasts = {name: forecast_of(labels, knows, seed=7) for name, knows in KNOWN.items()}
    frames = {
        ("labels",): labels,
        ("ensemble",): decisions_of(forecasts["lightgbm"]) if decisions is None else decisions,
        ("comparison",): comparison_of() if comparison is None else comparison,
        ("features",): _features(labels.index, empty=empty_feature),
        ("models", "selection"): selection_of(),
        **{("models", name): frame for name, frame in forecasts.items()},
        **{(stage,): pd.DataFrame({"nothing": [0.0]}) for stage in ("candles", "splits", "sentinels", "feasibility")},
    }
    for key, frame in frames.items():
        write_parquet(places.frame(*key, coin=coin), frame)
    places.value("backtest", coin=coin).mkdir(parents=True, exist_ok=True)
    write_json(places.verdict(coin), verdict_of(coin).to_dict())
    return places


def selection_of(importance=(0.03, 0.01, np.nan)) -> pd.DataFrame:
    rows = [
        {"fold": fold, "feature": name, "status": status, "representative": "", "importance": value, "rank": 1}
        for fold in (0, 1, -1)
        for name, status, value in zip(
            ("momentum", "noise", "blank"), ("kept", "outranked", "constant"), importance, strict=True
        )
    ]
    return pd.DataFrame(rows)


def _features(index: pd.Index, *, empty: bool) -> pd.DataFrame:
    return pd.DataFrame({"momentum": 1.0, "noise": 2.0, "blank": np.nan if empty else 3.0}, index=index)
