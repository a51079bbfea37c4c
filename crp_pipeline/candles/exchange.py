"""Bars downloaded from an exchange through ccxt: public endpoints, no key, only what is not stored yet.

`download` walks from the last stored bars to the last closed one, page by page, and stores each month as it is complete, so
that it holds one month in memory and a kill costs at most one. Every request is paced by ccxt's rate limiter and repeated
with back-off. A hole is believed only when the exchange confirms it; a download that ends early is continued by the next.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from crp_pipeline.candles.archive import Archive
from crp_pipeline.candles.files import EPOCH_BOUNDS
from crp_pipeline.contracts import OHLCV, interval_length
from crp_pipeline.errors import DataContractError, SilentExchangeError
from crp_pipeline.settings import ExchangeConfig

Progress = Callable[[str], None]
Month = tuple[pd.Period, pd.DataFrame]
Answer = TypeVar("Answer")

SECONDS_BETWEEN_LINES = 5.0
MAX_PAUSE_S = 60.0
MAX_BAN_S = 600.0
"""An exchange that wants a longer silence than this is not waited for."""
ASKS_BEFORE_A_HOLE = 3
"""Empty answers in a row before bars count as missing although later ones are there."""
CAUTIOUS_LIMIT = 100
"""Bars to ask for where ccxt does not know an exchange's limit. One that is too high would skip bars behind an outage."""
JSON_BEGINNINGS = ("[", "{", "null")
N_COLUMNS = 1 + len(OHLCV)
MARKETS_TO_NAME = 8


@dataclass(frozen=True)
class Market:
    """One market of an exchange, and how patiently it is asked; `source` begins every message."""

    client: Any
    symbol: str
    interval: str
    source: str
    retries: int
    sleep: Callable[[float], None] = time.sleep

    @property
    def step(self) -> pd.Timedelta:
        """Length of one bar."""
        return interval_length(self.interval)

    @property
    def limit(self) -> int:
        """Bars that the exchange gives at once."""
        return int(self.client.feature_value(self.symbol, "fetchOHLCV", "limit") or CAUTIOUS_LIMIT)

    def now(self) -> pd.Timestamp:
        """The exchange's time; this machine's where the exchange does not tell."""
        ask = self.client.fetch_time if self.client.has["fetchTime"] else self.client.milliseconds
        return pd.Timestamp(int(_persist(ask, self)), unit="ms", tz="UTC")

    def page(self, since: pd.Timestamp | None) -> pd.DataFrame:
        """Bars of one answer in time order, each time once: from `since` on, or the newest; the exchange may give others."""
        start = None if since is None else since.value // 1_000_000
        return _persist(lambda: to_bars(self._rows(start), source=self.source), self)

    def pages(self, since: pd.Timestamp, last: pd.Timestamp) -> Iterator[pd.DataFrame]:
        """Every bar from `since` to `last`, both included, in pages that follow each other; it ends with the newest bar."""
        while since <= last:
            bars = self._between(since, last)
            if bars.empty and not self._has_bars_from(since):
                return
            for _ in range(ASKS_BEFORE_A_HOLE - 1):
                if len(bars):
                    break
                self.sleep(1.0)
                bars = self._between(since, last)
            if len(bars):
                yield bars
            since = bars.index[-1] + self.step if len(bars) else since + self.limit * self.step

    def start_of_history(self, earliest: pd.Timestamp, now: pd.Timestamp) -> pd.Timestamp:
        """A moment at or before the first bar, found by daily bars: empty pages of minutes would be asked for one by one."""
        if "1d" not in self.client.timeframes or self.interval == "1d":
            return earliest
        days = next(replace(self, interval="1d").pages(earliest, now), None)
        # a day that opens by another clock than UTC may begin up to one day later
        return earliest if days is None else max(earliest, days.index[0] - pd.Timedelta(days=1))

    def _rows(self, start_ms: int | None) -> Any:
        rows = self.client.fetch_ohlcv(self.symbol, self.interval, since=start_ms, limit=self.limit)
        # of a web page ccxt makes no rows, as of an outage
        if not rows and not str(self.client.last_http_response).lstrip().startswith(JSON_BEGINNINGS):
            raise DataContractError(f"{self.source}: the answer is not JSON")
        return rows

    def _between(self, since: pd.Timestamp, last: pd.Timestamp) -> pd.DataFrame:
        bars = self.page(since)
        return bars[(bars.index >= since) & (bars.index <= last)]

    def _has_bars_from(self, since: pd.Timestamp) -> bool:
        newest = self.page(None)
        return len(newest) > 0 and newest.index[-1] >= since


