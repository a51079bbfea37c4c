"""A small market on which the whole corridor runs in seconds."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from crp_pipeline.controls import EXPECTATIONS, ControlReport, Outcome
from crp_pipeline.defs.automation import CORRIDOR
from crp_pipeline.features import feed_proof, proof
from crp_pipeline.provenance import source_hash
from crp_pipeline.settings import (
    DemoConfig,
    EnsembleConfig,
    GateConfig,
    LabelConfig,
    PipelineSettings,
    SentinelConfig,
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
        "sentinels": SentinelConfig(leak_rows=500, leak_rounds=5, leak_folds=2),
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
    return load_settings(**{**values, **changes})


def green_report(now: datetime | None = None) -> ControlReport:
    """What a control run of `now` that comes out as it must would say of this code: these tests are not about the controls."""
    outcomes = tuple(
        Outcome(control, 0, expected.at_most == 1, "", "", {"trades": 1.0}) for control, expected in EXPECTATIONS.items()
    )
    return ControlReport(source_hash(), (now or datetime.now(UTC)).isoformat(), 0.0, outcomes)


def shorten_proof(set_attribute: Callable[[object, str, object], None]) -> None:
    """Fewer cuts per proof: the leakage tests hold its full length."""
    for name, cuts in {"RANDOM_CUTS": 4, "HOLE_CUTS": 3, "LATEST_CUTS": 4}.items():
        set_attribute(proof, name, cuts)
    set_attribute(feed_proof, "HOLE_CUTS", 3)


def corridor_of(floor_plan: dg.Definitions) -> list[dg.AssetKey]:
    """Everything that a night makes: no model outside the roster that is not a baseline."""
    return sorted(CORRIDOR.resolve(floor_plan.resolve_asset_graph()))
