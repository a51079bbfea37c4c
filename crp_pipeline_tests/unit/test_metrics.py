"""Numbers worked out by hand."""

import doctest
import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from crp_pipeline import metrics
from crp_pipeline.metrics import (
    SESSIONS,
    accuracy,
    average_drawdown,
    binary_brier_score,
    binary_log_loss,
    block_bootstrap,
    block_bootstrap_interval,
    brier_score,
    calibration_curve,
    daily_returns,
    deflated_sharpe_ratio,
    effective_sample_size,
    expectancy,
    expected_calibration_error,
    expected_maximum_sharpe,
    log_loss,
    max_drawdown,
    minimum_backtest_length,
    minimum_track_record_length,
    payoff_ratio,
    probabilistic_sharpe_ratio,
    probability_of_backtest_overfitting,
    profit_factor,
    sharpe_ratio,
    tier_calibration_error,
    trading_session,
    wilson_interval,
    win_rate,
)

P = [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.25, 0.5, 0.25]]
CAME = [0, 2, 0]
NORMAL = {"skew": 0.0, "kurtosis": 3.0}


def utc(*times):
    return pd.DatetimeIndex(times, tz="UTC")


@pytest.mark.parametrize("module", ["calibration", "forecast", "performance", "sessions", "validity"])
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


def test_drawdowns_are_positive_fractions_of_the_peak():
    equity = [100, 90, 100, 120, 60, 90, 130, 117]
    assert max_drawdown(equity) == pytest.approx(0.5)
    assert average_drawdown(equity) == pytest.approx((0.1 + 0.5 + 0.1) / 3)


def test_a_curve_that_never_falls_has_no_drawdown():
    assert max_drawdown([1, 1, 2]) == average_drawdown([1, 1, 2]) == 0
    assert math.isnan(max_drawdown([]))
    assert math.isnan(average_drawdown([]))


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


# validity


def test_what_cannot_be_inferred_is_missing():
    assert math.isnan(probabilistic_sharpe_ratio(0.1, 1, **NORMAL))
    assert math.isnan(probabilistic_sharpe_ratio(math.nan, 100, **NORMAL))
    assert math.isnan(probabilistic_sharpe_ratio(1.0, 100, skew=3.0, kurtosis=3.0))
    assert math.isnan(minimum_track_record_length(math.nan, **NORMAL))
    assert math.isnan(wilson_interval(0, 0)[0])
    assert math.isnan(block_bootstrap_interval([1.0], np.mean, block=1, seed=0)[0])
    assert math.isnan(effective_sample_size([1.0], max_lag=3))
    assert math.isnan(probability_of_backtest_overfitting(np.zeros((100, 1))))
    assert math.isnan(probability_of_backtest_overfitting(np.zeros((31, 5)), n_blocks=16))


def test_no_record_is_long_enough_for_a_sharpe_ratio_below_the_benchmark():
    assert minimum_track_record_length(0.1, **NORMAL, benchmark=0.1) == math.inf


