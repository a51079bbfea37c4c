"""Compiled loops over windows: what they give, wherever the array starts."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.features import Family, Feature, feature_set_id, kernels

RNG = np.random.default_rng(3)
NORMAL = RNG.standard_normal(1_300)
COARSE = RNG.integers(0, 6, 1_300).astype(np.float64)  # full of ties
STILL = np.zeros(300)
WINDOWS = (2, 3, 24, 95)
SHARES = np.array([0.05, 0.5, 0.95])

KERNELS = {
    "rolling_percentile": kernels.rolling_percentile,
    "age_of_highest": kernels.age_of_highest,
    "weighted_sum": lambda values, window: kernels.weighted_sum(values, np.linspace(1.0, -0.3, window)),
    "deepest_fall": kernels.deepest_fall,
    "rolling_quantiles": lambda values, window: kernels.rolling_quantiles(values, window, SHARES)[0],
    "rolling_entropy": lambda values, window: kernels.rolling_entropy(np.abs(values).astype(np.int64), 10, window),
    "share_of_bars_across": lambda values, window: kernels.share_of_bars_across(values, values + 1, values - 1, window),
}


def _entropy(window):
    _, counts = np.unique(np.abs(window).astype(np.int64), return_counts=True)
    return -np.sum(counts / len(window) * np.log(counts / len(window)))


PLAIN = {
    "rolling_percentile": lambda w: (np.mean(w[:-1] < w[-1]) + np.mean(w[:-1] <= w[-1])) / 2,
    "age_of_highest": lambda w: w[::-1].argmax(),
    "weighted_sum": lambda w: np.sum(w[::-1] * np.linspace(1.0, -0.3, len(w))),
    "deepest_fall": lambda w: min(0.0, np.cumsum(w[::-1]).min()),
    "rolling_quantiles": lambda w: np.quantile(w, 0.05),
    "rolling_entropy": _entropy,
    "share_of_bars_across": lambda w: np.mean((w[:-1] - 1 <= w[-1]) & (w[-1] <= w[:-1] + 1)),
}
each = pytest.mark.parametrize("name", KERNELS)


@each
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("values", [NORMAL, COARSE, STILL], ids=["normal", "coarse", "still"])
def test_a_kernel_equals_a_plain_loop_over_windows(name, window, values):
    expected = pd.Series(values).rolling(window).apply(PLAIN[name], raw=True).to_numpy()
    assert KERNELS[name](values, window) == pytest.approx(expected, rel=1e-12, abs=1e-12, nan_ok=True)


@each
@pytest.mark.parametrize("start", [1, 77, 511, 512, 513, 1_000])
@pytest.mark.parametrize("values", [NORMAL, COARSE], ids=["normal", "coarse"])
def test_a_value_is_the_same_to_the_bit_wherever_the_array_starts(name, start, values):
    assert np.array_equal(KERNELS[name](values[start:], 95)[94:], KERNELS[name](values, 95)[start + 94 :])


@each
def test_a_value_is_the_same_to_the_bit_whatever_comes_later(name):
    whole = KERNELS[name](NORMAL, 95)
    for stop in (95, 600, 607, 1_299):
        assert np.array_equal(KERNELS[name](NORMAL[:stop], 95), whole[:stop], equal_nan=True)


@each
@pytest.mark.parametrize("length", [0, 1, 23])
def test_an_array_shorter_than_the_window_has_no_value(name, length):
    values = KERNELS[name](NORMAL[:length], 24)
    assert len(values) == length
    assert np.isnan(values).all()


@each
def test_a_kernel_reads_arrays_that_must_not_be_written(name):
    frozen = NORMAL.copy()
    frozen.flags.writeable = False
    assert np.array_equal(KERNELS[name](frozen, 24), KERNELS[name](NORMAL, 24), equal_nan=True)


def test_every_quantile_has_a_row():
    expected = np.array([pd.Series(NORMAL).rolling(96).quantile(share) for share in SHARES])
    assert kernels.rolling_quantiles(NORMAL, 96, SHARES) == pytest.approx(expected, nan_ok=True)


def test_an_unknown_step_is_missing_only_as_long_as_a_window_holds_it():
    steps = NORMAL.copy()
    steps[600] = np.nan
    falls = kernels.deepest_fall(steps, 95)
    assert np.flatnonzero(np.isnan(falls[94:])).tolist() == list(range(600 - 94, 600 - 94 + 95))
    assert np.array_equal(falls[695:], kernels.deepest_fall(NORMAL, 95)[695:])


def test_the_first_of_equal_highs_is_forgotten():
    assert kernels.age_of_highest(np.array([3.0, 1.0, 3.0, 2.0, 2.0, 2.0]), 3)[2:].tolist() == [0, 1, 2, 0]


@kernels._compiled
def doubled(values):
    return values * 2


@kernels._compiled
def tripled(values):
    return values * 3


def test_the_code_of_a_kernel_is_part_of_the_identity():
    def feature(kernel):
        return Feature("f", Family.TREND, 1, lambda bars: kernel(bars.close))

    assert feature_set_id([feature(doubled)]) == feature_set_id([feature(doubled)])
    assert feature_set_id([feature(doubled)]) != feature_set_id([feature(tripled)])
    assert doubled(np.arange(3.0)).tolist() == [0.0, 2.0, 4.0]


def test_importing_the_features_does_not_load_the_compiler():
    code = "import sys, crp_pipeline.features; print('numba' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "False"
