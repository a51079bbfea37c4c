"""Prop-firm challenges small enough to work out by hand, and odds that can be computed without drawing."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from crp_pipeline.backtest import ExecutionModel, Sizing, run_backtest
from crp_pipeline.backtest.account import AccountDays, account_days, account_path
from crp_pipeline.backtest.rules import ChallengeOutcome, _live, _stationary_rows, challenge, challenge_odds, rules_evidence
from crp_pipeline.errors import DataContractError
from crp_pipeline.metrics import wilson_interval
from crp_pipeline.settings import PropFirmRules

FTMO = PropFirmRules()
QUICK = replace(FTMO, min_trading_days=0)
START = 100_000
NOBODY = pd.DataFrame({"entry_time": pd.to_datetime([], utc=True), "exit_time": pd.to_datetime([], utc=True), "pnl": []})


def hours(start, n, freq="h"):
    return pd.date_range(start, periods=n, freq=freq, tz="UTC", name="open_time")


def level(time, value=float(START)):
    return pd.Series(value, time, dtype=float)


def trade(*rows):
    """Trades of (entry, exit, pnl)."""
    frame = pd.DataFrame(rows, columns=["entry_time", "exit_time", "pnl"])
    return frame.assign(**{name: pd.to_datetime(frame[name], utc=True) for name in ("entry_time", "exit_time")})


def booked(time, trades):
    """Equity that moves only when a trade is closed."""
    return START + pd.Series([trades["pnl"][trades["exit_time"] <= now].sum() for now in time], time, dtype=float)


def one_a_day(*pnl, start="2024-06-03 08:00"):
    """A trade of an hour on each day, every bar an hour."""
    day = pd.Timestamp(start, tz="UTC")
    rows = [
        (day + pd.Timedelta(number, "D"), day + pd.Timedelta(number, "D") + pd.Timedelta("1h"), it)
        for number, it in enumerate(pnl)
    ]
    trades, time = trade(*rows), hours(start, 24 * len(pnl))
    return booked(time, trades), trades


def judged(equity, trades=NOBODY, rules=FTMO, worst=None):
    return challenge(equity, equity if worst is None else worst, trades, rules, initial=START)


def dipped(time, when, worst):
    found = level(time)
    found[pd.Timestamp(when, tz="UTC")] = worst
    return found


def test_both_steps_of_ftmo_are_passed_with_ten_and_five_percent_on_four_days_each():
    equity, trades = one_a_day(4_000, 3_000, 2_000, 1_000, 2_000, 2_000, 1_000, 1_000)
    found = judged(equity, trades)
    # the second account is one of 100,000 again: 6,000 on 110,000 are 5.45 %
    assert found.outcome is ChallengeOutcome.PASSED
    assert (found.step, found.days, found.trading_days) == (2, 8, 8)
    assert found.reason == (
        "step 2 of 2: at 2024-06-10 09:00 UTC the balance is +5.45% from the initial one, the target is 5.00%, "
        "after 4 trading days of 4"
    )


def test_a_target_reached_too_soon_waits_for_the_days_and_must_still_be_there():
    rules = replace(FTMO, profit_targets=(0.10,))
    assert judged(*one_a_day(10_000, -500, 0, 499), rules).outcome == "open"
    assert judged(*one_a_day(10_000, -500, 0, 500), rules).outcome == "passed"
    assert judged(*one_a_day(12_000, 0), rules).reason.endswith(
        "the balance +12.00% from the initial one, the target 10.00%, after 2 trading days of 4"
    )


def test_a_floating_profit_reaches_no_target():
    time = hours("2024-06-03", 48)
    assert judged(level(time, 150_000), trade((time[1], time[2], 0.0)), QUICK).outcome == "open"


@pytest.mark.parametrize(
    ("worst", "outcome"), [(95_000.01, "open"), (95_000.0, "failed"), (95_000.0 + 1e-5, "failed"), (94_999.99, "failed")]
)
def test_a_loss_exactly_at_the_limit_fails(worst, outcome):
    time = hours("2024-06-03", 5)
    assert judged(level(time), worst=dipped(time, time[3].tz_localize(None), worst)).outcome == outcome


def test_the_sentence_names_rule_moment_and_amount():
    time = hours("2024-06-03", 5)
    found = judged(level(time), worst=dipped(time, "2024-06-03 03:00", 94_800.0))
    assert (found.rule, found.ended, found.worst_daily_loss) == ("daily_loss", time[3], pytest.approx(0.052))
    assert found.reason == (
        "step 1 of 2: at 2024-06-03 03:00 UTC equity is 5.20% of the initial balance below the balance of the midnight before, "
        "the limit is 5.00%"
    )


def test_the_daily_limit_is_five_percent_of_the_initial_balance_below_that_of_midnight():
    # 8,000 earned on Monday are Tuesday's cushion: 108,000 - 5,000 = 103,000
    equity, trades = one_a_day(8_000, 0)
    low = equity.copy()
    low[pd.Timestamp("2024-06-04 03:00Z")] = 103_000.01
    assert judged(equity, trades, worst=low).outcome == "open"
    low[pd.Timestamp("2024-06-04 03:00Z")] = 103_000.0
    assert judged(equity, trades, worst=low).rule == "daily_loss"
    # on Monday, after the exit, all of the day's profit could be lost again: 95,000 is the limit until midnight
    low = equity.copy()
    low[pd.Timestamp("2024-06-03 20:00Z")] = 95_000.01
    assert judged(equity, trades, worst=low).outcome == "open"


def test_a_floating_loss_carried_over_midnight_is_not_forgiven():
    # 3,000 under water at midnight and 2,500 more in the morning: the balance at midnight knew of neither
    time = hours("2024-06-03", 48)
    equity = level(time, 97_000)
    low = equity.copy()
    low[pd.Timestamp("2024-06-04 05:00Z")] = 94_500
    assert judged(equity, worst=low).rule == "daily_loss"


def test_five_days_of_two_percent_break_the_total_limit_and_no_daily_one():
    found = judged(*one_a_day(-2_000, -2_000, -2_000, -2_000, -2_000, 0))
    assert (found.outcome, found.rule, found.days) == ("failed", "total_loss", 5)
    assert (
        found.reason == "step 1 of 2: at 2024-06-07 09:00 UTC equity is 10.00% below the initial balance, the limit is 10.00%"
    )


@pytest.mark.parametrize(
    ("first", "length", "begins"),
    [
        ("2024-03-30 23:00Z", 23, "in summer time the next day begins at 22:00 UTC"),
        ("2024-10-26 22:00Z", 25, "in winter time the next day begins at 23:00 UTC"),
        ("2024-06-02 22:00Z", 24, "a day like any other"),
    ],
)
def test_days_on_which_the_clocks_change_have_23_or_25_hours(first, length, begins):
    midnight = pd.Timestamp(first)
    next_midnight = midnight + pd.Timedelta(length, "h")
    time = pd.date_range(midnight - pd.Timedelta("3h"), periods=40, freq="h", name="open_time")
    # 4,000 are lost on the first bar of the day: they count until its last bar and are forgotten at the next midnight
    trades = trade((midnight, midnight, -4_000.0))
    equity = booked(time, trades)
    for bar, outcome in ((next_midnight - pd.Timedelta("1h"), "failed"), (next_midnight, "open")):
        low = equity.copy()
        low[bar] = 94_500
        assert judged(equity, trades, worst=low).outcome == outcome, begins


def test_trading_days_are_counted_in_prague_by_openings():
    # 21:30 and 22:30 UTC in June are 23:30 and 00:30 in Prague; the third trade is closed on a third day but opened on the second
    time = hours("2024-06-03 21:30", 60)
    trades = trade((time[0], time[0], 0.0), (time[1], time[1], 0.0), (time[2], time[40], 0.0))
    assert judged(booked(time, trades), trades).trading_days == 2
    assert judged(booked(time, trades), trades, replace(FTMO, timezone="UTC")).trading_days == 1


def test_an_exit_and_an_entry_at_one_open_close_the_step_before_that_bar():
    time = hours("2024-06-03", 4)
    trades = trade((time[0], time[1], 10_000.0), (time[1], time[2], 5_500.0))
    equity = pd.Series([100_000, 110_000, 115_500, 115_500], time, dtype=float)
    low = pd.Series([100_000, 104_000, 115_500, 115_500], time, dtype=float)
    # the fall to 104,000 is that of the second position, 5.45 % of an account that began with 110,000
    assert judged(equity, trades, QUICK, worst=low).step == 2
    assert judged(equity, trades, QUICK, worst=low).rule == "daily_loss"
    low.iloc[1] = 105_000
    assert judged(equity, trades, QUICK, worst=low).outcome == "passed"


def test_within_a_bar_the_worst_price_comes_before_the_target():
    time = hours("2024-06-03", 3)
    trades = trade((time[1], time[1], 10_000.0))
    found = judged(booked(time, trades), trades, QUICK, worst=dipped(time, "2024-06-03 01:00", 94_000))
    assert found.outcome == "failed"


def test_a_bar_that_straddles_midnight_is_held_against_both_days():
    # 20:00 to 24:00 UTC holds Prague's midnight; a profit of 3,000 is booked before it, 2,000 within it
    time = hours("2024-06-03 12:00", 6, freq="4h")
    trades = trade((time[0], time[0], 3_000.0), (time[2], time[2], 2_000.0))
    equity = booked(time, trades)
    for bar, limit in ((0, 95_000), (1, 95_000), (2, 100_000), (3, 100_000)):
        for lost, outcome in ((-0.01, "open"), (0.0, "failed")):
            low = equity.copy()
            low.iloc[bar] = limit - lost
            assert judged(equity, trades, QUICK, worst=low).outcome == outcome, bar


def test_a_path_that_ends_with_a_step_leaves_the_next_one_open():
    found = judged(*one_a_day(10_000), QUICK)
    assert (found.outcome, found.step) == ("open", 2)
    time = hours("2024-06-03", 2)
    trades = trade((time[1], time[1], 10_000.0))
    last = judged(booked(time, trades), trades, QUICK)
    assert (last.outcome, last.step, last.ended) == ("open", 2, time[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"worst_equity": level(hours("2024-06-03", 9))}, "worst_equity: its 9 rows are not the 10 bars of equity"),
        ({"equity": level(hours("2024-06-03", 0))}, "equity: must have rows indexed by open_time in UTC, got 0"),
        ({"equity": level(hours("2024-06-03", 10)[::-1])}, "equity: open_time is not strictly increasing"),
        ({"equity": level(hours("2024-06-03", 10), np.nan)}, "equity: nan at 2024-06-03 00:00:00.00:00 is not an amount"),
        ({"initial": 0}, "initial = 0 is not a balance"),
        (
            {"trades": trade(("2024-06-03 00:30", "2024-06-03 01:00", 1))},
            "trades: row 0 enters or leaves at a time that is no bar",
        ),
        ({"trades": trade(("2024-06-03 02:00", "2024-06-03 01:00", 1))}, "trades: row 0 enters before"),
        ({"trades": trade(*[("2024-06-03 01:00", "2024-06-03 03:00", 0)] * 2)}, "trades: row 1 enters before"),
        (
            {"trades": trade(("2024-06-03 01:00", "2024-06-03 02:00", 7), ("2024-06-03 04:00", "2024-06-03 05:00", 0))},
            "equity: 100000 at 2024-06-03 02:00:00.00:00, where initial and the closed trades give 100007",
        ),
    ],
)
def test_books_that_contradict_each_other_are_refused(change, message):
    flat = level(hours("2024-06-03", 10))
    books = {"equity": flat, "worst_equity": change.get("equity", flat), "trades": NOBODY, "rules": FTMO, "initial": START}
    with pytest.raises(DataContractError, match=message):
        challenge(**(books | change))


@pytest.mark.parametrize(
    "wrong",
    [{"timezone": "Europe/Praha"}, {"daily_loss": 0}, {"total_loss": 1}, {"profit_targets": ()}, {"profit_targets": (0.1, 0)}],
)
def test_rules_without_meaning_are_no_setting(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        PropFirmRules(**wrong)


def exact_odds(up, down, rules, max_days):
    """Pass probability of days that gain `up` or `down` with equal chance, an hour's trade on each, by recursion."""

    @cache
    def passes(step, days, wins, left):
        balance = (1 + up) ** wins * (1 + down) ** (days - wins)
        if days and balance - 1 >= rules.profit_targets[step] - 1e-9 and days >= rules.min_trading_days:
            return 1.0 if step + 1 == len(rules.profit_targets) else passes(step + 1, 0, 0, left)
        if left == 0:
            return 0.0
        after_loss = balance * (1 + down)
        lost = balance - after_loss >= rules.daily_loss or 1 - after_loss >= rules.total_loss - 1e-9
        return 0.5 * passes(step, days + 1, wins + 1, left - 1) + (0 if lost else 0.5 * passes(step, days + 1, wins, left - 1))

    return passes(0, 0, 0, max_days)


