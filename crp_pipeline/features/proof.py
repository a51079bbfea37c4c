"""The proof, on given candles, that no feature looks ahead and none looks back further than it says.

Three questions at each cut `t`: does any value up to `t` change when later rows are cut off, when they are replaced by
noise, and does the value at `t` stand when only the declared bars before it are known? The first two are asked bit for
bit.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

import numpy as np
import pandas as pd

from crp_pipeline.contracts import OHLCV, Floats, Ints
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.features.compute import (
    bar_interval,
    checked_bars,
    compute_features,
    segment_start,
    values_of,
    warm_up_bars,
)
from crp_pipeline.features.feature import Feature

START_TOLERANCE = 1e-6
"""Allowed difference between two starts, relative to the larger of the value and the column's mean absolute value."""


RANDOM_CUTS, HOLE_CUTS, LATEST_CUTS = 25, 10, 96
"""Rows at which each night's proof is made: anywhere in the history, in its holes, one after the other at its end."""
BARS_AHEAD = 200
"""Bars after a cut that a night's proof cuts off and scrambles: more than any plausible leak looks ahead."""


class LeakKind(StrEnum):
    """Which question a feature failed."""

    FUTURE_ARRIVES = "future_arrives"
    SCRAMBLED_FUTURE = "scrambled_future"
    SHORT_LOOKBACK = "short_lookback"


@dataclass(frozen=True)
class Leak:
    """A feature whose value depends on what it must not know."""

    feature: str
    kind: LeakKind
    at: pd.Timestamp
    """`open_time` of the first row that differs."""
    difference: float
    """Largest absolute difference up to the cut; infinite where a value appears or disappears."""


def prove_causal(
    features: Sequence[Feature],
    candles: pd.DataFrame,
    *,
    market: pd.DataFrame | None = None,
    feeds: pd.DataFrame | None = None,
    cuts: Sequence[int],
    seed: int,
    questions: Collection[LeakKind] = tuple(LeakKind),
) -> tuple[Leak, ...]:
    """What was found at the given rows of the candles, cut by cut; empty when every feature is causal there.

    All features are computed together: on all rows once, and at each cut on the rows up to it, on all rows with the
    later ones scrambled, and on the declared bars, where these lie inside the cut's segment. The tables of market and
    feeds are cut off and scrambled with the candles: whether these tables themselves look ahead they cannot tell, see
    `prove_feed_alignment`. `questions` are those that are asked. Cuts are positions from 1 on; `IndexError` names one that is
    not a row.
    """
    for cut in cuts:
        if not 1 <= cut < len(candles):
            raise IndexError(f"cut {cut} is not a row after the first of {len(candles)}")
    world = _World(candles, market, feeds)
    now, other = world.table(features), world.scrambled(seed)
    leaks: list[Leak] = []
    for cut in cuts:
        known = world.up_to(cut)
        if LeakKind.FUTURE_ARRIVES in questions:
            leaks += changes(known.table(features), now, LeakKind.FUTURE_ARRIVES)
        if LeakKind.SCRAMBLED_FUTURE in questions:
            elsewhere = known.followed_by(other).table(features).iloc[: cut + 1]
            leaks += changes(elsewhere, now, LeakKind.SCRAMBLED_FUTURE)
        if LeakKind.SHORT_LOOKBACK in questions:
            leaks += _short_lookbacks(features, known, now)
    return tuple(leaks)


def prove_nightly(
    features: Sequence[Feature],
    candles: pd.DataFrame,
    *,
    market: pd.DataFrame | None = None,
    feeds: pd.DataFrame | None = None,
    seed: int,
) -> tuple[Leak, ...]:
    """`prove_causal` at the rows of `nightly_cuts`, each on the stretch of candles around its cuts.

    All questions are asked at the rows that stand alone, and at the latest ones whether later bars change them. A stretch
    reaches back twice as far as the slowest feature needs and ahead `BARS_AHEAD`, so that the proof of a night takes as
    long for ten years as for one.
    """
    leaks: list[Leak] = []
    for cuts in nightly_cuts(candles, market, feeds=feeds, seed=seed):
        start = max(cuts[0] - 2 * warm_up_bars(features), 0)
        stretch = candles.iloc[start : cuts[-1] + 1 + BARS_AHEAD]
        others, known = (None if it is None else it.loc[stretch.index[0] : stretch.index[-1]] for it in (market, feeds))
        within, questions = [cut - start for cut in cuts], tuple(LeakKind) if len(cuts) == 1 else (LeakKind.FUTURE_ARRIVES,)
        leaks += prove_causal(features, stretch, market=others, feeds=known, cuts=within, seed=seed, questions=questions)
    return tuple(leaks)


