"""A synthetic market whose best possible accuracy is known: the demo's coins and the pipeline's control experiments.

A hidden state `s` (AR(1), phi 0.9, N(0,1) marginal) drives the next bar's log return,

    r[t+1] = sigma[t] * (kappa * s[t] + eps[t])

with `sigma` a GARCH(1,1) driven by `eps` alone and `eps` correlated 0.7 across coins. `s[t]` can be read off the bar's
volume, `log volume = level + daily seasonality + c * s`, so no forecast of a bar's direction is right more often than
`sign(s)`, and how often that is follows from kappa (`bayes_accuracy`). Open, high, low and close come from a Brownian
bridge inside each bar.

Every random quantity has a stream of its own, named by seed, purpose and coin: a longer market begins with the shorter
one, and a coin does not change when others join it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from numbers import Real
from zlib import crc32

import numpy as np
import pandas as pd

from crp_pipeline.contracts import OHLCV, Floats, interval_length
from crp_pipeline.errors import DataContractError
from crp_pipeline.settings import DemoConfig

PHI = 0.9
"""Autocorrelation of the hidden state from one bar to the next."""
EPS_CORRELATION = 0.7
"""Correlation of two coins' shocks in the same bar."""
GARCH_SHOCK, GARCH_MEMORY = 0.05, 0.93
BRIDGE_STEPS = 64
BARS_PER_CHUNK = 4_096
"""Bars whose bridges are held at once: 2 MiB."""
DEMO_START = pd.Timestamp("2022-01-01", tz="UTC")
"""Open time of the first bar. Fixed, because a market that began at the clock would be another one each day."""
DEMO_END = pd.Timestamp("2025-01-01", tz="UTC")
"""No demo bar closes later: bars still to come would be cut off at the clock, elsewhere each day."""

DEMO_FLOOR = pd.Timestamp("1800-01-01", tz="UTC")
"""No demo bar opens earlier: nanoseconds reach little further back."""

_HOUR, _DAY = pd.Timedelta(hours=1), pd.Timedelta(days=1)


@dataclass(frozen=True)
class CoinSpec:
    """One coin of the synthetic market."""

    name: str
    kappa: float
    """Drift per unit of hidden state, in volatilities: 0 is a coin that nobody can forecast."""
    start_price: float = 100.0
    hourly_volatility: float = 0.006
    """Unconditional standard deviation of one hour's shock; other bars scale it by the root of their length."""
    volume_level: float = 8.0
    """Mean of log volume."""
    seasonality: float = 0.5
    """Amplitude of the daily sine in log volume."""
    state_weight: float = 0.5
    """c: log volume per unit of hidden state."""


DEMO_COINS: Mapping[str, CoinSpec] = {
    spec.name: spec for spec in (CoinSpec("EDGE-DEMO", kappa=1.0), CoinSpec("NOISE-DEMO", kappa=0.0, start_price=40.0))
}
"""The embedded market: one coin with an edge that a sound pipeline proves, one with none."""


def demo_market(
    coins: float | CoinSpec | Mapping[str, float | CoinSpec] | Sequence[CoinSpec],
    *,
    n_bars: int,
    seed: int,
    interval: str = "1h",
    start: pd.Timestamp = DEMO_START,
) -> pd.DataFrame:
    """OHLCV of a market with known Bayes accuracy, indexed by `open_time` from `start`.

    One edge (kappa) or one `CoinSpec` gives one coin's frame with columns open, high, low, close and volume. A mapping
    of names to edges or specs, or a sequence of specs, gives (coin, field) columns: `market["EDGE-DEMO"]` is one frame.
    """
    bar = interval_length(interval)
    times = pd.date_range(start, periods=n_bars, freq=bar, name="open_time", unit="ns")
    if isinstance(coins, CoinSpec):
        return _simulate(coins, times, seed, bar)
    if isinstance(coins, str) or not isinstance(coins, Mapping | Sequence):
        return _simulate(_spec("DEMO", coins), times, seed, bar)
    named = coins.items() if isinstance(coins, Mapping) else ((None, coin) for coin in coins)
    specs = [_spec(name, value) for name, value in named]
    if not specs:
        raise DataContractError("a market has at least one coin, none was given")
    return pd.concat({spec.name: _simulate(spec, times, seed, bar) for spec in specs}, axis=1, names=["coin", "field"])


def demo_coin(name: str) -> CoinSpec:
    """One of `DEMO_COINS`, or, with a number behind its name, another of its kind: EDGE-DEMO-2 has an edge as well.

    Raises `DataContractError` for any other name.
    """
    kind = re.sub(r"(?<=-DEMO)-[1-9][0-9]{0,3}$", "", name)
    if kind not in DEMO_COINS:
        raise DataContractError(f"{name} is not on the demo market, which has {', '.join(DEMO_COINS)}, each by number as well")
    return replace(DEMO_COINS[kind], name=name)


def demo_candles(coin: str, config: DemoConfig, interval: str = "1h") -> pd.DataFrame:
    """OHLCV of a `demo_coin`, over before `DEMO_END`; `config.edge` is the kappa of a coin that has an edge."""
    spec = demo_coin(coin)
    kappa = config.edge if spec.kappa else 0.0
    start = _demo_start(config.n_bars, interval)
    return demo_market(replace(spec, kappa=kappa), n_bars=config.n_bars, seed=config.seed, interval=interval, start=start)


def _demo_start(n_bars: int, interval: str) -> pd.Timestamp:
    most = (DEMO_END - DEMO_FLOOR) // interval_length(interval)
    if n_bars > most:
        raise DataContractError(
            f"demo.n_bars = {n_bars:,} is too many bars of {interval}: {most:,} reach back to {DEMO_FLOOR:%Y}"
        )
    return min(DEMO_START, DEMO_END - n_bars * interval_length(interval))


