"""Champion against challenger: what is compared, by whose rule, and how often luck passes it."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter
from scipy.stats import binom
from scipy.stats import t as student

from crp_pipeline.backtest import exit_table, run_backtest
from crp_pipeline.contracts import CHALLENGER, CHAMPION
from crp_pipeline.gate import GateConfig, Outcome, Stage, challenge, criteria, judge
from crp_pipeline.gate.challenge import (
    Contender,
    Margins,
    challenge_evidence,
    challenge_sentence,
    decided_in_reign,
    fresh_rounds,
    paired_evidence,
    recipe_key,
    round_length,
    with_reign,
)
from crp_pipeline.gate.comparison import with_exits
from crp_pipeline.metrics import daily_returns, e_process, mixture_e_value
from crp_pipeline.models.scoring import log_losses
from crp_pipeline.settings import ExecutionModel, ExitConfig
from crp_pipeline.shadow import fresh_frame
from crp_pipeline_tests.e2e.corridor import small_settings
from crp_pipeline_tests.random_walk import random_walk
from crp_pipeline_tests.shadows import market

HORIZON = 6
FREE = ExecutionModel(fee_bps=0, spread_bps=0, slippage_bps=0)
A, B = "a-set-1", "b-set-1"
NIGHTS = 365


@cache
def settings(horizon=HORIZON, **changes):
    return small_settings(Path("unused"), horizon=horizon, **changes)


def decided(index, signal, *, sure=0.6):
    """Decisions with these signals: `sure` of the class that was chosen."""
    signal = np.broadcast_to(np.asarray(signal, dtype=np.int64), len(index))
    p = np.full((len(index), 3), (1 - sure) / 2)
    p[np.arange(len(index)), signal + 1] = sure
    frame = pd.DataFrame(p, index=index, columns=["p_short", "p_neutral", "p_long"])
    return frame.assign(signal=signal, confidence=sure)


NOTHING = fresh_frame(())


def fresh(champion, challenger, *, reign=2, recipe=B):
    """The log's frame of two contenders' decisions."""
    of_each = ((CHAMPION, A, champion), (CHALLENGER, recipe, challenger))
    told = [it.reset_index(names="open_time").assign(role=role, recipe=key, version="v") for role, key, it in of_each]
    return pd.concat(told, ignore_index=True).assign(reign=reign)[list(NOTHING.columns)]


MARKET = market(40 * 24, seed=3, strength=1.0)
CANDLES, LABELS, TIMES = MARKET.candles, MARKET.labels, MARKET.candles.index
GUESS = np.random.default_rng(0).integers(-1, 2, len(TIMES))
CLEVER = np.sign(MARKET.features["x0"]).astype(int).to_numpy()
CHAMPIONS = Contender(A, decided(TIMES, GUESS), 2)


def evidence(tonight, champion=CHAMPIONS, told=NOTHING, **kwargs):
    return challenge_evidence(tonight, champion, told, CANDLES, LABELS, settings(), **kwargs)


# which rule applies


def test_without_a_champion_there_is_nothing_to_compare_and_nothing_fails():
    found = evidence(Contender(B, decided(TIMES, GUESS)), None)
    assert (found["has_champion"], found["same_recipe"], found["champion_margin"]) == (0, 0, 1e9)
    assert (found["paired_days"], found["fresh_pairs"], found["e_value"]) == (0, 0, 1)
    assert math.isnan(found["pnl_difference_bps_low"])
    assert found.keys() == evidence(Contender(B, decided(TIMES, GUESS))).keys()
    assert challenge_sentence(found) == "there is no champion yet, so there is nothing to compare with"


def test_a_refreshed_model_that_decides_the_same_is_not_worse():
    found = evidence(Contender(A, decided(TIMES, GUESS)))
    assert (found["same_recipe"], found["champion_margin"]) == (1, 1)
    assert found["pnl_difference_bps_low"] == found["log_loss_difference_high"] == 0
    assert "must not be worse by more than 2 bps a day or 0.01 nats" in challenge_sentence(found)


def test_a_refreshed_model_that_is_worse_in_money_or_in_nats_is_held_back():
    champion = Contender(A, decided(TIMES, CLEVER), 2)
    assert evidence(Contender(A, decided(TIMES, -CLEVER)), champion)["champion_margin"] < 0
    found = evidence(Contender(A, decided(TIMES, CLEVER, sure=0.99)), champion)
    assert found["pnl_difference_bps"] == 0
    assert found["log_loss_difference_high"] > 0.01
    assert found["champion_margin"] == pytest.approx((0.01 - found["log_loss_difference_high"]) / 0.01)


def test_the_smaller_slack_counts_in_margins():
    champion = Contender(A, decided(TIMES, CLEVER), 2)
    # every ninth bar it takes no side
    worse = decided(TIMES, np.where(np.arange(len(TIMES)) % 9, CLEVER, 0))
    found = evidence(Contender(A, worse), champion, margins=Margins(pnl_bps=500, log_loss=0.5))
    slacks = (found["pnl_difference_bps_low"] + 500) / 500, (0.5 - found["log_loss_difference_high"]) / 0.5
    assert found["champion_margin"] == min(slacks) > 0


def test_a_champion_that_kept_no_decisions_is_not_compared_and_it_is_said():
    found = evidence(Contender(A, decided(TIMES, GUESS)), Contender(A, None, 2))
    assert found["paired_days"] == 0
    assert math.isnan(found["champion_margin"])
    assert "not compared" in challenge_sentence(found)


def test_a_refresh_that_is_worse_only_on_the_bars_since_the_champion_came_is_held_back():
    """Settled folds are read back: on all older bars tonight's decisions are the champion's own."""
    since = TIMES[30 * 24] <= TIMES
    champion = Contender(A, decided(TIMES[~since], CLEVER[~since]), 2)
    tonight = Contender(A, decided(TIMES, np.where(since, -CLEVER, CLEVER)))
    blind = evidence(tonight, champion)
    assert (blind["paired_days"], blind["paired_days_fresh"], blind["champion_margin"]) == (31, 0, 1)
    seen = evidence(tonight, champion, fresh(decided(TIMES[since], CLEVER[since]), decided(TIMES[:0], 0)))
    assert (seen["paired_days"], seen["paired_days_fresh"]) == (40, 10)
    assert seen["champion_margin"] < 0
    assert "on 40 days (10 fresh)" in challenge_sentence(seen)


def test_what_the_champion_kept_is_not_replaced_by_what_it_says_of_the_same_bars_later_or_in_another_reign():
    since = TIMES[30 * 24] <= TIMES
    champion = Contender(A, decided(TIMES[~since], CLEVER[~since]), 2)
    expected = decided(TIMES[~since], CLEVER[~since])[["signal", "p_short", "p_neutral", "p_long", "confidence"]]
    for told in (fresh(decided(TIMES[~since], 0), decided(TIMES, 1)), fresh(decided(TIMES, 0), decided(TIMES, 1), reign=1)):
        pd.testing.assert_frame_equal(with_reign(champion, decided_in_reign(champion, told)), expected, check_freq=False)


@pytest.mark.parametrize(("days", "is_judged"), [(0, False), (18, False), (19, True), (25, True)])
def test_a_refresh_of_a_champion_that_kept_nothing_waits_for_twenty_days_and_no_longer(days, is_judged):
    """The last decision is at 23:00 and its horizon reaches into one day more."""
    lived = TIMES[: days * 24]
    told = fresh(decided(lived, GUESS[: len(lived)]), decided(TIMES[:0], 0))
    found = evidence(Contender(A, decided(TIMES, GUESS)), Contender(A, None, 2), told)
    assert (found["paired_days_fresh"], found["champion_margin"]) == (
        days,
        pytest.approx(1 if is_judged else math.nan, nan_ok=True),
    )
    assert ("waits until 20 days" in challenge_sentence(found)) is not is_judged


def test_another_recipe_needs_the_e_value_and_nothing_else():
    told = fresh(decided(TIMES, -CLEVER), decided(TIMES, CLEVER))
    found = evidence(Contender(B, decided(TIMES, -CLEVER)), told=told)
    assert found["same_recipe"] == 0
    assert found["e_value"] == mixture_e_value(int(found["fresh_wins"]), int(found["fresh_pairs"]))
    assert found["champion_margin"] == found["e_value"] - 20 > 0
    assert "another recipe than the champion's" in challenge_sentence(found)
    for unknown in ("c-set-1", "b-set-2"):
        second = evidence(Contender(unknown, decided(TIMES, GUESS)), told=told)
        assert (second["e_value"], second["recipes_tried"], second["champion_margin"]) == (1, 2, -19.5)


def test_each_recipe_that_was_tried_in_a_reign_makes_the_proof_of_every_other_harder():
    told = fresh(decided(TIMES, -CLEVER), decided(TIMES, CLEVER))
    alone = evidence(Contender(B, None), told=told)
    others = [fresh(decided(TIMES[:1], 0), decided(TIMES[:1], 0), recipe=f"{name}-set-1") for name in "cde"]
    elsewhere = fresh(decided(TIMES[:1], 0), decided(TIMES[:1], 0), reign=1, recipe="f-set-1")
    seated = [it[it["role"] == CHALLENGER] for it in (*others, elsewhere)]
    among_four = evidence(Contender(B, None), told=pd.concat([told, *seated]))
    assert (alone["recipes_tried"], among_four["recipes_tried"]) == (1, 4)
    assert among_four["e_value"] == alone["e_value"]
    assert among_four["e_value_margin"] == alone["e_value"] / 4 - 20
    assert "needs >= 80 with 4 recipes tried in this reign" in challenge_sentence(among_four)


def test_many_small_wins_and_a_few_ruinous_losses_are_evidence_and_no_gain():
    """Thirty days of +1 bp and five of -500 bps: the signs promote, the money does not."""
    days = [np.concatenate([[0.0] * 3, [move], [0.0] * 20]) for move in [1e-4] * 30 + [-500e-4] * 5]
    bars = steps(np.concatenate(days))
    signal = np.tile(np.eye(24, dtype=int)[2], 35)
    told = fresh(decided(bars.index, 0), decided(bars.index, signal))
    labels = pd.DataFrame({"signal": 0.0, "volatility": 0.01, "label_end": bars.index, "weight": 1.0}, index=bars.index)
    found = challenge_evidence(Contender(B, None), CHAMPIONS, told, bars, labels, settings(execution=FREE))
    assert (found["fresh_pairs"], found["fresh_wins"]) == (35, 30)
    assert found["e_value_margin"] > 0
    assert found["fresh_gain_bps"] == found["fresh_difference_bps"] == pytest.approx(-70.6, abs=1)
    verdict = judge(found, [criterion for criterion in criteria(GateConfig()) if criterion.stage is Stage.CHAMPION])
    assert (verdict.outcome, verdict.first_failed.criterion.name) == (Outcome.SHADOW, "fresh_gain_bps")


@pytest.mark.parametrize("stricter", [{"min_e_value": 100.0}, {"refresh_margins": 0.5}])
@pytest.mark.parametrize("champion", [None, CHAMPIONS, Contender(B, CHAMPIONS.decisions, 2)])
def test_a_stricter_rule_holds_back_nobody_whom_it_is_not_about(champion, stricter):
    """The same decisions as the champion's pass as a first model and as a refresh, and prove nothing as another recipe."""
    found = evidence(Contender(A, decided(TIMES, GUESS)), champion)
    asked = [criterion for criterion in criteria(GateConfig(**stricter)) if criterion.stage is Stage.CHAMPION]
    needs_proof = champion is not None and champion.recipe != A
    assert judge(found, asked).outcome is (Outcome.SHADOW if needs_proof else Outcome.PROMOTE)


