"""Tables and live decisions that drift, or do not, by as much as they are told."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from scipy.signal import lfilter

from crp_pipeline.drift import SUMMARIES, DriftReport, Reading, State, save_report
from crp_pipeline.places import Places
from crp_pipeline.storage import write_parquet

BURN_IN = 500
"""Bars after which a column has forgotten how it began."""


def autoregressive(n, *, k=1, memory=0.97, seed=0):
    """Hourly rows of columns `x0`, `x1`, ... that never change their law."""
    noise = np.random.default_rng(seed).standard_normal((n + BURN_IN, k))
    values = lfilter([1.0], [1.0, -memory], noise, axis=0)[BURN_IN:]
    return pd.DataFrame(values, index=hours(n), columns=[f"x{column}" for column in range(k)])


def alike(table):
    """Every column weighs as much."""
    return pd.Series(1.0, index=table.columns)


def hours(n, first="2022-01-01"):
    start = pd.Timestamp(first) if pd.Timestamp(first).tzinfo else pd.Timestamp(first, tz="UTC")
    return pd.date_range(start, periods=n, freq="h", name="open_time", unit="ns")


def decided(n, *, confidence=0.6, hit_rate=0.6, horizon=6, seed=0, size=0.01, spread=0.0, first="2024-01-01", version="a" * 16):
    """Hourly decisions that took a side with this confidence; frame of `contracts.LiveOutcomeSchema`.

    Each label's luck is its own, though neighbouring labels overlap in time; a hit earns `size` and a miss loses it.
    """
    rng = np.random.default_rng(seed)
    times = hours(n, first)
    signal = rng.choice([-1, 1], n)
    hit = rng.random(n) < hit_rate
    sure = np.clip(confidence + spread * rng.standard_normal(n), 0.01, 0.99)
    frame = pd.DataFrame({"open_time": times, "version": version, "signal": signal})
    frame["p_short"], frame["p_long"] = np.where(signal < 0, sure, 0.0), np.where(signal > 0, sure, 0.0)
    frame["p_neutral"] = 1 - sure
    told = {"confidence": sure, "expected_return": 0.0, "label_end": times + pd.Timedelta(horizon + 1, "h")}
    came = {"outcome": np.where(hit, signal, -signal), "net_return": np.where(hit, size, -size), "hit": hit}
    columns = ["open_time", "version", "signal", "p_short", "p_neutral", "p_long", *told, *came]
    return frame.assign(**told, **came)[columns].astype({"version": "str", "signal": "int64", "outcome": "int64"})


def store_live(places: Places, coin: str, *, nights: int = 4) -> None:
    """Reports of some nights, each nearer to its limits than the one before, and live decisions of two versions."""
    for night in range(nights):
        single = (("feature_psi", "momentum"), ("feature_ks", "momentum"))
        readings = [
            Reading.held(*subject, 0.4 * (night + 1), warn=1.0, limit=1.5, n=50, worst=State.DRIFTED)
            for subject in (*SUMMARIES, *single)
        ]
        at = datetime(2024, 3, 1, 0, 20, tzinfo=UTC) + timedelta(days=night)
        save_report(places, DriftReport(coin, at, "b" * 16, tuple(readings)))
    first, second = decided(60, seed=1), decided(140, first="2024-01-10", seed=2, version="b" * 16)
    write_parquet(places.outcomes(coin), pd.concat([first, second], ignore_index=True))
