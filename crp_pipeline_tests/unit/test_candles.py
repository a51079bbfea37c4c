import gzip
import re
from functools import partial
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from crp_pipeline.candles import (
    IssueKind,
    causal_volatility,
    coin_files,
    demo_market,
    load_candles,
    market_closes,
    read_candles,
    read_source,
    repair_candles,
    require_history,
    source_name,
    to_candles,
    validate_candles,
)
from crp_pipeline.candles.volume_units import BLOCK
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.settings import PipelineSettings

COINS = ("BTC-USDT", "ETH-USDT", "SOL-USDT", "BNB-USDT", "XRP-USDT")


def table(*rows):
    """Hourly bars of 2024-01-01 from (hour, open, high, low, close, volume)."""
    hours, *values = zip(*rows, strict=True)
    index = (at(0) + pd.to_timedelta(hours, unit="h")).as_unit("ns").rename("open_time")
    return pd.DataFrame(dict(zip(["open", "high", "low", "close", "volume"], values, strict=True)), index=index, dtype=float)


def hourly(*hours):
    """Sound bars: hour h opens at 100 + h and closes one higher."""
    return table(*((h, 100 + h, 102 + h, 99 + h, 101 + h, 10) for h in hours))


def at(hour):
    return pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(hours=hour)


def only(report):
    (issue,) = report.issues
    return issue


# ---- files: spellings -----------------------------------------------------------------------------------------------

EXPECTED = table((0, 1, 4, 0.5, 2, 30), (1, 2, 5, 1.5, 3, 40))


@pytest.mark.parametrize(
    "header",
    [
        "open_time,open,high,low,close,volume",
        "timestamp,Open,High,Low,Close,Volume",
        "TIME,o,h,l,c,v",
        "date,OPEN,HIGH,LOW,CLOSE,Vol",
        "Datetime,open,high,low,close,base_volume",
        "ts,open,high,low,close,Volume BTC",
        "Open time,open,high,low,close,volume",
        "Gmt time,open,high,low,close,volume",
        "timestamp (UTC),open,high,low,close,volume",
        "<DATE>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>",
        "\ufeffdate,open,high,low,close,volume",
    ],
)
def test_column_spellings_are_understood(tmp_path, header):
    path = tmp_path / "coin.csv"
    path.write_text(f"{header}\n2024-01-01 00:00:00,1,4,0.5,2,30\n2024-01-01 01:00:00,2,5,1.5,3,40\n", encoding="utf-8")
    assert_frame_equal(load_candles(path), EXPECTED)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1704067200", "1704070800"),
        ("1704067200.0", "1704070800.0"),
        ("1.7040672E+12", "1.7040708E+12"),
        ("1704067200000", "1704070800000"),
        ("1704067200000000", "1704070800000000"),
        ("1704067200000000000", "1704070800000000000"),
        ("2024-01-01", "2024-01-01 01:00"),
        ("2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z"),
        ("2024-01-01 00:00:00 UTC", "2024-01-01 01:00:00 UTC"),
        ("2024-01-01 00:00:00+00:00", "2024-01-01 01:00:00+00:00"),
        ("2024-01-01 02:00:00+02:00", "2023-12-31 20:00:00-05:00"),
        ("2024-01-01 12-AM", "2024-01-01 01-AM"),
        ("01.01.2024 00:00:00.000", "01.01.2024 01:00:00.000"),
        ("01.01.2024 00:00:00", "01.01.2024 01:00:00"),
        ("01.01.2024 00:00", "01.01.2024 01:00"),
        ("2024.01.01 00:00", "2024.01.01 01:00"),
        ("2024.01.01 00:00:00.000", "2024.01.01 01:00:00.000"),
        ("2024/01/01 00:00", "2024/01/01 01:00"),
        ("20240101", "202401010100"),
        ("202401010000", "202401010100"),
        ("20240101000000", "20240101010000"),
        ("20240101000000.0", "20240101010000.0"),
        ("20240101 000000", "20240101 010000"),
        ("20240101 00:00:00", "20240101 01:00:00"),
        ("1704067200", "1704070800000"),
        ("1704067200000", "1704070800000000"),
        ("1704067200000000000", "1704070800"),
    ],
)
def test_time_formats_are_understood(tmp_path, first, second):
    path = tmp_path / "coin.csv"
    path.write_text(f"time,open,high,low,close,volume\n{first},1,4,0.5,2,30\n{second},2,5,1.5,3,40\n")
    assert_frame_equal(load_candles(path), EXPECTED)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("above", ["", "https://www.CryptoDataDownload.com\n", "# exported by a tool, at noon\n"])
