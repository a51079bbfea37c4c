"""The highest share of trades that can win on these bars, when positions are taken one at a time.

A win rate is a share of trades, not of bars. Where bars win, targets are hit early and the next trade follows soon; where they
lose, one trade fills a whole horizon: trades over-weight the bars that can be won, and decisions while a position is held are
never traded. So the best that anybody could have done is a path through the bars. At every close without a position, one who
knows the future

- takes a side: the position is opened at the next open and left where the engine leaves it, and the next decision that counts
  is the first one that the engine would trade after it;
- passes, on at most `1 - coverage` of the bars: he takes no side, or one whose trade does not count, because the win rate is
  that of another tier. Such a trade costs one bar of the budget and swallows the decisions for as long as it is held.

Nothing else costs him a bar: a decision while a position is held, one that the engine cannot trade (repaired bars, the end of
a segment) and one without a known stop where there are stops are as good as decided. That is why the bound at a tier's own
coverage holds for the win rate of that tier, whatever the other tiers do, and at the coverage of all decisions for all trades.

The most wins per trade are a linear-fractional program over paths. Its relaxation to mixtures of paths is solved exactly: a
path is the best one at a price per passed bar, found backwards over the bars; the price is refined until two neighbouring paths
enclose the budget, and the rate raised until nothing is left to be gained (Dinkelbach 1967). No path within the budget wins
more; without a budget the bound is attained. An account that is ruined and orders too small for the exchange are not foreseen.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from crp_pipeline.backtest.costs import CostData, costs_of
from crp_pipeline.backtest.execution import bars_of, rules_of
from crp_pipeline.contracts import Bools, Floats, Ints
from crp_pipeline.settings import ExecutionModel

EXACT = 1e-9
"""Gain in trades below which a path counts as no better, and by which the bound is raised for it."""
_JUST_MET = 1e-7
"""A rate that is missed by no more counts as met, which tells a path that just meets it from one without trades."""
_PASS, _COUNTED, _APART = 0, 1, 3


class Outcomes(NamedTuple):
    """What a long (row 0) and a short (row 1) decided at each bar's close come to, each alone."""

    leave: Ints
    """(2, n) bar of the exit; 0 where the engine opens nothing."""
    net: Floats
    """(2, n) net return on entry notional; NaN where the engine opens nothing."""


class Path(NamedTuple):
    """Winners and trades that count, and bars passed."""

    wins: float
    trades: float
    passed: float

    def gain(self, rate: float) -> float:
        """Wins beyond this rate."""
        return self.wins - rate * self.trades


@dataclass(frozen=True, eq=False)
class TradeCeiling:
    """The bound at any coverage; a bar is that of a decision."""

    then: Ints
    """(2, n) bar of the next decision that counts after a long, a short; 0 where the engine opens nothing."""
    won: Bools
    """(2, n) whether it wins after costs."""
    free: Bools
    """(n,) bars that may be passed at no price."""

    def at(self, coverage: float) -> float:
        """Highest win rate of trades whose decisions take a side that counts on this share of the bars or more."""
        n = len(self.free)
        budget, rate = n - math.ceil(coverage * n - 1e-6), 0.0
        while True:
            few, many = self._neighbours(rate, lambda path: path.passed <= budget)
            best = _between(few, many, _share_of_way(few.passed, budget, many.passed))
            if best.gain(rate) <= EXACT:
                return min(1.0, rate + EXACT)
            rate = best.wins / best.trades

    def largest_coverage(self, win_rate: float) -> float:
        """Share of the bars beyond which no sequence of trades wins that often; 0 where none does anywhere."""
        rate = win_rate - _JUST_MET
        few, many = self._neighbours(rate, lambda path: path.gain(rate) <= EXACT)
        if many.gain(rate) <= EXACT:
            return 0.0
        best = _between(few, many, _share_of_way(few.gain(rate), 0.0, many.gain(rate)))
        return 1 - best.passed / len(self.free)

    def _neighbours(self, rate: float, is_short: Callable[[Path], bool]) -> tuple[Path, Path]:
        """The neighbouring best paths of which one passes too few bars for a purpose, or just enough, and the other more."""
        few, many = self._best(rate, math.inf), self._best(rate, 0.0)
        if is_short(many):
            return many, many
        if not is_short(few):
            return few, few
        while True:
            price = (many.gain(rate) - few.gain(rate)) / (many.passed - few.passed)
            found = self._best(rate, price)
            if found.gain(rate) - few.gain(rate) <= price * (found.passed - few.passed) + EXACT:
                return few, many
            few, many = (found, many) if is_short(found) else (few, found)

    def _best(self, rate: float, price: float) -> Path:
        """The path of the largest gain after paying for what it passes; none is passed at an infinite price."""
        return Path(*_compiled_walk()(self.then, self.won, self.free, rate, price))


