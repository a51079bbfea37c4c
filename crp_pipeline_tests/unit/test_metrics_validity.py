"""What luck explains, worked out by hand or one choice of halves at a time."""

import math
import subprocess
import sys
import tracemalloc
from itertools import combinations

import numpy as np
import pytest

from crp_pipeline.metrics import (
    deflated_sharpe_ratio,
    dependent_share_interval,
    effective_sample_size,
    expected_maximum_sharpe,
    minimum_backtest_length,
    minimum_track_record_length,
    probabilistic_sharpe_ratio,
    probability_of_backtest_overfitting,
    wilson_interval,
)

NORMAL = {"skew": 0.0, "kurtosis": 3.0}


def test_the_inference_does_not_load_scipy():
    code = "import sys, crp_pipeline.metrics as m; m.wilson_interval(1, 2); print('scipy' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "False"


def test_what_cannot_be_inferred_is_missing():
    assert math.isnan(probabilistic_sharpe_ratio(0.1, 1, **NORMAL))
    assert math.isnan(probabilistic_sharpe_ratio(math.nan, 100, **NORMAL))
    assert math.isnan(probabilistic_sharpe_ratio(1.0, 100, skew=3.0, kurtosis=3.0))
    assert math.isnan(minimum_track_record_length(math.nan, **NORMAL))
    assert math.isnan(wilson_interval(0, 0)[0])
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


@pytest.mark.parametrize("n_trials", [1.0000001, 1.01, 1.2, 1.25])
def test_hardly_more_than_a_single_trial_does_not_inflate(n_trials):
    assert expected_maximum_sharpe(n_trials, 0.01) == 0


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
        (lambda: probability_of_backtest_overfitting(np.zeros((99, 3)), n_blocks=5), "n_blocks must be even .* got 5"),
        (lambda: probability_of_backtest_overfitting(np.zeros(99)), "must be .n_periods, n_trials."),
        (lambda: effective_sample_size([1, 2], max_lag=-1), "max_lag must not be negative, got -1"),
    ],
)
def test_arguments_without_meaning_are_refused_by_their_number(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def test_effective_sample_size_of_repeated_values_is_that_of_the_distinct_ones():
    rng = np.random.default_rng(5)
    distinct = rng.normal(size=400)
    assert effective_sample_size(np.repeat(distinct, 5), max_lag=20) == pytest.approx(400, rel=0.2)
    assert effective_sample_size(distinct, max_lag=0) == 400
    assert effective_sample_size(np.tile([1.0, -1.0], 50), max_lag=3) == 100
    assert effective_sample_size(np.ones(7), max_lag=3) == 7


def test_an_interval_of_wins_in_regimes_covers_the_win_rate_as_often_as_it_says():
    """Regimes of 20 trades win 7 in 10 or 3 in 10: the plain interval misses one half three times in ten."""
    rng, runs, n = np.random.default_rng(7), 400, 1_000
    regimes = np.repeat(rng.choice([0.3, 0.7], (runs, n // 20)), 20, axis=1)
    wins = rng.random((runs, n)) < regimes
    found = [dependent_share_interval(row) for row in wins]
    covered = np.mean([low <= 0.5 <= high for _, low, high in found])
    plain = np.mean([low <= 0.5 <= high for low, high in (wilson_interval(row.sum(), n) for row in wins)])
    assert covered > 0.9
    assert plain < 0.75
    assert 200 < np.median([share.effective_n for share in found]) < 450
    independent = [dependent_share_interval(row) for row in rng.random((runs, n)) < 0.5]
    assert np.mean([low <= 0.5 <= high for _, low, high in independent]) > 0.9


def test_a_share_of_few_or_of_the_like_has_the_plain_interval():
    assert dependent_share_interval([True, False, True]) == (3, *wilson_interval(2, 3))
    assert dependent_share_interval([True] * 30) == (30, *wilson_interval(30, 30))
    assert dependent_share_interval([False]) == (1, *wilson_interval(0, 1))
    assert np.isnan(dependent_share_interval([])[1:]).all()


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


@pytest.mark.parametrize("n_trials", [2, 3, 4, 5, 8, 9, 16, 33])
def test_overfitting_of_copies_is_that_of_a_place_by_lot(n_trials):
    """An even number has half of its places at or below the median, an odd one the middle place as well."""
    copies = np.repeat(np.random.default_rng(0).normal(size=(320, 1)), n_trials, axis=1)
    assert probability_of_backtest_overfitting(copies, n_blocks=8) == pytest.approx(math.ceil(n_trials / 2) / n_trials)


def test_overfitting_of_few_worthless_trials_counts_the_middle_one():
    noise = [np.random.default_rng(seed).normal(size=(320, 3)) for seed in range(100)]
    values = [probability_of_backtest_overfitting(performance, n_blocks=8) for performance in noise]
    assert np.mean(values) == pytest.approx(2 / 3, abs=0.06)


def test_overfitting_of_two_hundred_trials_holds_little_memory():
    performance = np.random.default_rng(0).normal(size=(1_500, 200))
    tracemalloc.start()
    try:
        value = probability_of_backtest_overfitting(performance, n_blocks=16)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # 12,870 halves of 200 trials are 20.6 MB per table; the returns themselves are 2.4 MB
    assert peak < 10e6
    assert 0 < value < 1