def test_a_line_above_the_header_and_other_separators_are_understood(tmp_path, above, separator):
    path = tmp_path / "coin.csv.gz"
    rows = "unix,date,symbol,open,high,low,close,Volume USD,Volume BTC\n1704067200,,X,1,4,0.5,2,999,30\n1704070800,,X,2,5,1.5,3,999,40\n"
    path.write_bytes(gzip.compress((above + rows.replace(",", separator)).encode()))
    assert_frame_equal(load_candles(path), EXPECTED)


@pytest.mark.parametrize("kind", ["int64", "float64", "str", "object"])
@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("timestamp", 1704067200000, 1704070800000),
        ("Open time", 1704067200, 1704070800),
        ("date", 202401010000, 202401010100),
    ],
)
def test_an_index_with_the_name_of_a_time_is_a_time_column(tmp_path, name, first, second, kind):
    path = tmp_path / "coin.parquet"
    EXPECTED.set_axis(pd.Index([first, second], dtype="int64").astype(kind).rename(name)).to_parquet(path)
    assert_frame_equal(load_candles(path), EXPECTED)


def test_an_index_of_text_with_the_name_of_a_time_is_a_time_column(tmp_path):
    path = tmp_path / "coin.parquet"
    EXPECTED.set_axis(pd.Index(["2024-01-01", "2024-01-01 01:00"], name="date")).to_parquet(path)
    assert_frame_equal(load_candles(path), EXPECTED)


def test_a_time_column_stands_beside_an_index_of_its_name():
    raw = EXPECTED.set_axis(pd.Index([7, 8], name="time")).assign(time=[1704067200, 1704070800])
    assert_frame_equal(to_candles(raw, source="x"), EXPECTED)


def test_date_and_clock_in_two_columns_are_one_time():
    text = "<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>\n2024.01.01,00:00,1,4,0.5,2,30\n2024.01.01,01:00,2,5,1.5,3,40\n"
    assert_frame_equal(to_candles(pd.read_csv(StringIO(text)), source="x"), EXPECTED)


@pytest.mark.parametrize(
    ("date", "first", "second"),
    [
        ("20240101", "000000", "010000"),
        ("20240101", "0", "10000"),
        ("20240101", "0000", "0100"),
        ("2024-01-01", "000000", "010000"),
        ("2024.01.01", "0", "100"),
        ("20240101", "00:00:00", "01:00:00"),
    ],
)
@pytest.mark.parametrize("is_text", [True, False])
def test_a_clock_without_colons_is_one_too(date, first, second, is_text):
    text = f"<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>\n{date},{first},1,4,0.5,2,30\n{date},{second},2,5,1.5,3,40\n"
    raw = pd.read_csv(StringIO(text), dtype="str" if is_text else None)
    assert_frame_equal(to_candles(raw, source="x"), EXPECTED)


def test_a_unix_time_is_no_clock():
    raw = EXPECTED.reset_index(drop=True).assign(date=["2024-01-01", "2024-01-01 01:00"], time=[1704067200, 1704070800])
    assert_frame_equal(to_candles(raw, source="x"), EXPECTED)


def test_a_clock_without_a_date_is_not_a_time():
    text = "time,open,high,low,close,volume\n00:00,1,4,0.5,2,30\n"
    with pytest.raises(DataContractError, match="row 1, column time: '00:00' is not a time"):
        to_candles(pd.read_csv(StringIO(text)), source="x")


@pytest.mark.parametrize(
    ("columns", "taken"),
    [
        (["Volume USD", "Volume BTC"], "Volume BTC"),
        (["Volume USDT", "volume"], "volume"),
        (["quote_volume", "vol"], "vol"),
        (["Quote asset volume", "taker_buy_base_volume", "Volume"], "Volume"),
        (["Volume ETH", "Volume BTC"], "Volume ETH"),
        (["volumeto", "volumefrom"], "volumefrom"),
        (["Volume USDT", "tradecount"], "Volume USDT"),
    ],
)
def test_base_volume_is_preferred_to_quote_volume(columns, taken):
    raw = EXPECTED.drop(columns="volume").assign(**{name: 1.0 if name == taken else 2.0 for name in columns})
    assert to_candles(raw, source="x").volume.tolist() == [1.0, 1.0]


