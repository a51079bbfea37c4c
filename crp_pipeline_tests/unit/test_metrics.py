"""Numbers worked out by hand."""

import doctest
import math

import numpy as np
import pandas as pd
import pytest

from crp_pipeline import metrics
from crp_pipeline.metrics import (
    SESSIONS,
    accuracy,
    binary_brier_score,
    binary_log_loss,
    brier_score,
    calibration_curve,
    daily_returns,
    directional_accuracy,
    directional_auc,
    drawdowns,
    expectancy,
    expected_calibration_error,
    log_loss,
    max_drawdown,
    payoff_ratio,
    profit_factor,
    sharpe_ratio,
    tier_calibration_error,
    trading_session,
    win_rate,
)

P = [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.25, 0.5, 0.25]]
CAME = [0, 2, 0]
NORMAL = {"skew": 0.0, "kurtosis": 3.0}


def utc(*times):
    return pd.DatetimeIndex(times, tz="UTC")


@pytest.mark.parametrize(
    "module", ["calibration", "comparison", "forecast", "latency", "performance", "sequential", "sessions", "validity"]
)
def test_the_examples_in_the_docstrings_hold(module):
    assert doctest.testmod(getattr(metrics, module)).failed == 0


# forecast


def test_log_loss_is_the_mean_negative_logarithm_of_what_came():
    assert log_loss(P, CAME) == pytest.approx(-(math.log(0.5) + math.log(0.8) + math.log(0.25)) / 3)


def test_log_loss_of_knowing_nothing_is_the_logarithm_of_the_classes():
    assert log_loss(np.full((4, 3), 1 / 3), [0, 1, 2, 1]) == pytest.approx(math.log(3))


def test_log_loss_of_the_impossible_is_finite():
    assert log_loss([[1.0, 0.0]], [1]) == pytest.approx(15 * math.log(10))


def test_accuracy_counts_the_most_probable_class():
    assert accuracy(P, CAME) == pytest.approx(2 / 3)


def test_brier_score_sums_over_classes():
    rows = [0.25 + 0.09 + 0.04, 0.01 + 0.01 + 0.04, 0.5625 + 0.25 + 0.0625]
    assert brier_score(P, CAME) == pytest.approx(sum(rows) / 3)


def test_direction_is_right_where_the_score_has_its_sign_and_half_right_where_it_has_none():
    assert directional_accuracy([0.2, -0.2, 0.1, 0.0], [1, -1, -1, 1]) == pytest.approx(2.5 / 4)


def test_the_ranks_of_direction_by_hand():
    # of the four pairs of an up and a down, two are in order, one is tied and one is not
    assert directional_auc([0.3, 0.1, 0.1, 0.2], [1, 1, -1, -1]) == pytest.approx(2.5 / 4)


@pytest.mark.parametrize("score", [directional_accuracy, directional_auc])
def test_a_direction_that_is_none_is_refused(score):
    with pytest.raises(ValueError, match="row 1 of direction is 0, neither -1 nor 1"):
        score([0.1, 0.2], [1, 0])
    with pytest.raises(ValueError, match="row 0 of score is missing"):
        score([math.nan, 0.2], [1, -1])
    with pytest.raises(ValueError, match=r"must be \(n,\)"):
        score([0.1], [1, -1])


def test_direction_of_nothing_is_missing():
    assert math.isnan(directional_accuracy([], []))
    assert math.isnan(directional_auc([], []))
    assert math.isnan(directional_auc([0.1, 0.2], [1, 1])), "no down to rank against"


def test_the_binary_forms_take_one_probability():
    assert binary_brier_score([0.8, 0.4], [1, 0]) == pytest.approx((0.04 + 0.16) / 2)
    assert binary_log_loss([0.8, 0.4], [1, 0]) == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)
    assert brier_score([[0.2, 0.8], [0.6, 0.4]], [1, 0]) == pytest.approx(2 * binary_brier_score([0.8, 0.4], [1, 0]))


@pytest.mark.parametrize(
    ("probability", "outcome", "named"),
    [
        ([[0.5, 0.6]], [0], "sums to 1.1"),
        ([[1.5, -0.5]], [0], r"1\.5"),
        ([[np.nan, 1.0]], [0], "nan"),
        ([[0.5, 0.5]], [-1], "outcome -1"),
        ([[0.5, 0.5]], [0, 1], "outcome"),
        ([0.5, 0.5], [0, 1], "probability must be"),
    ],
)
def test_probabilities_that_are_none_are_refused(probability, outcome, named):
    for score in (log_loss, accuracy, brier_score):
        with pytest.raises(ValueError, match=named):
            score(probability, outcome)


