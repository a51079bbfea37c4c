"""Live decisions: when there is one, when there is none and why, who sits on the champion's seat, and where bots read it."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.defs.signals import cron_after_close
from crp_pipeline.settings import INTERVALS, load_settings
from crp_pipeline.signals import (
    FileStore,
    Newest,
    put_online,
    unsettled_s,
)
from crp_pipeline.signals.decision import exits_at
from crp_pipeline.signals.log import RECENT
from crp_pipeline_tests.live import (
    COIN,
    HOUR,
    LEARNED,
    MARKET,
    NEXT,
    OTHER,
    LiveCoin,
    closed_at,
    later,
    repaired,
    silence,
    whole_table,
    with_bars,
)


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


# when it is asked for


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
