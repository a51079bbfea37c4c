"""Where in the day, the week and the trading sessions a bar closes: the moment at which its row is known."""

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Bools, Floats, Ints
from crp_pipeline.features.feature import Bars, Family, Feature
from crp_pipeline.metrics.sessions import SESSIONS, Session

HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS
WEEK_NS = 7 * DAY_NS
MONDAY_NS = 4 * DAY_NS  # 1970-01-05, the first Monday of the epoch
FUNDING_NS = 8 * HOUR_NS
EXPIRY_HOUR_NS = 8 * HOUR_NS
LONGEST_CYCLE_NS = 35 * DAY_NS
"""Five weeks: the longest time from one last Friday of a month to the next."""
TURN_OF_MONTH_DAYS = 3


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


def london_new_york_overlap() -> Feature:
    """1 while the sessions of both London and New York are open, else 0: the busiest hours of the day."""
    return Feature(
        "london_new_york_overlap",
        Family.CALENDAR,
        1,
        lambda bars: np.prod([_is_open(bars, session) for session in SESSIONS if session.name != "tokyo"], axis=0),
    )


def session_progress(session: Session) -> Feature:
    """Elapsed share of the city's session by its local clock, 0 to 1; 0 while it is closed."""
    return Feature(f"progress_{session.name}", Family.CALENDAR, 1, lambda bars: _session_progress(bars, session))


def time_to_funding() -> Feature:
    """Time to the next funding over that between two, 0 to 1, and 1 at the moment of one.

    Most perpetual futures settle it at 00:00, 08:00 and 16:00 UTC.
    """
    return Feature(
        "time_to_funding",
        Family.CALENDAR,
        1,
        lambda bars: 1 - (bars.close_time % FUNDING_NS) / FUNDING_NS,
    )


def month_position() -> Feature:
    """Elapsed share of the month, UTC: 0 at its first midnight."""
    return Feature("month_position", Family.CALENDAR, 1, lambda bars: _month_position(bars.close_time))


def turn_of_month() -> Feature:
    """1 on the last day of a month and the first three of the next, UTC, else 0 (Lakonishok & Smidt 1988)."""
    return Feature("turn_of_month", Family.CALENDAR, 1, lambda bars: _turn_of_month(bars.close_time))


def time_to_options_expiry() -> Feature:
    """Time to the next expiry of the monthly options, the last Friday of a month at 08:00 UTC, over five weeks: 0 to 1."""
    return Feature("time_to_options_expiry", Family.CALENDAR, 1, lambda bars: _time_to_options_expiry(bars.close_time))


def _phase(bars: Bars, cycle_ns: int) -> Floats:
    since_start = ((bars.close_time - MONDAY_NS) % cycle_ns).astype(np.float64)
    return since_start * (2 * np.pi / cycle_ns)


def _is_open(bars: Bars, session: Session) -> Floats:
    since_opening = _since_opening(bars, session)
    is_open: Bools = (since_opening >= 0) & (since_opening < _length(session))
    return is_open.astype(np.float64)


def _session_progress(bars: Bars, session: Session) -> Floats:
    since_opening = _since_opening(bars, session)
    return np.where(since_opening < _length(session), np.maximum(since_opening, 0) / _length(session), 0.0)


def _length(session: Session) -> int:
    return (session.closes - session.opens) * HOUR_NS


def _since_opening(bars: Bars, session: Session) -> Ints:
    """Nanoseconds since the opening hour of the day by the local clock: (n,)."""
    # these zones change their offset on a whole UTC hour, so that one look-up serves all bars of an hour
    hour = bars.close_time // HOUR_NS
    is_new = np.concatenate([[True], hour[1:] != hour[:-1]])
    utc_ns = hour[is_new] * HOUR_NS
    local_ns = pd.DatetimeIndex(utc_ns, tz="UTC").tz_convert(session.timezone).tz_localize(None).asi8
    offset = (local_ns - utc_ns)[np.cumsum(is_new) - 1]
    since_midnight: Ints = (bars.close_time + offset) % DAY_NS
    return since_midnight - session.opens * HOUR_NS


def _month_position(time: Ints) -> Floats:
    starts = _month_starts(time)
    month = np.searchsorted(starts, time, side="right")
    return (time - starts[month - 1]) / (starts[month] - starts[month - 1])


def _turn_of_month(time: Ints) -> Floats:
    starts = _month_starts(time)
    month = np.searchsorted(starts, time, side="right")
    is_turn: Bools = (time - starts[month - 1] < TURN_OF_MONTH_DAYS * DAY_NS) | (starts[month] - time <= DAY_NS)
    return is_turn.astype(np.float64)


def _time_to_options_expiry(time: Ints) -> Floats:
    last_day = _month_starts(time)[1:] - DAY_NS
    since_friday = (last_day - MONDAY_NS - 4 * DAY_NS) % WEEK_NS
    expiry = last_day - since_friday + EXPIRY_HOUR_NS
    left: Ints = expiry[np.searchsorted(expiry, time, side="right")] - time
    return left / LONGEST_CYCLE_NS


def _month_starts(time: Ints) -> Ints:
    """First midnights of the months from that of the first time to the second one after that of the last."""
    first, last = time[[0, -1]].astype("datetime64[ns]").astype("datetime64[M]")
    starts: Ints = np.arange(first, last + 3).astype("datetime64[ns]").astype(np.int64)
    return starts


CALENDAR = (
    hour_sine(),
    hour_cosine(),
    weekday_sine(),
    weekday_cosine(),
    is_weekend(),
    *(trading_session(session) for session in SESSIONS),
    sessions_open(),
    london_new_york_overlap(),
    *(session_progress(session) for session in SESSIONS),
    time_to_funding(),
    month_position(),
    turn_of_month(),
    time_to_options_expiry(),
)