@pytest.mark.parametrize("wrong", [math.nan, -1, 2, 0.5])
def test_an_outcome_that_neither_came_nor_stayed_away_is_refused(wrong):
    for score in (binary_brier_score, binary_log_loss, expected_calibration_error, calibration_curve):
        with pytest.raises(ValueError, match=f"row 1 of hit is {wrong}, neither 0 nor 1"):
            score([1.0, 0.5], [1, wrong])
    with pytest.raises(ValueError, match="row 0 of hit"):
        tier_calibration_error([1.0, 0.5], [wrong, 1], tiers=["high", "low"])


@pytest.mark.parametrize("kind", [bool, int, float, "boolean"])
def test_an_outcome_may_be_any_kind_of_nought_and_one(kind):
    assert binary_brier_score([0.8, 0.4], pd.Series([1, 0]).astype(kind)) == pytest.approx((0.04 + 0.16) / 2)


def test_scores_of_nothing_are_missing():
    assert all(math.isnan(score(np.empty((0, 3)), [])) for score in (log_loss, accuracy, brier_score))
    assert math.isnan(binary_brier_score([], []))
    assert math.isnan(expected_calibration_error([], []))
    assert math.isnan(tier_calibration_error([], [], tiers=[], weighting="max"))


# calibration


def test_calibration_error_weighs_the_gap_of_each_bin_by_its_rows():
    probability = [0.1, 0.1, 0.1, 0.1, 0.9]
    outcome = [0, 0, 0, 1, 1]
    assert expected_calibration_error(probability, outcome) == pytest.approx(0.8 * 0.15 + 0.2 * 0.1)


def test_calibration_curve_puts_an_edge_into_the_upper_bin_and_one_into_the_last():
    curve = calibration_curve([0.0, 0.5, 1.0, 0.49], [0, 1, 1, 0], n_bins=2)
    assert curve["n"].to_list() == [2, 2]
    assert curve["low"].to_list() == [0.0, 0.5]
    assert curve["high"].to_list() == [0.5, 1.0]
    assert curve["mean_confidence"].to_list() == pytest.approx([0.245, 0.75])
    assert curve["hit_rate"].to_list() == [0.0, 1.0]


@pytest.mark.parametrize("n_bins", [7, 10, 49])
def test_calibration_edges_are_the_nearest_numbers_to_their_fractions(n_bins):
    edges = np.arange(n_bins) / n_bins
    assert calibration_curve(edges, np.zeros(n_bins), n_bins=n_bins).index.to_list() == list(range(n_bins))


@pytest.mark.parametrize(("weighting", "expected"), [("none", (0.2 + 0.1) / 2), ("n", (0.2 * 4 + 0.1) / 5), ("max", 0.2)])
def test_tier_calibration_error_weighs_tiers_as_told(weighting, expected):
    confidence = [0.7, 0.7, 0.7, 0.7, 0.9]
    hit = [1, 1, 0, 0, 1]
    tiers = ["low"] * 4 + ["high"]
    assert tier_calibration_error(confidence, hit, tiers=tiers, weighting=weighting) == pytest.approx(expected)


def test_calibration_refuses_what_makes_no_sense():
    with pytest.raises(ValueError, match="n_bins must be at least 1, got 0"):
        expected_calibration_error([0.5], [1], n_bins=0)
    with pytest.raises(ValueError, match="tiers must be"):
        tier_calibration_error([0.5], [1], tiers=["high", "low"])
    with pytest.raises(ValueError, match=r"1 probabilities are outside \[0, 1\], the first is 1.2"):
        expected_calibration_error([1.2], [1])


# performance


def test_sharpe_ratio_is_annualised_by_the_root_of_the_periods():
    returns = [0.01, 0.03, -0.01, 0.01]
    per_day = 0.01 / math.sqrt(0.0008 / 3)
    assert sharpe_ratio(returns) == pytest.approx(per_day * math.sqrt(365))
    assert sharpe_ratio(returns, periods_per_year=1) == pytest.approx(per_day)


@pytest.mark.parametrize("returns", [[], [0.01], [0.01, 0.01, 0.01]])
def test_sharpe_ratio_without_spread_is_missing(returns):
    assert math.isnan(sharpe_ratio(returns))


def test_daily_returns_compare_the_last_equity_of_each_utc_day():
    times = utc("2024-01-01 22:00", "2024-01-01 23:00", "2024-01-02 00:00", "2024-01-02 23:00", "2024-01-04 05:00")
    equity = pd.Series([100.0, 110.0, 90.0, 121.0, 133.1], index=times)
    assert daily_returns(equity).to_list() == pytest.approx([0.1, 0.0, 0.1])
    assert daily_returns(equity, initial=100.0).to_list() == pytest.approx([0.1, 0.1, 0.0, 0.1])
    assert list(daily_returns(equity).index) == list(utc("2024-01-02", "2024-01-03", "2024-01-04"))


