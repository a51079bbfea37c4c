import gzip

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from crp_pipeline.candles import align_feed, align_feed_with_report, load_candles, read_feed
from crp_pipeline.errors import DataContractError, InsufficientHistoryError

NAN = np.nan


def at(moment):
    return pd.Timestamp(moment, tz="UTC")


def bars(first, last, freq="1h"):
    return pd.date_range(at(first), at(last), freq=freq, name="open_time", unit="ns")


def feed(**value_at):
    """Rates by stamp: `feed(**{"2024-01-01 08:00": 0.1})`."""
    return pd.DataFrame({"rate": list(value_at.values())}, index=pd.DatetimeIndex(list(value_at), tz="UTC", name="timestamp"))


DAILY = feed(**{"2024-01-01": 1.0, "2024-01-02": 2.0, "2024-01-03": 3.0})


# ---- what is known at the close -------------------------------------------------------------------------------------


def test_a_value_is_known_from_the_bar_that_closes_as_it_becomes_known():
    aligned = align_feed(bars("2024-01-01 06:00", "2024-01-01 10:00"), feed(**{"2024-01-01 08:00": 5.0}), available_after="0h")
    assert_frame_equal(aligned, pd.DataFrame({"rate": [NAN, 5.0, 5.0, 5.0, 5.0]}, index=aligned.index))
    assert aligned.index.equals(bars("2024-01-01 06:00", "2024-01-01 10:00"))


@pytest.mark.parametrize(
    "available_after", ["1D", "1d", "24h", "1 day", pd.Timedelta(days=1), pd.Timedelta(days=1).to_pytimedelta()]
)
def test_a_daily_mean_is_known_once_its_day_is_over(available_after):
    aligned = align_feed(bars("2024-01-01 22:00", "2024-01-02 23:00"), DAILY, available_after=available_after)["rate"]
    assert aligned.loc[: at("2024-01-01 22:00")].isna().all()
    assert (aligned.loc[at("2024-01-01 23:00") : at("2024-01-02 22:00")] == 1.0).all()
    assert aligned.loc[at("2024-01-02 23:00")] == 2.0


def test_the_bar_length_is_the_shortest_step_so_a_hole_does_not_make_bars_longer():
    index = bars("2024-01-01 05:00", "2024-01-01 12:00").delete([2, 3])
    aligned = align_feed(index, feed(**{"2024-01-01 08:00": 5.0}), available_after="0h")["rate"]
    assert aligned.dropna().index[0] == at("2024-01-01 09:00")  # the bar of 06:00 closes at 07:00, not at 09:00


@pytest.mark.parametrize("interval", ["5m", pd.Timedelta(minutes=5)])
def test_a_given_interval_wins_over_the_shortest_step(interval):
    aligned = align_feed(
        bars("2024-01-01 07:00", "2024-01-01 09:00"),
        feed(**{"2024-01-01 08:00": 5.0}),
        available_after="0h",
        interval=interval,
    )
    assert aligned["rate"].isna().tolist() == [True, False, False]


def test_a_series_becomes_a_column():
    index = bars("2024-01-02", "2024-01-02 02:00")
    named, unnamed = DAILY["rate"], DAILY["rate"].rename(None)
    assert align_feed(index, named, available_after="0h").columns.tolist() == ["rate"]
    assert align_feed(index, unnamed, available_after="0h").columns.tolist() == ["value"]
    assert_frame_equal(align_feed(index, named, available_after="0h"), align_feed(index, DAILY, available_after="0h"))


def test_stamps_of_another_zone_are_the_moments_they_are():
    index = bars("2024-01-01", "2024-01-04")
    berlin = DAILY.tz_convert("Europe/Berlin")
    assert_frame_equal(align_feed(index, berlin, available_after="0h"), align_feed(index, DAILY, available_after="0h"))
    abroad = align_feed(index.tz_convert("Asia/Tokyo"), DAILY, available_after="0h")
    assert_frame_equal(abroad.tz_convert("UTC"), align_feed(index, DAILY, available_after="0h"), check_freq=False)