def test_a_recipe_is_the_settings_and_the_features():
    assert len({recipe_key("a", "1"), recipe_key("a", "2"), recipe_key("b", "1")}) == 3


@pytest.mark.parametrize("wrong", [{"pnl_bps": 0}, {"log_loss": -0.1}, {"e_value": float("nan")}])
def test_a_margin_that_is_not_positive_is_refused(wrong):
    with pytest.raises(ValueError, match="margins must be positive"):
        Margins(**wrong)


def test_an_e_value_beyond_the_largest_float_still_counts(monkeypatch):
    monkeypatch.setattr(challenge, "mixture_e_value", lambda *_: math.inf)
    assert evidence(Contender(B, decided(TIMES, GUESS)))["champion_margin"] == 1e9 - 20


# on past bars


def test_the_paired_differences_are_those_of_two_backtests_day_by_day():
    one, other = decided(TIMES, CLEVER), decided(TIMES, GUESS)
    found, house = paired_evidence(one, other, CANDLES, LABELS, settings()), settings()
    exits = exit_table(LABELS["volatility"], HORIZON, house.exits)
    daily = [
        daily_returns(
            run_backtest(CANDLES, with_exits(frame, exits), execution=house.execution, sizing=house.sizing).equity,
            initial=house.sizing.initial_equity,
        )
        for frame in (one, other)
    ]
    lost = (log_losses(one, LABELS) - log_losses(other, LABELS)).groupby(lambda time: time.floor("D")).mean()
    assert found["pnl_difference_bps"] == pytest.approx(1e4 * (daily[0] - daily[1]).mean())
    assert found["log_loss_difference"] == pytest.approx(lost.mean())
    assert found["paired_days"] == 40
    assert found["pnl_difference_bps_low"] < found["pnl_difference_bps"] < found["pnl_difference_bps_high"]


