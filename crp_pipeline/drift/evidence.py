"""What there is to measure a coin's champion by: what it learned from, what it promised, and what it has decided since.

Evidence belongs to the version that made the decisions and to the reign they were made in. A version that comes back after a
rollback, or is promoted again, begins anew: what ended a reign before never counts against the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from crp_pipeline.contracts import CHAMPION, interval_length
from crp_pipeline.drift.outcomes import Market, known_outcomes, no_outcomes, outcomes_of
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry, Reign, Standing, standing
from crp_pipeline.registry.candidate import DECISIONS, MODELS
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.shadow import ShadowLog, can_read, knows_until
from crp_pipeline.signals.outcomes import outcome_frame
from crp_pipeline.storage import read_manifest, read_parquet

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
    """Where the decisions since come from: how many are `LIVE` and how many `FRESH`, or `NOTHING`."""


def gather_evidence(
    places: Places, coin: str, features: pd.DataFrame, market: Market, settings: PipelineSettings, *, now: datetime
) -> Evidence | None:
    """What there is of the coin's champion; None where nobody reigns.

    `features` are the rows that the champion may be asked about (`features.ready_rows`) and name their `feature_set_id` in
    `attrs`; a bar that closes after `now` is never looked at. Raises `BundleError` or `RegistryError` for a champion whose
    bytes were altered.
    """
    book, own = Registry(places.registry), settings.of(coin)
    place = standing(book, coin)
    if place is None:
        return None
    until = knows_until(book.folder(coin, place.champion))
    known = features[pd.DatetimeIndex(features.index) + interval_length(settings.interval) <= pd.Timestamp(now)]
    columns = _columns(book, coin, place.champion, features)
    since = pd.Timestamp(now) - pd.Timedelta(settings.drift.recent_days, "D")
    throne = book.state(coin).throne
    decided, source = _decided(places, coin, place, throne, market, own, now=now)
    is_own = (decided["version"] == place.champion) & _closed_after(decided, throne[-1].at, settings.interval)
    return Evidence(
        place.champion,
        known.loc[known.index <= until, columns],
        known.loc[(known.index > until) & (known.index > since), columns],
        feature_weights(places, coin, columns),
        _past(book, coin, place.champion, until, market, own),
        decided[is_own].reset_index(drop=True),
        decided,
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
    book: Registry, coin: str, version: str, until: pd.Timestamp, market: Market, settings: PipelineSettings
) -> pd.DataFrame:
    """What had become of the decisions that the version keeps when it was put together; empty where it kept none."""
    kept = book.folder(coin, version) / DECISIONS
    if not kept.exists():
        return no_outcomes()
    decisions = read_parquet(kept)
    among = decisions[decisions.index.isin(market.candles.index)]
    return outcomes_of(among, market, settings, version=version, now=until.to_pydatetime())


def _decided(
    places: Places,
    coin: str,
    place: Standing,
    throne: Sequence[Reign],
    market: Market,
    settings: PipelineSettings,
    *,
    now: datetime,
) -> tuple[pd.DataFrame, str]:
    """Outcomes of this reign, one per bar, and where they come from.

    Live signals; of a bar without one, the log of fresh decisions.
    """
    [began, *_] = in_reign = [reign for reign in throne if reign.line >= place.reign]
    path = places.outcomes(coin)
    live = known_outcomes(read_parquet(path), now=now) if path.exists() else no_outcomes()
    is_own = live["version"].isin({reign.version for reign in in_reign}) & _closed_after(live, began.at, settings.interval)
    live, fresh = live[is_own], _fresh(places, coin, place, market, settings, now=now)
    fresh = fresh[~fresh["open_time"].isin(live["open_time"])]
    return outcome_frame(pd.concat([live, fresh], ignore_index=True)), _source(len(live), len(fresh))


def _source(n_live: int, n_fresh: int) -> str:
    """`live signals: 30, fresh decisions: 720`."""
    told = [f"{what}: {n:,}" for what, n in ((LIVE, n_live), (FRESH, n_fresh)) if n]
    return ", ".join(told) or NOTHING


def _fresh(
    places: Places, coin: str, place: Standing, market: Market, settings: PipelineSettings, *, now: datetime
) -> pd.DataFrame:
    """What became of the champions' fresh decisions of this reign."""
    told = ShadowLog(places.shadow(coin)).decisions(place.reign)
    told = told[(told["role"] == CHAMPION) & (told["recipe"] == place.recipe) & told["open_time"].isin(market.candles.index)]
    tables = [
        outcomes_of(own.set_index("open_time"), market, settings, version=str(version), now=now)
        for version, own in told.groupby("version")
    ]
    found = pd.concat(tables, ignore_index=True) if tables else no_outcomes()
    return found.sort_values("open_time", ignore_index=True)


def _closed_after(outcomes: pd.DataFrame, moment: str, interval: str) -> "pd.Series[bool]":
    return outcomes["open_time"] + interval_length(interval) > pd.Timestamp(moment)
