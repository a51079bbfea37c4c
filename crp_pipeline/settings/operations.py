"""What runs a night and what follows it: signals, drift, retention, notices and limits. None of it changes what is learned."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, SecretStr
from pydantic.dataclasses import dataclass

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Occasion = Literal["failure", "verdict", "stale", "drift", "summary"]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SignalsConfig:
    """When the champion's decision on the newest bar may be acted upon."""

    max_age_bars: Annotated[float, Field(gt=0, le=1_000)] = 1.0
    """Bars that may have passed since the newest bar closed; an older one gives no decision."""
    max_repeats: Annotated[int, Field(ge=2, le=50)] = 5
    """Decisions in a row with the same probabilities to the bit after which another such one is none."""
    online_timeout_s: Annotated[float, Field(gt=0, le=10)] = 0.3
    """How long the online store is waited for: once for its connection, once for each answer."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class DriftConfig:
    """When today is no longer what the champion learned from, and what is done about it."""

    recent_days: Annotated[float, Field(gt=0)] = 30.0
    """Latest stretch that is held against the training history."""
    warn_psi: Annotated[float, Field(gt=0)] = 0.10
    """Population stability index of a feature or of the forecasts at which it is remarked upon."""
    max_psi: Annotated[float, Field(gt=0)] = 0.25
    """... and at which it counts as drifted."""
    alarm_e_value: Annotated[float, Field(ge=1)] = 20.0
    """Evidence that hit rates lie below the expected ones: by chance in 1 of so many at most, however often one looks."""
    automatic_rollback: bool = False
    """Bring back the champion before when a live breach is proved; False only reports it."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class RetentionConfig:
    """What may be removed. Champions of any time, the challenger and the shadow never are."""

    keep_versions: Annotated[int, Field(ge=1)] = 60
    """Newest versions of a coin that are kept whatever became of them."""
    keep_days: Annotated[float, Field(ge=0)] = 90.0
    """Versions that were registered within so many days are kept as well."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class NotifyConfig:
    """Who is told of what; the log is always told. Give secrets as variables: `CRP_NOTIFY__WEBHOOK`."""

    on: tuple[Occasion, ...] = ("failure", "verdict", "stale", "drift", "summary")
    webhook: SecretStr | None = None
    """URL that a JSON document is posted to."""
    email_to: tuple[str, ...] = ()
    email_from: str = "crp-pipeline@localhost"
    smtp_host: str = "localhost"
    smtp_port: Annotated[int, Field(ge=1, le=65_535)] = 25
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class LimitsConfig:
    """How long a run may take before it is ended."""

    run_minutes: Annotated[float, Field(gt=0)] = 360.0
