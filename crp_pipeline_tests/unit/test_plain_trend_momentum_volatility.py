"""Every feature of trend, momentum and volatility is what its description says: the same in plain pandas."""

import numpy as np
import pytest

from crp_pipeline.features import compute_features
from crp_pipeline.features.momentum import MOMENTUM
from crp_pipeline.features.trend import TREND
from crp_pipeline.features.volatility import VOLATILITY
from crp_pipeline_tests.plain.bars import PlainBars
from crp_pipeline_tests.plain.momentum import PLAIN as PLAIN_MOMENTUM
from crp_pipeline_tests.plain.trend import PLAIN as PLAIN_TREND
from crp_pipeline_tests.plain.volatility import PLAIN as PLAIN_VOLATILITY
from crp_pipeline_tests.random_walk import random_walk

CANDLES = random_walk(900, seed=21)
FEATURES = (*TREND, *MOMENTUM, *VOLATILITY)
PLAIN = PLAIN_TREND | PLAIN_MOMENTUM | PLAIN_VOLATILITY


@pytest.fixture(scope="module")
def table():
    return compute_features(CANDLES, FEATURES)


def test_every_feature_has_a_plain_version_and_every_plain_version_a_feature():
    for family, plain in ((TREND, PLAIN_TREND), (MOMENTUM, PLAIN_MOMENTUM), (VOLATILITY, PLAIN_VOLATILITY)):
        assert sorted(plain) == sorted(feature.name for feature in family)


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_value_equals_the_plain_pandas_formula_on_every_ready_row(feature, table):
    ready = slice(feature.bars_needed - 1, None)
    ours, plain = table[feature.name].iloc[ready], PLAIN[feature.name](PlainBars(CANDLES)).iloc[ready]
    assert np.isfinite(plain).all()
    assert ours.to_numpy() == pytest.approx(plain.to_numpy(), rel=1e-6, abs=1e-9)