def test_unix_column_is_preferred_to_a_date_column():
    raw = EXPECTED.reset_index(drop=True).assign(date=["2000-01-01", "2000-01-02"], unix=[1704067200, 1704070800])
    assert_frame_equal(to_candles(raw, source="x"), EXPECTED)


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
def test_parquet_with_a_datetime_index_is_understood(tmp_path, unit, zone):
    path = tmp_path / "coin.parquet"
    index = EXPECTED.index.tz_convert(zone) if zone else EXPECTED.index.tz_localize(None)
    EXPECTED.set_axis(index.as_unit(unit)).rename_axis(None).to_parquet(path)
    assert_frame_equal(load_candles(path), EXPECTED)


def test_read_keeps_the_order_of_the_file_and_load_sorts_it(tmp_path):
    path = tmp_path / "coin.parquet"
    hourly(2, 1, 1, 0).to_parquet(path)
    assert_frame_equal(read_candles(path), hourly(2, 1, 1, 0))
    assert_frame_equal(load_candles(path), hourly(0, 1, 1, 2))


def test_numbers_stored_as_text_or_float32_are_numbers():
    raw = EXPECTED.astype({"open": "str", "close": "float32", "volume": "int64"})
    assert_frame_equal(to_candles(raw, source="x"), EXPECTED)


# ---- files: failures ------------------------------------------------------------------------------------------------

HEADER = "time,open,high,low,close,volume\n"
SOUND = "1704067200,1,4,0.5,2,30\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (HEADER, "has no rows"),
        (
            "time,open,high,low,volume\n1704067200,1,4,0.5,30\n",
            "has no close column, found: time, open, high, low, volume",
        ),
        ("when,open,high,low,close,volume\n" + SOUND, "has no time column, found: when, open"),
        (HEADER + SOUND + "1704070800,2,5,1.5,n.a.,40\n", "row 2, column close: 'n.a.' is not a number"),
        (HEADER + SOUND + "yesterday,2,5,1.5,3,40\n", "row 2, column time: 'yesterday' is not a unix time"),
        (
            HEADER + "2024-01-01,1,4,0.5,2,30\n2024-13-01,2,5,1.5,3,40\n",
            "row 2, column time: '2024-13-01' is not a time",
        ),
        (HEADER + SOUND + "1704070,2,5,1.5,3,40\n", "row 2, column time: '1704070' is not a unix time"),
        (HEADER + SOUND + "99999999999,2,5,1.5,3,40\n", "row 2, column time: '99999999999' is not a unix time before 2262"),
        (HEADER + "2024-01-01,1,4,0.5,2,30\n3000-01-01,1,4,0.5,2,30\n", "row 2, column time: '3000-01-01"),
        (HEADER + "20240101,1,4,0.5,2,30\n20240132,1,4,0.5,2,30\n", "row 2, column time: '20240132' is not a date"),
        (HEADER + "20240101,1,4,0.5,2,30\n1704067200,1,4,0.5,2,30\n", "row 2, column time: '1704067200' is not a date"),
        (HEADER + SOUND + ",2,5,1.5,3,40\n", "row 2, column time: 'nan' is not a unix time"),
        (HEADER + "21240101,1,4,0.5,2,30\n", "row 1, column time: '21240101' is not a unix time"),
        (HEADER + "3000-01-01,1,4,0.5,2,30\n", "3000-01-01"),
        (HEADER + SOUND + "1704070800,2,5,1.5,3,40,7,8\n", "cannot be read as csv"),
        (
            HEADER + SOUND + "1704070800000,2,5,1.5,3,40\n1704074400,2,5,1.5,3,40\n",
            "row 3, column time: '1704074400' is in an earlier row's unit again",
        ),
        (
            HEADER + "2024-01-01 00:00+00:00,1,4,0.5,2,30\n2024-01-01 01:00,2,5,1.5,3,40\n",
            "row 2, column time: '2024-01-01 01:00' has no time zone, the first row has one",
        ),
    ],
)
def test_a_file_that_cannot_be_understood_is_one_sentence(tmp_path, text, message):
    path = tmp_path / "coin.csv"
    path.write_text(text)
    with pytest.raises(DataContractError) as caught:
        load_candles(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"PAR1 cut off"),
        ("a.csv.gz", gzip.compress(SOUND.encode() * 99, mtime=0)[:-20]),
        ("a.csv.gz", b"no gzip"),
        ("a.csv", b"\xff\xfe\x00\x01"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataContractError, match="cannot be read as") as caught:
        load_candles(path)
    assert "\n" not in str(caught.value)


