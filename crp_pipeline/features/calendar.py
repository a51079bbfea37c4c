"""Where in the day, the week and the trading sessions a bar closes: the moment at which its row is known."""

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Bools, Floats
from crp_pipeline.features.feature import Bars, Family, Feature
from crp_pipeline.metrics.sessions import SESSIONS, Session

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
WEEK_NS = 7 * DAY_NS
MONDAY_NS = 4 * DAY_NS  # 1970-01-05, the first Monday of the epoch


def hour_sine() -> Feature:
    """Sine of the time of day, UTC."""
    return Feature("hour_sine", Family.CALENDAR, 1, lambda bars: np.sin(_phase(bars, DAY_NS)))


def hour_cosine() -> Feature:
    """Cosine of the time of day, UTC."""
    return Feature("hour_cosine", Family.CALENDAR, 1, lambda bars: np.cos(_phase(bars, DAY_NS)))


def weekday_sine() -> Feature:
    """Sine of the place in the week, which starts on Monday, 00:00 UTC."""
    return Feature("weekday_sine", Family.CALENDAR, 1, lambda bars: np.sin(_phase(bars, WEEK_NS)))


def weekday_cosine() -> Feature:
    """Cosine of the place in the week, which starts on Monday, 00:00 UTC."""
    return Feature("weekday_cosine", Family.CALENDAR, 1, lambda bars: np.cos(_phase(bars, WEEK_NS)))


def is_weekend() -> Feature:
    """1 on Saturday and Sunday UTC, else 0."""
    return Feature(
        "is_weekend",
        Family.CALENDAR,
        1,
        lambda bars: ((bars.close_time - MONDAY_NS) % WEEK_NS >= 5 * DAY_NS).astype(np.float64),
    )


def trading_session(session: Session) -> Feature:
    """1 while the city's session is open by its local clock, else 0."""
    return Feature(f"session_{session.name}", Family.CALENDAR, 1, lambda bars: _is_open(bars, session))


def sessions_open() -> Feature:
    """Share of the three sessions that are open."""
    return Feature(
        "sessions_open",
        Family.CALENDAR,
        1,
        lambda bars: np.mean([_is_open(bars, session) for session in SESSIONS], axis=0),
    )


def _phase(bars: Bars, cycle_ns: int) -> Floats:
    since_start = ((bars.close_time - MONDAY_NS) % cycle_ns).astype(np.float64)
    return since_start * (2 * np.pi / cycle_ns)


def _is_open(bars: Bars, session: Session) -> Floats:
    # these zones change their offset on a whole UTC hour, so that one look-up serves all bars of an hour
    hour = bars.close_time // HOUR_NS
    is_new = np.concatenate([[True], hour[1:] != hour[:-1]])
    utc_ns = hour[is_new] * HOUR_NS
    local_ns = pd.DatetimeIndex(utc_ns, tz="UTC").tz_convert(session.timezone).tz_localize(None).asi8
    offset = (local_ns - utc_ns)[np.cumsum(is_new) - 1]
    since_midnight = (bars.close_time + offset) % DAY_NS
    is_open: Bools = (since_midnight >= session.opens * HOUR_NS) & (since_midnight < session.closes * HOUR_NS)
    return is_open.astype(np.float64)


CALENDAR = (
    hour_sine(),
    hour_cosine(),
    weekday_sine(),
    weekday_cosine(),
    is_weekend(),
    *(trading_session(session) for session in SESSIONS),
    sessions_open(),
)
