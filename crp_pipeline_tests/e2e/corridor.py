"""A small market on which the whole corridor runs in seconds."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from crp_pipeline.controls import EXPECTATIONS, ControlReport, Outcome, read_report, write_report
from crp_pipeline.defs.automation import CORRIDOR
from crp_pipeline.provenance import source_hash
from crp_pipeline.settings import (
    DemoConfig,
    EnsembleConfig,
    GateConfig,
    LabelConfig,
    PipelineSettings,
    WalkForwardConfig,
    load_settings,
)


def small_settings(data_dir: Path, **changes: object) -> PipelineSettings:
    """Two demo coins, 3,000 bars, one booster, four folds; bounds as wide as so few decisions allow."""
    values = {
        "source": "demo",
        "coins": (),
        "data_dir": data_dir,
        "horizon": 6,
        "roster": ("lightgbm",),
        "demo": DemoConfig(n_bars=3_000),
        "labels": LabelConfig(volatility_window=50),
        "walk_forward": WalkForwardConfig(train_size=1_200, test_size=500, embargo=6),
        "ensemble": EnsembleConfig(),
        "gate": GateConfig(
            min_trades=100,
            min_test_days=30,
            max_calibration_error=0.1,
            max_tier_calibration_error=0.1,
            min_deflated_sharpe=0.9,
            refresh_margins=50.0,
            n_resamples=200,
        ),
    }
    green_controls(data_dir)
    return load_settings(**{**values, **changes})


def green_controls(data_dir: Path) -> None:
    """A report that says of this code what a control run would: the corridor's tests are not about the controls."""
    if read_report(data_dir, source_hash()) is not None:
        return
    outcomes = tuple(
        Outcome(control, 0, expected.at_most == 1, "", "", {"trades": 1.0}) for control, expected in EXPECTATIONS.items()
    )
    write_report(ControlReport(source_hash(), datetime.now(UTC).isoformat(), 0.0, outcomes), data_dir)


def corridor_of(floor_plan: dg.Definitions) -> list[dg.AssetKey]:
    """Everything that a night makes: no model outside the roster that is not a baseline."""
    return sorted(CORRIDOR.resolve(floor_plan.resolve_asset_graph()))
