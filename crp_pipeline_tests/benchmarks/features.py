"""How fast the feature table is made and carried on: `python -m crp_pipeline_tests.benchmarks.features`.

A cell is one feature of one bar. Beside ours, in one process and by processor seconds: the same features as a notebook writes
them in pandas (`crp_pipeline_tests.plain`), and the indicators of the package `ta` where it is installed (`pip install ta`).
"""

from typing import Annotated

import numpy as np
import pandas as pd
import typer

from crp_pipeline.features import CATALOG, Bars, block_digests, compute_features, feature_set_id, features_since
from crp_pipeline.features.blocks import BLOCK_BARS
from crp_pipeline.reporting.tables import to_text
from crp_pipeline_tests.benchmarks.fresh import MIB, forget_peak, fresh_call, peak_bytes
from crp_pipeline_tests.benchmarks.market import demo_bars
from crp_pipeline_tests.benchmarks.timing import once, seconds
from crp_pipeline_tests.plain import PLAIN
from crp_pipeline_tests.plain.bars import PlainBars
from crp_pipeline_tests.random_walk import feed_values

HERE = "crp_pipeline_tests.benchmarks.features"
YEARS_OF_HOURS, YEARS_OF_MINUTES = 35_044, 1_051_200
DAY_OF_MINUTES = 1_440
SLOWEST = 10
LOOPED_NS = 1_000.0
"""A plain version that takes longer per bar is a Python loop: pandas has no window function for it."""


def main(quick: Annotated[bool, typer.Option("--quick", help="Hourly bars only.")] = False) -> None:
    """Print cells per second, the peak memory, the slowest features, the ratios and what a night's new bars cost."""
    sizes = (YEARS_OF_HOURS,) if quick else (YEARS_OF_HOURS, YEARS_OF_MINUTES)
    runs = {n_bars: fresh_call(f"{HERE}:speed", n_bars).value for n_bars in sizes}
    print(f"\n{len(CATALOG)} features of the demo market with two other coins, one core, medians of 3\n")
    print(to_text(pd.DataFrame([_row(n_bars, run) for n_bars, run in runs.items()])))
    run = runs[sizes[-1]]
    print(f"\nslowest features on one block of bars; all one by one: {run['alone_ns']:,.0f} ns per bar\n")
    print(to_text(pd.DataFrame(run["slowest"], columns=["feature", "ns per bar", "share, %"])))
    _print_ratios(YEARS_OF_HOURS)
    if not quick:
        _print_increment(YEARS_OF_MINUTES)


def speed(n_bars: int) -> dict[str, object]:
    """Seconds of the table, nanoseconds of each feature, and the memory the table took."""
    candles, others = demo_bars(n_bars, n_others=2)
    compute_features(candles.iloc[:2_000], CATALOG, market=others)
    forget_peak()
    wall_s, cpu_s = seconds(lambda: compute_features(candles, CATALOG, market=others))
    peak, block = peak_bytes(), candles.iloc[:BLOCK_BARS]
    alone = _one_by_one(block, others)
    total, per_bar = sum(alone.values()), 1e9 / len(block)
    slowest = sorted(alone, key=alone.__getitem__, reverse=True)[:SLOWEST]
    return {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "peak_mib": peak / MIB,
        "slowest": [(name, round(per_bar * alone[name], 1), round(100 * alone[name] / total, 1)) for name in slowest],
        "alone_ns": per_bar * total,
    }


def ratios(n_bars: int) -> dict[str, object]:
    """Processor seconds of our table, of each plain version and of the peer."""
    candles, others = demo_bars(n_bars, n_others=2)
    feeds = feed_values(candles)
    compute_features(candles.iloc[:2_000], CATALOG, market=others)
    _, ours_s = seconds(lambda: compute_features(candles, CATALOG, market=others, feeds=feeds))
    plain = {f.name: once(lambda f=f: PLAIN[f.name](PlainBars(candles, others, feeds)))[1] for f in CATALOG}
    looped = {name for name, taken in plain.items() if taken * 1e9 / n_bars > LOOPED_NS}
    quick = [feature for feature in CATALOG if feature.name not in looped]
    _, quick_s = seconds(lambda: compute_features(candles, quick, market=others, feeds=feeds))
    return {
        "all": (len(CATALOG), ours_s, sum(plain.values())),
        "windows": (len(quick), quick_s, sum(taken for name, taken in plain.items() if name not in looped)),
        "peer": _peer(candles),
    }


