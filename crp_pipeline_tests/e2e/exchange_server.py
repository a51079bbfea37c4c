"""A loopback exchange that answers in Binance's wire format and misbehaves on demand, and downloads from it."""

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, sleep
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd

from crp_pipeline.candles.archive import Archive
from crp_pipeline.candles.exchange import download, open_market
from crp_pipeline.settings import ExchangeConfig

COIN = "BTC-USDT"
HOUR = pd.Timedelta(hours=1)
MAX_LIMIT = 1_000
FAULTS = ("429", "418", "500", "503", "drop", "cut", "html", "empty", "repeat", "overlap", "short", "newest first")
"""What may go wrong with one request for bars: `drop` closes the connection, `cut` in the middle of the answer."""


@dataclass
class Exchange:
    """What the server knows and how it behaves; `faults` are spent one per request for bars, "" being none."""

    bars: pd.DataFrame
    now: pd.Timestamp
    interval: str = "1h"
    max_limit: int = MAX_LIMIT
    faults: deque[str] = field(default_factory=deque)
    retry_after_s: int | None = None
    delay_s: float = 0.0
    windowed: bool = False
    """Answer with what lies in the first `limit` bars' time after `since`, which may be nothing; some exchanges do."""
    always: str | None = None
    requests: list[tuple[str, dict[str, str], float]] = field(default_factory=list)
    previous: dict[str, list[list]] = field(default_factory=dict)
    url: str = ""

    def config(self, **changes) -> ExchangeConfig:
        """Settings that lead ccxt here."""
        paths = {"public": "api/v3", "fapiPublic": "fapi/v1", "dapiPublic": "dapi/v1"}
        urls = {"api": {name: f"{self.url}/{path}" for name, path in paths.items()}}
        return ExchangeConfig(**{"rate_limit_ms": 0, "retries": 8, "client_options": {"urls": urls}, **changes})

    def asked_for_bars(self) -> list[dict[str, str]]:
        return [query for path, query, _ in self.requests if path.endswith("/klines")]

    def fault_of(self, _query: dict[str, str]) -> str:
        return self.always or (self.faults.popleft() if self.faults else "")

    def klines(self, query: dict[str, str], fault: str) -> list[list]:
        limit = min(int(query.get("limit", 500)), self.max_limit)
        step = pd.Timedelta(self.interval.replace("m", "min") if query["interval"] == self.interval else "1D")
        bars = self.bars if query["interval"] == self.interval else self.bars.resample("1D").first().dropna()
        bars = bars[bars.index <= self.now]
        if "startTime" not in query:
            return [wire(bar, step) for bar in bars.iloc[-limit:].itertuples()]
        since = pd.Timestamp(int(query["startTime"]), unit="ms", tz="UTC") - (3 * step if fault == "overlap" else 0 * step)
        bars = bars[bars.index >= since]
        if self.windowed:
            bars = bars[bars.index < since + limit * step]
        return [wire(bar, step) for bar in bars.iloc[: 2 if fault == "short" else limit].itertuples()]


