"""Where stop and target lie, and how frames become the arrays that the engine walks."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from crp_pipeline.contracts import Bools, Floats, Ints
from crp_pipeline.errors import DataContractError
from crp_pipeline.settings import ExecutionModel, ExitConfig, Sizing

BPS = 1e-4
"""A basis point."""
_FOREVER = np.iinfo(np.int64).max


class Bars(NamedTuple):
    """Candles of one coin, (n,) each."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    repaired: Bools
    last: Bools
    """The last bar of each segment that is not repaired."""
    end: int
    """The last of them when it lies in the last segment, else -1: beyond it the data ends, not a segment."""


class Orders(NamedTuple):
    """What was decided at each bar's close, (n,) each; distances are fractions of the entry price, NaN for none."""

    signal: Ints
    stop: Floats
    target: Floats


class Rules(NamedTuple):
    """When a position is closed."""

    horizon: int
    gap_pays: bool
    """A bar that opens beyond the target fills at the open."""
    close_at_end: bool
    target_first: bool
    """Which of the two a bar that touches both reached first; False, the stop, is the pessimistic answer."""


class Stake(NamedTuple):
    """What may be put at risk, and what an exchange takes as an order."""

    equity: float
    risk: float
    leverage: float
    step: float
    """Units are a multiple of it; 0 for any."""
    min_notional: float
    most: Floats
    """Most units of an order decided at each bar, (n,); (0,) where the volume caps nothing."""


def exit_distances(volatility: ArrayLike, horizon: int, exits: ExitConfig) -> tuple[Floats, Floats]:
    """Stop and target distance as fractions of the entry price: multiple * volatility * sqrt(horizon), (n,) each.

    `volatility` is per bar and known at the decision. NaN, which means no stop and no target, where it is missing or 0, or
    so large that the stop would lie a whole price away, where no long ever reaches it: a decision there belongs to nobody who
    wants his risk limited.
    """
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1 bar, got {horizon}")
    known = np.asarray(volatility, dtype=float)
    spread = np.where(known > 0, known, np.nan) * np.sqrt(horizon)
    stop = exits.stop_volatility_multiple * spread
    is_limited = stop < 1
    return np.where(is_limited, stop, np.nan), np.where(is_limited, exits.target_volatility_multiple * spread, np.nan)


def exit_table(volatility: "pd.Series[float]", horizon: int, exits: ExitConfig) -> pd.DataFrame:
    """`exit_distances` as `stop_distance` and `target_distance` per bar, a table that decisions can be joined with."""
    stop, target = exit_distances(volatility.to_numpy(), horizon, exits)
    return pd.DataFrame({"stop_distance": stop, "target_distance": target}, index=volatility.index)


def rules_of(execution: ExecutionModel, *, target_first: bool = False) -> Rules:
    """Exit rules; no horizon means that time never closes a position."""
    horizon = _FOREVER if execution.horizon is None else execution.horizon
    return Rules(horizon, execution.gap_through_target == "open", execution.close_at_end, target_first)


def stake_of(sizing: Sizing, execution: ExecutionModel, candles: pd.DataFrame) -> Stake:
    """Sizing as the plain numbers of the engine, with the cap that the volume of each decision's bar sets.

    Raises `DataContractError` where there is such a cap and a volume is missing, infinite or negative.
    """
    return Stake(
        equity=sizing.initial_equity,
        risk=sizing.risk_per_trade,
        leverage=sizing.max_leverage,
        step=sizing.step_size,
        min_notional=sizing.min_notional,
        most=_volume_cap(candles, execution.max_participation),
    )


def bar_length_ns(index: pd.Index) -> int:
    """Shortest step of the open times in nanoseconds; 1 where there is none, since a single bar trades nothing."""
    return int(np.diff(pd.DatetimeIndex(index).as_unit("ns").asi8).min()) if len(index) > 1 else 1


