"""Following the market: every bar is decided once as soon as it has closed, by whoever reigns then, and no coin waits for another."""

import json
import os
import signal
import threading
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise

import pandas as pd
import pytest

from crp_pipeline.settings import load_settings
from crp_pipeline.signals import Follower, until_asked_to_end
from crp_pipeline.signals.follow import FIRST_PAUSE_S, LONGEST_WAIT_S, settled_at
from crp_pipeline.signals.log import LOG
from crp_pipeline_tests.live import COIN, HOUR, MARKET, NEXT, OTHER, LiveCoin, closed_at
from crp_pipeline_tests.shadows import HORIZON


@pytest.fixture
def live(tmp_path, live_parts):
    return LiveCoin(tmp_path, live_parts)


class Following:
    """A follower on a clock that its own waits move; `at` says what happens when so many bars have closed."""

    def __init__(self, live, *, until, coins=(COIN,), at=None, grows=True):
        self.live, self.until, self.at, self.grows = live, until, dict(at or {}), grows
        self.visits, self.told, self.n_bars = [], [], NEXT
        live.at(NEXT if grows else until, seconds=0)
        live.clock.now = closed_at(NEXT) + timedelta(seconds=20)
        self.follower = Follower(
            live.desk,
            lambda: coins,
            live.settings,
            say=self.visits.append,
            tell=self.told.append,
            clock=live.clock,
            wait=self.wait,
        )
        self.follower.run()

    def wait(self, seconds):
        assert 0 <= seconds <= LONGEST_WAIT_S
        now = self.live.clock.now = self.live.clock.now + timedelta(seconds=seconds)
        while now >= closed_at(self.n_bars + 1):
            self.n_bars += 1
            if self.grows:
                self.live.at(self.n_bars)
                self.live.clock.now = now
            self.at.get(self.n_bars, lambda: None)()
        return self.n_bars <= self.until

    def signals(self, coin=COIN):
        return [it.signal for it in self.visits if it.signal.coin == coin]


def closes(signals):
    return [it.closed_at for it in signals]


def test_every_bar_is_decided_the_moment_it_closes_and_scored_when_its_label_has_ended(live):
    n = HORIZON + 2
    found = Following(live, until=NEXT + n - 1)
    assert closes(live.lines()) == [closed_at(NEXT + bar) for bar in range(n)]
    assert found.signals() == live.lines()
    assert [it.latency_ms for it in live.lines()] == [20_000, *[0] * (n - 1)]
    assert {it.recorded_ms for it in found.visits} == {0.0}, "the clock of a test stands still while it decides"
    assert list(live.desk.outcomes(COIN)["open_time"]) == [live.lines()[0].open_time]
    assert found.told == live.said == []


def test_a_bar_that_lies_in_the_future_changes_no_decision(live, tmp_path, live_parts):
    """One follows files that grow, the other one files that hold the bars to come from the first."""
    Following(live, until=NEXT + 4)
    other = LiveCoin(tmp_path / "other", live_parts)
    Following(other, until=NEXT + 4, grows=False)
    assert [numbers_of(it) for it in other.lines()] == [numbers_of(it) for it in live.lines()]
    assert all(it.decided_at >= it.closed_at for it in other.lines())


def numbers_of(line):
    """What does not depend on how long it took."""
    return {name: value for name, value in line.to_dict().items() if name != "compute_ms"}


def test_a_champion_that_changes_between_two_bars_decides_the_next_one_and_is_loaded_before_it_closes(
    live, live_parts, monkeypatch
):
    from crp_pipeline.signals import champion

    loaded, load, first = [], champion.load_version, live.version
    monkeypatch.setattr(champion, "load_version", lambda *it: loaded.append((it[-1], live.clock.now)) or load(*it))
    second = []
    Following(live, until=NEXT + 3, at={NEXT + 2: lambda: second.append(live.crown(live_parts, recipe="b"))})
    assert [it.version for it in live.lines()] == [first, first, *second, *second]
    assert [name for name, _ in loaded] == [first, *second]


