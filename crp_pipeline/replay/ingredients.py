"""What a version was made from, looked for today."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pandas as pd

from crp_pipeline.errors import DataContractError
from crp_pipeline.features import CATALOG, feature_set_id
from crp_pipeline.models.pooled_transformer import PooledTransformer
from crp_pipeline.places import Places
from crp_pipeline.provenance import library_versions, recipe_hash, source_hash, stamp
from crp_pipeline.registry.ingredients import (
    CANDLES,
    FEEDS,
    MARKET,
    SLIPPAGE,
    TABLES,
    TableTold,
    find_slippage,
    find_table,
    nearest_table,
    told_of,
)
from crp_pipeline.replay.line import GONE, NOT_TOLD, UNKNOWN, Line
from crp_pipeline.replay.registered import Registered
from crp_pipeline.replay.settings import settings_on_card
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import frame_hash

POOLED = PooledTransformer.model_type
COMMIT = re.compile("[0-9a-f]{7,40}")
CHANGED = "+changed"


@dataclass(frozen=True)
class Found:
    """What there is to make the version from."""

    lines: tuple[Line, ...]
    tables: Mapping[str, pd.DataFrame]
    """Of `TABLES`, stamped: the very ones, or in their place what comes nearest."""
    settings: PipelineSettings


def look_for(places: Places, version: Registered) -> Found:
    """Every ingredient of a version; raises `DataContractError` where there are no candles at all to go on with."""
    told = {name: _table_told(version, name) for name in TABLES}
    found = {name: find_table(places, version.coin, name, it, bars=version.decisions.index) for name, it in told.items()}
    nearest = {name: nearest_table(places, version.coin, name, told[name]) for name in TABLES if found[name] is None}
    slippage = version.card.get("ingredients", {}).get(SLIPPAGE)
    sample = None if slippage is None else find_slippage(places, version.coin, slippage)
    settings, unknown = settings_on_card(version.card, version.coin, sample)
    lines = (
        *(_table_line(name, told[name], found[name], nearest.get(name)) for name in TABLES),
        *_file_lines(slippage, has_file=sample is not None),
        *_code_lines(version),
        *_library_lines(version.card["libraries"]),
        *_settings_lines(version, settings),
        *(Line(name, str(it), UNKNOWN, f"{name} = {it!r} on the card is no setting of this code") for name, it in unknown),
        *_model_lines(version, settings),
    )
    tables = {name: nearest.get(name) if table is None else table for name, table in found.items()}
    return Found(lines, _stamped(version, tables, settings), settings)


def _table_told(version: Registered, name: str) -> TableTold:
    """What the card tells of a table; of one that told no ingredients yet, what the bars of its decisions tell."""
    recorded, bars = version.recorded(name), version.decisions.index
    if "ingredients" in version.card:
        return replace(told_of(version.card, name), hash=recorded)
    return TableTold(recorded, None, None if name == MARKET else bars[0], bars[-1])


def _table_line(name: str, told: TableTold, found: pd.DataFrame | None, nearest: pd.DataFrame | None) -> Line:
    if found is not None:
        return Line(name, told.hash, told.hash)
    instead = "there is no stored table either" if nearest is None else f"the stored ones until then are {frame_hash(nearest)}"
    difference = f"{name} of hash {told.hash} until {told.last} are no longer kept; {instead}"
    return Line(name, told.hash, GONE if nearest is None else frame_hash(nearest), difference)


def _file_lines(name: str | None, *, has_file: bool) -> Iterator[Line]:
    if name is not None:
        difference = f"the file that slippage was drawn from, {name}, is no longer kept: costs are those without it"
        yield Line(SLIPPAGE, name, name if has_file else GONE, difference)


def _code_lines(version: Registered) -> Iterator[Line]:
    commit, recorded, found = str(version.card["code"]), version.recorded("source"), source_hash()
    told = f"code was {_revision(commit)} with source hash {recorded}, this is {found}: {_way_back(commit)}"
    yield Line("code", recorded, found, told)
    recorded, found = str(version.card["feature_set_id"]), feature_set_id(CATALOG)
    yield Line("feature definitions", recorded, found, f"features were defined as {recorded}, here they are {found}")


def _revision(code: str) -> str:
    return f"commit {code}" if COMMIT.match(code) else code


def _way_back(code: str) -> str:
    if code.endswith(CHANGED):
        return f"check out {code.removesuffix(CHANGED)}, which it was changed from and never committed"
    return f"check out {code}" if COMMIT.fullmatch(code) else f"install {code}"


def _library_lines(recorded: Mapping[str, str]) -> Iterator[Line]:
    here = library_versions()
    for name in sorted({*recorded, *here}):
        was, is_now = recorded.get(name, NOT_TOLD), here.get(name, GONE)
        way_back = f": install {name}=={was.partition('+')[0]}" if name in recorded else ""
        yield Line(name, was, is_now, f"{name} was {was}, is {is_now}{way_back}")


def _settings_lines(version: Registered, settings: PipelineSettings) -> Iterator[Line]:
    recorded, found = version.recorded("settings"), recipe_hash(settings, version.coin)
    told = f"settings had hash {recorded}; those on the card have {found} in this code, which knows others or other defaults"
    yield Line("settings", recorded, found, told)
    for name in ("seed", "threads"):
        was, is_now = str(version.card["settings"][name]), str(getattr(settings, name))
        yield Line(name, was, is_now, f"{name} was {was}, is {is_now}")


def _model_lines(version: Registered, settings: PipelineSettings) -> Iterator[Line]:
    """Tuned parameters, which stand on the model's card, and a model that one coin alone does not make."""
    for name in settings.roster:
        study = f"tuning/{name}"
        if version.recorded(study) != NOT_TOLD:
            found = version.model_card(name).get("tuning", {}).get(study, GONE)
            told = f"{name} was tuned by study {version.recorded(study)}, its card tells the parameters of {found}"
            yield Line(study, version.recorded(study), found, told)
    if POOLED in settings.roster:
        told = f"{POOLED} was made of all coins at once, which the replay of one coin does not make again"
        yield Line(f"pool of {POOLED}", "all coins", version.coin, told)


def _stamped(
    version: Registered, tables: Mapping[str, pd.DataFrame | None], settings: PipelineSettings
) -> dict[str, pd.DataFrame]:
    """The tables with what the rooms ask of their `attrs`; where market or feeds are gone, such as tell nothing."""
    candles = tables[CANDLES]
    if candles is None or candles.empty:
        told = f"there are no candles until {version.decisions.index[-1]}"
        raise DataContractError(f"{version.coin}: version {version.name} cannot be made again: {told}")
    nothing = pd.DataFrame(index=candles.index)
    market, feeds = (nothing if it is None else it for it in (tables[MARKET], tables[FEEDS]))
    stamp(candles, CANDLES, coin=version.coin, interval=settings.interval)
    return {CANDLES: candles, MARKET: stamp(market, MARKET), FEEDS: stamp(feeds, FEEDS, behind=[candles])}
