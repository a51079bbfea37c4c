"""The walk over the bars, compiled.

Market rules, and where they are pessimistic:

- A decision at the close of bar i is filled at the open of bar i + 1, or at the price after its delay where that is worse,
  worsened by half the spread and slippage; the fee is on the notional of each fill. Every exit pays the same again, stops
  and targets included, but for the maker's fee of a target. Only entries are late: stop, target and time were ordered before.
- Stop and target are live from the entry bar on and relative to the open at entry, before costs. Touched is filled.
- Both inside one bar: the stop came first, unless the optimistic answer is asked for. A bar that opens beyond the stop fills
  at the open; beyond the target it fills at the target, unless gaps pay.
- A position is closed at the open `horizon` bars after entry, before anything else happens at that open.
- One position at a time: decisions while in one are ignored. That a time exit comes is known at the close before it, so
  the decision at that close may enter at the very open at which the old position leaves. A stop or target is a
  surprise: the first decision that counts after it is the one at the close of the bar that it happened in.
- Funding is owed by whoever holds over a stamp, the one at the open at which he leaves included. Of the stamps within the
  bar that a stop, target or ruin ended, he pays what he could owe and gets nothing.
- An order is rounded down to the step, is no larger than its share of the volume, and not placed below the least notional.
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

from crp_pipeline.backtest.costs import Costs
from crp_pipeline.backtest.execution import Bars, Orders, Rules, Stake
from crp_pipeline.contracts import Floats, Ints

REASONS = ("stop", "target", "time", "gap", "end", "ruin")
STOP, TARGET, TIME, GAP, END, RUIN = range(6)
NOTHING = -1

FILLS = np.dtype(
    [
        ("entry_bar", np.int64),
        ("exit_bar", np.int64),
        ("side", np.int64),
        ("reason", np.int64),
        ("units", np.float64),
        ("entry_open", np.float64),
        ("entry_quote", np.float64),
        ("entry_price", np.float64),
        ("exit_quote", np.float64),
        ("exit_price", np.float64),
        ("owed", np.float64),
        ("ambiguous", np.bool_),
    ]
)
"""One closed trade.

