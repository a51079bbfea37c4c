"""The desk: for each coin one warm champion, its log and its outcomes; whoever asks twice about a bar hears the same."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import perf_counter

import pandas as pd

from crp_pipeline.contracts import interval_length
from crp_pipeline.errors import CrpError, DataContractError
from crp_pipeline.gate.costs import cost_data
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry
from crp_pipeline.registry.card import checked_coin
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.signals.champion import Champion, Seat
from crp_pipeline.signals.decision import Inputs, decide, signal_about
from crp_pipeline.signals.log import SignalLog
from crp_pipeline.signals.newest import Tell, newest_inputs, newest_open
from crp_pipeline.signals.outcomes import outcome_frame, score, unscored
from crp_pipeline.signals.signal import Signal
from crp_pipeline.signals.store import FileStore, Newest, put_online
from crp_pipeline.storage import read_if_sound, write_parquet


@dataclass(frozen=True, eq=False)
class Visit:
    """What the desk has of a coin after it was asked."""

    signal: Signal
    """The newest decision that stands, or why there is none."""
    candles: pd.DataFrame | None = None
    """The newest closed bars, where they were looked at."""
    recorded_ms: float | None = None
    """From the bars being known to the decision written down and put online; None where an earlier one stands."""


class Desk:
    """Decides the newest closed bar of any coin, once; `clock` tells the present and `timer` seconds.

    `tell` hears in one sentence each of what went wrong beside the decision.
    """

    def __init__(
        self,
        settings: PipelineSettings,
        *,
        clock: Callable[[], datetime] | None = None,
        timer: Callable[[], float] = perf_counter,
        tell: Tell = lambda _: None,
    ) -> None:
        self._settings, self._clock, self._timer, self._tell = settings, clock or settings.present, timer, tell
        self._places = Places(settings.data_dir.resolve())
        self._book = Registry(self._places.registry)
        self._seats: dict[str, Seat] = {}

    def decide(self, coin: str) -> Visit:
        """The decision on the newest closed bar; made, written down and put online where there is none yet.

        A bar that nobody can be shown, or that gives no decision, is "no decision" with its reason. What could not be fetched
        is a reason as well. Raises `DataContractError` for a damaged log.
        """
        now = self._clock()
        expected = newest_open(now, self._settings.interval)
        last = self.log(coin).latest()
        if last and last[-1].is_decided and last[-1].open_time == expected:
            kept = self._online(coin)
            if kept is not None and kept.signal == last[-1]:
                self._put_online(kept)
                return Visit(last[-1])
        champion = self._seat(coin).champion()
        inputs = champion if isinstance(champion, str) else self._inputs(coin, champion, now)
        if isinstance(champion, str) or isinstance(inputs, str):
            version = None if isinstance(champion, str) else champion.version.name
            now = self._clock()
            made = signal_about(expected, coin=coin, settings=self._settings, now=now, version=version, reason=str(inputs))
            return Visit(self._kept(made, {}))
        return self._decided(coin, champion, inputs)

    def warm(self, coin: str) -> None:
        """Load whoever decides for the coin now, where that is another one than before, so that no decision waits for it."""
        self._seat(coin).champion()

    def score(self, coin: str, candles: pd.DataFrame) -> pd.DataFrame:
        """Score every decision whose label has ended within these candles; all outcomes of the coin, as they are stored."""
        known, waiting = self.outcomes(coin), self._waiting(coin)
        data = cost_data(self._settings, coin)
        made = score([it for it in waiting if it.open_time >= candles.index[0]], candles, self._settings.of(coin), data)
        if len(made):
            known = outcome_frame(pd.concat([known, made], ignore_index=True))
            write_parquet(self._places.outcomes(coin), known)
        return known

    def outcomes(self, coin: str) -> pd.DataFrame:
        """Every outcome that is stored; those of a damaged file are scored anew from the log."""
        stored = read_if_sound(self._places.outcomes(checked_coin(coin)), tell=self._tell)
        return outcome_frame(pd.DataFrame() if stored is None else stored)

    def log(self, coin: str) -> SignalLog:
        """The live decisions of a coin; raises `RegistryError` for what is no name of a coin."""
        return SignalLog(self._places.signals(checked_coin(coin)))

    def _decided(self, coin: str, champion: Champion, inputs: Inputs) -> Visit:
        known_at = self._clock()
        signal, features = decide(
            champion,
            inputs,
            coin=coin,
            settings=self._settings,
            clock=self._clock,
            earlier=self._decisions(coin),
            timer=self._timer,
        )
        row = {} if features is None else {str(name): float(value) for name, value in features.items()}
        stands = self._kept(signal, row)
        took_ms = 1e3 * (self._clock() - known_at).total_seconds()
        return Visit(stands, inputs.candles, took_ms if stands.decided_at == signal.decided_at else None)

    def _decisions(self, coin: str) -> list[Signal]:
        """The last decisions, as many as may be alike, however many bars without one lie between them."""
        n = self._settings.signals.max_repeats
        told = self.log(coin).back_until(lambda lines: sum(it.is_decided for it in lines) >= n)
        return [it for it in told if it.is_decided]

    def _seat(self, coin: str) -> Seat:
        return self._seats.setdefault(coin, Seat(self._book, coin))

    def _inputs(self, coin: str, champion: Champion, now: datetime) -> Inputs | str:
        """What is known at the close of the newest bar, or a sentence that says why it is not."""
        try:
            return newest_inputs(
                self._settings,
                self._places,
                coin,
                now=now,
                with_market=champion.reads_market,
                since=self._since(coin),
                tell=self._tell,
            )
        except CrpError as error:
            return f"the newest candles of {coin} are not to be had: {error}"

    def _since(self, coin: str) -> pd.Timestamp | None:
        """From where on candles are needed to score what waits for it."""
        waiting = self._waiting(coin)
        behind = (self._settings.labels.volatility_window + 1) * interval_length(self._settings.interval)
        return pd.Timestamp(waiting[0].open_time) - behind if waiting else None

    def _waiting(self, coin: str) -> list[Signal]:
        """Decisions that came after the last one that was scored; no more of the log is read than holds them.

        All labels are equally long: of an earlier decision the label ended earlier, or a hole has taken it.
        """
        outcomes = self.outcomes(coin)
        last = outcomes["open_time"].max() if len(outcomes) else None
        lines = self.log(coin).back_until(lambda told: last is not None and told[0].open_time <= last)
        return unscored(lines, outcomes)

    def _kept(self, signal: Signal, features: dict[str, float]) -> Signal:
        """Written down, put online, and told as it stands; with the features only where it was made from these."""
        signal = signal.without(*_folders(self._settings))
        stands = self.log(signal.coin).append(signal)
        is_of_these = (stands.version, stands.data_hash) == (signal.version, signal.data_hash)
        self._put_online(Newest(stands, features if is_of_these else {}))
        return stands

    def _online(self, coin: str) -> Newest | None:
        """What the files have; None also where they cannot be read."""
        try:
            return FileStore(self._places.online).get(coin)
        except DataContractError:
            return None

    def _put_online(self, newest: Newest) -> None:
        """Into every store that lacks it, one that was out of reach, or that a killed process did not get to, included."""
        trouble = put_online(self._settings, self._places.online, newest)
        if trouble:
            self._tell(trouble)


def _folders(settings: PipelineSettings) -> list[str]:
    """Folders that a message may name; a relative one only where the path goes on, or it could be any word."""
    feeds = (Path(f"{feed.path.split('{')[0]}_").parent for feed in settings.feeds.values())
    told = [settings.data_dir, settings.files_dir, *feeds, *filter(None, [settings.finer_dir])]
    absolute = {str(path) for folder in told for path in (folder.absolute(), folder.resolve())} - {"/"}
    relative = {str(folder) for folder in told} - {".", "/"}
    return [*absolute, *(f"{path}/" for path in absolute | relative)]
