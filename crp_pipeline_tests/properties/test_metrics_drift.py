"""What holds for the distance of any two samples."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crp_pipeline.metrics import ks_statistic, population_stability_index, shortfall_e_process

VALUES = st.one_of(st.floats(-1e6, 1e6), st.integers(-3, 3).map(float), st.just(float("nan")))
SAMPLES = st.lists(VALUES, min_size=1, max_size=40).map(np.array)


@given(SAMPLES, SAMPLES)
def test_no_distance_is_negative_and_that_of_a_sample_to_itself_is_nought(one, other):
    assert population_stability_index(one, other) >= 0
    assert population_stability_index(one, one) == 0
    if not np.isnan(one).all() and not np.isnan(other).all():
        assert 0 <= ks_statistic(one, other) <= 1
        assert ks_statistic(one, one) == 0


@given(SAMPLES, SAMPLES, st.randoms(use_true_random=False))
def test_the_order_of_rows_means_nothing(one, other, random):
    shuffled = [np.array(random.sample(it.tolist(), len(it))) for it in (one, other)]
    for measure in (population_stability_index, ks_statistic):
        np.testing.assert_equal(measure(*shuffled), measure(one, other))


@given(SAMPLES.filter(lambda it: not np.isnan(it).any()), st.floats(0.1, 10))
def test_a_scale_that_both_share_means_nothing_to_the_ks_statistic(one, scale):
    other = np.roll(one, 1) + 1
    assert ks_statistic(scale * one, scale * other) <= 1
    assert population_stability_index(np.sign(one), np.sign(other)) == population_stability_index(
        2 * np.sign(one), 2 * np.sign(other)
    )


@given(st.lists(st.tuples(st.floats(0.02, 0.98), st.booleans()), min_size=1, max_size=40))
def test_evidence_after_a_miss_is_more_and_after_a_hit_is_less(decisions):
    promised, hit = [it[0] for it in decisions], np.array([it[1] for it in decisions])
    evidence = np.concatenate([[1.0], shortfall_e_process(promised, hit)])
    assert (np.diff(evidence)[hit] < 0).all()
    assert (np.diff(evidence)[~hit] > 0).all()


@given(st.lists(st.tuples(st.floats(0.02, 0.98), st.booleans()), min_size=2, max_size=20), st.integers(1, 19))
def test_a_later_decision_changes_no_earlier_evidence(decisions, cut):
    promised, hit = [it[0] for it in decisions], np.array([it[1] for it in decisions])
    whole = shortfall_e_process(promised, hit)
    np.testing.assert_array_equal(shortfall_e_process(promised[:cut], hit[:cut]), whole[:cut])