def nightly_cuts(
    candles: pd.DataFrame, market: pd.DataFrame | None, *, feeds: pd.DataFrame | None = None, seed: int
) -> tuple[tuple[int, ...], ...]:
    """Random rows, rows in a hole and rows before something becomes known, one by one, then the latest rows together.

    Because what is interpolated or filled from behind gives itself away in a hole or at its end and nowhere else. Raises
    `InsufficientHistoryError` below three rows.
    """
    random = spread_cuts(len(candles), RANDOM_CUTS, seed=seed)
    holes, ends = (_spread(rows, HOLE_CUTS) for rows in _hole_rows(candles, market, feeds))
    latest = range(max(len(candles) - 1 - LATEST_CUTS, 1), len(candles) - 1)
    return (*((cut,) for cut in sorted({*random, *holes, *ends})), tuple(latest))


def _hole_rows(candles: pd.DataFrame, market: pd.DataFrame | None, feeds: pd.DataFrame | None) -> tuple[Ints, Ints]:
    """Rows where a bar was filled in or nothing was traded, another coin has no close or a feed is unknown, and the last of
    them before something is traded or known again; all with rows on both sides.
    """
    is_filled = candles["is_repaired"].to_numpy(dtype=bool) if "is_repaired" in candles else np.zeros(len(candles), dtype=bool)
    is_silent = candles["volume"].to_numpy() == 0
    beside = [table.reindex(candles.index) for table in (market, feeds) if table is not None]
    is_unknown = pd.concat([pd.DataFrame(index=candles.index), *beside], axis=1).isna().to_numpy(dtype=bool)
    is_hole = is_filled | is_silent | is_unknown.any(axis=1)
    is_end = (is_unknown[:-1] & ~is_unknown[1:]).any(axis=1) | (is_silent[:-1] & ~is_silent[1:])
    return np.flatnonzero(is_hole[1:-1]) + 1, np.flatnonzero(is_end[1:]) + 1


def _spread(rows: Ints, n_rows: int) -> list[int]:
    """At most so many of the rows, the first and the last among them."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, n_rows).astype(int)) if len(rows) else rows
    return [int(row) for row in rows[chosen]]


def spread_cuts(n_rows: int, n_cuts: int, *, seed: int) -> tuple[int, ...]:
    """Distinct random rows past the first, in order, the last row but one among them.

    Raises `InsufficientHistoryError` below three rows: a cut has rows on both sides.
    """
    if n_rows < 3:
        raise InsufficientHistoryError(f"rows found: {n_rows}; a cut with rows on both sides takes 3")
    drawn = np.random.default_rng(seed).choice(np.arange(1, n_rows - 1), min(n_cuts, n_rows - 2), replace=False)
    return tuple(sorted({*drawn.tolist(), n_rows - 2}))


def leak_table(leaks: Sequence[Leak]) -> pd.DataFrame:
    """Leaks as rows: feature, kind, at, difference."""
    return pd.DataFrame([vars(leak) for leak in leaks], columns=["feature", "kind", "at", "difference"])


@dataclass(frozen=True, eq=False)
class _World:
    """Candles and what is beside them."""

    candles: pd.DataFrame
    market: pd.DataFrame | None
    feeds: pd.DataFrame | None

    def table(self, features: Sequence[Feature]) -> pd.DataFrame:
        return compute_features(self.candles, features, market=self.market, feeds=self.feeds)

    def up_to(self, row: int) -> "_World":
        time = self.candles.index[row]
        market, feeds = (None if table is None else table.loc[:time] for table in (self.market, self.feeds))
        return _World(self.candles.iloc[: row + 1], market, feeds)

    def scrambled(self, seed: int) -> "_World":
        market, feeds = (None if table is None else _scramble(table, seed) for table in (self.market, self.feeds))
        return _World(_scramble(self.candles, seed, OHLCV), market, feeds)

    def followed_by(self, other: "_World") -> "_World":
        """These rows and the other world's from there on."""
        market, feeds = _joined(self.market, other.market), _joined(self.feeds, other.feeds)
        return _World(pd.concat([self.candles, other.candles.iloc[len(self.candles) :]]), market, feeds)


