"""Candles of a random walk with volatility that clusters, prices on a tick and a volume that breathes with the day."""

import numpy as np
import pandas as pd


def random_walk(n_bars, *, seed=0, freq="1h", start="2024-03-01", scale=0.01):
    """Plain OHLCV: no holes, no edge."""
    rng = np.random.default_rng(seed)
    volatility = scale * np.exp(np.convolve(rng.normal(0, 0.2, n_bars + 19), np.ones(20), mode="valid") / 2)
    close = 100 * np.exp(np.cumsum(volatility * rng.standard_normal(n_bars)))
    opening = np.concatenate([[100.0], close[:-1]]) * np.exp(0.1 * volatility * rng.standard_normal(n_bars))
    wick = np.exp(0.5 * volatility * rng.exponential(size=(2, n_bars)))
    index = pd.date_range(start, periods=n_bars, freq=freq, tz="UTC", name="open_time", unit="ns")
    season = np.cos(2 * np.pi * index.hour.to_numpy() / 24)
    prices = {
        "open": opening,
        "high": np.maximum(opening, close) * wick[0],
        "low": np.minimum(opening, close) / wick[1],
        "close": close,
    }
    return pd.DataFrame(prices, index=index).round(2).assign(volume=rng.lognormal(3 + season, 0.5))


def other_coins(candles, *, n_coins=3):
    """Closes of coins that share half of their moves with the candles: a market for them."""
    own = np.log(candles["close"]).diff().fillna(0.0)
    others = {
        f"COIN-{number}": np.exp(
            (0.5 * own + np.log(random_walk(len(candles), seed=900 + number)["close"]).diff().fillna(0.0).to_numpy()).cumsum()
        )
        for number in range(n_coins)
    }
    return pd.DataFrame(others, index=candles.index)


def feed_values(candles, *, first=0, hole=slice(0)):
    """Funding, open interest and sentiment on the candles: unknown before the row `first` and on the rows of `hole`."""
    rng = np.random.default_rng(77)
    n_bars = len(candles)
    steps = {"funding_rate": 8, "open_interest": 1, "fear_greed": 24}  # bars for which a value stands
    values = {
        "funding_rate": 1e-4 * rng.standard_normal(n_bars),
        "open_interest": 8e4 * np.exp(np.cumsum(0.01 * rng.standard_normal(n_bars))),
        "fear_greed": rng.integers(5, 96, n_bars).astype(float),
    }
    rows = np.arange(n_bars)
    table = pd.DataFrame({name: column[rows // steps[name] * steps[name]] for name, column in values.items()}, candles.index)
    table.iloc[:first] = np.nan
    table.iloc[hole] = np.nan
    return table
