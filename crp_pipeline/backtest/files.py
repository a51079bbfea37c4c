"""A backtest as a folder: its tables as parquet, its metrics as JSON."""

import json
import math
from pathlib import Path

import pandas as pd

from crp_pipeline.backtest.result import BacktestResult
from crp_pipeline.errors import DataContractError
from crp_pipeline.storage import read_parquet, staged, write_json, write_parquet

TABLES = ("trades", "by_tier", "by_session")
CURVES = ("equity", "worst_equity")


def save_result(result: BacktestResult, folder: Path) -> Path:
    """Write a result whole or not at all; an earlier one there is replaced."""
    with staged(folder) as staging:
        for name in TABLES:
            write_parquet(staging / f"{name}.parquet", getattr(result, name))
        write_parquet(staging / "equity.parquet", pd.concat([result.equity, result.worst_equity], axis=1))
        metrics = {name: float(value) if math.isfinite(value) else None for name, value in result.metrics.items()}
        write_json(staging / "metrics.json", metrics)
    return folder


def load_result(folder: Path) -> BacktestResult:
    """The result that `save_result` wrote; raises `DataContractError` when a part is missing or damaged."""
    trades, by_tier, by_session = (read_parquet(folder / f"{name}.parquet") for name in TABLES)
    path = folder / "equity.parquet"
    curves = read_parquet(path)
    if missing := [name for name in CURVES if name not in curves]:
        raise DataContractError(f"{path} has no column {missing[0]}: make the backtest anew")
    equity, worst_equity = (curves[name] for name in CURVES)
    metrics = _read_metrics(folder / "metrics.json")
    return BacktestResult(trades, equity, worst_equity, metrics, by_tier, by_session)


def _read_metrics(path: Path) -> dict[str, float]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {name: math.nan if value is None else float(value) for name, value in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataContractError(f"{path} cannot be read: {error}") from error
