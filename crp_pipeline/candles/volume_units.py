"""Finds the stretch of a history whose volume is in quote units where the rest is in base units.

Some exports swap their two volume columns part-way through a file. The volume of one bar says little, but the median
over a few hundred bars moves slowly, and a change of unit moves it by the price, at once.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from crp_pipeline.contracts import Bools, Floats

BLOCK = 168
"""Bars whose median volume is one level: a week of hours. A unit that holds for less than two blocks is not seen."""
MIN_FACTOR = 100.0
"""Real markets stay below this between neighbouring blocks; coins that cost less than this cannot be told."""
PRICE_TOLERANCE = 10.0
"""The factor must be the price, up to this factor: turnover changes too, but not by as much again."""


class _Break(NamedTuple):
    row: int
    """First row of the new level."""
    quote_after: bool


def quote_volume_rows(close: Floats, volume: Floats) -> Bools:
    """(n,) True where the volume of a time-ordered history reads as quote units beside the rest of it.

    Both arrays are finite and positive: a bar without a trade has no unit.
    """
    breaks = _breaks(np.log(volume), np.log(close))
    rows = np.zeros(len(volume), dtype=bool)
    if not breaks:
        return rows
    rows[: breaks[0].row] = not breaks[0].quote_after
    for this, following in pairwise([*breaks, _Break(len(rows), quote_after=False)]):
        rows[this.row : following.row] = this.quote_after
    return rows


def _breaks(log_volume: Floats, log_price: Floats) -> list[_Break]:
    """Level changes by about the price, between blocks two apart: the block with the change may lie between them."""
    n_blocks = len(log_volume) // BLOCK
    if n_blocks < 3:
        return []
    level = np.median(log_volume[: n_blocks * BLOCK].reshape(n_blocks, BLOCK), axis=1)
    price = np.median(log_price[: n_blocks * BLOCK].reshape(n_blocks, BLOCK), axis=1)
    jump, expected = level[2:] - level[:-2], price[1:-1]
    is_switch = (np.abs(jump) >= np.log(MIN_FACTOR)) & (np.abs(np.abs(jump) - np.abs(expected)) <= np.log(PRICE_TOLERANCE))
    direction = np.where(is_switch, np.sign(jump), 0.0)
    starts = np.flatnonzero(np.diff(direction, prepend=0.0) != 0)
    found = []
    for start, end in pairwise([*starts.tolist(), len(direction)]):
        if direction[start]:
            first, last = start * BLOCK, (end + 2) * BLOCK
            row = first + _split(log_volume[first:last], (level[start] + level[end + 1]) / 2, rises=direction[start] > 0)
            found.append(_Break(row, quote_after=bool(direction[start] * expected[start] > 0)))
    return found


def _split(values: Floats, middle: float, *, rises: bool) -> int:
    """Position that best parts the values into one side below and one side above `middle`."""
    is_late = values > middle if rises else values < middle
    misplaced = np.concatenate([[0], np.cumsum(np.where(is_late, 1, -1))])
    return int(misplaced.argmin())
