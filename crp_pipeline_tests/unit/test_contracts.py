"""Windows that end at their row, and frames that meet their schema or say where they do not."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crp_pipeline.contracts import (
    CandleSchema,
    DecisionSchema,
    LabelSchema,
    PredictionSchema,
    Samples,
    check_frame,
    interval_length,
)
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.storage import read_parquet, write_parquet

TIMES = pd.date_range("2024-01-01", periods=4, freq="h", tz="UTC", name="open_time", unit="ns")
COUNT = np.arange(8.0).reshape(4, 2)
"""Row t holds (2t, 2t + 1)."""


@pytest.mark.parametrize(
    ("interval", "minutes"), [("1m", 1), ("5m", 5), ("15m", 15), ("30m", 30), ("1h", 60), ("4h", 240), ("1d", 1_440)]
)
def test_interval_length(interval, minutes):
    assert interval_length(interval) == pd.Timedelta(minutes=minutes)


@pytest.mark.parametrize("interval", ["foo", "60min", "1H", "2h", "1M", ""])
def test_an_interval_that_nobody_uses_is_refused(interval):
    with pytest.raises(DataContractError, match=f"interval = '{interval}' is not one of 1m, 5m, 15m, 30m, 1h, 4h, 1d"):
        interval_length(interval)


@pytest.mark.parametrize(("rows", "wrong"), [([2, -1], -1), ([-4], -4), ([0, 4, 5], 4)])
def test_rows_outside_the_history_are_refused(rows, wrong):
    for make in (lambda: Samples(COUNT, np.array(rows)), lambda: Samples(COUNT, np.arange(4)).take(np.array(rows))):
        with pytest.raises(DataContractError, match=f"row {wrong} is not one of the 4 rows of the history, counted from 0"):
            make()


def test_a_table_holds_the_rows_in_the_order_asked_for():
    np.testing.assert_array_equal(Samples(COUNT, np.array([2, 0])).table(), [[4, 5], [0, 1]])


def test_a_window_ends_at_its_row():
    windows = Samples(COUNT, np.array([1, 3])).windows(2)
    np.testing.assert_array_equal(windows, [[[0, 1], [2, 3]], [[4, 5], [6, 7]]])


def test_a_window_of_one_is_the_table():
    samples = Samples(COUNT, np.array([0, 3]))
    np.testing.assert_array_equal(samples.windows(1)[:, 0], samples.table())


@pytest.mark.parametrize(
    ("rows", "segment_start", "message"),
    [
        ([3, 1], None, "row 1 has 1 bars behind it, a window of 3 needs 2"),
        ([0], None, "row 0 has 0 bars behind it"),
        ([3], [0, 0, 2, 2], "row 3 has 1 bars behind it"),
    ],
)
def test_a_window_that_would_reach_over_the_start_or_a_hole_is_refused(rows, segment_start, message):
    start = None if segment_start is None else np.array(segment_start)
    with pytest.raises(InsufficientHistoryError, match=message):
        Samples(COUNT, np.array(rows), start).windows(3)


def test_taking_other_rows_keeps_the_history():
    samples = Samples(COUNT, np.arange(4), np.array([0, 0, 2, 2]), ("a", "b"))
    taken = samples.take(np.array([3]))
    assert (len(taken), taken.columns, taken.history is COUNT) == (1, ("a", "b"), True)
    with pytest.raises(InsufficientHistoryError):
        taken.windows(3)


@st.composite
def histories(draw):
    """A history with holes, rows of it and a window length."""
    n = draw(st.integers(1, 40))
    holes = sorted(draw(st.sets(st.integers(1, max(n - 1, 1)), max_size=4)))
    start = np.array([max([0, *(hole for hole in holes if hole <= t)]) for t in range(n)])
    rows = draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=10))
    history = np.random.default_rng(n).normal(size=(n, 3))
    return Samples(history, np.array(rows), start), draw(st.integers(1, 8))


def window_one_bar_at_a_time(samples, row, length):
    """The bars of a window, newest first, as long as they lie in one segment; then turned round."""
    found = []
    for back in range(length):
        if row - back < 0 or samples.segment_start[row - back] != samples.segment_start[row]:
            return None
        found.append(samples.history[row - back])
    return found[::-1]


@settings(max_examples=150, deadline=None)
@given(histories())
def test_windows_equal_a_plain_loop(case):
    samples, length = case
    expected = [window_one_bar_at_a_time(samples, row, length) for row in samples.rows]
    if any(window is None for window in expected):
        with pytest.raises(InsufficientHistoryError):
            samples.windows(length)
    else:
        np.testing.assert_array_equal(samples.windows(length), expected)


@settings(max_examples=50, deadline=None)
@given(histories())
def test_nothing_past_a_row_is_seen(case):
    samples, _ = case
    cut = samples.rows.max() + 1
    noise = np.vstack([samples.history[:cut], np.full_like(samples.history[cut:], np.nan)])
    np.testing.assert_array_equal(Samples(noise, samples.rows).table(), samples.table())
    length = int((samples.rows - samples.segment_start[samples.rows]).min()) + 1
    elsewhere = Samples(noise, samples.rows, samples.segment_start).windows(length)
    np.testing.assert_array_equal(elsewhere, samples.windows(length))


CANDLES = pd.DataFrame(
    {
        "open": [10.0, 1e-8, 6e4, 10.0],
        "high": [11.0, 2e-8, 6e4, 12.0],
        "low": [9.0, 1e-8, 6e4, 10.0],
        "close": [10.5, 2e-8, 6e4, 10.0],
        "volume": [0.0, 1e12, 0.1, 3.0],
        "is_repaired": [False, True, False, False],
        "segment": [0, 0, 1, 1],
    },
    index=TIMES,
)
LABELS = pd.DataFrame(
    {
        "signal": [-1.0, 0.0, 1.0, np.nan],
        "forward_return": [-0.1, 0.0, 1 / 3, np.nan],
        "trend_strength": [-3.0, 0.0, 3.0, np.nan],
        "label_end": [*(TIMES[:3] + pd.Timedelta("3h")), pd.NaT],
        "weight": [0.0, 0.5, 1.0, np.nan],
        "volatility": [np.nan, 0.0, 0.01, 0.02],
    },
    index=TIMES,
)
PREDICTIONS = pd.DataFrame(
    {
        "p_short": [np.nan, 0.0, 1 / 3, 1.0],
        "p_neutral": [np.nan, 0.0, 1 / 3, 0.0],
        "p_long": [np.nan, 1.0, 1 / 3, 0.0],
        "fold": [-1, 0, 0, 1],
        "rounds": [0, 7, 7, 3],
    },
    index=TIMES,
)
DECISIONS = pd.DataFrame(
    {
        "signal": [0, -1, 0, 1],
        **{name: PREDICTIONS[name] for name in ("p_short", "p_neutral", "p_long")},
        "confidence": [np.nan, 0.4, 0.5, 1.0],
        "expected_return": [np.nan, -0.01, 0.0, 0.01],
        "tier": pd.array(["none", "low", "none", "high"], dtype="str"),
    },
    index=TIMES,
)
FRAMES = [(CANDLES, CandleSchema), (LABELS, LabelSchema), (PREDICTIONS, PredictionSchema), (DECISIONS, DecisionSchema)]
NAMES = ["candles", "labels", "predictions", "decisions"]


@pytest.mark.parametrize(("frame", "schema"), FRAMES, ids=NAMES)
def test_a_frame_comes_back_from_parquet_as_it_was(frame, schema, tmp_path):
    written = frame.copy()
    written.attrs = {"coin": "BTC-USDT", "data_hash": "0a", "leaking_features": 0, "edge": 0.25}
    write_parquet(tmp_path / "frame.parquet", written)
    read = read_parquet(tmp_path / "frame.parquet")
    pd.testing.assert_frame_equal(read, written, check_exact=True, check_freq=False)
    assert (read.index.dtype, read.index.name) == ("datetime64[ns, UTC]", "open_time")
    assert read.dtypes.astype(str).to_dict() == written.dtypes.astype(str).to_dict()
    assert read.attrs == written.attrs
    assert check_frame(read, schema, what="read") is read


@pytest.mark.parametrize(("frame", "schema"), FRAMES, ids=NAMES)
def test_a_column_too_many_or_too_few_is_named(frame, schema):
    for name in frame.columns:
        with pytest.raises(DataContractError, match=f"^frame of BTC: .*column_in_dataframe': {name}$"):
            check_frame(frame.drop(columns=name), schema, what="frame of BTC")
    with pytest.raises(DataContractError, match=r"column_in_schema': surplus$"):
        check_frame(frame.assign(surplus=1.0), schema, what="frame of BTC")


@pytest.mark.parametrize(("frame", "schema"), FRAMES, ids=NAMES)
def test_every_column_has_its_type(frame, schema):
    for name in frame.columns:
        with pytest.raises(DataContractError, match=f"^frame: {name} breaks .*(float64|int64|bool|datetime64|str)"):
            check_frame(frame.assign(**{name: 1j}), schema, what="frame")


def with_value(frame, row, name, value):
    changed = frame.copy()
    changed.iloc[row, changed.columns.get_loc(name)] = value
    return changed


@pytest.mark.parametrize(
    ("frame", "schema", "row", "name", "value", "told"),
    [
        (CANDLES, CandleSchema, 2, "open", -1.0, "open breaks 'greater_than.0.'"),
        (CANDLES, CandleSchema, 1, "high", np.inf, "high breaks 'less_than.inf.'"),
        (CANDLES, CandleSchema, 1, "volume", np.inf, "volume breaks 'less_than.inf.'"),
        (CANDLES, CandleSchema, 0, "close", np.nan, "close breaks 'not_nullable'"),
        (CANDLES, CandleSchema, 3, "volume", -0.5, "volume breaks 'greater_than_or_equal_to.0.'"),
        (LABELS, LabelSchema, 1, "signal", 0.5, "signal breaks 'isin"),
        (LABELS, LabelSchema, 1, "weight", 1.5, "weight breaks 'in_range.0, 1.'"),
        (LABELS, LabelSchema, 3, "volatility", -0.1, "volatility breaks"),
        (PREDICTIONS, PredictionSchema, 2, "p_long", 1.0001, "p_long breaks 'in_range.0, 1.'"),
        (PREDICTIONS, PredictionSchema, 0, "fold", -2, "fold breaks"),
        (DECISIONS, DecisionSchema, 3, "signal", 2, "signal breaks 'isin"),
        (DECISIONS, DecisionSchema, 1, "tier", "sure", "tier breaks 'isin"),
        (DECISIONS, DecisionSchema, 1, "confidence", 1.2, "confidence breaks"),
    ],
)
def test_a_wrong_value_is_named_with_its_column_and_row(frame, schema, row, name, value, told):
    with pytest.raises(DataContractError, match=f"^BTC: {told}.* at {TIMES[row]}: {value}$".replace("+", r"\+")):
        check_frame(with_value(frame, row, name, value), schema, what="BTC")


@pytest.mark.parametrize(
    ("row", "name", "value", "rule"),
    [
        (1, "low", 1.5e-8, "low is the lowest price"),
        (0, "high", 10.2, "high is the highest price"),
        (3, "segment", 0, "segments are in time order"),
    ],
)
def test_a_row_that_contradicts_itself_is_shown_whole(row, name, value, rule):
    with pytest.raises(DataContractError) as caught:
        check_frame(with_value(CANDLES, row, name, value), CandleSchema, what="BTC")
    assert f"a row breaks '{rule}' at {TIMES[row]}: " in str(caught.value)
    assert f"'{name}': {value}" in str(caught.value)


@pytest.mark.parametrize(
    ("index", "told"),
    [
        (TIMES[[0, 2, 1, 3]], f"open_time breaks 'times are in order' at {TIMES[1]}"),
        (TIMES[[0, 1, 1, 3]], f"open_time breaks 'field_uniqueness' at {TIMES[1]}"),
        (TIMES.tz_localize(None), r"open_time breaks .*UTC.*: datetime64\[ns\]"),
        (TIMES.as_unit("us"), r"open_time breaks .*ns, UTC.*: datetime64\[us, UTC\]"),
        (TIMES.tz_convert("Asia/Tokyo"), "open_time breaks .*: .*Asia/Tokyo"),
        (TIMES.rename("time"), "open_time.*time"),
    ],
)
def test_times_are_utc_in_nanoseconds_and_strictly_increasing(index, told):
    with pytest.raises(DataContractError, match=told.replace("+", r"\+")):
        check_frame(PREDICTIONS.set_axis(index), PredictionSchema, what="predictions")
