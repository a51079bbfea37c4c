"""The feeds of one coin: which files are read, under which names, and where their values are missing."""

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from crp_pipeline.candles import align_feed, align_feeds, coverage_table, feed_coverage, read_feeds
from crp_pipeline.errors import DataContractError
from crp_pipeline.settings import FeedConfig
from crp_pipeline_tests.random_walk import random_walk

CANDLES = random_walk(24 * 20, start="2024-01-01")
COIN = "BTC-USDT"


def daily(n_days=20, *, start="2023-12-30", **columns):
    stamps = pd.date_range(start, periods=n_days, freq="1D", tz="UTC", name="timestamp")
    columns = columns or {"funding_rate": np.arange(n_days) / 1e4}
    return pd.DataFrame(columns, index=stamps).reset_index()


def config(path, **changes):
    return FeedConfig(**{"path": str(path), "available_after": "1D", **changes})


@pytest.fixture
def folder(tmp_path):
    daily().to_parquet(tmp_path / "funding.parquet")
    return tmp_path


def table_of(configs, candles=CANDLES, coin=COIN):
    feeds = read_feeds(configs, coin)
    table, reports = align_feeds(candles, feeds, interval="1h")
    return table, feed_coverage(table, feeds, reports)


# ---- what is read ---------------------------------------------------------------------------------------------------


def test_every_feed_is_aligned_as_align_feed_does_it(folder):
    daily(fear_greed=np.arange(20) * 5).to_csv(folder / "mood.csv", index=False)
    table, _ = table_of(
        {"funding": config(folder / "funding.parquet"), "mood": config(folder / "mood.csv", available_after="1h")}
    )
    expected = [
        align_feed(CANDLES.index, frame.set_index("timestamp"), available_after=delay)
        for frame, delay in ((daily(), "1D"), (daily(fear_greed=np.arange(20) * 5.0), "1h"))
    ]
    assert_frame_equal(table, pd.concat(expected, axis=1), check_exact=True, check_freq=False)
    assert set(table.dtypes) == {np.dtype(np.float64)}


def test_without_feeds_there_is_a_row_per_bar_and_no_column(folder):
    for_another = {"funding": config(folder / "nowhere.parquet", coins=["ETH-USDT"])}
    for configs in ({}, for_another):
        table, coverage = table_of(configs)
        assert table.shape == (len(CANDLES), 0)
        assert table.index.equals(CANDLES.index)
        assert coverage == ()
        assert coverage_table(coverage).empty


@pytest.mark.parametrize("name", ["funding_{coin}.parquet", "funding_{base}-USDT.parquet"])
def test_a_file_per_coin_is_found_by_the_coins_name(tmp_path, name):
    daily(funding_rate=np.full(20, 7.0)).to_parquet(tmp_path / "funding_BTC-USDT.parquet")
    daily(funding_rate=np.full(20, 8.0)).to_parquet(tmp_path / "funding_ETH-USDT.parquet")
    for coin, value in ((COIN, 7.0), ("ETH-USDT", 8.0)):
        assert table_of({"funding": config(tmp_path / name)}, coin=coin)[0]["funding_rate"].dropna().unique() == [value]


@pytest.mark.parametrize(
    ("spelled", "symbol"), [("BTC-USDT", "{coin}"), ("BTC", "{base}"), ("BTCUSDT", "{base}USDT"), ("btc_usdt", "BTC_USDT")]
)
def test_the_rows_of_a_coin_are_found_by_the_symbol_that_the_file_has_for_it(tmp_path, spelled, symbol):
    both = pd.concat([daily(funding_rate=np.full(20, 7.0)).assign(coin=spelled), daily().assign(coin="ETH")])
    both.to_csv(tmp_path / "funding.csv", index=False)
    found, _ = table_of({"funding": config(tmp_path / "funding.csv", symbol=symbol)})
    assert found["funding_rate"].dropna().unique() == [7.0]


def test_columns_are_taken_and_renamed_as_said(tmp_path):
    frame = daily(sumOpenInterest=np.arange(20.0), lastFundingRate=np.ones(20)).assign(note="text")
    frame.to_csv(tmp_path / "x.csv", index=False)
    columns = {"open_interest": "sumOpenInterest", "same_again": "sumOpenInterest"}
    table, coverage = table_of({"x": config(tmp_path / "x.csv", columns=columns)})
    assert list(table) == ["open_interest", "same_again"] == [it.column for it in coverage]
    assert table["open_interest"].equals(table["same_again"])


def test_the_delay_and_the_age_limit_are_those_of_the_settings(folder):
    at_once, _ = table_of({"funding": config(folder / "funding.parquet", available_after="0h", max_age="5h")})
    later, _ = table_of({"funding": config(folder / "funding.parquet")})
    assert at_once["funding_rate"].iloc[23] == pytest.approx(3e-4)  # closes at the stamp of the fourth day
    assert later["funding_rate"].iloc[23] == pytest.approx(2e-4)
    assert at_once["funding_rate"].notna().iloc[23 : 23 + 24].tolist() == [True] * 6 + [False] * 18


# ---- what is refused ------------------------------------------------------------------------------------------------


def broken(folder, text, name="x.csv"):
    (folder / name).write_text(text)
    return {"x": config(folder / name)}