def wire(bar, step: pd.Timedelta) -> list:
    """One kline: times in milliseconds, prices and volumes as text."""
    opened = bar.Index.value // 1_000_000
    prices = [repr(float(value)) for value in (bar.open, bar.high, bar.low, bar.close, bar.volume)]
    return [opened, *prices, opened + step.value // 1_000_000 - 1, "0", 1, "0", "0", "0"]


def spot_symbol(base: str, quote: str) -> dict:
    return {
        "symbol": base + quote,
        "status": "TRADING",
        "baseAsset": base,
        "quoteAsset": quote,
        "baseAssetPrecision": 8,
        "quoteAssetPrecision": 8,
        "isSpotTradingAllowed": True,
        "permissionSets": [["SPOT"]],
        "orderTypes": ["LIMIT", "MARKET"],
        "filters": [],
    }


def swap_symbol(base: str, quote: str, margin: str) -> dict:
    return {
        **spot_symbol(base, quote),
        "symbol": base + quote + ("" if margin == quote else "_PERP"),
        "pair": base + quote,
        "contractType": "PERPETUAL",
        "contractStatus": "TRADING",
        "contractSize": 100,
        "marginAsset": margin,
        "deliveryDate": 4_133_404_800_000,
        "onboardDate": 1_569_398_400_000,
    }


LISTED = {
    "/api/v3/exchangeInfo": [
        spot_symbol("BTC", "USDT"),
        spot_symbol("BTC", "EUR"),
        spot_symbol("ETH", "USDT"),
        spot_symbol("SOL", "USDT"),
    ],
    "/fapi/v1/exchangeInfo": [swap_symbol("BTC", "USDT", "USDT")],
    "/dapi/v1/exchangeInfo": [swap_symbol("BTC", "USD", "BTC")],
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    disable_nagle_algorithm = True
    exchange: Exchange

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        self.exchange.requests.append((parts.path, query, monotonic()))
        if parts.path in LISTED:
            self._answer(200, {"timezone": "UTC", "symbols": LISTED[parts.path]})
        elif parts.path.endswith("/time"):
            self._answer(200, {"serverTime": self.exchange.now.value // 1_000_000})
        elif parts.path.endswith("/klines"):
            self._answer_bars(query)
        else:
            self._answer(404, {"code": -1, "msg": "no such endpoint"})

    def _answer_bars(self, query: dict[str, str]) -> None:
        exchange = self.exchange
        sleep(exchange.delay_s)
        fault = exchange.fault_of(query)
        if fault == "drop":
            self.close_connection = True
        elif fault in {"html", "500", "503"}:
            self._send(200 if fault == "html" else int(fault), b"<html>maintenance</html>")
        elif fault.isdecimal():
            self._answer(int(fault), {"code": -1003, "msg": "Too many requests"})
        else:
            rows = exchange.klines(query, fault)
            previous = exchange.previous.get(query["interval"], [])
            served = {"empty": [], "repeat": previous, "newest first": rows[::-1]}.get(fault, rows)
            if fault != "repeat":
                exchange.previous[query["interval"]] = rows
            self._answer(200, served, cut=fault == "cut")

    def _answer(self, status: int, document: object, *, cut: bool = False) -> None:
        self._send(status, json.dumps(document).encode(), cut=cut)

    def _send(self, status: int, body: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + cut))
        if status in {418, 429} and self.exchange.retry_after_s is not None:
            self.send_header("Retry-After", str(self.exchange.retry_after_s))
        self.end_headers()
        self.wfile.write(body)
        if cut:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(exchange: Exchange) -> Iterator[Exchange]:
    """The exchange on a free port of the loopback interface."""
    handler = type("Bound", (Handler,), {"exchange": exchange})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        exchange.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield exchange
        finally:
            server.shutdown()
            thread.join()


class Pauses(list):
    """Records the pauses that were asked for, and sleeps none of them."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def market_bars(n_bars, *, start="2024-01-15", freq="1h", seed=0):
    index = pd.date_range(start, periods=n_bars, freq=freq, tz="UTC", name="open_time", unit="ns")
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(n_bars)))
    high, low = close * 1.01, close * 0.99
    return pd.DataFrame({"open": close, "high": high, "low": low, "close": close, "volume": rng.gamma(2, 50, n_bars)}, index)


@contextmanager
def exchange_of(bars, *, after_last=HOUR / 2, **behaviour):
    """A server whose last bar is unfinished."""
    with serve(Exchange(bars, now=bars.index[-1] + after_last, **behaviour)) as exchange:
        yield exchange


def fetch(exchange, archive, *, coin=COIN, interval="1h", now=None, pauses=None, **changes):
    config = exchange.config(**changes)
    with open_market(config, coin, interval, sleep=Pauses() if pauses is None else pauses) as market:
        return download(archive, market, config, now=now)


def archive_in(folder):
    return Archive(Path(folder) / "1h", f"{COIN} (binance spot)")


def files_of(archive):
    return {path.name: path.read_bytes() for path in archive.folder.iterdir() if not path.name.startswith(".")}
