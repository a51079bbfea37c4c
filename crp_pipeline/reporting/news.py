"""What is worth a notice since the last look: verdicts and champions that changed, candles that are stale, drift.

Each function is given what it returned the last time, by coin, so that an occasion is told once however often one looks. A coin
that is seen for the first time has no yesterday to differ from; one that is gone is forgotten.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

import pandas as pd

from crp_pipeline import drift
from crp_pipeline.contracts import interval_length
from crp_pipeline.gate.verdict import read_verdict
from crp_pipeline.notices import Notice
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry
from crp_pipeline.settings import PipelineSettings

Told = Mapping[str, str]
"""By coin what was seen or told the last time."""
News = tuple[dict[str, str], list[Notice]]
"""What to remember, and whom it is to be told to."""

NONE, CALM = "none", "ok"


def verdict_news(told: Told, places: Places, coins: Iterable[str]) -> News:
    """Coins whose verdict or champion is another than the last time; a rollback by hand is one as well."""
    seen, notices, book = dict[str, str](), list[Notice](), Registry(places.registry)
    for coin in coins:
        outcome = str(read_verdict(path).outcome) if (path := places.verdict(coin)).exists() else NONE
        seen[coin] = f"{outcome}, champion {book.champion(coin) or NONE}"
        if told.get(coin, seen[coin]) != seen[coin]:
            notices.append(Notice("verdict", coin, f"{coin}: {seen[coin]}", f"before: {told[coin]}"))
    return seen, notices


def stale_news(told: Told, places: Places, coins: Iterable[str], *, settings: PipelineSettings, now: datetime) -> News:
    """Coins whose newest stored bar closed more than `notify.stale_hours` ago, once for each such bar."""
    seen, notices, limit = dict[str, str](), list[Notice](), settings.notify.stale_hours
    for coin in coins:
        closed = newest_close(places, coin, settings.interval)
        hours = (pd.Timestamp(now) - closed) / pd.Timedelta(hours=1) if closed is not None else 0.0
        if hours <= limit:
            continue
        seen[coin] = str(closed)
        if told.get(coin) != seen[coin]:
            rule = f"notify.stale_hours is {limit:g}"
            notices.append(Notice("stale", coin, f"{coin}: the newest bar closed {hours:.0f} h ago, at {closed}", rule))
    return seen, notices


def drift_news(told: Told, places: Places, coins: Iterable[str]) -> News:
    """Coins whose drift asks for something else than the last time; what is in order is told only after what was not."""
    seen, notices = dict[str, str](), list[Notice]()
    read_report = getattr(drift, "read_report", None)
    for coin in coins:
        report = read_report(places, coin) if read_report else None
        if report is None:
            continue
        seen[coin] = report.action
        if told.get(coin, CALM) != seen[coin]:
            notices.append(Notice("drift", coin, f"{coin}: drift says {seen[coin]}", f"before: {told.get(coin, CALM)}"))
    return seen, notices


def newest_close(places: Places, coin: str, interval: str) -> pd.Timestamp | None:
    """When the newest stored bar closed; None where no candles are stored. Reads nothing but the times."""
    path = places.candles(coin)
    opened = pd.read_parquet(path, columns=[]).index if path.exists() else pd.DatetimeIndex([])
    return pd.Timestamp(opened[-1]) + interval_length(interval) if len(opened) else None