def outcomes_of(candles: pd.DataFrame, stops: Floats, targets: Floats, execution: ExecutionModel, data: CostData) -> Outcomes:
    """Both sides of every bar that the engine would trade, by its own exits and costs; distances are (n,), NaN for none."""
    from crp_pipeline.backtest.engine import outcome_of_side

    bars, rules = bars_of(candles), rules_of(execution)
    costs, n = costs_of(execution, candles, bars, data), len(candles)
    decided = np.flatnonzero(~(bars.repaired[:-1] | bars.repaired[1:] | bars.last[:-1]))
    leave, net = np.zeros((2, n), np.int64), np.full((2, n), np.nan)
    for row, side in enumerate((1, -1)):
        leave[row, decided], _, net[row, decided] = outcome_of_side(
            bars, decided + 1, np.full(len(decided), side), stops[decided], targets[decided], costs, rules
        )
    return Outcomes(leave, net)


def trade_ceiling(
    candles: pd.DataFrame, outcomes: Outcomes, execution: ExecutionModel, *, free: Bools, closes_at_end: bool = True
) -> TradeCeiling:
    """The bound of the trades with these outcomes; `free` bars, (n,), may be passed at no price.

    Where a position that reaches the end of the data is left open it counts as won, and bars without volume are free where
    volume caps an order: the bound can only be higher for it.
    """
    bar, opened = np.arange(len(candles)), outcomes.leave > 0
    entry, end = bar + 1, bars_of(candles).end
    # the decision at the close before a time exit enters at the very open at which the position is left
    timed = outcomes.leave - entry >= cast("int", execution.horizon)
    won = outcomes.net > 0
    if not closes_at_end:
        won |= opened & ~timed & (outcomes.leave == end)
    if execution.max_participation is not None and "volume" in candles:
        free = free | (candles["volume"].to_numpy(dtype=float) <= 0)
    return TradeCeiling(
        then=np.where(opened, outcomes.leave - timed, 0), won=np.ascontiguousarray(won), free=free | ~opened.any(axis=0)
    )


def _share_of_way(start: float, at: float, end: float) -> float:
    return 0.0 if start == end else (at - start) / (end - start)


def _between(one: Path, other: Path, share: float) -> Path:
    """The mixture of both paths."""
    return Path(*(first + share * (second - first) for first, second in zip(one, other, strict=True)))


@cache
def _compiled_walk() -> Callable[..., Any]:
    from numba import njit

    return cast("Callable[..., Any]", njit(cache=True)(_walk))


def _walk(then: Ints, won: Bools, free: Bools, rate: float, price: float) -> tuple[int, int, int]:
    """Wins, trades and passed bars of the path with the most wins beyond `rate` per trade, less `price` per passed bar."""
    n = len(free)
    value, choice = np.zeros(n + 1), np.zeros(n, np.int8)
    for bar in range(n - 1, -1, -1):
        best, taken = value[bar + 1] - (0.0 if free[bar] else price), _PASS
        for side in range(2):
            after = then[side, bar]
            if after > bar:
                counted, apart = won[side, bar] - rate + value[after], value[after] - price
                if counted > best:
                    best, taken = counted, _COUNTED + side
                if apart > best:
                    best, taken = apart, _APART + side
        value[bar], choice[bar] = best, taken
    wins, trades, passed, bar = 0, 0, 0, 0
    while bar < n:
        taken = choice[bar]
        if taken == _PASS:
            passed += 0 if free[bar] else 1
            bar += 1
            continue
        is_counted = taken < _APART
        side = taken - (_COUNTED if is_counted else _APART)
        if is_counted:
            trades += 1
            wins += won[side, bar]
        else:
            passed += 1
        bar = then[side, bar]
    return wins, trades, passed
