"""All sentinels over one coin's night: one pass over its tables, one table of numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from crp_pipeline.backtest import CostData, exit_table
from crp_pipeline.contracts import FINAL, interval_length
from crp_pipeline.gate.comparison import with_exits
from crp_pipeline.gate.sentinels.canary import LEAKING_COLUMN, Canary, causality_canaries, leaking_column, purge_canary
from crp_pipeline.gate.sentinels.caps import Plausibility, plausibility
from crp_pipeline.gate.sentinels.delay import DelayReading, delay_reading
from crp_pipeline.gate.sentinels.label_shift import ShiftReading, shift_profile, shift_reading
from crp_pipeline.gate.sentinels.leakage import LeakReading, leak_meter
from crp_pipeline.gate.sentinels.single_feature import feature_readings
from crp_pipeline.models import columns_of, quarantined_in
from crp_pipeline.settings import PipelineSettings, SentinelConfig


@dataclass(frozen=True)
class Watched:
    """The tables of one coin's night, and what the market tells about its costs."""

    candles: pd.DataFrame
    features: pd.DataFrame
    labels: pd.DataFrame
    roles: pd.DataFrame
    selection: pd.DataFrame
    decisions: pd.DataFrame
    costs: CostData = field(default_factory=CostData)
    """Settled funding and finer candles, as the backtest had them."""


@dataclass(frozen=True)
class Watch:
    """What every sentinel saw."""

    leak: LeakReading
    profile: pd.DataFrame
    """Agreement of decisions with labels of other times, see `shift_profile`."""
    shift: ShiftReading
    features: pd.DataFrame
    """Every feature alone, see `feature_readings`; the planted one is not among them."""
    quarantined: tuple[str, ...]
    """Features that were kept from every model."""
    plausibility: Plausibility
    canaries: tuple[Canary, ...]
    delay: DelayReading


class _Reading(NamedTuple):
    """A row of the table; a number that judges nothing has no limit."""

    name: str
    value: float
    limit: float
    alarm: bool
    sentence: str


def keep_watch(night: Watched, settings: PipelineSettings) -> Watch:
    """Every sentinel's reading of the night, under the coin's own settings; nothing is judged by the gate here."""
    interval, horizon, config = interval_length(settings.interval), settings.horizon, settings.sentinels
    chosen = columns_of(night.selection, FINAL)
    profile = shift_profile(night.decisions, night.labels, horizon=horizon, interval=interval)
    alone, planted = _features_and_canary(night, config, settings.seed)
    leak = leak_meter(
        night.features[chosen],
        night.labels,
        config=config,
        embargo=settings.walk_forward.embargo,
        seed=settings.seed,
        n_threads=settings.threads,
    )
    exits = exit_table(night.labels["volatility"], horizon, settings.exits)
    return Watch(
        leak=leak,
        profile=profile,
        shift=shift_reading(profile, horizon=horizon),
        features=alone,
        quarantined=tuple(quarantined_in(night.selection)),
        plausibility=plausibility(
            night.decisions,
            night.labels,
            holding=horizon * interval,
            config=config,
            edge_is_planted=settings.edge_is_planted,
        ),
        canaries=(
            planted,
            *causality_canaries(night.candles, seed=settings.seed),
            purge_canary(night.roles, night.labels),
        ),
        delay=delay_reading(
            night.candles,
            with_exits(night.decisions, exits),
            execution=settings.execution,
            sizing=settings.sizing,
            data=night.costs,
        ),
    )


def sentinel_table(found: Watch, config: SentinelConfig) -> pd.DataFrame:
    """One row per number: `name`, `value`, `limit` (NaN for one that judges nothing), `alarm` and a `sentence`."""
    readings = (
        *_of_leak(found.leak),
        *_of_shift(found.shift, config),
        *_of_features(found, config),
        *_of_plausibility(found.plausibility, config),
        *_of_canaries(found.canaries),
        *_of_delay(found.delay),
    )
    return pd.DataFrame(readings, columns=_Reading._fields)


def sentinel_evidence(table: pd.DataFrame) -> dict[str, float]:
    """The numbers of a sentinel table by name, as a verdict takes them; NaN where nothing could be measured."""
    return {str(name): float(value) for name, value in zip(table["name"], table["value"], strict=True)}


def alarms_of(table: pd.DataFrame, *names: str) -> list[str]:
    """The sentences of those numbers that set off an alarm."""
    return table.loc[table["name"].isin(names) & table["alarm"], "sentence"].tolist()


