"""The reports of a coin as one table over time: a row per night, version and measure."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from crp_pipeline.contracts import OPEN_TIME_DTYPE
from crp_pipeline.drift.report import DriftReport, Reading, State
from crp_pipeline.errors import DataContractError
from crp_pipeline.places import Places
from crp_pipeline.registry.card import COIN
from crp_pipeline.storage import named, read_parquet, write_parquet

STAGE, DAMAGED = "drift", "damaged"
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
    "why": "str",
}


def drift_file(places: Places, coin: str) -> Path:
    """File of a coin's reports."""
    return places.frame(STAGE, coin=coin)


def measured_coins(places: Places) -> list[str]:
    """Every coin of which a report is stored, retired ones included."""
    names = (path.stem for path in (places.root / STAGE).glob("*.parquet"))
    return sorted(name for name in names if COIN.fullmatch(name))


def save_report(places: Places, report: DriftReport, *, tell: Callable[[str], object] = lambda _: None) -> pd.DataFrame:
    """Add a report to the coin's history and return that; an earlier one of the same UTC day and version gives way to it.

    A damaged history is laid aside as `<coin>.damaged.parquet`, which is told, and another one begins.
    """
    history = with_report(_earlier(drift_file(places, report.coin), tell), report)
    write_parquet(drift_file(places, report.coin), history)
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
    return _read(path) if path.exists() else None


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


def _earlier(path: Path, tell: Callable[[str], object]) -> pd.DataFrame:
    """What was stored until now; nothing where that is damaged, which makes way."""
    if not path.exists():
        return _rows()
    try:
        return _read(path)
    except DataContractError as error:
        aside = path.with_name(f"{path.stem}.{DAMAGED}{path.suffix}")
        with named(aside):
            path.replace(aside)
        tell(f"{error}; it is laid aside as {aside.name}, and another history of drift begins")
        return _rows()


def _read(path: Path) -> pd.DataFrame:
    """A stored history; `why` is empty where it was stored without one."""
    stored = read_parquet(path)
    try:
        return _typed(stored.assign(why=stored.get("why", ""))[list(COLUMNS)])
    except (KeyError, TypeError, ValueError) as error:
        raise DataContractError(f"{path} holds no history of drift: {error}") from error


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
