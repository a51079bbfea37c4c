"""The newest decision and feature row of each coin, where a bot reads them.

<data>/signals/online/<coin>.parquet    one row: the fields of `Signal`, then each feature as `feature_<name>`; always written
redis: crp:signal:<coin>                one hash with the same names, where the settings name such a store

What is kept never gives way to an older decision; what is damaged, or of a release that wrote otherwise, is written anew. A
hash is written in one transaction. It does not expire: `closed_at` and `valid_until` tell its age. Redis comes last and is
waited for a fraction of a second: a store that is out of reach costs that and a sentence, and the decision stands in the log
and in the file.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import pandas as pd

from crp_pipeline.errors import DataContractError
from crp_pipeline.settings import PipelineSettings, is_store_url
from crp_pipeline.signals.signal import Signal
from crp_pipeline.storage import read_parquet, write_parquet

FEATURE = "feature_"
KEY = "crp:signal:"
ATTEMPTS = 3
"""Writes that another writer may come in between of."""
NUMBERS = (
    *("confidence", "p_short", "p_neutral", "p_long", "expected_return", "close", "stop", "target"),
    *("latency_ms", "compute_ms"),
)
TEXTS = ("tier", "coin", "reason", "version", "data_hash", "open_time", "closed_at", "decided_at", "valid_until")


@dataclass(frozen=True)
class Newest:
    """What a store holds of one coin."""

    signal: Signal
    features: Mapping[str, float]
    """By name; empty where there was no decision."""

    def age_s(self, now: datetime) -> float:
        """Seconds since the decided bar closed."""
        return self.signal.age_s(now)


class OnlineStore(Protocol):
    """Keeps the newest decision of each coin."""

    def put(self, newest: Newest) -> None:
        """Keep it, unless what is there is about a later bar."""

    def get(self, coin: str) -> Newest | None:
        """What is kept of a coin."""


class FileStore:
    """One parquet file per coin."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, newest: Newest) -> None:
        """Replace the coin's file, whole or not at all, unless it is about a later bar."""
        if not _stays(_legible(lambda: self.get(newest.signal.coin)), newest):
            row = {**newest.signal.to_dict(), **_prefixed(newest.features)}
            write_parquet(self._path(newest.signal.coin), pd.DataFrame([row]))

    def get(self, coin: str) -> Newest | None:
        """The coin's file; raises `DataContractError` for one that cannot be read."""
        path = self._path(coin)
        return _newest(read_parquet(path).to_dict("records"), place=str(path)) if path.exists() else None

    def _path(self, coin: str) -> Path:
        return self._folder / f"{coin}.parquet"


class RedisStore:
    """One hash per coin."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """Nothing is connected yet; raises `DataContractError` for a URL that is none of a Redis."""
        if not is_store_url(url):
            raise DataContractError("online_store must be a URL that begins with redis://, rediss:// or unix://")
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self._client: Any = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_connect_timeout=timeout_s,
            socket_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )

    def put(self, newest: Newest) -> None:
        """Replace the coin's hash in one transaction, unless it is about a later bar; raises `redis.RedisError`."""
        from redis.exceptions import WatchError

        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._replace(newest)
            except WatchError:
                if attempt == ATTEMPTS:
                    raise
            else:
                return

    def get(self, coin: str) -> Newest | None:
        """The coin's hash; raises `redis.RedisError`, and `DataContractError` for one that cannot be read."""
        stored: dict[str, str] = self._client.hgetall(KEY + coin)
        return _newest([stored], place=KEY + coin) if stored else None

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def _replace(self, newest: Newest) -> None:
        key = KEY + newest.signal.coin
        with self._client.pipeline(transaction=True) as transaction:
            transaction.watch(key)
            stored: dict[str, str] = transaction.hgetall(key)
            if stored and _stays(_legible(lambda: _newest([stored], place=key)), newest):
                return
            transaction.multi()
            transaction.delete(key)
            transaction.hset(key, mapping=_texts({**newest.signal.to_dict(), **_prefixed(newest.features)}))
            transaction.execute()


def put_online(settings: PipelineSettings, folder: Path, newest: Newest) -> str:
    """Keep it in the files and, where the settings name one, in Redis; a sentence when that one did not take it, else nothing.

    The sentence names the host and nothing that opens it.
    """
    FileStore(folder).put(newest)
    if settings.online_store is None:
        return ""
    url = settings.online_store.get_secret_value()
    try:
        import redis
    except ImportError:
        return "the online store is Redis, and its client is missing: pip install 'crp-pipeline[redis]'"
    store = None
    try:
        store = RedisStore(url, timeout_s=settings.signals.online_timeout_s)
        store.put(newest)
    except (redis.RedisError, OSError, ValueError, DataContractError) as error:
        return f"the online store {place_of(url)} did not take {newest.signal.coin}: {type(error).__name__}"
    finally:
        if store is not None:
            store.close()
    return ""


def place_of(url: str) -> str:
    """Scheme, host and port of a URL, without user, password, database or query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(no URL)"
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


def _legible(read: Callable[[], Newest | None]) -> Newest | None:
    """What is kept; None also where it cannot be read: it is about to be written anew."""
    try:
        return read()
    except DataContractError:
        return None


def _stays(kept: Newest | None, comes: Newest) -> bool:
    """Whether what is kept is the same or the newer one; a decision is newer than none about its bar or a later one."""
    if kept is None:
        return False
    if kept.signal == comes.signal:
        return len(kept.features) >= len(comes.features)
    is_later, is_as_late = kept.signal.open_time > comes.signal.open_time, kept.signal.open_time >= comes.signal.open_time
    if comes.signal.is_decided:
        return kept.signal.is_decided and is_later
    return is_as_late if kept.signal.is_decided else is_later


def _prefixed(features: Mapping[str, float]) -> dict[str, float]:
    return {f"{FEATURE}{name}": value for name, value in features.items()}


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Every value as text that reads back as the same number; nothing for None."""
    return {
        name: repr(value) if isinstance(value, float) else str(value) for name, value in values.items() if value is not None
    }


def _newest(rows: Sequence[Mapping[Any, Any]], *, place: str) -> Newest:
    """What a store's one row tells; raises `DataContractError` naming its place where that is no decision."""
    try:
        [row] = rows
        return _read_back(row)
    except (KeyError, TypeError, ValueError) as error:
        raise DataContractError(f"{place} holds no decision of this release: {error!r}") from error


def _read_back(stored: Mapping[Any, Any]) -> Newest:
    told = {str(name): value for name, value in stored.items() if not _is_missing(value)}
    numbers = {name: float(told[name]) for name in NUMBERS if name in told}
    texts = {name: str(told[name]) for name in TEXTS if name in told}
    signal = {"signal": int(told["signal"])} if "signal" in told else {}
    features = {name.removeprefix(FEATURE): float(value) for name, value in told.items() if name.startswith(FEATURE)}
    return Newest(Signal.from_dict({**numbers, **texts, **signal}), features)


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
