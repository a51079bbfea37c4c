"""What a bad file costs: one sentence that names file, row, column and rule; what is stored stays, other coins carry on."""

import re

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from crp_pipeline.candles import demo_market
from crp_pipeline.definitions import floor_plan
from crp_pipeline_tests.e2e.corridor import small_settings

BAD, GOOD = "AAA-USDT", "BBB-USDT"
N_BARS = 2_000


def bars_of(number):
    bars = demo_market({"A": 0.5, "B": 0.5}, n_bars=N_BARS, seed=3)["AB"[number]]
    return bars.set_axis(bars.index - bars.index[-1] + pd.Timestamp("2024-06-01", tz="UTC")).rename_axis("timestamp")


BARS = bars_of(0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Both coins' files, and the candles that a good night made of them."""
    root = tmp_path_factory.mktemp("bad_files")
    settings = small_settings(root / "data", source="files", files_dir=root / "raw", coins=(BAD, GOOD))
    (root / "raw").mkdir()
    for number, coin in enumerate((BAD, GOOD)):
        bars_of(number).to_parquet(root / "raw" / f"{coin}.parquet")
    with dg.DagsterInstance.ephemeral() as instance:
        job = floor_plan(settings).resolve_job_def("nightly_candles")

        def night(coin):
            return job.execute_in_process(partition_key=coin, instance=instance, raise_on_error=False)

        assert night(BAD).success
        assert night(GOOD).success
        yield root, night


def spoilt(column, row, value):
    frame = BARS.copy()
    frame[column] = frame[column].astype(object if isinstance(value, str) else "float64")
    frame.iloc[row, frame.columns.get_loc(column)] = value
    return frame


def many(column, value):
    """More rows than a repair may drop."""
    frame = BARS.copy()
    frame.iloc[100:200, frame.columns.get_loc(column)] = value
    return frame


def truncated(path):
    BARS.to_parquet(path)
    path.write_bytes(path.read_bytes()[:-200])


def with_times(times):
    return BARS.set_axis(times).rename_axis("timestamp").reset_index()


SECONDS = BARS.index.as_unit("s").asi8
CASES = {
    "truncated parquet": (truncated, "cannot be read as parquet"),
    "empty file": (lambda path: path.write_bytes(b""), "cannot be read as parquet|is empty"),
    "no rows": (BARS.iloc[:0], "has no rows"),
    "wrong dtype": (
        spoilt("close", 41, "n.a.").astype({"close": "str"}),
        "row 42, column close: 'n.a.' is not a number",
    ),
    "a time of another kind": (
        with_times(np.where(np.arange(N_BARS) == 7, "yesterday", BARS.index.astype("str"))),
        "row 8, column timestamp: 'yesterday' is not a time",
    ),
    "mixed time zones": (
        with_times(np.where(np.arange(N_BARS) < 1_000, BARS.index.astype("str"), BARS.index.tz_localize(None).astype("str"))),
        "row 1001, column timestamp: .*time zone",
    ),
    "seconds among milliseconds": (
        with_times(np.where(np.arange(N_BARS) == 1_500, SECONDS, SECONDS * 1_000)),
        "row 1502, column timestamp: .* is in an earlier row's unit again",
    ),
    "microseconds among seconds": (
        with_times(np.where(np.arange(N_BARS) == 3, SECONDS * 1_000_000, SECONDS)),
        "row 5, column timestamp: .* is in an earlier row's unit again",
    ),
    "negative volume": (
        many("volume", -3.0),
        "row 101.*volume = -3.0 breaks 'volume must be finite and >= 0', and 100 of 2000 bars",
    ),
    "high below low": (many("high", 1e-6), "row 101.*high = 1e-06 breaks 'high >= .*', and 100 of 2000 bars"),
    "NaN": (many("open", np.nan), "row 101.*open = nan breaks"),
    "inf": (many("close", np.inf), "row 101.*close = inf breaks"),
    "a file of another coin": (
        BARS.assign(**{name: BARS[name] * 37 for name in ("open", "high", "low", "close")}),
        "another coin",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_is_one_sentence_and_what_is_stored_stays(place, case):
    root, night = place
    content, message = CASES[case]
    file, stored = root / "raw" / f"{BAD}.parquet", root / "data" / "candles" / f"{BAD}.parquet"
    before = stored.read_bytes()
    content(file) if callable(content) else content.to_parquet(file)
    result = night(BAD)
    assert not result.success
    [failure] = [event.step_failure_data.error.cause for event in result.all_events if event.is_step_failure]
    assert failure.cls_name == "DataContractError"
    sentence = failure.message.strip().removeprefix("crp_pipeline.errors.DataContractError: ")
    assert sentence.startswith(f"{BAD} ({file})"), sentence
    assert re.search(message, sentence), sentence
    assert "\n" not in sentence
    assert stored.read_bytes() == before
    assert night(GOOD).success
