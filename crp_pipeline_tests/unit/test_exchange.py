"""The archive of downloaded bars, and what a download decides without a network."""

import re
import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal

from crp_pipeline.candles.archive import Archive, Restatement, compare, restatements
from crp_pipeline.candles.exchange import Market, by_month, create_client, download, find_symbol, to_bars
from crp_pipeline.candles.source import available_coins, exchange_archive, source_name
from crp_pipeline.contracts import OHLCV
from crp_pipeline.errors import DataContractError
from crp_pipeline.settings import ExchangeConfig, PipelineSettings, SettingsError, load_settings

MINUTE_MS = 60_000
JANUARY = pd.Period("2024-01", freq="M")


def flat_bars(start, n_bars, *, freq="1D", close=100.0):
    index = pd.date_range(start, periods=n_bars, freq=freq, tz="UTC", name="open_time", unit="ns")
    values = dict.fromkeys(OHLCV, close) | {"volume": np.arange(1.0, n_bars + 1)}
    return pd.DataFrame(values, index=index)


def with_close(bars, row, close):
    changed = bars.copy()
    changed.loc[changed.index[row], "close"] = close
    return changed


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path / "1d", "BTC-USDT (binance spot)")


def add(archive, bars):
    with archive.locked():
        return sum(archive.add(month, part) for month, part in by_month([bars]))


# ---- archive --------------------------------------------------------------------------------------------------------


def test_bars_come_back_from_their_months_as_they_were_added(archive):
    bars = flat_bars("2023-12-20", 60)
    assert add(archive, bars) == 60
    assert [str(month) for month in archive.months()] == ["2023-12", "2024-01", "2024-02"]
    assert_frame_equal(archive.read(), bars, check_freq=False, check_exact=True)
    assert archive.last_open_time() == bars.index[-1]


def test_bars_that_are_stored_are_not_written_again(archive):
    bars = flat_bars("2024-01-01", 20)
    add(archive, bars)
    before = (archive.folder / "2024-01.parquet").stat().st_mtime_ns
    assert add(archive, bars) == 0
    assert (archive.folder / "2024-01.parquet").stat().st_mtime_ns == before
    assert restatements(archive.read()) == []


def test_a_restated_bar_is_noted_once_and_what_is_stored_stays(archive):
    bars = flat_bars("2024-01-01", 20)
    add(archive, bars)
    for _ in range(2):
        assert add(archive, with_close(bars, 7, 101.0)) == 0
    read = archive.read()
    assert_frame_equal(read, bars, check_freq=False)
    [found] = restatements(read)
    assert found == Restatement(bars.index[7], (100.0,) * 4 + (8.0,), (100.0, 100.0, 100.0, 101.0, 8.0))
    assert str(found) == (
        "2024-01-08 00:00:00+00:00: stored open 100 high 100 low 100 close 100 volume 8, "
        "now served open 100 high 100 low 100 close 101 volume 8"
    )


def test_a_late_bar_is_added_and_noted_and_one_that_vanished_stays_and_is_noted(archive):
    bars = flat_bars("2024-01-01", 20)
    add(archive, bars.drop(bars.index[5]))
    assert add(archive, bars.drop(bars.index[9])) == 1
    read = archive.read()
    assert_frame_equal(read, bars, check_freq=False)
    late, gone = restatements(read)
    assert (late.open_time, late.stored, gone.open_time, gone.served) == (bars.index[5], None, bars.index[9], None)
    assert str(late).endswith("00:00:00+00:00: served late, open 100 high 100 low 100 close 100 volume 6")
    assert str(gone).endswith("now served nothing")


def test_a_missing_value_equals_a_missing_value(archive):
    bars = with_close(flat_bars("2024-01-01", 5), 2, np.nan)
    add(archive, bars)
    add(archive, bars)
    assert restatements(archive.read()) == []
    for _ in range(2):
        add(archive, with_close(bars, 3, np.nan))
    assert len(restatements(archive.read())) == 1


def test_the_attributes_survive_a_parquet_round_trip(archive, tmp_path):
    bars = flat_bars("2024-01-01", 20)
    add(archive, bars)
    add(archive, with_close(bars, 7, 101.0))
    read = archive.read()
    read.to_parquet(tmp_path / "bars.parquet")
    assert restatements(pd.read_parquet(tmp_path / "bars.parquet")) == restatements(read)


def test_months_without_a_bar_have_empty_files(archive):
    bars = pd.concat([flat_bars("2024-01-20", 5), flat_bars("2024-05-02", 3)])
    add(archive, bars)
    assert [str(month) for month in archive.months()] == ["2024-01", "2024-02", "2024-03", "2024-04", "2024-05"]
    assert_frame_equal(archive.read(), bars, check_freq=False)


