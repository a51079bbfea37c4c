"""Calendar: the moment is that of the bar's close."""

import numpy as np
import pandas as pd

from crp_pipeline_tests.plain.bars import Plain, PlainBars, Series

CITIES = {
    "tokyo": ("Asia/Tokyo", 9, 18),
    "london": ("Europe/London", 8, 17),
    "new_york": ("America/New_York", 8, 17),
}


def closing(bars: PlainBars) -> pd.DatetimeIndex:
    index = pd.DatetimeIndex(bars.candles.index)
    return index + index.to_series().diff().min()


def series(bars: PlainBars, values: object) -> Series:
    return pd.Series(np.asarray(values, dtype=float), index=bars.candles.index)


def angle_of_day(bars: PlainBars) -> Series:
    time = closing(bars)
    return series(bars, 2 * np.pi * ((time - time.normalize()) / pd.Timedelta("1D")))


def angle_of_week(bars: PlainBars) -> Series:
    time = closing(bars)
    return series(bars, 2 * np.pi * (time.day_of_week + (time - time.normalize()) / pd.Timedelta("1D")) / 7)


def local_hour(bars: PlainBars, city: str) -> Series:
    local = closing(bars).tz_convert(CITIES[city][0])
    return series(bars, local.hour + local.minute / 60)


def is_open(bars: PlainBars, city: str) -> Series:
    return local_hour(bars, city).between(*CITIES[city][1:], inclusive="left").astype(float)


def progress(bars: PlainBars, city: str) -> Series:
    opens, closes = CITIES[city][1:]
    return ((local_hour(bars, city) - opens) / (closes - opens)).where(is_open(bars, city) == 1, 0.0)


def time_to_funding(bars: PlainBars) -> Series:
    time = closing(bars)
    return series(bars, (time.floor("8h") + pd.Timedelta("8h") - time) / pd.Timedelta("8h"))


def month_position(bars: PlainBars) -> Series:
    time = closing(bars)
    days = time.day - 1 + (time - time.normalize()) / pd.Timedelta("1D")
    return series(bars, days / time.days_in_month)


def turn_of_month(bars: PlainBars) -> Series:
    time = closing(bars)
    return series(bars, (time.day <= 3) | (time.day == time.days_in_month))


def time_to_options_expiry(bars: PlainBars) -> Series:
    time = closing(bars)
    fridays = pd.date_range(time[0].normalize() - pd.Timedelta("40D"), time[-1] + pd.Timedelta("40D"), freq="W-FRI")
    expiries = fridays[fridays.month != (fridays + pd.Timedelta("7D")).month] + pd.Timedelta("8h")
    return series(bars, (expiries[expiries.searchsorted(time, side="right")] - time) / pd.Timedelta("35D"))


PLAIN: dict[str, Plain] = {
    "hour_sine": lambda bars: np.sin(angle_of_day(bars)),
    "hour_cosine": lambda bars: np.cos(angle_of_day(bars)),
    "weekday_sine": lambda bars: np.sin(angle_of_week(bars)),
    "weekday_cosine": lambda bars: np.cos(angle_of_week(bars)),
    "is_weekend": lambda bars: series(bars, closing(bars).day_of_week >= 5),
    "session_tokyo": lambda bars: is_open(bars, "tokyo"),
    "session_london": lambda bars: is_open(bars, "london"),
    "session_new_york": lambda bars: is_open(bars, "new_york"),
    "sessions_open": lambda bars: sum(is_open(bars, city) for city in CITIES) / 3,
    "london_new_york_overlap": lambda bars: is_open(bars, "london") * is_open(bars, "new_york"),
    "progress_tokyo": lambda bars: progress(bars, "tokyo"),
    "progress_london": lambda bars: progress(bars, "london"),
    "progress_new_york": lambda bars: progress(bars, "new_york"),
    "time_to_funding": time_to_funding,
    "month_position": month_position,
    "turn_of_month": turn_of_month,
    "time_to_options_expiry": time_to_options_expiry,
}
