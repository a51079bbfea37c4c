"""Candles that keep the contract: sorted, each time once, short holes filled and flagged, long ones declared."""

import numpy as np
import pandas as pd

from crp_pipeline.candles.contract import (
    BAR_RULES,
    CandleReport,
    closed,
    is_repaired,
    nanoseconds,
    on_grid,
    possible,
    require_candles,
    validate_candles,
)
from crp_pipeline.contracts import OHLCV, Bools, CandleSchema, check_frame, interval_length
from crp_pipeline.errors import DataContractError

MIN_STEPS_TO_JUDGE = 3
"""Fewer steps between bars than this say nothing about the interval of a table."""


def repair_candles(
    df: pd.DataFrame,
    interval: str,
    *,
    max_gap: int,
    now: pd.Timestamp | None = None,
    source: str = "candles",
    max_impossible: float = 0.01,
) -> tuple[pd.DataFrame, CandleReport]:
    """Candles that meet `CandleSchema`, and the report of what was found in the input.

    Of rows with one time the first possible one stays. Impossible, off-grid and unfinished bars become holes. A hole of
    up to `max_gap` bars is filled by flat bars at the previous close with volume 0 and `is_repaired`; a longer one
    starts a new `segment`. A bar depends on earlier ones only, and repairing twice changes nothing.

    Raises `DataContractError`, beginning with `source`, when most rows miss the interval's grid or its step, when more
    than `max_impossible` of the bars (and more than one) are impossible, or when no row is left.
    """
    report = validate_candles(df, interval, now=now)
    bars = require_candles(df, source=source).sort_index(kind="stable")
    is_on_grid, is_possible = on_grid(bars, interval), possible(bars)
    _refuse_wrong_grid(bars, is_on_grid, interval, source)
    _refuse_impossible(bars, is_possible, max_impossible, source)
    kept = bars[is_on_grid & is_possible & closed(bars, interval, now)]
    kept = kept[~kept.index.duplicated(keep="first")]
    _refuse_wrong_step(kept, interval, source)
    return check_frame(_filled(kept, interval_length(interval), max_gap), CandleSchema, what=source), report


def _filled(bars: pd.DataFrame, step: pd.Timedelta, max_gap: int) -> pd.DataFrame:
    """Bars on the grid, strictly rising, with every hole filled or made a boundary."""
    open_time = nanoseconds(bars)
    missing = np.append(np.diff(open_time) // step.value - 1, 0)
    copies = 1 + np.where(missing <= max_gap, missing, 0)
    row = np.repeat(np.arange(len(bars)), copies)
    nth_copy = np.arange(len(row)) - np.repeat(np.cumsum(copies) - copies, copies)
    is_fill = nth_copy > 0
    filled = bars[list(OHLCV)].iloc[row]
    flat = filled.close.where(is_fill)
    filled = filled.assign(
        **{name: flat.fillna(filled[name]) for name in ("open", "high", "low")},
        volume=filled.volume.mask(is_fill, 0.0),
        is_repaired=is_repaired(bars)[row] | is_fill,
        segment=np.concatenate([[0], np.cumsum(missing > max_gap)[:-1]])[row].astype("int64"),
    )
    times = pd.DatetimeIndex(open_time[row] + nth_copy * step.value, tz="UTC", name="open_time")
    return filled.set_axis(times)


def _refuse_wrong_grid(bars: pd.DataFrame, is_on_grid: Bools, interval: str, source: str) -> None:
    off = ~is_on_grid
    if off.sum() * 2 > len(bars):
        row = int(off.argmax())
        rule = f"is not on the {interval} grid, like {off.sum()} of {len(bars)} rows"
        raise DataContractError(f"{source}: row {row + 1} in time order: open time {bars.index[row]} {rule}")


def _refuse_wrong_step(bars: pd.DataFrame, interval: str, source: str) -> None:
    if bars.empty:
        raise DataContractError(f"{source}: no row is a closed, possible bar on the {interval} grid")
    steps = np.sort(np.diff(nanoseconds(bars)))
    if len(steps) < MIN_STEPS_TO_JUDGE:
        return
    usual = pd.Timedelta(int(steps[(len(steps) - 1) // 2]))
    if usual != interval_length(interval):
        raise DataContractError(f"{source}: from {bars.index[0]} on, most bars lie {usual} apart, not {interval}")


def _refuse_impossible(bars: pd.DataFrame, is_possible: Bools, max_impossible: float, source: str) -> None:
    count = int((~is_possible).sum())
    if count <= max(1, max_impossible * len(bars)):
        return
    row = int((~is_possible).argmax())
    first = bars.iloc[[row]]
    rule = next(rule for rule in BAR_RULES if not rule.holds(first).item())
    where = f"row {row + 1} in time order, at {bars.index[row]}: {rule.column} = {first[rule.column].item()}"
    raise DataContractError(
        f"{source}: {where} breaks '{rule.sentence}', and {count} of {len(bars)} bars break a rule "
        f"where {max_impossible:.0%} can be repaired"
    )