def test_only_bars_that_both_decided_are_compared_and_no_day_after_them():
    one, other = decided(TIMES, CLEVER), decided(TIMES, GUESS)
    common = TIMES[5 * 24 : 20 * 24]
    other.loc[~other.index.isin(common), "confidence"] = np.nan
    found = paired_evidence(one, other, CANDLES, LABELS, settings())
    assert found == paired_evidence(one.loc[common], other.loc[common], CANDLES, LABELS, settings())
    # the last decision is at 23:00 and its horizon reaches into the next day
    assert found["paired_days"] == 16


def test_bars_that_are_no_longer_there_are_not_compared():
    one, other = decided(TIMES, CLEVER), decided(TIMES, GUESS)
    kept = slice(5 * 24, None)
    here = CANDLES.iloc[kept], LABELS.iloc[kept]
    found = paired_evidence(one, other, *here, settings())
    assert found == paired_evidence(one.iloc[kept], other.iloc[kept], *here, settings())


def test_contenders_that_share_no_bar_are_not_compared():
    found = paired_evidence(decided(TIMES[:50], 1), decided(TIMES[50:], 1), CANDLES, LABELS, settings())
    assert found["paired_days"] == 0
    assert math.isnan(found["log_loss_difference_high"])


def test_both_are_traded_by_the_backtest_that_is_given():
    told, asked = fresh(decided(TIMES, GUESS), decided(TIMES, CLEVER)), []

    def counting(*args, **kwargs):
        asked.append(kwargs["execution"].horizon)
        return run_backtest(*args, **kwargs)

    evidence(Contender(B, decided(TIMES, GUESS)), told=told, backtest=counting)
    assert asked == [HORIZON] * 4