@pytest.mark.parametrize(
    "rules", [FTMO, replace(FTMO, profit_targets=(0.05,)), replace(FTMO, total_loss=0.06, min_trading_days=9)]
)
def test_the_odds_of_independent_days_are_those_of_the_recursion(rules):
    equity, trades = multiplied(0.02, -0.015, 40)
    odds = challenge_odds(equity, equity, trades, rules, initial=START, block_days=1, n_paths=20_000, max_days=60, seed=5)
    assert odds.pass_probability == pytest.approx(exact_odds(0.02, -0.015, rules, 60), abs=4 * 0.5 / math.sqrt(20_000))


def multiplied(up, down, days):
    """As many winning as losing days, in turn."""
    balance = START * np.cumprod(np.where(np.arange(days) % 2 == 0, 1 + up, 1 + down))
    return one_a_day(*np.diff(np.r_[START, balance]), start="2024-06-03 08:00")


def lived_slowly(days, rows, rules):
    """One path after the other, one day after the other."""
    for path in rows.T:
        balance, step, traded = 1.0, 0, 0
        for number, day in enumerate(path, start=1):
            lost = balance * days.drop[day]
            if lost >= rules.daily_loss - 1e-9:
                yield 2, number
                break
            if 1 - balance + lost >= rules.total_loss - 1e-9:
                yield 3, number
                break
            balance *= 1 + days.gain[day]
            traded += bool(days.opened[day])
            if balance - 1 >= rules.profit_targets[step] - 1e-9 and days.closed[day] and traded >= rules.min_trading_days:
                balance, step, traded = 1.0, step + 1, 0
                if step == len(rules.profit_targets):
                    yield 1, number
                    break
        else:
            yield 0, len(path)


