"""Downloads with the real ccxt from a loopback server that answers in Binance's wire format."""

import json
import os
import signal
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from crp_pipeline import storage
from crp_pipeline.candles.archive import restatements
from crp_pipeline.candles.source import exchange_archive, read_source
from crp_pipeline.errors import DataContractError
from crp_pipeline.settings import PipelineSettings
from crp_pipeline_tests.e2e.exchange_server import (
    COIN,
    FAULTS,
    HOUR,
    Pauses,
    archive_in,
    exchange_of,
    fetch,
    files_of,
    market_bars,
)

PROJECT = Path(__file__).parents[2]
SOURCE = r"BTC-USDT \(binance spot\)"
PASSING_FAULTS = ("429", "418", "500", "503", "drop", "cut", "html")
SILENT_FAULTS = ("empty", "repeat")


@pytest.fixture
def archive(tmp_path):
    return archive_in(tmp_path)


# ---- what is taken --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("market", ["spot", "swap"])
def test_every_closed_bar_is_downloaded_and_the_unfinished_one_is_not(archive, market):
    bars = market_bars(3_000)
    with exchange_of(bars) as exchange:
        assert fetch(exchange, archive, market=market) == 2_999
    assert_frame_equal(archive.read(), bars.iloc[:-1], check_freq=False, check_exact=True)


def test_a_second_download_asks_for_the_new_bars_and_the_last_few(archive):
    bars = market_bars(3_000)
    with exchange_of(bars) as exchange:
        exchange.now = bars.index[2_500] + HOUR / 2
        assert fetch(exchange, archive) == 2_500
        exchange.requests.clear()
        exchange.now = bars.index[2_510] + HOUR / 2
        assert fetch(exchange, archive, recheck=7) == 10
        [asked] = exchange.asked_for_bars()
    assert pd.Timestamp(int(asked["startTime"]), unit="ms", tz="UTC") == bars.index[2_500 - 7]
    assert_frame_equal(archive.read(), bars.iloc[:2_510], check_freq=False)


@pytest.mark.parametrize(("seconds", "n_bars"), [(-1, 8), (0, 8), (9.999, 8), (10, 9), (11, 9), (3_599, 9), (3_610, 10)])
def test_a_bar_is_taken_once_it_is_closed_and_has_settled(archive, seconds, n_bars):
    bars = market_bars(11)
    with exchange_of(bars) as exchange:
        exchange.now = bars.index[9] + pd.Timedelta(seconds=seconds)
        fetch(exchange, archive)
    assert len(archive.read()) == n_bars


def test_the_earlier_of_the_exchange_and_the_given_now_decides(archive):
    bars = market_bars(100)
    with exchange_of(bars) as exchange:
        assert fetch(exchange, archive, now=bars.index[50] + HOUR / 2) == 50
        assert fetch(exchange, archive, now=bars.index[-1] + 100 * HOUR) == 49


def test_no_bar_before_the_configured_start_is_taken(archive):
    bars = market_bars(1_000)
    with exchange_of(bars) as exchange:
        fetch(exchange, archive, start="2024-02-01")
    assert archive.read().index[0] == pd.Timestamp("2024-02-01", tz="UTC")


@pytest.mark.parametrize("windowed", [False, True])
def test_an_outage_leaves_a_hole_and_nothing_else(archive, windowed):
    bars = market_bars(6_000)
    gap = bars.iloc[1_500:4_300]
    with exchange_of(bars.drop(gap.index), windowed=windowed) as exchange:
        fetch(exchange, archive)
    assert_frame_equal(archive.read(), bars.drop(gap.index).iloc[:-1], check_freq=False)


def test_an_exchange_that_pages_by_windows_is_not_asked_for_every_page_before_the_listing(archive):
    bars = market_bars(900, start="2024-01-15")
    with exchange_of(bars, windowed=True) as exchange:
        fetch(exchange, archive)
        assert len(exchange.asked_for_bars()) < 20
    assert_frame_equal(archive.read(), bars.iloc[:-1], check_freq=False)


