"""Tests between forecasters, against regressions of statsmodels, plain loops and worthless rosters."""

import math

import numpy as np
import pytest
from arch.bootstrap import SPA, StepM
from scipy.stats import t as student
from statsmodels.regression.linear_model import OLS

from crp_pipeline.metrics import block_bootstrap, diebold_mariano, stepm_survivors, superior_predictive_ability
from crp_pipeline.metrics.comparison import _stationary_variance

KEPT = {"block": 5, "n_resamples": 500, "seed": 1}


def overlapping(rng, n, horizon):
    return np.convolve(rng.normal(size=n + horizon - 1), np.ones(horizon) / horizon, mode="valid")


def regression_statistic(difference, horizon, kernel):
    """Mean over its HAC standard error, by a regression on a constant, with the correction of Harvey et al. written out."""
    settings = {"maxlags": horizon - 1, "kernel": kernel, "use_correction": False}
    fitted = OLS(difference, np.ones_like(difference)).fit(cov_type="HAC", cov_kwds=settings)
    n, h = len(difference), horizon
    return float(fitted.params[0] / fitted.bse[0] * math.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n))


@pytest.mark.parametrize("horizon", [1, 2, 6, 24])
def test_diebold_mariano_is_the_regression_on_a_constant_with_the_small_sample_correction(horizon):
    rng = np.random.default_rng(horizon)
    a, b = rng.random(400), rng.random(400) + 0.1 * overlapping(rng, 400, horizon)
    found = diebold_mariano(a, b, horizon=horizon)
    expected = regression_statistic(a - b, horizon, "uniform")
    assert found.statistic == pytest.approx(expected, rel=1e-9)
    assert found.p_value == pytest.approx(2 * student.sf(abs(expected), 399), rel=1e-9)


def test_diebold_mariano_by_hand():
    # differences 1, 2, 3: mean 2, variance 2/3 over n; without lags the correction is (n - 1) / n
    assert diebold_mariano([2, 4, 6], [1, 2, 3], horizon=1).statistic == pytest.approx(
        2 / math.sqrt(2 / 3 / 3) * math.sqrt(2 / 3)
    )


def test_a_variance_that_is_not_positive_is_weighted_linearly():
    difference = np.tile([1.0, -1.0], 20) + 0.1
    found = diebold_mariano(difference, np.zeros(40), horizon=2)
    assert found.statistic == pytest.approx(regression_statistic(difference, 2, "bartlett"), rel=1e-9)
    assert 0 < found.p_value < 1


def test_diebold_mariano_turns_round_with_its_arguments():
    a, b = np.random.default_rng(0).random((2, 50))
    forth, back = diebold_mariano(a, b, horizon=3), diebold_mariano(b, a, horizon=3)
    assert forth.statistic == pytest.approx(-back.statistic)
    assert forth.p_value == pytest.approx(back.p_value)


@pytest.mark.parametrize(
    ("a", "b", "horizon"), [([], [], 1), ([1.0], [0.0], 1), ([2, 3, 4], [1, 2, 3], 1), ([1, 2], [2, 1], 2)]
)
def test_forecasters_that_cannot_be_compared_have_no_p_value(a, b, horizon):
    assert all(math.isnan(value) for value in diebold_mariano(a, b, horizon=horizon))


def test_equal_forecasters_are_rarely_told_apart_however_far_labels_overlap():
    rng = np.random.default_rng(4)
    found = [diebold_mariano(overlapping(rng, 300, 6), np.zeros(300), horizon=6).p_value for _ in range(400)]
    # 0.05 with a standard error of 0.011; full autocovariances reject a little too often
    assert 0.02 <= np.mean(np.array(found) < 0.05) <= 0.10


def test_the_long_run_variance_is_that_of_the_resampled_means():
    values = overlapping(np.random.default_rng(2), 200, 4)
    means = block_bootstrap(values, np.mean, block=8, n_resamples=20_000, seed=3)
    assert _stationary_variance(values[:, None], 8)[0] == pytest.approx(200 * means.var(), rel=0.03)


def studentised(returns, block):
    return returns / np.sqrt(_stationary_variance(returns, block))


def slow_ability(returns, *, block, n_resamples, seed):
    """Hansen's consistent p-value, one resample at a time, with the resamples of a plain loop."""
    n, scaled = len(returns), studentised(returns, block)
    mean = scaled.mean(axis=0)
    centre = np.where(mean >= -math.sqrt(2 * math.log(math.log(n)) / n), mean, 0.0)
    rng, above = np.random.default_rng(seed), 0
    for _ in range(n_resamples):
        rows, begins = rng.integers(n, size=n), rng.random(n) <= 1 / block
        for i in range(1, n):
            if not begins[i]:
                rows[i] = (rows[i - 1] + 1) % n
        above += (scaled[rows].mean(axis=0) - centre).max() > mean.max()
    return (1 + above) / (1 + n_resamples)


