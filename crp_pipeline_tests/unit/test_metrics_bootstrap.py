"""The bootstrap against its definition, one row of one resample at a time."""

import math
from functools import partial

import numpy as np
import pytest

from crp_pipeline.metrics import block_bootstrap, block_bootstrap_interval, sharpe_ratio


def samples_of(values, **kept):
    drawn = []
    block_bootstrap(values, lambda sample: drawn.append(sample.copy()) or 0.0, **kept)
    # the first is the values themselves, which say how large a result is
    return np.array(drawn[1:])


def plain_resamples(values, block, n_resamples, seed):
    """The definition, with the draws in the order in which the library takes them."""
    rng, n, resamples = np.random.default_rng(seed), len(values), []
    for _ in range(n_resamples):
        rows, begins = rng.integers(n, size=n).tolist(), (rng.random(n) <= 1 / block).tolist()
        for i in range(1, n):
            if not begins[i]:
                rows[i] = (rows[i - 1] + 1) % n
        resamples.append([values[row] for row in rows])
    return np.array(resamples)


@pytest.mark.parametrize("block", [1, 4, 5.5, 200])
def test_resamples_are_those_of_the_definition(block):
    values = np.random.default_rng(1).normal(size=30)
    expected = plain_resamples(values, block, 25, seed=3)
    kept = {"block": block, "n_resamples": 25, "seed": 3}
    np.testing.assert_array_equal(samples_of(values, **kept), expected)
    np.testing.assert_allclose(block_bootstrap(values, np.mean, **kept), expected.mean(axis=1), rtol=1e-12)


def test_the_interval_holds_the_middle_of_the_plain_resamples():
    values = np.random.default_rng(7).normal(size=60)
    medians = np.median(plain_resamples(values, 3, 400, seed=5), axis=1)
    found = block_bootstrap_interval(values, np.median, block=3, level=0.8, n_resamples=400, seed=5)
    assert found == pytest.approx(np.quantile(medians, [0.1, 0.9]))


def test_resamples_are_blocks_that_wrap_round():
    rows = samples_of(np.arange(50.0), block=10, n_resamples=40, seed=1)
    follows = np.diff(rows, axis=1) % 50 == 1
    assert rows.shape == (40, 50)
    assert follows.mean() == pytest.approx(0.9 + 0.1 / 50, abs=0.02)


@pytest.mark.parametrize("statistic", [max, lambda sample: float(np.median(sample)), partial(np.quantile, q=0.1), sharpe_ratio])
def test_any_statistic_of_one_sample_will_do(statistic):
    values, kept = np.random.default_rng(2).normal(0.2, 1, size=40), {"block": 4, "n_resamples": 20, "seed": 3}
    expected = [statistic(sample) for sample in samples_of(values, **kept)]
    np.testing.assert_allclose(block_bootstrap(values, statistic, **kept), expected, rtol=1e-12)


def test_independent_values_have_the_standard_error_of_the_mean():
    values = np.random.default_rng(0).normal(size=400)
    means = block_bootstrap(values, np.mean, block=1, n_resamples=4_000, seed=2)
    assert means.std() == pytest.approx(values.std() / 20, rel=0.05)


def test_long_blocks_see_through_repeated_values():
    values = np.repeat(np.random.default_rng(3).normal(size=100), 10)
    means = {block: block_bootstrap(values, np.mean, block=block, n_resamples=2_000, seed=4).std() for block in (1, 60)}
    assert means[60] > 2 * means[1]


def test_nothing_is_resampled_below_two_values():
    assert len(block_bootstrap([1.0], np.mean, block=1, n_resamples=10, seed=0)) == 0
    assert all(math.isnan(end) for end in block_bootstrap_interval([1.0], np.mean, block=1, seed=0))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"block": 0.5}, "block must be at least 1, got 0.5"),
        ({"block": math.nan}, "block must be at least 1, got nan"),
        ({"block": 23, "horizon": 24}, "block must be no shorter than the horizon of 24, got 23"),
        ({"n_resamples": 0}, "n_resamples must be at least 1, got 0"),
        ({"level": 95}, "level must be between 0 and 1, got 95"),
    ],
)
def test_arguments_without_meaning_are_refused_by_their_number(wrong, named):
    with pytest.raises(ValueError, match=named):
        block_bootstrap_interval([1.0, 2.0], np.mean, **({"block": 1, "n_resamples": 1, "seed": 0} | wrong))


def test_a_block_of_the_horizon_is_long_enough():
    found = block_bootstrap([1.0, 2.0, 3.0], np.mean, block=24, horizon=24, n_resamples=5, seed=0)
    assert len(found) == 5
