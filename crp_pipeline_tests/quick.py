"""Parameters that make any model of the catalogue learn in no time, whatever it is."""

from dataclasses import fields

from crp_pipeline.models.catalog import MODEL_CLASSES

SMALL = dict.fromkeys(("epochs", "lstm_epochs", "transformer_epochs", "patience", "n_threads", "n_layers"), 1) | {
    "n_rounds": 8,
    "min_leaf_rows": 20,
    "max_depth": 3,
    "window": 8,
    "chunk": 16,
    "width": 8,
}


def quick_params(model_type):
    """Those of the small values that the model has a parameter for."""
    variants = MODEL_CLASSES[model_type].variants
    known = {parameter.name for parameter in fields(variants["lightweight"])} if variants else set()
    return {name: value for name, value in SMALL.items() if name in known}
