import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from crp_pipeline.candles import IssueKind, causal_volatility, load_candles, repair_candles, validate_candles
from crp_pipeline.contracts import CandleSchema, check_frame
from crp_pipeline_tests.strategies import clean_candles, faulty_candles

HOUR = pd.Timedelta(hours=1)
few = settings(max_examples=40, deadline=None)


@few
@given(clean_candles())
def test_sound_candles_pass_and_come_back_as_they_were(bars):
    repaired, report = repair_candles(bars, "1h", max_gap=3)
    assert report.ok
    assert not repaired.is_repaired.any()
    assert (repaired.segment == 0).all()
    assert_frame_equal(repaired[bars.columns], bars, check_exact=True, check_freq=False)


@few
@given(faulty_candles())
def test_repaired_candles_meet_schema_and_contract(faulty):
    repaired, _ = repair_candles(faulty.bars, "1h", max_gap=faulty.max_gap)
    check_frame(repaired, CandleSchema, what="repaired")
    assert validate_candles(repaired, "1h").ok


@few
@given(faulty_candles())
def test_repairing_twice_changes_nothing(faulty):
    once, _ = repair_candles(faulty.bars, "1h", max_gap=faulty.max_gap)
    twice, _ = repair_candles(once, "1h", max_gap=faulty.max_gap)
    assert_frame_equal(twice, once, check_exact=True)


@few
@given(faulty_candles())
def test_row_order_does_not_matter(faulty):
    from_sorted, _ = repair_candles(faulty.bars, "1h", max_gap=faulty.max_gap)
    from_shuffled, _ = repair_candles(faulty.shuffled, "1h", max_gap=faulty.max_gap)
    assert_frame_equal(from_shuffled, from_sorted, check_exact=True)


@few
@given(faulty_candles(), st.data())
def test_repair_does_not_change_when_the_future_arrives(faulty, data):
    n_known = data.draw(st.integers(20, len(faulty.bars)))
    known_then, _ = repair_candles(faulty.bars.iloc[:n_known], "1h", max_gap=faulty.max_gap)
    known_now, _ = repair_candles(faulty.bars, "1h", max_gap=faulty.max_gap)
    assert_frame_equal(known_then, known_now.loc[: known_then.index[-1]], check_exact=True)


@few
@given(faulty_candles())
def test_holes_are_filled_up_to_max_gap_and_part_segments_beyond(faulty):
    repaired, _ = repair_candles(faulty.bars, "1h", max_gap=faulty.max_gap)
    step = repaired.index.to_series().diff().iloc[1:]
    is_new_segment = repaired.segment.diff().iloc[1:] == 1
    assert (step[~is_new_segment] == HOUR).all()
    assert (step[is_new_segment] > (faulty.max_gap + 1) * HOUR).all()


@few
@given(faulty_candles())
def test_every_filled_bar_is_flat_at_the_close_before_it(faulty):
    repaired, _ = repair_candles(faulty.bars, "1h", max_gap=faulty.max_gap)
    before, filled = repaired.close.shift()[repaired.is_repaired], repaired[repaired.is_repaired]
    assert (filled[["open", "high", "low", "close"]].sub(before, axis=0) == 0).all(axis=None)
    assert (filled.volume == 0).all()


@few
@given(faulty_candles())
def test_report_counts_what_was_planted(faulty):
    bars = faulty.bars
    report = validate_candles(bars, "1h")
    span = (bars.index[-1] - bars.index[0]) // HOUR + 1
    assert report.count(IssueKind.DUPLICATE) == bars.index.duplicated().sum()
    assert report.count(IssueKind.CONFLICTING_DUPLICATE) == 0
    assert report.count(IssueKind.GAP) == span - bars.index.nunique()
    assert report.count(IssueKind.OUT_OF_ORDER) == 0


@few
@given(faulty_candles(), st.integers(2, 12), st.data())
def test_volatility_does_not_change_when_the_future_arrives(faulty, window, data):
    bars, _ = repair_candles(faulty.bars, "1h", max_gap=faulty.max_gap)
    n_known = data.draw(st.integers(1, len(bars)))
    known_then = causal_volatility(bars.iloc[:n_known], window)
    np.testing.assert_array_equal(known_then, causal_volatility(bars, window)[:n_known])


@few
@given(faulty_candles(), st.integers(2, 12))
def test_volatility_is_the_standard_deviation_of_the_window_in_its_segment(faulty, window):
    bars, _ = repair_candles(faulty.bars, "1h", max_gap=faulty.max_gap)
    log_close, segment = np.log(bars.close.to_numpy()), bars.segment.to_numpy()
    expected = [
        np.std(np.diff(log_close[t - window : t + 1]), ddof=1) if t >= window and segment[t - window] == segment[t] else np.nan
        for t in range(len(bars))
    ]
    np.testing.assert_allclose(causal_volatility(bars, window), expected, rtol=1e-6, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(
    clean_candles(),
    st.sampled_from(["parquet", "csv", "csv.gz"]),
    st.sampled_from(["index", "s", "ms", "us", "ns", "text"]),
)
def test_candles_survive_every_file_format(tmp_path_factory, bars, suffix, times):
    path = tmp_path_factory.mktemp("candles") / f"coin.{suffix}"
    table = bars[::-1]
    if times == "text":
        table = table.reset_index().astype({"open_time": "str"})
    elif times != "index":
        table = table.set_axis(table.index.as_unit(times).astype("int64")).reset_index()
    elif suffix != "parquet":
        table = table.reset_index()
    table.to_parquet(path) if suffix == "parquet" else table.to_csv(path, index=False)
    assert_frame_equal(load_candles(path), bars, check_exact=True, check_freq=False)
