"""The limits of a prop firm on a backtest: did it pass the challenge, and how often would it.

The rules are FTMO's (academy.ftmo.com, "Maximum Daily Loss"), the numbers are settings (`PropFirmRules`):

- Equity, floating results and costs included, must stay above the balance of the last midnight minus the daily limit
  and above the initial balance minus the total limit, at each bar's worst price. Both limits are shares of the initial
  balance. The balance counts closed trades only, so that a floating loss carried over midnight is not forgiven.
- FTMO calls it a breach when equity drops below a limit. Here equity that reaches it, to within rounding, has broken it.
- A step is passed by the first exit after which the balance is at its target and positions were opened on enough days.
  The next step is a fresh account of the initial balance, to which positions are scaled: sizes are fractions of equity.
- Within a bar the worst price comes first, unless the next position opens at that bar: then the exit was at its open.

`account` says which bar belongs to which day.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crp_pipeline.backtest.account import AccountDays, AccountPath, account_days, account_path, midnight_balance
from crp_pipeline.contracts import Bools, Floats, Ints
from crp_pipeline.metrics import wilson_interval
from crp_pipeline.settings import PropFirmRules

QUANTILES = (0.1, 0.5, 0.9)
"""Of the days to pass and to fail."""

_ROUNDING = 1e-9
"""A share that misses a limit or a target by no more has reached it."""
_NEVER = np.iinfo(np.int64).max


class ChallengeOutcome(StrEnum):
    """How a challenge ends; open when its path ends first."""

    OPEN = "open"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True)
class Challenge:
    """A challenge on one path. Losses are shares of the initial balance, 0 where nothing was lost."""

    outcome: ChallengeOutcome
    step: int
    """The step that it ended in or is in, from 1."""
    rule: str
    """`daily_loss` or `total_loss` where that limit was broken, else empty; `daily_loss` where one bar breaks both."""
    reason: str
    ended: pd.Timestamp
    """Open time of the bar that decided, or of the last one."""
    days: int
    """Calendar days in the firm's time zone, the first and the last included."""
    trading_days: int
    """Days on which positions were opened that were closed on the path, summed over the steps."""
    worst_daily_loss: float
    worst_total_loss: float


@dataclass(frozen=True)
class ChallengeOdds:
    """How challenges end on resampled days. Days to pass and to fail are the `QUANTILES`, NaN where none does."""

    pass_probability: float
    pass_probability_low: float
    pass_probability_high: float
    effective_n: float
    """Challenges that fit into the history one after the other; the interval is theirs."""
    failed_daily_loss: float
    """Share of the paths that break the daily limit; a day that breaks both counts here."""
    failed_total_loss: float
    undecided: float
    days_to_pass: tuple[float, float, float]
    days_to_fail: tuple[float, float, float]


def challenge(
    equity: "pd.Series[float]", worst_equity: "pd.Series[float]", trades: pd.DataFrame, rules: PropFirmRules, *, initial: float
) -> Challenge:
    """Walk the path once, step after step, until a limit breaks, the last target is reached or the path ends.

    `equity` at each bar's close and `worst_equity` at its worst price are indexed by `open_time`; `trades` has
    `entry_time`, `exit_time` and `pnl` of closed trades, oldest first, one at a time; `initial` is the balance before
    the first bar. A position that is still open at the end is in the equity, not among the trades: it can break a
    limit and reaches no target. Raises `DataContractError` where these contradict each other.
    """
    path = account_path(equity, worst_equity, trades, initial=initial, timezone=rules.timezone)
    walked = [_walk(path, rules, _Start(bar=0, trade=0, base=initial), rules.profit_targets[0])]
    for target in rules.profit_targets[1:]:
        if walked[-1].outcome is not ChallengeOutcome.PASSED:
            break
        walked.append(_walk(path, rules, walked[-1].onward, target))
    last = walked[-1]
    return Challenge(
        outcome=last.outcome,
        step=len(walked),
        rule=last.rule,
        reason=f"step {len(walked)} of {len(rules.profit_targets)}: {last.reason}",
        ended=path.time[last.bar],
        days=int(path.closes[last.bar] - path.opens[0]) + 1,
        trading_days=sum(step.trading_days for step in walked),
        worst_daily_loss=max(step.worst_daily_loss for step in walked),
        worst_total_loss=max(step.worst_total_loss for step in walked),
    )


