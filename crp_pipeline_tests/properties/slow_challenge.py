"""A challenge lived bar by bar by its rules, as an oracle: no arrays, its own calendar from zoneinfo."""

from datetime import timedelta
from zoneinfo import ZoneInfo

ROUNDING = 1e-9


class SlowChallenge:
    """One account after the other, each a diary of bars, exits and midnights."""

    def __init__(self, equity, worst_equity, trades, rules, *, initial):
        self.times = [time.to_pydatetime() for time in equity.index]
        self.length = min((b - a for a, b in zip(self.times, self.times[1:], strict=False)), default=timedelta(0))
        self.equity, self.worst = list(equity), list(worst_equity)
        self.trades = [
            {"entry": self.bar(row.entry_time), "exit": self.bar(row.exit_time), "pnl": row.pnl} for row in trades.itertuples()
        ]
        self.rules, self.zone, self.balance, self.step = rules, ZoneInfo(rules.timezone), initial, 0
        self.worst_daily = self.worst_total = 0.0
        self.all_days = 0
        self.open_account()

    def bar(self, time):
        return self.times.index(time.to_pydatetime())

    def open_account(self):
        self.base = self.at_midnight = self.balance
        self.days = set()

    def live(self):
        for now, opened in enumerate(self.times):
            first, last = opened.astimezone(self.zone).date(), self.last_day(opened)
            leaving = [trade for trade in self.trades if trade["exit"] == now]
            entering = [trade for trade in self.trades if trade["entry"] == now]
            at_once = [trade for trade in leaving if trade["entry"] < now and any(it is not trade for it in entering)]
            within = [trade for trade in leaving if trade not in at_once]
            before, after = self.balance, self.balance + sum(trade["pnl"] for trade in leaving)
            limits = self.midnights(now, first, last, before, after)
            for trade in at_once:
                if self.leave(trade, now):
                    return self
                if self.fresh:
                    limits = [self.base, max(self.base, after)] if first != last else [self.base]
                    self.at_midnight = limits[-1]
            self.days |= {first} if entering else set()
            if self.breaks(now, max(limits)):
                return self
            for trade in within:
                if self.leave(trade, now):
                    return self
        return self.end("open", len(self.times) - 1)

    def last_day(self, opened):
        return (opened + self.length - timedelta(microseconds=1) * bool(self.length)).astimezone(self.zone).date()

    def midnights(self, now, first, last, before, after):
        """Balances that the limits of this bar's days are taken from."""
        fresh_account = now == 0 or self.fresh
        if not fresh_account and first != self.last_day(self.times[now - 1]):
            self.at_midnight = before
        limits = [self.at_midnight]
        if first != last:
            self.at_midnight = max(before, after)
            limits.append(self.at_midnight)
        self.fresh = False
        return limits

    def breaks(self, now, reference):
        worst = min(self.worst[now], self.equity[now])
        daily, total = (reference - worst) / self.base, (self.base - worst) / self.base
        self.worst_daily, self.worst_total = max(self.worst_daily, daily), max(self.worst_total, total)
        if daily >= self.rules.daily_loss - ROUNDING:
            self.rule = "daily_loss"
        elif total >= self.rules.total_loss - ROUNDING:
            self.rule = "total_loss"
        else:
            return False
        self.end("failed", now)
        return True

    def leave(self, trade, now):
        """Whether this exit ends the challenge."""
        self.balance += trade["pnl"]
        grown = self.balance / self.base - 1 >= self.rules.profit_targets[self.step] - ROUNDING
        if not (grown and len(self.days) >= self.rules.min_trading_days):
            return False
        self.all_days += len(self.days)
        self.step += 1
        if self.step == len(self.rules.profit_targets):
            self.step -= 1
            self.days = set()
            self.end("passed", now)
            return True
        self.open_account()
        self.fresh = True
        return False

    fresh = False
    rule = ""

    def end(self, outcome, now):
        self.outcome, self.ended = outcome, self.times[now]
        self.trading_days = self.all_days + len(self.days)
        first, last = self.times[0].astimezone(self.zone).date(), self.last_day(self.times[now])
        self.calendar_days = (last - first).days + 1
        return self
