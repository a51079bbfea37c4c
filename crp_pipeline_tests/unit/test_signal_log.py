"""The log of live decisions: what is written down, once, and found again when it was altered."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest

from crp_pipeline.errors import DataContractError, RegistryError
from crp_pipeline.signals import (
    SignalLog,
)
from crp_pipeline.signals.log import HEAD, LOG, RECENT
from crp_pipeline_tests.live import (
    COIN,
    HOUR,
    MARKET,
    NEXT,
    LiveCoin,
    closed_at,
    later,
    silence,
    with_bars,
)


@pytest.fixture
def live(tmp_path, live_parts):
    return LiveCoin(tmp_path, live_parts)


def test_a_bar_keeps_its_first_decision_whoever_asks_again(live):
    first = live.at(NEXT).decide()
    live.raw = with_bars(MARKET, {NEXT - 1: MARKET[COIN].iloc[NEXT - 1].to_numpy() * 1.01})
    assert live.at(NEXT, seconds=500).decide() == first
    live.desk = live.new_desk()
    assert live.at(NEXT, seconds=900).decide() == first
    assert live.lines() == [first]


def test_of_two_that_decide_a_bar_at_once_the_first_stands_and_the_other_hears_it(tmp_path, a_day):
    folder, start = tmp_path / COIN, Barrier(2)
    for bar in range(8):
        rivals = [later(a_day[0], bar, signal=side) for side in (-1, 1)]
        with ThreadPoolExecutor(2) as pool:
            told = list(pool.map(lambda it: (start.wait(), SignalLog(folder).append(it))[1], rivals))
        assert told[0] == told[1] == SignalLog(folder).latest()[-1]
        assert told[0] in rivals
    assert len(SignalLog(folder).read()) == 8


def test_a_decision_that_comes_late_is_not_written_and_hears_the_last(tmp_path, a_day):
    log, first = SignalLog(tmp_path / COIN), a_day[0]
    other = replace(first, signal=-1, decided_at=first.decided_at + timedelta(seconds=1))
    assert (log.append(first), log.append(other), log.append(a_day[1]), log.append(other)) == (first, first, a_day[1], a_day[1])
    assert log.read() == [first, a_day[1]]


def test_no_decision_is_written_once_per_bar_and_reason(tmp_path, a_day):
    log, [first, second] = SignalLog(tmp_path / COIN), silence(a_day[0], 2)
    other = replace(first, reason="the market is late")
    told = [log.append(line) for line in (first, other, first, other, second, first, other, second)]
    assert told == [first, other, other, other, *[second] * 4]
    assert log.read() == [first, other, second]


def test_a_decision_may_follow_no_decision_about_its_bar_or_a_later_one(tmp_path, a_day):
    """A clock that was ahead for a moment keeps no bar from being decided."""
    log, ahead = SignalLog(tmp_path / COIN), silence(a_day[0], 1_000)[-1]
    late = replace(ahead, open_time=a_day[0].open_time)
    assert [log.append(line) for line in (ahead, a_day[0], late, a_day[1])] == [ahead, a_day[0], a_day[0], a_day[1]]
    assert log.read() == [ahead, a_day[0], a_day[1]]


def test_who_asks_again_without_a_champion_hears_the_same(tmp_path):
    live = LiveCoin(tmp_path)
    for seconds in (1, 2, 3):
        live.at(NEXT, seconds=seconds).decide()
    live.at(NEXT + 1).decide()
    assert [line.closed_at for line in live.lines()] == [closed_at(NEXT), closed_at(NEXT + 1)]


def test_a_decision_about_an_earlier_bar_is_not_written(live):
    live.at(NEXT).decide()
    live.clock.now = closed_at(NEXT) + timedelta(seconds=30)
    live.write(COIN, MARKET[COIN].iloc[: NEXT - 1])
    later = live.at(NEXT + 2)
    later.write(COIN, MARKET[COIN].iloc[: NEXT - 1])
    assert later.decide().open_time == closed_at(NEXT) - HOUR
    assert len(live.lines()) == 1


def test_a_line_reads_back_to_the_bit(live):
    found = live.at(NEXT).decide()
    assert live.lines() == [found] == live.desk.log(COIN).latest()


def test_an_altered_line_is_found_and_nothing_is_added_to_it(live):
    for n_bars in (NEXT, NEXT + 1, NEXT + 2):
        live.at(n_bars).decide()
    path = live.places.signals(COIN) / LOG
    whole = path.read_bytes()
    path.write_bytes(
        whole.replace(b'"signal": ', b'"signal": -', 1) if b'"signal": 1' in whole else whole.replace(b"0.", b"1.", 1)
    )
    with pytest.raises(DataContractError, match="line 2 of the log of live decisions does not follow"):
        live.lines()
    with pytest.raises(DataContractError, match="log of live decisions"):
        live.at(NEXT + 3).decide()


def test_a_line_that_was_cut_off_never_happened_and_the_next_one_takes_its_place(live):
    first = live.at(NEXT).decide()
    with (live.places.signals(COIN) / LOG).open("ab") as chain:
        chain.write(b'{"coin": "BTC')
    assert live.lines() == [first]
    second = live.at(NEXT + 1).decide()
    assert live.lines() == [first, second]


def test_a_line_whose_head_is_pending_happened(live):
    live.at(NEXT).decide()
    before = (live.places.signals(COIN) / HEAD).read_text()
    second = live.at(NEXT + 1).decide()
    (live.places.signals(COIN) / HEAD).write_text(before)
    third = live.at(NEXT + 2).decide()
    assert live.lines()[1:] == [second, third]


def test_a_long_log_is_not_read_to_add_a_line(tmp_path, live, monkeypatch):
    log, first = SignalLog(tmp_path / "long"), live.at(NEXT).decide()
    for bar in range(RECENT + 16):
        log.append(replace(first, open_time=first.open_time + bar * HOUR))
    monkeypatch.setattr("crp_pipeline.chain.Chain.links", lambda _: pytest.fail("the whole chain was read"))
    last = replace(first, open_time=first.open_time + (RECENT + 16) * HOUR)
    assert log.append(last) == last == log.latest(5)[-1]
    assert [it.open_time for it in log.latest(5)] == [
        first.open_time + bar * HOUR for bar in range((RECENT + 16) - 4, (RECENT + 16) + 1)
    ]


@pytest.mark.parametrize("coin", ["../x", "btc", "", "A/B"])
def test_what_is_no_name_of_a_coin_has_no_log(live, coin):
    with pytest.raises(RegistryError, match="not the name of a coin"):
        live.desk.decide(coin)
