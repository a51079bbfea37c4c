"""The limits of a prop firm against a slow diary of the same rules, and what must hold on every path."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crp_pipeline.backtest.rules import challenge, challenge_odds
from crp_pipeline.settings import PropFirmRules
from crp_pipeline_tests.properties.slow_challenge import SlowChallenge

many = settings(max_examples=250, deadline=None)
some = settings(max_examples=60, deadline=None)
STARTS = ["2024-03-29 17:00Z", "2024-10-26 05:00Z", "2024-06-01 00:00Z"]
"""Two days before a day of 23 hours, one before a day of 25, and one with nothing special."""


@st.composite
def books(draw):
    """Equity, worst equity and trades that fit each other, their results in whole steps so that limits are hit exactly."""
    size, hours = draw(st.integers(1, 90)), draw(st.sampled_from([1, 4, 24]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    time = pd.date_range(draw(st.sampled_from(STARTS)), periods=2 * size, freq=f"{hours}h", name="open_time")
    kept = np.sort(rng.choice(len(time), size, replace=False)) if draw(st.booleans()) else np.arange(size)
    time = time[kept]
    scale, drift = draw(st.sampled_from([200.0, 1_000.0, 3_000.0])), draw(st.sampled_from([-0.5, 1.0, 2.0]))
    trades, bar = [], int(rng.integers(0, 4))
    while bar < size:
        leave = bar + int(rng.integers(0, 6))
        if leave >= size:
            break
        trades.append((bar, leave, scale * rng.integers(-2, 3) + drift * scale))
        bar = leave + (0 if leave > bar and rng.random() < 0.4 else int(rng.integers(1, 4)))
    frame = pd.DataFrame(trades, columns=["entry", "exit", "pnl"]).astype({"entry": int, "exit": int, "pnl": float})
    frame = frame.assign(entry_time=time[frame["entry"]], exit_time=time[frame["exit"]])
    return path(time, frame, scale, rng)


def path(time, frame, scale, rng):
    entries, exits = frame["entry"].to_numpy(), frame["exit"].to_numpy()
    bars = np.arange(len(time))
    balance = 100_000 + np.r_[0, frame["pnl"].cumsum()][np.searchsorted(exits, bars, side="right")]
    held = np.array([((entries <= bar) & (exits > bar)).any() for bar in bars], bool)
    touched = np.array([((entries <= bar) & (exits >= bar)).any() for bar in bars], bool)
    equity = balance + held * scale * rng.integers(-3, 3, len(time))
    worst = equity - touched * scale * rng.integers(0, 3, len(time))
    return pd.Series(equity, time, dtype=float), pd.Series(worst, time, dtype=float), frame


rules = st.builds(
    PropFirmRules,
    daily_loss=st.sampled_from([0.01, 0.05, 0.2, 0.5]),
    total_loss=st.sampled_from([0.04, 0.10, 0.3, 0.6]),
    profit_targets=st.sampled_from([(0.10, 0.05), (0.02, 0.01, 0.03), (0.05,), (0.004, 0.3)]),
    min_trading_days=st.sampled_from([0, 1, 2, 4]),
    timezone=st.sampled_from(["Europe/Prague", "UTC", "Asia/Kolkata"]),
)


@many
@given(books(), rules)
def test_a_challenge_is_the_diary_of_a_patient_clerk(account, firm):
    found, told = challenge(*account, firm, initial=100_000), SlowChallenge(*account, firm, initial=100_000).live()
    assert (str(found.outcome), found.step, found.rule) == (told.outcome, told.step + 1, told.rule)
    assert found.ended == told.ended
    assert (found.days, found.trading_days) == (told.calendar_days, told.trading_days)
    assert found.worst_daily_loss == pytest.approx(told.worst_daily, abs=1e-12)
    assert found.worst_total_loss == pytest.approx(told.worst_total, abs=1e-12)


@many
@given(books(), rules, st.sampled_from(["daily_loss", "total_loss"]), st.floats(0.05, 1))
def test_a_tighter_limit_never_turns_failed_into_passed_or_open(account, firm, limit, factor):
    before = challenge(*account, firm, initial=100_000)
    after = challenge(*account, replace(firm, **{limit: factor * getattr(firm, limit)}), initial=100_000)
    if before.outcome == "failed":
        assert after.outcome == "failed"
        assert after.ended <= before.ended


@some
@given(books(), rules, st.sampled_from([1e-3, 0.37, 8.0, 12_345.6]))
def test_money_has_no_scale(account, firm, scale):
    equity, worst, trades = account
    before = challenge(*account, firm, initial=100_000)
    scaled = (equity * scale, worst * scale, trades.assign(pnl=trades["pnl"] * scale))
    after = challenge(*scaled, firm, initial=100_000 * scale)
    assert (after.outcome, after.ended, after.trading_days) == (before.outcome, before.ended, before.trading_days)
    assert after.worst_daily_loss == pytest.approx(before.worst_daily_loss, abs=1e-12)


@some
@given(books(), rules)
def test_bars_to_come_do_not_change_a_verdict_that_has_fallen(account, firm):
    equity, worst, trades = account
    whole = challenge(*account, firm, initial=100_000)
    # the entry that shows an exit to have been at the open belongs to the bar that decides
    cut = equity.index <= whole.ended
    known = trades[(trades["exit_time"] <= whole.ended)]
    then = challenge(equity[cut], worst[cut], known, firm, initial=100_000)
    if whole.outcome == "failed" and not (trades["entry_time"] == whole.ended).any() and cut.sum() > 1:
        assert (then.outcome, then.ended) == (whole.outcome, whole.ended)


@some
@given(st.integers(1, 200), rules)
def test_a_flat_path_is_open(size, firm):
    flat = pd.Series(100_000.0, pd.date_range("2024-03-30", periods=size, freq="h", tz="UTC"))
    nothing = pd.DataFrame({"entry_time": flat.index[:0], "exit_time": flat.index[:0], "pnl": np.empty(0)})
    found = challenge(flat, flat, nothing, firm, initial=100_000)
    assert (found.outcome, found.trading_days, found.worst_daily_loss, found.worst_total_loss) == ("open", 0, 0, 0)
    odds = challenge_odds(flat, flat, nothing, firm, initial=100_000, block_days=2, n_paths=20, max_days=30, seed=0)
    assert (odds.undecided, odds.pass_probability) == (1, 0)


@some
@given(books(), rules)
def test_every_path_passes_fails_or_stays_undecided(account, firm):
    odds = challenge_odds(*account, firm, initial=100_000, block_days=3, n_paths=50, max_days=60, seed=1)
    shares = (odds.pass_probability, odds.failed_daily_loss, odds.failed_total_loss, odds.undecided)
    assert sum(shares) == pytest.approx(1)
    assert odds.pass_probability_low <= odds.pass_probability <= odds.pass_probability_high


@some
@given(books(), rules, st.sampled_from(["daily_loss", "total_loss"]), st.floats(0.05, 1))
def test_tighter_limits_never_raise_the_odds(account, firm, limit, factor):
    tighter = replace(firm, **{limit: factor * getattr(firm, limit)})
    how = {"initial": 100_000, "block_days": 3, "n_paths": 50, "max_days": 60, "seed": 1}
    assert challenge_odds(*account, tighter, **how).pass_probability <= challenge_odds(*account, firm, **how).pass_probability
