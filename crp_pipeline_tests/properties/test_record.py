"""Whatever changes, and in whatever order nights follow one another: what a record gives is what would be made from nothing."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from crp_pipeline.models import ModelSpec, Record, cross_fit
from crp_pipeline.splits import PurgedWalkForward
from crp_pipeline_tests.recording import learnable_history

FEATURES, LABELS = learnable_history(420, unlabelled=(30, 31, 250))
WALK = PurgedWalkForward(train_size=150, test_size=80, embargo=7, partial=True)
SPEC = ModelSpec("lightgbm", params={"n_rounds": 4, "max_depth": 3, "min_leaf_rows": 10, "learning_rate": 0.3, "patience": 2})

cells = st.tuples(st.sampled_from(["x0", "noise", "scale", "signal", "weight"]), st.integers(0, 399), st.floats(-2, 2))
nights = st.lists(st.tuples(st.integers(160, 400), st.lists(cells, max_size=3), st.integers(0, 1)), min_size=2, max_size=4)


def world(n_bars, changes):
    """The first bars, with some cells changed where they hold a value."""
    features, labels = FEATURES.iloc[:n_bars].copy(), LABELS.iloc[:n_bars].copy()
    for column, row, value in changes:
        if row >= n_bars or labels["signal"].isna().iloc[row]:
            continue
        if column in features:
            features.iloc[row, features.columns.get_loc(column)] = value
        else:
            told = (value > 0) - (value < 0) if column == "signal" else abs(value) / 2
            labels.iloc[row, labels.columns.get_loc(column)] = float(told)
    return features, labels


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(nights=nights)
def test_forecasts_with_a_record_are_those_without_whatever_the_nights_before_left_in_it(nights):
    with TemporaryDirectory() as home:
        record = Record(folder=Path(home), feature_set_id="fs", label_settings={})
        for n_bars, changes, seed in nights:
            features, labels = world(n_bars, changes)
            folds = WALK.split(labels.index, labels["label_end"])
            known, fresh = (cross_fit(SPEC, features, labels, folds, seed=seed, record=it) for it in (record, None))
            assert_frame_equal(known, fresh, check_exact=True)