@contextmanager
def open_market(
    config: ExchangeConfig, coin: str, interval: str, *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Market]:
    """The market of a coin; raises `DataContractError` where the exchange, the market or bars of the interval do not exist."""
    client = create_client(config, source=exchange_source(config, coin))
    market = Market(client, "", interval, exchange_source(config, coin), config.retries, sleep)
    try:
        _require_bars(client, interval, market.source)
        markets = _persist(client.load_markets, market)
        yield replace(market, symbol=find_symbol(markets, coin, config.market, source=market.source))
    finally:
        client.close()


def exchange_source(config: ExchangeConfig, coin: str) -> str:
    """Coin and market, for messages: `BTC-USDT (binance spot)`."""
    return f"{coin} ({config.name} {config.market})"


def download(
    archive: Archive,
    market: Market,
    config: ExchangeConfig,
    *,
    now: pd.Timestamp | None = None,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Store every closed bar that is not stored yet, and return how many those were.

    A bar is closed by the exchange's time, or by `now` where that is earlier. The last `config.recheck` stored bars are
    asked for again; those that differ are noted in the archive and stay as they are. Raises `DataContractError` where the
    exchange does not answer, has no bars, or has none of the last `config.max_silence_days`; what was stored stays.
    """
    with archive.locked():
        moment = market.now() if now is None else min(now, market.now())
        last = moment - pd.Timedelta(seconds=config.settle_s) - market.step
        months = by_month(market.pages(_resume_at(archive, market, config, moment), last))
        if progress is not None:
            months = _told(months, last, market, progress, clock)
        n_new = sum(archive.add(month, bars) for month, bars in months)
        newest = archive.last_open_time()
        _require_recent(newest, moment, config, market.source)
    if progress is not None:
        progress(f"{market.source}: {n_new:,} new bars, the last of {newest}")
    return n_new


def by_month(pages: Iterable[pd.DataFrame]) -> Iterator[Month]:
    """The bars of each month, once the first bar of a later month, or the end, shows that it is complete."""
    month, parts = None, list[pd.DataFrame]()
    for page in pages:
        for found, part in page.groupby(pd.DatetimeIndex(page.index).tz_localize(None).to_period("M")):
            if found != month and parts:
                yield pd.Period(month), pd.concat(parts)
                parts = []
            month = found
            parts.append(part)
    if parts:
        yield pd.Period(month), pd.concat(parts)


def create_client(config: ExchangeConfig, *, source: str) -> Any:
    """The ccxt client of an exchange, paced and without a key; raises `DataContractError` for one that ccxt does not know."""
    import ccxt

    if config.name not in ccxt.exchanges:
        near = ", ".join(get_close_matches(config.name, ccxt.exchanges)) or "see ccxt.exchanges"
        raise DataContractError(f"{source}: ccxt has no exchange {config.name!r}; near: {near}")
    options = {"enableRateLimit": True, "timeout": round(config.timeout_s * 1_000), **config.client_options}
    if config.rate_limit_ms is not None:
        options["rateLimit"] = config.rate_limit_ms
    return getattr(ccxt, config.name)(options)


def find_symbol(markets: dict[str, Any], coin: str, kind: str, *, source: str) -> str:
    """The symbol of a coin in ccxt: `BTC/USDT` on spot, `BTC/USDT:USDT` or `BTC/USD:BTC` among the swaps."""
    base, *rest = coin.replace("_", "-").split("-")
    if len(rest) != 1:
        raise DataContractError(f"{source}: a coin of an exchange is base and quote, such as BTC-USDT")
    pair = f"{base}/{rest[0]}"
    candidates = [pair] if kind == "spot" else [f"{pair}:{rest[0]}", f"{pair}:{base}"]
    of_kind = [symbol for symbol, market in markets.items() if market.get(kind)]
    for symbol in candidates:
        if symbol in of_kind:
            return symbol
    of_base = [symbol for symbol in of_kind if symbol.startswith(f"{base}/")]
    near = of_base or get_close_matches(candidates[0], of_kind) or of_kind
    there = ", ".join(near[:MARKETS_TO_NAME]) or "none"
    raise DataContractError(f"{source}: there is no {kind} market {candidates[0]}, of {len(of_kind)} the nearest are {there}")


def to_bars(rows: Any, *, source: str) -> pd.DataFrame:
    """OHLCV of ccxt's rows `[milliseconds, open, high, low, close, volume]` in time order, the first of each time."""
    try:
        values = np.array(rows or [], dtype="float64").reshape(-1, N_COLUMNS)
    except (TypeError, ValueError) as error:
        raise DataContractError(f"{source}: the answer is not rows of {N_COLUMNS} numbers: {_sentence(error)}") from error
    opened = values[:, 0]
    is_time = (opened >= EPOCH_BOUNDS[1]) & (opened < EPOCH_BOUNDS[2])
    if not is_time.all():
        row = int((~is_time).argmax())
        raise DataContractError(f"{source}: row {row + 1}, column open_time: {opened[row]} is not a unix time in milliseconds")
    index = pd.DatetimeIndex(opened.astype("int64").astype("datetime64[ms]"), tz="UTC", name="open_time").as_unit("ns")
    bars = pd.DataFrame(values[:, 1:], columns=list(OHLCV), index=index).sort_index(kind="stable")
    return bars[~bars.index.duplicated()]


def _persist(ask: Callable[[], Answer], market: Market) -> Answer:
    """What an exchange answers; it is asked again after what may pass: no connection, too many requests, a broken answer.

    Raises `SilentExchangeError` where that did not pass, and `DataContractError` where the exchange refused.
    """
    import ccxt

    for attempt in range(market.retries + 1):
        try:
            return ask()
        except (ccxt.OperationFailed, DataContractError) as error:
            failure = error
            if attempt < market.retries:
                market.sleep(_pause_s(error, attempt, market))
        except ccxt.BaseError as error:
            raise DataContractError(f"{market.source}: the exchange refused: {_sentence(error)}") from error
    attempts = f"in {market.retries + 1} attempts"
    if isinstance(failure, DataContractError):
        raise SilentExchangeError(f"{failure}, {attempts}") from failure
    raise SilentExchangeError(f"{market.source}: no answer {attempts}: {_sentence(failure)}") from failure


def _pause_s(error: Exception, attempt: int, market: Market) -> float:
    """Twice as long after each failure, or as long as an exchange that was asked too often demands."""
    import ccxt

    demanded = ""
    if isinstance(error, ccxt.DDoSProtection | ccxt.RateLimitExceeded):
        demanded = str((market.client.last_response_headers or {}).get("Retry-After", ""))
    demanded_s = float(demanded) if demanded.isdecimal() else 0.0
    if demanded_s > MAX_BAN_S:
        raise DataContractError(f"{market.source}: the exchange wants no request for {demanded_s:,.0f} s") from error
    return max(demanded_s, min(2.0**attempt, MAX_PAUSE_S))


def _sentence(error: Exception) -> str:
    """First line of a library's message, which may go on with a whole page."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{type(error).__name__}: {lines[0][:200]}"


def _require_bars(client: Any, interval: str, source: str) -> None:
    if client.has["fetchOHLCV"] is not True:
        raise DataContractError(f"{source}: the exchange serves no bars")
    if interval not in (client.timeframes or {}):
        there = ", ".join(client.timeframes or {}) or "none"
        raise DataContractError(f"{source}: the exchange has no bars of {interval}, its intervals are {there}")


def _resume_at(archive: Archive, market: Market, config: ExchangeConfig, now: pd.Timestamp) -> pd.Timestamp:
    """The first of the stored bars to check again; the start of history where nothing is stored."""
    stored = archive.last_open_time()
    archive.forget_restatements_after(stored)
    if stored is None:
        return market.start_of_history(pd.Timestamp(config.start, tz="UTC"), now)
    return stored - (config.recheck - 1) * market.step


def _require_recent(newest: pd.Timestamp | None, now: pd.Timestamp, config: ExchangeConfig, source: str) -> None:
    if newest is None:
        raise DataContractError(f"{source}: the exchange has no closed bar since {config.start}")
    if now - newest > pd.Timedelta(days=config.max_silence_days):
        rule = f"more than exchange.max_silence_days = {config.max_silence_days:g} before {now}"
        raise DataContractError(f"{source}: the last bar is of {newest}, {rule}")


def _told(
    months: Iterator[Month], last: pd.Timestamp, market: Market, progress: Progress, clock: Callable[[], float]
) -> Iterator[Month]:
    """The same months, with a line now and then on what is stored and what is left."""
    begun = told = clock()
    n_done, n_left = 0, 0
    for month, bars in months:
        yield month, bars
        now = clock()
        n_done, n_left = n_done + len(bars), (last - bars.index[-1]) // market.step
        if now - told >= SECONDS_BETWEEN_LINES:
            told, left_s = now, (now - begun) * n_left / n_done
            counts = f"{n_done:,} of about {n_done + n_left:,} bars"
            progress(f"{market.source}: {month}, {counts}; {now - begun:.0f} s gone, {left_s:.0f} s left")
