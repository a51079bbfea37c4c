"""What a version is made again from: the tables behind it, kept for as long as a version that was found good names them.

    <root>/<coin>/ingredients/<hash>.json       a table of candles or feeds: the chunks it consists of, in time order
    <root>/<coin>/ingredients/<hash>.parquet    a chunk: the rows of one stretch of time
    <root>/<coin>/ingredients/slippage-<hash>   what slippage was drawn from, byte by byte
    <root>/<coin>/ingredients/<hash>.market     says that a version of the coin was made from this market table
    <root>/market/<hash>.json, .parquet         market tables, once for all coins; no coin has a name in small letters

A version's card tells hash, columns, first and last bar of its candles, its market and its feeds. As long as the stored tables,
cut at these bars, still have these hashes, nothing else is needed; but a source restates bars and a history may begin later
than it did, and by then the table of the night is overwritten. So the tables behind every version that carries PROMOTE or
SHADOW are kept when it is registered, before it may reign. Whatever else a version is made of stands on its card and on those
of its models: settings, seeds, parameters, tuned or not. A rejected version keeps nothing, and can be made again while the
stored tables last.

Chunks end where the clock says and are named after their content, so that a night adds the last, unfinished one, a restated
bar the one that it lies in, and a later start the first; all others are there already. What is read back is the table itself or
nothing: its hash proves it. Writing and pruning take turns, behind one lock per folder.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crp_pipeline.chain import only_writer
from crp_pipeline.errors import DataContractError
from crp_pipeline.places import INGREDIENTS, Places
from crp_pipeline.provenance import lineage_of
from crp_pipeline.registry.registry import Registry
from crp_pipeline.registry.state import GOOD
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import (
    frame_hash,
    read_if_sound,
    read_parquet,
    sha256,
    write_bytes,
    write_json,
    write_parquet,
    write_text,
)

CANDLES, MARKET, FEEDS, SLIPPAGE = "candles", "market", "feeds", "slippage"
TABLES = (CANDLES, MARKET, FEEDS)
ROWS_PER_CHUNK = 2_048
"""A week of five-minute bars: the unfinished chunk of a night is some 100 KB at most."""
LOCK = ".lock"
Card = Mapping[str, Any]


@dataclass(frozen=True)
class TableTold:
    """What a card tells of a table that a version was made from."""

    hash: str
    columns: tuple[str, ...] | None
    """None where the card tells none: all that the stored table has."""
    first: pd.Timestamp | None
    last: pd.Timestamp | None
    """Opening times of its first and last bar; None where there is none, or where the card does not tell."""

    def cut(self, stored: pd.DataFrame) -> pd.DataFrame:
        """The rows and columns of a stored table that may be those of this one."""
        names = list(stored) if self.columns is None else [name for name in self.columns if name in stored]
        return stored.loc[self.first : self.last, names]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        ends = {name: None if at is None else at.isoformat() for name, at in (("first", self.first), ("last", self.last))}
        return {"hash": self.hash, "columns": None if self.columns is None else list(self.columns), **ends}

    @classmethod
    def from_dict(cls, stored: Card) -> "TableTold":
        """What `to_dict` told."""
        ends = (None if stored[name] is None else pd.Timestamp(stored[name]) for name in ("first", "last"))
        return cls(stored["hash"], None if stored["columns"] is None else tuple(stored["columns"]), *ends)

    @classmethod
    def of(cls, table: pd.DataFrame) -> "TableTold":
        """What a card is to tell of a table."""
        ends = (table.index[0], table.index[-1]) if len(table) else (None, None)
        return cls(frame_hash(table), tuple(map(str, table.columns)), *ends)


class TableStore:
    """Tables in one folder, in chunks that they share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, table: pd.DataFrame) -> None:
        """Write what is not there yet, or not as it was; of a table that is there already, nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with only_writer(self.folder / LOCK):
            chunks = {frame_hash(chunk): chunk for chunk in _chunks(table)}
            for name, chunk in chunks.items():
                if not self._is_sound(name):
                    write_parquet(self._chunk(name), chunk)
            if not self._lists(frame_hash(table), list(chunks)):
                write_json(self._list(frame_hash(table)), list(chunks))

    def find(self, name: str) -> pd.DataFrame | None:
        """The table of this hash; None where it, or a chunk of it, is not kept or not what it was."""
        try:
            chunks = [read_parquet(self._chunk(chunk)) for chunk in self._chunks_of(self._list(name))]
        except (DataContractError, OSError, ValueError):
            return None
        table = pd.concat(chunks) if chunks else None
        return table if table is not None and frame_hash(table) == name else None

    def drop(self, kept: Callable[[], Collection[str]]) -> list[str]:
        """Remove every table but those, and the chunks that only the removed ones consist of; returns the removed tables.

        Raises `DataContractError` naming a list of a table that stays and cannot be read; then nothing is removed.
        """
        if not self.folder.exists():
            return []
        with only_writer(self.folder / LOCK):
            keep, lists = kept(), sorted(self.folder.glob("*.json"))
            needed = {chunk for path in lists if path.stem in keep for chunk in self._chunks_of(path)}
            gone = [path for path in lists if path.stem not in keep]
            for path in (*gone, *(it for it in self.folder.glob("*.parquet") if it.stem not in needed)):
                path.unlink()
        return [path.stem for path in gone]

    def _is_sound(self, name: str) -> bool:
        """Whether a chunk is there and is what it was."""
        chunk = read_if_sound(self._chunk(name), tell=lambda _: None)
        return chunk is not None and frame_hash(chunk) == name

    def _lists(self, name: str, chunks: list[str]) -> bool:
        """Whether the list of a table is there and names these chunks."""
        try:
            return self._chunks_of(self._list(name)) == chunks
        except DataContractError:
            return False

    def _chunks_of(self, path: Path) -> list[str]:
        try:
            return [str(name) for name in json.loads(path.read_text(encoding="utf-8"))]
        except (OSError, TypeError, ValueError) as error:
            told = "without it the version that names it cannot be made again from what is kept"
            raise DataContractError(f"{path} is no list of chunks: {error}; remove it: {told}") from error

    def _list(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _chunk(self, name: str) -> Path:
        return self.folder / f"{name}.parquet"


def ingredients_told(places: Places, coin: str, settings: PipelineSettings) -> dict[str, Any]:
    """What the card of the coin's candidate is to tell of the tables that its decisions were made from, and of slippage."""
    decisions = read_parquet(places.decisions(coin))
    hashes = {name: lineage_of(decisions)[name][0] for name in TABLES}
    until = decisions.index[-1] if len(decisions) else None
    told: dict[str, Any] = {
        name: _told_until(read_parquet(_stored(places, coin, name)), it, until).to_dict() for name, it in hashes.items()
    }
    sample = settings.of(coin).execution.slippage_file
    return told if sample is None else {**told, SLIPPAGE: _slippage_name(sample)}


