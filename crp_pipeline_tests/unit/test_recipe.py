"""What an operator asks for, in the words of the model that is asked."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from crp_pipeline.models import recipe_of
from crp_pipeline.models.baselines import Prior
from crp_pipeline.models.catalog import MODEL_CLASSES, from_spec
from crp_pipeline.models.parameters import COUNT, Parameters, one_of
from crp_pipeline.settings import TRAINABLE


@dataclass(frozen=True, kw_only=True)
class NetworkParams(Parameters):
    rules: ClassVar = {**dict.fromkeys(("epochs", "batch_size", "window"), COUNT), "device": one_of("auto", "cpu", "cuda")}

    epochs: int = 30
    batch_size: int = 256
    window: int = 48
    device: str = "auto"


class Network(Prior):
    model_type = "network"
    variants: ClassVar = dict.fromkeys(("default", "lightweight", "deep"), NetworkParams())

    def __init__(self, params):
        self.params = params


@pytest.fixture(autouse=True)
def with_a_network(monkeypatch):
    monkeypatch.setitem(MODEL_CLASSES, "network", Network)


def asked(model_type, *, params=(), variant="default", **wishes):
    spec = recipe_of(model_type, variant, asked=wishes, params=dict(params), n_threads=2, device="auto")
    return from_spec(spec).params if MODEL_CLASSES[model_type].variants else spec


def test_the_wishes_reach_the_parameters_of_a_network():
    found = asked("network", epochs=2, batch_size=64, sequence_length=24, device="cpu")
    assert (found.epochs, found.batch_size, found.window, found.device) == (2, 64, 24, "cpu")


def test_what_is_not_wished_for_stays_as_it_is():
    assert asked("network", epochs=None, batch_size=None, sequence_length=None, device=None) == NetworkParams()


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "catboost"])
def test_epochs_of_a_booster_are_its_rounds(name):
    found = asked(name, epochs=7, variant="lightweight")
    assert (found.n_rounds, found.max_depth, found.n_threads) == (7, 3, 2)


def test_any_parameter_is_reached_by_its_own_name():
    assert asked("lightgbm", params={"l2": 1.5, "n_threads": 1}).l2 == 1.5
    assert asked("lightgbm", params={"n_threads": 1}).n_threads == 1


def test_a_model_without_parameters_needs_none():
    assert asked("prior", epochs=None).params == {}


@pytest.mark.parametrize(
    ("model_type", "wishes", "params", "told"),
    [
        ("lightgbm", {"batch_size": 64}, {}, "lightgbm has no batch_size; there are n_rounds, learning_rate, .*n_threads"),
        ("xgboost", {"sequence_length": 64}, {}, "xgboost has no sequence_length; there are n_rounds"),
        ("catboost", {"device": "cuda"}, {}, "catboost has no device; there are n_rounds"),
        ("prior", {"epochs": 3}, {}, "prior has no epochs; there are no parameters"),
        ("prior", {}, {"depth": 3}, "prior has no parameters, got depth"),
        ("lightgbm", {}, {"depth": 3}, "parameter 'depth' does not exist; there are n_rounds"),
        ("lightgbm", {"epochs": 0}, {}, "n_rounds = 0 is not allowed: it must be a whole number from 1 on"),
        ("lightgbm", {"epochs": 3}, {"n_rounds": 4}, "n_rounds of lightgbm is told twice: 3 and, in params, 4"),
        ("network", {"device": "tpu"}, {}, "device = 'tpu' is not allowed: it must be one of auto, cpu, cuda"),
    ],
)
def test_what_a_model_does_not_have_is_answered_with_what_it_has(model_type, wishes, params, told):
    with pytest.raises(ValueError, match=told):
        asked(model_type, params=params, **wishes)


def test_an_unknown_model_or_variant_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match="model_type = 'oracle' does not exist; there are prior"):
        recipe_of("oracle", asked={"epochs": 3}, params={})
    with pytest.raises(ValueError, match="variant = 'huge' does not exist; there are default"):
        recipe_of("lightgbm", "huge", asked={}, params={})


def test_a_roster_may_name_every_model_of_one_coin_that_is_no_baseline():
    kinds = {name: kind for name, kind in MODEL_CLASSES.items() if name not in {"network", "pooled_transformer"}}
    assert set(TRAINABLE) == {name for name, kind in kinds.items() if not kind.is_baseline}
