"""What must hold for every forecast, trade list and equity curve."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binom
from sklearn.metrics import accuracy_score, brier_score_loss, roc_auc_score

from crp_pipeline.metrics import (
    binary_brier_score,
    block_bootstrap,
    block_bootstrap_interval,
    brier_decomposition,
    brier_score,
    daily_returns,
    deflated_sharpe_ratio,
    diebold_mariano,
    directional_accuracy,
    directional_auc,
    drawdowns,
    e_process,
    effective_sample_size,
    expected_calibration_error,
    log_loss,
    log_mixture_e_value,
    max_drawdown,
    minimum_track_record_length,
    mixture_e_value,
    nearest_rank_percentile,
    probabilistic_sharpe_ratio,
    probability_of_backtest_overfitting,
    sharpe_ratio,
    sortino_ratio,
    tier_calibration_error,
    tier_calibration_floor,
    trading_session,
    wilson_interval,
)

returns = hnp.arrays(float, st.integers(3, 60), elements=st.floats(-0.25, 0.25, width=32))
seeds = st.integers(0, 2**32 - 1)
trials = st.floats(1, 1.3) | st.floats(1, 1e6)


@given(seeds, st.integers(1, 200))
def test_forecast_scores_have_their_bounds(seed, n):
    rng = np.random.default_rng(seed)
    probability, came = rng.dirichlet([0.5, 0.5, 0.5], n), rng.integers(0, 3, n)
    assert 0 <= brier_score(probability, came) <= 2
    assert log_loss(probability, came) >= 0
    # no forecast beats the one that put everything on what came
    assert brier_score(np.eye(3)[came], came) == 0


@given(seeds, st.integers(2, 200), st.integers(0, 3))
def test_scores_of_direction_and_of_classes_are_those_of_scikit_learn(seed, n, decimals):
    rng = np.random.default_rng(seed)
    score, direction = rng.normal(size=n).round(decimals), rng.choice([-1, 1], n)
    assume(len(set(direction)) == 2)
    assert directional_auc(score, direction) == pytest.approx(roc_auc_score(direction, score))
    took = score != 0
    if took.any():
        assert directional_accuracy(score[took], direction[took]) == pytest.approx(
            accuracy_score(direction[took], np.sign(score[took]))
        )
    probability, came = rng.dirichlet([1, 1, 1], n), rng.integers(0, 3, n)
    expected = brier_score_loss(came, probability, labels=[0, 1, 2], scale_by_half=False)
    assert brier_score(probability, came) == pytest.approx(expected)


@given(seeds, st.integers(2, 100))
def test_to_turn_every_score_round_turns_its_skill_round(seed, n):
    rng = np.random.default_rng(seed)
    score, direction = rng.normal(size=n).round(1), rng.choice([-1, 1], n)
    assume(len(set(direction)) == 2)
    for skill in (directional_accuracy, directional_auc):
        assert skill(-score, direction) == pytest.approx(1 - skill(score, direction))
        assert skill(np.zeros(n), direction) == 0.5
    assert directional_auc(np.exp(score), direction) == pytest.approx(directional_auc(score, direction)), "ranks alone count"


@given(seeds, st.integers(1, 300), st.integers(1, 20))
def test_calibration_error_with_one_bin_is_the_gap_of_the_means_and_more_bins_only_add(seed, n, n_bins):
    rng = np.random.default_rng(seed)
    probability, hit = rng.random(n), rng.random(n) < 0.5
    overall = abs(probability.mean() - hit.mean())
    assert expected_calibration_error(probability, hit, n_bins=1) == pytest.approx(overall, abs=1e-12)
    assert overall - 1e-12 <= expected_calibration_error(probability, hit, n_bins=n_bins) <= 1


@given(seeds, st.integers(1, 100))
def test_the_worst_tier_is_never_better_than_the_mean_tier(seed, n):
    rng = np.random.default_rng(seed)
    rows = rng.random(n), rng.random(n) < 0.5
    tiers = rng.choice(["low", "high"], n)
    none, weighted, worst = (
        tier_calibration_error(*rows, tiers=tiers, weighting=weighting) for weighting in ("none", "n", "max")
    )
    assert max(none, weighted) <= worst + 1e-12


@given(returns, st.floats(0.01, 100))
def test_sharpe_ratio_does_not_depend_on_leverage(values, leverage):
    assume(np.ptp(values) > 1e-6)
    assert sharpe_ratio(leverage * values) == pytest.approx(sharpe_ratio(values), rel=1e-6, abs=1e-9)


@given(returns)
def test_drawdown_lies_between_nothing_and_everything_and_ignores_the_unit(values):
    equity = 100 * np.cumprod(1 + values)
    assert 0 <= max_drawdown(equity) < 1
    assert max_drawdown(3 * equity) == pytest.approx(max_drawdown(equity), abs=1e-12)


@given(seeds, st.integers(1, 300), st.integers(1, 20), st.integers(0, 3))
def test_the_parts_of_a_brier_score_add_up_to_it(seed, n, n_bins, decimals):
    rng = np.random.default_rng(seed)
    probability, hit = rng.random(n).round(decimals), rng.random(n) < 0.5
    parts = brier_decomposition(probability, hit, n_bins=n_bins)
    assert parts.brier_score == pytest.approx(binary_brier_score(probability, hit), abs=1e-12)
    assert min(parts.reliability, parts.resolution, parts.within_bin_variance) >= 0
    assert 0 <= parts.uncertainty <= 0.25
    # hit rates cannot differ more than hits do
    assert parts.resolution <= parts.uncertainty + 1e-12


@given(seeds, st.integers(1, 60), st.sampled_from(["none", "n", "max"]), st.floats(0.05, 1))
def test_overlap_raises_the_floor_of_calibration_and_never_above_one(seed, n, weighting, effective_share):
    rng = np.random.default_rng(seed)
    rows = rng.random(n), rng.choice(["low", "high"], n)
    kept = {"weighting": weighting, "n_draws": 50, "seed": seed}
    alone, overlapping = (tier_calibration_floor(*rows, **kept, effective_share=share) for share in (1.0, effective_share))
    assert 0 <= alone.mean <= overlapping.mean + 1e-12
    assert alone.upper <= overlapping.upper + 1e-12
    assert overlapping.upper <= 1


@given(returns, st.floats(0.01, 100))
def test_sortino_ratio_does_not_depend_on_leverage(values, leverage):
    assume(values.min() < -1e-3)
    assert sortino_ratio(leverage * values) == pytest.approx(sortino_ratio(values), rel=1e-9, abs=1e-9)


@given(returns, st.integers(1, 48))
def test_times_below_a_peak_lie_within_the_curve(values, hours):
    times = pd.date_range("2024-03-09 17:00", periods=len(values), freq=f"{hours}h", tz="UTC")
    equity = pd.Series(100 * np.cumprod(1 + values), index=times)
    below = drawdowns(equity)
    assert 0 <= below.average_days <= below.longest_days <= (len(values) - 1) * hours / 24
    assert (below.longest_days == 0) == (below.deepest == 0)
    assert below.average <= below.deepest == max_drawdown(equity)


@given(hnp.arrays(float, st.integers(1, 60), elements=st.floats(0, 1e6)), st.integers(1, 100))
def test_a_nearest_rank_percentile_is_a_value_that_enough_others_do_not_exceed(values, percent):
    found = nearest_rank_percentile(values, percent)
    assert found in values
    assert 100 * (values <= found).sum() >= percent * len(values) > 100 * (values < found).sum()


@given(st.integers(0, 400), st.integers(0, 400))
def test_an_e_value_grows_with_every_win_and_shrinks_with_every_loss(wins, losses):
    n = wins + losses
    now = mixture_e_value(wins, n)
    assert mixture_e_value(wins, n + 1) < now < mixture_e_value(wins + 1, n + 1)
    assert now >= 1 / (n + 1) * (1 - 1e-12), "the mixture never loses more than its price"


@settings(deadline=None)
@given(st.integers(0, 3_000))
def test_the_e_value_of_a_fair_coin_is_worth_one_over_all_its_outcomes(n):
    wins = np.arange(n + 1)
    worth = binom.logpmf(wins, n, 0.5) + [log_mixture_e_value(int(k), n) for k in wins]
    assert np.exp(worth).sum() == pytest.approx(1, rel=1e-9)


def test_the_e_process_of_a_fair_coin_rarely_reaches_twenty():
    """P(sup E >= 20) <= 1/20 (Ville 1939), however long one looks."""
    rng = np.random.default_rng(0)
    paths = np.array([e_process(rng.random(500) < 0.5) for _ in range(4_000)])
    for n in (1, 10, 50, 500):
        last = paths[:, n - 1]
        assert last.mean() <= 1 + 3 * last.std() / np.sqrt(len(last))
    assert 0.005 < (paths.max(axis=1) >= 20).mean() <= 0.05


def test_the_e_process_of_a_worse_forecaster_melts_and_of_a_better_one_grows():
    rng = np.random.default_rng(1)
    worse = np.array([e_process(rng.random(500) < 0.4)[-1] for _ in range(500)])
    better = np.array([e_process(rng.random(500) < 0.6) for _ in range(500)])
    assert worse.max() < 0.1
    assert (better.max(axis=1) >= 20).mean() > 0.9
    assert np.median(better[:, -1]) > np.median(better[:, 99]) > 1


@given(hnp.arrays(float, (2, 40), elements=st.floats(0, 5, width=32)), st.integers(1, 12), st.floats(0.01, 100))
def test_forecasters_compare_alike_in_every_unit(losses, horizon, unit):
    assume(np.ptp(losses[0] - losses[1]) > 1e-3)
    found, scaled = diebold_mariano(*losses, horizon=horizon), diebold_mariano(*(unit * losses), horizon=horizon)
    assert scaled == pytest.approx(found, rel=1e-6, abs=1e-9)
    assert 0 <= found.p_value <= 1


@given(returns, st.integers(1, 48))
def test_daily_returns_compound_to_the_whole_curve(values, hours):
    times = pd.date_range("2024-03-09 17:00", periods=len(values), freq=f"{hours}h", tz="UTC")
    equity = pd.Series(100 * np.cumprod(1 + values), index=times)
    assert np.prod(1 + daily_returns(equity, initial=100.0)) == pytest.approx(equity.iloc[-1] / 100)


@given(st.floats(0.01, 0.5), st.floats(-1, 1), st.floats(3, 12), st.floats(0.6, 0.99))
def test_the_minimum_track_record_is_where_the_probability_reaches_the_level(sharpe, skew, kurtosis, level):
    n = minimum_track_record_length(sharpe, skew=skew, kurtosis=kurtosis, level=level)
    assume(n >= 2)
    assert probabilistic_sharpe_ratio(sharpe, n, skew=skew, kurtosis=kurtosis) == pytest.approx(level, abs=1e-9)


@given(st.floats(-0.5, 0.5), st.floats(-1, 1), st.floats(3, 12), trials, st.floats(0, 1))
def test_trials_never_make_a_result_more_credible(sharpe, skew, kurtosis, n_trials, trial_variance):
    shape = {"skew": skew, "kurtosis": kurtosis}
    deflated = deflated_sharpe_ratio(sharpe, 500, **shape, n_trials=n_trials, trial_variance=trial_variance)
    assert deflated <= probabilistic_sharpe_ratio(sharpe, 500, **shape)


@given(st.floats(0, 1), st.floats(1, 1e5), st.floats(0.5, 0.999))
def test_wilson_interval_holds_the_share_and_mirrors(share, n, level):
    low, high = wilson_interval(share * n, n, level=level)
    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1
    mirrored = wilson_interval(n - share * n, n, level=level)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


# the first resample imports `arch`
@settings(deadline=None)
@given(returns, st.floats(1, 30), seeds)
def test_a_bootstrap_is_repeatable_and_stays_within_the_values(values, block, seed):
    kept = {"block": block, "n_resamples": 50, "seed": seed}
    found = block_bootstrap(values, np.mean, **kept)
    assert (found == block_bootstrap(values, np.mean, **kept)).all()
    assert values.min() - 1e-9 <= found.min() <= found.max() <= values.max() + 1e-9
    low, high = block_bootstrap_interval(values, np.median, **kept)
    assert low <= high


def test_the_bootstrap_interval_covers_a_dependent_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(11)
    covered = 0
    for seed in range(200):
        values = np.convolve(rng.normal(size=520), np.ones(5) / 5, mode="valid")
        low, high = block_bootstrap_interval(values, np.mean, block=20, level=0.9, n_resamples=300, seed=seed)
        covered += low <= 0 <= high
    # 200 runs at 0.9 have a standard error of 0.02; percentile intervals of blocks run a little short
    assert 0.81 <= covered / 200 <= 0.97


@given(returns, st.integers(0, 20))
def test_the_effective_sample_is_never_larger_than_the_sample(values, max_lag):
    assert 0 < effective_sample_size(values, max_lag=max_lag) <= len(values)


@given(seeds, st.integers(2, 8), st.sampled_from([2, 4, 6]))
def test_overfitting_ignores_the_order_and_the_leverage_of_trials(seed, n_trials, n_blocks):
    rng = np.random.default_rng(seed)
    performance = rng.normal(size=(60, n_trials))
    value = probability_of_backtest_overfitting(performance, n_blocks=n_blocks)
    assert 0 <= value <= 1
    other = performance[:, rng.permutation(n_trials)] * rng.uniform(0.5, 2, n_trials)
    assert probability_of_backtest_overfitting(other, n_blocks=n_blocks) == value


@given(st.datetimes(min_value=pd.Timestamp("2000-01-01"), max_value=pd.Timestamp("2035-01-01")))
def test_the_primary_session_is_one_that_is_open(moment):
    row = trading_session(pd.DatetimeIndex([moment], tz="UTC")).iloc[0]
    names = ["tokyo", "london", "new_york"]
    assert (row["primary"] == "none") == (not row[names].any())
    assert row["primary"] == "none" or row[row["primary"]]
