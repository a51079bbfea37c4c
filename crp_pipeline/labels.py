"""Labels: what a decision at a bar's close would have earned from the next open to the open `horizon` bars later.

A label is a fact about a stretch of time, so it carries that stretch's end; a bar whose stretch touches a filled-in bar, a hole
or the end of the data has no label, never a guessed one.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from crp_pipeline.candles.volatility import causal_volatility
from crp_pipeline.contracts import Bools, Floats, Ints
from crp_pipeline.errors import DataContractError
from crp_pipeline.settings import LabelConfig

__all__ = ["LabelConfig", "average_uniqueness", "is_whole", "make_labels"]

OPEN_INTEREST = "open_interest"
"""The feed column that gives labels one more target."""


def make_labels(candles: pd.DataFrame, config: LabelConfig, *, feeds: pd.DataFrame | None = None) -> pd.DataFrame:
    """One label per bar of candles, missing where none can be known; frame of `contracts.LabelSchema`.

    Candles without `is_repaired` have no filled-in bar, those without `segment` are one stretch.

    A decision at the close of bar t enters at the open of t+1 and leaves at the open of t+1+horizon, whose time is `label_end`.

    - `forward_return`: exit open over entry open, minus 1
    - `signal`: -1, 0 or 1; 0 within the larger of the round-trip cost and a multiple of volatility over the horizon
    - `trend_strength`: forward return in volatilities over the horizon, clipped
    - `weight`: average uniqueness of the label among all labels, from entry to `label_end`, in (0, 1]
    - `volatility`: per-bar standard deviation of log returns up to t, known for every bar past its warm-up
    - `open_interest_change`: only with `feeds` (`candles.align_feeds`) that have an `open_interest`: what is known of it at
      `label_end` over what is known at the close of t, minus 1; missing where either is unknown or not positive

    Raises `DataContractError` for a bar without a row of feeds.
    """
    volatility = causal_volatility(candles, config.volatility_window)
    entry, leave = 1, 1 + config.horizon
    known = is_whole(candles, leave) & np.isfinite(volatility)
    open_price = candles["open"].to_numpy()
    forward_return = _ahead(open_price, leave) / _ahead(open_price, entry) - 1
    spread = volatility * np.sqrt(config.horizon)
    labels = pd.DataFrame(
        {
            "signal": _three_way(forward_return, _neutral_band(spread, config)),
            "forward_return": forward_return,
            "trend_strength": np.clip(forward_return / np.maximum(spread, 1e-12), -config.trend_clip, config.trend_clip),
        },
        index=candles.index,
    )
    labels.loc[~known] = np.nan
    labels["label_end"] = pd.Series(candles.index, index=candles.index).shift(-leave).where(known)
    labels["weight"] = np.nan
    entry_time = pd.Series(candles.index, index=candles.index).shift(-entry)
    labels.loc[known, "weight"] = average_uniqueness(entry_time[known], labels["label_end"][known])
    labels["volatility"] = volatility
    if feeds is not None and OPEN_INTEREST in feeds:
        labels["open_interest_change"] = np.where(known, _open_interest_change(candles, feeds, config.horizon), np.nan)
    return labels


def average_uniqueness(label_start: ArrayLike | pd.Index, label_end: ArrayLike | pd.Series) -> Floats:
    """Mean over each label's life of one over the number of labels alive: (n,), in (0, 1].

    Non-overlapping labels get 1; their sum is the effective number of independent labels. Starts and ends are times (or
    numbers) with end > start; raises `ValueError` otherwise. Source: Lopez de Prado (2018), Advances in Financial Machine
    Learning, section 4.4, in continuous time.
    """
    start, end = _as_numbers(label_start), _as_numbers(label_end)
    if (end <= start).any():
        raise ValueError(f"label {int(np.argmax(end <= start))} ends no later than it starts")
    if len(start) == 0:
        return np.empty(0)
    edges = np.unique(np.concatenate([start, end]))
    opened = np.bincount(np.searchsorted(edges, start), minlength=len(edges))
    closed = np.bincount(np.searchsorted(edges, end), minlength=len(edges))
    alive = np.cumsum(opened - closed)[:-1]
    share = np.divide(np.diff(edges), alive, out=np.zeros(len(alive)), where=alive > 0)
    area = np.concatenate([[0.0], np.cumsum(share)])
    uniqueness = (area[np.searchsorted(edges, end)] - area[np.searchsorted(edges, start)]) / (end - start)
    return np.asarray(np.minimum(uniqueness, 1.0))


def _as_numbers(times: ArrayLike | pd.Index) -> Floats:
    """Times as seconds since 1970, numbers as they are."""
    values = np.asarray(times)
    if values.dtype.kind not in "iuf":
        values = pd.DatetimeIndex(pd.to_datetime(values, utc=True)).as_unit("ns").asi8 / 1e9
    return np.asarray(values, dtype=np.float64)


def is_whole(candles: pd.DataFrame, leave: int) -> Bools:
    """True where the bars t..t+leave exist, lie in one segment and are all real."""
    start: Ints = np.arange(len(candles))
    last = np.minimum(start + leave, len(candles) - 1)
    segment = candles["segment"].to_numpy() if "segment" in candles else np.zeros(len(candles))
    filled = np.concatenate([[0], np.cumsum(candles["is_repaired"] if "is_repaired" in candles else 0 * start)])
    return np.asarray((last == start + leave) & (segment == segment[last]) & (filled[last + 1] == filled[start]))


def _ahead(values: Floats, bars: int) -> Floats:
    """The value `bars` later, NaN past the end."""
    later = np.full(len(values), np.nan)
    later[: max(len(values) - bars, 0)] = values[bars:]
    return later


def _open_interest_change(candles: pd.DataFrame, feeds: pd.DataFrame, horizon: int) -> Floats:
    """Relative change from the close of each bar to that of the bar `horizon` later, which is when the label ends: (n,)."""
    if not candles.index.isin(feeds.index).all():
        missing = candles.index[~candles.index.isin(feeds.index)][0]
        raise DataContractError(f"feeds: no row for the bar of {missing}; align them to these candles")
    open_interest = feeds[OPEN_INTEREST].reindex(candles.index)
    values = open_interest.where((open_interest > 0) & (open_interest < np.inf)).to_numpy(dtype=np.float64)
    return np.asarray(_ahead(values, horizon) / values - 1)


def _neutral_band(spread: Floats, config: LabelConfig) -> Floats:
    return np.asarray(np.maximum(config.round_trip_cost_bps / 1e4, config.neutral_volatility_multiple * spread))


def _three_way(forward_return: Floats, band: Floats) -> Floats:
    return np.where(np.abs(forward_return) > band, np.sign(forward_return), 0.0)
