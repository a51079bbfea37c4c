"""A decision about one closed bar, or the reason why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Self

from crp_pipeline.contracts import Tier

TIMES = ("open_time", "closed_at", "decided_at", "valid_until")


@dataclass(frozen=True, kw_only=True)
class Signal:
    """What the champion of a coin decides at the close of a bar; times are UTC, prices in the quote currency.

    `signal` is -1, 0 or 1; None means "no decision", and `reason` then says why in one sentence. Without a decision every
    number of it is None. The position is to be entered at the next open, which is expected at `close`; `stop` and `target` are
    prices relative to that, and None without a side.
    """

    coin: str
    open_time: datetime
    closed_at: datetime
    decided_at: datetime
    valid_until: datetime
    """Nobody should act on the decision after this moment."""
    signal: int | None = None
    reason: str = ""
    confidence: float | None = None
    tier: str = str(Tier.NONE)
    p_short: float | None = None
    p_neutral: float | None = None
    p_long: float | None = None
    expected_return: float | None = None
    close: float | None = None
    stop: float | None = None
    target: float | None = None
    version: str | None = None
    """The champion that decided."""
    data_hash: str | None = None
    """`storage.frame_hash` of what was read for it: the coin's candles, the other coins' closes and the feeds."""
    latency_ms: float
    """From the bar's close to the decision."""
    compute_ms: float
    """Of that, what features, models and stack took."""

    @property
    def is_decided(self) -> bool:
        """Whether there is a decision, be it to stay out."""
        return self.signal is not None

    def as_of(self, now: datetime) -> "Signal":
        """The decision while it is valid; after that "no decision", which names the bar that was the newest."""
        if not self.is_decided or now <= self.valid_until:
            return self
        reason = f"the newest decision is about the bar that closed at {told(self.closed_at)} and was valid until " + told(
            self.valid_until
        )
        kept = {name: getattr(self, name) for name in (*TIMES, "coin", "version", "data_hash", "latency_ms", "compute_ms")}
        return Signal(**kept, reason=reason)

    def age_s(self, now: datetime) -> float:
        """Seconds since the bar closed."""
        return (now - self.closed_at).total_seconds()

    def to_dict(self) -> dict[str, Any]:
        """The decision as JSON values; times in ISO 8601."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, **{name: told(values[name]) for name in TIMES}}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The decision that `to_dict` described; raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        return cls(**{**stored, **{name: datetime.fromisoformat(stored[name]).astimezone(UTC) for name in TIMES}})

    def without(self, *places: str) -> "Signal":
        """The same with these paths left out of its reason: what is served tells nobody where anything lies."""
        reason = self.reason
        for place in sorted(places, key=len, reverse=True):
            reason = reason.replace(place, "...")
        return replace(self, reason=reason)


def told(moment: datetime) -> str:
    """A moment in ISO 8601, UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