def test_a_dump_may_go_over_to_another_unit_once(tmp_path):
    path = tmp_path / "coin.csv"
    path.write_text(HEADER + SOUND + "1704070800000,2,5,1.5,3,40\n1704074400000,2,5,1.5,3,40\n")
    assert load_candles(path).index.equals(pd.date_range("2024-01-01", periods=3, freq="h", tz="UTC", unit="ns"))


def test_a_truncated_parquet_file_is_one_sentence(tmp_path):
    path = tmp_path / "coin.parquet"
    hourly(*range(50)).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataContractError, match=r"coin\.parquet cannot be read as parquet: "):
        load_candles(path)


@pytest.mark.parametrize("content", [b"", HEADER.encode(), b"\xff\xfe\x00\x01", HEADER.encode() + b"when,1,4,0.5,2,30\n"])
def test_an_error_in_a_file_begins_with_the_source_when_there_is_one(tmp_path, content):
    path = tmp_path / "btc.csv"
    path.write_bytes(content)
    with pytest.raises(DataContractError, match=r"^BTC \(the file of BTC\)[: ]"):
        read_candles(path, source="BTC (the file of BTC)")


@pytest.mark.parametrize(("name", "message"), [("coin.xlsx", "is not a candle file"), ("coin.csv", "does not exist")])
def test_a_file_of_another_kind_or_none_is_one_sentence(tmp_path, name, message):
    with pytest.raises(DataContractError, match=message):
        load_candles(tmp_path / name)


def test_coins_are_named_after_their_files(tmp_path):
    for name in ("btc-usdt.parquet", "ETH-USDT.csv", "sol-usdt.csv.gz", "notes.txt", ".hidden.csv"):
        (tmp_path / name).touch()
    assert {coin: path.name for coin, path in coin_files(tmp_path).items()} == {
        "BTC-USDT": "btc-usdt.parquet",
        "ETH-USDT": "ETH-USDT.csv",
        "SOL-USDT": "sol-usdt.csv.gz",
    }


def test_two_files_of_one_coin_and_a_missing_folder_are_errors(tmp_path):
    (tmp_path / "btc.csv").touch()
    (tmp_path / "BTC.parquet").touch()
    with pytest.raises(DataContractError, match=r"BTC\.parquet and btc\.csv both claim the coin BTC"):
        coin_files(tmp_path)
    with pytest.raises(DataContractError, match="is not a folder"):
        coin_files(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["btc_usdt.csv", "1inch-usdt.parquet", "BTC-USDT_PERP.csv.gz"])
def test_a_coin_name_may_have_digits_and_two_kinds_of_dashes(tmp_path, name):
    (tmp_path / name).touch()
    assert list(coin_files(tmp_path)) == [name.split(".")[0].upper()]


