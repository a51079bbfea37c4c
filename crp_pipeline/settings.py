"""Every number an operator may set: its name, unit, default and range.

`load_settings()` reads `[tool.crp_pipeline]` of the `pyproject.toml` in the working directory, then `CRP_*` variables, which
win. A nested value is reached with two underscores: `CRP_EXECUTION__FEE_BPS=4`. A wrong value stops the load with its key, what
was given and what is allowed. The parameter classes stand here, below all stages, so that this page lists every knob once;
each stage re-exports its own.
"""

import json
import os
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    PyprojectTomlConfigSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableVariableError

from crp_pipeline.errors import CrpError

TRAINABLE = ("xgboost", "lightgbm", "catboost")
"""What a roster may name."""
INTERVALS = ("1m", "5m", "15m", "30m", "1h", "4h", "1d")
Interval = Literal["1m", "5m", "15m", "30m", "1h", "4h", "1d"]
Share = Annotated[float, Field(gt=0, lt=1)]
CoinName = Annotated[str, Field(pattern=r"^[A-Z0-9]+([-_][A-Z0-9]+)*$")]
SnakeCase = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Delay = Annotated[str, Field(pattern=r"^[0-9]{1,4}(ms|s|min|h|D)$")]
"""A length of time, such as 500ms, 10min, 8h or 1D."""

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