HEAD = "timestamp,funding_rate\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (HEAD, "has no rows"),
        (HEAD + "2024-01-01,0.1\n2024-01-02,inf\n", "row 2, column funding_rate: 'inf' is not finite"),
        (HEAD + "2024-01-01,0.1\n2024-01-02,high\n", "row 2, column funding_rate: 'high' is not a number"),
        (HEAD + "2024-01-01,0.1\n,0.2\n", "row 2, column timestamp: .* is not a time"),
        (
            HEAD + "2024-01-01 00:00:00+00:00,0.1\n2024-01-02 00:00:00,0.2\n",
            "row 2, column timestamp: '2024-01-02 00:00:00' has no time zone, the first row has one",
        ),
        ("timestamp\n2024-01-01\n", "has no column of values, found: timestamp"),
        ("rate\n0.1\n", "has no time column, found: rate"),
        ("timestamp,coin,rate\n2024-01-01,A,1\n2024-01-01,B,2\n", "holds 2 coins, say which: A, B"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence_with_coin_feed_and_file(tmp_path, text, message):
    with pytest.raises(DataContractError, match=message) as caught:
        read_feeds(broken(tmp_path, text), COIN)
    assert str(caught.value).startswith(f"BTC-USDT: feed x ({tmp_path / 'x.csv'})")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_file_of_other_coins_are_named(folder):
    with pytest.raises(DataContractError, match=r"^BTC-USDT: feed funding \(.*none\.parquet\) does not exist$"):
        read_feeds({"funding": config(folder / "none.parquet")}, COIN)
    daily().assign(coin="SOL-USDT").to_parquet(folder / "of_sol.parquet")
    with pytest.raises(DataContractError, match=r"of_sol\.parquet\) has no rows of BTC-USDT, found: SOL-USDT$"):
        read_feeds({"funding": config(folder / "of_sol.parquet", symbol="{coin}")}, COIN)
    with pytest.raises(DataContractError, match=r"has no column rate, found: timestamp, funding_rate$"):
        read_feeds({"funding": config(folder / "funding.parquet", columns={"funding_rate": "rate"})}, COIN)


def test_two_feeds_with_a_column_of_one_name_are_refused(folder):
    both = {name: config(folder / "funding.parquet") for name in ("one", "other")}
    with pytest.raises(DataContractError, match=r"feed other .* has the column funding_rate that .* feed one .* rename one"):
        read_feeds(both, COIN)


# ---- where values are missing ---------------------------------------------------------------------------------------


def coverage_of(tmp_path, frame, **changes):
    frame.to_parquet(tmp_path / "x.parquet")
    return table_of({"x": config(tmp_path / "x.parquet", **changes)})[1]


def test_a_feed_on_every_bar_has_nothing_to_say(tmp_path):
    [found] = coverage_of(tmp_path, daily(30))
    assert (found.known, found.not_yet, found.in_holes, found.after_end) == (480, 0, 0, 0)
    assert (found.end, found.gaps) == ("", "")
    assert (str(found.first), str(found.last)) == ("2023-12-30 00:00:00+00:00", "2024-01-28 00:00:00+00:00")


def test_a_feed_that_starts_late_has_a_hole_and_ends_early_is_counted_in_three(tmp_path):
    frame = daily(14, start="2024-01-02").drop(index=range(4, 9))
    [found] = coverage_of(tmp_path, frame, max_age="1D")
    # known from 01-03 on, a hole from 01-08 to 01-11, the last value of 01-15 known at 01-16 and too old a day later
    not_yet, n_bars, in_holes = 47, 480, 5 * 24 - 1
    after_end = n_bars - (16 * 24)
    assert (found.not_yet, found.in_holes, found.after_end) == (not_yet, in_holes, after_end)
    assert found.known == n_bars - not_yet - in_holes - after_end
    assert found.end.endswith("the last funding_rate is of 2024-01-15 00:00:00+00:00, too old on the latest 96 bars")
    assert found.gaps.endswith("funding_rate is unknown on the first 47 bars and on 119 in holes, of 480")


def test_a_feed_that_ended_years_ago_is_named_with_its_last_stamp(tmp_path):
    [found] = coverage_of(tmp_path, daily(30, start="2019-01-01"))
    assert (found.known, found.after_end) == (0, 480)
    assert found.end.startswith(f"BTC-USDT: feed x ({tmp_path / 'x.parquet'}): the last funding_rate is of 2019-01-30 00:00:00")
    assert found.gaps.endswith("funding_rate is unknown on all 480 bars")


def test_a_feed_that_begins_after_the_bars_has_not_ended(tmp_path):
    [found] = coverage_of(tmp_path, daily(30, start="2025-01-01"))
    assert (found.not_yet, found.after_end, found.end) == (480, 0, "")
    assert found.gaps.endswith("funding_rate is unknown on all 480 bars")


def test_a_column_without_a_value_is_unknown_and_one_beside_it_is_not(tmp_path):
    empty, full = coverage_of(tmp_path, daily(30, empty=np.full(30, np.nan), full=np.ones(30)))
    assert empty.gaps.endswith("empty is unknown on all 480 bars")
    assert (empty.end, full.end, full.gaps) == ("", "", "")
    assert empty.first is pd.NaT


@pytest.mark.parametrize(("delay", "not_yet", "is_said"), [("5h", 4, False), ("6h", 5, True)])
def test_a_hundredth_of_the_bars_is_not_worth_a_word(tmp_path, delay, not_yet, is_said):
    [late] = coverage_of(tmp_path, daily(30, start="2024-01-01"), available_after=delay)
    assert (late.not_yet, bool(late.gaps)) == (not_yet, is_said)