def test_an_exchange_that_always_gives_the_same_page_is_left_in_the_end(archive):
    bars = market_bars(2_500)
    with exchange_of(bars) as exchange:
        fetch(exchange, archive, now=bars.index[1_000])
        stored = files_of(archive)
        exchange.always = "repeat"
        exchange.previous["1h"].pop()  # it was unfinished
        exchange.requests.clear()
        assert fetch(exchange, archive, max_silence_days=1_000) == 0
        assert len(exchange.asked_for_bars()) < 10
    assert files_of(archive) == stored


# ---- faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("request_number", [0, 1, 2])
def test_a_fault_costs_a_pause_and_no_bar(archive, fault, request_number):
    bars = market_bars(2_500)
    pauses = Pauses()
    with exchange_of(bars, faults=deque([""] * request_number + [fault])) as exchange:
        fetch(exchange, archive, pauses=pauses)
        assert not exchange.faults
    assert_frame_equal(archive.read(), bars.iloc[:-1], check_freq=False)
    assert pauses == ([1.0] if fault in PASSING_FAULTS else pauses)


def test_pauses_double_and_an_exchange_may_ask_for_longer_ones(archive):
    pauses = Pauses()
    with exchange_of(market_bars(100), faults=deque(["503"] * 8)) as exchange:
        fetch(exchange, archive, pauses=pauses)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    pauses.clear()
    with exchange_of(market_bars(100), faults=deque(["429", "drop"]), retry_after_s=7) as exchange:
        fetch(exchange, archive_in(archive.folder / "another"), pauses=pauses)
    assert pauses == [7.0, 2.0]


def test_a_long_ban_is_not_waited_for(archive):
    with (
        exchange_of(market_bars(100), faults=deque(["418"]), retry_after_s=7_200) as exchange,
        pytest.raises(DataContractError, match=f"^{SOURCE}: the exchange wants no request for 7,200 s$"),
    ):
        fetch(exchange, archive)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("503", "no answer in 4 attempts: ExchangeNotAvailable: .*"),
        ("429", "no answer in 4 attempts: DDoSProtection: .*"),
        ("drop", "no answer in 4 attempts: NetworkError: .*"),
        ("html", "the answer is not JSON, in 4 attempts$"),
    ],
)
def test_an_exchange_that_stays_away_is_one_error_and_what_was_stored_stays(archive, fault, reason):
    bars = market_bars(2_500)
    with exchange_of(bars) as exchange:
        fetch(exchange, archive, now=bars.index[1_200])
        stored = files_of(archive)
        exchange.always = fault
        with pytest.raises(DataContractError, match=f"^{SOURCE}: {reason}") as raised:
            fetch(exchange, archive, retries=3)
    assert "\n" not in str(raised.value)
    assert files_of(archive) == stored


def test_requests_are_paced(archive):
    with exchange_of(market_bars(2_500), max_limit=500) as exchange:
        fetch(exchange, archive, rate_limit_ms=150)  # ccxt gives this request a weight of 0.4
        times = [time for path, _, time in exchange.requests if path.endswith("/klines")]
    # the pause is measured between departures, and an arrival may lag
    assert times[-1] - times[0] >= 0.055 * (len(times) - 1)


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"coin": "BTC-GBP"},
            r"^BTC-GBP \(binance spot\): there is no spot market BTC/GBP, of 4 the nearest are BTC/USDT, BTC/EUR$",
        ),
        ({"market": "swap", "coin": "ETH-USDT"}, r"^ETH-USDT \(binance swap\): there is no swap market ETH/USDT:USDT, of 2"),
        ({"interval": "7m"}, rf"^{SOURCE}: the exchange has no bars of 7m, its intervals are 1s, 1m, 3m, 5m"),
    ],
)
def test_what_the_exchange_does_not_have_is_told_with_what_it_has(archive, asked, message):
    with exchange_of(market_bars(10)) as exchange, pytest.raises(DataContractError, match=message):
        fetch(exchange, archive, **asked)
    assert not archive.folder.exists()