def bayes_accuracy(kappa: float, horizon: int = 1) -> float:
    """Share of bars whose next `horizon` bars return with the sign of `s[t]`: nothing known at `t` does better.

    Exact at one bar, `1/2 + arctan(kappa)/pi`; beyond that `1/2 + arcsin(rho)/pi`, which takes sigma as constant over
    the horizon.

    >>> bayes_accuracy(1.0)
    0.75
    """
    lags = np.arange(1, horizon)
    variance = horizon + kappa**2 * (horizon + 2 * ((horizon - lags) * PHI**lags).sum())
    rho = kappa * (1 - PHI**horizon) / (1 - PHI) / np.sqrt(variance)
    return float(0.5 + np.arcsin(rho) / np.pi)


def visible_state(candles: pd.DataFrame, spec: CoinSpec) -> Floats:
    """(n,) hidden state `s[t]`, read off each bar's volume: the perfect forecaster's input."""
    log_volume: Floats = np.log(candles["volume"].to_numpy(dtype="float64"))
    return (log_volume - _log_volume_without_state(pd.DatetimeIndex(candles.index), spec)) / spec.state_weight


def _spec(name: str | None, value: object) -> CoinSpec:
    if isinstance(value, CoinSpec):
        return replace(value, name=value.name if name is None else name)
    if name is None or not isinstance(value, Real):
        raise TypeError(f"{value!r} is no coin: give an edge, a CoinSpec such as DEMO_COINS['EDGE-DEMO'], or several of them")
    return CoinSpec(name, kappa=float(value))


def _stream(seed: int, *names: str) -> np.random.Generator:
    return np.random.default_rng([seed, *(crc32(name.encode()) for name in names)])


def _simulate(spec: CoinSpec, times: pd.DatetimeIndex, seed: int, bar: pd.Timedelta) -> pd.DataFrame:
    state = _state(len(times) + 1, _stream(seed, "state", spec.name))
    eps = _shocks(len(times), _stream(seed, "common shock"), _stream(seed, "own shock", spec.name))
    sigma = spec.hourly_volatility * np.sqrt(bar / _HOUR) * _garch(eps)
    # the state before the first bar drives that bar; each bar's volume shows the state that drives the next
    log_return = sigma * (spec.kappa * state[:-1] + eps)
    log_close = np.log(spec.start_price) + np.cumsum(log_return)
    close = np.exp(log_close)
    open_ = np.concatenate([[spec.start_price], close[:-1]])
    low, high = _extremes(log_return, sigma, _stream(seed, "bridge", spec.name))
    columns = {
        "open": open_,
        "high": np.maximum(open_ * np.exp(high), np.maximum(open_, close)),
        "low": np.minimum(open_ * np.exp(low), np.minimum(open_, close)),
        "close": close,
        "volume": np.exp(_log_volume_without_state(times, spec) + spec.state_weight * state[1:]),
    }
    return pd.DataFrame({name: columns[name] for name in OHLCV}, index=times)


def _state(n: int, stream: np.random.Generator) -> Floats:
    from scipy.signal import lfilter

    noise = stream.standard_normal(n) * np.sqrt(1 - PHI**2)
    noise[:1] /= np.sqrt(1 - PHI**2)  # the first value has the marginal's variance, not the innovation's
    return np.asarray(lfilter([1.0], [1.0, -PHI], noise), dtype="float64")


def _shocks(n: int, common: np.random.Generator, own: np.random.Generator) -> Floats:
    shared, private = common.standard_normal(n), own.standard_normal(n)
    return np.asarray(EPS_CORRELATION**0.5 * shared + (1 - EPS_CORRELATION) ** 0.5 * private)


def _garch(eps: Floats) -> Floats:
    """(n,) volatility of each bar's shock, with unconditional variance 1."""
    constant = 1 - GARCH_SHOCK - GARCH_MEMORY
    growth = GARCH_SHOCK * eps**2 + GARCH_MEMORY
    variance = accumulate(growth[:-1].tolist(), lambda last, factor: constant + last * factor, initial=1.0)
    return np.sqrt(np.fromiter(variance, dtype=np.float64))[: len(eps)]


def _extremes(log_return: Floats, sigma: Floats, stream: np.random.Generator) -> tuple[Floats, Floats]:
    """(n,), (n,) lowest and highest log price of each bar relative to its open, both ends included."""
    elapsed = np.arange(1, BRIDGE_STEPS + 1) / BRIDGE_STEPS
    low, high = np.minimum(log_return, 0.0), np.maximum(log_return, 0.0)
    for start in range(0, len(log_return), BARS_PER_CHUNK):
        bars = slice(start, start + BARS_PER_CHUNK)
        walk = stream.standard_normal((len(log_return[bars]), BRIDGE_STEPS))
        np.cumsum(walk, axis=1, out=walk)
        walk *= sigma[bars, None] / np.sqrt(BRIDGE_STEPS)
        walk += (log_return[bars] - walk[:, -1])[:, None] * elapsed  # pins the walk's end to the bar's return
        low[bars] = np.minimum(low[bars], walk.min(axis=1))
        high[bars] = np.maximum(high[bars], walk.max(axis=1))
    return low, high


def _log_volume_without_state(times: pd.DatetimeIndex, spec: CoinSpec) -> Floats:
    share_of_day = np.asarray((times - times.normalize()) / _DAY, dtype="float64")
    return spec.volume_level + spec.seasonality * np.sin(2 * np.pi * share_of_day)
