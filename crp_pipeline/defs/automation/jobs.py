"""The jobs: one per phase of a night, the weekly control run and the tuning of a coin."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from crp_pipeline.defs.automation.night import PHASES
from crp_pipeline.settings import PipelineSettings

MAX_RUNTIME = "dagster/max_runtime"
"""Tag by which Dagster's run monitoring ends a run, in seconds; it begins with the run, not with its place in the queue."""

CORRIDOR = dg.AssetSelection.assets("summary").upstream()
"""What a night makes: all but the models that neither stand in the roster nor are baselines. In Dagster's words `+summary`."""

_CANDLES = dg.AssetSelection.assets("candles")
_MARKET = dg.AssetSelection.assets("market")
_CONTROLS = dg.AssetSelection.assets("controls")
_SUMMARY = dg.AssetSelection.assets("summary")
_COINS = CORRIDOR - _CANDLES - _MARKET - _CONTROLS - _SUMMARY


def jobs(settings: PipelineSettings) -> list[UnresolvedAssetJobDefinition]:
    """One job per phase."""
    selections = (_CANDLES, _MARKET, _CONTROLS, _COINS, _SUMMARY)
    return [_job(name, selection, settings) for name, selection in zip(PHASES, selections, strict=True)]


def control_job(settings: PipelineSettings) -> UnresolvedAssetJobDefinition:
    """`weekly_controls`: the control suite on seeds of its own, whether or not the code has changed."""
    return _job("weekly_controls", _CONTROLS, settings)


def tune_job(settings: PipelineSettings) -> UnresolvedAssetJobDefinition:
    """`tune`: every model with a search space, of the coin that is asked for; no night does it by itself."""
    return _job("tune", dg.AssetSelection.groups("tuning"), settings)


def _job(name: str, selection: dg.AssetSelection, settings: PipelineSettings) -> UnresolvedAssetJobDefinition:
    """Steps of a run share a process, since a process of their own costs seconds each."""
    return dg.define_asset_job(
        name,
        selection,
        executor_def=dg.in_process_executor,
        config={"loggers": {"console": {}}},
        tags={MAX_RUNTIME: str(round(settings.limits.run_minutes * 60))},
    )
