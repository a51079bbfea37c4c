"""What is worth a notice since the last look: verdicts and champions that changed, candles that are stale, drift.

Each function is given what it returned the last time, by coin, so that an occasion is told once however often one looks. A coin
that is gone is forgotten.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

import pandas as pd

from crp_pipeline.contracts import interval_length
from crp_pipeline.drift import read_report
from crp_pipeline.errors import CrpError
from crp_pipeline.gate.verdict import read_verdict
from crp_pipeline.notices import Notice
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import read_parquet

Told = Mapping[str, str]
"""By coin what was seen or told the last time."""
News = tuple[dict[str, str], list[Notice]]
"""What to remember, and whom it is to be told to."""

NONE, CALM = "none", "ok"


def verdict_news(told: Told, places: Places, coins: Iterable[str]) -> News:
    """Coins whose verdict or champion is another than the last time; a rollback by hand is one as well.

    A coin that is seen for the first time has no yesterday to differ from.
    """
    book = Registry(places.registry)

    def standing(coin: str) -> str:
        outcome = str(read_verdict(path).outcome) if (path := places.verdict(coin)).exists() else NONE
        return f"{outcome}, champion {book.champion(coin) or NONE}"

    seen = {coin: _legible(standing, coin) for coin in coins}
    changed = [coin for coin, now in seen.items() if told.get(coin, now) != now]
    return seen, [Notice("verdict", coin, f"{coin}: {seen[coin]}", f"before: {told[coin]}") for coin in changed]


def stale_news(told: Told, places: Places, coins: Iterable[str], *, settings: PipelineSettings, now: datetime) -> News:
    """Coins whose newest stored bar closed more than `notify.stale_hours` ago, once for each such bar."""
    limit = settings.notify.stale_hours

    def trouble(coin: str) -> str:
        closed = newest_close(places, coin, settings.interval)
        is_stale = closed is not None and pd.Timestamp(now) - closed > pd.Timedelta(hours=limit)
        return f"the newest bar closed at {closed}, which is more than notify.stale_hours = {limit:g} ago" if is_stale else ""

    seen = {coin: found for coin in coins if (found := _legible(trouble, coin))}
    return seen, [Notice("stale", coin, f"{coin}: {found}") for coin, found in seen.items() if told.get(coin) != found]


def drift_news(told: Told, places: Places, coins: Iterable[str]) -> News:
    """Coins whose drift asks for something else than the last time; what is in order is told only after what was not."""
    sentences = dict[str, str]()

    def action(coin: str) -> str:
        report = read_report(places, coin)
        sentences[coin] = report.sentence if report else ""
        return str(report.action) if report else ""

    seen = {coin: found for coin in coins if (found := _legible(action, coin))}
    changed = [coin for coin, found in seen.items() if told.get(coin, CALM) != found]
    return seen, [
        Notice("drift", coin, f"{coin}: drift says {seen[coin]}", f"before: {told.get(coin, CALM)}\n{sentences.get(coin, '')}")
        for coin in changed
    ]


def newest_close(places: Places, coin: str, interval: str) -> pd.Timestamp | None:
    """When the newest stored bar closed; None where no candles are stored. Reads nothing but the times."""
    path = places.candles(coin)
    opened = read_parquet(path, columns=[]).index if path.exists() else pd.DatetimeIndex([])
    return pd.Timestamp(opened[-1]) + interval_length(interval) if len(opened) else None


def _legible(read: Callable[[str], str], coin: str) -> str:
    """What is read of a coin, or why it cannot be: one coin's damage silences no other coin."""
    try:
        return read(coin)
    except CrpError as error:
        return f"damaged: {error}"