@pytest.mark.parametrize("name", ["btc usdt.csv", "BTC--USDT.csv", "-btc.csv", "btc.2024.csv", "btc_.parquet", "\u0431tc.csv"])
def test_a_candle_file_that_cannot_name_a_coin_is_an_error(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(DataContractError, match=f"^{tmp_path}: {re.escape(name)} does not name a coin"):
        coin_files(tmp_path)


# ---- source ---------------------------------------------------------------------------------------------------------


def test_a_source_is_named_by_coin_and_place(tmp_path):
    (tmp_path / "btc-usdt.csv").write_text(HEADER + SOUND + "1704070800,2,5,1.5,much,40\n")
    files = PipelineSettings(source="files", files_dir=tmp_path)
    assert source_name(files, "BTC-USDT") == f"BTC-USDT ({tmp_path}/btc-usdt.csv)"
    assert source_name(PipelineSettings(source="demo"), "EDGE-DEMO") == "EDGE-DEMO (demo market)"
    with pytest.raises(DataContractError, match=rf"^BTC-USDT \({tmp_path}/btc-usdt\.csv\): row 2, column close: 'much' is not"):
        read_source(files, "BTC-USDT")


def test_a_coin_that_a_source_does_not_have_has_no_name_there(tmp_path):
    with pytest.raises(DataContractError, match="ETH-USDT has no file in"):
        source_name(PipelineSettings(source="files", files_dir=tmp_path), "ETH-USDT")
    with pytest.raises(DataContractError, match="ETH-USDT is not on the demo market"):
        source_name(PipelineSettings(source="demo"), "ETH-USDT")


# ---- contract -------------------------------------------------------------------------------------------------------


def test_sound_candles_have_no_issue():
    report = validate_candles(hourly(*range(10)), "1h", now=at(10))
    assert report.ok
    assert report.issues == []
    assert "10 bars of 1h" in str(report)
    assert report.to_frame().empty


@pytest.mark.parametrize(
    ("bars", "kind", "count", "first", "last", "stretches"),
    [
        (hourly(0, 2, 1, 3, 5, 4), IssueKind.OUT_OF_ORDER, 2, 1, 4, 2),
        (hourly(0, 1, 1, 1, 2, 2), IssueKind.DUPLICATE, 3, 1, 2, 2),
        (hourly(0, 3, 4, 7, 8), IssueKind.GAP, 4, 1, 6, 2),
        (hourly(0, 1, 1.5, 2), IssueKind.OFF_GRID, 1, 1.5, 1.5, 1),
        (table((0, 1, 1, 1, 1, 0), (1, 1, 1, 1, 1, 5)), IssueKind.ZERO_VOLUME, 1, 0, 0, 1),
    ],
)
def test_each_fault_is_counted_and_located(bars, kind, count, first, last, stretches):
    issue = only(validate_candles(bars, "1h"))
    assert (issue.kind, issue.count, issue.first, issue.last, issue.stretches) == (
        kind,
        count,
        at(first),
        at(last),
        stretches,
    )


@pytest.mark.parametrize(
    "values",
    [
        (np.nan, 3, 1, 2, 5),
        (2, np.inf, 1, 2, 5),
        (2, 3, 0, 2, 5),
        (2, 3, -1, 2, 5),
        (2, 3, 2.5, 2.7, 5),
        (2.5, 3, 2.2, 2, 5),
        (2, 2.5, 1, 2.7, 5),
        (2.6, 2.5, 1, 2, 5),
        (2, 3, 1, 2, -1),
        (2, 3, 1, 2, np.nan),
        (2, 3, 1, 2, np.inf),
    ],
)
def test_every_bar_rule_is_checked(values):
    issue = only(validate_candles(table((0, 2, 3, 1, 2, 5), (1, *values)), "1h"))
    assert (issue.kind, issue.count, issue.first) == (IssueKind.IMPOSSIBLE_BAR, 1, at(1))


def test_newest_first_is_a_normal_export():
    assert validate_candles(hourly(5, 4, 3, 2, 1, 0), "1h").issues == []


def test_a_bar_that_closes_after_now_is_unfinished():
    bars = hourly(0, 1, 2)
    assert validate_candles(bars, "1h", now=at(3)).ok
    issue = only(validate_candles(bars, "1h", now=at(2.5)))
    assert (issue.kind, issue.count, issue.first) == (IssueKind.UNFINISHED_BAR, 1, at(2))


def test_duplicates_that_differ_are_counted_apart():
    bars = pd.concat([hourly(0, 1, 2), table((1, 101, 103, 100, 102.5, 10)), hourly(2)])
    report = validate_candles(bars.sort_index(kind="stable"), "1h")
    assert report.count(IssueKind.DUPLICATE) == 2
    assert report.count(IssueKind.CONFLICTING_DUPLICATE) == 1


def test_warnings_leave_the_contract_standing_and_gaps_break_it():
    assert validate_candles(table((0, 1, 1, 1, 1, 0)), "1h").ok
    assert not validate_candles(hourly(0, 2), "1h").ok
    assert not validate_candles(hourly(0).iloc[:0], "1h").ok


def test_a_hole_between_two_segments_is_declared():
    bars = hourly(0, 1, 5, 6).assign(segment=[0, 0, 1, 1])
    assert validate_candles(bars, "1h").ok


def test_all_faults_of_one_table_are_reported_together():
    bars = pd.concat([hourly(0, 1, 1, 5, 4), table((2.5, 1, 1, 1, 1, 0), (6, 1, 0, 1, 1, 1))])
    report = validate_candles(bars, "1h", now=at(6))
    assert [str(issue.kind) for issue in report.issues] == [
        *("out_of_order", "duplicate", "gap", "impossible_bar", "off_grid", "unfinished_bar", "zero_volume")
    ]
    assert "gap: 2 from 2024-01-01 02:00:00+00:00 to 2024-01-01 03:00:00+00:00" in report.summary()
    assert report.to_frame().is_warning.tolist() == [False] * 6 + [True]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (hourly(0).drop(columns="low"), "has no column low, found: open, high"),
        (hourly(0).reset_index(drop=True), "indexed by int64"),
        (hourly(0).tz_localize(None), "not by UTC"),
        (hourly(0).astype({"open": object}).assign(open="much"), "not a number"),
    ],
)
def test_what_is_no_candle_table_is_an_error(frame, message):
    with pytest.raises(DataContractError, match=message):
        validate_candles(frame, "1h")


