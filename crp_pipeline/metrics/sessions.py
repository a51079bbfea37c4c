"""The hours of Tokyo, London and New York, by their own clocks."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Bools


@dataclass(frozen=True)
class Session:
    """Local opening hours of one financial centre: from `opens` up to, not including, `closes`."""

    name: str
    timezone: str
    opens: int
    closes: int


SESSIONS = (
    Session("tokyo", "Asia/Tokyo", 9, 18),
    Session("london", "Europe/London", 8, 17),
    Session("new_york", "America/New_York", 8, 17),
)


def trading_session(timestamps: pd.DatetimeIndex) -> pd.DataFrame:
    """Whether each centre is at work, and which of them leads: bool `tokyo`, `london`, `new_york`, and str `primary`.

    Hours are local, so that they move with daylight saving (Tokyo has none). Where two overlap, `primary` is the one
    that opened last: New York before London before Tokyo; "none" where all sleep. Saturdays and Sundays count like any
    other day: crypto trades around the clock. Timestamps must carry a time zone; the result is indexed by them.

    >>> hours = pd.to_datetime(["2024-07-01 07:30Z", "2024-07-01 12:30Z", "2024-01-15 12:30Z", "2024-01-15 22:00Z"])
    >>> trading_session(hours).primary.to_list()
    ['london', 'new_york', 'london', 'none']
    """
    if timestamps.tz is None:
        raise ValueError(f"timestamps must carry a time zone, got {timestamps.dtype}")
    flags = {session.name: _open(session, timestamps) for session in SESSIONS}
    latest_first = [session.name for session in reversed(SESSIONS)]
    primary = np.select([flags[name] for name in latest_first], latest_first, default="none")
    return pd.DataFrame(flags | {"primary": pd.array(primary, dtype="str")}, index=timestamps)


def _open(session: Session, timestamps: pd.DatetimeIndex) -> Bools:
    hour = timestamps.tz_convert(session.timezone).hour.to_numpy()
    return (session.opens <= hour) & (hour < session.closes)
