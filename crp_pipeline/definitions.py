"""The floor plan: nine rooms in the order of the corridor."""

import dagster as dg

from crp_pipeline.defs import (
    automation,
    backtest,
    candles,
    controls,
    drift,
    ensemble,
    explanation,
    feasibility,
    features,
    feeds,
    gate,
    labels,
    models,
    pool,
    pruning,
    registry,
    sentinels,
    shadow,
    signals,
    splits,
    tuning,
)
from crp_pipeline.defs.console import console
from crp_pipeline.defs.sharing import stage_io_manager
from crp_pipeline.places import Places
from crp_pipeline.settings import PipelineSettings, load_settings


def floor_plan(settings: PipelineSettings) -> dg.Definitions:
    """Everything Dagster shows and runs, for one configuration."""
    places = Places(settings.data_dir.resolve())
    night_jobs, weekly = automation.jobs(settings), automation.control_job(settings)
    assets = [
        *candles.assets(settings, places),
        *feeds.assets(settings),
        *features.assets(settings, places),
        *labels.assets(settings),
        *splits.assets(settings),
        *feasibility.assets(settings),
        *models.assets(settings, places),
        *pool.assets(settings, places),
        *ensemble.assets(settings, places),
        *backtest.assets(settings, places),
        *controls.assets(settings),
        *sentinels.assets(settings),
        *explanation.assets(settings, places),
        *shadow.assets(settings, places),
        *gate.assets(settings, places),
        *registry.assets(settings, places),
        *signals.assets(settings),
        *drift.assets(settings, places),
        *tuning.assets(settings, places),
    ]
    signals_job, rollback = signals.job(settings), registry.rollback_job(settings, places)
    return dg.Definitions(
        assets=automation.automated(assets, settings),
        jobs=[*night_jobs, weekly, automation.tune_job(settings), rollback, signals_job],
        schedules=[
            *automation.schedules(settings, night_jobs, weekly),
            signals.schedule(settings, places, signals_job),
            *pruning.schedules(settings),
        ],
        sensors=automation.sensors(settings, places, night_jobs),
        resources={"io_manager": stage_io_manager(settings, places)},
        loggers={"console": console},
        executor=dg.in_process_executor,
    )


defs = floor_plan(load_settings())