def test_exchanged_contenders_have_opposite_differences():
    one, other = decided(TIMES, CLEVER), decided(TIMES, GUESS)
    found, back = (paired_evidence(*pair, CANDLES, LABELS, settings()) for pair in ((one, other), (other, one)))
    for name in ("pnl_difference_bps", "log_loss_difference"):
        assert found[name] == pytest.approx(-back[name])
        assert found[f"{name}_low"] == pytest.approx(-back[f"{name}_high"])


# rounds


def steps(moves, *, start="2024-01-01"):
    """Hourly bars whose open moves by these fractions, bar by bar, and whose close is the next open."""
    opening = 100 * np.concatenate([[1.0], np.cumprod(1 + np.asarray(moves))])
    times = pd.date_range(start, periods=len(moves), freq="h", tz="UTC", name="open_time", unit="ns")
    prices = {"open": opening[:-1], "close": opening[1:]}
    bars = pd.DataFrame(prices, index=times)
    return bars.assign(high=bars.max(axis=1), low=bars.min(axis=1), volume=1.0, is_repaired=False, segment=0)


def test_a_round_is_worked_out_by_hand():
    """One decision a day, at the close of its third bar, held for six bars of +1 % or of -1 %."""
    day = np.zeros(24)
    day[3:9] = 0.01
    bars = steps(np.concatenate([day, -day, day]))
    signal = np.zeros(72, dtype=int)
    signal[[2, 26, 50]] = 1
    told = fresh(decided(bars.index, 0), decided(bars.index, signal))
    rounds = fresh_rounds(told, B, CHAMPIONS, bars, settings(execution=FREE))
    assert list(rounds.index) == list(pd.date_range("2024-01-01", periods=3, tz="UTC"))
    np.testing.assert_allclose(rounds[CHALLENGER], [1.01**6 - 1, 0.99**6 - 1, 1.01**6 - 1], rtol=1e-12)
    np.testing.assert_allclose(rounds[CHAMPION], 0, atol=1e-15)


