"""What chance would have earned with the same entries, exits and costs."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from crp_pipeline.backtest.costs import CostData, costs_of
from crp_pipeline.backtest.execution import bars_of, orders_of, rules_of
from crp_pipeline.backtest.result import BacktestResult
from crp_pipeline.contracts import Bools, Floats
from crp_pipeline.metrics import expectancy
from crp_pipeline.settings import ExecutionModel

_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class ZeroSkill:
    """Trades against the same trades with their sides shuffled.

    `win_rate` and `expectancy_bps` are the exact means over all shuffles, the interval holds `level` of the drawn ones.
    `p_value` is the chance of a mean net return at least as high as the observed: (1 + shuffles not worse) / (1 +
    shuffles).
    """

    trades: int
    observed_win_rate: float
    observed_expectancy_bps: float
    win_rate: float
    win_rate_low: float
    win_rate_high: float
    expectancy_bps: float
    p_value: float


def zero_skill(
    result: BacktestResult,
    candles: pd.DataFrame,
    decisions: pd.DataFrame,
    execution: ExecutionModel,
    *,
    subset: Bools | None = None,
    n_permutations: int = 2_000,
    seed: int = 0,
    level: float = 0.95,
    data: CostData | None = None,
) -> ZeroSkill:
    """Shuffle which of the trades were long and which short, keeping how many of each, their entries, exits and costs.

    `candles`, `decisions`, `execution` and `data` (funding and finer candles) are those of the result; `subset` (one bool per
    trade) compares only some, such as the high tier. A stop three times wider than the target wins 75 % of such shuffles: that
    is what a win rate must be held against. No account stands behind a shuffle, so a trade that ruined one counts up to its
    stop, target or time. Trades of one side only cannot be told from chance: their p-value is 1. NaN, and p-value 1, without
    trades.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    if n_permutations < 1:
        raise ValueError(f"n_permutations must be at least 1, got {n_permutations}")
    trades = result.trades if subset is None else result.trades[subset]
    side = trades["side"].to_numpy(dtype=np.int64)
    long, short = _both_outcomes(trades, candles, decisions, execution, data or CostData())
    nobody = np.full(1, np.nan)
    means, rates = _shuffled(side > 0, long, short, n_permutations, seed) if len(trades) else (nobody, nobody)
    observed = np.where(side > 0, long, short)
    # summed in another order the same trades differ in the last digits: that is a tie
    as_good = int((means >= expectancy(observed) - 1e-12).sum()) if len(trades) else n_permutations
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    share_long = expectancy((side > 0).astype(float))
    return ZeroSkill(
        trades=len(trades),
        observed_win_rate=expectancy((observed > 0).astype(float)),
        observed_expectancy_bps=1e4 * expectancy(observed),
        win_rate=share_long * expectancy((long > 0).astype(float)) + (1 - share_long) * expectancy((short > 0).astype(float)),
        win_rate_low=float(low),
        win_rate_high=float(high),
        expectancy_bps=1e4 * (share_long * expectancy(long) + (1 - share_long) * expectancy(short)),
        p_value=(1 + as_good) / (1 + n_permutations),
    )


def _both_outcomes(
    trades: pd.DataFrame, candles: pd.DataFrame, decisions: pd.DataFrame, execution: ExecutionModel, data: CostData
) -> tuple[Floats, Floats]:
    """Net return of every trade had it been long and had it been short, (m,) each."""
    from crp_pipeline.backtest.engine import outcome_of_side

    bars, orders = bars_of(candles), orders_of(decisions, candles)
    costs, rules = costs_of(execution, candles, bars, data), rules_of(replace(execution, close_at_end=True))
    entries = candles.index.get_indexer(pd.DatetimeIndex(trades["entry_time"])).astype(np.int64)
    stops, targets = orders.stop[entries - 1], orders.target[entries - 1]
    long, short = (
        outcome_of_side(bars, entries, np.full(len(entries), side), stops, targets, costs, rules)[2] for side in (1, -1)
    )
    return long, short


def _shuffled(is_long: Bools, long: Floats, short: Floats, n: int, seed: int) -> tuple[Floats, Floats]:
    """Mean net return and win rate of each shuffle, (n,) each."""
    drawn = [
        (np.where(sides, long, short).mean(axis=1), np.where(sides, long > 0, short > 0).mean(axis=1))
        for sides in _permutations(is_long, n, np.random.default_rng(seed))
    ]
    means, rates = zip(*drawn, strict=True)
    return np.concatenate(means), np.concatenate(rates)


def _permutations(is_long: Bools, n: int, rng: np.random.Generator) -> Iterator[Bools]:
    """`n` shuffles of the sides in chunks of (rows, m) that fit into memory."""
    step = max(1, _CELLS_AT_ONCE // len(is_long))
    for done in range(0, n, step):
        yield rng.permuted(np.tile(is_long, (min(step, n - done), 1)), axis=1)
