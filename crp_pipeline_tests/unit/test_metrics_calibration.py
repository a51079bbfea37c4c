"""The parts of a Brier score, and what calibration errors are by chance alone."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from crp_pipeline.metrics import binary_brier_score, brier_decomposition, tier_calibration_error, tier_calibration_floor


def test_the_parts_of_a_brier_score_by_hand():
    # one bin of 0.2s of which one in four comes, one of 0.7 and 0.9 which both come
    parts = brier_decomposition([0.2, 0.2, 0.2, 0.2, 0.7, 0.9], [0, 0, 0, 1, 1, 1], n_bins=2)
    assert parts.reliability == pytest.approx((4 * 0.05**2 + 2 * 0.2**2) / 6)
    assert parts.resolution == pytest.approx((4 * 0.25**2 + 2 * 0.5**2) / 6)
    assert parts.uncertainty == pytest.approx(0.25)
    assert parts.within_bin_variance == pytest.approx(2 * 0.1**2 / 6)
    assert parts.within_bin_covariance == pytest.approx(0)
    assert parts.brier_score == pytest.approx((3 * 0.04 + 0.64 + 0.09 + 0.01) / 6)


def test_forecasts_that_differ_within_a_bin_earn_their_covariance():
    parts = brier_decomposition([0.1, 0.9], [0, 1], n_bins=1)
    assert (parts.reliability, parts.resolution) == pytest.approx((0, 0))
    assert parts.within_bin_covariance == pytest.approx(0.4)
    assert parts.brier_score == pytest.approx(binary_brier_score([0.1, 0.9], [0, 1]))


def test_the_parts_of_nothing_are_missing():
    assert math.isnan(brier_decomposition([], []).brier_score)


def exact_floor(p, n, level):
    """Mean and quantile of |hits / n - p| over the binomial distribution of the hits of one tier."""
    gap, chance = np.abs(np.arange(n + 1) / n - p), binom.pmf(np.arange(n + 1), n, p)
    order = np.argsort(gap)
    reached = np.searchsorted(np.cumsum(chance[order]), level)
    return gap @ chance, gap[order][reached]


@pytest.mark.parametrize(("p", "n"), [(0.6, 40), (0.55, 301), (0.9, 25)])
@pytest.mark.parametrize("weighting", ["none", "n", "max"])
def test_the_floor_of_one_tier_is_that_of_the_binomial_distribution(p, n, weighting):
    found = tier_calibration_floor(np.full(n, p), np.full(n, "a"), weighting=weighting, n_draws=20_000, seed=1)
    mean, upper = exact_floor(p, n, 0.95)
    assert found.mean == pytest.approx(mean, rel=0.03)
    # hits are whole numbers: one more or less is 1 / n
    assert found.upper == pytest.approx(upper, abs=1.01 / n)


@pytest.mark.parametrize("weighting", ["none", "n", "max"])
def test_the_floor_is_the_error_of_honest_forecasts_drawn_one_by_one(weighting):
    rng = np.random.default_rng(0)
    p, tiers = rng.uniform(0.5, 0.9, 120), rng.choice(["high", "medium", "low"], 120, p=[0.1, 0.3, 0.6])
    errors = [tier_calibration_error(p, rng.random(120) < p, tiers=tiers, weighting=weighting) for _ in range(3_000)]
    found = tier_calibration_floor(p, tiers, weighting=weighting, level=0.9, n_draws=5_000, seed=3)
    assert found.mean == pytest.approx(np.mean(errors), rel=0.05)
    assert found.upper == pytest.approx(np.quantile(errors, 0.9), rel=0.06)


@pytest.mark.parametrize("weighting", ["n", "max"])
def test_the_floor_of_overlapping_labels_is_that_of_outcomes_that_come_in_runs(weighting):
    rng, run = np.random.default_rng(5), 6
    p = np.repeat(rng.uniform(0.5, 0.8, 100), run)
    tiers = np.where(p > 0.65, "high", "low")
    errors = [
        tier_calibration_error(p, np.repeat(rng.random(100) < p[::run], run), tiers=tiers, weighting=weighting)
        for _ in range(3_000)
    ]
    found = tier_calibration_floor(p, tiers, weighting=weighting, effective_share=1 / run, n_draws=4_000, seed=3)
    assert found.mean == pytest.approx(np.mean(errors), rel=0.05)
    assert found.upper == pytest.approx(np.quantile(errors, 0.95), rel=0.06)
    alone = tier_calibration_floor(p, tiers, weighting=weighting, n_draws=4_000, seed=3)
    assert found.mean == pytest.approx(alone.mean * math.sqrt(run), rel=1e-9)


def learned_on(n_rows, truth, group, rng):
    """Confidences of an honest forecaster who counted the outcomes of a slice of each group."""
    counted = np.array([rng.binomial(n, p) / n for n, p in zip(n_rows, truth, strict=True)])
    return counted[group]


@pytest.mark.parametrize("weighting", ["n", "max"])
def test_the_floor_of_learned_confidences_is_that_of_honest_forecasters_who_learn_them(weighting):
    rng = np.random.default_rng(8)
    n_rows, truth = np.array([200, 500]), np.array([0.6, 0.75])
    group, tiers = rng.integers(0, 2, 2_000), rng.choice(["high", "low"], 2_000)
    errors = [
        tier_calibration_error(
            learned_on(n_rows, truth, group, rng), rng.random(2_000) < truth[group], tiers=tiers, weighting=weighting
        )
        for _ in range(3_000)
    ]
    told = {"weighting": weighting, "n_draws": 4_000, "seed": 3}
    found = tier_calibration_floor(truth[group], tiers, calibration_rows=n_rows[group], **told)
    assert found.mean == pytest.approx(np.mean(errors), rel=0.05)
    assert found.upper == pytest.approx(np.quantile(errors, 0.95), rel=0.06)
    exact = tier_calibration_floor(truth[group], tiers, **told)
    assert np.mean(np.array(errors) > exact.upper) > 0.25


def test_more_rows_asked_about_do_not_make_up_for_few_that_were_learned_from():
    floors = [
        tier_calibration_floor(np.full(n, 0.7), np.full(n, "a"), calibration_rows=np.full(n, 300), n_draws=2_000, seed=1).upper
        for n in (1_000, 100_000)
    ]
    # two standard deviations of a share of 0.7 among 300
    assert floors[0] > floors[1] == pytest.approx(1.96 * math.sqrt(0.21 / 300), rel=0.08)


def test_no_gap_is_wider_than_a_hit_rate_can_go():
    found = tier_calibration_floor([0.6, 0.6], ["a", "a"], effective_share=0.001, seed=0)
    assert found.upper == pytest.approx(0.6)


def test_many_rows_are_drawn_in_parts_and_certain_ones_have_no_floor():
    found = tier_calibration_floor(np.ones(3_000), np.repeat(["a", "b"], 1_500), n_draws=3_000, seed=0)
    assert (found.mean, found.upper) == (0, 0)


def test_the_floor_of_nothing_is_missing():
    assert math.isnan(tier_calibration_floor([], [], seed=0).upper)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"effective_share": 0}, "effective_share must be above 0 and at most 1, got 0"),
        ({"effective_share": 1.1}, "effective_share must be above 0 and at most 1, got 1.1"),
        ({"n_draws": 0}, "n_draws must be at least 1, got 0"),
        ({"level": 1}, "level must be between 0 and 1, got 1"),
        ({"tiers": ["a"]}, "tiers must be .2,., got .1,."),
        ({"calibration_rows": [9]}, "calibration_rows must be .2,., got .1,."),
        ({"calibration_rows": [9, 0]}, "calibration_rows must be at least 1, got 0"),
        ({"confidence": [0.5, 1.5]}, "outside"),
    ],
)
def test_arguments_without_meaning_are_refused_by_their_number(wrong, named):
    given = {"confidence": [0.5, 0.5], "tiers": ["a", "b"], "seed": 0} | wrong
    with pytest.raises(ValueError, match=named):
        tier_calibration_floor(**given)
