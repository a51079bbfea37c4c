"""Following the market: one desk, whose champions stay loaded, decides every coin's bar as soon as it has closed and settled.

It may run beside any night and beside the schedule `signals`: a bar that somebody has decided is not decided again. Coins are
asked one after the other, last those that were in trouble the time before. What gives no decision is asked about again, later
and later, until the next bar has closed.
"""

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from types import FrameType
from typing import TypeVar

import pandas as pd

from crp_pipeline.contracts import interval_length
from crp_pipeline.errors import CrpError
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.signals.desk import Desk, Visit
from crp_pipeline.signals.newest import Tell, newest_open, settle_s

FIRST_PAUSE_S = 2.0
"""Before a bar without a decision is asked about again; twice as long before each next time."""
LONGEST_WAIT_S = 30.0
"""Before the clock is looked at again, which may have been put right, and a new champion is loaded ahead of its first bar."""
NAP_S = 0.2
"""How soon it is noticed that the process was asked to end."""
ENDINGS = (signal.SIGINT, signal.SIGTERM)
Answer = TypeVar("Answer")
Wait = Callable[[float], bool]
"""Waits so many seconds; False when it was asked to end."""


@dataclass(frozen=True)
class Asked:
    """What came of asking about a coin the last time."""

    bar: pd.Timestamp
    said: object
    """What was told, which is not told again."""
    again: datetime | None
    """When to ask about the bar again; None where it is decided."""
    pause_s: float


class Follower:
    """Asks a desk about the bars of coins as they close.

    `coins` names those that are to be decided now, `say` hears each new decision or "no decision", `tell` what went wrong.
    """

    def __init__(
        self,
        desk: Desk,
        coins: Callable[[], Iterable[str]],
        settings: PipelineSettings,
        *,
        say: Callable[[Visit], object],
        tell: Tell,
        clock: Callable[[], datetime],
        wait: Wait,
    ) -> None:
        self._desk, self._coins, self._settings = desk, coins, settings
        self._say, self._tell, self._clock, self._wait = say, tell, clock, wait
        self._asked: dict[str, Asked] = {}

    def run(self) -> None:
        """Go on until `wait` says that it was asked to end; a decision that was begun is written down first."""
        seconds = 0.0
        while self._wait(seconds):
            seconds = self._round()

    def _round(self) -> float:
        """Decide what is to be decided now, then score what has ended; seconds until there may be something else."""
        coins = list(self._coins())
        self._asked = {coin: self._asked[coin] for coin in coins if coin in self._asked}
        visits = dict[str, Visit]()
        for coin in self._due(coins):
            visit = self._guarded(coin, self._decide)
            visits |= {coin: visit} if visit else {}
            if not self._wait(0):
                return 0
        for coin, visit in visits.items():
            if visit.candles is not None:
                self._guarded(coin, partial(self._desk.score, candles=visit.candles))
        for coin in coins:
            if not self._is_troubled(coin):
                self._guarded(coin, self._desk.warm)
        return self._seconds_left()

    def _due(self, coins: list[str]) -> list[str]:
        """Coins whose bar has settled and was not asked about yet, or is to be asked about again; troubled ones last."""
        now = self._clock()
        bar = newest_open(now, self._settings.interval)
        if now < settled_at(bar, self._settings):
            return []
        asked = {coin: it for coin in coins if (it := self._asked.get(coin)) and it.bar == bar}
        due = [coin for coin in coins if coin not in asked or ((again := asked[coin].again) and again <= now)]
        return sorted(due, key=self._is_troubled)

    def _is_troubled(self, coin: str) -> bool:
        before = self._asked.get(coin)
        return before is not None and before.again is not None

    def _decide(self, coin: str) -> Visit:
        """Ask the desk, and say what it has if that is new."""
        bar = newest_open(self._clock(), self._settings.interval)
        # whatever comes of it, the bar was asked about
        before = self._asked[coin] = self._next(coin, bar)
        visit = self._desk.decide(coin)
        made = visit.signal
        said = (made.open_time, made.is_decided, made.reason)
        if said != before.said:
            self._say(visit)
        is_done = made.is_decided and made.open_time == bar
        self._asked[coin] = replace(before, said=said, again=None if is_done else before.again)
        return visit

    def _next(self, coin: str, bar: pd.Timestamp) -> Asked:
        """The coin's next question about the bar, should this one bring no decision."""
        before = self._asked.get(coin)
        pause_s = 2 * before.pause_s if before is not None and before.bar == bar else FIRST_PAUSE_S
        return Asked(bar, before.said if before else None, self._clock() + timedelta(seconds=pause_s), pause_s)

    def _guarded(self, coin: str, ask: Callable[[str], Answer]) -> Answer | None:
        """What a coin's question gives; its trouble is one sentence, told once, and no other coin's."""
        try:
            return ask(coin)
        except (CrpError, OSError) as error:
            self._told(coin, f"{coin}: {error}")
            return None

    def _told(self, coin: str, sentence: str) -> None:
        before = self._asked.get(coin)
        if before is None or before.said != sentence:
            self._tell(sentence)
        if before is not None:
            self._asked[coin] = replace(before, said=sentence)

    def _seconds_left(self) -> float:
        """Until the next bar has settled, or a coin is to be asked about again."""
        now = self._clock()
        bar = newest_open(now, self._settings.interval)
        settles = settled_at(bar, self._settings)
        moments = [settles if now < settles else settled_at(bar + interval_length(self._settings.interval), self._settings)]
        moments += [it.again for it in self._asked.values() if it.again is not None and it.bar == bar]
        return min(max((min(moments) - now).total_seconds(), 0), LONGEST_WAIT_S)


def settled_at(bar: pd.Timestamp, settings: PipelineSettings) -> datetime:
    """When the bar that opens then may be asked for: at its close, of an exchange when its last trades are booked."""
    settled: datetime = (bar + interval_length(settings.interval) + pd.Timedelta(settle_s(settings), "s")).to_pydatetime()
    return settled


@contextmanager
def until_asked_to_end() -> Iterator[Wait]:
    """A wait that ends with the first SIGINT or SIGTERM; the second one ends the process where it stands."""
    came = list[int]()

    def note(number: int, _: FrameType | None) -> None:
        came.append(number)
        signal.signal(number, signal.SIG_DFL)

    def wait(seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not came and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, NAP_S))
        return not came

    before = {number: signal.signal(number, note) for number in ENDINGS}
    try:
        yield wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
