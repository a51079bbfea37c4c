"""Bars that keep the contract and that no market makes: prints far off their neighbours, prices and volumes that stand still.

Every threshold is relative to what the coin does itself, block by block: what is odd for BTC is daily life for a coin that
trades once an hour.
"""

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Bools, Floats

BLOCK = 168
"""Bars of one regime: a week of hours."""
MIN_MOVES = 20
"""Bars that must have moved for their median to be one."""
MAD_TO_DEVIATION = 1.4826
"""Median absolute return to standard deviation, for a normal distribution."""

PRINT_AT_A_JUMP = 10.0
"""Deviations, where the price jumped between two bars: it does so by 3.7 at most in ten million minutes of real candles."""
PRINT_IN_TRADE = 50.0
"""Deviations, where bars join up: ETH traded 32 down and back on 2023-08-17, a flash crash and no bad print."""
RETURNS_WITHIN = 0.25
"""Share of the move that may be left once a bad print is over; a crash keeps more."""

ZERO_VOLUME_BARS = 3
"""Shortest run without a trade away from a hole: liquid coins leave out one bar now and then."""
STALE_BARS = 6
"""Shortest run of one price: BTC closed five minutes in a row at one price in a quiet night."""
FALSE_ALARMS = 0.01
"""Runs that chance may be expected to make in a whole history before they are no finding."""
HABIT_QUANTILE = 0.95
"""Block whose share of quiet bars is the coin's habit: quiet nights count, the fault itself does not."""
HIGHEST_SHARE = 0.9
"""Share of quiet bars that is taken for a habit; what is quiet nearly always is broken."""


def typical_return(bars: pd.DataFrame) -> Floats:
    """(n,) robust deviation of one bar's return, of the bars that moved in its block; infinite where too few did.

    The largest of a block and its neighbours counts, so that the first hours of a storm are not measured by the calm
    before it. Blocks are counted back from the newest bar, which is then measured by a whole one.
    """
    moves = np.abs(np.diff(np.log(bars["close"].to_numpy()), prepend=np.nan))
    n_blocks = -(-len(moves) // BLOCK)
    padded = np.full(n_blocks * BLOCK, np.inf)
    padded[-len(moves) :] = np.where(moves > 0, moves, np.inf)  # what did not move sorts last
    blocks = np.sort(padded.reshape(n_blocks, BLOCK), axis=1)
    n_moved = np.isfinite(blocks).sum(axis=1)
    medians = np.where(n_moved >= MIN_MOVES, blocks[np.arange(n_blocks), n_moved // 2], 0.0)
    edges = np.concatenate([[0.0], medians, [0.0]])
    widest = np.maximum(medians, np.maximum(edges[:-2], edges[2:]))
    return np.repeat(np.where(widest > 0, widest * MAD_TO_DEVIATION, np.inf), BLOCK)[-len(moves) :]


def bad_prints(bars: pd.DataFrame, follows: Bools) -> Bools:
    """(n,) True where a price of the bar is far off its neighbours on both sides.

    `follows` is True where the bar before is there. A crash that stays down is none, nor is one that trades its way back.
    """
    open_, high, low, close = (np.log(bars[name].to_numpy()) for name in ("open", "high", "low", "close"))
    deviation = typical_return(bars)
    before = np.where(follows, np.concatenate([[np.nan], close[:-1]]), np.nan)
    is_followed = np.append(follows[1:], False)
    next_open = np.where(is_followed, np.append(open_[1:], np.nan), np.nan)
    next_close = np.where(is_followed, np.append(close[1:], np.nan), np.nan)
    wick = np.maximum(high - np.maximum(open_, close), np.minimum(open_, close) - low)
    return np.asarray(
        _excursion(before, close, next_open, PRINT_AT_A_JUMP * deviation)
        | _excursion(before, open_, close, PRINT_AT_A_JUMP * deviation)
        | _excursion(before, close, next_close, PRINT_IN_TRADE * deviation)
        | (wick > PRINT_IN_TRADE * deviation)
    )


def without_trades(bars: pd.DataFrame, follows: Bools) -> Bools:
    """(n,) True in runs without a trade that are too long for chance, or that touch a hole."""
    return _long_runs((bars["volume"] == 0).to_numpy(), ZERO_VOLUME_BARS, hole_before=~follows)


def without_movement(bars: pd.DataFrame) -> Bools:
    """(n,) True in runs with volume, too long for chance, that close where the bar before closed, or have one price each."""
    traded, close = (bars["volume"] > 0).to_numpy(), bars["close"].to_numpy()
    is_unchanged = traded & (np.diff(close, prepend=np.nan) == 0)
    is_flat = traded & (bars["high"] == bars["low"]).to_numpy()
    return _long_runs(is_unchanged, STALE_BARS) | _long_runs(is_flat, STALE_BARS)


def _excursion(before: Floats, price: Floats, after: Floats, least: Floats) -> Bools:
    """(n,) True where the price leaves and is back: both ways at least that far, and little is left of the move.

    A comparison with NaN is False, so a neighbour that is missing makes no finding.
    """
    away, back = price - before, after - price
    return np.asarray((np.minimum(np.abs(away), np.abs(back)) > least) & (np.abs(away + back) < RETURNS_WITHIN * np.abs(away)))


def _long_runs(mask: Bools, shortest: int, *, hole_before: Bools | None = None) -> Bools:
    """(n,) `mask` without its runs that chance explains: shorter than `shortest`, or than so many such bars often make."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    first, after = edges[::2], edges[1::2]
    is_long = after - first >= max(shortest, _longest_by_chance(mask))
    if hole_before is not None:
        # neither end of the history is a hole
        at_hole = np.append(hole_before, False)
        at_hole[0] = False
        is_long |= at_hole[first] | at_hole[after]
    chosen = np.zeros(len(mask) + 1, dtype=np.int8)
    chosen[first[is_long]], chosen[after[is_long]] = 1, -1
    return np.cumsum(chosen[:-1]).astype(bool)


def _longest_by_chance(mask: Bools) -> float:
    """Length from which less than `FALSE_ALARMS` runs are expected, at the share of such bars in the coin's quietest blocks."""
    blocks = mask[len(mask) % BLOCK :].reshape(-1, BLOCK) if len(mask) >= BLOCK else mask[None]
    share = min(float(np.quantile(blocks.mean(axis=1), HABIT_QUANTILE)), HIGHEST_SHARE)
    return np.log(FALSE_ALARMS / len(mask)) / np.log(share) if share > 0 else 0.0