def test_values_are_floats_whatever_number_they_were():
    counts = pd.DataFrame(
        {"n": [1, 2], "open": [True, False], "maybe": pd.array([1, None], dtype="Int64")}, index=DAILY.index[:2]
    )
    aligned = align_feed(bars("2024-01-02", "2024-01-02 01:00"), counts, available_after="0h")
    assert aligned.dtypes.eq("float64").all()
    assert aligned.iloc[0].tolist() == [2.0, 0.0, 1.0]


# ---- jitter ---------------------------------------------------------------------------------------------------------

SEVEN_TO_NINE = bars("2024-01-01 07:00", "2024-01-01 09:00")


@pytest.mark.parametrize(
    ("stamp", "jitter", "is_missing"),
    [
        ("2024-01-01 08:00:00.016", "1s", [False, False, False]),
        ("2024-01-01 08:00:01.000", "1s", [False, False, False]),
        ("2024-01-01 08:00:01.001", "1s", [True, False, False]),
        ("2024-01-01 08:00:00.016", "15ms", [True, False, False]),
        ("2024-01-01 08:00:00.001", "0s", [True, False, False]),
        ("2024-01-01 07:59:59.998", "0s", [False, False, False]),
        ("2024-01-01 07:59:59.998", "1s", [False, False, False]),
    ],
)
def test_stamps_within_the_jitter_after_a_whole_minute_count_as_that_minute(stamp, jitter, is_missing):
    aligned = align_feed(SEVEN_TO_NINE, feed(**{stamp: 5.0}), available_after="0h", jitter=jitter)
    assert aligned["rate"].isna().tolist() == is_missing


def test_jitter_forgives_the_stamp_and_never_the_delay():
    rates = feed(**{"2024-01-01 08:00:00.003": 5.0})
    late = align_feed(SEVEN_TO_NINE, rates, available_after="500ms")
    assert late["rate"].isna().tolist() == [True, False, False]


def test_of_two_stamps_in_one_jitter_the_later_is_the_latest():
    rates = feed(**{"2024-01-01 08:00:00.004": 6.0, "2024-01-01 08:00:00.001": 5.0})
    assert align_feed(SEVEN_TO_NINE, rates, available_after="0h")["rate"].tolist() == [6.0, 6.0, 6.0]


# ---- rows in any state ----------------------------------------------------------------------------------------------


def test_row_order_does_not_matter():
    index = bars("2024-01-01", "2024-01-05")
    assert_frame_equal(align_feed(index, DAILY[::-1], available_after="0h"), align_feed(index, DAILY, available_after="0h"))


def test_of_rows_with_one_stamp_the_first_holds_and_what_differs_is_counted():
    restated = pd.concat([DAILY, DAILY.iloc[[1]] + 10, DAILY.iloc[[2]]])
    aligned, report = align_feed_with_report(bars("2024-01-01", "2024-01-04"), restated, available_after="0h")
    assert aligned["rate"].iloc[-1] == 3.0
    assert aligned["rate"].loc[at("2024-01-02 12:00")] == 2.0
    assert (report.rows, report.duplicates, report.conflicting) == (5, 2, 1)


def test_a_missing_value_tells_nothing_and_leaves_the_older_one():
    pair = pd.DataFrame({"rate": [1.0, NAN, 3.0], "interest": [NAN, 7.0, 8.0]}, index=DAILY.index)
    aligned = align_feed(bars("2024-01-01", "2024-01-03", "1D"), pair, available_after="0h", interval="1h")
    assert_frame_equal(aligned, pd.DataFrame({"rate": [1.0, 1.0, 3.0], "interest": [NAN, 7.0, 8.0]}, index=aligned.index))


def test_of_rows_with_one_stamp_the_first_that_has_a_value_holds():
    halves = pd.DataFrame({"rate": [NAN, 1.0], "interest": [7.0, NAN]}, index=DAILY.index[[0, 0]])
    aligned, report = align_feed_with_report(bars("2024-01-01", "2024-01-01 01:00"), halves, available_after="0h")
    assert aligned.iloc[0].tolist() == [1.0, 7.0]
    assert report.conflicting == 0