def test_a_single_trial_deflates_nothing():
    assert expected_maximum_sharpe(1, 0.01) == 0
    assert deflated_sharpe_ratio(0.1, 500, **NORMAL, n_trials=1, trial_variance=0.01) == probabilistic_sharpe_ratio(
        0.1, 500, **NORMAL
    )


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: expected_maximum_sharpe(0, 1.0), "n_trials must be at least 1, got 0"),
        (lambda: expected_maximum_sharpe(5, -1.0), "trial_variance must not be negative, got -1.0"),
        (lambda: minimum_backtest_length(5, 0.0), "target_sharpe must be positive, got 0.0"),
        (lambda: minimum_track_record_length(0.1, **NORMAL, level=1.0), "level must be between 0 and 1, got 1.0"),
        (lambda: wilson_interval(1, 2, level=95), "level must be between 0 and 1, got 95"),
        (lambda: wilson_interval(3, 2), "3 successes of 2"),
        (lambda: wilson_interval(0, -1), "0 successes of -1"),
        (
            lambda: block_bootstrap([1, 2], np.mean, block=0.5, n_resamples=1, seed=0),
            "block must be at least 1, got 0.5",
        ),
        (
            lambda: block_bootstrap([1, 2], np.mean, block=1, n_resamples=0, seed=0),
            "n_resamples must be at least 1, got 0",
        ),
        (lambda: probability_of_backtest_overfitting(np.zeros((99, 3)), n_blocks=5), "n_blocks must be even .* got 5"),
        (lambda: probability_of_backtest_overfitting(np.zeros(99)), "must be .n_periods, n_trials."),
        (lambda: effective_sample_size([1, 2], max_lag=-1), "max_lag must not be negative, got -1"),
    ],
)
def test_arguments_without_meaning_are_refused_by_their_number(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def test_bootstrap_resamples_are_blocks_that_wrap_round():
    def rows_as_drawn(samples, axis):
        return samples

    rows = block_bootstrap(np.arange(50.0), rows_as_drawn, block=10, n_resamples=40, seed=1)
    follows = np.diff(rows, axis=1) % 50 == 1
    assert rows.shape == (40, 50)
    assert follows.mean() == pytest.approx(0.9 + 0.1 / 50, abs=0.02)


def test_bootstrap_of_independent_values_has_the_standard_error_of_the_mean():
    values = np.random.default_rng(0).normal(size=400)
    means = block_bootstrap(values, np.mean, block=1, n_resamples=4_000, seed=2)
    assert means.std() == pytest.approx(values.std() / 20, rel=0.05)


def test_bootstrap_of_repeated_values_sees_through_the_repetition():
    values = np.repeat(np.random.default_rng(3).normal(size=60), 10)
    means = {block: block_bootstrap(values, np.mean, block=block, n_resamples=2_000, seed=4).std() for block in (1, 60)}
    assert means[60] > 2 * means[1]


def test_effective_sample_size_of_repeated_values_is_that_of_the_distinct_ones():
    rng = np.random.default_rng(5)
    distinct = rng.normal(size=400)
    assert effective_sample_size(np.repeat(distinct, 5), max_lag=20) == pytest.approx(400, rel=0.2)
    assert effective_sample_size(distinct, max_lag=0) == 400
    assert effective_sample_size(np.tile([1.0, -1.0], 50), max_lag=3) == 100
    assert effective_sample_size(np.ones(7), max_lag=3) == 7


def slow_overfitting(performance, n_blocks):
    """The definition, one choice of halves at a time."""
    blocks = np.array_split(np.arange(len(performance)), n_blocks)
    worse = []
    for chosen in combinations(range(n_blocks), n_blocks // 2):
        inside = performance[np.concatenate([blocks[b] for b in chosen])]
        outside = performance[np.concatenate([blocks[b] for b in range(n_blocks) if b not in chosen])]
        best = np.argmax(inside.mean(axis=0) / inside.std(axis=0))
        sharpe = outside.mean(axis=0) / outside.std(axis=0)
        rank = (sharpe <= sharpe[best]).sum()
        worse.append(math.log(rank / (len(sharpe) + 1 - rank)) <= 0)
    return np.mean(worse)


@pytest.mark.parametrize("seed", range(4))
def test_overfitting_is_what_its_definition_says(seed):
    performance = np.random.default_rng(seed).normal(size=(96, 7))
    expected = slow_overfitting(performance, 8)
    assert probability_of_backtest_overfitting(performance, n_blocks=8) == pytest.approx(expected, abs=1e-12)


def test_overfitting_is_nil_when_one_trial_is_truly_best():
    performance = np.random.default_rng(0).normal(size=(500, 10))
    performance[:, 3] += 1
    assert probability_of_backtest_overfitting(performance, n_blocks=10) == 0


def test_overfitting_is_certain_when_the_halves_contradict_each_other():
    calm = np.random.default_rng(0).normal(0, 0.01, (40, 2))
    calm[:20] += [1.0, -1.0]
    calm[20:] += [-1.0, 1.0]
    assert probability_of_backtest_overfitting(calm, n_blocks=2) == 1


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