def test_a_month_that_somebody_took_away_is_an_error(archive):
    add(archive, flat_bars("2024-01-01", 90))
    (archive.folder / "2024-02.parquet").unlink()
    with pytest.raises(DataContractError, match=r"^BTC-USDT \(binance spot\): the stored month 2024-02 is missing: put its"):
        archive.read()


def test_the_notes_on_deleted_months_are_forgotten(archive):
    bars = flat_bars("2024-01-01", 60)
    add(archive, bars)
    add(archive, with_close(with_close(bars, 3, 101.0), 40, 101.0))
    (archive.folder / "2024-02.parquet").unlink()
    archive.forget_restatements_after(archive.last_open_time())
    assert [note.open_time for note in restatements(archive.read())] == [bars.index[3]]


def test_bars_of_another_market_are_refused_and_change_nothing(archive):
    bars = flat_bars("2024-01-25", 10)
    add(archive, bars.iloc[:6])
    before = {path.name: path.read_bytes() for path in archive.folder.iterdir()}
    message = (
        r"^BTC-USDT \(binance spot\): 2024-01-25 00:00:00\+00:00: close is stored as 100\.0 and now served as 3\.0, "
        r"and 6 bars differ by a factor of 0\.03: .* holds the bars of another market$"
    )
    with pytest.raises(DataContractError, match=message):
        add(archive, flat_bars("2024-01-25", 10, close=3.0))
    assert {path.name: path.read_bytes() for path in archive.folder.iterdir()} == before


@pytest.mark.parametrize(
    ("bars", "rule"),
    [
        (flat_bars("2024-01-01", 5).iloc[::-1], "row 2, column open_time: 2024-01-04"),
        (flat_bars("2024-01-30", 5), "row 3, column open_time: 2024-02-01"),
        (flat_bars("2024-01-01", 5).drop(columns="volume"), "has no column volume"),
        (flat_bars("2024-01-01", 5).astype({"close": "str"}).replace("100.0", "much"), "not a number"),
    ],
)
def test_a_stored_month_that_somebody_altered_is_an_error(archive, bars, rule):
    archive.folder.mkdir()
    path = archive.folder / "2024-01.parquet"
    bars.to_parquet(path)
    with pytest.raises(DataContractError, match=f"^{re.escape(str(path))}.*{re.escape(rule)}"):
        archive.read()


def test_a_truncated_month_is_an_error_and_the_others_stay(archive):
    add(archive, flat_bars("2024-01-01", 60))
    path = archive.folder / "2024-02.parquet"
    path.write_bytes(path.read_bytes()[:100])
    january = (archive.folder / "2024-01.parquet").read_bytes()
    with pytest.raises(DataContractError, match=f"^{re.escape(str(path))} cannot be read"):
        add(archive, flat_bars("2024-02-01", 60))
    assert (archive.folder / "2024-01.parquet").read_bytes() == january


def test_damaged_notes_are_an_error(archive):
    add(archive, flat_bars("2024-01-01", 5))
    (archive.folder / "restated.json").write_text("[")
    with pytest.raises(DataContractError, match=r"^BTC-USDT .*restated\.json cannot be read"):
        archive.read()


def test_an_empty_archive_has_no_bars_to_read(archive):
    with pytest.raises(DataContractError, match=r"^BTC-USDT \(binance spot\) has no stored bars in"):
        archive.read()
    assert archive.last_open_time() is None


def test_bars_after_the_last_stored_one_are_no_restatement():
    bars = flat_bars("2024-01-01", 10)
    assert compare(bars.iloc[:6], bars.iloc[4:], last=bars.index[5]) == []
    assert compare(bars.iloc[:0], bars, last=None) == []


# ---- pages ----------------------------------------------------------------------------------------------------------


def test_rows_become_bars_in_time_order_the_first_of_each_time():
    rows = [[2 * MINUTE_MS, 1, 2, 0.5, 1.5, 7], [MINUTE_MS, 3, 4, 2, 3.5, None], [2 * MINUTE_MS, 9, 9, 9, 9, 9]]
    start = pd.Timestamp("2024-01-01", tz="UTC").value // 1_000_000
    bars = to_bars([[start + row[0], *row[1:]] for row in rows], source="BTC-USDT")
    assert bars.index.tolist() == [pd.Timestamp("2024-01-01 00:01", tz="UTC"), pd.Timestamp("2024-01-01 00:02", tz="UTC")]
    assert_array_equal(bars.to_numpy(), [[3, 4, 2, 3.5, np.nan], [1, 2, 0.5, 1.5, 7]])
    assert bars.dtypes.eq("float64").all()


