"""Every number an operator may set: its name, unit, default and range.

`load_settings()` reads `[tool.crp_pipeline]` of the `pyproject.toml` in the working directory, then `CRP_*` variables, which
win. A nested value is reached with two underscores: `CRP_EXECUTION__FEE_BPS=4`. A wrong value stops the load with its key, what
was given and what is allowed. The parameter classes stand in `parameters`, below all stages, so that one page lists every knob
once; each stage re-exports its own. What only runs a night stands in `operations`. `pipeline` puts them together.
"""

from crp_pipeline.settings.explanation import ExplanationConfig
from crp_pipeline.settings.operations import (
    AutomationConfig,
    DriftConfig,
    LimitsConfig,
    NotifyConfig,
    RetentionConfig,
    SignalsConfig,
    is_loopback,
)
from crp_pipeline.settings.parameters import (
    INTERVALS,
    TRAINABLE,
    CoinOverrides,
    DemoConfig,
    EnsembleConfig,
    ExchangeConfig,
    ExecutionModel,
    ExitConfig,
    FeedConfig,
    GateConfig,
    Interval,
    LabelConfig,
    PropFirmRules,
    ScaledExecution,
    SelectionConfig,
    SentinelConfig,
    Sizing,
    WalkForwardConfig,
)
from crp_pipeline.settings.pipeline import PipelineSettings, SettingsError, ToldSettings, is_store_url, load_settings

__all__ = [
    "INTERVALS",
    "TRAINABLE",
    "AutomationConfig",
    "CoinOverrides",
    "DemoConfig",
    "DriftConfig",
    "EnsembleConfig",
    "ExchangeConfig",
    "ExecutionModel",
    "ExitConfig",
    "ExplanationConfig",
    "FeedConfig",
    "GateConfig",
    "Interval",
    "LabelConfig",
    "LimitsConfig",
    "NotifyConfig",
    "PipelineSettings",
    "PropFirmRules",
    "RetentionConfig",
    "ScaledExecution",
    "SelectionConfig",
    "SentinelConfig",
    "SettingsError",
    "SignalsConfig",
    "Sizing",
    "ToldSettings",
    "WalkForwardConfig",
    "is_loopback",
    "is_store_url",
    "load_settings",
]