def _told_until(stored: pd.DataFrame, name: str, last: pd.Timestamp | None) -> TableTold:
    """What a card is to tell of the table of that hash: of a stored one that has gone on since, the bars until the last."""
    whole = TableTold.of(stored)
    return whole if whole.hash == name else replace(TableTold.of(stored.loc[:last]), hash=name)


def keep_ingredients(places: Places, coin: str, card: Card, settings: PipelineSettings) -> list[str]:
    """Keep what the version with this card is made again from, where it carries PROMOTE or SHADOW; returns what is not kept.

    That is a table, by its name, which is no longer the one that the decisions were made from. Nothing is written twice.
    """
    if card["verdict"]["outcome"] not in {str(outcome) for outcome in GOOD}:
        return []
    _keep_slippage(places.ingredients(coin), settings.of(coin).execution.slippage_file, card["ingredients"].get(SLIPPAGE))
    return [name for name in TABLES if not _keep_table(places, coin, name, told_of(card, name))]


def told_of(card: Card, name: str) -> TableTold:
    """What a card that tells its ingredients says of one of `TABLES`."""
    return TableTold.from_dict(card["ingredients"][name])


def find_table(places: Places, coin: str, name: str, told: TableTold, *, bars: pd.Index) -> pd.DataFrame | None:
    """The table that a card tells of, from the stored one or from what is kept; None where neither has it any more.

    `bars` are those of the version's decisions: what a table without columns has rows for.
    """
    if told.columns == ():
        empty = pd.DataFrame(index=bars)
        return empty if frame_hash(empty) == told.hash else None
    nearest = nearest_table(places, coin, name, told)
    if nearest is not None and frame_hash(nearest) == told.hash:
        return nearest
    return _store(places, coin, name).find(told.hash)


