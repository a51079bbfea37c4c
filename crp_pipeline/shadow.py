"""Fresh decisions: what champion and shadow say about bars that nobody had seen when they were registered.

<folder>/decisions.jsonl    a hash chain, one line per night: what both decided about the bars that had come since
<folder>/decisions.head     hash of its last line

Every night both versions decide each bar that closed after they were registered, that came after everything they had learned
from, and after the last bar in the log. The night's decisions are written down in one line before anyone looks at what became
of them. A line is never rewritten, so a bar keeps the first decision that was taken about it. Lines of an earlier reign
(`registry.standing`) stay and do not count.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crp_pipeline.chain import Chain, Links, no_writer, only_writer
from crp_pipeline.contracts import (
    CHALLENGER,
    CHAMPION,
    PROBABILITIES,
    Bools,
    DecisionSchema,
    FreshDecisionSchema,
    Samples,
    check_frame,
    interval_length,
)
from crp_pipeline.ensemble import Stack
from crp_pipeline.errors import BundleError, DataContractError
from crp_pipeline.features import CATALOG, feature_set_id
from crp_pipeline.models import Model, load_bundle, samples_of
from crp_pipeline.models.base import segment_starts
from crp_pipeline.models.forecast import forecast
from crp_pipeline.registry import Registry, Standing, recipe_of, standing
from crp_pipeline.registry.candidate import DECISIONS, MODELS, STACK
from crp_pipeline.storage import read_manifest, read_parquet, write_text

LOG, HEAD, LOCK = "decisions.jsonl", "decisions.head", ".lock"
TOLD = ("signal", *PROBABILITIES, "confidence")
"""What the log keeps of a decision."""
EMPTY_SEAT = "there is none"
"""Why an empty seat is silent."""
MOMENT = pd.Timedelta(1, "ns")


@dataclass(frozen=True)
class Version:
    """A registered version that can decide."""

    name: str
    recipe: str
    stack: Stack
    models: Mapping[str, Model]
    knows_until: pd.Timestamp
    """Open time of the last bar that anything of it may have been learned from or measured on."""
    registered: pd.Timestamp
    """When the journal first mentions it: a bar that had closed by then could have been looked at."""

    def decide(self, features: pd.DataFrame, times: pd.DatetimeIndex) -> pd.DataFrame:
        """A decision at the close of each of these bars of the feature table: frame of `contracts.DecisionSchema`.

        A bar after the last of them is never read. Raises `DataContractError` for a bar that the version may have learned from.
        """
        made = self.stack.decide(self.forecasts(features, times))
        return check_frame(made, DecisionSchema, what=f"fresh decisions of version {self.name}")

    def forecasts(self, features: pd.DataFrame, times: pd.DatetimeIndex) -> dict[str, pd.DataFrame]:
        """Class probabilities of each model at these bars, as the stack takes them; reads and raises as `decide` does."""
        if len(times) and times[0] <= self.knows_until:
            raise DataContractError(f"version {self.name} knows bars until {self.knows_until} and must not decide {times[0]}")
        rows = features.index.get_indexer(times)
        predictions = {}
        for name, model in self.models.items():
            _, probabilities = forecast(model, _shown(features, rows, model))
            predictions[name] = pd.DataFrame(probabilities, index=times, columns=list(PROBABILITIES))
        return predictions


@dataclass(frozen=True)
class Night:
    """One line of the log."""

    at: str
    """UTC, ISO 8601."""
    reign: int
    decisions: tuple[Mapping[str, Any], ...]
    previous: str
    """SHA-256 of the line before."""


@dataclass(frozen=True)
class Fresh:
    """What a night left behind."""

    decisions: pd.DataFrame
    """Of the present reign, `contracts.FreshDecisionSchema`."""
    added: int
    """Decisions that were written down this time."""
    silent: Mapping[str, str]
    """Why a contender decided nothing, by its role."""


class ShadowLog:
    """The fresh decisions of one coin."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._chain = Chain(
            folder / LOG, folder / HEAD, _night, owner=folder.name, called="log of fresh decisions", error=DataContractError
        )

    def read(self) -> list[Night]:
        """Every night, oldest first; raises `DataContractError` naming the first line after one that was altered or removed."""
        with no_writer(self._folder / LOCK):
            return list(self._chain.links().told)

    def decisions(self, reign: int) -> pd.DataFrame:
        """Everything that was decided in a reign: frame of `contracts.FreshDecisionSchema`."""
        nights = [night for night in self.read() if night.reign == reign]
        return fresh_frame({**decision, "reign": reign} for night in nights for decision in night.decisions)

    def append(self, reign: int, decisions: pd.DataFrame, *, now: datetime | None = None) -> int:
        """Write down a night's decisions that are about bars after the last one in the log; returns how many these are.

        Whoever comes second finds the bars decided and adds nothing. `now` is the present moment unless it is told.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with only_writer(self._folder / LOCK):
            last = _last_bar(self._sound().told)
            fresh = decisions if last is None else decisions[decisions["open_time"] > last]
            if len(fresh):
                at = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
                night = Night(at, reign, tuple(_documents(fresh)), self._chain.head)
                write_text(self._folder / HEAD, self._chain.append(vars(night)))
        return len(fresh)

    def last_bar(self) -> pd.Timestamp | None:
        """The latest bar that anyone decided; None in an empty log."""
        return _last_bar(self.read())

    def _sound(self) -> Links[Night]:
        """The chain in order, with what a write that was cut off had left to do done."""
        links = self._chain.links()
        last = self._chain.mend()
        if last != self._chain.head:
            write_text(self._folder / HEAD, last)
        return links


def decide_fresh_bars(
    book: Registry,
    coin: str,
    features: pd.DataFrame,
    *,
    ready: Bools,
    interval: str,
    log: ShadowLog,
    now: datetime | None = None,
) -> Fresh:
    """Champion and shadow decide the bars that have come, the log keeps it, and the present reign's decisions are returned.

    `ready` (n,) says which rows of the feature table may be decided, whose bars are of this `interval`; the table names its
    `feature_set_id` in `attrs`. Without a champion nothing is decided. A version that was made for features which no longer
    exist as they were, or that this code no longer loads, decides nothing; of a champion it is then written down that it was
    flat, without a confidence, on the bars that its shadow decides, or no other recipe could ever be held against it. Raises
    `BundleError` for a version whose bytes were altered.
    """
    place = standing(book, coin)
    if place is None:
        return Fresh(fresh_frame(()), 0, {})
    seats = {CHAMPION: place.champion, CHALLENGER: place.shadow}
    after, tables, silent = log.last_bar(), [fresh_frame(())], {}
    for role, name in seats.items():
        version = _seated(book, coin, name, set_id=features.attrs["feature_set_id"])
        if isinstance(version, str):
            silent[role] = version
        else:
            times = fresh_bars(version, features, ready=ready, interval=interval, after=after)
            tables.append(_told(version.decide(features, times), version, role=role, reign=place.reign))
    if CHAMPION in silent:
        tables.append(_flat(tables[-1], place))
    added = log.append(place.reign, pd.concat(tables, ignore_index=True), now=now)
    return Fresh(log.decisions(place.reign), added, silent)


def load_version(book: Registry, coin: str, name: str) -> Version:
    """A registered version, every byte of it checked and every model's golden inputs replayed."""
    return _version(book, coin, name, book.card(coin, name))