@pytest.mark.parametrize("check", [validate_candles, partial(repair_candles, max_gap=1)])
def test_a_moment_without_a_zone_and_an_unknown_interval_are_errors(check):
    with pytest.raises(DataContractError, match=r"now = 2024-01-01 02:00:00 has no time zone"):
        check(hourly(0, 1, 2), "1h", now=at(2).tz_localize(None))
    with pytest.raises(DataContractError, match="interval = '60min' is not one of 1m, 5m"):
        check(hourly(0, 1, 2), "60min")


def test_a_history_that_is_too_short_is_an_error():
    assert require_history(hourly(0, 1, 2), 3, source="BTC").equals(hourly(0, 1, 2))
    told = r"^BTC \(a\.csv\): 3 bars are too few, at least 8,761 are needed \(walk_forward\.train_size\)$"
    with pytest.raises(InsufficientHistoryError, match=told):
        require_history(hourly(0, 1, 2), 8_761, source="BTC (a.csv)")


# ---- contract: volume units -----------------------------------------------------------------------------------------


def switched(price, *stretches, n_bars=12 * BLOCK):
    """Candles whose volume is in quote units in the stretches."""
    rng = np.random.default_rng(3)
    close = price * np.exp(np.cumsum(0.01 * rng.standard_normal(n_bars)))
    volume = 50 * np.exp(0.9 * rng.standard_normal(n_bars) + np.cumsum(0.02 * rng.standard_normal(n_bars)))
    for first, end in stretches:
        volume[first:end] *= close[first:end]
    index = pd.date_range("2024-01-01", periods=n_bars, freq="1h", tz="UTC", name="open_time", unit="ns")
    return pd.DataFrame({"open": close, "high": close, "low": close, "close": close, "volume": volume}, index=index)


@pytest.mark.parametrize("price", [1e-4, 2_000.0, 60_000.0])
@pytest.mark.parametrize(("first", "end"), [(0, 700), (900, 12 * BLOCK), (3 * BLOCK, 7 * BLOCK), (500, 1_111)])
def test_a_switch_of_volume_units_is_found_at_its_rows(price, first, end):
    bars = switched(price, (first, end))
    issue = only(validate_candles(bars, "1h"))
    assert issue.kind == IssueKind.VOLUME_UNIT_SWITCH
    assert issue.count == pytest.approx(end - first, abs=2)
    assert abs(issue.first - bars.index[first]) <= pd.Timedelta(hours=2)
    assert abs(issue.last - bars.index[end - 1]) <= pd.Timedelta(hours=2)


@pytest.mark.parametrize("price", [1e-4, 0.5, 2_000.0, 60_000.0])
@pytest.mark.parametrize("factor", [1.0, 20.0])
def test_a_change_of_turnover_is_no_switch_of_units(price, factor):
    bars = switched(price)
    bars.loc[bars.index[1_000] :, "volume"] *= factor
    assert validate_candles(bars, "1h").issues == []


# ---- repair ---------------------------------------------------------------------------------------------------------


def test_short_holes_are_filled_flat_and_long_ones_part_segments():
    repaired, report = repair_candles(hourly(0, 1, 4, 8, 9), "1h", max_gap=2)
    assert repaired.index.tolist() == [at(h) for h in (0, 1, 2, 3, 4, 8, 9)]
    assert repaired.is_repaired.tolist() == [False, False, True, True, False, False, False]
    assert repaired.segment.tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert repaired.loc[at(3), ["open", "high", "low", "close", "volume"]].tolist() == [102.0, 102.0, 102.0, 102.0, 0.0]
    assert report.count(IssueKind.GAP) == 5


def test_without_a_max_gap_every_hole_parts_segments():
    repaired, _ = repair_candles(hourly(0, 2, 3, 4, 6), "1h", max_gap=0)
    assert repaired.segment.tolist() == [0, 1, 1, 1, 2]


def test_the_first_possible_row_of_a_time_stays():
    bars = pd.concat([hourly(0, 1, 2), table((1, 1, 2, 0.5, 1.5, 7))]).sort_index(kind="stable")
    repaired, report = repair_candles(bars, "1h", max_gap=2)
    assert repaired.close.tolist() == [101.0, 102.0, 103.0]
    assert report.count(IssueKind.CONFLICTING_DUPLICATE) == 1
    bars.iloc[1, 0] = np.nan
    assert repair_candles(bars, "1h", max_gap=2)[0].close.tolist() == [101.0, 1.5, 103.0]


