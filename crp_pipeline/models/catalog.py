"""Every model there is, by name.

>>> create_model("lightgbm", variant="lightweight", n_rounds=50).params.n_rounds
50
"""

from collections.abc import Callable, Mapping
from typing import cast

from crp_pipeline.models.base import Model, ModelSpec
from crp_pipeline.models.baselines import Logistic, Persistence, Prior
from crp_pipeline.models.gbdt import CatBoost, LightGBM, LightGBMRegressor, XGBoost, XGBoostRegressor
from crp_pipeline.models.hybrid import Hybrid
from crp_pipeline.models.networks import (
    AttentionLstm,
    CnnLstm,
    DirectionLstm,
    LstmForecaster,
    MlpRegressor,
    StackedLstm,
    TcnAttention,
    TemporalConvolution,
    Transformer,
)
from crp_pipeline.models.parameters import Parameter, Parameters
from crp_pipeline.models.pooled_transformer import PooledTransformer

CATALOGUE: tuple[type[Model], ...] = (
    Prior,
    Persistence,
    Logistic,
    XGBoost,
    LightGBM,
    CatBoost,
    XGBoostRegressor,
    LightGBMRegressor,
    MlpRegressor,
    DirectionLstm,
    StackedLstm,
    LstmForecaster,
    CnnLstm,
    AttentionLstm,
    TemporalConvolution,
    TcnAttention,
    Transformer,
    PooledTransformer,
    Hybrid,
)
MODEL_CLASSES: Mapping[str, type[Model]] = {cls.model_type: cls for cls in CATALOGUE}
MODEL_TYPES = tuple(MODEL_CLASSES)
VARIANTS = ("default", "lightweight", "deep")


def create_model(model_type: str, *, variant: str = "default", **params: Parameter) -> Model:
    """An unfitted model; raises `ValueError` that says what is allowed for an unknown type, variant, parameter or value.

    A model without parameters is the same in every variant.
    """
    kind = MODEL_CLASSES.get(model_type)
    if kind is None:
        raise ValueError(f"model_type = {model_type!r} does not exist; there are {', '.join(MODEL_TYPES)}")
    if variant not in VARIANTS:
        raise ValueError(f"variant = {variant!r} does not exist; there are {', '.join(VARIANTS)}")
    if kind.variants:
        return cast("Callable[[Parameters], Model]", kind)(kind.variants[variant].but(params))
    if params:
        raise ValueError(f"{model_type} has no parameters, got {', '.join(params)}")
    return kind()


def from_spec(spec: ModelSpec, **params: Parameter) -> Model:
    """An unfitted model of a recipe, with some parameters replaced."""
    return create_model(spec.model_type, variant=spec.variant, **{**spec.params, **params})
