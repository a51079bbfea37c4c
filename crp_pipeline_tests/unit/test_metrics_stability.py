"""Agreement of choices, against formulas found another way."""

from itertools import combinations

import numpy as np
import pytest

from crp_pipeline.metrics import mean_jaccard, selection_stability


def choices(*sets, n_items):
    return np.array([[item in chosen for item in range(n_items)] for chosen in sets])


def random_choices(n_choices, n_kept, n_items, *, seed):
    rng = np.random.default_rng(seed)
    return choices(*(set(rng.choice(n_items, n_kept, replace=False).tolist()) for _ in range(n_choices)), n_items=n_items)


def kuncheva(table):
    """Mean over pairs of (shared - k k / d) / (k - k k / d), for choices of one size k (Kuncheva 2007)."""
    d, k = table.shape[1], table[0].sum()
    pairs = [((a & b).sum() - k * k / d) / (k - k * k / d) for a, b in combinations(table, 2)]
    return np.mean(pairs)


@pytest.mark.parametrize(("n_choices", "n_kept", "n_items"), [(2, 3, 10), (5, 10, 40), (12, 50, 185), (3, 1, 4), (4, 9, 10)])
def test_stability_of_choices_of_one_size_is_kunchevas_index(n_choices, n_kept, n_items):
    for seed in range(5):
        table = random_choices(n_choices, n_kept, n_items, seed=seed)
        assert selection_stability(table) == pytest.approx(kuncheva(table), abs=1e-12)


def test_stability_of_choices_of_two_sizes_by_hand():
    # frequencies 1, 1/2, 0, 0: variance 2 * 1/4 = 1/2 of one in four items; share 3/8
    table = choices({0}, {0, 1}, n_items=4)
    assert selection_stability(table) == pytest.approx(1 - (0.5 / 4) / (3 / 8 * 5 / 8))


def test_equal_choices_are_as_stable_as_can_be():
    table = choices({1, 3}, {1, 3}, {1, 3}, n_items=9)
    assert (selection_stability(table), mean_jaccard(table)) == (1.0, 1.0)


def test_random_choices_score_nought_in_the_mean_and_their_jaccard_does_not():
    found = [selection_stability(random_choices(12, 50, 180, seed=seed)) for seed in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(200)
    assert mean_jaccard(random_choices(12, 50, 180, seed=0)) > 0.1


def test_opposite_choices_are_less_stable_than_random_ones():
    assert selection_stability(choices({0, 1}, {2, 3}, n_items=4)) == -1.0
    assert mean_jaccard(choices({0, 1}, {2, 3}, n_items=4)) == 0.0


def test_the_order_of_choices_and_items_does_not_matter():
    table, rng = random_choices(6, 4, 15, seed=3), np.random.default_rng(0)
    turned = table[rng.permutation(6)][:, rng.permutation(15)]
    assert selection_stability(turned) == pytest.approx(selection_stability(table))
    assert mean_jaccard(turned) == pytest.approx(mean_jaccard(table))


def test_jaccard_by_hand():
    # 1 of 3, 0 of 4 and 1 of 3
    assert mean_jaccard(choices({0, 1}, {1, 2}, {2, 3}, n_items=4)) == pytest.approx((1 / 3 + 0 + 1 / 3) / 3)
    assert mean_jaccard(choices(set(), set(), n_items=3)) == 1.0


@pytest.mark.parametrize(
    "table", [choices({0}, n_items=3), np.zeros((3, 4), bool), np.ones((3, 4), bool), np.zeros((2, 0), bool)]
)
def test_where_chance_could_not_disagree_stability_is_not_known(table):
    assert np.isnan(selection_stability(table))


def test_a_single_choice_has_no_jaccard():
    assert np.isnan(mean_jaccard(choices({0}, n_items=3)))


@pytest.mark.parametrize("wrong", [[True, False], [[1.0, 0.0]], [[1, 0]]])
@pytest.mark.parametrize("metric", [mean_jaccard, selection_stability])
def test_what_is_no_table_of_choices_is_refused(metric, wrong):
    with pytest.raises(ValueError, match=r"chosen must be \(choices, items\) of booleans"):
        metric(wrong)