def test_an_impossible_bar_becomes_a_hole():
    bars = hourly(0, 1, 2, 3)
    bars.loc[at(2), "high"] = 1.0
    repaired, report = repair_candles(bars, "1h", max_gap=1)
    assert repaired.loc[at(2)].tolist() == [102.0, 102.0, 102.0, 102.0, 0.0, True, 0]
    assert report.count(IssueKind.IMPOSSIBLE_BAR) == 1


def test_an_unfinished_last_bar_and_off_grid_rows_are_dropped():
    repaired, report = repair_candles(hourly(0, 1, 1.25, 2, 3), "1h", max_gap=1, now=at(3.5))
    assert repaired.index.tolist() == [at(0), at(1), at(2)]
    assert (report.count(IssueKind.UNFINISHED_BAR), report.count(IssueKind.OFF_GRID)) == (1, 1)


@pytest.mark.parametrize(
    ("bars", "interval", "message"),
    [
        (
            hourly(0.1, 1.1, 2),
            "1h",
            r"BTC: row 1: open time 2024-01-01 00:06:00\+00:00 is not on the 1h grid, and 2 of 3 rows are off it where 1%",
        ),
        (
            hourly(2, 1, *range(9, 2, -1)),
            "4h",
            r"BTC: row 1: .* 02:00:00\+00:00 lies 0 days 01:00:00 after the bar before, and 8 of 8 bars do not lie 4h apart",
        ),
        (
            pd.concat([hourly(*range(10))] * 2),
            "5m",
            "BTC: row 2: .* lies 0 days 01:00:00 after the bar before, and 9 of 9 bars",
        ),
        (hourly(*range(100), 3.25, 4.25), "1h", "BTC: row 101: .* 03:15:00.* and 2 of 102 rows are off it"),
        (
            table(*[(h, 1, 2, 1, 1, 1) for h in range(50)], (50, 1, 2, 1.5, 1, 1), (51, 1, 2, 1, 1, -3)),
            "1h",
            r"BTC: row 51, at 2024-01-03 02:00:00\+00:00: low = 1.5 breaks 'low <= min\(open, close\)', and 2 of 52 bars break a rule where 1% can be repaired",
        ),
        (hourly(0).iloc[:0], "1h", "no row is a closed, possible bar"),
        (table((0, -1, 1, 1, 1, 1)), "1h", "no row is a closed, possible bar"),
    ],
)
def test_what_is_beyond_repair_is_one_sentence(bars, interval, message):
    with pytest.raises(DataContractError, match=message) as caught:
        repair_candles(bars, interval, max_gap=3, source="BTC")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("given", "asked"), [("30m", "1h"), ("1h", "4h"), ("1h", "30m"), ("15m", "1h"), ("4h", "1d")])
def test_candles_of_another_interval_are_refused(given, asked):
    bars = demo_market(0.5, n_bars=4_000, seed=1, interval=given)
    with pytest.raises(DataContractError, match=f"DEMO: row 2: .* do not lie {asked} apart"):
        repair_candles(bars, asked, max_gap=4, source="DEMO")


def test_rows_in_messages_are_those_of_the_table_as_given():
    bars = table(*[(h, 1, 2, 1, 1, 1) for h in range(50)], (50, 1, 2, 1.5, 1, 1), (51, 1, 2, 1, 1, -3)).iloc[::-1]
    with pytest.raises(DataContractError, match=r"^BTC: row 1, at 2024-01-03 03:00:00\+00:00: volume = -3\.0 breaks"):
        repair_candles(bars, "1h", max_gap=3, source="BTC")


def test_more_faulty_rows_are_dropped_when_that_is_asked_for():
    bars = table(*[(h, 1, 2, 1, 1, 1) for h in range(20)], (3.5, 1, 2, 1, 1, 1), (4.5, 1, 2, 1, 1, 1))
    assert len(repair_candles(bars, "1h", max_gap=3, max_faulty=0.1)[0]) == 20
    with pytest.raises(DataContractError, match="2 of 22 rows are off it where 9% can be dropped"):
        repair_candles(bars, "1h", max_gap=3, max_faulty=0.09)


def test_a_table_that_is_no_candles_is_named():
    with pytest.raises(DataContractError, match=r"^BTC has no column low"):
        repair_candles(hourly(0).drop(columns="low"), "1h", max_gap=3, source="BTC")


