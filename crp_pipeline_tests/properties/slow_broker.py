"""A backtest that nobody would wait for: the market rules one bar at a time, as an oracle for the compiled engine."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crp_pipeline.backtest import slippage_draws

FILLS = ["entry_time", "exit_time", "side", "entry_price", "exit_price", "units", "exit_reason"]


@dataclass(frozen=True)
class Market:
    """Candles and decisions that fit to each other."""

    candles: pd.DataFrame
    decisions: pd.DataFrame


class SlowBroker:
    """The market rules as a diary: every bar is asked, in this order, what happens at its open, within it and at its close."""

    def __init__(self, market, execution, sizing):
        self.bars = market.candles.reset_index().to_dict("records")
        self.orders = market.decisions.to_dict("records")
        self.execution, self.sizing = execution, sizing
        self.noise = slippage_draws(len(self.bars), execution)
        self.last_traded = {bar["segment"]: now for now, bar in enumerate(self.bars) if not bar["is_repaired"]}
        self.cash, self.held, self.equity, self.diary = sizing.initial_equity, None, [], []

    def live(self):
        for now in range(len(self.bars)):
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
        if touched:
            self.leave(now, max(touched) if held["side"] == 1 else min(touched), "stop")
        elif beyond(favour, held["target"], held["side"]):
            self.leave(now, held["target"], "target")

    def at_the_close(self, now):
        close, segment = self.bars[now]["close"], self.bars[now]["segment"]
        if self.held is not None and now == self.last_traded[segment]:
            if segment != self.bars[-1]["segment"]:
                self.leave(now, close, "gap")
            elif self.execution.close_at_end:
                self.leave(now, close, "end")
        worth = 0 if self.held is None else self.held["side"] * self.held["units"] * close
        self.equity.append(self.cash + worth)

    def perhaps_enter(self, now):
        before, order = self.bars[now - 1], self.orders[now - 1]
        if now == 0 or before["is_repaired"] or before["segment"] != self.bars[now]["segment"]:
            return
        if order["signal"] == 0 or self.cash <= 0:
            return
        side, quote = order["signal"], self.bars[now]["open"]
        stop = quote * (1 - side * order["stop_distance"])
        price = self.filled(now, quote, side)
        units = min(self.sizing.max_leverage * self.cash / price, self.affordable(side, quote, stop))
        self.cash -= side * units * price + units * price * self.execution.fee_bps / 1e4
        target = quote * (1 + side * order["target_distance"])
        self.held = {"bar": now, "side": side, "units": units, "price": price, "stop": stop, "target": target,
                     "horizon": self.execution.horizon, "ruin": self.ruin(side, units)}  # fmt: skip

    def affordable(self, side, quote, stop):
        planned = self.execution.cost_per_side_bps - self.execution.fee_bps
        entry, leave = quote * (1 + side * planned / 1e4), stop * (1 - side * planned / 1e4)
        if np.isnan(stop):
            return np.inf
        loss = side * (entry - leave) + (entry + leave) * self.execution.fee_bps / 1e4
        return self.sizing.risk_per_trade * self.cash / loss

    def ruin(self, side, units):
        """Where the line through what is left of the account at a price of 0 and of 1 crosses zero."""
        at_zero, at_one = (self.left(price, side, units) for price in (0, 1))
        return at_zero / (at_zero - at_one)

    def left(self, price, side, units):
        return self.cash + side * units * price - units * price * self.execution.fee_bps / 1e4

    def filled(self, now, quote, direction):
        worse = (self.execution.spread_bps / 2 + self.execution.slippage_bps) / 1e4
        if len(self.noise):
            worse += self.noise[now][0 if direction == 1 else 1]
        return quote * (1 + direction * worse)

    def leave(self, now, quote, reason):
        held, self.held = self.held, None
        price = self.filled(now, quote, -held["side"])
        if beyond(price, held["ruin"], -held["side"]):
            price, reason = held["ruin"], "ruin"
        self.cash = 0 if reason == "ruin" else self.left(price, held["side"], held["units"])
        times = self.bars[held["bar"]]["open_time"], self.bars[now]["open_time"]
        self.diary.append((*times, held["side"], held["price"], price, held["units"], reason))


def beyond(price, level, direction):
    """Whether `price` has reached `level` in this direction; a missing level is never reached."""
    return price >= level if direction == 1 else price <= level
