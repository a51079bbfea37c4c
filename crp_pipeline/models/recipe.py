"""From what an operator asks for to a recipe: the same few names for every kind of model."""

from collections.abc import Mapping
from dataclasses import fields

from crp_pipeline.models.base import ModelSpec
from crp_pipeline.models.catalog import MODEL_CLASSES, create_model
from crp_pipeline.models.parameters import Parameter

PARAMETERS_OF: Mapping[str, tuple[str, ...]] = {
    "epochs": ("epochs", "n_rounds"),
    "batch_size": ("batch_size",),
    "sequence_length": ("window",),
    "device": ("device",),
}
"""What a model may call what an operator asks for."""


def recipe_of(
    model_type: str,
    variant: str = "default",
    *,
    asked: Mapping[str, Parameter | None],
    params: Mapping[str, Parameter],
    tuned: Mapping[str, Parameter] | None = None,
    **given: Parameter,
) -> ModelSpec:
    """The recipe of a model type with these wishes, by the names of `PARAMETERS_OF`, and hyper-parameters by their own.

    A wish of None is none. `given` are hyper-parameters that a model without them ignores, such as `n_threads`; `tuned` are
    those that a study found, where nothing else is asked for. Raises `ValueError` naming what exists for a wish or
    hyper-parameter that the model type does not have or that is told twice.
    """
    has = _parameters(model_type)
    wishes = {_name(wish, has, model_type): value for wish, value in asked.items() if value is not None}
    twice = sorted(set(wishes) & set(params))
    if twice:
        raise ValueError(f"{twice[0]} of {model_type} is told twice: {wishes[twice[0]]!r} and, in params, {params[twice[0]]!r}")
    fitting = {name: value for name, value in given.items() if name in has}
    spec = ModelSpec(model_type, variant, {**(tuned or {}), **fitting, **wishes, **params})
    create_model(model_type, variant=variant, **spec.params)
    return spec


def _parameters(model_type: str) -> tuple[str, ...]:
    """Names of the hyper-parameters of a model type; none for an unknown one, which `create_model` refuses."""
    kind = MODEL_CLASSES.get(model_type)
    return tuple(it.name for it in fields(next(iter(kind.variants.values())))) if kind is not None and kind.variants else ()


def _name(wish: str, has: tuple[str, ...], model_type: str) -> str:
    """What the model type calls it."""
    found = next((name for name in PARAMETERS_OF[wish] if name in has), None)
    if found is None and model_type in MODEL_CLASSES:
        raise ValueError(f"{model_type} has no {wish}; there are {', '.join(has) or 'no parameters'}")
    return found or wish
