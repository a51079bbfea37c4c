"""What a network sees in an epoch: chunks of bars with a loss at every labelled one, or windows drawn by index.

A causal network's state at a bar is the same whatever follows, so that one pass over a chunk trains every bar in it and each
bar is computed once instead of once per window. A bidirectional network needs a window of its own for each bar; neighbouring
windows tell nearly the same, so each epoch draws some of them, rarer where labels overlap.

No batch reaches over a hole: where a chunk begins near one, the first bar behind the hole is repeated in place of what lies
before it. Positions are rows of the history, which lies on the device whole; windows never exist all at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from crp_pipeline.contracts import Bools, Floats, Ints, Samples

FEWEST_STEPS = 20
"""Steps that an epoch is parted into at least, where there is as much to see."""
ROWS_AT_ONCE = 4_096
"""Rows whose windows or chunks are scored at once when nothing is learned."""


class Batch(NamedTuple):
    """Features (batch, time, k), labels (batch, bars, targets) and weights (batch, bars) of the last bars."""

    x: Tensor
    y: Tensor
    weight: Tensor


class Batches(Protocol):
    """Where the batches of one set of rows come from."""

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """The batches of one epoch, in an order and from places that the generator draws."""
        ...

    def in_order(self) -> Iterator[Batch]:
        """Every row once."""
        ...


@dataclass(frozen=True)
class Lesson:
    """Rows of a history with what came of them, as tensors on one device."""

    history: Tensor
    """(n_bars, k)"""
    y: Tensor
    """(n_bars, targets); NaN where there is nothing to learn."""
    weight: Tensor
    """(n_bars,); 0 where there is nothing to learn."""
    rows: Ints
    """In time order, each once."""
    segment_start: Ints


def lesson_of(X: Samples, y: Floats, weight: Floats | None, device: torch.device) -> Lesson:
    """The samples as float32 tensors."""
    n_bars, targets = len(X.history), np.asarray(y, dtype=np.float64).reshape(len(X), -1)
    labels, weights = np.full((n_bars, targets.shape[1]), np.nan, dtype=np.float32), np.zeros(n_bars, dtype=np.float32)
    labels[X.rows], weights[X.rows] = targets, 1.0 if weight is None else weight
    starts = np.zeros(n_bars, dtype=np.int64) if X.segment_start is None else X.segment_start
    history, y_of, weight_of = (as_tensor(values, device) for values in (X.history, labels, weights))
    return Lesson(history, y_of, weight_of, np.unique(X.rows), starts)


def as_tensor(values: Floats | np.ndarray, device: torch.device) -> Tensor:
    """Values as float32 on a device."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)


@dataclass(frozen=True)
class Chunks:
    """Contiguous stretches of `length` bars behind `reach - 1` bars that only warm the network up."""

    lesson: Lesson
    reach: int
    length: int
    bars_per_batch: int

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Chunks in a drawn order, cut at a drawn place."""
        starts, stops = self._cut(int(rng.integers(self.length)))
        order = rng.permutation(len(starts))
        at_once = max(min(self.bars_per_batch // self.length, len(starts) // FEWEST_STEPS), 1)
        for first in range(0, len(order), at_once):
            picked = order[first : first + at_once]
            yield self._batch(starts[picked], stops[picked])

    def in_order(self) -> Iterator[Batch]:
        """Chunks in time order."""
        starts, stops = self._cut(0)
        at_once = max(ROWS_AT_ONCE // self.length, 1)
        for first in range(0, len(starts), at_once):
            yield self._batch(starts[first : first + at_once], stops[first : first + at_once])

    def _cut(self, offset: int) -> tuple[Ints, Ints]:
        return cut(self.lesson.rows, self.lesson.segment_start, length=self.length, offset=offset)

    def _batch(self, starts: Ints, stops: Ints) -> Batch:
        bars, own = scored_bars(starts, stops, self.length)
        seen = seen_bars(starts, stops, self.lesson.segment_start, reach=self.reach, length=self.length)
        weight = self.lesson.weight[bars] * torch.from_numpy(own).to(self.lesson.weight)
        return Batch(self.lesson.history[seen], self.lesson.y[bars], weight)


def cut(rows: Ints, segment_start: Ints, *, length: int, offset: int = 0) -> tuple[Ints, Ints]:
    """First row of each chunk, and one past its last: (chunks,) each.

    Chunks are cut every `length` bars, `offset` bars before the first row, and anew behind a hole.
    """
    cells = (rows - rows[0] + offset) // length
    is_first = np.diff(cells, prepend=-1) != 0
    is_first |= np.diff(segment_start[rows], prepend=-1) != 0
    begins = np.flatnonzero(is_first)
    return rows[begins], np.append(rows[begins[1:] - 1], rows[-1]) + 1


def scored_bars(starts: Ints, stops: Ints, length: int) -> tuple[Ints, Bools]:
    """Positions (chunks, length) of the chunks' bars, and which of them lie before the chunk's stop; others repeat the last."""
    bars = starts[:, None] + np.arange(length)
    return np.minimum(bars, stops[:, None] - 1), bars < stops[:, None]


def seen_bars(starts: Ints, stops: Ints, segment_start: Ints, *, reach: int, length: int) -> Ints:
    """Positions (chunks, reach - 1 + length) of what a network sees of each chunk; it reaches over no hole."""
    seen = starts[:, None] + np.arange(1 - reach, length)
    return np.asarray(np.clip(seen, segment_start[stops - 1][:, None], stops[:, None] - 1))


@dataclass(frozen=True)
class Windows:
    """Closed windows of `reach` bars that end at a row."""

    lesson: Lesson
    reach: int
    windows_per_batch: int
    windows_per_label: float
    """Windows of an epoch per independent label: the sum of uniqueness weights counts those."""

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """As many windows as the labels are worth, drawn without replacement in proportion to their uniqueness."""
        rows = self.lesson.rows
        uniqueness = self.lesson.weight[rows].cpu().numpy().astype(np.float64)
        n_drawn = min(max(round(self.windows_per_label * uniqueness.sum()), 1), int((uniqueness > 0).sum()))
        drawn = rng.choice(rows, n_drawn, replace=False, p=uniqueness / uniqueness.sum())
        at_once = max(min(self.windows_per_batch, 2 * n_drawn // FEWEST_STEPS), 8)
        for first in range(0, n_drawn, at_once):
            yield self._batch(drawn[first : first + at_once], is_drawn=True)

    def in_order(self) -> Iterator[Batch]:
        """Every row's window, in time order."""
        at_once = max(ROWS_AT_ONCE // 8, 1)
        for first in range(0, len(self.lesson.rows), at_once):
            yield self._batch(self.lesson.rows[first : first + at_once], is_drawn=False)

    def _batch(self, rows: Ints, *, is_drawn: bool) -> Batch:
        """What was drawn by its weight counts once."""
        weight = self.lesson.weight[rows][:, None]
        x = self.lesson.history[rows[:, None] + np.arange(1 - self.reach, 1)]
        return Batch(x, self.lesson.y[rows][:, None], torch.ones_like(weight) if is_drawn else weight)