@pytest.mark.parametrize("seed", range(6))
def test_all_paths_at_once_end_as_each_does_alone(seed):
    rng = np.random.default_rng(seed)
    gain = rng.normal(0.002, 0.02, 50)
    days = AccountDays(
        gain=gain,
        drop=np.maximum(-gain, 0) + rng.exponential(0.004, 50),
        opened=rng.random(50) < 0.7,
        closed=rng.random(50) < 0.8,
    )
    rows = _stationary_rows(50, 4.0, (90, 200), rng)
    ended, took = _live(days, rows, FTMO)
    assert list(zip(ended.tolist(), took.tolist(), strict=True)) == list(lived_slowly(days, rows, FTMO))
    assert set(ended.tolist()) == {0, 1, 2, 3} or seed


def test_blocks_are_of_the_length_asked_for_and_every_day_is_as_likely():
    rows = _stationary_rows(30, 5.0, (2_000, 50), np.random.default_rng(0))
    follows = (rows[1:] - rows[:-1]) % 30 == 1
    assert follows.mean() == pytest.approx(0.8 + 0.2 / 30, abs=0.01)
    assert np.bincount(rows.ravel()).min() > 0.9 * rows.size / 30
    assert (_stationary_rows(7, 1e12, (20, 3), np.random.default_rng(0))[1:] != 0).any()


