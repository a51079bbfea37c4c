"""Live decisions: when there is one, when there is none and why, what is written down and what becomes of it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.backtest import CostData, ExecutionModel, Sizing, lone_net_returns, run_backtest
from crp_pipeline.contracts import LiveOutcomeSchema, check_frame
from crp_pipeline.defs.signals import cron_after_close
from crp_pipeline.errors import DataContractError, RegistryError
from crp_pipeline.labels import make_labels
from crp_pipeline.reporting.signals import decisions_figure
from crp_pipeline.settings import INTERVALS, load_settings
from crp_pipeline.signals import (
    FileStore,
    Newest,
    Signal,
    SignalLog,
    live_numbers,
    outcome_frame,
    put_online,
    score,
    unsettled_s,
)
from crp_pipeline.signals.decision import exits_at
from crp_pipeline.signals.log import HEAD, LOG, RECENT
from crp_pipeline.signals.signal import TIMES
from crp_pipeline.storage import read_parquet
from crp_pipeline_tests.live import COIN, HOUR, LEARNED, MARKET, OTHER, LiveCoin, closed_at, repaired, whole_table, with_bars
from crp_pipeline_tests.shadows import HORIZON

NEXT = LEARNED + 40


@pytest.fixture
def live(tmp_path, live_parts):
    return LiveCoin(tmp_path, live_parts)


def reason_at(live, n_bars=NEXT, **when):
    """Why there is no decision on the last of so many bars."""
    found = live.at(n_bars, **when).decide()
    assert (found.signal, found.is_decided) == (None, False)
    numbers = (found.confidence, found.p_long, found.expected_return, found.close, found.stop, found.target)
    assert numbers == (None,) * 6, "no decision has no numbers"
    return found.reason


# a decision


def test_a_decision_tells_its_bar_its_champion_its_data_and_how_late_it_is(live):
    found = live.at(NEXT, seconds=7).decide()
    assert (found.coin, found.version, found.reason) == (COIN, live.version, "")
    assert (found.closed_at, found.open_time) == (closed_at(NEXT), closed_at(NEXT) - HOUR)
    assert found.decided_at - found.closed_at == timedelta(seconds=7)
    assert (found.latency_ms, found.valid_until) == (7_000.0, found.closed_at + HOUR)
    assert found.compute_ms > 0
    assert found.signal in {-1, 0, 1}
    assert found.confidence == max(found.p_short, found.p_neutral, found.p_long)
    assert len(found.data_hash) == 16


def test_the_clock_is_asked_when_the_decision_stands_and_the_timer_around_its_computing(live):
    seconds = iter([10.0, 10.25])
    live.desk = live.new_desk(timer=lambda: next(seconds))
    assert live.at(NEXT).decide().compute_ms == 250.0


def test_stop_and_target_lie_where_the_backtest_places_them_around_the_close(live):
    sides = set()
    for n_bars in range(LEARNED + 1, LEARNED + 90, 16):
        found = live.at(n_bars).decide()
        candles = repaired(MARKET[COIN].iloc[:n_bars])
        distance = exits_at(candles, live.settings).iloc[-1]
        assert found.close == candles["close"].iloc[-1]
        if found.signal == 0:
            assert (found.stop, found.target) == (None, None)
        else:
            expected = [
                found.close * (1 - found.signal * distance.iloc[0]),
                found.close * (1 + found.signal * distance.iloc[1]),
            ]
            np.testing.assert_allclose([found.stop, found.target], expected, rtol=1e-12)
            assert found.signal * (found.target - found.close) > 0 > found.signal * (found.stop - found.close)
        sides.add(found.signal)
    assert sides >= {-1, 1}, "or half of this was not tried"


def test_the_data_hash_changes_with_any_price_that_was_read_and_with_nothing_else(live, tmp_path, live_parts):
    found = live.at(NEXT).decide()
    own, others = dearer(MARKET, COIN, NEXT - 300), dearer(MARKET, OTHER, NEXT - 300)
    told = {
        name: hash_of(tmp_path / name, live_parts, raw) for name, raw in {"same": MARKET, "own": own, "others": others}.items()
    }
    assert told["same"] == found.data_hash
    assert len(set(told.values())) == 3


def test_the_data_hash_changes_with_a_feed_that_was_read(tmp_path, live_parts):
    told = []
    for name, rate in (("one", 1e-4), ("same", 1e-4), ("other", 2e-4)):
        feed = pd.DataFrame({"funding_rate": 1e-4}, index=MARKET.index.rename("time"))
        feed.iloc[NEXT - 300] = rate
        feed.to_csv(tmp_path / f"{name}.csv")
        config = {"path": str(tmp_path / f"{name}.csv"), "available_after": "0h"}
        told.append(hash_of(tmp_path / name, live_parts, MARKET, feeds={"funding": config}))
    assert told[0] == told[1] != told[2]


def hash_of(folder, live_parts, raw, **settings):
    live = LiveCoin(folder, live_parts, **settings)
    live.raw = raw
    return live.at(NEXT).decide().data_hash


def dearer(raw, coin, row):
    """The same market with one bar of a coin a little dearer."""
    made = raw.copy()
    made.loc[made.index[row], [(coin, name) for name in ("open", "high", "low", "close")]] *= 1.0001
    return made


def test_a_decision_is_for_the_moment_and_none_when_that_has_passed(live):
    found = live.at(NEXT).decide()
    assert found.as_of(found.valid_until) is found
    late = found.as_of(found.valid_until + timedelta(seconds=1))
    assert (late.signal, late.stop, late.version) == (None, None, live.version)
    assert "was valid until" in late.reason


# no decision


def test_without_a_champion_there_is_no_decision(tmp_path):
    live = LiveCoin(tmp_path)
    assert reason_at(live) == f"{COIN} has no champion"


def test_a_newest_bar_that_is_too_old_gives_no_decision(live):
    live.at(NEXT)
    live.clock.now = closed_at(NEXT) + timedelta(hours=1, seconds=1)
    assert live.at(NEXT, seconds=3_601).decide().signal is not None, "the next bar has closed by then and is in the file"
    for coin in (COIN, OTHER):
        live.write(coin, MARKET[coin].iloc[: NEXT + 5])
    live.clock.now = closed_at(NEXT + 5) + timedelta(hours=1, seconds=1)
    found = live.decide()
    assert found.reason == f"the newest bar closed at {closed_at(NEXT + 5):%Y-%m-%dT%H:%M:%SZ}, more than 1 bars ago"
    assert found.signal is None


def test_a_bar_that_the_champion_may_have_learned_from_gives_no_decision(live):
    assert "learned from bars until" in reason_at(live, LEARNED)


@pytest.mark.parametrize("back", [1, 3, 8])
def test_a_filled_in_bar_among_those_that_the_models_look_at_gives_no_decision(live, back):
    live.raw = with_bars(MARKET, {NEXT - 1 - back: None})
    assert "was filled in, and the models look at" in reason_at(live)


def test_a_filled_in_bar_that_no_model_looks_at_any_more_is_none_of_it(live):
    live.raw = with_bars(MARKET, {NEXT - 130: None})
    assert live.at(NEXT).decide().is_decided


def test_a_hole_among_the_bars_that_the_models_look_at_gives_no_decision(live):
    live.raw = with_bars(MARKET, dict.fromkeys(range(NEXT - 10, NEXT - 4)))
    assert "4 whole bars before the next hole, and the models look at" in reason_at(live)


def test_a_hole_that_leaves_a_feature_without_its_warm_up_gives_no_decision(live):
    live.raw = with_bars(MARKET, dict.fromkeys(range(NEXT - 160, NEXT - 150)))
    assert "is not a number at the bar of" in reason_at(live)


def test_a_coin_of_the_market_whose_bar_is_still_to_come_gives_no_decision_and_the_decision_when_it_has(live):
    live.at(NEXT)
    live.write(OTHER, MARKET[OTHER].iloc[: NEXT - 1])
    assert live.decide().reason.startswith(f"the models read the market, and {OTHER} lacks the bar of")
    assert live.at(NEXT, seconds=30).decide().is_decided
    assert [line.is_decided for line in live.lines()] == [False, True]


def test_candles_that_are_not_to_be_had_give_no_decision_and_tell_no_path(live):
    live.at(NEXT)
    (live.root / "files" / f"{COIN}.parquet").write_bytes(b"broken")
    found = live.decide()
    assert found.reason.startswith(f"the newest candles of {COIN} are not to be had: ")
    assert str(live.root) not in found.reason
    assert found.closed_at == closed_at(NEXT)


def test_a_missing_file_of_candles_is_told_without_its_folder(live):
    live.at(NEXT)
    (live.root / "files" / f"{COIN}.parquet").unlink()
    assert live.decide().reason == (
        f"the newest candles of {COIN} are not to be had: {COIN} has no file in ..., which has {OTHER}"
    )


@pytest.mark.parametrize("path", ["feeds/{coin}/funding.csv", "feeds/{base}.csv", "funding.csv"])
@pytest.mark.parametrize("is_relative", [False, True], ids=["absolute", "relative"])
def test_a_missing_feed_is_told_without_its_folder(tmp_path, live_parts, monkeypatch, path, is_relative):
    monkeypatch.chdir(tmp_path)
    given = path if is_relative else str(tmp_path / "elsewhere" / path)
    live = LiveCoin(tmp_path / "live", live_parts, feeds={"funding": {"path": given, "available_after": "0h"}})
    reason = live.at(NEXT).decide().reason
    assert reason.startswith(f"the newest candles of {COIN} are not to be had: {COIN}: feed funding (")
    assert not [word for word in (str(tmp_path), "elsewhere", "feeds/") if word in reason]


def test_prices_of_another_coin_give_no_decision(live):
    from crp_pipeline.provenance import stamp
    from crp_pipeline.storage import write_parquet

    stored = stamp(repaired(MARKET[COIN].iloc[:LEARNED]), "candles", coin=COIN, interval="1h")
    write_parquet(live.places.candles(COIN), stored)
    assert live.at(NEXT - 1).decide().is_decided
    live.at(NEXT).write(COIN, 17 * MARKET[COIN].iloc[: NEXT + 1])
    assert "other_coin" in live.decide().reason


def test_features_that_are_no_longer_computed_as_they_were_give_no_decision(tmp_path, live_parts):
    live = LiveCoin(tmp_path)
    version = live.crown(live_parts, feature_set_id="another", columns_id="other")
    assert reason_at(live) == f"version {version} learned from features that are no longer computed as they were"


def test_a_champion_whose_bytes_were_altered_decides_nothing_and_a_warm_desk_keeps_the_one_it_verified(live):
    assert live.at(NEXT).decide().is_decided
    (live.book.folder(COIN, live.version) / "stack.json").write_text("{}")
    assert live.at(NEXT + 1).decide().is_decided
    live.desk = live.new_desk()
    assert "has been altered" in reason_at(live, NEXT + 2)
    assert str(live.root) not in live.lines()[-1].reason


def test_a_champion_of_a_kind_that_is_not_known_decides_nothing(live, monkeypatch):
    monkeypatch.setattr("crp_pipeline.models.bundle.MODEL_CLASSES", {})
    assert f"version {live.version} no longer loads" in reason_at(live)


@pytest.mark.parametrize(
    ("p", "words"),
    [
        ([1 / 3, 1 / 3, 1 / 3], "prefers nothing"),
        ([0.4, 0.2, 0.4], "prefers nothing"),
        ([np.nan] * 3, "no probabilities"),
        ([0.5, 0.2, 0.2], "no probabilities"),
    ],
    ids=["uniform", "tied", "missing", "short of one"],
)
def test_degenerate_probabilities_give_no_decision(live, monkeypatch, p, words):
    say(monkeypatch, p)
    assert words in reason_at(live)


def test_a_stack_that_repeats_itself_to_the_bit_gives_no_decision(live, monkeypatch):
    say(monkeypatch, [0.2, 0.3, 0.5])
    found = [live.at(NEXT + bar).decide() for bar in range(live.settings.signals.max_repeats + 2)]
    assert [it.is_decided for it in found] == [True] * 5 + [False] * 2
    assert found[-1].reason == "the stack has given [0.2, 0.3, 0.5] 6 times in a row, to the bit: it no longer listens"


@pytest.mark.parametrize("max_repeats", [5, 50])
def test_a_stack_that_repeats_itself_is_refused_however_long_it_has_been_silent(tmp_path, live_parts, monkeypatch, max_repeats):
    live = LiveCoin(tmp_path, live_parts, signals={"max_repeats": max_repeats})
    say(monkeypatch, [0.2, 0.3, 0.5])
    first = live.at(NEXT).decide()
    decisions = [later(first, bar) for bar in range(1, max_repeats)]
    for line in (*decisions, *silence(decisions[-1], RECENT + 6)):
        live.desk.log(COIN).append(line)
    assert "it no longer listens" in reason_at(live, NEXT + max_repeats + RECENT + 6)
    say(monkeypatch, [0.2, 0.31, 0.49])
    assert live.at(NEXT + max_repeats + RECENT + 7).decide().is_decided


def test_a_side_that_no_stop_can_limit_is_not_taken(live, monkeypatch):
    live.raw = with_bars(MARKET, {row: [100.0, 100.0, 100.0, 100.0, 7.0 + row % 5] for row in range(NEXT - 30, NEXT)})
    say(monkeypatch, [0.2, 0.3, 0.5])
    assert reason_at(live) == "a side would be taken and the volatility of the last 20 bars places no stop"


def say(monkeypatch, p):
    """Whatever the models forecast, the stack gives these probabilities."""
    row = {"signal": int(np.argmax(p)) - 1, "confidence": max(p), "tier": "low", "expected_return": 0.01}
    told = dict(zip(("p_short", "p_neutral", "p_long"), p, strict=True))
    monkeypatch.setattr("crp_pipeline.ensemble.Stack.decide", lambda *_: pd.DataFrame([{**row, **told}]))


# the champion's seat


def test_a_champion_is_loaded_once_and_again_when_another_one_reigns(live, live_parts, monkeypatch):
    loaded = []
    from crp_pipeline.signals import champion

    load = champion.load_version
    monkeypatch.setattr(champion, "load_version", lambda *it: loaded.append(it[-1]) or load(*it))
    for n_bars in (NEXT, NEXT + 1):
        live.at(n_bars).decide()
    second = live.crown(live_parts, recipe="b")
    assert live.at(NEXT + 2).decide().version == second
    live.book.rollback(COIN, now=live.clock.now)
    assert live.at(NEXT + 3).decide().version == live.version
    assert loaded == [live.version, second, live.version]


# the log


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


# where bots read it


@pytest.mark.parametrize("n_kept", [0, 1])
def test_a_decision_that_a_killed_process_only_wrote_down_is_put_online_by_who_asks_next(live, monkeypatch, n_kept):
    for bar in range(n_kept):
        live.at(NEXT - 1 + bar).decide()
    with monkeypatch.context() as killed:
        killed.setattr("crp_pipeline.signals.desk.put_online", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            live.at(NEXT).decide()
    store, first = FileStore(live.places.online), live.lines()[-1]
    assert store.get(COIN) is None or store.get(COIN).signal.open_time < first.open_time
    assert live.at(NEXT, seconds=90).decide() == first
    assert store.get(COIN) == Newest(first, features_at(NEXT))
    assert live.lines()[n_kept:] == [first]


def features_at(n_bars):
    return {str(name): value for name, value in whole_table(MARKET.iloc[:n_bars]).iloc[-1].items()}


def test_a_damaged_file_of_a_coin_costs_it_no_decision(live):
    live.at(NEXT).decide()
    (live.places.online / f"{COIN}.parquet").write_bytes(b"broken")
    live.at(NEXT, seconds=90).decide()
    assert FileStore(live.places.online).get(COIN).signal == live.lines()[-1]
    (live.places.online / f"{COIN}.parquet").write_bytes(b"broken")
    assert live.at(NEXT + 1).decide().is_decided
    assert FileStore(live.places.online).get(COIN).signal == live.lines()[-1]


def test_a_store_that_was_out_of_reach_is_offered_the_decision_again_by_who_asks_again(live, monkeypatch):
    told = []
    monkeypatch.setattr("crp_pipeline.signals.desk.put_online", lambda *it: told.append(it[-1]) or put_online(*it))
    live.at(NEXT).decide()
    live.at(NEXT, seconds=90).decide()
    assert told == [Newest(live.lines()[0], features_at(NEXT))] * 2


# outcomes


@pytest.fixture(scope="module")
def a_day(tmp_path_factory, live_parts):
    """The lines of a day."""
    live = LiveCoin(tmp_path_factory.mktemp("day"), live_parts)
    return [live.at(n_bars).decide() for n_bars in range(NEXT, NEXT + 24)]


@pytest.fixture
def followed(tmp_path, a_day):
    """A coin with these lines in its log, and the candles of a day after."""
    live = LiveCoin(tmp_path)
    for line in a_day:
        live.desk.log(COIN).append(line)
    return live, repaired(MARKET[COIN].iloc[: NEXT + 48])


def test_a_decision_is_scored_by_the_label_and_the_backtests_own_fill(followed):
    live, candles = followed
    made = live.desk.score(COIN, candles)
    labels = make_labels(candles, live.settings.labels).loc[made["open_time"]]
    assert list(made["open_time"]) == [line.open_time for line in live.lines()]
    assert list(made["outcome"]) == list(labels["signal"])
    assert list(made["label_end"]) == list(labels["label_end"])
    assert (made["hit"] == (made["signal"] == made["outcome"])).all()
    for row in made.itertuples():
        trade = traded_alone(row, candles, live.settings)
        assert row.net_return == pytest.approx(trade, rel=1e-12, abs=1e-15)
    assert made["net_return"].abs().max() > 0


def traded_alone(row, candles, settings):
    """What `run_backtest` makes of this one decision."""
    decision = pd.DataFrame({"signal": [row.signal]}, index=candles.index[candles.index == row.open_time])
    result = run_backtest(
        candles, decision.join(exits_at(candles, settings)), execution=settings.execution, sizing=settings.sizing
    )
    return result.trades["return_net"].sum()


def test_a_decision_waits_until_its_label_has_ended(followed):
    live, candles = followed
    ends = pd.DatetimeIndex([line.open_time for line in live.lines()]) + (HORIZON + 1) * pd.Timedelta("1h")
    early = live.desk.score(COIN, candles.iloc[: NEXT + 20])
    assert len(early) == (ends <= candles.index[NEXT + 19]).sum() > 0
    assert len(live.desk.score(COIN, candles)) == 24
    pd.testing.assert_frame_equal(live.desk.outcomes(COIN).iloc[: len(early)], early)
    check_frame(read_parquet(live.places.outcomes(COIN)), LiveOutcomeSchema, what="stored")


def test_no_decision_and_a_label_that_touches_a_hole_have_no_outcome(followed):
    live, _ = followed
    broken = repaired(with_bars(MARKET, {NEXT + 15: None})[COIN].iloc[: NEXT + 48].dropna())
    made = live.desk.score(COIN, broken)
    assert len(made) == 24 - len([bar for bar in range(24) if NEXT - 1 + bar <= NEXT + 15 <= NEXT - 1 + bar + HORIZON + 1])


def test_a_damaged_file_of_outcomes_is_made_anew_from_the_log(followed):
    live, candles = followed
    made = live.desk.score(COIN, candles)
    live.places.outcomes(COIN).write_bytes(b"broken")
    pd.testing.assert_frame_equal(live.desk.score(COIN, candles), made)
    assert "cannot be read" in live.said[0]


def later(line, n_bars, **changes):
    """The same line about a bar so much later."""
    return replace(line, **{name: getattr(line, name) + n_bars * HOUR for name in TIMES}, **changes)


def silence(line, n_bars):
    """Lines about so many bars after this one of which nothing is to be had."""
    told = {name: getattr(line, name) for name in TIMES}
    nothing = Signal(coin=COIN, **told, reason="the exchange is silent", latency_ms=7.0, compute_ms=0.0)
    return [later(nothing, bar) for bar in range(1, n_bars + 1)]


@pytest.mark.parametrize("n_scored", [0, 1])
def test_decisions_before_a_long_silence_are_scored_after_it(tmp_path, a_day, n_scored):
    live, candles = LiveCoin(tmp_path), repaired(MARKET[COIN].iloc[: NEXT + RECENT + 20])
    log = live.desk.log(COIN)
    for line in a_day[:2]:
        log.append(line)
    assert len(live.desk.score(COIN, candles.iloc[: NEXT + HORIZON + n_scored])) == n_scored
    for line in silence(a_day[1], RECENT + 6):
        log.append(line)
    assert live.desk._since(COIN) < a_day[n_scored].open_time
    assert list(live.desk.score(COIN, candles)["open_time"]) == [line.open_time for line in a_day[:2]]
    assert live.desk._since(COIN) is None


def test_a_damaged_file_of_outcomes_is_made_anew_from_before_a_long_silence(followed, a_day):
    live, candles = followed
    made = live.desk.score(COIN, candles)
    for line in silence(a_day[-1], RECENT + 6):
        live.desk.log(COIN).append(line)
    live.places.outcomes(COIN).write_bytes(b"broken")
    pd.testing.assert_frame_equal(live.desk.score(COIN, candles), made)


def test_the_lone_returns_are_those_of_the_trades_that_the_backtest_enters(live):
    rng = np.random.default_rng(3)
    candles = repaired(with_bars(MARKET, {500: None, **dict.fromkeys(range(800, 810))})[COIN].dropna())
    decisions = pd.DataFrame({"signal": rng.choice([-1, 0, 1], len(candles))}, index=candles.index)
    decisions = decisions.join(exits_at(candles, live.settings)).dropna()
    execution = ExecutionModel(horizon=HORIZON, funding_bps=1.0, maker_fee_bps=2.0)
    earned = lone_net_returns(candles, decisions, execution=execution)
    trades = run_backtest(candles, decisions, execution=execution, sizing=Sizing()).trades
    assert len(trades) > 100
    np.testing.assert_allclose(earned[trades["decision_time"]], trades["return_net"], rtol=1e-9, atol=1e-12)
    assert (earned[decisions["signal"] == 0] == 0).all()


def test_what_decisions_add_up_to_is_counted_by_hand():
    times = pd.date_range("2024-01-01", periods=5, freq="7h", tz="UTC")
    frame = outcome_frame(
        pd.DataFrame(
            {
                "open_time": times,
                "version": "a",
                "signal": [1, 1, -1, 0, -1],
                "p_short": 0.2,
                "p_neutral": 0.2,
                "p_long": 0.6,
                "confidence": [0.6, 0.6, 0.8, 0.6, 0.8],
                "expected_return": 0.0,
                "label_end": times + pd.Timedelta("7h"),
                "outcome": [1, -1, -1, 0, -1],
                "net_return": [0.02, -0.01, 0.03, 0.0, -0.02],
                "hit": [True, False, True, True, True],
            }
        )
    )
    found = live_numbers(frame, level=0.95)
    assert (found["scored"], found["sides"], found["effective_n"]) == (5.0, 4.0, 4.0)
    assert (found["hit_rate"], found["win_rate"]) == (0.75, 0.5)
    assert found["zero_skill_hit_rate"] == 0.5 * 0.25 + 0.5 * 0.75
    assert found["expected_hit_rate"] == pytest.approx(0.7)
    assert found["hit_rate_low"] < 0.75 < found["hit_rate_high"]
    assert (found["net_return"], found["net_return_bps"]) == pytest.approx((0.02, 50.0))
    assert found["calibration_error"] == pytest.approx(0.6 * abs(0.6 - 2 / 3) + 0.4 * 0.2)


def test_nothing_scored_says_nothing():
    found = live_numbers(outcome_frame(pd.DataFrame()), level=0.95)
    assert (found["scored"], found["net_return"]) == (0.0, 0.0)
    assert np.isnan([found["hit_rate"], found["zero_skill_hit_rate"], found["calibration_error"]]).all()


def test_outcomes_are_of_the_coins_own_costs(followed):
    live, candles = followed
    dear = replace(live.settings.execution, fee_bps=50.0)
    own = live.settings.model_copy(update={"execution": dear})
    cheap, paid = (score(live.lines(), candles, it, CostData()) for it in (live.settings, own))
    sides = cheap["signal"] != 0
    assert (paid["net_return"][sides] < cheap["net_return"][sides]).all()


# around it


@pytest.mark.parametrize(
    ("interval", "cron"),
    list(
        zip(
            INTERVALS,
            ("* * * * *", "1-59/5 * * * *", "1-59/15 * * * *", "1-59/30 * * * *", "1 */1 * * *", "1 */4 * * *", "1 0 * * *"),
            strict=True,
        )
    ),
)
def test_the_schedule_follows_the_interval(interval, cron):
    assert cron_after_close(interval) == cron


@pytest.mark.parametrize(
    ("interval", "settle_s", "cron"),
    [
        ("5m", 60.0, "1-59/5 * * * *"),
        ("5m", 61.0, "2-59/5 * * * *"),
        ("15m", 840.0, "14-59/15 * * * *"),
        ("1h", 600.0, "10 */1 * * *"),
        ("4h", 3_540.0, "59 */4 * * *"),
        ("1d", 90.0, "2 0 * * *"),
    ],
)
def test_the_schedule_waits_for_an_exchange_that_books_trades_late(interval, settle_s, cron):
    assert cron_after_close(interval, settle_s=settle_s) == cron


@pytest.mark.parametrize(
    ("changes", "seconds_after_close", "waits"),
    [
        ({}, 2.0, 8.0),
        ({}, 10.0, 0.0),
        ({}, 59.0, 0.0),
        ({"interval": "5m"}, 2.0, 0.0),
        ({"source": "demo", "coins": ()}, 2.0, 0.0),
        ({"clock": closed_at(NEXT)}, 2.0, 0.0),
    ],
    ids=str,
)
def test_a_bar_of_one_minute_is_waited_for_until_the_exchange_gives_it(changes, seconds_after_close, waits):
    settings = load_settings(**{"source": "exchange", "coins": (COIN,), "interval": "1m", **changes})
    assert unsettled_s(closed_at(NEXT) + timedelta(seconds=seconds_after_close), settings) == waits


def test_the_picture_counts_what_was_decided(followed):
    live, candles = followed
    rows = pd.DataFrame([vars(it) for it in live.lines()]).set_index("open_time")
    [axes] = decisions_figure(candles, rows, coin=COIN).axes
    sides = rows["signal"].value_counts()
    assert axes.get_title() == (
        f"{COIN}: the last 24 bars decided {sides.get(1, 0)} long, {sides.get(0, 0)} neutral, {sides.get(-1, 0)} short, 0 not at all"
    )
