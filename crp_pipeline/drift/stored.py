"""The reports of a coin as one table over time: a row per night, version and measure."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from crp_pipeline.contracts import OPEN_TIME_DTYPE
from crp_pipeline.drift.report import DriftReport, Reading, State
from crp_pipeline.places import Places
from crp_pipeline.storage import read_parquet, write_parquet

STAGE = "drift"
COLUMNS = {
    "at": OPEN_TIME_DTYPE,
    "version": "str",
    "measure": "str",
    "subject": "str",
    "value": "float64",
    "warn": "float64",
    "limit": "float64",
    "state": "str",
    "n": "int64",
    "missing": "int64",
}


def drift_file(places: Places, coin: str) -> Path:
    """File of a coin's reports."""
    return places.frame(STAGE, coin=coin)


def save_report(places: Places, report: DriftReport) -> pd.DataFrame:
    """Add a report to the coin's history and return that; an earlier one of the same UTC day and version gives way to it."""
    path = drift_file(places, report.coin)
    earlier = read_parquet(path) if path.exists() else _rows()
    history = with_report(earlier, report)
    write_parquet(path, history)
    return history


def with_report(history: pd.DataFrame, report: DriftReport) -> pd.DataFrame:
    """The history with one more report, in time order."""
    tonight = _rows(report)
    of_today = history["at"].dt.floor("D") == pd.Timestamp(report.at).floor("D")
    kept = history[~(of_today & (history["version"] == report.version))]
    return _typed(pd.concat([kept, tonight]).sort_values("at", kind="stable", ignore_index=True))


def read_history(places: Places, coin: str) -> pd.DataFrame | None:
    """Every row that was stored of a coin (`COLUMNS`), oldest first; None where there is none.

    Raises `DataContractError` for a damaged file.
    """
    path = drift_file(places, coin)
    return _typed(read_parquet(path)) if path.exists() else None


def read_report(places: Places, coin: str) -> DriftReport | None:
    """The latest report of a coin; None where there is none. Raises `DataContractError` for a damaged file."""
    history = read_history(places, coin)
    return None if history is None or history.empty else latest_report(coin, history)


def latest_report(coin: str, history: pd.DataFrame) -> DriftReport:
    """The latest report of a coin's history, which has at least one."""
    latest = history[history["at"] == history["at"].iloc[-1]]
    latest = latest[latest["version"] == latest["version"].iloc[-1]]
    return DriftReport(coin, latest["at"].iloc[-1].to_pydatetime(), latest["version"].iloc[-1], tuple(_readings(latest)))


def _readings(rows: pd.DataFrame) -> list[Reading]:
    told = rows.drop(columns=["at", "version"]).to_dict("records")
    return [Reading(**{**{str(name): value for name, value in row.items()}, "state": State(row["state"])}) for row in told]


def _rows(*reports: DriftReport) -> pd.DataFrame:
    tables = [report.table().assign(at=_moment(report.at), version=report.version) for report in reports]
    whole = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))
    return _typed(whole[list(COLUMNS)])


def _typed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the types of `COLUMNS`."""
    typed: pd.DataFrame = rows.astype(COLUMNS)
    return typed


def _moment(at: datetime) -> pd.Timestamp:
    return pd.Timestamp(at.astimezone(UTC))
