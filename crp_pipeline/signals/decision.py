"""One decision: from what is known at the close of the newest bar to a signal, or to the reason why there is none.

The features are those of the champion's models and no other, of the bars that these look at. They are made in the blocks of the
clock in which every feature table is made, so that a live value is the value of the nightly table to the bit, recursive
indicators and running sums included; the models are shown the same rows by the same method as in the shadow.

Nothing is ever guessed. There is no decision where the newest bar is too old, known to the champion from its training, filled
in or without enough whole bars behind it, where a feature is not a number, where the probabilities are none, prefer nothing
or repeat themselves, and where no stop can be placed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from crp_pipeline.backtest import exit_table
from crp_pipeline.candles.volatility import causal_volatility
from crp_pipeline.contracts import OHLCV, PROBABILITIES, Bools, interval_length
from crp_pipeline.features import features_since
from crp_pipeline.features.compute import blocks_of
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.signals.champion import Champion, knows
from crp_pipeline.signals.signal import Signal, told
from crp_pipeline.storage import frame_hash

SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Inputs:
    """What is known at the close of the newest bar; nothing of a bar that is still open."""

    candles: pd.DataFrame
    """`contracts.CandleSchema`: from the block of the clock before the newest bar's on, or from the coin's first bar."""
    market: pd.DataFrame | None = None
    """Closes of the other coins, one column each."""
    feeds: pd.DataFrame | None = None
    """Feed values known at each bar's close."""
    late: tuple[str, ...] = ()
    """Coins whose close of the newest bar is still to come."""


@dataclass(frozen=True, eq=False)
class Opinion:
    """A decided bar: its numbers by the names of `Signal`, and the features that they were made from."""

    numbers: dict[str, Any]
    features: "pd.Series[float]"


def decide(
    champion: Champion | str,
    inputs: Inputs,
    *,
    coin: str,
    settings: PipelineSettings,
    clock: Callable[[], datetime],
    earlier: Sequence[Signal] = (),
    timer: Callable[[], float] = perf_counter,
) -> tuple[Signal, "pd.Series[float] | None"]:
    """The decision at the close of the last of these candles, and the feature row behind it where there is one.

    `champion` is the sentence of `Seat.champion` where nobody can decide; `earlier` are decisions of the bars before, newest
    last; `clock` tells the present and `timer` seconds.
    """
    own, begun = settings.of(coin), timer()
    found = champion if isinstance(champion, str) else _opinion(champion, inputs, own, now=clock(), earlier=earlier)
    compute_ms = 1e3 * (timer() - begun)
    version = None if isinstance(champion, str) else champion.version.name
    numbers = {"reason": found} if isinstance(found, str) else found.numbers
    bar = inputs.candles.index[-1]
    made = signal_about(bar, coin=coin, settings=own, now=clock(), compute_ms=compute_ms, version=version, **numbers)
    return made, None if isinstance(found, str) else found.features


def signal_about(
    bar: pd.Timestamp, *, coin: str, settings: PipelineSettings, now: datetime, compute_ms: float = 0.0, **numbers: Any
) -> Signal:
    """A signal about the bar that opened then, decided at `now`."""
    closed = _moment(bar + interval_length(settings.interval))
    return Signal(
        coin=coin,
        open_time=_moment(bar),
        closed_at=closed,
        decided_at=now.astimezone(UTC),
        valid_until=valid_until(bar, settings),
        latency_ms=1e3 * (now - closed).total_seconds(),
        compute_ms=compute_ms,
        **numbers,
    )


def valid_until(bar: pd.Timestamp, settings: PipelineSettings) -> datetime:
    """The last moment at which a decision about the bar that opened then may be acted upon."""
    length = interval_length(settings.interval)
    return _moment(bar + length) + settings.signals.max_age_bars * timedelta(seconds=length.total_seconds())


def live_features(champion: Champion, inputs: Inputs, interval: str) -> pd.DataFrame:
    """What the champion's models look at to decide the last bar: at most `reach` rows, equal to the bit to a whole table's."""
    first = inputs.candles.index[max(len(inputs.candles) - champion.reach, 0)]
    length = interval_length(interval)
    return features_since(first, inputs.candles, champion.features, market=inputs.market, feeds=inputs.feeds, interval=length)


def bars_read(champion: Champion, inputs: Inputs, interval: str) -> pd.DataFrame:
    """What the features of the last bar are made from: the same bars however many lie before them.

    Of a champion that reads the market with the closes of the other coins, `close_<coin>`, and the feeds, `feed_<column>`.
    """
    candles = inputs.candles
    row = max(len(candles) - champion.reach, 0)
    made_of = blocks_of(candles, champion.features, interval_length(interval))
    own = candles.iloc[next(block.first for block in made_of if block.stop > row) :][list(OHLCV)]
    beside = {"close_": inputs.market, "feed_": inputs.feeds} if champion.reads_market else {}
    told = (table.reindex(own.index).add_prefix(name) for name, table in beside.items() if table is not None)
    return pd.concat([own, *told], axis=1)