def test_a_market_that_ended_long_ago_is_an_error_and_its_bars_stay(archive):
    bars = market_bars(500)
    message = (
        rf"^{SOURCE}: the last bar is of {bars.index[-1].isoformat(' ')}, more than exchange\.max_silence_days = 30 before"
    )
    with exchange_of(bars, after_last=pd.Timedelta(days=800)) as exchange:
        with pytest.raises(DataContractError, match=message.replace("+", r"\+")):
            fetch(exchange, archive)
        assert len(exchange.asked_for_bars()) < 10
    assert_frame_equal(archive.read(), bars, check_freq=False)


def test_a_market_without_a_closed_bar_is_an_error(archive):
    with (
        exchange_of(market_bars(1)) as exchange,
        pytest.raises(DataContractError, match=f"^{SOURCE}: the exchange has no closed bar since 2017-01-01$"),
    ):
        fetch(exchange, archive)


def test_the_bars_of_another_coin_are_refused_and_the_stored_ones_stay(archive):
    bars = market_bars(500)
    with exchange_of(bars) as exchange:
        fetch(exchange, archive, now=bars.index[300])
        stored = files_of(archive)
        exchange.bars = bars * 40
        with pytest.raises(DataContractError, match=rf"^{SOURCE}: .*: close is stored as .* holds the bars of another market$"):
            fetch(exchange, archive)
    assert files_of(archive) == stored


def test_a_restated_bar_is_reported_and_the_stored_one_stays(archive):
    bars = market_bars(500)
    with exchange_of(bars) as exchange:
        fetch(exchange, archive, now=bars.index[300])
        exchange.bars = bars.copy()
        exchange.bars.loc[bars.index[295], ["close", "volume"]] = [101.5, 3.0]
        exchange.bars.loc[bars.index[100], "close"] = 101.5  # not asked for again
        fetch(exchange, archive)
    read = archive.read()
    assert_frame_equal(read, bars.iloc[:-1], check_freq=False)
    [found] = restatements(read)
    assert found.open_time == bars.index[295]
    assert found.stored == tuple(bars.iloc[295])
    assert found.served == tuple(exchange.bars.iloc[295])


# ---- kills ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Bars and the files of a download that nobody disturbed."""
    bars = market_bars(3_000)
    archive = archive_in(tmp_path_factory.mktemp("undisturbed"))
    with exchange_of(bars, max_limit=300) as exchange:
        fetch(exchange, archive)
        return bars, files_of(archive), len(exchange.asked_for_bars())


@pytest.mark.slow
def test_a_download_that_dies_at_any_request_resumes_to_the_same_files(undisturbed, tmp_path):
    bars, expected, n_requests = undisturbed
    for request_number in range(n_requests):
        archive = archive_in(tmp_path / str(request_number))
        with exchange_of(bars, max_limit=300, faults=deque([""] * request_number + ["drop"])) as exchange:
            with pytest.raises(DataContractError):
                fetch(exchange, archive, retries=0)
            assert set(files_of(archive).items()) <= set(expected.items())
            fetch(exchange, archive)
        assert files_of(archive) == expected


def test_a_download_that_dies_at_any_write_resumes_to_the_same_files(undisturbed, tmp_path, monkeypatch):
    bars, expected, _ = undisturbed
    for n_syncs in range(0, 2 * len(expected), 3):
        archive = archive_in(tmp_path / str(n_syncs))
        with exchange_of(bars, max_limit=300) as exchange:
            with monkeypatch.context() as patch:
                patch.setattr(storage.os, "fsync", dies_after(n_syncs))
                with pytest.raises(KeyboardInterrupt):
                    fetch(exchange, archive)
            fetch(exchange, archive)
        assert files_of(archive) == expected


def dies_after(n_calls):
    left = iter(range(n_calls))

    def fsync(_):
        if next(left, None) is None:
            raise KeyboardInterrupt

    return fsync


@pytest.mark.slow
@pytest.mark.parametrize("n_months", [0, 1, 3])
def test_a_killed_process_leaves_whole_months_and_the_next_one_finishes(undisturbed, tmp_path, n_months):
    bars, expected, _ = undisturbed
    with exchange_of(bars, max_limit=300, delay_s=0.05) as exchange:
        place = PipelineSettings(source="exchange", data_dir=tmp_path, exchange=exchange.config(max_silence_days=10_000))
        archive = exchange_archive(place, COIN)
        kill_when(
            lambda: len(exchange.asked_for_bars()) > 2 and len(list(archive.folder.glob("2*.parquet"))) >= n_months, place
        )
        stored = {name: content for name, content in files_of(archive).items() if name.endswith(".parquet")}
        assert len(stored) < len(expected)
        assert set(stored.items()) <= set(expected.items())
        assert_frame_equal(read_source(place, COIN), bars.iloc[:-1], check_freq=False)
    assert files_of(archive) == expected


