"""The walk over the bars, compiled.

Market rules, and where they are pessimistic:

- A decision at the close of bar i is filled at the open of bar i + 1, worsened by half the spread and slippage; the fee
  is on the notional of each fill. Every exit pays the same again, stops and targets included.
- Stop and target are live from the entry bar on and relative to the open at entry, before costs. Touched is filled.
- Both inside one bar: the stop came first. A bar that opens beyond the stop fills at the open; beyond the target it
  fills at the target, unless gaps pay.
- A position is closed at the open `horizon` bars after entry, before anything else happens at that open.
- One position at a time: decisions while in one are ignored. That a time exit comes is known at the close before it, so
  the decision at that close may enter at the very open at which the old position leaves. A stop or target is a
  surprise: the first decision that counts after it is the one at the close of the bar that it happened in.
- A loss ends at the account. A position is closed at the price that leaves nothing, its fee paid, in the bar that
  reaches that price; a gap, or the costs of another exit, fill there too. Equity is then 0 and nothing is opened any
  more. An exchange liquidates earlier, at its maintenance margin; what a gap loses beyond the account is its loss.
- Nothing is bought or sold on a repaired bar (it never traded), nor on a decision taken at one. Nothing is held from
  one segment into the next: a position is closed at the close of the last bar of its segment that traded, in the last
  segment as well unless told not to.

Numba keeps compiled code per source file and does not see changes in another one: all compiled functions live here.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

from crp_pipeline.backtest.execution import Bars, Costs, Orders, Rules, Stake
from crp_pipeline.contracts import Floats, Ints

REASONS = ("stop", "target", "time", "gap", "end", "ruin")
STOP, TARGET, TIME, GAP, END, RUIN = range(6)

FILLS = np.dtype(
    [
        ("entry_bar", np.int64),
        ("exit_bar", np.int64),
        ("side", np.int64),
        ("reason", np.int64),
        ("units", np.float64),
        ("entry_open", np.float64),
        ("entry_price", np.float64),
        ("exit_quote", np.float64),
        ("exit_price", np.float64),
    ]
)
"""One closed trade: `entry_open` and `exit_quote` are the prices before costs, `entry_price` and `exit_price` after."""

_F = TypeVar("_F", bound=Callable[..., Any])


def _compiled(function: _F) -> _F:
    return cast("_F", njit(cache=True)(function))


@_compiled
def fill_price(price: float, side: int, bar: int, costs: Costs) -> float:
    """Price that a buy (`side` 1) pays or a sell (-1) gets for a quote of `price`, spread and slippage included."""
    adverse = costs.adverse
    if costs.noise.shape[0] > 0:
        adverse += costs.noise[bar, 0 if side > 0 else 1]
    return price * (1 + side * adverse)


@_compiled
def position_units(
    equity: float, price: float, paid: float, side: int, stop_distance: float, costs: Costs, stake: Stake
) -> float:
    """Units that lose `stake.risk` of equity when the stop fills at its price, costs included; leverage caps them.

    The costs at risk are those to be expected, for the draws are not known when the order is sized; the cap holds for
    the price that is `paid`.
    """
    cap = stake.leverage * equity / paid
    if np.isnan(stop_distance):
        return cap
    adverse = costs.adverse + costs.expected_noise
    entry = price * (1 + side * adverse)
    stop = price * (1 - side * stop_distance) * (1 - side * adverse)
    loss_per_unit = side * (entry - stop) + costs.fee * (entry + stop)
    return min(cap, stake.risk * equity / loss_per_unit)


@_compiled
def settled(cash: float, price: float, side: int, units: float, fee: float) -> float:
    """Cash after a purchase (`side` 1) or a sale (-1), the fee paid."""
    return cash - price * (units * (fee + side))


@_compiled
def ruin_price(cash: float, side: int, units: float, fee: float) -> float:
    """Price at which closing a position leaves no cash; not positive, hence out of reach, where the cash never ends."""
    return cash / (units * (fee - side))


@_compiled
def find_exit(
    bars: Bars, entry: int, side: int, stop_distance: float, target_distance: float, ruin: float, rules: Rules
) -> tuple[int, float, int]:
    """Bar, quote and reason of the exit of a position opened at the open of bar `entry`.

    `ruin` is a stop of last resort, NaN for a position without an account.
    """
    stop = bars.open[entry] * (1 - side * stop_distance)
    if np.isnan(stop) or side * (ruin - stop) > 0:
        stop = ruin
    target = bars.open[entry] * (1 + side * target_distance)
    worst, best = (bars.low, bars.high) if side > 0 else (bars.high, bars.low)
    bar = entry
    while True:
        if not bars.repaired[bar]:
            opened = bars.open[bar]
            if bar - entry >= rules.horizon:
                return bar, opened, TIME
            # a missing distance makes its price NaN, which no comparison meets
            if side * (opened - stop) <= 0:
                return bar, opened, STOP
            if side * (opened - target) >= 0:
                return bar, opened if rules.gap_pays else target, TARGET
            if side * (worst[bar] - stop) <= 0:
                return bar, stop, STOP
            if side * (best[bar] - target) >= 0:
                return bar, target, TARGET
        if bars.last[bar]:
            return bar, bars.close[bar], END if bar == bars.end else GAP
        bar += 1


@_compiled
def _next_entry(bars: Bars, signal: Ints, bar: int) -> int:
    """First bar from `bar` on at whose open a position may be opened; the number of bars when there is none."""
    n = len(signal)
    for entry in range(max(bar, 1), n):
        decided = entry - 1
        if signal[decided] != 0 and not (bars.repaired[decided] or bars.repaired[entry] or bars.last[decided]):
            return entry
    return n


@_compiled
def _mark(equity: Floats, close: Floats, first: int, end: int, cash: float, position: float) -> None:
    for bar in range(first, end):
        # ruin closes a position at any close that traded, but a repaired one may be anything
        equity[bar] = max(0.0, cash + position * close[bar])


@_compiled
def _trade(bars: Bars, orders: Orders, costs: Costs, rules: Rules, stake: Stake, bar: int, cash: float) -> Any:
    """One position from its entry at the open of `bar`, as the fields of `FILLS`."""
    side, stop_distance = orders.signal[bar - 1], orders.stop[bar - 1]
    entry_open = bars.open[bar]
    entry_price = fill_price(entry_open, side, bar, costs)
    units = position_units(cash, entry_open, entry_price, side, stop_distance, costs, stake)
    ruin = ruin_price(settled(cash, entry_price, side, units, costs.fee), side, units, costs.fee)
    leave, quote, reason = find_exit(bars, bar, side, stop_distance, orders.target[bar - 1], ruin, rules)
    exit_price = fill_price(quote, -side, leave, costs)
    if side * (exit_price - ruin) <= 0 and (reason != END or rules.close_at_end):
        quote, exit_price, reason = ruin, ruin, RUIN
    return bar, leave, side, reason, units, entry_open, entry_price, quote, exit_price


@_compiled
def _log(fills: Any, place: int, trade: Any) -> None:
    fill = fills[place]
    fill.entry_bar, fill.exit_bar, fill.side, fill.reason, fill.units = trade[:5]
    fill.entry_open, fill.entry_price, fill.exit_quote, fill.exit_price = trade[5:]


@_compiled
def simulate(bars: Bars, orders: Orders, costs: Costs, rules: Rules, stake: Stake) -> tuple[Any, Floats]:
    """Walk all bars: closed trades, a record array of `FILLS`, and equity at each close, (n,).

    Equity is cash plus the position at the close, never below 0. At 0 nothing is opened any more. A position that is
    still open at the end and may stay so is in the equity, not among the trades.
    """
    n = len(bars.close)
    equity = np.empty(n)
    fills = np.empty(np.count_nonzero(orders.signal), FILLS)
    cash, closed, bar = stake.equity, 0, 0
    while bar < n:
        entry = _next_entry(bars, orders.signal, bar) if cash > 0 else n
        equity[bar:entry] = cash
        bar = entry
        if bar == n:
            break
        trade = _trade(bars, orders, costs, rules, stake, bar, cash)
        _, leave, side, reason, units, _, entry_price, _, exit_price = trade
        position = side * units
        cash = settled(cash, entry_price, side, units, costs.fee)
        if reason == END and not rules.close_at_end:
            _mark(equity, bars.close, bar, n, cash, position)
            break
        _mark(equity, bars.close, bar, leave, cash, position)
        cash = 0.0 if reason == RUIN else settled(cash, exit_price, -side, units, costs.fee)
        _log(fills, closed, trade)
        closed += 1
        bar = leave
        if reason != TIME:  # the bar is spent; at a time exit its open is still to be traded
            equity[leave] = cash
            bar += 1
    return fills[:closed], equity


@_compiled
def outcome_of_side(
    bars: Bars, entries: Ints, sides: Ints, stops: Floats, targets: Floats, costs: Costs, rules: Rules
) -> tuple[Ints, Floats, Floats]:
    """Exit bar, exit price and net return on entry notional of positions opened at the opens of `entries`, (m,) each.

    Every position stands alone: none keeps another from being opened, none ruins an account, and one that reaches the
    end is closed there.
    """
    m = len(entries)
    leaves, exits, returns = np.empty(m, np.int64), np.empty(m), np.empty(m)
    for k in range(m):
        entry, side = entries[k], sides[k]
        leave, quote, _ = find_exit(bars, entry, side, stops[k], targets[k], np.nan, rules)
        paid = fill_price(bars.open[entry], side, entry, costs)
        got = fill_price(quote, -side, leave, costs)
        leaves[k], exits[k] = leave, got
        returns[k] = (side * (got - paid) - costs.fee * (got + paid)) / paid
    return leaves, exits, returns