class SettingsError(CrpError):
    """A setting has an unknown name or a value outside its range."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class LabelConfig:
    """What a label is: the move from the next open to the open `horizon` bars later, against costs and volatility."""

    horizon: Annotated[int, Field(ge=1, le=10_000)] = 24
    """Bars between entry and exit."""
    neutral_volatility_multiple: Annotated[float, Field(ge=0, le=5)] = 0.25
    """Half-width of the neutral band, in volatilities over the horizon."""
    round_trip_cost_bps: Annotated[float, Field(ge=0, le=1_000)] = 14.0
    """The neutral band is never narrower than this."""
    volatility_window: Annotated[int, Field(ge=10, le=10_000)] = 100
    """Bars of close-to-close returns in the causal volatility."""
    trend_clip: Annotated[float, Field(gt=0, le=20)] = 3.0
    """Largest absolute trend strength."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class WalkForwardConfig:
    """How the history is cut into a training past and a tested future, again and again."""

    train_size: Annotated[int, Field(ge=100)] = 8_760
    """Bars before the first test block."""
    test_size: Annotated[int, Field(ge=20)] = 2_160
    """Bars in each test block."""
    embargo: Annotated[int, Field(ge=0)] = 24
    """Bars kept free between the last training label and a test block, beyond the purge."""
    expanding: bool = True
    """True: train on everything before the block; False: on the last `train_size` bars."""
    validation_share: Share = 0.15
    """Tail of the training block that early stopping watches, purged from the rest."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SelectionConfig:
    """Which features a model learns from, chosen inside each training block and nowhere else."""

    enabled: bool = True
    """False: every model learns from the whole set."""
    keep: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Features that are kept at most, best first."""
    max_correlation: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Of two features whose ranks are correlated more than this, in absolute value, one is dropped; 1 drops none."""
    watch_share: Share = 0.25
    """Tail of a training block on which features are ranked, by a model of the rest, purged."""
    learn_rows: Annotated[int, Field(ge=100)] = 8_000
    """Rows that the ranking model learns from at most; drawn by the seed where there are more."""
    watch_rows: Annotated[int, Field(ge=100)] = 1_500
    """Rows of the tail that are scored at most; drawn by the seed where there are more."""
    correlation_rows: Annotated[int, Field(ge=100)] = 4_000
    """Rows that correlations are taken over at most; drawn by the seed where there are more."""
    n_repeats: Annotated[int, Field(ge=1, le=100)] = 1
    """Times that a feature is permuted on them: neighbouring labels overlap, so more rows say more than more repeats."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ExecutionModel:
    """What it costs to trade and when a position is closed. Fees and slippage are paid on both sides."""

    fee_bps: Annotated[float, Field(ge=0, le=500)] = 5.0
    """Taker fee per side, on notional."""
    spread_bps: Annotated[float, Field(ge=0, le=500)] = 2.0
    """Full quoted spread; half of it is paid per side."""
    slippage_bps: Annotated[float, Field(ge=0, le=500)] = 1.0
    """Mean adverse slippage per side."""
    slippage_noise_bps: Annotated[float, Field(ge=0, le=500)] = 0.0
    """Scale of the seeded exponential draw that comes on top of the mean."""
    horizon: Annotated[int, Field(ge=1)] | None = 24
    """Bars after which a position is closed at the open; None holds until stop, target or the end."""
    gap_through_target: Literal["target", "open"] = "target"
    """A bar that opens beyond the target fills at the target (no gift) or at the open."""
    close_at_end: bool = True
    """Close a position that is still open at the end at the close of the last bar that traded; False leaves it open."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the slippage draws."""

    @property
    def cost_per_side_bps(self) -> float:
        """Expected cost of one fill: fee, half the spread and slippage."""
        return self.fee_bps + self.spread_bps / 2 + self.slippage_bps + self.slippage_noise_bps


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ExitConfig:
    """Where stop and target lie, in causal volatilities over the horizon."""

    stop_volatility_multiple: Annotated[float, Field(gt=0, le=20)] = 1.5
    target_volatility_multiple: Annotated[float, Field(gt=0, le=20)] = 1.5


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Sizing:
    """How large a position is: a fixed risk of equity over the distance to the stop, capped by leverage."""

    initial_equity: Annotated[float, Field(gt=0)] = 100_000.0
    risk_per_trade: Share = 0.01
    """Share of equity lost when the stop fills at its price, costs included."""
    max_leverage: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Notional over equity at entry; without a stop a position is this large."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class EnsembleConfig:
    """How base predictions become one decision."""

    calibration_share: Share = 0.3
    """Latest part of the out-of-fold rows that calibrates and does not fit."""
    tier_quantiles: tuple[Share, Share] = (1 / 3, 2 / 3)
    """Confidence quantiles of earlier decisions that part low, medium and high."""
    regularization: Annotated[float, Field(gt=0)] = 1.0
    """Inverse L2 strength of the meta-model."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.tier_quantiles[0] >= self.tier_quantiles[1]:
            raise ValueError(f"tier_quantiles must rise, got {self.tier_quantiles}")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class GateConfig:
    """Thresholds a candidate must pass, in the order in which they are judged."""

    min_trades: Annotated[int, Field(ge=0)] = 200
    min_effective_n: Annotated[float, Field(ge=0)] = 100.0
    min_test_days: Annotated[float, Field(ge=0)] = 90.0
    min_high_tier_trades: Annotated[int, Field(ge=0)] = 30
    max_permutation_p: Share = 0.05
    min_probabilistic_sharpe: Share = 0.95
    min_deflated_sharpe: Share = 0.95
    max_tier_calibration_error: Share = 0.05
    min_high_tier_win_rate: Share = 0.68
    max_calibration_error: Share = 0.05
    level: Share = 0.95
    """Confidence level of every interval."""
    n_resamples: Annotated[int, Field(ge=100)] = 2_000
    """Bootstrap resamples and permutations."""
    fleet_min_promoted: Annotated[int, Field(ge=1)] = 2
    """The night counts as good when this many ..."""
    fleet_of: Annotated[int, Field(ge=1)] = 3
    """... of this many coins are promoted (the share is applied to any number of coins)."""

    @model_validator(mode="after")
    def _attainable(self) -> Self:
        if self.fleet_min_promoted > self.fleet_of:
            raise ValueError(f"fleet_min_promoted = {self.fleet_min_promoted} must not exceed fleet_of = {self.fleet_of}")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class DemoConfig:
    """The embedded synthetic market."""

    n_bars: Annotated[int, Field(ge=500, le=10_000_000)] = 20_000
    seed: Annotated[int, Field(ge=0)] = 7
    edge: Annotated[float, Field(ge=0, le=5)] = 1.0
    """kappa of EDGE-DEMO: drift per unit of hidden state, in volatilities."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ExchangeConfig:
    """Where the `exchange` source downloads bars, through ccxt and without a key."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+$")] = "binance"
    """ccxt's id of the exchange."""
    market: Literal["spot", "swap"] = "spot"
    start: date = date(2017, 1, 1)
    """No bar before this day (UTC) is asked for."""
    recheck: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Stored bars that are asked for again, to see whether the exchange restates them."""
    settle_s: Annotated[float, Field(ge=0, le=3_600)] = 10.0
    """Seconds after its close before a bar is taken: trades may be booked late."""
    max_silence_days: Annotated[float, Field(gt=0)] = 30.0
    """A market whose last bar is older is dead, and an error."""
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 20.0
    """Seconds to wait for one answer."""
    retries: Annotated[int, Field(ge=0, le=20)] = 6
    """Further attempts after a request that failed for a passing reason; the pause doubles from 1 s."""
    rate_limit_ms: Annotated[float, Field(ge=0, le=60_000)] | None = None
    """Milliseconds between two requests of weight 1; None: as ccxt knows the exchange."""
    client_options: dict[str, Any] = Field(default_factory=dict)
    """Further options of ccxt's constructor, such as `{"httpsProxy": ...}` or other `urls`."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class FeedConfig:
    """A feed beside the candles: a file of numbers by time, and when each of them was known."""

    path: Annotated[str, Field(min_length=1)]
    """Parquet or CSV; with `{coin}` (BTC-USDT) or `{base}` (BTC) in it one file per coin."""
    available_after: Delay
    """Time from a value's stamp to its publication, which only you know: 1D for a daily mean stamped at its day's start."""
    symbol: str | None = None
    """What the file's coin column calls a coin, such as `{coin}` or `{base}USDT`; None: the file has one series."""
    coins: tuple[CoinName, ...] = ()
    """Coins that have this feed; empty: all. One of these without a file or a row is an error."""
    columns: Mapping[SnakeCase, str] = Field(default_factory=dict)
    """Name here -> column of the file; empty: all as they are. Features read funding_rate, open_interest and fear_greed."""
    max_age: Delay | None = None
    """Age past which a value counts as unknown; None: three of the feed's own steps."""


