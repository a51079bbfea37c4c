"""A live decision is what the stack would have decided about that bar in the whole table, and knows nothing of later bars."""

import importlib
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.contracts import PROBABILITIES
from crp_pipeline.features.blocks import BLOCK_BARS
from crp_pipeline.shadow import load_version
from crp_pipeline.signals import Inputs, decide, live_features, made_ready
from crp_pipeline.signals.newest import tail_start
from crp_pipeline_tests.live import CHOSEN, COIN, LEARNED, MARKET, OTHER, LiveCoin, closed_at, repaired, whole_table, with_bars

deciding = importlib.import_module("crp_pipeline.signals.decision")
BARS = (*range(LEARNED + 1, LEARNED + 15), *range(LEARNED + 30, LEARNED + 400, 37))
TOLD = ("signal", *PROBABILITIES, "confidence", "expected_return", "tier")


@pytest.fixture(scope="module")
def live(tmp_path_factory, live_parts):
    return LiveCoin(tmp_path_factory.mktemp("live"), live_parts)


@pytest.fixture(scope="module")
def champion(live):
    return made_ready(load_version(live.book, COIN, live.version))


def known(n_bars, raw=MARKET):
    """What is known when so many bars have closed."""
    candles, others = (repaired(raw[coin].iloc[:n_bars].dropna()) for coin in (COIN, OTHER))
    return Inputs(candles, others[["close"]].set_axis([OTHER], axis=1), None)


def slices_of(raw, bars):
    """The same for many bars; a repaired bar depends on earlier ones only."""
    whole = known(len(raw), raw)
    for n_bars in bars:
        last = raw.index[n_bars - 1]
        yield Inputs(whole.candles.loc[:last], whole.market.loc[:last], None)


def told_live(champion, live, inputs):
    now = (inputs.candles.index[-1] + pd.Timedelta("1h")).to_pydatetime() + timedelta(seconds=5)
    signal, _ = decide(champion, inputs, coin=COIN, settings=live.settings, clock=lambda: now)
    assert signal.is_decided, signal.reason
    return tuple(getattr(signal, name) for name in TOLD)


def told_offline(champion, table, bar):
    row = champion.version.decide(table, table.index[bar : bar + 1]).iloc[0]
    return tuple(row[name] for name in TOLD)


@pytest.mark.parametrize("holes", [{}, {700: None, **dict.fromkeys(range(300, 320))}], ids=["whole", "with holes"])
def test_a_live_decision_is_the_one_of_the_whole_table_to_the_bit(champion, live, holes):
    raw = with_bars(MARKET, holes)
    table = whole_table(raw)
    rows = {time: row for row, time in enumerate(table.index)}
    for inputs in slices_of(raw, BARS):
        expected = told_offline(champion, table, rows[inputs.candles.index[-1]])
        assert told_live(champion, live, inputs) == expected


def test_in_one_batch_the_whole_table_says_the_same_but_for_the_last_digits_of_a_network(champion, live):
    table = whole_table()
    together = champion.version.decide(table, pd.DatetimeIndex(table.index[LEARNED : LEARNED + 60]))
    alone = [told_live(champion, live, known(bar + 1)) for bar in range(LEARNED, LEARNED + 60, 7)]
    offline = together.iloc[::7]
    np.testing.assert_allclose([row[1:4] for row in alone], offline[list(PROBABILITIES)], rtol=0, atol=1e-6)
    assert [row[0] for row in alone] == list(offline["signal"])


def test_a_live_decision_through_the_files_is_the_one_of_the_whole_table(live, champion):
    table = whole_table()
    for n_bars in (LEARNED + 1, LEARNED + 11, LEARNED + 250):
        found = live.at(n_bars).decide()
        assert tuple(getattr(found, name) for name in TOLD) == told_offline(champion, table, n_bars - 1)


