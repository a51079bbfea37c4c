"""The ledger: append an event, count the trials, tell whether everything is as it was written.

A write puts the file of daily returns in its place, then appends its line, then moves the head. The power may go in between: a
file that no line names counts nothing and stays; for the rest see `chain`, whose repair the next write begins with.

Files and head cannot show that a ledger was cut back to what it was once, or removed: keep a `head` of it elsewhere, and ask
whether the ledger `continues` it. The pipeline keeps one in every registered verdict and one in the latest comparison; what
was appended after both, which only runs by hand can have done, could be cut off unnoticed.

A ledger that is damaged stays so. `start_anew` lays it aside and begins another, which counts on from where it was.
"""

import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from crp_pipeline.chain import NO_ENTRY, Chain, Links, no_writer, only_writer
from crp_pipeline.errors import LedgerError
from crp_pipeline.ledger.count import Trials, counted, counted_before, tried
from crp_pipeline.ledger.event import Anew, Event, Look
from crp_pipeline.ledger.trial import Trial
from crp_pipeline.storage import named, write_bytes, write_text

COIN_NAME = re.compile("[A-Z0-9]+([-_][A-Z0-9]+)*")
LINES = "trials.jsonl"
HEAD = "trials.head"
RETURNS = "returns"
LOCK = ".lock"
ASIDE = "aside"