def test_a_new_champion_is_loaded_while_nothing_is_to_be_decided(live, live_parts, monkeypatch):
    from crp_pipeline.signals import champion

    loaded, load = {}, champion.load_version
    monkeypatch.setattr(champion, "load_version", lambda *it: loaded.update({it[-1]: live.clock.now}) or load(*it))
    crowned = []

    class Crowning(Following):
        def wait(self, seconds):
            if not crowned and self.live.clock.now > closed_at(NEXT) + timedelta(minutes=20):
                crowned.append(live.crown(live_parts, recipe="b"))
            return super().wait(seconds)

    Crowning(live, until=NEXT + 1)
    assert loaded[crowned[0]] < closed_at(NEXT + 1)
    assert live.lines()[-1].version == crowned[0]


def test_a_coins_trouble_is_one_sentence_and_leaves_the_others_their_bars(live):
    folder = live.places.signals(OTHER)
    folder.mkdir(parents=True)
    folder.joinpath(LOG).write_text("no line of a log\n")
    found = Following(live, until=NEXT + 3, coins=(OTHER, COIN))
    assert closes(live.lines()) == [closed_at(NEXT + bar) for bar in range(4)]
    assert [it.latency_ms for it in live.lines()] == [20_000, 0, 0, 0]
    assert [OTHER in it for it in found.told] == [True]


def test_who_was_in_trouble_is_asked_last(live, monkeypatch):
    asked, decide = [], live.desk.decide
    monkeypatch.setattr(live.desk, "decide", lambda coin: asked.append((coin, live.clock.now)) or decide(coin))
    Following(live, until=NEXT + 1, coins=(OTHER, COIN))
    assert [coin for coin, _ in asked[:2]] == [OTHER, COIN]
    assert [coin for coin, at in asked if at == closed_at(NEXT + 1)] == [COIN, OTHER], f"{OTHER} has no champion"


def test_no_decision_is_asked_about_later_and_later_and_said_once(live, monkeypatch):
    asked, decide = [], live.desk.decide
    monkeypatch.setattr(live.desk, "decide", lambda coin: asked.append(live.clock.now) or decide(coin))
    found = Following(live, until=NEXT + 1, coins=(OTHER,))
    [first, *_] = pauses = [
        (later - sooner).total_seconds() for sooner, later in pairwise(asked) if later < closed_at(NEXT + 1)
    ]
    assert first == FIRST_PAUSE_S
    assert pauses == [FIRST_PAUSE_S * 2**it for it in range(len(pauses))]
    assert len(pauses) == 10
    assert [it.reason for it in found.signals(OTHER)] == [f"{OTHER} has no champion"] * 2


def test_a_bar_that_comes_late_is_decided_when_it_comes(live):
    late = timedelta(minutes=3)

    class Late(Following):
        def wait(self, seconds):
            n_bars, now = self.n_bars, self.live.clock.now
            goes_on = super().wait(seconds)
            if self.n_bars > n_bars:
                live.write(COIN, MARKET[COIN].iloc[: self.n_bars - 1])
            elif late <= now - closed_at(n_bars) < late + timedelta(minutes=1):
                live.write(COIN, MARKET[COIN].iloc[:n_bars])
            return goes_on

    Late(live, until=NEXT + 2)
    assert closes(live.lines()) == [closed_at(NEXT + bar) for bar in range(3)]
    assert all(late <= it.decided_at - it.closed_at < 3 * late for it in live.lines()[1:])


def test_a_bar_that_another_process_decides_first_is_not_decided_again(live):
    other = live.new_desk()
    found = Following(live, until=NEXT + 2, at={NEXT + 1: lambda: other.decide(COIN)})
    assert closes(live.lines()) == [closed_at(NEXT + bar) for bar in range(3)]
    assert [it.recorded_ms is None for it in found.visits] == [False, True, False]


