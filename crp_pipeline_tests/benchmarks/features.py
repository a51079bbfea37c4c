"""How fast the feature table is made, next to plain pandas: `python -m crp_pipeline_tests.benchmarks.features`.

A cell is one feature of one bar. Both sides run in one process and are compared by processor seconds; the peak is what that
process held while the table was made.
"""

from collections.abc import Callable
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from crp_pipeline.features import CATALOG, Bars, compute_features
from crp_pipeline.reporting.tables import to_text
from crp_pipeline_tests.benchmarks.fresh import MIB, forget_peak, fresh_call, peak_bytes
from crp_pipeline_tests.benchmarks.market import demo_bars
from crp_pipeline_tests.benchmarks.timing import seconds

HERE = "crp_pipeline_tests.benchmarks.features"
SIZES = (35_044, 1_051_200)
SLOWEST = 10

NAIVE: dict[str, Callable[[pd.DataFrame], "pd.Series[float]"]] = {
    "distance to sma": lambda bars: bars["close"] / bars["close"].rolling(50).mean() - 1,
    "distance to ema": lambda bars: bars["close"] / bars["close"].ewm(span=20, adjust=False).mean() - 1,
    "momentum": lambda bars: bars["close"].pct_change(12),
    "volatility": lambda bars: bars["close"].pct_change().rolling(48).std(),
    "z-score": lambda bars: (bars["close"] - bars["close"].rolling(96).mean()) / bars["close"].rolling(96).std(),
    "place in range": lambda bars: (
        (bars["close"] - bars["low"].rolling(48).min()) / (bars["high"].rolling(48).max() - bars["low"].rolling(48).min())
    ),
    "relative volume": lambda bars: bars["volume"] / bars["volume"].rolling(24).mean(),
    "skewness": lambda bars: bars["close"].pct_change().rolling(48).skew(),
    "kurtosis": lambda bars: bars["close"].pct_change().rolling(48).kurt(),
    "correlation of price and volume": lambda bars: bars["close"].pct_change().rolling(48).corr(bars["volume"].pct_change()),
    "autocorrelation": lambda bars: bars["close"].pct_change().rolling(48).corr(bars["close"].pct_change().shift(1)),
    "share of rising bars": lambda bars: (bars["close"].diff() > 0).rolling(24).mean(),
}
"""A representative dozen as a notebook writes them."""


def main(quick: Annotated[bool, typer.Option("--quick", help="Hourly bars only.")] = False) -> None:
    """Print cells per second of both sides, the slowest features and the peak memory."""
    runs = {n_bars: fresh_call(f"{HERE}:speed", n_bars).value for n_bars in (SIZES[:1] if quick else SIZES)}
    print(
        f"\n{len(CATALOG)} features of the demo market with two other coins, one core, medians of 3; ratio of processor seconds per cell\n"
    )
    print(to_text(pd.DataFrame([_row(n_bars, run) for n_bars, run in runs.items()])))
    n_bars, run = list(runs.items())[-1]
    print(f"\nslowest features at {n_bars:,} bars, {run['all_alone_ns']:,.0f} ns per bar for all of them one by one\n")
    print(to_text(pd.DataFrame(run["slowest"], columns=["feature", "ns per bar"])))
    print(f"\nplain pandas at {n_bars:,} bars\n")
    print(to_text(pd.DataFrame(run["naive"], columns=["feature", "ns per bar"])))


def speed(n_bars: int) -> dict[str, object]:
    """Seconds of the table and of plain pandas, nanoseconds of each feature, and the memory the table took."""
    candles, others = demo_bars(n_bars, n_others=2)
    compute_features(candles.iloc[:2_000], CATALOG, market=others)
    forget_peak()
    wall_s, cpu_s = seconds(lambda: compute_features(candles, CATALOG, market=others))
    peak = peak_bytes()
    naive = {name: seconds(lambda feature=feature: feature(candles))[1] for name, feature in NAIVE.items()}
    alone = _one_by_one(candles, others)
    per_bar = 1e9 / n_bars
    return {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "naive_s_per_feature": sum(naive.values()) / len(naive),
        "peak_mib": peak / MIB,
        "slowest": [(name, round(per_bar * alone[name], 1)) for name in sorted(alone, key=alone.get, reverse=True)[:SLOWEST]],
        "naive": [(name, round(per_bar * taken, 1)) for name, taken in naive.items()],
        "all_alone_ns": per_bar * sum(alone.values()),
    }


def _one_by_one(candles: pd.DataFrame, others: pd.DataFrame) -> dict[str, float]:
    """Median processor seconds of each feature on bars whose shared intermediate values are known."""
    columns = (np.ascontiguousarray(candles[name], dtype=np.float64) for name in ("open", "high", "low", "close", "volume"))
    interval = candles.index[1] - candles.index[0]
    bars = Bars(*columns, pd.DatetimeIndex(candles.index), interval, others.reindex(candles.index))
    for feature in CATALOG:
        feature.compute(bars)
    return {feature.name: seconds(lambda feature=feature: feature.compute(bars))[1] for feature in CATALOG}


def _row(n_bars: int, run: dict[str, float]) -> dict[str, object]:
    cells = n_bars * len(CATALOG) / 1e6
    naive = n_bars / 1e6 / run["naive_s_per_feature"]
    return {
        "bars": n_bars,
        "seconds": round(run["wall_s"], 3),
        "processor s": round(run["cpu_s"], 3),
        "M cells/s": round(cells / run["wall_s"], 1),
        "M cells/s, processor": round(cells / run["cpu_s"], 1),
        "plain pandas, M cells/s": round(naive, 1),
        "ratio": round(cells / run["cpu_s"] / naive, 2),
        "table, MiB": round(n_bars * len(CATALOG) * 8 / MIB),
        "peak, MiB": round(run["peak_mib"]),
    }


if __name__ == "__main__":
    typer.run(main)