def increment(n_bars: int) -> dict[str, float]:
    """Processor seconds of the whole table, and of a day of new bars: finding the block to make, and making it."""
    candles, others = demo_bars(n_bars, n_others=2)
    _, whole_s = seconds(lambda: compute_features(candles, CATALOG, market=others))
    earlier = block_digests(candles.iloc[:-DAY_OF_MINUTES], CATALOG, market=others)
    set_id = feature_set_id(CATALOG)
    _, find_s = seconds(lambda: block_digests(candles, CATALOG, market=others, set_id=set_id))
    digests = block_digests(candles, CATALOG, market=others)
    since = next(pd.Timestamp(time) for time, digest in digests.items() if earlier.get(time) != digest)
    _, make_s = seconds(lambda: features_since(since, candles, CATALOG, market=others))
    whole, rows = compute_features(candles, CATALOG, market=others), features_since(since, candles, CATALOG, market=others)
    same = np.array_equal(rows.to_numpy(), whole.loc[since:].to_numpy(), equal_nan=True)
    return {"whole_s": whole_s, "find_s": find_s, "make_s": make_s, "rows": len(rows), "same": same}


def _peer(candles: pd.DataFrame) -> list[tuple[str, int, float]]:
    """Name, indicators and processor seconds of the package `ta`, all of its indicators and those without Python loops."""
    try:
        import ta
    except ImportError:
        return []
    names = {"open": "open", "high": "high", "low": "low", "close": "close", "volume": "volume"}
    found = []
    for what, options in (("ta, all", {}), ("ta, without loops", {"vectorized": True})):
        made: list[pd.DataFrame] = []
        _, taken = once(
            lambda options=options, made=made: made.append(ta.add_all_ta_features(candles.copy(), **names, **options))
        )
        found.append((what, made[0].shape[1] - candles.shape[1], taken))
    return found


def _print_ratios(n_bars: int) -> None:
    run = fresh_call(f"{HERE}:ratios", n_bars).value
    n_all, ours_s, plain_s = run["all"]
    n_windows, windows_s, plain_windows_s = run["windows"]
    per_cell = ours_s / n_all
    rows = [
        ("the same features, plain pandas", n_all, plain_s, plain_s / ours_s),
        ("those that pandas has windows for", n_windows, plain_windows_s, plain_windows_s / windows_s),
        *((name, n, taken, taken / n / per_cell) for name, n, taken in run["peer"]),
    ]
    print(f"\nbeside ours at {n_bars:,} bars ({ours_s:.3f} processor s for {n_all}); ratio per cell\n")
    table = pd.DataFrame(rows, columns=["what", "columns", "processor s", "times ours"])
    print(to_text(table.round({"processor s": 3, "times ours": 1})))


def _print_increment(n_bars: int) -> None:
    run = fresh_call(f"{HERE}:increment", n_bars).value
    share = (run["find_s"] + run["make_s"]) / run["whole_s"]
    print(
        f"\na day of minutes on {n_bars:,} bars: {run['find_s']:.3f} s to find the block, {run['make_s']:.3f} s to make its "
        f"{run['rows']:,} rows, {100 * share:.1f}% of the whole table's {run['whole_s']:.2f} s; "
        f"equal to the bit: {run['same']}\n"
    )


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
    return {
        "bars": n_bars,
        "seconds": round(run["wall_s"], 3),
        "processor s": round(run["cpu_s"], 3),
        "M cells/s": round(cells / run["wall_s"], 1),
        "M cells/s, processor": round(cells / run["cpu_s"], 1),
        "table, MiB": round(n_bars * len(CATALOG) * 8 / MIB),
        "peak, MiB": round(run["peak_mib"]),
    }


if __name__ == "__main__":
    typer.run(main)
