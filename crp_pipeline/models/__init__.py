"""Room 5: classifiers of the next move, fitted per fold, saved without pickle.

`catalog` knows every model by name, `cross_fit` gives out-of-fold predictions, `bundle` keeps a fitted model as a folder.
"""

from crp_pipeline.models.base import Model, ModelSpec, Validation
from crp_pipeline.models.bundle import load_bundle, save_bundle
from crp_pipeline.models.catalog import MODEL_TYPES, VARIANTS, create_model
from crp_pipeline.models.cross_fit import Trained, cross_fit, samples_of, train

__all__ = [
    "MODEL_TYPES",
    "VARIANTS",
    "Model",
    "ModelSpec",
    "Trained",
    "Validation",
    "create_model",
    "cross_fit",
    "load_bundle",
    "samples_of",
    "save_bundle",
    "train",
]
