"""A week of nights on the demo market, told by a loopback exchange whose clock goes on a day at a time.

night 1   all is well: the coin with an edge gets its first champion
night 2   an outage: the exchange answers nothing about ETH-USDT
night 3   kill -9 in the middle of BTC-USDT's models; the night is run again
night 4   bad data: the exchange serves BTC's prices under ETH-USDT's name
night 5   all is well; in the morning a person rolls BTC-USDT back
night 6   all is well
night 7   all is well
"""

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import dagster as dg
import pandas as pd

from crp_pipeline.candles import demo_market
from crp_pipeline.candles.demo import DEMO_START, CoinSpec
from crp_pipeline.definitions import floor_plan
from crp_pipeline.nightly import run_night
from crp_pipeline.registry import Registry
from crp_pipeline.settings import LimitsConfig, PipelineSettings, SentinelConfig
from crp_pipeline.storage import read_parquet
from crp_pipeline_tests.e2e.corridor import small_settings
from crp_pipeline_tests.e2e.exchange_server import HOUR, Exchange, serve
from crp_pipeline_tests.e2e.web_server import environment_of

BTC, ETH = COINS = ("BTC-USDT", "ETH-USDT")
SPECS = (CoinSpec(BTC, kappa=1.0, start_price=40_000.0), CoinSpec(ETH, kappa=0.0, start_price=2_000.0))
FIRST_NIGHT_BARS, NIGHTS, BARS_A_DAY = 3_000, 7, 24
OUTAGE, KILL, BAD_DATA, ROLLBACK = 2, 3, 4, 5
REASON = "the desk does not like its drawdown"
KILLED = -signal.SIGKILL
KILLED_NIGHT = """
import os, signal
import dagster as dg
from crp_pipeline.defs import models
from crp_pipeline.definitions import defs
from crp_pipeline.nightly import run_night
from crp_pipeline_tests.e2e.corridor import shorten_proof
from crp_pipeline_tests.e2e.week import COINS

shorten_proof(setattr)
models.save_final = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
with dg.DagsterInstance.get() as instance:
    run_night(defs, COINS, instance)
"""
"""A night whose process dies when the first model of its first coin has been trained and is about to be kept."""


@dataclass
class Market(Exchange):
    """The exchange with a history per symbol; a symbol that is out answers 503."""

    coins: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    out: set[str] = field(default_factory=set)
    told_as: dict[str, str] = field(default_factory=dict)
    """Symbol whose bars are served under another's name."""

    def klines(self, query: dict[str, str], fault: str) -> list[list]:
        symbol = query["symbol"]
        self.bars = self.coins[self.told_as.get(symbol, symbol)]
        return super().klines(query, fault)

    def fault_of(self, _query: dict[str, str]) -> str:
        return "503" if _query["symbol"] in self.out else super().fault_of(_query)


@dataclass(frozen=True)
class Morning:
    """What a night left."""

    failed: tuple[str, ...]
    fleet: pd.DataFrame
    champions: Mapping[str, str | None]
    bars: Mapping[str, int]
    at: datetime


def clock_of(night: int) -> datetime:
    """A quarter of an hour after the night's last bar has closed; nights count from 1."""
    bars = FIRST_NIGHT_BARS + (night - 1) * BARS_A_DAY
    return (DEMO_START + bars * HOUR).to_pydatetime() + pd.Timedelta(minutes=15).to_pytimedelta()


@contextmanager
def market() -> Iterator[Market]:
    """The exchange at the first night."""
    n_bars = FIRST_NIGHT_BARS + (NIGHTS + 1) * BARS_A_DAY
    history = demo_market(SPECS, n_bars=n_bars, seed=7)
    bars = {coin.replace("-", ""): history[coin] for coin in COINS}
    with serve(Market(bars["BTCUSDT"], now=pd.Timestamp(clock_of(1)), coins=bars)) as exchange:
        yield exchange


def settings_of(root: Path, night: int, exchange: Exchange) -> PipelineSettings:
    """The small corridor on that exchange; on a market whose edge is planted nothing is kept from the models."""
    return small_settings(
        root / "data",
        source="exchange",
        coins=COINS,
        exchange=exchange.config(start=DEMO_START.date(), retries=1),
        sentinels=SentinelConfig(quarantine=False, leak_rows=500, leak_rounds=5, leak_folds=2),
        limits=LimitsConfig(exchange_retries=0),
        clock=clock_of(night),
    )


def night_of(root: Path, night: int, exchange: Market) -> Morning:
    """One night of all coins in this process, whose working directory is `root`."""
    settings = told_to(root, night, exchange)
    with dg.DagsterInstance.from_config(str(root)) as instance:
        failed = run_night(floor_plan(settings), COINS, instance)
    return morning(root, night, failed)


def killed_night_of(root: Path, night: int, exchange: Market) -> int:
    """One night in a process of its own that is killed on the way; its exit status."""
    env = environment_of(root, told_to(root, night, exchange))
    return subprocess.run([sys.executable, "-c", KILLED_NIGHT], cwd=root, env=env, check=False).returncode


def told_to(root: Path, night: int, exchange: Market) -> PipelineSettings:
    """Let the exchange be as it is in that night; the settings of the night."""
    exchange.now = pd.Timestamp(clock_of(night))
    exchange.out = {"ETHUSDT"} if night == OUTAGE else set()
    exchange.told_as = {"ETHUSDT": "BTCUSDT"} if night == BAD_DATA else {}
    return settings_of(root, night, exchange)


def morning(root: Path, night: int, failed: Sequence[str]) -> Morning:
    """What is there after a night."""
    book = Registry(root / "data" / "registry")
    return Morning(
        tuple(failed),
        read_parquet(root / "data" / "summary" / "summary.parquet"),
        {coin: book.champion(coin) if coin in book.coins() else None for coin in COINS},
        {coin: len(read_parquet(root / "data" / "candles" / f"{coin}.parquet")) for coin in COINS},
        clock_of(night),
    )
