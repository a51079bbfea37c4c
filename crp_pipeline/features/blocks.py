"""Blocks of the clock: a table is made stretch by stretch, and a long stretch block by block.

A block begins at every multiple of `BLOCK_BARS` bars since 1970 and is computed from the `OVERLAP_BARS` before it on, whatever
else is at hand. So the arrays at work fit a core's cache, a value is the same to the bit whether years of candles are given or
the block's own bars alone, and a night that brings a day of bars has only the last block to compute.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from crp_pipeline.contracts import Ints

BLOCK_BARS = 16_384
OVERLAP_BARS = 512
"""Bars before a block that are read with it, at least: more than any feature of the catalogue needs."""


@dataclass(frozen=True)
class Block:
    """Rows of a table that are computed together."""

    segment_start: int
    """First row of the segment: nothing before it may be read."""
    start: int
    stop: int
    """Rows from `start` on and before `stop` are computed ..."""
    first: int
    """... from the bars from `first` on."""

    @property
    def read(self) -> slice:
        """Rows that are read."""
        return slice(self.first, self.stop)


def blocks(opens: Ints, interval_ns: int, segments: list[slice], *, overlap: int) -> Iterator[Block]:
    """The blocks of every segment, in order; `opens` are the open times of all rows in nanoseconds since 1970."""
    length = interval_ns * BLOCK_BARS
    for segment in segments:
        is_edge = np.diff(opens[segment] // length) != 0
        edges = [segment.start, *(segment.start + 1 + np.flatnonzero(is_edge)).tolist(), segment.stop]
        for start, stop in pairwise(edges):
            yield Block(segment.start, start, stop, max(segment.start, start - max(overlap, OVERLAP_BARS)))