def bars_of(candles: pd.DataFrame, *, what: str = "candles") -> Bars:
    """Candles as arrays; without `is_repaired` or `segment` no bar is repaired and there is one segment.

    Raises `DataContractError` unless `open_time` is in UTC and strictly increasing and prices are finite and positive.
    """
    _require_times(candles, what=what)
    prices = {name: np.ascontiguousarray(candles[name], dtype=float) for name in ("open", "high", "low", "close")}
    for name, price in prices.items():
        if (bad := ~(np.isfinite(price) & (price > 0))).any():
            raise DataContractError(f"{what}: {name} is {price[bad][0]} at {candles.index[bad][0]}, not a price")
    repaired = candles["is_repaired"].to_numpy(dtype=bool) if "is_repaired" in candles else np.zeros(len(candles), bool)
    segment = candles["segment"].to_numpy() if "segment" in candles else np.zeros(len(candles))
    traded = np.flatnonzero(~repaired)
    last = np.zeros(len(candles), dtype=bool)
    last[traded[_ends(segment[traded])]] = True
    end = int(traded[-1]) if len(traded) and segment[traded[-1]] == segment[-1] else -1
    return Bars(**prices, repaired=np.ascontiguousarray(repaired), last=last, end=end)


def orders_of(decisions: pd.DataFrame, candles: pd.DataFrame) -> Orders:
    """Decisions laid over all candles; bars without one have signal 0.

    Raises `DataContractError` on a decision without a candle, a signal outside {-1, 0, 1}, a stop outside (0, 1), a target
    that is not positive or a confidence that is no probability.
    """
    _require_times(decisions, what="decisions")
    place = candles.index.get_indexer(decisions.index)
    if (place < 0).any():
        raise DataContractError(f"decisions: {decisions.index[place < 0][0]} has no candle")
    signal = decisions["signal"].to_numpy(dtype=float)
    stop, target, confidence = (_told(decisions, name) for name in ("stop_distance", "target_distance", "confidence"))
    _require(decisions, signal, (signal == 0) | (np.abs(signal) == 1), what="signal")
    _require(decisions, stop, np.isnan(stop) | ((stop > 0) & (stop < 1)), what="stop_distance")
    _require(decisions, target, np.isnan(target) | ((target > 0) & np.isfinite(target)), what="target_distance")
    _require(decisions, confidence, np.isnan(confidence) | ((confidence >= 0) & (confidence <= 1)), what="confidence")
    n = len(candles)
    orders = Orders(np.zeros(n, np.int64), np.full(n, np.nan), np.full(n, np.nan))
    for whole, given in zip(orders, (signal, stop, target), strict=True):
        whole[place] = given
    return orders


def _volume_cap(candles: pd.DataFrame, share: float | None) -> Floats:
    if share is None:
        return np.empty(0)
    if "volume" not in candles:
        raise DataContractError(f"candles: there is no volume, which max_participation = {share} is a share of")
    volume = candles["volume"].to_numpy(dtype=float)
    if (bad := ~(np.isfinite(volume) & (volume >= 0))).any():
        raise DataContractError(f"candles: volume is {volume[bad][0]} at {candles.index[bad][0]}, not a volume")
    return np.asarray(share * volume)


def _ends(segment: NDArray[Any]) -> Bools:
    """Whether the next row belongs to another segment, or there is none, (n,)."""
    ends: Bools = np.r_[segment[1:] != segment[:-1], True][: len(segment)]
    return ends


def _told(decisions: pd.DataFrame, name: str) -> Floats:
    return decisions[name].to_numpy(dtype=float) if name in decisions else np.full(len(decisions), np.nan)


def _require(decisions: pd.DataFrame, values: Floats, allowed: Bools, *, what: str) -> None:
    if not allowed.all():
        raise DataContractError(f"decisions: {what} {values[~allowed][0]} at {decisions.index[~allowed][0]} is not allowed")


def _require_times(frame: pd.DataFrame, *, what: str) -> None:
    index = frame.index
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise DataContractError(f"{what}: the index must be open_time in UTC, got {index.dtype}")
    if not (index.is_monotonic_increasing and index.is_unique):
        raise DataContractError(f"{what}: open_time is not strictly increasing")