@pytest.mark.parametrize("nothing", [DAILY.iloc[:0], pd.DataFrame({"rate": []}), pd.DataFrame(columns=["rate"])])
def test_an_empty_feed_leaves_every_row_missing(nothing):
    index = bars("2024-01-01", "2024-01-02")
    aligned, report = align_feed_with_report(index, nothing, available_after="0h")
    assert_frame_equal(aligned, pd.DataFrame({"rate": np.full(25, NAN)}, index=index))
    assert report.rows == 0
    assert report.first is pd.NaT
    assert report.missing_before == 25


def test_no_bars_give_no_rows():
    aligned = align_feed(bars("2024-01-01", "2024-01-02")[:0], DAILY, available_after="0h")
    assert aligned.shape == (0, 1)


# ---- age ------------------------------------------------------------------------------------------------------------


def test_a_feed_that_ended_is_carried_for_three_of_its_steps():
    aligned, report = align_feed_with_report(bars("2024-01-01", "2024-01-10"), DAILY, available_after="1D")
    # 3.0 is known from 2024-01-04 00:00, three steps of one day reach to 2024-01-07 00:00
    assert aligned["rate"].last_valid_index() == at("2024-01-06 23:00")
    assert report.missing_before == 23
    assert report.stale == 24 * 3 + 1
    assert report.columns[0].known == len(aligned) - 23 - 73


def test_a_given_age_wins():
    index = bars("2024-01-01", "2024-01-10")
    short = align_feed(index, DAILY, available_after="1D", max_age="2h")["rate"]
    assert short.dropna().index.hour.unique().tolist() == [23, 0, 1]
    long = align_feed(index, DAILY, available_after="1D", max_age="1000D")["rate"]
    assert long.iloc[-1] == 3.0


def test_a_lone_value_is_carried_for_three_days():
    aligned = align_feed(bars("2024-01-01", "2024-01-10"), DAILY.iloc[:1], available_after="0h")["rate"]
    assert aligned.last_valid_index() == at("2024-01-03 23:00")


def test_a_feed_faster_than_the_bars_is_carried_for_three_bars():
    minutes = pd.DataFrame({"rate": np.arange(10.0)}, index=bars("2024-01-01", "2024-01-01 00:09", "1min"))
    aligned = align_feed(bars("2024-01-01", "2024-01-01 12:00"), minutes, available_after="0h")["rate"]
    assert aligned.last_valid_index() == at("2024-01-01 02:00")  # closes at 03:00, 2 h 51 min after the value


def test_the_step_follows_a_feed_that_changes_its_pace():
    stamps = bars("2024-01-01", "2024-03-01", "8h").union(bars("2024-03-01", "2024-03-10"))
    rates = pd.DataFrame({"rate": 1.0}, index=stamps)
    aligned = align_feed(bars("2024-01-01", "2024-03-11"), rates, available_after="0h")["rate"]
    assert aligned.last_valid_index() == at("2024-03-10 02:00")


# ---- the report -----------------------------------------------------------------------------------------------------


def test_the_report_tells_span_jitter_and_what_is_missing_by_column():
    pair = pd.DataFrame(
        {"rate": [1.0, 2.0], "interest": [NAN, 7.0]},
        index=pd.DatetimeIndex(["2024-01-01 00:00:00.007", "2024-01-01 08:00"], tz="UTC"),
    )
    _, report = align_feed_with_report(bars("2024-01-01", "2024-01-01 23:00"), pair, available_after="0h", source="funding")
    assert (report.first, report.last) == (pair.index[0], pair.index[1])
    assert (report.jittered, report.jitter) == (1, pd.Timedelta("7ms"))
    assert report.to_frame().to_dict("list") == {
        "column": ["rate", "interest"],
        "known": [24, 17],
        "missing_before": [0, 7],
        "stale": [0, 0],
    }
    assert str(report).splitlines() == [
        "funding: 2 rows from 2024-01-01 00:00:00.007000+00:00 to 2024-01-01 08:00:00+00:00",
        "  1 stamps up to 0.007 s after their minute",
        "  rate: known on 24 bars, not yet known on 0, too old on 0",
        "  interest: known on 17 bars, not yet known on 7, too old on 0",
    ]