def challenge_odds(
    equity: "pd.Series[float]",
    worst_equity: "pd.Series[float]",
    trades: pd.DataFrame,
    rules: PropFirmRules,
    *,
    initial: float,
    block_days: float,
    n_paths: int,
    max_days: int,
    seed: int,
) -> ChallengeOdds:
    """How challenges end over days drawn in blocks with replacement (stationary bootstrap, Politis and Romano 1994).

    Arguments as in `challenge`. A day is its return of balance, its deepest fall of equity below the balance of the
    midnight before, and whether positions were opened and closed. Targets are looked at after a day on which a position
    was closed. Blocks have `block_days` on average, which should exceed the time that positions are held: a seam forgets
    what floats. A path that has not ended after `max_days` is undecided.

    The interval is Wilson's at 95 % for as many challenges as fit into the history one after the other: more paths make the
    probability smoother, only more history makes it surer. Same seed, same odds.
    """
    if not (block_days >= 1 and n_paths >= 1 and max_days >= 1):
        raise ValueError(f"block_days = {block_days}, n_paths = {n_paths}, max_days = {max_days}: each must be at least 1")
    path = account_path(equity, worst_equity, trades, initial=initial, timezone=rules.timezone)
    days = account_days(path)
    rows = _stationary_rows(len(days.gain), block_days, (max_days, n_paths), np.random.default_rng(seed))
    ended, took = _live(days, rows, rules)
    share = [float((ended == end).mean()) for end in range(4)]
    effective_n = min(float(n_paths), len(days.gain) / float(took.mean()))
    low, high = wilson_interval(share[_PASSED] * effective_n, effective_n)
    return ChallengeOdds(
        pass_probability=share[_PASSED],
        pass_probability_low=low,
        pass_probability_high=high,
        effective_n=effective_n,
        failed_daily_loss=share[_DAILY],
        failed_total_loss=share[_TOTAL],
        undecided=share[_OPEN],
        days_to_pass=_quantiles(took[ended == _PASSED]),
        days_to_fail=_quantiles(took[(ended == _DAILY) | (ended == _TOTAL)]),
    )


def rules_evidence(
    equity: "pd.Series[float]",
    worst_equity: "pd.Series[float]",
    trades: pd.DataFrame,
    rules: PropFirmRules,
    *,
    initial: float,
    block_days: float,
    n_paths: int,
    max_days: int,
    seed: int,
) -> dict[str, float]:
    """The gate's numbers about the rules.

    - `challenge_breaches`: 1 where the historical path breaks a limit before it passes, else 0
    - `challenge_pass_probability` with `_low` and `_high`, and `challenge_days_to_pass`, their median, of `challenge_odds`
    - `worst_daily_loss`, `worst_total_loss`: shares of the initial balance on the historical path until it ends
    """
    books = (equity, worst_equity, trades, rules)
    done = challenge(*books, initial=initial)
    odds = challenge_odds(*books, initial=initial, block_days=block_days, n_paths=n_paths, max_days=max_days, seed=seed)
    return {
        "challenge_breaches": float(done.outcome is ChallengeOutcome.FAILED),
        "challenge_pass_probability": odds.pass_probability,
        "challenge_pass_probability_low": odds.pass_probability_low,
        "challenge_pass_probability_high": odds.pass_probability_high,
        "challenge_days_to_pass": odds.days_to_pass[1],
        "worst_daily_loss": done.worst_daily_loss,
        "worst_total_loss": done.worst_total_loss,
    }


class _Start(NamedTuple):
    """Where a step begins: before anything happens to bar `bar` but the exit that ended the step before."""

    bar: int
    trade: int
    base: float
    """Balance that stands for the initial one."""


class _Step(NamedTuple):
    outcome: ChallengeOutcome
    rule: str
    reason: str
    bar: int
    trading_days: int
    worst_daily_loss: float
    worst_total_loss: float
    onward: _Start


class _Losses(NamedTuple):
    """Shares of the initial balance that equity lies below each reference at each bar of a step, (bars,) each."""

    daily: Floats
    total: Floats

    def broken(self, rules: PropFirmRules) -> Bools:
        return self.daily_broken(rules) | (self.total >= rules.total_loss - _ROUNDING)

    def daily_broken(self, rules: PropFirmRules) -> Bools:
        return np.asarray(self.daily >= rules.daily_loss - _ROUNDING)


def _walk(path: AccountPath, rules: PropFirmRules, start: _Start, target: float) -> _Step:
    """One step. Moments are counted in thirds of a bar: its open, its worst price, its close."""
    exits = slice(start.trade, None)
    losses, gain = _losses(path, start), path.balance[exits] / start.base - 1
    opened = _distinct_so_far(path.opens[path.entry[exits]])
    breach = 3 * (start.bar + _first(losses.broken(rules))) + 1
    winner = _first((gain >= target - _ROUNDING) & (opened >= rules.min_trading_days))
    passing = int(_exit_moments(path)[exits][winner]) if winner < len(gain) else _NEVER
    end = min(breach, passing, 3 * len(path.time) - 1)

    entered = int((3 * path.entry[exits] < end).sum())
    days = int(opened[entered - 1]) if entered else 0
    bar, onward = end // 3, (end + 2) // 3
    outcome, rule, reason = ChallengeOutcome.OPEN, "", _open_reason(gain, days, target, rules)
    if end == passing:
        outcome, reason = ChallengeOutcome.PASSED, _passed_reason(gain[winner], days, target, rules)
    elif end == breach:
        outcome, (rule, reason) = ChallengeOutcome.FAILED, _failure(losses, bar - start.bar, rules)
    daily, total = (max(0.0, float(shares[: onward - start.bar].max(initial=0.0))) for shares in losses)
    base = float(path.balance[exits][winner]) if end == passing else start.base
    when = f"at {path.time[bar]:%Y-%m-%d %H:%M} UTC"
    return _Step(outcome, rule, f"{when} {reason}", bar, days, daily, total, _Start(onward, start.trade + winner + 1, base))