def nearest_table(places: Places, coin: str, name: str, told: TableTold) -> pd.DataFrame | None:
    """The stored table, cut to the bars and columns that a card tells of; None where there is none that can be read."""
    stored = read_if_sound(_stored(places, coin, name), tell=lambda _: None)
    if stored is None:
        return None
    cut = told.cut(stored)
    # coins that are not among the columns may have bars of their own
    return cut.dropna(how="all") if name == MARKET else cut


def find_slippage(places: Places, coin: str, name: str) -> Path | None:
    """The file that slippage was drawn from, by its name on a card; None where it is not kept or not what it was."""
    path = places.ingredients(coin) / name
    return path if path.exists() and _slippage_name(path) == name else None


def prune_ingredients(places: Places, coin: str, kept_cards: Iterable[Card]) -> list[str]:
    """Remove what no version with one of these cards is made from; returns the hashes of the tables that are gone.

    A market table goes with the last coin that names it.
    """
    told = [card["ingredients"] for card in kept_cards if "ingredients" in card]
    kept = {name: {it[name]["hash"] for it in told} for name in TABLES}
    folder, samples = places.ingredients(coin), {it[SLIPPAGE] for it in told if SLIPPAGE in it}
    gone = TableStore(folder).drop(lambda: kept[CANDLES] | kept[FEEDS])
    for path in folder.glob(f"{SLIPPAGE}-*"):
        if path.name not in samples:
            path.unlink()
    return gone + _drop_markets(places, coin, kept[MARKET])


def cards_kept(book: Registry, coin: str) -> Iterator[Card]:
    """Cards of the coin's versions whose files are kept, oldest first."""
    state = book.state(coin)
    return (book.card_alone(coin, version) for version in state.registered if version not in state.pruned)


def _drop_markets(places: Places, coin: str, kept: Collection[str]) -> list[str]:
    """Take back the coin's marks but these, and remove the market tables that no coin has a mark of."""
    marks = [mark for mark in places.ingredients(coin).glob(f"*.{MARKET}") if mark.stem not in kept]
    for mark in marks:
        mark.unlink()
    # the marks of other coins are counted while none of them can add a table
    named = partial(_marked, places.registry)
    return TableStore(places.market_ingredients).drop(named) if marks else []


def _marked(registry: Path) -> set[str]:
    return {mark.stem for mark in registry.glob(f"*/{INGREDIENTS}/*.{MARKET}")}


def _keep_table(places: Places, coin: str, name: str, told: TableTold) -> bool:
    """Whether the table is kept, or needs no keeping because it has no column."""
    if not told.columns:
        return True
    if name == MARKET:
        # first, and of a table that is kept already as well: a table without this coin's mark goes with the last other one
        write_text(places.ingredients(coin) / f"{told.hash}.{MARKET}", "")
    stored, store = nearest_table(places, coin, name, told), _store(places, coin, name)
    if stored is None or frame_hash(stored) != told.hash:
        return store.find(told.hash) is not None
    store.keep(stored)
    return True


def _keep_slippage(folder: Path, sample: Path | None, name: str | None) -> None:
    if sample is not None and name == _slippage_name(sample):
        write_bytes(folder / name, sample.read_bytes())


def _slippage_name(sample: Path) -> str:
    return f"{SLIPPAGE}-{sha256(sample)[:16]}{sample.suffix}"


def _store(places: Places, coin: str, name: str) -> TableStore:
    return TableStore(places.market_ingredients if name == MARKET else places.ingredients(coin))


def _stored(places: Places, coin: str, name: str) -> Path:
    """Where the table of the latest night lies."""
    return places.frame(name) if name == MARKET else places.frame(name, coin=coin)


def _chunks(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The rows in time order, parted where the clock says and not where the table begins."""
    opens = pd.DatetimeIndex(table.index).as_unit("ns").asi8
    step = int(np.median(np.diff(opens))) if len(opens) > 1 else 1
    begins = np.flatnonzero(np.diff(opens // (step * ROWS_PER_CHUNK), prepend=-1))
    for first, stop in pairwise([*begins, len(opens)]):
        chunk = table.iloc[first:stop]
        chunk.attrs = {}
        yield chunk