def knows_until(folder: Path) -> pd.Timestamp:
    """Open time of the last bar that anything in a version's folder may have been learned from or measured on."""
    return _knows_until(_stack(folder / STACK), folder)


def registered_at(book: Registry, coin: str, name: str) -> pd.Timestamp:
    """When a version was first written down, as its coin's journal has it."""
    return pd.Timestamp(book.state(coin).registered[name].at)


def can_read(card: Mapping[str, Any], folder: Path, set_id: str) -> bool:
    """True where a version can be shown a feature table: it learned from that very set, or its own columns mean the same."""
    known = card.get("columns_id")
    return card.get("feature_set_id") == set_id or (bool(known) and known == columns_id(folder))


def columns_id(folder: Path) -> str:
    """Identity of the features that the models in a candidate's folder read, as the catalogue at hand defines them.

    Sixteen hex digits that stay while other features are added, changed or removed; empty where the catalogue lacks one.
    """
    cards = [read_manifest(path) for path in (folder / MODELS).iterdir()]
    read = {name for card in cards for name in card.get("features", ())}
    found = [feature for feature in CATALOG if feature.name in read]
    return feature_set_id(found) if found and len(found) == len(read) else ""


def fresh_bars(
    version: Version, features: pd.DataFrame, *, ready: Bools, interval: str, after: pd.Timestamp | None = None
) -> pd.DatetimeIndex:
    """Bars that a version may decide: ready, past all it knows, past the last bar that anyone has decided, and not yet closed
    when it was registered.
    """
    since = version.knows_until if after is None else max(version.knows_until, after)
    closed = pd.DatetimeIndex(features.index) + interval_length(interval)
    is_fresh = (features.index > since) & (closed > version.registered)
    return pd.DatetimeIndex(features.index[np.asarray(ready) & is_fresh])


