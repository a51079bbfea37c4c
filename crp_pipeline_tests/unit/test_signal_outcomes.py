"""What becomes of live decisions: scored by the label and the backtest's own fill, when the label has ended."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.backtest import CostData, ExecutionModel, Sizing, lone_net_returns, run_backtest
from crp_pipeline.contracts import LiveOutcomeSchema, check_frame
from crp_pipeline.labels import make_labels
from crp_pipeline.reporting.signals import decisions_figure
from crp_pipeline.signals import (
    live_numbers,
    outcome_frame,
    score,
)
from crp_pipeline.signals.decision import exits_at
from crp_pipeline.signals.log import RECENT
from crp_pipeline.storage import read_parquet
from crp_pipeline_tests.live import (
    COIN,
    MARKET,
    NEXT,
    LiveCoin,
    repaired,
    silence,
    with_bars,
)
from crp_pipeline_tests.shadows import HORIZON


@pytest.fixture
def live(tmp_path, live_parts):
    return LiveCoin(tmp_path, live_parts)


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


def test_the_picture_counts_what_was_decided(followed):
    live, candles = followed
    rows = pd.DataFrame([vars(it) for it in live.lines()]).set_index("open_time")
    [axes] = decisions_figure(candles, rows, coin=COIN).axes
    sides = rows["signal"].value_counts()
    assert axes.get_title() == (
        f"{COIN}: the last 24 bars decided {sides.get(1, 0)} long, {sides.get(0, 0)} neutral, {sides.get(-1, 0)} short, 0 not at all"
    )
