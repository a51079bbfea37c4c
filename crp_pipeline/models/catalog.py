"""Every model there is, by name.

>>> create_model("lightgbm", variant="lightweight", n_rounds=50).params.n_rounds
50
"""

from collections.abc import Mapping
from dataclasses import fields, replace

from crp_pipeline.models.base import Model, ModelSpec, Parameter
from crp_pipeline.models.baselines import Prior
from crp_pipeline.models.gbdt import VARIANTS as GBDT_VARIANTS
from crp_pipeline.models.gbdt import Booster, CatBoost, GbdtParams, LightGBM, XGBoost

MODEL_CLASSES: Mapping[str, type[Model]] = {cls.model_type: cls for cls in (Prior, XGBoost, LightGBM, CatBoost)}
MODEL_TYPES = tuple(MODEL_CLASSES)
VARIANTS = tuple(GBDT_VARIANTS)


def create_model(model_type: str, *, variant: str = "default", **params: Parameter) -> Model:
    """An unfitted model; raises `ValueError` that says what is allowed for an unknown type, variant, parameter or value."""
    kind = MODEL_CLASSES.get(model_type)
    if kind is None:
        raise ValueError(f"model_type = {model_type!r} does not exist; there are {', '.join(MODEL_TYPES)}")
    if variant not in VARIANTS:
        raise ValueError(f"variant = {variant!r} does not exist; there are {', '.join(VARIANTS)}")
    if issubclass(kind, Booster):
        return kind(_with(GBDT_VARIANTS[variant], params))
    if variant != "default":
        raise ValueError(f"variant = {variant!r} does not exist: {model_type} has no variants")
    if params:
        raise ValueError(f"{model_type} has no parameters, got {', '.join(params)}")
    return kind()


def from_spec(spec: ModelSpec, **params: Parameter) -> Model:
    """An unfitted model of a recipe, with some parameters replaced."""
    return create_model(spec.model_type, variant=spec.variant, **{**spec.params, **params})


def _with(defaults: GbdtParams, params: Mapping[str, Parameter]) -> GbdtParams:
    known = [parameter.name for parameter in fields(defaults)]
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise ValueError(f"parameter {unknown[0]!r} does not exist; there are {', '.join(known)}")
    return replace(defaults, **params)  # type: ignore[arg-type]