def fresh_frame(decisions: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Decisions as a frame of `contracts.FreshDecisionSchema`, in the order in which they were written down."""
    kinds = {name: str(column.dtype) for name, column in FreshDecisionSchema.columns.items()}
    frame = pd.DataFrame(list(decisions), columns=list(kinds))
    frame["open_time"] = pd.DatetimeIndex(pd.to_datetime(frame["open_time"], utc=True)).as_unit("ns")
    return check_frame(frame.astype(kinds), FreshDecisionSchema, what="fresh decisions")


def _seated(book: Registry, coin: str, name: str | None, *, set_id: str) -> Version | str:
    """Who sits in a seat, or why it decides nothing; raises `BundleError` for a version whose bytes were altered."""
    if name is None:
        return EMPTY_SEAT
    if not can_read(book.card_alone(coin, name), book.folder(coin, name), set_id):
        return f"version {name} learned from features that are no longer computed as they were"
    card = book.card(coin, name)
    try:
        return _version(book, coin, name, card)
    except (BundleError, DataContractError) as error:
        return f"version {name} no longer loads: {error}"


def _version(book: Registry, coin: str, name: str, card: Mapping[str, Any]) -> Version:
    """A version whose bytes were checked; raises `BundleError` or `DataContractError` where it is of no form that is known."""
    folder = book.folder(coin, name)
    stack = _stack(folder / STACK)
    models = {it: load_bundle(folder / MODELS / it, feature_set_id=card.get("feature_set_id"))[0] for it in stack.models}
    return Version(name, recipe_of(card), stack, models, _knows_until(stack, folder), registered_at(book, coin, name))


def _stack(path: Path) -> Stack:
    try:
        return Stack.load(path)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path} holds no stack of a known form: {type(error).__name__}: {error}") from error


def _knows_until(stack: Stack, folder: Path) -> pd.Timestamp:
    """The last member takes office after the last bar of the table and the last label that anything was learned from."""
    kept = folder / DECISIONS
    moments = [moment for member in stack.members for moment in (member.in_office_from - MOMENT, member.learned_until)]
    last = pd.DatetimeIndex([*moments, *(read_parquet(kept).index[-1:] if kept.exists() else ())]).max()
    return pd.Timestamp(last)


def _shown(features: pd.DataFrame, rows: np.ndarray, model: Model) -> Samples:
    """The rows with the bars behind them that the model looks at, and nothing after the last row."""
    columns = list(model.columns) or list(features.columns)
    if len(rows) == 0:
        return replace(samples_of(features[columns].iloc[:0]), rows=rows)
    first = max(int(rows[0]) - model.reach + 1, 0)
    starts = np.maximum(segment_starts(features.index)[first : rows[-1] + 1] - first, 0)
    return replace(samples_of(features[columns].iloc[first : rows[-1] + 1]), rows=rows - first, segment_start=starts)


def _told(decisions: pd.DataFrame, version: Version, *, role: str, reign: int) -> pd.DataFrame:
    told = decisions[list(TOLD)].reset_index(names="open_time")
    return told.assign(role=role, recipe=version.recipe, version=version.name, reign=reign)


def _flat(shadows: pd.DataFrame, place: Standing) -> pd.DataFrame:
    """No position and no opinion of the champion on each bar that its shadow decides."""
    nothing = dict.fromkeys((*PROBABILITIES, "confidence"), math.nan)
    return shadows.assign(signal=0, **nothing, role=CHAMPION, recipe=place.recipe, version=place.champion)


def _documents(decisions: pd.DataFrame) -> Iterable[dict[str, Any]]:
    for row in decisions.drop(columns="reign").to_dict("records"):
        row["open_time"] = row["open_time"].isoformat()
        yield {str(name): None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}


def _night(document: Any) -> Night:
    night = Night(**document)
    decisions = tuple({**decision, "open_time": pd.Timestamp(decision["open_time"])} for decision in night.decisions)
    return replace(night, reign=int(night.reign), decisions=decisions)


def _last_bar(nights: Iterable[Night]) -> pd.Timestamp | None:
    return max((decision["open_time"] for night in nights for decision in night.decisions), default=None)