def test_a_steady_winner_passes_on_the_day_that_its_arithmetic_says():
    equity, trades = one_a_day(*[1_000.0] * 10, start="2024-06-02 22:00")
    steady = (equity, equity, trades)
    odds = challenge_odds(*steady, FTMO, initial=START, block_days=1, n_paths=100, max_days=100, seed=0)
    # a day gains 1,000 on 100,000 to 109,000: between 0.92 % and 1 %, hence ten or eleven days to 10 % and five or six to 5 %
    assert odds.pass_probability == 1
    assert (odds.failed_daily_loss, odds.failed_total_loss, odds.undecided) == (0, 0, 0)
    assert all(15 <= days <= 17 for days in odds.days_to_pass)
    assert all(math.isnan(days) for days in odds.days_to_fail)


def test_the_interval_is_that_of_as_many_challenges_as_the_history_holds():
    equity, trades = multiplied(0.02, -0.015, 60)
    how = {"initial": START, "block_days": 1, "max_days": 200, "seed": 3}
    few = challenge_odds(equity, equity, trades, FTMO, **how, n_paths=500)
    many = challenge_odds(equity, equity, trades, FTMO, **how, n_paths=5_000)
    assert many.effective_n == pytest.approx(few.effective_n, rel=0.1)
    assert many.effective_n < 60 / 8
    expected = wilson_interval(many.pass_probability * many.effective_n, many.effective_n)
    assert (many.pass_probability_low, many.pass_probability_high) == pytest.approx(expected)
    assert challenge_odds(equity, equity, trades, FTMO, **how, n_paths=500) == few