def _losses(path: AccountPath, start: _Start) -> _Losses:
    worst = path.worst[start.bar :]
    return _Losses((midnight_balance(path, start.bar, start.base) - worst) / start.base, 1 - worst / start.base)


def _exit_moments(path: AccountPath) -> Ints:
    return 3 * path.leave + np.where(path.at_open, 0, 2)


def _distinct_so_far(days: Ints) -> Ints:
    """How many different ones there are among the first of rising days, (m,)."""
    return np.cumsum(np.r_[True, np.diff(days) > 0][: len(days)])


def _first(holds: Bools) -> int:
    """Position of the first that holds, the length where none does."""
    return int(np.argmax(holds)) if holds.any() else len(holds)


def _failure(losses: _Losses, bar: int, rules: PropFirmRules) -> tuple[str, str]:
    """Which limit broke, and by how much."""
    if losses.daily_broken(rules)[bar]:
        lost = f"equity is {losses.daily[bar]:.2%} of the initial balance below the balance of the midnight before"
        return "daily_loss", f"{lost}, the limit is {rules.daily_loss:.2%}"
    return "total_loss", f"equity is {losses.total[bar]:.2%} below the initial balance, the limit is {rules.total_loss:.2%}"


def _passed_reason(gain: float, days: int, target: float, rules: PropFirmRules) -> str:
    return f"the balance is {gain:+.2%} from the initial one, the target is {target:.2%}, {_traded(days, rules)}"


def _open_reason(gain: Floats, days: int, target: float, rules: PropFirmRules) -> str:
    so_far = float(gain[-1]) if len(gain) else 0.0
    return f"the path ends, the balance {so_far:+.2%} from the initial one, the target {target:.2%}, {_traded(days, rules)}"


def _traded(days: int, rules: PropFirmRules) -> str:
    return f"after {days} trading days of {rules.min_trading_days}"


_OPEN, _PASSED, _DAILY, _TOTAL = range(4)


def _stationary_rows(n: int, block: float, shape: tuple[int, int], rng: np.random.Generator) -> Ints:
    """Day of the history at each day of each path, `shape`: with chance 1 / block any day, else the next, round the end."""
    rows = rng.integers(n, size=shape)
    goes_on = rng.random(shape) >= 1 / block
    for day in range(1, shape[0]):
        rows[day] = np.where(goes_on[day], (rows[day - 1] + 1) % n, rows[day])
    return rows


def _live(days: AccountDays, rows: Ints, rules: PropFirmRules) -> tuple[NDArray[np.int8], Ints]:
    """How each path ends, and after how many days, (paths,) each; `rows` is (days, paths)."""
    max_days, n_paths = rows.shape
    targets = np.array([*rules.profit_targets, np.inf])
    balance, step, traded = np.ones(n_paths), np.zeros(n_paths, np.int64), np.zeros(n_paths, np.int64)
    ended, took = np.full(n_paths, _OPEN, np.int8), np.full(n_paths, max_days)
    for number, row in enumerate(rows, start=1):
        lost = balance * days.drop[row]
        daily = lost >= rules.daily_loss - _ROUNDING
        total = 1 - balance + lost >= rules.total_loss - _ROUNDING
        balance = balance * (1 + days.gain[row])
        traded = traded + days.opened[row]
        reached = (balance - 1 >= targets[step] - _ROUNDING) & days.closed[row] & (traded >= rules.min_trading_days)
        step = step + reached
        balance, traded = np.where(reached, 1.0, balance), np.where(reached, 0, traded)
        now = np.select([daily, total, step == len(rules.profit_targets)], [_DAILY, _TOTAL, _PASSED], _OPEN)
        just = (ended == _OPEN) & (now != _OPEN)
        ended[just], took[just] = now[just], number
        if (ended != _OPEN).all():
            break
    return ended, took


def _quantiles(days: Ints) -> tuple[float, float, float]:
    low, middle, high = np.quantile(days, QUANTILES) if len(days) else (np.nan, np.nan, np.nan)
    return float(low), float(middle), float(high)
