"""E-values against the formula in whole numbers."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.integrate import quad

from crp_pipeline.metrics import e_process, log_mixture_e_value, mixture_e_value


def exact_e_value(wins, n):
    """2 * 2^n * B * (1 - I), with the beta function by factorials and the incomplete one by its binomial sum."""
    beta = Fraction(math.factorial(wins) * math.factorial(n - wins), math.factorial(n + 1))
    upper = Fraction(sum(math.comb(n + 1, i) for i in range(wins + 1)), 2 ** (n + 1))
    return 2 * 2**n * beta * upper


@pytest.mark.parametrize("n", [0, 1, 2, 10, 60])
def test_e_values_are_the_formula_in_whole_numbers(n):
    for wins in range(n + 1):
        assert mixture_e_value(wins, n) == pytest.approx(float(exact_e_value(wins, n)), rel=1e-11)


@pytest.mark.parametrize(("wins", "n"), [(3, 8), (9, 10), (11, 20)])
def test_e_values_are_the_mean_likelihood_ratio_of_every_win_rate_above_one_half(wins, n):
    ratio, _ = quad(lambda p: (2 * p) ** wins * (2 * (1 - p)) ** (n - wins), 0.5, 1, epsabs=0)
    assert mixture_e_value(wins, n) == pytest.approx(2 * ratio, rel=1e-9)


@pytest.mark.parametrize("wins", [0, 1, 50, 3_000, 3_540, 3_600, 5_000, 6_500, 9_999, 10_000])
def test_ten_thousand_decisions_neither_overflow_nor_underflow(wins):
    exact = exact_e_value(wins, 10_000)
    expected = math.log(exact.numerator) - math.log(exact.denominator)
    assert log_mixture_e_value(wins, 10_000) == pytest.approx(expected, rel=1e-10)


def test_an_e_value_beyond_the_largest_float_is_infinite_and_its_logarithm_is_not():
    assert mixture_e_value(10_000, 10_000) == math.inf
    assert log_mixture_e_value(10_000, 10_000) == pytest.approx(10_001 * math.log(2) - math.log(10_001), rel=1e-12)


def test_the_process_holds_the_e_value_after_each_decision():
    wins = np.random.default_rng(0).random(300) < 0.4
    expected = [mixture_e_value(int(wins[:n].sum()), n) for n in range(1, 301)]
    np.testing.assert_allclose(e_process(wins), expected, rtol=1e-12)
    assert len(e_process(np.array([], dtype=bool))) == 0


def test_the_next_throw_of_a_fair_coin_changes_nothing_on_average():
    """A martingale: the mean over both ways on is the value now, to the digit."""
    for n in (0, 1, 7, 40):
        for wins in range(n + 1):
            ways = exact_e_value(wins + 1, n + 1), exact_e_value(wins, n + 1)
            assert sum(ways) / 2 == exact_e_value(wins, n)
            assert (mixture_e_value(wins + 1, n + 1) + mixture_e_value(wins, n + 1)) / 2 == pytest.approx(
                mixture_e_value(wins, n), rel=1e-11
            )


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: mixture_e_value(3, 2), "3 wins of 2 decisions are impossible"),
        (lambda: log_mixture_e_value(-1, 2), "-1 wins of 2 decisions are impossible"),
        (lambda: e_process(np.array([1, 0])), "booleans, got int64"),
        (lambda: e_process(np.ones((2, 2), dtype=bool)), "of shape .2, 2."),
    ],
)
def test_what_is_no_record_of_wins_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()