def refuse_leaks(leaks: Sequence[Leak], source: str) -> None:
    """Raise `DataContractError` naming the first leak, where there is one."""
    if leaks:
        columns = ", ".join(sorted({leak.feature for leak in leaks}))
        where = f"{leaks[0].feature} at {leaks[0].at}"
        raise DataContractError(f"{source} show what became known later, in {columns}: first {where} ({leaks[0].kind})")


def _scramble(frame: pd.DataFrame, seed: int, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The rows in another order and each at another level: still candles, but of another world."""
    names = list(frame.columns if columns is None else columns)
    rng = np.random.default_rng(seed)
    order, level = rng.permutation(len(frame)), np.exp(rng.normal(0, 0.1, (len(frame), 1)))
    values = frame[names].to_numpy(np.float64)[order] * level
    return frame.assign(**dict(zip(names, values.T, strict=True)))


def _joined(known: pd.DataFrame | None, other: pd.DataFrame | None) -> pd.DataFrame | None:
    return None if known is None or other is None else pd.concat([known, other.iloc[len(known) :]])


def changes(then: pd.DataFrame, now: pd.DataFrame, kind: LeakKind) -> Iterator[Leak]:
    """One leak per column in which the two differ anywhere on the rows of `then`, bit for bit."""
    before, after = then.to_numpy(), now.to_numpy()[: len(then)]
    differs = (before != after) & ~(np.isnan(before) & np.isnan(after))
    for column in map(int, np.flatnonzero(differs.any(axis=0))):
        rows = differs[:, column]
        largest = _distance(before[rows, column], after[rows, column]).max()
        yield Leak(str(now.columns[column]), kind, now.index[int(rows.argmax())], float(largest))


def _short_lookbacks(features: Sequence[Feature], world: _World, now: pd.DataFrame) -> Iterator[Leak]:
    """Features whose value at the last row of the world needs more bars than they declare."""
    row, time = len(world.candles) - 1, world.candles.index[-1]
    known = checked_bars(world.candles, market=world.market, feeds=world.feeds, interval=bar_interval(now.index))
    behind = row + 1 - segment_start(world.candles, bar_interval(now.index))
    values, typical = now.to_numpy(), _typical(now)
    columns = [column for column in range(len(features)) if features[column].bars_needed <= behind]
    by_need = groupby(sorted(columns, key=lambda column: features[column].bars_needed), lambda it: features[it].bars_needed)
    for bars_needed, alike in by_need:
        declared = known.part(slice(row + 1 - bars_needed, row + 1))
        for column in alike:
            fresh = values_of(features[column], declared)[-1:]
            [distance] = _distance(fresh, values[row, column : column + 1])
            if distance > START_TOLERANCE * np.nan_to_num(np.maximum(np.abs(fresh[0]), typical[column])):
                yield Leak(features[column].name, LeakKind.SHORT_LOOKBACK, time, float(distance))


def _typical(table: pd.DataFrame) -> Floats:
    typical: Floats = table.abs().mean().fillna(0.0).to_numpy()
    return typical


def _distance(one: Floats, other: Floats) -> Floats:
    """Absolute difference; 0 where both are missing, infinite where one is."""
    one_is_missing, other_is_missing = np.isnan(one), np.isnan(other)
    distance = np.abs(one - other)
    return np.where(one_is_missing & other_is_missing, 0.0, np.where(one_is_missing ^ other_is_missing, np.inf, distance))
