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
from crp_pipeline.contracts import OHLCV, Bools, CandleSchema, Ints, check_frame, interval_length
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
    max_faulty: float = 0.01,
) -> tuple[pd.DataFrame, CandleReport]:
    """Candles that meet `CandleSchema`, and the report of what was found in the input.

    Of rows with one time the first possible one stays. Impossible, off-grid and unfinished bars become holes. A hole of
    up to `max_gap` bars is filled by flat bars at the previous close with volume 0 and `is_repaired`; a longer one
    starts a new `segment`. A bar depends on earlier ones only, and repairing twice changes nothing.

    Raises `DataContractError`, beginning with `source`, when most bars do not lie the interval apart, when more than
    `max_faulty` of the rows (and more than one) are off its grid or as many are impossible, or when no row is left.
    Rows in messages are those of `df` as given, counted from 1.
    """
    if max_gap < 0:
        raise DataContractError(f"{source}: max_gap = {max_gap} is not allowed: it must be at least 0")
    report = validate_candles(df, interval, now=now, source=source)
    candles = require_candles(df, source=source)
    is_on_grid, is_possible = on_grid(candles, interval), possible(candles)
    _refuse_wrong_step(candles, interval, source)
    _refuse_off_grid(candles, is_on_grid, interval, max_faulty, source)
    _refuse_impossible(candles, is_possible, max_faulty, source)
    kept = candles[is_on_grid & is_possible & closed(candles, interval, now)].sort_index(kind="stable")
    kept = kept[~kept.index.duplicated(keep="first")]
    if kept.empty:
        raise DataContractError(f"{source}: no row is a closed, possible bar on the {interval} grid")
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


def _refuse_wrong_step(candles: pd.DataFrame, interval: str, source: str) -> None:
    """Judged on every row, on the grid or off it: of half-hour bars those on the hourly grid lie an hour apart."""
    rows: Ints = nanoseconds(candles)
    times = np.unique(rows[candles.index.notna()])
    steps = np.diff(times)
    is_wrong = steps != interval_length(interval).value
    if len(steps) < MIN_STEPS_TO_JUDGE or is_wrong.sum() * 2 <= len(steps):
        return
    row = int(np.isin(rows, times[1:][is_wrong]).argmax())
    step = pd.Timedelta(int(steps[np.searchsorted(times, rows[row]) - 1]))
    raise DataContractError(
        f"{source}: row {row + 1}: open time {candles.index[row]} lies {step} after the bar before, "
        f"and {is_wrong.sum()} of {len(steps)} bars do not lie {interval} apart"
    )


def _refuse_off_grid(candles: pd.DataFrame, is_on_grid: Bools, interval: str, max_faulty: float, source: str) -> None:
    count = int((~is_on_grid).sum())
    if count <= _allowed(candles, max_faulty):
        return
    row = int((~is_on_grid).argmax())
    raise DataContractError(
        f"{source}: row {row + 1}: open time {candles.index[row]} is not on the {interval} grid, "
        f"and {count} of {len(candles)} rows are off it where {max_faulty:.0%} can be dropped"
    )


def _refuse_impossible(candles: pd.DataFrame, is_possible: Bools, max_faulty: float, source: str) -> None:
    count = int((~is_possible).sum())
    if count <= _allowed(candles, max_faulty):
        return
    row = int((~is_possible).argmax())
    first = candles.iloc[[row]]
    rule = next(rule for rule in BAR_RULES if not rule.holds(first).item())
    where = f"row {row + 1}, at {candles.index[row]}: {rule.column} = {first[rule.column].item()}"
    raise DataContractError(
        f"{source}: {where} breaks '{rule.sentence}', and {count} of {len(candles)} bars break a rule "
        f"where {max_faulty:.0%} can be repaired"
    )


def _allowed(candles: pd.DataFrame, max_faulty: float) -> float:
    """Faulty rows that a table may have: one, or the share."""
    return max(1, max_faulty * len(candles))