def test_the_report_names_conflicting_rows():
    restated = pd.concat([DAILY, DAILY.iloc[[1]] + 10])
    _, report = align_feed_with_report(bars("2024-01-01", "2024-01-04"), restated, available_after="0h")
    assert "  1 repeated stamps, 1 of them with another value" in report.summary().splitlines()


# ---- what is refused ------------------------------------------------------------------------------------------------

HOURS = bars("2024-01-01", "2024-01-02")


def stamped(*stamps):
    return pd.DataFrame({"rate": 1.0}, index=pd.Index(stamps))


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (HOURS.tz_localize(None), r"bars are indexed by datetime64\[ns\], not by UTC open times"),
        (pd.RangeIndex(3), "bars are indexed by int64, not by UTC open times"),
        (HOURS[::-1], "bars: row 2, column open_time: '2024-01-01 23:00:00.*' is not after the one before it"),
        (HOURS[[0, 1, 1]], "bars: row 3, column open_time: '2024-01-01 01:00:00.*' is not after"),
        (HOURS.insert(1, pd.NaT), "bars: row 2, column open_time: 'NaT' is not a time"),
    ],
)
def test_bars_that_are_not_in_utc_order_are_refused(index, message):
    with pytest.raises(DataContractError, match=message):
        align_feed(index, DAILY, available_after="0h")


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (DAILY.tz_localize(None), r"funding is indexed by datetime64\[\w+\], not by UTC stamps"),
        (DAILY.reset_index(drop=True), "funding is indexed by int64, not by UTC stamps"),
        (stamped(at("2024-01-01"), pd.Timestamp("2024-01-02", tz="Asia/Tokyo")), "funding is indexed by object, not by UTC"),
        (stamped(at("2024-01-01"), pd.NaT), "funding: row 2, column index: 'NaT' is not a time"),
        (DAILY.assign(mood="Fear"), "funding: row 1, column mood: 'Fear' is not a number"),
        (DAILY.assign(until=DAILY.index), "funding: row 1, column until: .* is not a number"),
        (DAILY.assign(rate=[1.0, -np.inf, NAN]), "funding: row 2, column rate: '-inf' is not finite"),
        (DAILY[[]], "funding has no column of values"),
        (DAILY[["rate", "rate"]], "funding has more than one column rate"),
    ],
)
def test_a_feed_that_cannot_be_understood_is_refused(rates, message):
    with pytest.raises(DataContractError, match=message):
        align_feed(HOURS, rates, available_after="0h", source="funding")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"available_after": "-1h"}, "available_after = -1h must not be negative"),
        ({"available_after": "soon"}, "available_after = soon is not a length of time"),
        ({"available_after": 3600}, "available_after = 3600 is not a length of time"),
        ({"available_after": pd.NaT}, "available_after = NaT is not a length of time"),
        ({"max_age": "-1h"}, "max_age = -1h must not be negative"),
        ({"jitter": "1min"}, "jitter = 1min must be shorter than 1 minute"),
        ({"interval": "2h"}, "interval = '2h' is not one of"),
        ({"interval": pd.Timedelta(0)}, "interval = 0 days 00:00:00 must be positive"),
        ({"interval": "4h"}, "bars: row 2, column open_time: .* lies inside the bar before it, interval = 4h"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(DataContractError, match=message):
        align_feed(HOURS, DAILY, **{"available_after": "0h", **options})


def test_one_bar_says_nothing_about_its_length():
    with pytest.raises(InsufficientHistoryError, match="bars found: 1"):
        align_feed(HOURS[:1], DAILY, available_after="0h")
    assert len(align_feed(HOURS[:1], DAILY, available_after="0h", interval="1h")) == 1


# ---- files ----------------------------------------------------------------------------------------------------------


def write(tmp_path, text, name="funding.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("header", "first", "second"),
    [
        ("timestamp", "2024-01-01 00:00:00", "2024-01-02 00:00:00"),
        ("Date", "2024-01-01", "2024-01-02"),
        ("time", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"),
        ("time", "2024-01-01T01:00:00+01:00", "2024-01-02T02:00:00+02:00"),
        ("date", "20240101", "20240102"),
        ("unix", "1704067200", "1704153600"),
        ("timestamp", "1704067200000", "1704153600"),  # milliseconds, then seconds
        ("timestamp", "1704067200000000", "1704153600000000000"),
        ("fundingTime", "1704067200000", "1704153600000"),
        ("calc_time", "1704067200000", "1704153600000"),
        ("create_time", "2024-01-01 00:00:00", "2024-01-02 00:00:00"),
    ],
)
def test_time_spellings_and_units_are_understood(tmp_path, header, first, second):
    read = read_feed(write(tmp_path, f"{header},rate\n{second},2\n{first},1\n"))
    assert_frame_equal(read, DAILY.iloc[:2].set_axis(DAILY.index[:2].as_unit("ns")))


@pytest.mark.parametrize("name", ["funding.parquet", "funding.csv", "funding.csv.gz"])
def test_every_file_kind_is_read_in_time_order(tmp_path, name):
    table = DAILY[::-1].reset_index()
    path = tmp_path / name
    if name.endswith("parquet"):
        table.to_parquet(path)
    elif name.endswith("gz"):
        path.write_bytes(gzip.compress(table.to_csv(index=False).encode()))
    else:
        table.to_csv(path, index=False)
    assert_frame_equal(read_feed(path), DAILY.set_axis(DAILY.index.as_unit("ns")))


def test_an_indexed_parquet_is_read(tmp_path):
    DAILY.to_parquet(tmp_path / "funding.parquet")
    assert_frame_equal(read_feed(tmp_path / "funding.parquet"), DAILY.set_axis(DAILY.index.as_unit("ns")))


def test_missing_values_and_repeated_stamps_stay_in_the_order_of_the_file(tmp_path):
    read = read_feed(write(tmp_path, "timestamp,rate\n2024-01-02,3\n2024-01-01,\n2024-01-02,2\n"))
    np.testing.assert_array_equal(read["rate"], [NAN, 3.0, 2.0])


def test_columns_are_chosen_by_name(tmp_path):
    path = write(tmp_path, "date,fng_value,class\n2024-01-01,30,Fear\n")
    assert read_feed(path, columns=["fng_value"]).iloc[0].to_dict() == {"fng_value": 30.0}
    with pytest.raises(DataContractError, match="row 1, column class: 'Fear' is not a number"):
        read_feed(path)
    with pytest.raises(DataContractError, match="has no column index, found: date, fng_value, class"):
        read_feed(path, columns=["index"])


MIXED = "coin,timestamp,rate\nBTC-USDT,2024-01-01,1\nETH-USDT,2024-01-01,5\nBTC-USDT,2024-01-02,2\n"


def test_a_coin_is_picked_from_a_file_of_several(tmp_path):
    path = write(tmp_path, MIXED)
    assert read_feed(path, coin="BTC-USDT")["rate"].tolist() == [1.0, 2.0]
    assert read_feed(path, coin="eth-usdt")["rate"].tolist() == [5.0]


@pytest.mark.parametrize(
    ("text", "coin", "message"),
    [
        (MIXED, None, "holds 2 coins, say which: BTC-USDT, ETH-USDT"),
        (MIXED, "SOL-USDT", "has no rows of SOL-USDT, found: BTC-USDT, ETH-USDT"),
        ("timestamp,rate\n2024-01-01,1\n", "SOL-USDT", "has no coin column to find SOL-USDT in, found: timestamp, rate"),
        ("symbol,timestamp,rate\n,2024-01-01,1\n", "SOL-USDT", "row 1, column symbol: 'nan' is not a coin"),
    ],
)
def test_a_coin_that_cannot_be_picked_is_refused(tmp_path, text, coin, message):
    with pytest.raises(DataContractError, match=message):
        read_feed(write(tmp_path, text), coin=coin)


def test_a_file_of_one_coin_needs_no_choice(tmp_path):
    assert read_feed(write(tmp_path, "symbol,calc_time,rate\nBTCUSDT,1704067200000,1\n")).columns.tolist() == ["rate"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("timestamp,rate\n", "has no rows"),
        ("moment,rate\n2024-01-01,1\n", "has no time column, found: moment, rate"),
        ("timestamp\n2024-01-01\n", "has no column of values, found: timestamp"),
        ("timestamp,rate\n2024-01-01,1\nnever,2\n", "row 2, column timestamp: 'never' is not a time in any known format"),
        ("timestamp,rate\n1704067200,1\n17040672,2\n", "row 2, column timestamp: '17040672' is not a unix time after 1973"),
        ("timestamp,rate\n2024-01-01,1\n2024-01-02,much\n", "row 2, column rate: 'much' is not a number"),
        ("timestamp,rate\n2024-01-01,1\n2024-01-02,inf\n", "row 2, column rate: 'inf' is not finite"),
        (
            "timestamp,rate\n2024-01-01T00:00:00Z,1\n2024-01-02T00:00:00,2\n",
            "row 2, column timestamp: '2024-01-02T00:00:00' has no time zone, the first row has one",
        ),
        (
            "timestamp,rate\n2024-01-01 00:00,1\n2024-01-02 00:00+02:00,2\n",
            r"row 2, column timestamp: '2024-01-02 00:00\+02:00' has a time zone, the first row has none",
        ),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_in_one_sentence(tmp_path, text, message):
    with pytest.raises(DataContractError, match=message) as refused:
        read_feed(write(tmp_path, text), source="funding of BTC")
    assert str(refused.value).startswith("funding of BTC")
    assert "\n" not in str(refused.value)


def test_a_broken_or_unknown_file_is_refused(tmp_path):
    path = tmp_path / "funding.parquet"
    DAILY.to_parquet(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataContractError, match=r"funding\.parquet cannot be read as parquet"):
        read_feed(path)
    with pytest.raises(DataContractError, match="is not a feed file: the name must end in"):
        read_feed(write(tmp_path, "", "funding.xlsx"))
    with pytest.raises(DataContractError, match="does not exist"):
        read_feed(tmp_path / "none.csv")


def test_a_column_of_times_is_not_a_column_of_numbers(tmp_path):
    DAILY.assign(settled=DAILY.index).to_parquet(tmp_path / "funding.parquet")
    with pytest.raises(DataContractError, match=r"row 1, column settled: .* is not a number"):
        read_feed(tmp_path / "funding.parquet")


# ---- real feeds -----------------------------------------------------------------------------------------------------


@pytest.mark.market_data
@pytest.mark.parametrize("coin", ["BTC-USDT", "ETH-USDT", "SOL-USDT"])
def test_daily_funding_meets_hourly_candles(market_data, coin):
    rates = read_feed(market_data / "feeds" / "funding_daily.parquet", coin=coin)
    index = load_candles(market_data / "1h" / f"{coin}.parquet").index
    aligned, report = align_feed_with_report(index, rates, available_after="1D", source=f"{coin} funding")
    assert report.missing_before == report.stale == 0
    bar = at("2022-11-09 12:00")
    assert aligned["funding_rate"].loc[bar] == rates["funding_rate"].loc[at("2022-11-08")]


@pytest.mark.market_data
@pytest.mark.parametrize("coin", ["BTC-USDT-PERP", "ETH-USDT-PERP"])
def test_eight_hourly_funding_is_known_at_the_bar_that_closes_on_its_hour(market_data, coin):
    rates = read_feed(market_data / "feeds" / f"funding_8h_{coin}.parquet")
    index = load_candles(market_data / "5m" / f"{coin}.parquet").index
    aligned, report = align_feed_with_report(index, rates, available_after="0h")
    assert report.jittered > 50
    assert report.jitter < pd.Timedelta("20ms")
    assert report.stale == 0
    hours = rates.index.floor("8h")
    inside = (hours > index[0]) & (hours <= index[-1])
    on_time = aligned["funding_rate"].reindex(hours[inside] - pd.Timedelta("5min"))
    np.testing.assert_array_equal(on_time, rates["funding_rate"][inside])


@pytest.mark.market_data
def test_fear_and_greed_is_missing_only_inside_its_own_hole(market_data):
    index_of_fear = read_feed(market_data / "feeds" / "fear_greed_daily.parquet")
    hours = bars("2018-02-01", "2024-09-19")
    _, report = align_feed_with_report(hours, index_of_fear, available_after="0h")
    # the stamp of 2018-04-13 is followed by that of 2018-04-17: the last of the four days is more than three steps away
    assert report.missing_before == 0
    assert report.stale == 23
