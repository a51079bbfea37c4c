"""Hypothesis strategies for the values that travel."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from hypothesis import strategies as st

START = pd.Timestamp("2024-01-01", tz="UTC")


@st.composite
def clean_candles(draw, *, min_size=2, max_size=120, freq="1h"):
    """Raw candles that keep the contract: OHLCV on a grid without holes."""
    n_bars = draw(st.integers(min_size, max_size))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([1e-6, 0.01, 0.3]))
    close = draw(st.sampled_from([1e-5, 1.0, 6e4])) * np.exp(np.cumsum(scale * rng.standard_normal(n_bars)))
    open_ = np.roll(close, 1)
    wick = np.exp(scale * rng.exponential(size=(2, n_bars)))
    index = pd.date_range(START, periods=n_bars, freq=freq, name="open_time", unit="ns")
    return pd.DataFrame(
        {
            "open": open_,
            "high": np.maximum(open_, close) * wick[0],
            "low": np.minimum(open_, close) / wick[1],
            "close": close,
            "volume": rng.gamma(2.0, 50.0, n_bars) * (rng.random(n_bars) > 0.02),
        },
        index=index,
    )


@dataclass(frozen=True)
class FaultyCandles:
    bars: pd.DataFrame
    """In time order, with holes, repeated rows and at most one impossible bar; the first bar is sound."""
    shuffled: pd.DataFrame
    max_gap: int


@st.composite
def faulty_candles(draw):
    """Candles as exchanges give them; repeated rows are identical, so that their order does not matter."""
    bars = draw(clean_candles(min_size=40))
    n_bars = len(bars)
    holes = draw(st.lists(st.tuples(st.integers(1, n_bars - 2), st.integers(1, 8)), max_size=3))
    is_missing = np.zeros(n_bars, dtype=bool)
    for first, length in holes:
        is_missing[first : first + length] = True
    bars = bars[~is_missing]
    if draw(st.booleans()):
        row = draw(st.integers(1, len(bars) - 1))
        column, value = draw(
            st.sampled_from([("low", np.nan), ("close", -1.0), ("high", 0.0), ("volume", -0.5), ("open", np.inf)])
        )
        bars.loc[bars.index[row], column] = value
    is_sound = (bars.volume >= 0) & np.isfinite(bars).all(axis=1) & (bars > 0).drop(columns="volume").all(axis=1)
    repeated = draw(st.lists(st.sampled_from(bars.index[is_sound].tolist()), max_size=4))
    bars = pd.concat([bars, bars.loc[repeated]]).sort_index(kind="stable")
    order = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).permutation(len(bars))
    return FaultyCandles(bars, bars.iloc[order], max_gap=draw(st.integers(0, 6)))


@st.composite
def holed_hours(draw, *, max_size=200):
    """Open times of hourly bars with holes."""
    hours = pd.date_range(START, periods=draw(st.integers(4, max_size)), freq="1h", name="open_time", unit="ns")
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    is_there = rng.random(len(hours)) > draw(st.sampled_from([0.0, 0.1, 0.7]))
    return hours[is_there] if is_there.any() else hours


@st.composite
def feeds(draw, *, max_size=60, with_duplicates=True):
    """Feeds as sources give them: any order, jittered stamps of one pace or two, holes, missing and repeated values."""
    n_rows = draw(st.integers(0, max_size))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    paces = draw(st.lists(st.sampled_from([60, 3600, 8 * 3600, 86400]), min_size=1, max_size=2))
    steps_s = rng.choice(paces, n_rows) * rng.choice([1, 1, 1, draw(st.integers(1, 12))], n_rows)
    jitter_ms = rng.choice([0, 0, 1, 7, 999, 1000, 1001, 29_000, -2], n_rows)
    offset_h = draw(st.integers(-72, 72))
    ms = np.cumsum(steps_s) * 1000 + jitter_ms
    stamps = (START + pd.Timedelta(hours=offset_h) + pd.to_timedelta(ms, unit="ms")).as_unit("ns")
    values = np.where(rng.random((n_rows, 2)) < 0.15, np.nan, rng.normal(size=(n_rows, 2)))
    feed = pd.DataFrame(values, columns=["rate", "interest"], index=pd.DatetimeIndex(stamps, name="timestamp"))
    if with_duplicates and n_rows:
        feed = pd.concat([feed, feed.iloc[rng.integers(0, n_rows, 5)] + rng.integers(0, 2, (5, 1))])
    return feed.iloc[rng.permutation(len(feed))]
