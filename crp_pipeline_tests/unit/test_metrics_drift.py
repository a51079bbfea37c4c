"""Distances between samples against numbers worked out by hand, scipy, and sums written out."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import ks_2samp

from crp_pipeline.metrics import (
    ks_of_stretches,
    ks_statistic,
    population_stability_index,
    psi_of_stretches,
    shortfall_e_process,
)
from crp_pipeline.metrics.drift import quantile_edges, stretch_starts
from crp_pipeline.metrics.sequential import STAKES


def autoregressive(n, *, memory=0.98, k=1, seed=0):
    """Columns that never change their law, and remember 1 / (1 - memory) bars."""
    rng = np.random.default_rng(seed)
    # long enough ago to have forgotten how it began
    return lfilter([1.0], [1.0, -memory], rng.standard_normal((n + 500, k)), axis=0)[500:]


def plain_psi(reference, recent, n_bins):
    """The sum over bins, written out; missing values are a bin, an empty bin counts half a row."""
    known = sorted(value for value in reference if not math.isnan(value))
    edges = [known[math.ceil(len(known) * i / n_bins) - 1] for i in range(1, n_bins)]
    bins = [(-math.inf, edges[0]), *pairwise(edges), (edges[-1], math.inf)]
    counts = [[sum(low < x <= high for x in sample) for low, high in bins] for sample in (reference, recent)]
    for sample, found in zip((reference, recent), counts, strict=True):
        found.append(sum(math.isnan(x) for x in sample))
    total = 0.0
    for old, new in zip(*counts, strict=True):
        if old or new:
            p, q = max(new, 0.5) / len(recent), max(old, 0.5) / len(reference)
            total += (p - q) * math.log(p / q)
    return total


QUARTERS = np.repeat([1.0, 2.0, 3.0, 4.0], 25)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((25, 25, 25, 25), 0.0),
        ((40, 30, 20, 10), 0.15 * math.log(1.6) + 0.05 * math.log(1.2) - 0.05 * math.log(0.8) - 0.15 * math.log(0.4)),
        # an empty bin of 100 rows counts half a row
        ((50, 50, 0, 0), 2 * 0.25 * math.log(2) + 2 * (0.005 - 0.25) * math.log(0.005 / 0.25)),
        ((0, 0, 0, 100), 0.75 * math.log(4) + 3 * (0.005 - 0.25) * math.log(0.005 / 0.25)),
    ],
)
def test_the_stability_index_is_the_number_worked_out_by_hand(counts, expected):
    recent = np.repeat([1.0, 2.0, 3.0, 4.0], counts)
    assert population_stability_index(QUARTERS, recent, n_bins=4) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_stability_index_is_the_sum_written_out(seed):
    rng = np.random.default_rng(seed)
    reference, recent = rng.standard_normal(501), rng.standard_normal(83) * 1.4 + 0.3
    reference[:7], recent[:3] = np.nan, np.nan
    found = population_stability_index(reference, recent, n_bins=10)
    assert found == pytest.approx(plain_psi(reference.tolist(), recent.tolist(), 10), rel=1e-12)


@pytest.mark.parametrize(("share", "expected"), [(0.05, 0.05), (0.95, 0.95)])
def test_a_value_more_common_than_a_bin_is_a_bin_of_its_own(share, expected):
    """Of 0 and 1 with one of them rare, quantiles are all the common one."""
    reference = np.repeat([0.0, 1.0], [round(1_000 * (1 - share)), round(1_000 * share)])
    recent = np.repeat([0.0, 1.0], [50, 50])
    by_hand = sum((0.5 - q) * math.log(0.5 / q) for q in (1 - expected, expected))
    assert population_stability_index(reference, recent) == pytest.approx(by_hand, rel=1e-9)


def test_missing_values_that_were_never_missing_are_drift():
    reference = np.arange(1_000.0)
    assert population_stability_index(reference, np.where(reference % 2 == 0, np.nan, reference)) > 1


def test_a_value_beyond_all_that_was_seen_falls_into_the_last_bin():
    reference = np.arange(100.0)
    assert population_stability_index(reference, np.full(10, 1e9)) == population_stability_index(reference, np.full(10, 99.0))


@pytest.mark.parametrize("seed", range(4))
def test_the_ks_statistic_is_scipys_and_that_of_stretches_is_scipys_against_the_rest(seed):
    values = autoregressive(400, k=2, seed=seed).round(1)
    values[::17, 1] = np.nan
    known = [column[~np.isnan(column)] for column in values.T]
    assert ks_statistic(values[:300, 1], values[300:, 1]) == pytest.approx(
        ks_2samp(*(part[~np.isnan(part)] for part in (values[:300, 1], values[300:, 1]))).statistic, rel=1e-12
    )
    starts, found = stretch_starts(400, 80), ks_of_stretches(values, 80)
    assert found.shape == (len(starts), len(known))
    for (place, start), column in product(enumerate(starts), (0, 1)):
        inside = np.zeros(400, dtype=bool)
        inside[start : start + 80] = True
        parts = [values[rows, column] for rows in (~inside, inside)]
        expected = ks_2samp(*(part[~np.isnan(part)] for part in parts)).statistic
        assert found[place, column] == pytest.approx(expected, rel=1e-9)


def test_the_index_of_a_stretch_is_that_of_the_rest_against_it_in_the_bins_of_the_whole():
    values = autoregressive(300, k=1, seed=1)
    edges = quantile_edges(values[:, 0])
    shares = [np.bincount(np.searchsorted(edges, part), minlength=10) / len(part) for part in (values[60:, 0], values[:60, 0])]
    expected = sum(
        (p - q) * math.log(p / q)
        for q, p in zip(*(np.maximum(it, 0.5 / n) for it, n in zip(shares, (240, 60), strict=True)), strict=True)
    )
    assert psi_of_stretches(values, 60)[0, 0] == pytest.approx(expected, rel=1e-9)


def test_stretches_begin_four_times_in_their_length_and_end_within_the_history():
    assert stretch_starts(100, 40).tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert stretch_starts(3, 2).tolist() == [0, 1]


def false_alarms(seeds, *, n=4_000, length=400):
    """How often scipy's p-value and the history's own stretches call drift, at 5 %, where nothing ever changed."""
    by_p, by_stretches = [], []
    for seed in seeds:
        column = autoregressive(n + length, seed=seed)
        reference, recent = column[:n, 0], column[n:, 0]
        by_p.append(ks_2samp(reference, recent).pvalue < 0.05)
        by_stretches.append(ks_statistic(reference, recent) > np.quantile(ks_of_stretches(column[:n], length), 0.95))
    return np.mean(by_p), np.mean(by_stretches)


def test_a_p_value_that_counts_bars_finds_drift_everywhere_and_the_history_itself_does_not():
    by_p, by_stretches = false_alarms(range(100))
    assert by_p > 0.8
    assert by_stretches < 0.2


@pytest.mark.parametrize("n", [1, 2, 8])
def test_no_promise_that_is_kept_raises_the_evidence_on_average(n):
    """Over all ways in which n decisions can come true, with the chances that were promised: exactly 1, and less with better."""
    promised = np.linspace(0.35, 0.8, n)
    for better, expected in ((0.0, pytest.approx(1.0, abs=1e-12)), (0.1, None)):
        chances = promised + better
        mean = 0.0
        for hits in product([False, True], repeat=n):
            weight = np.prod(np.where(hits, chances, 1 - chances))
            mean += weight * shortfall_e_process(promised, np.array(hits))[-1]
        assert mean == expected if expected is not None else mean < 1


def test_the_evidence_is_the_mixture_of_likelihood_ratios_written_out():
    promised, hits = [0.6, 0.5, 0.7], [False, True, False]
    products = []
    for stake in STAKES:
        ratio = 1.0
        for c, hit in zip(promised, hits, strict=True):
            odds = c / (1 - c) * math.exp(-stake)
            q = odds / (1 + odds)
            ratio *= q / c if hit else (1 - q) / (1 - c)
        products.append(ratio)
    assert shortfall_e_process(promised, np.array(hits))[-1] == pytest.approx(np.mean(products), rel=1e-12)


def ever_reached(hit_rate, *, promised=0.6, n=200, runs=1_000, seed=0):
    """Share of runs whose evidence ever reaches 20, looked at after each decision, and the median decision of those."""
    rng = np.random.default_rng(seed)
    first = []
    for _ in range(runs):
        evidence = shortfall_e_process(np.full(n, promised), rng.random(n) < hit_rate)
        first.append(int(np.argmax(evidence >= 20)) + 1 if evidence.max() >= 20 else n + 1)
    return float(np.mean(np.array(first) <= n)), float(np.median(first))


def test_who_looks_after_every_decision_is_alarmed_without_cause_in_fewer_than_one_of_twenty():
    alarmed, _ = ever_reached(0.6)
    assert alarmed < 1 / 20
    assert ever_reached(0.65)[0] < alarmed + 0.01


def test_an_edge_that_vanished_is_found_within_two_hundred_decisions():
    """A promise of 0.6 and a third of hits: found nearly always, and half of the time within 60 decisions one at a time."""
    alarmed, median = ever_reached(1 / 3, runs=300)
    assert alarmed > 0.99
    assert median < 60


def test_evidence_beyond_the_largest_float_is_infinite():
    assert shortfall_e_process(np.full(5_000, 0.9), np.zeros(5_000, dtype=bool))[-1] == math.inf


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: population_stability_index(np.ones((2, 2)), np.ones(2)), "reference must be .n,., got .2, 2."),
        (lambda: quantile_edges(np.arange(5.0), n_bins=1), "n_bins must be at least 2, got 1"),
        (lambda: psi_of_stretches(np.ones((5, 1)), 5), "more rows than the 5 of a stretch, got .5, 1."),
        (lambda: stretch_starts(5, 6), "a stretch must have 1 to 5 rows, got 6"),
        (lambda: shortfall_e_process([0.5, 1.0], np.array([True, False])), "between 0 and 1, got 1"),
        (lambda: shortfall_e_process([0.5], np.array([1])), "booleans, got .1,. and int64"),
        (lambda: shortfall_e_process([0.5], np.array([True, False])), "promises and hits must be"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def test_without_rows_there_is_no_distance():
    for measure in (population_stability_index, ks_statistic):
        assert math.isnan(measure([], [1.0]))
        assert math.isnan(measure([1.0], []))
    assert math.isnan(ks_statistic([math.nan], [1.0]))