def test_nothing_is_held_from_one_round_into_the_next():
    """The move comes in the first bars of the second day, and the decision was taken before midnight."""
    moves = np.zeros(48)
    moves[24:30] = 0.01
    bars = steps(moves)
    signal = np.zeros(48, dtype=int)
    signal[20] = 1
    rounds = fresh_rounds(
        fresh(decided(bars.index, 0), decided(bars.index, signal)), B, CHAMPIONS, bars, settings(execution=FREE)
    )
    np.testing.assert_allclose(rounds["difference"], 0, atol=1e-15)


def test_a_contender_pays_for_the_trade_that_its_round_closes():
    bars = steps(np.zeros(48))
    signal = np.zeros(48, dtype=int)
    signal[20] = 1
    rounds = fresh_rounds(fresh(decided(bars.index, 0), decided(bars.index, signal)), B, CHAMPIONS, bars, settings())
    assert rounds["difference"].iloc[0] == pytest.approx(-14e-4, rel=0.01)
    assert rounds["difference"].iloc[1] == 0


def test_the_last_round_is_closed_even_where_the_backtest_leaves_a_position_open():
    bars = steps(np.zeros(24))
    signal = np.zeros(24, dtype=int)
    signal[20] = 1
    told = fresh(decided(bars.index, 0), decided(bars.index, signal))
    rounds = fresh_rounds(told, B, CHAMPIONS, bars, settings(execution=ExecutionModel(close_at_end=False)))
    assert rounds["difference"].iloc[0] == pytest.approx(-14e-4, rel=0.01)


@pytest.mark.parametrize(("horizon", "days"), [(1, 1), (6, 1), (12, 1), (13, 2), (24, 2), (30, 3)])
def test_a_round_is_whole_days_and_no_shorter_than_two_horizons(horizon, days):
    assert round_length(settings(horizon)) == pd.Timedelta(days=days)


def test_a_round_that_is_not_over_does_not_count():
    told = fresh(decided(TIMES, GUESS), decided(TIMES, CLEVER))
    for n_bars in (24, 25, 47, 48):
        rounds = fresh_rounds(told, B, CHAMPIONS, CANDLES.iloc[:n_bars], settings())
        assert len(rounds) == n_bars // 24
    assert fresh_rounds(told, B, CHAMPIONS, CANDLES.iloc[:23], settings()).empty


def test_later_bars_change_no_earlier_round():
    told = fresh(decided(TIMES, GUESS), decided(TIMES, CLEVER))
    every = fresh_rounds(told, B, CHAMPIONS, CANDLES, settings())
    for n_bars in (24, 100, 333):
        then = told[told["open_time"] < TIMES[n_bars - 1]]
        found = fresh_rounds(then, B, CHAMPIONS, CANDLES.iloc[:n_bars], settings())
        np.testing.assert_allclose(found, every.iloc[: len(found)], rtol=1e-9, atol=1e-12)
        assert len(found) == n_bars // 24