def test_a_negative_gap_is_refused():
    with pytest.raises(DataContractError, match="max_gap = -1 is not allowed: it must be at least 0"):
        repair_candles(hourly(0, 1, 2), "1h", max_gap=-1)


# ---- volatility and market ------------------------------------------------------------------------------------------


def test_volatility_of_returns_up_and_down_is_known_by_hand():
    # returns +x, -x, +x: mean x/3, deviations 2/3, -4/3, 2/3 of x, sum of squares 24/9, over n - 1 = 2: 4/3 x**2
    bars = table(*[(h, 1, 4, 0.5, np.exp(0.1 * (h % 2)), 1) for h in range(5)])
    volatility = causal_volatility(bars, 3)
    assert np.isnan(volatility[:3]).all()
    np.testing.assert_allclose(volatility[3:], 0.1 * np.sqrt(4 / 3))


def test_volatility_does_not_reach_across_a_hole():
    bars, _ = repair_candles(hourly(0, 1, 2, 3, 10, 11, 12, 13), "1h", max_gap=1)
    assert np.isnan(causal_volatility(bars, 2)).tolist() == [True, True, False, False] * 2


def test_market_joins_the_closes_of_all_coins():
    market = market_closes({"ETH": hourly(1, 2), "BTC": repair_candles(hourly(0, 2), "1h", max_gap=1)[0]})
    assert market.columns.tolist() == ["BTC", "ETH"]
    assert (market.index.name, str(market.index.dtype)) == ("open_time", "datetime64[ns, UTC]")
    np.testing.assert_array_equal(market.to_numpy(), [[101, np.nan], [101, 102], [103, 103]])
    assert market_closes({}).empty


# ---- real files -----------------------------------------------------------------------------------------------------


@pytest.mark.market_data
@pytest.mark.parametrize("coin", COINS)
def test_hourly_outages_are_found(market_data, coin):
    candles = load_candles(market_data / "1h" / f"{coin}.parquet")
    gap, idle = validate_candles(candles, "1h").issues
    assert (gap.kind, gap.count, gap.stretches) == (IssueKind.GAP, 20, 10)
    assert (idle.kind, idle.count) == (IssueKind.ZERO_VOLUME, 2)
    assert [str(idle.first), str(idle.last)] == ["2021-02-11 03:00:00+00:00", "2023-03-24 12:00:00+00:00"]
    repaired, _ = repair_candles(candles, "1h", max_gap=4)
    assert len(repaired) == 35_064
    assert validate_candles(repaired, "1h").count(IssueKind.ZERO_VOLUME) == 2


@pytest.mark.market_data
@pytest.mark.parametrize("coin", ["BTC-USDT", "ETH-USDT"])
def test_five_minute_outage_is_found(market_data, coin):
    candles = load_candles(market_data / "5m" / f"{coin}.parquet")
    gap, idle = validate_candles(candles, "5m").issues
    assert (gap.kind, gap.count, gap.stretches) == (IssueKind.GAP, 16, 1)
    assert (idle.kind, idle.count) == (IssueKind.ZERO_VOLUME, 14)
    repaired, _ = repair_candles(candles, "5m", max_gap=4)
    assert repaired.segment.max() == 1
    assert not repaired.is_repaired.any()


@pytest.mark.market_data
@pytest.mark.parametrize(
    "file", ["5m/BTC-USDT-PERP", "5m/ETH-USDT-PERP", "1m/BTC-USDT-PERP", "1m/ETH-USDT-PERP", "1m/SOL-USDT-PERP"]
)
def test_clean_files_are_clean(market_data, file):
    assert validate_candles(load_candles(market_data / f"{file}.parquet"), file[:2]).issues == []


@pytest.mark.market_data
def test_bitstamp_export_is_put_in_order_and_its_volume_fault_reported(market_data):
    path = market_data / "defects" / "bitstamp_BTC_USD_hourly.csv"
    raw, candles = read_candles(path), load_candles(path)
    assert raw.index.is_monotonic_decreasing
    assert candles.index.is_monotonic_increasing
    report = validate_candles(raw, "1h")
    assert report.ok
    issue = report.issues[-1]
    assert (issue.kind, issue.count) == (IssueKind.VOLUME_UNIT_SWITCH, 20_143)
    # the file is sound from 2019-03-03 01:00 to 2019-04-13 16:00 between two switched stretches
    assert issue.stretches == 2
    assert [str(issue.first), str(issue.last)] == ["2018-05-15 06:00:00+00:00", "2020-10-12 08:00:00+00:00"]