def test_daily_returns_know_the_day_by_utc_whatever_the_zone():
    equity = pd.Series([100.0, 110.0, 121.0], index=utc("2024-01-01 12:00", "2024-01-01 23:30", "2024-01-02 23:30"))
    pd.testing.assert_series_equal(daily_returns(equity.tz_convert("Asia/Tokyo")), daily_returns(equity))
    with pytest.raises(ValueError, match="UTC"):
        daily_returns(equity.tz_localize(None))


def hourly(values):
    return pd.Series(values, index=pd.date_range("2024-01-01", periods=len(values), freq="h", tz="UTC"), dtype=float)


def test_drawdowns_are_positive_fractions_of_the_peak():
    equity = [100, 90, 100, 120, 60, 90, 130, 117]
    assert max_drawdown(equity) == drawdowns(hourly(equity)).deepest == pytest.approx(0.5)
    assert drawdowns(hourly(equity)).average == pytest.approx((0.1 + 0.5 + 0.1) / 3)


def test_a_curve_that_never_falls_has_no_drawdown():
    assert max_drawdown([1, 1, 2]) == 0
    assert drawdowns(hourly([1, 1, 2])) == (0, 0, 0, 0)
    assert math.isnan(max_drawdown([]))
    assert np.isnan(drawdowns(hourly([]))).all()


def test_trade_ratios():
    pnl = [30, -10, 0, 10, -30, -20]
    assert win_rate(pnl) == pytest.approx(2 / 6)
    assert expectancy(pnl) == pytest.approx(-20 / 6)
    assert payoff_ratio(pnl) == pytest.approx(20 / 20)
    assert profit_factor(pnl) == pytest.approx(40 / 60)


@pytest.mark.parametrize("pnl", [[], [0.0], [1.0, 2.0]])
def test_ratios_without_a_loss_are_missing(pnl):
    assert math.isnan(payoff_ratio(pnl))
    assert math.isnan(profit_factor(pnl))


def test_ratios_with_a_missing_result_are_missing():
    for ratio in (win_rate, expectancy, payoff_ratio, profit_factor):
        assert math.isnan(ratio([math.nan, 3.0, -1.0]))
    assert math.isnan(max_drawdown([100, 90, math.nan, 80]))
    assert np.isnan(drawdowns(hourly([100, 90, math.nan, 80]))).all()


def test_a_ruined_account_returns_nothing_from_the_next_day_on():
    equity = pd.Series([100.0, 0.0, 0.0, 0.0], index=pd.date_range("2024-01-01", periods=4, tz="UTC"))
    assert daily_returns(equity, initial=100.0).to_list() == [0.0, -1.0, 0.0, 0.0]
    assert max_drawdown(equity) == 1
    assert math.isfinite(sharpe_ratio(daily_returns(equity)))


# sessions

# UTC hours at which each centre opens and closes: (winter, summer)
HOURS = {"tokyo": ((0, 9), (0, 9)), "london": ((8, 17), (7, 16)), "new_york": ((13, 22), (12, 21))}


@pytest.mark.parametrize(("day", "season"), [("2024-01-15", 0), ("2024-07-15", 1), ("2024-07-13", 1)])
def test_sessions_follow_local_clocks_on_every_day_of_the_week(day, season):
    times = pd.date_range(day, periods=24, freq="h", tz="UTC")
    flags = trading_session(times)
    for name, hours in HOURS.items():
        opens, closes = hours[season]
        assert flags[name].to_list() == [opens <= hour < closes for hour in range(24)]


def test_new_york_moves_its_clock_before_london_does():
    # between 10 and 31 March 2024 New York has summer time and London has not
    flags = trading_session(utc("2024-03-20 12:00", "2024-03-20 07:00", "2024-03-09 12:00"))
    assert flags["new_york"].to_list() == [True, False, False]
    assert flags["london"].to_list() == [True, False, True]


def test_the_session_that_opened_last_is_primary():
    flags = trading_session(utc("2024-01-15 02:00", "2024-01-15 08:30", "2024-01-15 14:00", "2024-01-15 23:00"))
    assert flags["primary"].to_list() == ["tokyo", "london", "new_york", "none"]
    assert flags.columns.to_list() == [*(session.name for session in SESSIONS), "primary"]


def test_sessions_end_at_the_closing_hour():
    flags = trading_session(utc("2024-01-15 08:59:59", "2024-01-15 09:00:00"))
    assert flags["tokyo"].to_list() == [True, False]


def test_times_without_a_zone_have_no_session():
    with pytest.raises(ValueError, match="time zone"):
        trading_session(pd.DatetimeIndex(["2024-01-15"]))