def _opinion(
    champion: Champion, inputs: Inputs, own: PipelineSettings, *, now: datetime, earlier: Sequence[Signal]
) -> Opinion | str:
    refused = _refused_bars(champion, inputs, own, now)
    if refused:
        return refused
    features = live_features(champion, inputs, own.interval)
    unknown = _unknown_feature(features)
    if unknown:
        return unknown
    bar = pd.DatetimeIndex(features.index[-1:])
    forecasts = champion.version.forecasts(features, bar)
    row = champion.version.stack.decide(forecasts).iloc[0]
    return _degenerate(row, earlier, champion, own) or _with_exits(row, champion, inputs, features.iloc[-1], own)


def _refused_bars(champion: Champion, inputs: Inputs, own: PipelineSettings, now: datetime) -> str:
    """Why these bars give no decision; empty where they may."""
    bars, bar = inputs.candles, inputs.candles.index[-1]
    closed = _moment(bar + interval_length(own.interval))
    limit = own.signals.max_age_bars
    if now > valid_until(bar, own):
        return f"the newest bar closed at {told(closed)}, more than {limit:g} bars ago"
    if knows(champion.version, bar):
        until = told(champion.version.knows_until)
        return (
            f"version {champion.version.name} learned from bars until {until}, and the newest is that of {told(_moment(bar))}"
        )
    if champion.reads_market and inputs.late:
        return f"the models read the market, and {', '.join(inputs.late)} lacks the bar of {told(_moment(bar))}"
    return _broken_window(bars.iloc[-champion.reach :], champion.reach)


def _broken_window(window: pd.DataFrame, reach: int) -> str:
    """A filled-in bar or a hole among the bars that the models look at."""
    whole = window["segment"].to_numpy() == window["segment"].iloc[-1]
    if len(window) < reach or not whole.all():
        return f"there are {int(whole.sum())} whole bars before the next hole, and the models look at {reach}"
    filled: Bools = window["is_repaired"].to_numpy()
    if filled.any():
        bar = window.index[filled][-1]
        return f"the bar of {told(_moment(bar))} was filled in, and the models look at {reach} bars"
    return ""


def _unknown_feature(features: pd.DataFrame) -> str:
    is_unknown = ~np.isfinite(features.to_numpy())
    if not is_unknown.any():
        return ""
    row, column = np.argwhere(is_unknown)[-1]
    return f"the feature {features.columns[column]} is not a number at the bar of {told(_moment(features.index[row]))}"


def _degenerate(row: "pd.Series[Any]", earlier: Sequence[Signal], champion: Champion, own: PipelineSettings) -> str:
    """What is wrong with the probabilities; empty where nothing is."""
    p = row[list(PROBABILITIES)].to_numpy(dtype=np.float64)
    if not np.isfinite(p).all() or abs(p.sum() - 1) > SUM_TOLERANCE or not np.isfinite(row["expected_return"]):
        return f"the stack gives {p.tolist()}, which are no probabilities of three classes"
    if (p == p.max()).sum() > 1:
        return f"the stack gives {p.tolist()} and prefers nothing"
    n = own.signals.max_repeats
    same = [tuple(p) == (it.p_short, it.p_neutral, it.p_long) and it.version == champion.version.name for it in earlier[-n:]]
    if len(same) == n and all(same):
        return f"the stack has given {p.tolist()} {n + 1} times in a row, to the bit: it no longer listens"
    return ""


def _with_exits(
    row: "pd.Series[Any]", champion: Champion, inputs: Inputs, features: "pd.Series[float]", own: PipelineSettings
) -> Opinion | str:
    bars, side = inputs.candles, int(row["signal"])
    exits = exits_at(bars, own).iloc[-1]
    close = float(bars["close"].iloc[-1])
    if side and not np.isfinite(exits["stop_distance"]):
        return f"a side would be taken and the volatility of the last {own.labels.volatility_window} bars places no stop"
    numbers = {
        "signal": side,
        "tier": str(row["tier"]),
        **{name: float(row[name]) for name in ("confidence", *PROBABILITIES, "expected_return")},
        "close": close,
        "stop": close * (1 - side * float(exits["stop_distance"])) if side else None,
        "target": close * (1 + side * float(exits["target_distance"])) if side else None,
        "data_hash": frame_hash(bars_read(champion, inputs, own.interval)),
    }
    return Opinion(numbers, features)


def exits_at(candles: pd.DataFrame, settings: PipelineSettings) -> pd.DataFrame:
    """Stop and target distance at each of these bars, as the backtest places them."""
    volatility = pd.Series(causal_volatility(candles, settings.labels.volatility_window), index=candles.index)
    return exit_table(volatility, settings.horizon, settings.exits)


def _moment(time: pd.Timestamp) -> datetime:
    return time.to_pydatetime().astimezone(UTC)