def test_decisions_of_another_reign_recipe_or_role_and_of_one_contender_alone_do_not_count():
    told = fresh(decided(TIMES, GUESS), decided(TIMES, CLEVER))
    expected = fresh_rounds(told, B, CHAMPIONS, CANDLES, settings())
    others = [
        fresh(decided(TIMES, CLEVER), decided(TIMES, GUESS), reign=1),
        fresh(decided(TIMES, CLEVER), decided(TIMES, GUESS), recipe="c-set-1").query("role == 'challenger'"),
        fresh(decided(TIMES, CLEVER), decided(TIMES, GUESS), reign=3),
    ]
    pd.testing.assert_frame_equal(fresh_rounds(pd.concat([*others, told]), B, CHAMPIONS, CANDLES, settings()), expected)
    alone = told[(told["role"] == CHAMPION) | (told["open_time"] >= TIMES[10 * 24])]
    assert fresh_rounds(alone, B, CHAMPIONS, CANDLES, settings()).index[0] == TIMES[10 * 24]
    assert fresh_rounds(told.query("role == 'champion'"), B, CHAMPIONS, CANDLES, settings()).empty


def test_a_champion_without_a_confidence_is_flat_and_a_challenger_without_one_is_not_paired():
    silent = decided(TIMES, 0).assign(confidence=np.nan, p_short=np.nan, p_neutral=np.nan, p_long=np.nan)
    rounds = fresh_rounds(fresh(silent, decided(TIMES, CLEVER)), B, CHAMPIONS, CANDLES, settings())
    pd.testing.assert_frame_equal(
        rounds, fresh_rounds(fresh(decided(TIMES, 0), decided(TIMES, CLEVER)), B, CHAMPIONS, CANDLES, settings())
    )
    assert (rounds[CHAMPION] == 0).all()
    assert fresh_rounds(fresh(decided(TIMES, GUESS), silent), B, CHAMPIONS, CANDLES, settings()).empty


def test_a_round_in_which_nobody_decided_is_none():
    kept = ~pd.Series(TIMES, index=TIMES).between(TIMES[48], TIMES[95]).to_numpy()
    told = fresh(decided(TIMES[kept], GUESS[kept]), decided(TIMES[kept], CLEVER[kept]))
    rounds = fresh_rounds(told, B, CHAMPIONS, CANDLES, settings())
    assert list((rounds.index - TIMES[0]).days[:4]) == [0, 1, 4, 5]


def test_equal_rounds_are_dropped():
    told = fresh(decided(TIMES, GUESS), decided(TIMES, np.where(np.arange(len(TIMES)) < 10 * 24, GUESS, CLEVER)))
    found = evidence(Contender(B, decided(TIMES, GUESS)), told=told)
    assert (found["fresh_rounds"], found["fresh_pairs"]) == (40, 30)


# how often luck passes


def chance_to_reach(threshold, n):
    """Exact chance that the e-value of `n` throws of a fair coin ever reaches a threshold."""
    alive, crossed = {0: 1.0}, 0.0
    for throws in range(1, n + 1):
        following: dict[int, float] = {}
        for wins, chance in alive.items():
            for won in (0, 1):
                following[wins + won] = following.get(wins + won, 0.0) + chance / 2
        over = {wins for wins in following if mixture_e_value(wins, throws) >= threshold}
        crossed += sum(following[wins] for wins in over)
        alive = {wins: chance for wins, chance in following.items() if wins not in over}
    return crossed


def test_fair_rounds_reach_the_e_value_in_less_than_one_year_of_twenty():
    assert 0.01 < chance_to_reach(20, NIGHTS) < 0.05


def test_looking_every_night_at_p_below_5_percent_promotes_noise_in_a_third_of_all_years():
    """One-sided t-tests of the mean daily difference, from the fifth night on."""
    daily = np.random.default_rng(0).standard_normal((4_000, NIGHTS))
    n = np.arange(1, NIGHTS + 1)
    mean = daily.cumsum(axis=1) / n
    spread = ((daily**2).cumsum(axis=1) - n * mean**2)[:, 4:] / (n[4:] - 1)
    p = student.sf(mean[:, 4:] / np.sqrt(spread / n[4:]), n[4:] - 1)
    assert 0.32 < (p < 0.05).any(axis=1).mean() < 0.38


