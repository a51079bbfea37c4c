"""A backtest that nobody would wait for: the market rules one bar at a time, as an oracle for the compiled engine."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crp_pipeline.backtest import delay_draws, slippage_draws

FILLS = ["entry_time", "exit_time", "side", "entry_price", "exit_price", "units", "exit_reason"]


@dataclass(frozen=True)
class Market:
    """Candles and decisions that fit to each other."""

    candles: pd.DataFrame
    decisions: pd.DataFrame
    funding: pd.Series | None = None
    finer: pd.DataFrame | None = None


class SlowBroker:
    """The market rules as a diary: every bar is asked, in this order, what happens at its open, within it and at its close."""

    def __init__(self, market, execution, sizing, *, target_first=False):
        self.market, self.target_first = market, target_first
        self.bars = market.candles.reset_index().to_dict("records")
        self.orders = market.decisions.to_dict("records")
        self.execution, self.sizing = execution, sizing
        self.noise, self.delays = slippage_draws(len(self.bars), execution), delay_draws(len(self.bars), execution)
        times = market.candles.index
        self.length = min(np.diff(times)) if len(times) > 1 else pd.Timedelta("1h")
        self.rates = self.stamps()
        self.worst, self.paid, self.delay_costs, self.ambiguous = [], [], [], 0
        self.last_traded = {bar["segment"]: now for now, bar in enumerate(self.bars) if not bar["is_repaired"]}
        self.cash, self.held, self.equity, self.diary = sizing.initial_equity, None, [], []

    def live(self):
        for now in range(len(self.bars)):
            self.low = [self.cash if self.held is None else np.inf]
            if self.held is not None:
                self.fund(now, [at for at in self.rates if at == self.bars[now]["open_time"]])
            was_held = self.held is not None
            time_is_up = was_held and self.held["horizon"] is not None and now - self.held["bar"] >= self.held["horizon"]
            if not self.bars[now]["is_repaired"]:
                if was_held:
                    self.at_the_open(now, time_is_up)
                # at the last close only somebody who was out, or knew that he would be, could decide
                if self.held is None and (not was_held or time_is_up):
                    self.perhaps_enter(now)
                if self.held is not None:
                    self.within(now)
            self.at_the_close(now)
        return self

    def stamps(self):
        """Rate by stamp."""
        times = self.market.candles.index
        if self.market.funding is not None:
            return {at: rate * self.execution.cost_factor for at, rate in self.market.funding.items()}
        days = pd.date_range(times[0].floor("D"), times[-1] + self.length, freq="h")
        return {
            at: self.execution.funding_bps / 1e4 for at in days if at.hour in (0, 8, 16) and self.execution.funding_bps != 0
        }

    def within_stamps(self, now):
        start = self.bars[now]["open_time"]
        return [at for at in self.rates if start < at < start + self.length]

    def owes(self, now, at):
        """What the position owes at a stamp in this bar."""
        bar = self.bars[now]
        price = bar["open"] + (at - bar["open_time"]) / self.length * (bar["close"] - bar["open"])
        return self.held["side"] * self.held["units"] * price * self.rates[at]

    def fund(self, now, stamps, *, no_gifts=False):
        for at in stamps:
            owed = self.owes(now, at)
            if owed > 0 or not no_gifts:
                self.cash -= owed
                self.held["funding"] += owed
        self.held["ruin"] = self.ruin(self.held["side"], self.held["units"])

    def at_the_open(self, now, time_is_up):
        price, held = self.bars[now]["open"], self.held
        if time_is_up:
            self.leave(now, price, "time")
        elif beyond(price, held["stop"], -held["side"]) or beyond(price, held["ruin"], -held["side"]):
            self.leave(now, price, "stop")
        elif beyond(price, held["target"], held["side"]):
            self.leave(now, price if self.execution.gap_through_target == "open" else held["target"], "target")

    def within(self, now):
        bar, held = self.bars[now], self.held
        against, favour = (bar["low"], bar["high"]) if held["side"] == 1 else (bar["high"], bar["low"])
        touched = [level for level in (held["stop"], held["ruin"]) if beyond(against, level, -held["side"])]
        reached = beyond(favour, held["target"], held["side"])
        unordered = reached and not any(beyond(bar["open"], level, -held["side"]) for level in touched)
        self.ambiguous += bool(touched) and unordered
        if unordered and self.target_first:
            self.leave(now, held["target"], "target")
        elif touched:
            self.leave(now, max(touched) if held["side"] == 1 else min(touched), "stop")
        elif reached:
            self.leave(now, held["target"], "target")

    def at_the_close(self, now):
        close, segment = self.bars[now]["close"], self.bars[now]["segment"]
        if self.held is not None:
            self.low.append(self.worst_while_held(now))
            self.fund(now, self.within_stamps(now))
        if self.held is not None and now == self.last_traded[segment]:
            if segment != self.bars[-1]["segment"]:
                self.leave(now, close, "gap")
            elif self.execution.close_at_end:
                self.leave(now, close, "end")
        worth = 0 if self.held is None else self.held["side"] * self.held["units"] * close
        self.equity.append(max(0, self.cash + worth))
        self.worst.append(max(0, min([*self.low, self.cash + worth])))

    def worst_while_held(self, now):
        held, bar = self.held, self.bars[now]
        debts = sum(max(self.owes(now, at), 0) for at in self.within_stamps(now))
        return self.cash - debts + held["side"] * held["units"] * (bar["low"] if held["side"] == 1 else bar["high"])

    def perhaps_enter(self, now):
        before, order = self.bars[now - 1], self.orders[now - 1]
        if now == 0 or before["is_repaired"] or before["segment"] != self.bars[now]["segment"]:
            return
        if order["signal"] == 0 or self.cash <= 0:
            return
        side, quote = order["signal"], self.bars[now]["open"]
        stop = quote * (1 - side * order["stop_distance"])
        late = self.late(now)
        entered = max(quote, late) if side == 1 else min(quote, late)
        price = self.filled(now, entered, side)
        units = min(self.sizing.max_leverage * self.cash / price, self.affordable(now, side, quote, stop))
        if self.execution.max_participation is not None:
            units = min(units, self.execution.max_participation * before["volume"])
        if self.sizing.step_size:
            units = int(units / self.sizing.step_size + 1e-9) * self.sizing.step_size
        if units == 0 or units * quote < self.sizing.min_notional:
            return
        self.cash -= side * units * price + units * price * self.execution.fee_bps / 1e4
        target = quote * (1 + side * order["target_distance"])
        self.held = {"bar": now, "side": side, "units": units, "price": price, "stop": stop, "target": target,
                     "horizon": self.execution.horizon, "ruin": self.ruin(side, units), "funding": 0,
                     "delay": units * abs(entered - quote)}  # fmt: skip

    def late(self, now):
        """Price after the delay: that of the first finer bar, else one on the way to the close."""
        bar, execution = self.bars[now], self.execution
        if not (execution.latency_ms or execution.network_ms):
            return bar["open"]
        filled_at = bar["open_time"] + pd.Timedelta(int(self.delays[now] * 1e6), unit="ns")
        if self.market.finer is not None:
            later = self.market.finer[filled_at : bar["open_time"] + self.length - pd.Timedelta("1ns")]
            if len(later):
                return later["open"].iloc[0]
        share = min((filled_at - bar["open_time"]) / self.length, 1)
        return bar["open"] + share * (bar["close"] - bar["open"])

    def by_volatility(self, now):
        """Slippage from the closes before this bar, those of its segment where there are enough."""
        share, window = self.execution.slippage_volatility_share, self.execution.slippage_volatility_window
        for last in range(now - 1, 0, -1):
            moves = [
                np.log(self.bars[bar]["close"] / self.bars[bar - 1]["close"])
                for bar in range(max(last - window + 1, 1), last + 1)
                if self.bars[bar]["segment"] == self.bars[bar - 1]["segment"]
            ]
            return share * np.std(moves, ddof=1) if len(moves) > 1 else 0
        return 0

    def affordable(self, now, side, quote, stop):
        drawn = self.execution.slippage_noise_bps + self.execution.sample_mean_bps
        planned = self.execution.spread_bps / 2 + self.execution.slippage_bps + drawn + 1e4 * self.by_volatility(now)
        entry, leave = quote * (1 + side * planned / 1e4), stop * (1 - side * planned / 1e4)
        if np.isnan(stop):
            return np.inf
        loss = side * (entry - leave) + (entry + leave) * self.execution.fee_bps / 1e4
        return self.sizing.risk_per_trade * self.cash / loss

    def ruin(self, side, units):
        """Where the line through what is left of the account at a price of 0 and of 1 crosses zero."""
        at_zero, at_one = (self.left(price, side, units) for price in (0, 1))
        return at_zero / (at_zero - at_one)

    def left(self, price, side, units, *, maker=False):
        fee = self.execution.fee_bps if not maker or self.execution.maker_fee_bps is None else self.execution.maker_fee_bps
        return self.cash + side * units * price - units * price * fee / 1e4

    def filled(self, now, quote, direction):
        worse = (self.execution.spread_bps / 2 + self.execution.slippage_bps) / 1e4 + self.by_volatility(now)
        if len(self.noise):
            worse += self.noise[now][0 if direction == 1 else 1]
        return quote * (1 + direction * worse)

    def leave(self, now, quote, reason):
        held = self.held
        at_the_open = reason == "target" and beyond(self.bars[now]["open"], held["target"], held["side"])
        if reason == "target" and not at_the_open:
            self.low.append(self.worst_while_held(now))
        if reason in ("stop", "target"):
            self.fund(now, self.within_stamps(now), no_gifts=True)
        self.held = None
        price = self.filled(now, quote, -held["side"])
        left = self.left(price, held["side"], held["units"], maker=reason == "target")
        if left <= 1e-9 * self.sizing.initial_equity:
            price, reason, left = held["ruin"], "ruin", 0
        self.cash = left
        self.low.append(left)
        times = self.bars[held["bar"]]["open_time"], self.bars[now]["open_time"]
        self.diary.append((*times, held["side"], held["price"], price, held["units"], reason))
        self.paid.append(held["funding"])
        self.delay_costs.append(held["delay"])


def beyond(price, level, direction):
    """Whether `price` has reached `level` in this direction; a missing level is never reached."""
    return price >= level if direction == 1 else price <= level
