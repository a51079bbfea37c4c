"""A coin with a champion of real features, and a folder of candle files that goes on bar by bar: for tests of live decisions."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from crp_pipeline.candles import demo_market, market_closes, repair_candles
from crp_pipeline.features import CATALOG, compute_features, feature_set_id, ready_rows
from crp_pipeline.gate import Outcome
from crp_pipeline.labels import make_labels
from crp_pipeline.models import ModelSpec
from crp_pipeline.places import Places
from crp_pipeline.provenance import stamp
from crp_pipeline.registry import Registry
from crp_pipeline.settings import LabelConfig, PipelineSettings, WalkForwardConfig, load_settings
from crp_pipeline.signals import Desk, Signal
from crp_pipeline.signals.signal import TIMES
from crp_pipeline.storage import write_parquet
from crp_pipeline_tests.quick import quick_params
from crp_pipeline_tests.shadows import COIN, HORIZON, candidate, register

OTHER = "ETH-USDT"
LEARNED = 1_000
"""Bars that the champion learned from."""
NEXT = LEARNED + 40
"""Bars after which tests have the next decision made."""
HOUR = timedelta(hours=1)
SIZES = WalkForwardConfig(train_size=600, test_size=130, embargo=HORIZON)
LABELS = LabelConfig(horizon=HORIZON, volatility_window=20)
READ = (
    *("log_return_1", "rsi_14", "distance_to_sma_20", "average_true_range_14", "hour_sine"),
    *("market_return_4", "market_correlation_24", "money_flow_index_14", "skewness_48", "distance_to_sma_10_x4"),
)
"""Recursive, rolling, longer bars, calendar and the market beside: of every kind one."""
CHOSEN = tuple(feature for feature in CATALOG if feature.name in READ)
QUICK = (
    ModelSpec("lightgbm", "lightweight", quick_params("lightgbm")),
    ModelSpec("tcn", "lightweight", quick_params("tcn")),
)
MARKET = demo_market({COIN: 1.0, OTHER: 0.0}, n_bars=LEARNED + 400, seed=11)


@dataclass(frozen=True)
class Known:
    """What `shadows.candidate` learns from."""

    candles: pd.DataFrame
    features: pd.DataFrame
    label_config: LabelConfig = LABELS

    @property
    def labels(self):
        return make_labels(self.candles, self.label_config)

    @property
    def ready(self):
        return ready_rows(self.candles, CHOSEN)


def repaired(raw):
    return repair_candles(raw, "1h", max_gap=4)[0]


def whole_table(raw=MARKET, features=CHOSEN):
    """The table that a night makes of these bars."""
    candles = repaired(raw[COIN].dropna())
    return compute_features(candles, features, market=market_closes({OTHER: repaired(raw[OTHER].dropna())}))


def learned(folder: Path, *models, n_bars: int = LEARNED, raw=MARKET, features=CHOSEN, label_config=LABELS):
    """(models, stack, decisions) of a champion that knows the first bars."""
    known = raw.iloc[:n_bars]
    table = stamp(whole_table(known, features), "features", coin=COIN, feature_set_id=feature_set_id(CATALOG))
    return candidate(Known(repaired(known[COIN]), table, label_config), folder, *(models or QUICK), sizes=SIZES)


def live_settings(root: Path, **changes) -> PipelineSettings:
    """Candles are files below `root`."""
    values = {
        "source": "files",
        "coins": (COIN, OTHER),
        "data_dir": root / "data",
        "files_dir": root / "files",
        "horizon": HORIZON,
        "labels": {"volatility_window": LABELS.volatility_window},
        "walk_forward": SIZES,
        **changes,
    }
    return load_settings(**values)


class Clock:
    """Tells the moment that a test says."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class LiveCoin:
    """A coin whose files end where a test says, with a clock some seconds after the last close."""

    def __init__(self, root: Path, parts=None, **settings) -> None:
        self.root, self.settings = root, live_settings(root, **settings)
        self.places, self.clock = Places(self.settings.data_dir), Clock(closed_at(LEARNED))
        self.book = Registry(self.places.registry)
        self.said: list[str] = []
        self.raw = MARKET
        self.desk = self.new_desk()
        write_parquet(
            self.places.frame("market"), market_closes({name: repaired(MARKET[name].iloc[:LEARNED]) for name in (COIN, OTHER)})
        )
        if parts is not None:
            self.version = self.crown(parts)

    def new_desk(self, **how) -> Desk:
        return Desk(self.settings, clock=self.clock, tell=self.said.append, **how)

    def crown(self, parts, *, recipe="a", **card) -> str:
        told = {"feature_set_id": feature_set_id(CATALOG), **card}
        return register(self.book, parts, Outcome.PROMOTE, recipe=recipe, now=self.clock.now, **told)

    def at(self, n_bars: int, *, seconds: float = 20.0) -> "LiveCoin":
        """So many bars have closed, and some seconds have passed since; the bar that is open is in the files as well."""
        for coin in (COIN, OTHER):
            self.write(coin, self.raw[coin].iloc[: n_bars + 1].dropna())
        self.clock.now = closed_at(n_bars) + timedelta(seconds=seconds)
        return self

    def write(self, coin, bars) -> None:
        self.root.joinpath("files").mkdir(exist_ok=True)
        bars.to_parquet(self.root / "files" / f"{coin}.parquet")

    def decide(self):
        return self.desk.decide(COIN).signal

    def lines(self):
        return self.desk.log(COIN).read()


def closed_at(n_bars: int) -> datetime:
    """When the last of so many bars closed."""
    return MARKET.index[n_bars - 1].to_pydatetime() + HOUR


def with_bars(raw, changes):
    """The same market with some rows of the coin replaced: {row: bar or None for a hole}."""
    made = raw.copy()
    for row, values in changes.items():
        made.loc[made.index[row], [(COIN, name) for name in ("open", "high", "low", "close", "volume")]] = (
            np.nan if values is None else values
        )
    return made


def later(line, n_bars, **changes):
    """The same line about a bar so much later."""
    return replace(line, **{name: getattr(line, name) + n_bars * HOUR for name in TIMES}, **changes)


def silence(line, n_bars):
    """Lines about so many bars after this one of which nothing is to be had."""
    told = {name: getattr(line, name) for name in TIMES}
    nothing = Signal(coin=COIN, **told, reason="the exchange is silent", latency_ms=7.0, compute_ms=0.0)
    return [later(nothing, bar) for bar in range(1, n_bars + 1)]