def kill_when(condition, place: PipelineSettings) -> None:
    """Start a download in a process of its own and kill it in the middle."""
    code = (
        "import sys; from crp_pipeline.settings import PipelineSettings; from crp_pipeline.candles.source import read_source; "
        f"read_source(PipelineSettings.model_validate_json(sys.argv[1]), {COIN!r})"
    )
    given_settings = {"source": "exchange", **place.model_dump(mode="json", include={"data_dir", "exchange"})}
    given_settings["exchange"]["client_options"] = place.exchange.client_options
    process = subprocess.Popen([sys.executable, "-c", code, json.dumps(given_settings)], cwd=PROJECT, stderr=subprocess.PIPE)
    try:
        deadline = monotonic() + 60
        while not condition():
            assert process.poll() is None, process.stderr.read().decode()
            assert monotonic() < deadline
            sleep(0.005)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()


# ---- whatever happens -----------------------------------------------------------------------------------------------


@st.composite
def stories(draw):
    """Bars with outages, an exchange's habits, and nights with their faults and restatements."""
    n_bars = draw(st.integers(20, 1_500))
    bars = market_bars(n_bars, start=draw(st.sampled_from(["2024-01-15", "2023-12-31 22:00"])))
    is_there = np.ones(n_bars, dtype=bool)
    for first, length in draw(st.lists(st.tuples(st.integers(1, n_bars), st.integers(1, 900)), max_size=2)):
        is_there[first : first + length] = False
    habits = {"max_limit": draw(st.sampled_from([50, 333, 1_000]))}
    if draw(st.booleans()):
        habits = {"windowed": True}
    nights = sorted(draw(st.lists(st.integers(5, n_bars - 1), min_size=1, max_size=3)))
    return bars[is_there], habits, [(bars.index[night], draw(faults()), draw(st.integers(0, 12))) for night in nights]


def faults():
    """At most as many empty or repeated pages as it takes to call a hole a hole; the others pass."""
    noisy = st.lists(st.sampled_from(["", *(fault for fault in FAULTS if fault not in SILENT_FAULTS)]), max_size=5)
    silent = st.lists(st.sampled_from(SILENT_FAULTS), max_size=2)
    return st.tuples(noisy, silent).flatmap(lambda both: st.permutations(both[0] + both[1]))


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(stories())
def test_the_archive_is_what_the_exchange_first_said_of_every_closed_bar(story):
    bars, habits, nights = story
    expected = bars.iloc[:0]
    with TemporaryDirectory() as folder, exchange_of(bars, **habits) as exchange:
        archive = archive_in(folder)
        for now, night_faults, n_restated in nights:
            exchange.now = now
            exchange.bars = restated(bars, expected, n_restated)
            exchange.faults = deque(night_faults)
            with suppress(DataContractError):  # an exchange that seems to have no bars at all
                fetch(exchange, archive, max_silence_days=10_000)
            exchange.faults.clear()
            fetch(exchange, archive, max_silence_days=10_000)
            expected = pd.concat([expected, closed_after(exchange.bars, expected, now)])
            assert_frame_equal(archive.read(), expected, check_freq=False, check_exact=True)


def restated(bars, stored, n_bars):
    """The market as the exchange tells it, other volumes for the last stored bars among it."""
    told = bars.copy()
    told.loc[stored.index, :] = stored
    told.loc[stored.index[len(stored) - n_bars :], "volume"] += 1.0
    return told


def closed_after(bars, stored, now):
    last = stored.index[-1] if len(stored) else pd.Timestamp(0, tz="UTC")
    return bars[(bars.index > last) & (bars.index + HOUR + pd.Timedelta(seconds=10) <= now)]