def persisting(n, rng, reach):
    """Gaussian noise that remembers about `reach` values."""
    keep = math.exp(-1 / reach)
    return lfilter([math.sqrt(1 - keep**2)], [1.0, -keep], rng.standard_normal(n))


def equals(seed, horizon, *, skill, days=NIGHTS):
    """A year of two contenders who see the same drift through noise of their own, each as well as the other."""
    rng = np.random.default_rng(seed)
    n = 24 * days
    drift = persisting(n, rng, horizon)
    bars = steps(0.005 * (0.3 * skill * np.concatenate([[0.0], drift[:-1]]) + rng.standard_normal(n)))
    views = [drift + persisting(n, rng, horizon) for _ in range(2)]
    signals = [np.where(np.abs(view) > 0.7, np.sign(view), 0).astype(int) for view in views]
    return bars, *(decided(bars.index, signal) for signal in signals)


def promoted_by_rounds(bars, champion, challenger, horizon):
    difference = fresh_rounds(fresh(champion, challenger), B, CHAMPIONS, bars, settings(horizon))["difference"]
    unequal = difference[difference.abs() > 1e-9]
    return e_process((unequal > 0).to_numpy()).max() >= 20


def promoted_by_bars(bars, champion, challenger, horizon):
    """What pairing each bar's own outcome would do, though neighbours share most of their horizon."""
    moved = (bars["open"].shift(-horizon - 1) / bars["open"].shift(-1) - 1).dropna()
    earned = [
        frame["signal"].loc[moved.index] * moved - 14e-4 * frame["signal"].loc[moved.index].abs()
        for frame in (challenger, champion)
    ]
    difference = earned[0] - earned[1]
    return e_process((difference[difference.abs() > 1e-12] > 0).to_numpy()).max() >= 20


@pytest.mark.parametrize(("horizon", "skill"), [(6, 0.0), (6, 1.0), (24, 0.0)])
@pytest.mark.slow
def test_an_equal_challenger_is_promoted_in_less_than_one_year_of_twenty_and_pairs_of_bars_would_promote_it(horizon, skill):
    years = [equals(seed, horizon, skill=skill) for seed in range(40)]
    by_rounds = sum(promoted_by_rounds(*year, horizon) for year in years)
    by_bars = sum(promoted_by_bars(*year, horizon) for year in years)
    assert by_rounds <= binom.ppf(0.99, len(years), 0.05)
    assert by_bars > binom.ppf(0.9999, len(years), 0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("horizon", "skill"), [(6, 0.0), (6, 1.0), (24, 0.0), (24, 1.0)])
def test_an_equal_challenger_is_seldom_promoted_in_two_hundred_years(horizon, skill):
    promoted = sum(promoted_by_rounds(*equals(seed, horizon, skill=skill), horizon) for seed in range(200))
    assert promoted <= binom.ppf(0.99, 200, 0.05)


def test_a_stop_three_times_as_wide_as_the_target_proves_nothing():
    """Against a champion that never trades, a coin behind wide stops would win most days; closed by time it does not."""

    def with_wide_stops(bars, decisions, **kwargs):
        exits = ExitConfig(stop_volatility_multiple=1.5, target_volatility_multiple=0.5)
        return run_backtest(bars, decisions.join(exit_table(pd.Series(0.01, bars.index), HORIZON, exits)), **kwargs)

    shares = {"time": [], "stops": []}
    for seed in range(6):
        rng, bars = np.random.default_rng(seed), random_walk(NIGHTS * 24, seed=seed).assign(is_repaired=False, segment=0)
        coin = np.where(rng.random(len(bars)) < 0.1, rng.choice([-1, 1], len(bars)), 0)
        told = fresh(decided(bars.index, 0), decided(bars.index, coin))
        for name, engine in (("time", run_backtest), ("stops", with_wide_stops)):
            difference = fresh_rounds(told, B, CHAMPIONS, bars, settings(), backtest=engine)["difference"]
            shares[name].append((difference[difference != 0] > 0).mean())
    assert np.mean(shares["time"]) < 0.5
    assert np.mean(shares["stops"]) > 0.52