def test_later_bars_change_no_decision(champion, live, tmp_path, live_parts):
    """The files go on with another market behind the bar that has closed: the open bar, and bars of tomorrow."""
    n_bars = LEARNED + 25
    expected = told_live(champion, live, known(n_bars))
    rng, future = np.random.default_rng(5), MARKET.iloc[n_bars : n_bars + 5].copy()
    future.loc[:, :] = rng.uniform(1, 1_000, (5, 1)) * np.ones((1, future.shape[1]))
    other = LiveCoin(tmp_path, live_parts)
    for coin in (COIN, OTHER):
        other.write(coin, pd.concat([MARKET[coin].iloc[:n_bars], future[coin]]))
    other.clock.now = closed_at(n_bars) + timedelta(seconds=5)
    found = other.decide()
    assert found.closed_at == closed_at(n_bars)
    assert tuple(getattr(found, name) for name in TOLD) == expected


def test_a_decision_does_change_with_what_was_known(champion, live):
    """Without this, the tests above could not fail."""
    n_bars = LEARNED + 25
    other = with_bars(MARKET, {n_bars - 2: MARKET[COIN].iloc[n_bars - 2].to_numpy() * 1.02})
    assert told_live(champion, live, known(n_bars, other)) != told_live(champion, live, known(n_bars))


@pytest.mark.parametrize("past_edge", [1, 2, 60, 5_000, BLOCK_BARS])
def test_the_tail_of_the_candles_gives_the_features_of_all_of_them_to_the_bit(champion, past_edge):
    """Also where the bars that the models look at lie on both sides of a block's edge."""
    n_bars = 2 * BLOCK_BARS + 700 + past_edge
    edge = pd.Timestamp("2020-01-01", tz="UTC").value // (3_600 * 10**9) // BLOCK_BARS * BLOCK_BARS
    times = pd.to_datetime((edge + np.arange(past_edge - n_bars, past_edge)) * 3_600 * 10**9, utc=True)
    rng = np.random.default_rng(1)
    candles, market = random_candles(rng, times), pd.DataFrame({OTHER: random_candles(rng, times)["close"]})
    now = times[-1].to_pydatetime() + timedelta(hours=1)
    start = tail_start(now, settings_of_hours())
    whole, tail = Inputs(candles, market), Inputs(candles.loc[start:], market.loc[start:])
    assert times[0] < start
    from_all, from_tail = (live_features(champion, it, "1h") for it in (whole, tail))
    pd.testing.assert_frame_equal(from_tail, from_all, check_exact=True)
    assert np.isfinite(from_tail.to_numpy()).all()
    assert len(from_tail) == champion.reach


def random_candles(rng, times):
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, len(times))))
    opening = np.concatenate([[100.0], close[:-1]])
    prices = {"open": opening, "high": np.maximum(opening, close), "low": np.minimum(opening, close), "close": close}
    index = pd.DatetimeIndex(times, name="open_time").as_unit("ns")
    volume = rng.lognormal(8, 1, len(times))
    return pd.DataFrame(prices, index=index).assign(volume=volume, is_repaired=False, segment=0)


def settings_of_hours():
    from crp_pipeline.settings import load_settings

    return load_settings(interval="1h")


# planted


def test_features_from_too_few_bars_are_caught(champion, live, monkeypatch):
    """Recursive indicators remember where they began: bars that cover every lookback are not enough."""
    honest = deciding.features_since

    def from_the_lookback_on(since, candles, features, **how):
        return honest(since, candles.iloc[-(max(it.bars_needed for it in CHOSEN) + champion.reach) :], features, **how)

    monkeypatch.setattr(deciding, "features_since", from_the_lookback_on)
    table, inputs = whole_table(), known(LEARNED + 25)
    made = live_features(champion, inputs, "1h")
    assert not made.equals(table.loc[made.index])
    monkeypatch.undo()
    assert live_features(champion, inputs, "1h").equals(table.loc[made.index])


def test_an_unfinished_bar_is_caught(champion, live, monkeypatch, tmp_path, live_parts):
    other = LiveCoin(tmp_path, live_parts)
    monkeypatch.setattr("crp_pipeline.candles.repair.closed", lambda bars, *_: np.ones(len(bars), dtype=bool))
    assert other.at(LEARNED + 25).decide().closed_at != closed_at(LEARNED + 25)
