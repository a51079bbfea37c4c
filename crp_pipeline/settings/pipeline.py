"""The whole configuration of one installation, read from pyproject.toml and `CRP_*` variables."""

import json
import os
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AwareDatetime,
    Field,
    ModelWrapValidatorHandler,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    PyprojectTomlConfigSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableVariableError

from crp_pipeline.errors import CrpError
from crp_pipeline.settings import secret
from crp_pipeline.settings.explanation import ExplanationConfig
from crp_pipeline.settings.operations import (
    AutomationConfig,
    DriftConfig,
    LimitsConfig,
    NotifyConfig,
    RetentionConfig,
    SignalsConfig,
)
from crp_pipeline.settings.parameters import (
    TRAINABLE,
    CoinName,
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
    SelectionConfig,
    SentinelConfig,
    Sizing,
    SnakeCase,
    WalkForwardConfig,
)

STORE_SCHEMES = ("redis", "rediss", "unix")
"""How the URL of an online store may begin."""
_VARIABLES_OF_OTHERS = {"market_data", "dagster_pg_url", "serve_token"}
"""Variables that begin with CRP_ and are no settings: real candles for tests, Dagster's database, the token of `crp serve`."""
_Section = TypeVar("_Section", ExecutionModel, Sizing)


class SettingsError(CrpError):
    """A setting has an unknown name or a value outside its range."""


class PipelineSettings(BaseSettings):
    """The whole configuration of one installation; frozen once loaded."""

    model_config = SettingsConfigDict(
        env_prefix="CRP_",
        env_nested_delimiter="__",
        pyproject_toml_table_header=("tool", "crp_pipeline"),
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )
    is_of_an_installation: ClassVar[bool] = True
    """True: variables and pyproject.toml are read."""

    source: Literal["demo", "files", "exchange"] = "demo"
    coins: tuple[CoinName, ...] = ()
    """Empty: every coin that the source has."""
    retired: tuple[CoinName, ...] = ()
    """Coins that no night looks at any more; what was stored of them stays."""
    interval: Interval = "1h"
    horizon: Annotated[int, Field(ge=1, le=10_000)] = 24
    """Bars a decision is held at most; `labels.horizon` and `execution.horizon` follow it."""
    data_dir: Path = Path("data")
    files_dir: Path = Path("data/raw")
    """Folder of the `files` source: one parquet or CSV per coin, named after it."""
    finer_dir: Path | None = None
    """Folder of candles of a shorter interval, one parquet or CSV per coin that has them, for prices after a delay."""
    max_gap: Annotated[int, Field(ge=0, le=1_000)] = 4
    """Longest hole, in bars, that is filled by flat flagged bars."""
    seed: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=1, le=512)] = 1
    """Threads that one model may use. Runs of different coins fill the cores; more threads than cores spin and wait."""
    roster: tuple[str, ...] = ("xgboost", "lightgbm", "catboost", "tcn", "attention_lstm")
    """Model types that are trained and stacked."""

    labels: LabelConfig = LabelConfig()
    walk_forward: WalkForwardConfig = WalkForwardConfig()
    selection: SelectionConfig = SelectionConfig()
    execution: ExecutionModel = ExecutionModel()
    exits: ExitConfig = ExitConfig()
    sizing: Sizing = Sizing()
    ensemble: EnsembleConfig = EnsembleConfig()
    explanation: ExplanationConfig = ExplanationConfig()
    gate: GateConfig = GateConfig()
    sentinels: SentinelConfig = SentinelConfig()
    prop_firm: PropFirmRules = PropFirmRules()
    demo: DemoConfig = DemoConfig()
    exchange: ExchangeConfig = ExchangeConfig()
    feeds: Mapping[SnakeCase, FeedConfig] = Field(default_factory=dict)
    """Feeds by a name of your own."""
    coin_overrides: Mapping[CoinName, CoinOverrides] = Field(default_factory=dict)
    """Coins whose execution or sizing differs, and in which fields; each among `coins` where these are named; see `of`."""

    clock: AwareDatetime | None = None
    """The moment that a rehearsal takes for the present; None: the machine's clock."""
    storage: secret.Address | None = None
    """Where artifacts are shared between machines, such as s3://bucket/prefix; None: `data_dir` alone keeps them."""
    online_store: SecretStr | None = None
    """Where bots read the newest decision, such as redis://host:6379/0; None: parquet files under `data_dir`."""
    mlflow: SecretStr | None = None
    """Tracking URI of an MLflow server that mirrors runs and champions; None: no mirror."""
    signals: SignalsConfig = SignalsConfig()
    drift: DriftConfig = DriftConfig()
    retention: RetentionConfig = RetentionConfig()
    automation: AutomationConfig = AutomationConfig()
    notify: NotifyConfig = NotifyConfig()
    limits: LimitsConfig = LimitsConfig()

    def of(self, coin: str) -> Self:
        """The same settings with the coin's own execution and sizing, and a neutral band that covers the costs of these.

        Raises `ValueError` naming coin, field and value for an override that is not allowed; loading has made sure of that.
        """
        if coin not in self.coin_overrides:
            return self
        overrides = self.coin_overrides[coin]
        execution = _overridden(self.execution, overrides.execution, f"coin_overrides.{coin}.execution")
        sizing = _overridden(self.sizing, overrides.sizing, f"coin_overrides.{coin}.sizing")
        if execution.horizon != self.horizon:
            rule = f"it follows horizon and is {self.horizon!r}"
            raise ValueError(f"coin_overrides.{coin}.execution.horizon = {execution.horizon!r} is not allowed: {rule}")
        labels = replace(self.labels, round_trip_cost_bps=2 * execution.cost_per_side_bps)
        return self.model_copy(update={"execution": execution, "sizing": sizing, "labels": labels})

    def without_secrets(self) -> Self:
        """The same settings as another machine may see them: it has secrets of its own, or none."""
        return self.with_secrets_of(ToldSettings())

    def with_secrets_of(self, other: "PipelineSettings") -> Self:
        """The same settings with the secrets of others, those that are not set there included."""
        notify = replace(self.notify, webhook=other.notify.webhook, smtp_password=other.notify.smtp_password)
        exchange = replace(self.exchange, client_options=other.exchange.client_options)
        stores = {"online_store": other.online_store, "mlflow": other.mlflow}
        return self.model_copy(update={"notify": notify, "exchange": exchange, **stores})

    def present(self) -> datetime:
        """The present moment in UTC, or the one that `clock` tells."""
        return (self.clock or datetime.now(UTC)).astimezone(UTC)

    @property
    def edge_is_planted(self) -> bool:
        """True on the demo market, whose edge is real, of known size and larger than any real market's."""
        return self.source == "demo"

    @property
    def quarantines(self) -> bool:
        """Whether a feature that predicts too well is kept from the models: not where the edge is planted."""
        return self.sentinels.quarantine and not self.edge_is_planted

    @field_validator("online_store")
    @classmethod
    def _is_a_redis(cls, given: SecretStr | None) -> SecretStr | None:
        if given is not None and not is_store_url(given.get_secret_value()):
            raise ValueError("it must be a URL that begins with redis://, rediss:// or unix://")
        return given

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
    def _overrides_of_known_coins(self) -> Self:
        """An override is of a coin that is named, where any is; the demo market runs beside the settings of a real one."""
        unknown = sorted(set(self.coin_overrides) - set(self.coins))
        if self.source != "demo" and self.coins and unknown:
            raise ValueError(f"coin_overrides.{unknown[0]} is not allowed: coins names {', '.join(self.coins)}")
        return self

    @model_validator(mode="after")
    def _settled_before_the_next_close(self) -> Self:
        """A decision about a bar is due before the next one has closed; a schedule asks for it at a whole minute."""
        minutes = int(self.interval.removesuffix("m")) if self.interval.endswith("m") else 60
        most = max(60 * (minutes - 1), 59)
        if self.exchange.settle_s > most:
            raise ValueError(
                f"exchange.settle_s = {self.exchange.settle_s:g} is not allowed: a bar of {self.interval} is decided before "
                f"the next one has closed, so it must be at most {most}"
            )
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
        for coin in settings.coin_overrides:
            settings.of(coin)
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
        of_installation = (env_settings, PyprojectTomlConfigSettingsSource(settings_cls)) if cls.is_of_an_installation else ()
        return init_settings, *of_installation


