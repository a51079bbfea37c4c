"""What runs a night and what follows it: signals, drift, retention, notices and limits. None of it changes what is learned."""

import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, SecretStr, field_validator
from pydantic.dataclasses import dataclass

MAILBOX = re.compile(r"[^\s@<>,;:\"()\[\]\\]+@[^\s@<>,;:\"()\[\]\\]+")
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
    """Population stability index of a feature or of the forecasts at which it is remarked upon, where history shows no more."""
    max_psi: Annotated[float, Field(gt=0)] = 0.25
    """... and at which it counts as drifted."""
    warn_share: Annotated[float, Field(ge=0, le=1)] = 0.10
    """Weight of the features that drifted, in that of all that the champion reads, at which it is remarked upon."""
    max_share: Annotated[float, Field(ge=0, le=1)] = 0.25
    """... and at which the champion's inputs count as drifted."""
    warn_e_value: Annotated[float, Field(ge=1)] = 10.0
    """Evidence that hit rates lie below the promised ones at which it is remarked upon."""
    alarm_e_value: Annotated[float, Field(ge=1)] = 20.0
    """... and at which a breach is proved: by chance in 1 of so many reigns at most, however often one looks."""
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
    """Given to a server that encrypts, under a certificate that this machine trusts (`SSL_CERT_FILE` may name more)."""
    timeout_s: Annotated[float, Field(gt=0, le=5)] = 3.0
    """How long notices may keep whoever tells them; a sensor, which may tell of five failed runs at a time, has 60 seconds."""
    stale_hours: Annotated[float, Field(gt=0)] = 30.0
    """Hours since the newest stored bar closed at which a coin's candles are stale: a night late, and some hours more."""

    @field_validator("webhook")
    @classmethod
    def _is_a_web_address(cls, given: SecretStr | None) -> SecretStr | None:
        address = urlsplit(given.get_secret_value()) if given is not None else None
        if address is not None and not (address.scheme in {"http", "https"} and address.hostname):
            raise ValueError("it must begin with http:// or https:// and name a host")
        return given

    @field_validator("email_to", "email_from")
    @classmethod
    def _are_mailboxes(cls, given: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for mailbox in (given,) if isinstance(given, str) else given:
            if not MAILBOX.fullmatch(mailbox):
                raise ValueError(f"{mailbox!r} must be one mailbox, such as desk@example.org")
        return given


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class AutomationConfig:
    """Who begins a night. What a person switches in the web UI wins over it."""

    begins: Literal["nightly", "on_change", "by_hand"] = "nightly"
    """`nightly`: the schedule, every coin. `on_change`: declarative automation, what changed. `by_hand`: nobody."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class LimitsConfig:
    """How long a run may take before it is ended, how patient a download is, and what training waits for."""

    run_minutes: Annotated[float, Field(gt=0)] = 360.0
    exchange_retries: Annotated[int, Field(ge=0, le=10)] = 3
    """Times that the candles of a coin are asked for again when the exchange was silent; nothing else is repeated."""
    exchange_pause_s: Annotated[float, Field(ge=0, le=3_600)] = 60.0
    """Unit of the pauses: the n-th is 2**n - 1 of it, one more or less by chance; of 60 they are at most 2, 4 and 8 minutes."""
    networks_on_gpu: bool = False
    """True: networks wait for one another in the pool `gpu`, not with all other training in `cpu_training`."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address; a name other than localhost may lead anywhere."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