@pytest.mark.parametrize("rows", [[], None])
def test_no_rows_are_no_bars(rows):
    assert to_bars(rows, source="BTC-USDT").empty


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [[1.7e12, 1, 1, 1, 1, 1], [1.7e9, 1, 1, 1, 1, 1]],
            r"row 2, column open_time: 1700000000\.0 is not a unix time in milli",
        ),
        ([[1.7e15, 1, 1, 1, 1, 1]], r"row 1, column open_time: 1700000000000000\.0 is not a unix time in milliseconds$"),
        ([[None, 1, 1, 1, 1, 1]], r"row 1, column open_time: nan is not a unix time"),
        ([[1.7e12, 1, 1, 1, "much", 1]], "the answer is not rows of 6 numbers: ValueError: could not convert string"),
        ([[1.7e12, 1, 1, 1]], "the answer is not rows of 6 numbers"),
        ([[1.7e12, 1, 1, 1, 1, 1], [1.7e12]], "the answer is not rows of 6 numbers"),
    ],
)
def test_an_answer_that_is_not_bars_is_an_error_with_row_and_value(rows, message):
    with pytest.raises(DataContractError, match=f"^BTC-USDT: {message}"):
        to_bars(rows, source="BTC-USDT")


def test_pages_are_joined_into_whole_months():
    bars = flat_bars("2023-12-20", 60)
    pages = [bars.iloc[:5], bars.iloc[5:15], bars.iloc[15:30], bars.iloc[30:]]
    months = list(by_month(pages))
    assert [str(month) for month, _ in months] == ["2023-12", "2024-01", "2024-02"]
    assert_frame_equal(pd.concat([part for _, part in months]), bars, check_freq=False)
    assert list(by_month([])) == []


class MinuteExchange:
    """A ccxt client of a market that has traded every minute since 2023."""

    start_ms = pd.Timestamp("2023-01-01", tz="UTC").value // 1_000_000

    def __init__(self, now):
        self.has = {"fetchTime": True}
        self.last_http_response = "[]"
        self.timeframes = {"1m": "1m"}
        self.now_ms = pd.Timestamp(now, tz="UTC").value // 1_000_000

    def fetch_time(self):
        return self.now_ms

    def feature_value(self, *_):
        return 1_000

    def fetch_ohlcv(self, *_, since, limit):
        first = max(self.start_ms, since)
        return [[time, 1.0, 1.0, 1.0, 1.0, 1.0] for time in range(first, self.now_ms, MINUTE_MS)[:limit]]


def minutes_until(now):
    return Market(MinuteExchange(now), "BTC/USDT", "1m", "BTC-USDT", retries=0)


def peak_bytes(archive, market):
    tracemalloc.start()
    try:
        download(archive, market, ExchangeConfig(max_silence_days=10_000))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class DeafExchange(MinuteExchange):
    """Answers with the first hours of trading, whatever it is asked for."""

    def fetch_ohlcv(self, *_, limit, **__):
        return super().fetch_ohlcv(since=self.start_ms, limit=limit)


def test_an_exchange_that_does_not_listen_gives_one_page_and_no_bar_before_the_start(archive):
    market = replace(minutes_until("2023-02-03"), client=DeafExchange("2023-02-03"))
    assert download(archive, market, ExchangeConfig(start="2023-01-01", max_silence_days=99)) == 1_000
    other = replace(archive, folder=archive.folder / "later")
    with pytest.raises(DataContractError, match="has no closed bar since 2023-01-02"):
        download(other, market, ExchangeConfig(start="2023-01-02"))


def test_memory_does_not_grow_with_the_history(tmp_path):
    create_client(ExchangeConfig(), source="BTC-USDT")  # the libraries' own memory is not counted
    peaks = [
        peak_bytes(Archive(tmp_path / now, "BTC-USDT"), minutes_until(now))
        for now in ("2023-01-03", "2023-02-03", "2023-04-03")
    ]
    assert peaks[2] < 1.1 * peaks[1]


def test_a_long_download_tells_how_far_it_is(archive):
    lines, ticks = [], iter(range(0, 100_000, 6))
    n_new = download(
        archive, minutes_until("2023-03-05 10:00:30"), ExchangeConfig(), progress=lines.append, clock=lambda: next(ticks)
    )
    assert n_new == len(archive.read()) == 91_320
    assert lines == [
        "BTC-USDT: 2023-01, 44,640 of about 91,320 bars; 6 s gone, 6 s left",
        "BTC-USDT: 2023-02, 84,960 of about 91,320 bars; 12 s gone, 1 s left",
        "BTC-USDT: 2023-03, 91,320 of about 91,320 bars; 18 s gone, 0 s left",
        "BTC-USDT: 91,320 new bars, the last of 2023-03-05 09:59:00+00:00",
    ]


# ---- symbols and settings -------------------------------------------------------------------------------------------