`entry_open` and `exit_quote` are the prices before costs, `entry_price` and `exit_price` after; `entry_quote` is the open, or
the price after the delay where that is worse. `owed` is the funding of one unit. `ambiguous`: stopped in a bar that touched the
target too, and no open told which came first.
"""

_F = TypeVar("_F", bound=Callable[..., Any])


def _compiled(function: _F) -> _F:
    """Compiled without reference counts, which cost four times the walk: such a function may not allocate an array."""
    return cast("_F", njit(cache=True, _nrt=False)(function))


@_compiled
def fill_price(price: float, side: int, bar: int, costs: Costs) -> float:
    """Price that a buy (`side` 1) pays or a sell (-1) gets for a quote of `price`, spread and slippage included."""
    adverse = costs.adverse
    if costs.scaled.shape[0] > 0:
        adverse += costs.scaled[bar]
    if costs.noise.shape[0] > 0:
        adverse += costs.noise[bar, 0 if side > 0 else 1]
    return price * (1 + side * adverse)


@_compiled
def entry_quote(bars: Bars, bar: int, side: int, costs: Costs) -> float:
    """The worse of the open and the price after the delay."""
    quote: float = bars.open[bar]
    if costs.delayed.shape[0] > 0 and side * (costs.delayed[bar] - quote) > 0:
        quote = costs.delayed[bar]
    return quote


@_compiled
def position_units(
    equity: float, price: float, paid: float, side: int, stop_distance: float, bar: int, costs: Costs, stake: Stake
) -> float:
    """Units that lose `stake.risk` of equity when the stop fills at its price, costs included; leverage caps them.

    The costs at risk are those to be expected, for draws and delay are not known when the order is sized; the cap holds for
    the price that is `paid`.
    """
    cap = stake.leverage * equity / paid
    if np.isnan(stop_distance):
        return cap
    adverse = costs.adverse + costs.expected_noise
    if costs.scaled.shape[0] > 0:
        adverse += costs.scaled[bar]
    entry = price * (1 + side * adverse)
    stop = price * (1 - side * stop_distance) * (1 - side * adverse)
    loss_per_unit = side * (entry - stop) + costs.fee * (entry + stop)
    return min(cap, stake.risk * equity / loss_per_unit)


@_compiled
def order_units(units: float, price: float, bar: int, stake: Stake) -> float:
    """Units that the exchange takes of an order to be filled in `bar`, rounded down; 0 for one that is not placed."""
    if stake.most.shape[0] > 0:
        units = min(units, stake.most[bar - 1])
    if stake.step > 0:
        # a quotient that is whole but for its last digits is whole
        units = np.floor(units / stake.step + 1e-9) * stake.step
    return units if units * price >= stake.min_notional else 0.0


@_compiled
def settled(cash: float, price: float, side: int, units: float, fee: float) -> float:
    """Cash after a purchase (`side` 1) or a sale (-1), the fee paid."""
    return cash - price * (units * (fee + side))


@_compiled
def ruin_price(cash: float, side: int, units: float, fee: float) -> float:
    """Price at which closing a position leaves no cash; not positive, hence out of reach, where the cash never ends."""
    return cash / (units * (fee - side))


@_compiled
def _nearest(stop: float, ruin: float, side: int) -> float:
    return ruin if np.isnan(stop) or side * (ruin - stop) > 0 else stop


@_compiled
def _touched(
    opened: float, worst: float, best: float, side: int, stop: float, target: float, rules: Rules
) -> tuple[int, float]:
    """Which of stop and target a bar with these prices reaches first, and the quote there."""
    # a missing distance makes its price NaN, which no comparison meets
    if side * (opened - stop) <= 0:
        return STOP, opened
    if side * (opened - target) >= 0:
        return TARGET, opened if rules.gap_pays else target
    stopped = side * (worst - stop) <= 0
    if side * (best - target) >= 0 and (rules.target_first or not stopped):
        return TARGET, target
    return (STOP, stop) if stopped else (NOTHING, opened)


@_compiled
def find_exit(
    bars: Bars, entry: int, side: int, planned_stop: float, target: float, ruin: float, costs: Costs, rules: Rules
) -> tuple[int, float, int, float]:
    """Bar, quote and reason of the exit of a position opened at the open of bar `entry`, and the funding of one unit till then.

    `ruin` is a stop of last resort, NaN for a position without an account; what is owed moves it nearer. The funding within the
    bar of the exit is not in the result.
    """
    stop, owed, charged = _nearest(planned_stop, ruin, side), 0.0, costs.funding.at_open.shape[0] > 0
    worst, best = (bars.low, bars.high) if side > 0 else (bars.high, bars.low)
    bar = entry
    while True:
        if charged and bar > entry:
            owed += side * (costs.funding.inside[bar - 1] + costs.funding.at_open[bar])
            stop = _nearest(planned_stop, ruin + owed / (side - costs.fee), side)
        if not bars.repaired[bar]:
            if bar - entry >= rules.horizon:
                return bar, bars.open[bar], TIME, owed
            reason, quote = _touched(bars.open[bar], worst[bar], best[bar], side, stop, target, rules)
            if reason != NOTHING:
                return bar, quote, reason, owed
        if bars.last[bar]:
            return bar, bars.close[bar], END if bar == bars.end else GAP, owed
        bar += 1


@_compiled
def _owed_at_exit(bar: int, side: int, reason: int, costs: Costs) -> float:
    """Funding of one unit at stamps within the bar of the exit."""
    owed = 0.0
    if costs.funding.at_open.shape[0] > 0 and reason != TIME:
        at_close = reason in (END, GAP)
        owed = side * costs.funding.inside[bar] if at_close else costs.funding.at_most[bar, 0 if side > 0 else 1]
    return owed


@_compiled
def _exit_fee(reason: int, costs: Costs) -> float:
    return costs.maker_fee if reason == TARGET else costs.fee


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
def _mark(
    equity: Floats, worst: Floats, bars: Bars, costs: Costs, first: int, end: int, side: int, units: float, cash: float
) -> float:
    """Equity at the closes, and at the worst prices, of bars in which a position is held throughout; cash after the last."""
    position, against, place = side * units, bars.low if side > 0 else bars.high, 0 if side > 0 else 1
    charged = costs.funding.at_open.shape[0] > 0
    for bar in range(first, end):
        at_most = 0.0
        if charged:
            cash -= position * costs.funding.at_open[bar] if bar > first else 0.0
            at_most = units * costs.funding.at_most[bar, place]
        low = cash - at_most + position * against[bar]
        if charged:
            cash -= position * costs.funding.inside[bar]
        # ruin closes a position at any close that traded, but a repaired one may be anything
        equity[bar] = max(0.0, cash + position * bars.close[bar])
        worst[bar] = min(equity[bar], max(0.0, low))
    return cash


@_compiled
def _order(bars: Bars, orders: Orders, costs: Costs, stake: Stake, bar: int, cash: float) -> tuple[int, float, float, float]:
    """Side, units, quote and price of an entry at the open of `bar`."""
    side, opened = orders.signal[bar - 1], bars.open[bar]
    quote = entry_quote(bars, bar, side, costs)
    price = fill_price(quote, side, bar, costs)
    units = position_units(cash, opened, price, side, orders.stop[bar - 1], bar, costs, stake)
    return side, order_units(units, opened, bar, stake), quote, price


@_compiled
def _trade(bars: Bars, orders: Orders, costs: Costs, rules: Rules, bar: int, order: Any, cash: float) -> Any:
    """One position from its entry at the open of `bar`, as the fields of `FILLS`."""
    side, units, entered, entry_price = order
    entry_open, cash = bars.open[bar], settled(cash, entry_price, side, units, costs.fee)
    stop, target = entry_open * (1 - side * orders.stop[bar - 1]), entry_open * (1 + side * orders.target[bar - 1])
    ruin = ruin_price(cash, side, units, costs.fee)
    leave, quote, reason, owed = find_exit(bars, bar, side, stop, target, ruin, costs, rules)
    best = bars.high[leave] if side > 0 else bars.low[leave]
    ambiguous = reason == STOP and quote != bars.open[leave] and side * (best - target) >= 0
    owed += _owed_at_exit(leave, side, reason, costs)
    exit_price = fill_price(quote, -side, leave, costs)
    empty = ruin_price(cash - units * owed, side, units, _exit_fee(reason, costs))
    # what is owed was added up in another order on the way
    reach = 0.0 if owed == 0 else 1e-12 * abs(empty)
    if side * (exit_price - empty) <= reach and (reason != END or rules.close_at_end):
        exit_price = ruin_price(cash - units * owed, side, units, costs.fee)
        quote, reason = exit_price, RUIN
    return bar, leave, side, reason, units, entry_open, entered, entry_price, quote, exit_price, owed, ambiguous


@_compiled
def _log(fills: Any, place: int, trade: Any) -> None:
    fill = fills[place]
    fill.entry_bar, fill.exit_bar, fill.side, fill.reason, fill.units = trade[:5]
    fill.entry_open, fill.entry_quote, fill.entry_price, fill.exit_quote, fill.exit_price = trade[5:10]
    fill.owed, fill.ambiguous = trade[10:]


@_compiled
def _worst_at_exit(bars: Bars, orders: Orders, costs: Costs, trade: Any, held: float, left: float) -> float:
    """Equity at the worst price of the bar of the exit while the position was open in it.

    `held` is the cash before that bar, `left` that after the exit.
    """
    bar, leave, side, reason, units, entry_open = trade[:6]
    if reason in (STOP, TIME, RUIN):
        return left
    target = entry_open * (1 + side * orders.target[bar - 1])
    if reason == TARGET and side * (bars.open[leave] - target) >= 0:
        return left
    if costs.funding.at_open.shape[0] > 0:
        opening = side * costs.funding.at_open[leave] if leave > bar else 0.0
        held -= units * (opening + costs.funding.at_most[leave, 0 if side > 0 else 1])
    low: float = held + side * units * (bars.low[leave] if side > 0 else bars.high[leave])
    return min(left, max(0.0, low))


def simulate(bars: Bars, orders: Orders, costs: Costs, rules: Rules, stake: Stake) -> tuple[Any, Floats, Floats]:
    """Walk all bars: closed trades, a record array of `FILLS`; equity at each close and at each bar's worst price, (n,) each.

    Equity is cash plus the position at the close, never below 0. At 0 nothing is opened any more. A position that is
    still open at the end and may stay so is in the equity, not among the trades.
    """
    n = len(bars.close)
    fills, equity, worst = np.empty(np.count_nonzero(orders.signal), FILLS), np.empty(n), np.empty(n)
    closed = _walk(bars, orders, costs, rules, stake, fills, equity, worst)
    return fills[:closed], equity, worst


@_compiled
def _walk(
    bars: Bars, orders: Orders, costs: Costs, rules: Rules, stake: Stake, fills: Any, equity: Floats, worst: Floats
) -> int:
    """Fill the three arrays; the number of closed trades."""
    n = len(bars.close)
    cash, closed, bar = stake.equity, 0, 0
    while bar < n:
        entry = _next_entry(bars, orders.signal, bar) if cash > 0 else n
        equity[bar:entry] = worst[bar:entry] = cash
        bar = entry
        if bar == n:
            break
        order = _order(bars, orders, costs, stake, bar, cash)
        if order[1] == 0:
            equity[bar] = worst[bar] = cash
            bar += 1
            continue
        trade = _trade(bars, orders, costs, rules, bar, order, cash)
        _, leave, side, reason, units, _, _, entry_price, _, exit_price, owed, _ = trade
        cash = settled(cash, entry_price, side, units, costs.fee)
        if reason == END and not rules.close_at_end:
            _mark(equity, worst, bars, costs, bar, n, side, units, cash)
            break
        held = _mark(equity, worst, bars, costs, bar, leave, side, units, cash)
        left = settled(cash - units * owed, exit_price, -side, units, _exit_fee(reason, costs))
        cash = 0.0 if reason == RUIN else left
        _log(fills, closed, trade)
        closed += 1
        bar = leave
        if reason != TIME:  # the bar is spent; at a time exit its open is still to be traded
            equity[leave], worst[leave] = cash, _worst_at_exit(bars, orders, costs, trade, held, cash)
            bar += 1
    return closed


def outcome_of_side(
    bars: Bars, entries: Ints, sides: Ints, stops: Floats, targets: Floats, costs: Costs, rules: Rules
) -> tuple[Ints, Floats, Floats]:
    """Exit bar, exit price and net return on entry notional of positions opened at the opens of `entries`, (m,) each.

    Every position stands alone: none keeps another from being opened, none ruins an account, and one that reaches the
    end is closed there.
    """
    m = len(entries)
    leaves, exits, returns = np.empty(m, np.int64), np.empty(m), np.empty(m)
    _resolve(bars, entries, sides, stops, targets, costs, rules, (leaves, exits, returns))
    return leaves, exits, returns


@_compiled
def _resolve(
    bars: Bars,
    entries: Ints,
    sides: Ints,
    stops: Floats,
    targets: Floats,
    costs: Costs,
    rules: Rules,
    outcome: tuple[Ints, Floats, Floats],
) -> None:
    leaves, exits, returns = outcome
    for k in range(len(entries)):
        entry, side, opened = entries[k], sides[k], bars.open[entries[k]]
        stop, target = opened * (1 - side * stops[k]), opened * (1 + side * targets[k])
        leave, quote, reason, owed = find_exit(bars, entry, side, stop, target, np.nan, costs, rules)
        owed += _owed_at_exit(leave, side, reason, costs)
        paid = fill_price(entry_quote(bars, entry, side, costs), side, entry, costs)
        got = fill_price(quote, -side, leave, costs)
        fees = costs.fee * (got + paid) + (_exit_fee(reason, costs) - costs.fee) * got
        leaves[k], exits[k] = leave, got
        returns[k] = (side * (got - paid) - fees - owed) / paid