class ToldSettings(PipelineSettings):
    """Settings that follow arguments and defaults alone: no variable and no file of an installation is read."""

    is_of_an_installation: ClassVar[bool] = False
    # the library warns of a table whose file is not read
    model_config = SettingsConfigDict(pyproject_toml_table_header=None)  # type: ignore[typeddict-item]


def is_store_url(url: str) -> bool:
    """Whether an online store may lie there: the scheme of Redis, and a port that is a number where there is one."""
    try:
        scheme, port = urlsplit(url).scheme, urlsplit(url).port
    except ValueError:
        return False
    return scheme in STORE_SCHEMES and port != 0


def _named(given: object, section: Any) -> set[str]:
    """What was set by name; of a ready-made section, what differs from its defaults."""
    if isinstance(given, dict):
        return set(given)
    return {field.name for field in fields(section) if getattr(section, field.name) != field.default}


def _overridden(section: _Section, changes: Mapping[str, Any], where: str) -> _Section:
    """The section with some fields changed; raises `ValueError` naming the first that is none or has no such value."""
    try:
        return replace(section, **changes)
    except ValidationError as error:
        raise ValueError(_first_sentence(error, where)) from error


def _first_sentence(error: ValidationError, where: str) -> str:
    problem = error.errors()[0]
    return _sentence({**problem, "loc": (where, *problem["loc"])})


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
        return f"{key} is not a setting (see crp_pipeline/settings/ for the names)"
    is_secret = parts[-1] in secret.NAMES or "client_options" in parts
    given = "what was given" if is_secret else repr(problem["input"])
    return f"{key} = {given} is not allowed: {problem['msg'].removeprefix('Value error, ')}"


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
    elif field == "coin_overrides":
        form = 'JSON, such as {"BTC-USDT": {"execution": {"fee_bps": 4.0}, "sizing": {"step_size": 0.001}}}'
    else:
        form = 'a list as JSON, such as ["A", "B"]'
    given = "what was given" if field in secret.NAMES else repr(os.environ.get(variable))
    return f"{variable} = {given} is not allowed: write {form}"


def _warn_of_unknown_variables() -> None:
    known = set(PipelineSettings.model_fields) | _VARIABLES_OF_OTHERS
    for variable in os.environ:
        name = variable.removeprefix("CRP_").split("__")[0].lower()
        if variable.startswith("CRP_") and name not in known:
            nearest = get_close_matches(name, known, n=1)
            hint = f"; did you mean CRP_{nearest[0].upper()}?" if nearest else ""
            warnings.warn(f"{variable} is not a setting and is ignored{hint}", stacklevel=3)