MARKETS = {
    "BTC/USDT": {"spot": True, "swap": False},
    "BTC/EUR": {"spot": True, "swap": None},
    "ETH/USDT": {"spot": True},
    "BTC/USDT:USDT": {"spot": False, "swap": True},
    "BTC/USD:BTC": {"spot": False, "swap": True},
}


@pytest.mark.parametrize(
    ("coin", "kind", "symbol"),
    [
        ("BTC-USDT", "spot", "BTC/USDT"),
        ("BTC_USDT", "spot", "BTC/USDT"),
        ("BTC-USDT", "swap", "BTC/USDT:USDT"),
        ("BTC-USD", "swap", "BTC/USD:BTC"),
    ],
)
def test_a_coin_has_its_symbol(coin, kind, symbol):
    assert find_symbol(MARKETS, coin, kind, source=coin) == symbol


@pytest.mark.parametrize(
    ("coin", "kind", "message"),
    [
        ("BTC-GBP", "spot", "there is no spot market BTC/GBP, of 3 the nearest are BTC/USDT, BTC/EUR"),
        ("ETC-USDT", "spot", "there is no spot market ETC/USDT, of 3 the nearest are ETH/USDT, BTC/USDT"),
        ("ETH-USDT", "swap", "there is no swap market ETH/USDT:USDT, of 2 the nearest are BTC/USDT:USDT"),
        ("BTCUSDT", "spot", "a coin of an exchange is base and quote, such as BTC-USDT"),
        ("BTC-USDT-PERP", "swap", "a coin of an exchange is base and quote, such as BTC-USDT"),
    ],
)
def test_a_coin_without_a_market_is_told_what_there_is(coin, kind, message):
    with pytest.raises(DataContractError, match=f"^{coin} there: {message}"):
        find_symbol(MARKETS, coin, kind, source=f"{coin} there")


def test_an_exchange_that_ccxt_does_not_know_is_an_error():
    with pytest.raises(DataContractError, match=r"^BTC-USDT: ccxt has no exchange 'binnance'; near: .*binance"):
        create_client(ExchangeConfig(name="binnance"), source="BTC-USDT")


def test_an_exchange_whose_limit_is_unknown_is_asked_for_few_bars():
    client = create_client(ExchangeConfig(name="gemini"), source="BTC-USD")
    client.set_markets([{"symbol": "BTC/USD", "id": "btcusd", "type": "spot", "spot": True, "subType": None}])
    assert Market(client, "BTC/USD", "1h", "BTC-USD", retries=0).limit == 100


def test_a_client_is_paced_and_takes_further_options():
    config = ExchangeConfig(timeout_s=2.5, rate_limit_ms=250, client_options={"userAgent": "night"})
    client = create_client(config, source="BTC-USDT")
    assert (client.enableRateLimit, client.timeout, client.rateLimit, client.userAgent) == (True, 2_500, 250, "night")
    assert create_client(ExchangeConfig(), source="BTC-USDT").rateLimit > 0


def test_the_exchange_is_reached_by_variables(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    values = {"NAME": "kraken", "MARKET": "swap", "START": "2020-02-01", "RATE_LIMIT_MS": "5", "CLIENT_OPTIONS": '{"a": 1}'}
    for name, value in values.items():
        monkeypatch.setenv(f"CRP_EXCHANGE__{name}", value)
    exchange = load_settings().exchange
    assert (exchange.name, exchange.market, str(exchange.start), exchange.rate_limit_ms) == (
        "kraken",
        "swap",
        "2020-02-01",
        5.0,
    )
    assert exchange.client_options == {"a": 1}
    monkeypatch.setenv("CRP_EXCHANGE__MARKET", "margin")
    with pytest.raises(SettingsError, match=r"^exchange\.market = 'margin' is not allowed: .*'spot' or 'swap'"):
        load_settings()


def test_an_exchange_needs_coins_to_be_named(tmp_path):
    with pytest.raises(DataContractError, match=r"^source 'exchange' needs coins: set CRP_COINS or coins, such as BTC-USDT$"):
        available_coins(PipelineSettings(source="exchange"))
    assert available_coins(PipelineSettings(source="exchange", coins=("BTC-USDT",))) == ("BTC-USDT",)


def test_each_exchange_market_and_interval_has_an_archive_of_its_own(tmp_path):
    settings = PipelineSettings(source="exchange", data_dir=tmp_path, interval="5m", exchange=ExchangeConfig(market="swap"))
    archive = exchange_archive(settings, "BTC-USDT")
    assert archive.folder == tmp_path / "raw" / "exchange" / "binance" / "swap" / "BTC-USDT" / "5m"
    assert source_name(settings, "BTC-USDT") == archive.source == "BTC-USDT (binance swap)"
