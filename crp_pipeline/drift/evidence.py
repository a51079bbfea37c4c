"""What there is to measure a coin's champion by: what it learned from, what it promised, and what it has decided since.

Evidence belongs to the version that made the decisions and to the reign they were made in. A version that comes back after a
rollback, or is promoted again, begins anew: what ended a reign before never counts against the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from crp_pipeline.contracts import CHAMPION, interval_length
from crp_pipeline.drift.outcomes import known_outcomes, no_outcomes, outcomes_of
from crp_pipeline.places import Places
from crp_pipeline.registry import Entry, Registry, Standing, standing
from crp_pipeline.registry.candidate import DECISIONS, MODELS
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.shadow import ShadowLog, can_read, knows_until
from crp_pipeline.storage import read_manifest, read_parquet

ENTHRONED = ("promote", "rollback")
"""Lines of the journal that put a version on the throne."""
LIVE, FRESH, NOTHING = "live signals", "fresh decisions", "nothing"


@dataclass(frozen=True, eq=False)
class Evidence:
    """One champion's evidence, all of it known at one time; outcomes are frames of `contracts.LiveOutcomeSchema`."""

    version: str
    reference: pd.DataFrame
    """Feature rows that the champion learned from; without columns where it learned from features that are no more."""
    recent: pd.DataFrame
    """Feature rows that came after them, of the last `DriftConfig.recent_days`."""
    weight: "pd.Series[float]"
    """How much each of these features matters."""
    past: pd.DataFrame
    """What became of its decisions out of fold."""
    own: pd.DataFrame
    """What became of those it took since it came to the throne."""
    of_recipe: pd.DataFrame
    """... and of those of every champion of its recipe in this reign."""
    source: str
    """Where the decisions since come from: `LIVE`, `FRESH` or `NOTHING`."""


def gather_evidence(
    places: Places,
    coin: str,
    features: pd.DataFrame,
    labels: pd.DataFrame,
    settings: PipelineSettings,
    *,
    now: datetime,
) -> Evidence | None:
    """What there is of the coin's champion; None where nobody reigns.

    `features` are the rows that the champion may be asked about (`features.ready_rows`) and name their `feature_set_id` in
    `attrs`; a bar that closes after `now` is never looked at. Raises `BundleError` or `RegistryError` for a champion whose
    bytes were altered.
    """
    book = Registry(places.registry)
    place = standing(book, coin)
    if place is None:
        return None
    history = book.history(coin)
    until = knows_until(book.folder(coin, place.champion))
    known = features[pd.DatetimeIndex(features.index) + interval_length(settings.interval) <= pd.Timestamp(now)]
    columns = _columns(book, coin, place.champion, features)
    since = pd.Timestamp(now) - pd.Timedelta(settings.drift.recent_days, "D")
    found, source = _decided(places, coin, place, history, labels, settings, now=now)
    is_own = (found["version"] == place.champion) & _closed_after(found, _enthroned(history)[-1].at, settings)
    return Evidence(
        place.champion,
        known.loc[known.index <= until, columns],
        known.loc[(known.index > until) & (known.index > since), columns],
        feature_weights(places, coin, columns),
        _past(book, coin, place.champion, until, labels, settings),
        found[is_own].reset_index(drop=True),
        found,
        source,
    )


def feature_weights(places: Places, coin: str, columns: Sequence[str]) -> "pd.Series[float]":
    """Mean share of each feature in what the coin's models make their forecasts of, as its latest night explained them.

    Each counts alike where nothing was explained of any. Those models are the latest night's, which may be another version's.
    """
    path = places.frame("explanation", coin=coin)
    alike = pd.Series(1.0, index=list(columns), dtype="float64")
    if not path.exists():
        return alike
    told = read_parquet(path).groupby("feature")["share"].mean().reindex(alike.index).fillna(0.0)
    return told if told.sum() > 0 else alike


def recent_of(outcomes: pd.DataFrame, *, recent_days: float, now: datetime) -> pd.DataFrame:
    """Outcomes of decisions about bars of the last days."""
    return outcomes[outcomes["open_time"] > pd.Timestamp(now) - pd.Timedelta(recent_days, "D")]


def _columns(book: Registry, coin: str, version: str, features: pd.DataFrame) -> list[str]:
    """Features that the version's models read, in the table's order; none where they are no longer computed as they were."""
    folder = book.folder(coin, version)
    if not can_read(book.card_alone(coin, version), folder, features.attrs["feature_set_id"]):
        return []
    cards = [read_manifest(path) for path in (folder / MODELS).iterdir()]
    read = {name for card in cards for name in card.get("features", ())}
    return [str(name) for name in features.columns if name in read]


def _past(
    book: Registry, coin: str, version: str, until: pd.Timestamp, labels: pd.DataFrame, settings: PipelineSettings
) -> pd.DataFrame:
    """What had become of the decisions that the version keeps when it was put together; empty where it kept none."""
    kept = book.folder(coin, version) / DECISIONS
    if not kept.exists():
        return no_outcomes()
    cost = settings.of(coin).labels.round_trip_cost_bps
    return outcomes_of(read_parquet(kept), labels, version=version, round_trip_cost_bps=cost, now=until.to_pydatetime())


def _decided(
    places: Places,
    coin: str,
    place: Standing,
    history: Sequence[Entry],
    labels: pd.DataFrame,
    settings: PipelineSettings,
    *,
    now: datetime,
) -> tuple[pd.DataFrame, str]:
    """Outcomes of this reign and where they come from: live signals, or the log of fresh decisions where there are none."""
    in_reign = {entry.version for entry in _enthroned(history[place.reign - 1 :])}
    path = places.outcomes(coin)
    live = known_outcomes(read_parquet(path), now=now) if path.exists() else no_outcomes()
    began = history[place.reign - 1].at
    live = live[live["version"].isin(in_reign) & _closed_after(live, began, settings)].reset_index(drop=True)
    if len(live):
        return live, LIVE
    fresh = _fresh(places, coin, place, labels, settings, now=now)
    return fresh, FRESH if len(fresh) else NOTHING


def _fresh(
    places: Places, coin: str, place: Standing, labels: pd.DataFrame, settings: PipelineSettings, *, now: datetime
) -> pd.DataFrame:
    """What became of the champions' fresh decisions of this reign."""
    told = ShadowLog(places.shadow(coin)).decisions(place.reign)
    told = told[(told["role"] == CHAMPION) & (told["recipe"] == place.recipe)]
    cost = settings.of(coin).labels.round_trip_cost_bps
    tables = [
        outcomes_of(own.set_index("open_time"), labels, version=str(version), round_trip_cost_bps=cost, now=now)
        for version, own in told.groupby("version")
    ]
    found = pd.concat(tables, ignore_index=True) if tables else no_outcomes()
    return found.sort_values("open_time", ignore_index=True)


def _enthroned(history: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in history if entry.action in ENTHRONED]


def _closed_after(outcomes: pd.DataFrame, moment: str, settings: PipelineSettings) -> "pd.Series[bool]":
    return outcomes["open_time"] + interval_length(settings.interval) > pd.Timestamp(moment)
