"""A decision knows nothing of later bars, and no score of the card does."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.candles import demo_candles
from crp_pipeline.contracts import PROBABILITIES
from crp_pipeline.models import MODEL_TYPES
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.predictor import train_on_history
from crp_pipeline.settings import DemoConfig, WalkForwardConfig
from crp_pipeline_tests.quick import quick_params

CANDLES = demo_candles("EDGE-DEMO", DemoConfig(n_bars=1_000), "1h")
SIZES = WalkForwardConfig(train_size=600, test_size=100, embargo=6)
TWO_FOLDS = replace(SIZES, test_size=200)
TREES = tuple(name for name in MODEL_TYPES if name in {"prior", "xgboost", "lightgbm", "catboost"})


def trained(candles, model_type, sizes=TWO_FOLDS):
    options = {"horizon": 6, "variant": "lightweight", "params": quick_params(model_type), "walk_forward": sizes}
    return train_on_history(candles, model_type, **options)


@pytest.fixture(scope="module")
def predictors():
    made = {}

    def get(model_type):
        if model_type not in made:
            made[model_type] = trained(CANDLES, model_type)
        return made[model_type]

    return get


def noise_after(bar):
    """The candles, with another market from the bar after `bar` on."""
    other = demo_candles("NOISE-DEMO", DemoConfig(n_bars=len(CANDLES), seed=99), "1h")
    return pd.concat([CANDLES.iloc[: bar + 1], 5 * other.iloc[bar + 1 :]])


def same(made, expected, model_type):
    """Equal to the bit for trees; sums of a network may be taken in another order in a batch of another size."""
    assert (made["signal"] == expected["signal"]).all()
    tolerance = 0 if model_type in TREES else 1e-5
    np.testing.assert_allclose(made.iloc[:, 1:].astype(float), expected.iloc[:, 1:].astype(float), rtol=0, atol=tolerance)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("bar", [297, 400, 733, 998])
def test_a_decision_is_the_same_without_the_bars_after_it(model_type, bar, predictors):
    predictor = predictors(model_type)
    same(predictor.predict(CANDLES.iloc[: bar + 1]), predictor.predict(CANDLES).iloc[: bar + 1], model_type)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_decision_does_not_change_when_later_bars_are_noise(model_type, predictors):
    predictor, bar = predictors(model_type), 500
    noisy = predictor.predict(noise_after(bar))
    same(noisy.iloc[: bar + 1], predictor.predict(CANDLES).iloc[: bar + 1], model_type)
    if not MODEL_CLASSES[model_type].is_baseline:
        assert not noisy["confidence"].iloc[bar + 1 :].equals(predictor.predict(CANDLES)["confidence"].iloc[bar + 1 :])


def test_no_out_of_fold_prediction_knows_the_bars_after_its_fold():
    """Through everything: repair, features, labels, the choice of features, early stopping."""
    bar = 799
    now, then = (trained(candles, "lightgbm", SIZES).predictions for candles in (CANDLES, noise_after(bar)))
    assert list(now["fold"].iloc[[600, 699, 700, 799, 800]]) == [0, 0, 1, 1, 2]
    columns = [*PROBABILITIES, "rounds"]
    pd.testing.assert_frame_equal(then[columns].iloc[: bar + 1], now[columns].iloc[: bar + 1], check_exact=True)
    assert not then[columns].iloc[bar + 1 :].equals(now[columns].iloc[bar + 1 :])