@pytest.mark.parametrize(
    ("source", "interval", "settle_s", "after"),
    [("files", "1h", 10, 0), ("exchange", "1h", 10, 10), ("exchange", "1m", 59, 59)],
)
def test_a_bar_is_asked_for_when_its_exchange_has_settled(source, interval, settle_s, after):
    settings = load_settings(source=source, interval=interval, coins=(COIN,), exchange={"settle_s": settle_s})
    bar = pd.Timestamp("2024-03-03T05:00Z")
    assert settled_at(bar, settings) == bar + pd.Timedelta(interval.replace("m", "min")) + pd.Timedelta(after, "s")


def test_nothing_is_asked_between_a_close_and_its_settling(tmp_path, live_parts, monkeypatch):
    live = LiveCoin(tmp_path, live_parts)
    asked = []
    monkeypatch.setattr(
        "crp_pipeline.signals.follow.settled_at", lambda bar, _: (bar + HOUR + timedelta(seconds=45)).to_pydatetime()
    )
    decide = live.desk.decide
    monkeypatch.setattr(live.desk, "decide", lambda coin: asked.append(live.clock.now) or decide(coin))
    Following(live, until=NEXT + 2)
    assert asked == [closed_at(NEXT + bar) + timedelta(seconds=45) for bar in range(3)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_and_the_handlers_of_before_come_back(number):
    before = signal.getsignal(number)
    with until_asked_to_end() as wait:
        assert wait(0)
        threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
        assert not wait(30)
        assert not wait(0)
        assert signal.getsignal(number) == signal.SIG_DFL, "the second one ends the process"
    assert signal.getsignal(number) == before


# the shell


@pytest.fixture
def followed(live, monkeypatch):
    """An installation that is followed for one round."""
    told = live.at(NEXT).settings

    @contextmanager
    def one_round():
        rounds = iter([True, True, True])
        yield lambda _: next(rounds, False)

    monkeypatch.setattr("crp_pipeline.cli.signals.load_settings", lambda: told)
    monkeypatch.setattr("crp_pipeline.cli.signals.until_asked_to_end", one_round)
    monkeypatch.setattr(type(told), "present", lambda _: live.clock.now)
    return live


def test_crp_predict_follow_prints_a_line_per_decision_of_every_coin_with_a_champion(followed, crp):
    code, out, err = crp("predict", "--follow")
    assert (code, err) == (0, "")
    [line] = out.splitlines()
    assert line.startswith(f"{closed_at(NEXT):%Y-%m-%dT%H:%M:%SZ} {COIN} ")
    assert line.endswith(f"version {followed.version}, 0 ms after the bar was known")
    assert crp("predict", "--follow")[1].splitlines()[0].endswith("was decided already")


def test_crp_predict_follow_tells_of_a_named_coin_why_it_gives_no_decision(followed, crp):
    assert crp("predict", "--follow", "--coin", OTHER)[1].endswith(f"{OTHER} no decision: {OTHER} has no champion\n")
    assert json.loads(crp("predict", "--follow", "--coin", OTHER, "--json")[1])["reason"] == f"{OTHER} has no champion"


def test_crp_predict_follow_refuses_what_it_cannot_follow(followed, crp, monkeypatch):
    code, _, err = crp("predict", "--follow", "--coin", "SOL-USDT")
    assert (code, err) == (1, f"crp: SOL-USDT is not configured; there are {COIN}, {OTHER}\n")
    code, _, err = crp("predict", "--follow", "--from", "model")
    assert code == 2
    assert "name neither --from nor --csv" in err
    still = followed.settings.model_copy(update={"clock": followed.clock.now})
    monkeypatch.setattr("crp_pipeline.cli.signals.load_settings", lambda: still)
    code, _, err = crp("predict", "--follow")
    assert code == 2
    assert "--follow needs the machine" in err