def _features_and_canary(night: Watched, config: SentinelConfig, seed: int) -> tuple[pd.DataFrame, Canary]:
    """Every feature alone in one pass, and whether the planted one among them was caught."""
    planted = pd.concat([night.features, leaking_column(night.labels, seed=seed)], axis=1)
    readings = feature_readings(planted, night.labels, config)
    return readings.drop(index=LEAKING_COLUMN), Canary(LEAKING_COLUMN, bool(readings.loc[LEAKING_COLUMN, "alarm"]))


def _of_leak(leak: LeakReading) -> Iterator[_Reading]:
    yield _told("leak_shuffled_accuracy", leak.shuffled_accuracy, f"{leak.shuffled_accuracy:.1%} by shuffled folds")
    yield _told("leak_purged_accuracy", leak.purged_accuracy, f"{leak.purged_accuracy:.1%} by purged folds on the same rows")
    fooled = f"a project that shuffles would have fooled itself by {100 * leak.gap:.1f} points on {leak.n_rows:,} bars"
    yield _told("leak_gap", leak.gap, fooled)


def _of_shift(it: ShiftReading, config: SentinelConfig) -> Iterator[_Reading]:
    yield _told("shift_peak", it.peak, f"decisions agree best with the labels {it.peak:+.0f} bars away")
    yield _told("own_label_accuracy", it.own_accuracy, f"{it.own_accuracy:.1%} of sides agree with their own label")
    yield _told("ended_label_accuracy", it.ended_accuracy, f"{it.ended_accuracy:.1%} with labels that had ended")
    yield _told("later_label_accuracy", it.later_accuracy, f"{it.later_accuracy:.1%} with labels that begin later")
    sentence = f"{it.z:+.1f} standard errors more agreement with labels of another time than with the own"
    yield _Reading("shift_z", it.z, config.max_shift_z, it.z > config.max_shift_z, sentence)


def _of_features(found: Watch, config: SentinelConfig) -> Iterator[_Reading]:
    auc, z = (found.features["auc"] - 0.5).abs(), found.features["z"].abs()
    alarmed = list(found.features.index[found.features["alarm"]])
    n_hidden, names = len(found.quarantined), ", ".join(alarmed[:3])
    yield _Reading("largest_feature_auc", 0.5 + auc.max(), config.max_feature_auc, False, _best(auc, "ranks labels best"))
    yield _Reading("largest_feature_z", z.max(), config.max_feature_z, False, _best(z, "is furthest from chance"))
    sentence = f"{len(alarmed)} features predict too well alone{f', {names} among them' if alarmed else ''}"
    yield _Reading("feature_alarms", float(len(alarmed)), 0.0, bool(alarmed), sentence)
    yield _told("quarantined_features", float(n_hidden), f"{n_hidden} features were kept from every model")


def _of_plausibility(it: Plausibility, config: SentinelConfig) -> Iterator[_Reading]:
    right, ranked = f"{it.accuracy:.1%} of directions were right", f"the forecast ranks directions with an AUC of {it.auc:.3f}"
    yield _Reading("forecast_accuracy", it.accuracy, config.max_accuracy, False, right)
    yield _Reading("forecast_auc", it.auc, config.max_auc, False, ranked)
    sentence = f"{'more' if it.is_implausible else 'no more'} skill than can be believed up to {config.plausibility_horizon}"
    yield _Reading("implausible", float(it.is_implausible), 0.0, it.is_implausible, sentence)


def _of_canaries(canaries: Sequence[Canary]) -> Iterator[_Reading]:
    missed = [canary.name for canary in canaries if not canary.caught]
    n, n_caught = len(canaries), len(canaries) - len(missed)
    yield _told("canaries_planted", float(n), f"{n} leaks were planted")
    yield _told("canaries_caught", float(n_caught), f"{n_caught} of them were caught")
    sentence = f"not caught: {', '.join(missed)}" if missed else "no planted leak went unseen"
    yield _Reading("canaries_missed", float(len(missed)), 0.0, bool(missed), sentence)


def _of_delay(it: DelayReading) -> Iterator[_Reading]:
    yield _told("delayed_expectancy_bps", it.delayed_expectancy_bps, f"{it.delayed_expectancy_bps:.1f} bps one bar late")
    lost = f"{it.edge_lost:.0%} of {it.expectancy_bps:.1f} bps per trade are gone one bar later"
    sentence = "there is no edge to lose" if np.isnan(it.edge_lost) else lost
    yield _Reading("edge_lost_with_delay", it.edge_lost, 1.0, it.edge_lost >= 1, sentence)


def _told(name: str, value: float, sentence: str) -> _Reading:
    return _Reading(name, value, np.nan, alarm=False, sentence=sentence)


def _best(distance: "pd.Series[float]", what: str) -> str:
    return f"{distance.idxmax()} {what}" if distance.notna().any() else "no feature could be judged"
