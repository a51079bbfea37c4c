"""A fresh decision knows nothing of later bars, and no version decides what it learned from."""

import importlib

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from crp_pipeline.contracts import Samples
from crp_pipeline.errors import DataContractError
from crp_pipeline.gate import Outcome
from crp_pipeline.models import ModelSpec
from crp_pipeline.registry import Registry
from crp_pipeline.shadow import ShadowLog, decide_fresh_bars, load_version
from crp_pipeline_tests.quick import quick_params
from crp_pipeline_tests.shadows import COIN, NIGHT, NOW, Market, candidate, market, register

shadowing = importlib.import_module("crp_pipeline.shadow")

LEARNED, LAST = 720, 720 + 2 * NIGHT
MARKET = market(LEARNED + 4 * NIGHT)
WINDOWED = (
    ModelSpec("lightgbm", "lightweight", quick_params("lightgbm")),
    ModelSpec("tcn", "lightweight", quick_params("tcn")),
)
"""A model of one row, equal to the bit, and one that reads a window."""


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return candidate(MARKET.until(LEARNED), tmp_path_factory.mktemp("candidate"), *WINDOWED)


@pytest.fixture
def book(parts, tmp_path):
    made = Registry(tmp_path / "registry")
    register(made, parts, Outcome.PROMOTE, recipe="a")
    return made


def another_future():
    """The same past, and another market from the bar after `LAST` on."""
    features = MARKET.features.copy()
    features.iloc[LAST:] = np.random.default_rng(5).normal(9, 9, features.iloc[LAST:].shape)
    return Market(MARKET.candles, features)


def decided(book, known, times):
    return load_version(book, COIN, book.champion(COIN)).decide(known.features, times)


def test_a_decision_does_not_change_when_later_bars_arrive_or_are_others(book):
    times = MARKET.candles.index[LEARNED:LAST]
    then = decided(book, MARKET.until(LAST), times)
    assert then["confidence"].notna().all()
    for known in (MARKET, another_future()):
        assert_frame_equal(decided(book, known, times), then, check_exact=True)


@pytest.mark.parametrize("bar", [LEARNED, LEARNED + 7, LAST - 1])
def test_a_decision_is_the_same_alone_on_the_bars_until_its_own(book, bar):
    together = decided(book, MARKET, MARKET.candles.index[LEARNED:LAST])
    alone = decided(book, MARKET.until(bar + 1), MARKET.candles.index[bar : bar + 1])
    np.testing.assert_allclose(
        alone[["p_short", "p_neutral", "p_long"]], together.loc[alone.index, ["p_short", "p_neutral", "p_long"]], atol=1e-6
    )
    assert alone["signal"].equals(together.loc[alone.index, "signal"])


def test_a_decision_does_change_with_what_was_known(book):
    """Without this, the tests above could not fail: the bars that a window reaches back to matter."""
    times, features = MARKET.candles.index[LEARNED:LAST], MARKET.features.copy()
    features.iloc[LEARNED - 2] += 3.0
    assert not decided(book, Market(MARKET.candles, features), times).equals(decided(book, MARKET, times))


def test_a_decision_that_is_written_down_is_about_a_bar_that_its_version_had_not_seen(book, tmp_path):
    log = ShadowLog(tmp_path / COIN)
    fresh = decide_fresh_bars(book, COIN, MARKET.features.pipe(stamped), ready=MARKET.ready, interval="1h", log=log, now=NOW)
    assert fresh.decisions["open_time"].min() == MARKET.candles.index[LEARNED]


def stamped(features):
    features = features.copy()
    features.attrs["feature_set_id"] = "set-1"
    return features


# planted leaks


def test_a_version_that_would_decide_what_it_learned_is_stopped(book, tmp_path, monkeypatch):
    monkeypatch.setattr(shadowing, "fresh_bars", lambda _, features, **__: pd.DatetimeIndex(features.index[-200:]))
    with pytest.raises(DataContractError, match="must not decide"):
        decide_fresh_bars(
            book, COIN, stamped(MARKET.features), ready=MARKET.ready, interval="1h", log=ShadowLog(tmp_path / COIN), now=NOW
        )
    assert not (tmp_path / COIN).exists()


def test_a_decision_that_reads_the_next_bar_is_caught(book, monkeypatch):
    honest = shadowing._shown

    def one_bar_late(features, rows, model):
        shown = honest(features, np.minimum(rows + 1, len(features) - 1), model)
        return Samples(shown.history, shown.rows, shown.segment_start, shown.columns)

    monkeypatch.setattr(shadowing, "_shown", one_bar_late)
    times = MARKET.candles.index[LEARNED:LAST]
    assert not decided(book, another_future(), times).equals(decided(book, MARKET, times))