@pytest.mark.parametrize("wrong", [{"block_days": 0.5}, {"n_paths": 0}, {"max_days": 0}, {"block_days": math.nan}])
def test_odds_without_meaning_are_refused(wrong):
    equity, trades = one_a_day(0)
    with pytest.raises(ValueError, match="each must be at least 1"):
        challenge_odds(
            equity,
            equity,
            trades,
            FTMO,
            **({"initial": START, "block_days": 2, "n_paths": 5, "max_days": 5, "seed": 0} | wrong),
        )


def test_days_after_ruin_are_no_days():
    equity, trades = one_a_day(-START, 0, 0)
    odds = challenge_odds(equity, equity, trades, FTMO, initial=START, block_days=2, n_paths=9, max_days=9, seed=0)
    assert (odds.failed_daily_loss, odds.days_to_fail) == (1, (1, 1, 1))


@pytest.mark.parametrize("seed", [3, 4, 56])
def test_the_days_of_an_account_that_the_engine_ruined_end_with_its_ruin(seed):
    rng, time = np.random.default_rng(seed), hours("2024-01-01", 30 * 24)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, len(time))))
    opened = np.r_[100, close[:-1]]
    high, low = np.maximum(opened, close) * 1.005, np.minimum(opened, close) * 0.995
    candles = pd.DataFrame({"open": opened, "high": high, "low": low, "close": close}, index=time)
    decisions = pd.DataFrame({"signal": rng.choice([-1, 1], len(time))}, index=time)
    ruined = run_backtest(
        candles, decisions, execution=ExecutionModel(horizon=6), sizing=Sizing(initial_equity=START, max_leverage=10)
    )
    last = ruined.trades.iloc[-1]
    assert last["exit_reason"] == "ruin"
    assert START + ruined.trades["pnl"].cumsum().iloc[-1] != 0
    path = account_path(ruined.equity, ruined.worst_equity, ruined.trades, initial=START, timezone="UTC")
    days = account_days(path)
    assert len(days.gain) == (last["exit_time"].normalize() - time[0]).days + 1
    assert days.gain[-1] == pytest.approx(-1)


def test_the_gates_numbers_are_those_of_the_path_and_the_odds():
    equity, trades = multiplied(0.02, -0.015, 60)
    how = {"initial": START, "block_days": 2, "n_paths": 300, "max_days": 200, "seed": 3}
    found = rules_evidence(equity, equity, trades, FTMO, **how)
    done, odds = judged(equity, trades), challenge_odds(equity, equity, trades, FTMO, **how)
    assert found == {
        "challenge_breaches": 0,
        "challenge_pass_probability": odds.pass_probability,
        "challenge_pass_probability_low": odds.pass_probability_low,
        "challenge_pass_probability_high": odds.pass_probability_high,
        "challenge_days_to_pass": odds.days_to_pass[1],
        "worst_daily_loss": done.worst_daily_loss,
        "worst_total_loss": done.worst_total_loss,
    }
    broken = one_a_day(-6_000)
    assert rules_evidence(broken[0], broken[0], broken[1], FTMO, **how)["challenge_breaches"] == 1