class PipelineSettings(BaseSettings):
    """The whole configuration of one installation; frozen once loaded."""

    model_config = SettingsConfigDict(
        env_prefix="CRP_",
        env_nested_delimiter="__",
        pyproject_toml_table_header=("tool", "crp_pipeline"),
        extra="forbid",
        frozen=True,
    )

    source: Literal["demo", "files", "exchange"] = "demo"
    coins: tuple[CoinName, ...] = ()
    """Empty: every coin that the source has."""
    interval: Interval = "1h"
    horizon: Annotated[int, Field(ge=1, le=10_000)] = 24
    """Bars a decision is held at most; `labels.horizon` and `execution.horizon` follow it."""
    data_dir: Path = Path("data")
    files_dir: Path = Path("data/raw")
    """Folder of the `files` source: one parquet or CSV per coin, named after it."""
    max_gap: Annotated[int, Field(ge=0, le=1_000)] = 4
    """Longest hole, in bars, that is filled by flat flagged bars."""
    seed: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=1, le=512)] = 1
    """Threads that one model may use. Runs of different coins fill the cores; more threads than cores spin and wait."""
    roster: tuple[str, ...] = ("xgboost", "lightgbm", "catboost")
    """Model types that are trained and stacked."""

    labels: LabelConfig = LabelConfig()
    walk_forward: WalkForwardConfig = WalkForwardConfig()
    selection: SelectionConfig = SelectionConfig()
    execution: ExecutionModel = ExecutionModel()
    exits: ExitConfig = ExitConfig()
    sizing: Sizing = Sizing()
    ensemble: EnsembleConfig = EnsembleConfig()
    gate: GateConfig = GateConfig()
    demo: DemoConfig = DemoConfig()
    exchange: ExchangeConfig = ExchangeConfig()
    feeds: Mapping[SnakeCase, FeedConfig] = Field(default_factory=dict)
    """Feeds by a name of your own."""

    @model_validator(mode="after")
    def _known_models(self) -> Self:
        if not self.roster or not set(self.roster) <= set(TRAINABLE) or len(set(self.roster)) < len(self.roster):
            raise ValueError(f"roster = {self.roster!r} is not allowed: name {', '.join(TRAINABLE)}, each at most once")
        return self

    @model_validator(mode="after")
    def _each_coin_once(self) -> Self:
        twice = sorted({coin for coin in self.coins if self.coins.count(coin) > 1})
        if twice:
            raise ValueError(f"coins names {twice[0]} more than once")
        return self

    @model_validator(mode="after")
    def _room_to_train(self) -> Self:
        """The first training block outlasts a label and the embargo, or no label would be left to learn from."""
        taken = self.horizon + 1 + self.walk_forward.embargo
        if self.walk_forward.train_size <= taken:
            raise ValueError(
                f"walk_forward.train_size = {self.walk_forward.train_size} is not allowed: horizon and walk_forward.embargo "
                f"keep {taken} bars before a test block free, so it must be larger"
            )
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _one_horizon_one_cost(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        """Labels and execution share the horizon, and the neutral band covers the costs in force."""
        settings = validate(given)
        cost = 2 * settings.execution.cost_per_side_bps
        decided: dict[str, dict[str, float]] = {
            "labels": {"horizon": settings.horizon, "round_trip_cost_bps": cost},
            "execution": {"horizon": settings.horizon},
        }
        for section, values in decided.items():
            told = getattr(settings, section)
            _refuse_another(section, _named(given.get(section), told) & set(values), told, values)
            object.__setattr__(settings, section, replace(told, **values))
        return settings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over `CRP_*` variables, those over pyproject.toml."""
        return init_settings, env_settings, PyprojectTomlConfigSettingsSource(settings_cls)


def _named(given: object, section: Any) -> set[str]:
    """What was set by name; of a ready-made section, what differs from its defaults."""
    if isinstance(given, dict):
        return set(given)
    return {field.name for field in fields(section) if getattr(section, field.name) != field.default}


def _refuse_another(section: str, names: set[str], told: object, decided: Mapping[str, float]) -> None:
    """Raises `ValueError` when a section was told something else than other settings decide."""
    for name in sorted(names):
        if getattr(told, name) != decided[name]:
            source = "horizon" if name == "horizon" else "the costs in execution"
            rule = f"it follows {source} and is {decided[name]!r}"
            raise ValueError(f"{section}.{name} = {getattr(told, name)!r} is not allowed: {rule}")


def load_settings(**overrides: object) -> PipelineSettings:
    """The settings of this working directory and environment; raises `SettingsError` naming key, value and what is allowed."""
    _warn_of_unknown_variables()
    try:
        return PipelineSettings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(problem) for problem in error.errors())) from error
    except UnreadableVariableError as error:
        raise SettingsError(_unreadable(error)) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"pyproject.toml is not TOML: {error}") from error


def _sentence(problem: object) -> str:
    assert isinstance(problem, dict)
    if not problem["loc"]:  # a rule between settings, which names them itself
        return str(problem["msg"]).removeprefix("Value error, ")
    parts = [str(part) for part in problem["loc"]]
    key = ".".join(part for part in parts if part != "[key]" and not part.startswith("function-"))
    if problem["type"] == "missing":
        return f"{key} must be set: it has no default"
    if problem["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        return f"{key} is not a setting (see crp_pipeline/settings.py for the names)"
    return f"{key} = {problem['input']!r} is not allowed: {problem['msg'].removeprefix('Value error, ')}"


def _unreadable(error: UnreadableVariableError) -> str:
    """What a variable that should have held JSON holds instead."""
    field = next((name for name in PipelineSettings.model_fields if f'"{name}"' in str(error)), "")
    variable = next((name for name in os.environ if name.upper() == f"CRP_{field.upper()}"), f"CRP_{field.upper()}")
    kind = PipelineSettings.model_fields[field].annotation if field else None
    if is_dataclass(kind):
        name = fields(kind)[0].name
        form = f'JSON, such as {{"{name}": {json.dumps(fields(kind)[0].default)}}}, or name by name: {variable}__{name.upper()}'
    elif field == "feeds":
        form = 'JSON, such as {"funding": {"path": "data/raw/feeds/funding.csv", "available_after": "1D"}}'
    else:
        form = 'a list as JSON, such as ["A", "B"]'
    return f"{variable} = {os.environ.get(variable)!r} is not allowed: write {form}"


def _warn_of_unknown_variables() -> None:
    known = set(PipelineSettings.model_fields) | {"market_data"}
    for variable in os.environ:
        name = variable.removeprefix("CRP_").split("__")[0].lower()
        if variable.startswith("CRP_") and name not in known:
            nearest = get_close_matches(name, known, n=1)
            hint = f"; did you mean CRP_{nearest[0].upper()}?" if nearest else ""
            warnings.warn(f"{variable} is not a setting and is ignored{hint}", stacklevel=3)