@dataclass(frozen=True)
class Reading:
    """What a coin's ledger held when its lines were read, all of them in order: one reading answers every question."""

    coin: str
    links: Links[Event]
    folder: Path
    """Where the files of returns lie."""

    @property
    def events(self) -> tuple[Event, ...]:
        """Every event, oldest first."""
        return self.links.told

    @property
    def count(self) -> int:
        """How many trials there were, by the rule of `count`."""
        return len(counted(self.events)) + counted_before(self.events)

    @property
    def head(self) -> str:
        """How long the ledger is and the hash of its last line, as `<events>:<hash>`."""
        return f"{len(self.links.hashes)}:{self.links.hashes[-1] if self.links.hashes else NO_ENTRY}"

    def continues(self, earlier_head: str) -> bool:
        """True when the ledger begins with everything that it held when it had that head, or was begun in that one's place."""
        length, _, last = earlier_head.partition(":")
        if not re.fullmatch("[0-9]+", length):
            return False
        hashes = (NO_ENTRY, *self.links.hashes)
        before = {head for event in self.events if event.anew is not None for head in event.anew.heads}
        return earlier_head in before or (int(length) < len(hashes) and hashes[int(length)] == last)

    def verify(self) -> None:
        """Check every file; raises `LedgerError` naming the first that is missing or altered."""
        for event in self.events:
            if event.looks:
                self._content(event.returns)

    def trials(self, *, days: pd.DatetimeIndex | None = None) -> Trials:
        """Everything that was tried, beside the candidate that has these UTC days; the latest event's where none are told.

        Raises `LedgerError` for a file of returns that is needed and is not as it was written.
        """
        read = cache(self._returns)
        if days is None:
            latest = [event.returns for event in self.events if event.looks][-1:]
            days = pd.DatetimeIndex(read(latest[0]).index) if latest else pd.DatetimeIndex([], tz="UTC")
        return tried(self.events, days, lambda trial: read(trial.event.returns)[trial.look.name])

    def _returns(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(io.BytesIO(self._content(name)))

    def _content(self, name: str) -> bytes:
        """Bytes of a file of returns, which are those that it was named after."""
        path = _file(self.folder, name)
        if not path.is_file():
            raise LedgerError(f"{self.coin}: the ledger names {path.name}, which is missing")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != name:
            raise LedgerError(f"{self.coin}: the ledger's {path.name} has been altered")
        return content


class Ledger:
    """The ledgers of all coins, in one folder.

    Every question reads all lines: whoever has several asks them of one `reading`.
    """

    def __init__(self, root: str | PathLike[str]) -> None:
        self.root = Path(root)

    def append(self, coin: str, occasion: str, trials: Sequence[Trial], daily_returns: pd.DataFrame, *, now: datetime) -> str:
        """Keep an event whole or not at all and return the head.

        `daily_returns` are net, (UTC days, trials), a column per trial by its name and in its order. What the ledger knows
        already, the same trial of the same forecasts with the same returns, is not written again, so that a run that is
        repeated leaves the ledger as it is. Raises `LedgerError` for returns that are not such and for a damaged ledger.
        """
        check_returns(coin, trials, daily_returns)
        looks = [Look.of(trial, daily_returns[trial.name]) for trial in trials]
        self._folder(coin).mkdir(parents=True, exist_ok=True)
        with self._writing(coin) as (chain, book):
            known = {_identity(look) for event in book.events for look in event.looks}
            unheard = tuple(look for look in looks if _identity(look) not in known)
            if not unheard:
                return book.head
            returns = self._keep(coin, daily_returns[[look.name for look in unheard]])
            at = now.astimezone(UTC).isoformat(timespec="seconds")
            event = Event(at, coin, occasion, returns, unheard, chain.head)
            last = chain.append(event.document())
            write_text(self._folder(coin) / HEAD, last)
        return f"{len(book.events) + 1}:{last}"

    def start_anew(self, coin: str, *, reason: str, heads: Iterable[str], n_trials: int, now: datetime) -> str:
        """Lay a ledger aside, begin another with what is known of it, and return the new head.

        `heads` and `n_trials` are what others were told of it. Its trials count on: as many as they know, or as can still be
        read from it or from one that was laid aside before, whichever are more; what they earned is lost. Raises `LedgerError`
        without a reason.
        """
        folder = self._folder(coin)
        if not reason.strip():
            raise LedgerError(f"{coin}: a ledger is begun anew for a reason")
        folder.mkdir(parents=True, exist_ok=True)
        with only_writer(folder / LOCK):
            chain = self._chain(coin)
            known = max(n_trials, *(self._counted_in(place, coin) for place in (folder, *folder.glob(f"{ASIDE}/*"))))
            aside = _lay_aside(folder, f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}")
            at = now.astimezone(UTC).isoformat(timespec="seconds")
            anew = Anew(reason.strip(), tuple(dict.fromkeys(heads)), known, aside)
            last = chain.append(Event(at, coin, "begun anew", "", (), NO_ENTRY, anew).document())
            write_text(folder / HEAD, last)
        return f"1:{last}"

    @contextmanager
    def reading(self, coin: str) -> Iterator[Reading]:
        """The ledger as it stands, into which nobody writes meanwhile.

        Raises `LedgerError` naming the first line after one that was altered or removed.
        """
        folder = self._folder(coin)
        with no_writer(folder / LOCK):
            yield Reading(coin, _chain_in(folder, coin).links(), folder)

    def events(self, coin: str) -> list[Event]:
        """Every event, oldest first; raises `LedgerError` as `reading` does."""
        with self.reading(coin) as book:
            return list(book.events)

    def count(self, coin: str) -> int:
        """How many trials there were, by the rule of `count`."""
        with self.reading(coin) as book:
            return book.count

    def trials(self, coin: str, *, days: pd.DatetimeIndex | None = None) -> Trials:
        """Everything that was tried, as `Reading.trials` tells it."""
        with self.reading(coin) as book:
            return book.trials(days=days)

    def head(self, coin: str) -> str:
        """How long the ledger is and the hash of its last line, as `<events>:<hash>`."""
        with self.reading(coin) as book:
            return book.head

    def continues(self, coin: str, earlier_head: str) -> bool:
        """True when the ledger begins with everything that it held when it had that head, or was begun in that one's place."""
        with self.reading(coin) as book:
            return book.continues(earlier_head)

    def verify(self, coin: str) -> None:
        """Check every line and every file; raises `LedgerError` naming the first that is missing, altered or was cut off."""
        with self.reading(coin) as book:
            book.verify()

    def coins(self) -> list[str]:
        """Coins of which a trial was ever written down."""
        return sorted(path.parent.name for path in self.root.glob(f"*/{LINES}"))

    def _counted_in(self, folder: Path, coin: str) -> int:
        """How many trials can be read from the lines of a ledger, whole or not."""
        events = _chain_in(folder, coin).legible()
        return len(counted(events)) + counted_before(events)

    def _keep(self, coin: str, daily_returns: pd.DataFrame) -> str:
        """Write a file of returns and return its hash."""
        content = daily_returns.to_parquet()
        assert content is not None
        name = hashlib.sha256(content).hexdigest()
        write_bytes(_file(self._folder(coin), name), content)
        return name

    def _folder(self, coin: str) -> Path:
        if not COIN_NAME.fullmatch(coin):
            raise LedgerError(f"{coin!r} is not the name of a coin, which is capitals and digits parted by single dashes")
        return self.root / coin

    def _chain(self, coin: str) -> Chain[Event]:
        return _chain_in(self._folder(coin), coin)

    @contextmanager
    def _writing(self, coin: str) -> Iterator[tuple[Chain[Event], Reading]]:
        """One writer per coin at a time; it begins with every line and every file in order."""
        folder = self._folder(coin)
        with only_writer(folder / LOCK):
            chain = self._chain(coin)
            book = Reading(coin, chain.links(), folder)
            book.verify()
            last = chain.mend()
            if last != chain.head:
                write_text(folder / HEAD, last)
            yield chain, book


def _chain_in(folder: Path, coin: str) -> Chain[Event]:
    read = partial(Event.from_document, coin=coin)
    return Chain(folder / LINES, folder / HEAD, read, owner=coin, called="ledger", error=LedgerError)


def _lay_aside(folder: Path, name: str) -> str:
    """Move what a ledger consists of into a folder of its own, and return where that lies; go on where it was cut off."""
    begun, lines = sorted(folder.glob(f"{ASIDE}/*")), folder / LINES
    # the lines go first; half of the first one of the next ledger never happened
    is_cut_off = bool(begun) and not (lines.exists() and b"\n" in lines.read_bytes())
    if is_cut_off:
        lines.unlink(missing_ok=True)
    found = [folder / part for part in (LINES, HEAD, RETURNS) if (folder / part).exists()]
    if not found and not is_cut_off:
        return ""
    place = begun[-1] if is_cut_off else folder / ASIDE / name
    with named(place):
        place.mkdir(parents=True, exist_ok=True)
        for path in found:
            path.rename(place / path.name)
    return f"{ASIDE}/{place.name}"


def _identity(look: Look) -> tuple[str, str, str]:
    return look.key, look.made, look.earned


def _file(folder: Path, name: str) -> Path:
    return folder / RETURNS / f"{name}.parquet"


def check_returns(coin: str, trials: Sequence[Trial], daily_returns: pd.DataFrame) -> None:
    """Raises `LedgerError` unless there is a finite number per trial and UTC day."""
    names, days = [trial.name for trial in trials], daily_returns.index
    if not names or len(set(names)) < len(names) or names != list(daily_returns.columns):
        raise LedgerError(f"{coin}: the daily returns are of {list(daily_returns.columns)}, the trials are {names}, once each")
    if not isinstance(days, pd.DatetimeIndex) or str(days.tz) != "UTC" or (days != days.normalize()).any():
        raise LedgerError(f"{coin}: daily returns must be indexed by UTC day")
    if not (days.is_monotonic_increasing and days.is_unique):
        raise LedgerError(f"{coin}: the days of daily returns must rise")
    missing = ~np.isfinite(daily_returns.to_numpy(dtype=np.float64))
    if missing.any():
        day, column = np.argwhere(missing)[0]
        value = daily_returns.iloc[day, column]
        raise LedgerError(
            f"{coin}: the daily return of {names[column]} on {days[day]:%Y-%m-%d} is {value}, not a finite number"
        )
