"""Tuned against default, out of sample: both recipes over the outer folds, which no study has seen."""

from collections.abc import Mapping
from dataclasses import asdict, replace

import pandas as pd

from crp_pipeline.gate.sentinels import feature_readings, quarantined
from crp_pipeline.models import MODEL_CLASSES, Record, Tuned, cross_fit, quarantined_in, select_features, without
from crp_pipeline.models.base import Progress
from crp_pipeline.models.scoring import forecast_scores, known_bars, log_loss_gain
from crp_pipeline.places import Places
from crp_pipeline.provenance import lineage_of
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.splits import folds_of
from crp_pipeline.storage import read_parquet
from crp_pipeline.tuning.book import Book, CoinTables


def compare_tuned(
    places: Places,
    settings: PipelineSettings,
    tables: CoinTables,
    found: Tuned,
    *,
    seed: int,
    book: Book,
    progress: Progress,
) -> dict[str, float]:
    """Both recipes cross-fitted over the outer folds, `COMPARED` on the bars that both forecast, and both told to the ledger.

    The interval is that of a block bootstrap at 95 %, blocks no shorter than a label lives.
    """
    model_type, own = found.spec.model_type, settings.of(tables.coin)
    chosen = _outer_selection(places, settings, tables, progress)
    shown = without(tables.features, quarantined_in(chosen))
    forecasts = {}
    for name, params in {"default": {}, "tuned": found.params}.items():
        spec = replace(found.spec, params={**found.spec.params, **params})
        forecasts[name] = cross_fit(
            spec,
            shown,
            tables.labels,
            folds_of(tables.splits),
            seed=seed,
            selection=None if MODEL_CLASSES[model_type].reads_every_feature else chosen,
            validation_share=settings.walk_forward.validation_share,
            progress=progress,
            record=Record(
                folder=places.record(tables.coin, model_type),
                feature_set_id=tables.feature_set_id,
                label_settings=asdict(settings.labels),
            ),
        )
        book.append_outer(spec, forecasts[name], seed=seed)
    return {**_gain(forecasts, tables.labels, block=own.horizon + 1), "trials_in_ledger": book.ledger.count(tables.coin)}


def _gain(forecasts: Mapping[str, pd.DataFrame], labels: pd.DataFrame, *, block: int) -> dict[str, float]:
    common = labels.loc[known_bars(forecasts.values(), labels)]
    frames = {name: forecast.loc[common.index] for name, forecast in forecasts.items()}
    default, tuned = (forecast_scores(frames[name], common) for name in ("default", "tuned"))
    gain = log_loss_gain(frames["tuned"], frames["default"], common, block=block)
    return {
        "default_log_loss": default["log_loss"],
        "tuned_log_loss": tuned["log_loss"],
        **{name.removeprefix("log_loss_"): value for name, value in gain.items()},
        "n": tuned["n"],
        "effective_n": tuned["effective_n"],
    }


def _outer_selection(places: Places, settings: PipelineSettings, tables: CoinTables, progress: Progress) -> pd.DataFrame:
    """The features of the outer folds: those that a night has chosen of these very tables, or as a night would choose them."""
    file = places.frame("models", "selection", coin=tables.coin)
    behind = {name: lineage_of(table)[name] for name, table in (("features", tables.features), ("splits", tables.splits))}
    if file.exists():
        stored = read_parquet(file)
        if all(lineage_of(stored).get(name) == hashes for name, hashes in behind.items()):
            return stored
    readings = feature_readings(tables.features, tables.labels, settings.sentinels)
    return select_features(
        tables.features,
        tables.labels,
        tables.splits,
        config=settings.selection,
        seed=settings.seed,
        validation_share=settings.walk_forward.validation_share,
        n_threads=settings.threads,
        excluded=quarantined(readings) if settings.quarantines else (),
        progress=progress,
    )