@pytest.mark.parametrize("edge", [0.0, 0.12])
def test_superior_ability_is_what_its_definition_says(edge):
    returns = np.random.default_rng(3).normal(size=(250, 4)) * [1, 5, 0.2, 2]
    returns[:, 2] += 0.2 * edge
    returns[:, 1] -= 2.0
    kept = {"block": 5, "n_resamples": 200, "seed": 9}
    found = superior_predictive_ability(np.zeros(250), returns, **kept)
    assert found.consistent == pytest.approx(slow_ability(returns, **kept), abs=1e-12)
    assert 0 < found.lower <= found.consistent <= found.upper <= 1


def test_a_noisy_candidate_does_not_hide_a_calm_one():
    rng = np.random.default_rng(0)
    calm, noisy = 0.1 + rng.normal(size=500) * 0.3, rng.normal(size=500) * 30
    returns = np.column_stack([calm, noisy])
    assert superior_predictive_ability(np.zeros(500), returns, **KEPT).consistent < 0.01
    plain = SPA(np.zeros(500), -returns, block_size=5, reps=500, seed=1)
    plain.compute()
    assert plain.pvalues["consistent"] > 0.2


def test_the_benchmark_is_what_is_taken_off():
    rng = np.random.default_rng(5)
    benchmark, returns = rng.normal(size=300), rng.normal(size=(300, 3))
    alone = superior_predictive_ability(np.zeros(300), returns - benchmark[:, None], **KEPT)
    assert superior_predictive_ability(benchmark, returns, **KEPT) == alone


def test_copies_of_the_benchmark_are_not_superior():
    benchmark = np.random.default_rng(0).normal(size=100)
    copies = np.repeat(benchmark[:, None], 3, axis=1)
    assert all(math.isnan(p) for p in superior_predictive_ability(benchmark, copies, **KEPT))
    assert stepm_survivors(benchmark, copies, **KEPT).tolist() == []
    better = np.column_stack([copies, benchmark + 1 + np.random.default_rng(1).normal(size=100)])
    assert stepm_survivors(benchmark, better, **KEPT).tolist() == [3]


@pytest.mark.parametrize("returns", [np.zeros((9, 2)), np.full((100, 2), np.nan), np.empty((100, 0))])
def test_a_roster_that_cannot_be_tested_has_no_p_value(returns):
    assert all(math.isnan(p) for p in superior_predictive_ability(np.zeros(len(returns)), returns, **KEPT))


def test_the_best_of_a_worthless_roster_is_rarely_superior():
    rng = np.random.default_rng(8)
    rosters = [rng.normal(size=(250, 12)) for _ in range(100)]
    kept = {"block": 2, "n_resamples": 200, "seed": 0}
    found = np.array([superior_predictive_ability(np.zeros(250), roster, **kept).consistent for roster in rosters])
    # 0.05 with a standard error of 0.022, where the best of twelve alone would pass about every second time
    assert (found < 0.05).mean() <= 0.12


def test_survivors_are_those_of_the_library_where_it_does_not_fail():
    rng = np.random.default_rng(2)
    returns = rng.normal([0.5, 0.0, 0.13, -0.2, 0.15], size=(400, 5))
    library = StepM(np.zeros(400), -studentised(returns, 5), block_size=5, reps=500, seed=np.random.default_rng(1))
    library.compute()
    assert stepm_survivors(np.zeros(400), returns, **KEPT).tolist() == library.superior_models
    assert 0 < len(library.superior_models) < 5


def two_deviations_from_nil(values, block):
    scaled = studentised(values[:, None], block)[:, 0]
    return scaled - scaled.mean() + 2 / math.sqrt(len(values))


def test_a_candidate_may_be_found_once_better_ones_are_set_aside():
    """Two deviations are little among six candidates and enough for one alone; `arch.bootstrap.StepM` fails on the latter."""
    rng = np.random.default_rng(4)
    others, last = rng.normal(size=(60, 5)), two_deviations_from_nil(rng.normal(size=60), block=5)
    assert stepm_survivors(np.zeros(60), np.column_stack([others, last]), **KEPT).tolist() == []
    assert stepm_survivors(np.zeros(60), np.column_stack([others + 5, last]), **KEPT).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: diebold_mariano([1], [1], horizon=0), "horizon must be at least 1, got 0"),
        (lambda: diebold_mariano([1, 2], [1], horizon=1), "both losses must be"),
        (lambda: superior_predictive_ability([1, 2], [1, 2], **KEPT), "returns .n, candidates., got .2,. and .2,."),
        (lambda: superior_predictive_ability([1], [[1]], **KEPT, horizon=24), "no shorter than the horizon of 24, got 5"),
        (lambda: stepm_survivors([1], [[1]], **KEPT, horizon=24), "no shorter than the horizon of 24, got 5"),
        (lambda: stepm_survivors([1], [[1]], **KEPT, level=1), "level must be between 0 and 1, got 1"),
    ],
)
def test_arguments_without_meaning_are_refused_by_their_number(call, named):
    with pytest.raises(ValueError, match=named):
        call()
