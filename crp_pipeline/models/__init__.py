"""Room 5: forecasters of the next move, fitted per fold, saved without pickle.

`catalog` knows every model by name, `selection` which features each fold's models learn from, `cross_fit` gives out-of-fold
predictions, `record` keeps them and what they were made from, `study`
finds hyper-parameters before the first of them is tested, `bundle` keeps a fitted model as a folder, `export` as an ONNX
file.
"""

from crp_pipeline.models.base import Model, ModelSpec, Validation, samples_of
from crp_pipeline.models.bundle import load_bundle, save_bundle
from crp_pipeline.models.catalog import MODEL_CLASSES, MODEL_TYPES, VARIANTS, create_model
from crp_pipeline.models.cross_fit import Trained, cross_fit, train
from crp_pipeline.models.explain import LOG_ODDS, Explanation, attention_of, contrast, explain
from crp_pipeline.models.export import OnnxModel, export_onnx
from crp_pipeline.models.fold_models import FoldModel, spec_on_card, stored_fold_models
from crp_pipeline.models.forecast import fold_table
from crp_pipeline.models.ingredients import recipe_facts
from crp_pipeline.models.latency import Latency, measure_latency
from crp_pipeline.models.recall import MADE_FROM, is_on_card
from crp_pipeline.models.recipe import recipe_of
from crp_pipeline.models.record import Record
from crp_pipeline.models.selection import (
    columns_of,
    frequency_table,
    kept_table,
    quarantined_in,
    select_features,
    status_table,
    without,
)
from crp_pipeline.models.study import StudyConfig, Tried, Tuned, space_of, tune

__all__ = [
    "LOG_ODDS",
    "MADE_FROM",
    "MODEL_CLASSES",
    "MODEL_TYPES",
    "VARIANTS",
    "Explanation",
    "FoldModel",
    "Latency",
    "Model",
    "ModelSpec",
    "OnnxModel",
    "Record",
    "StudyConfig",
    "Trained",
    "Tried",
    "Tuned",
    "Validation",
    "attention_of",
    "columns_of",
    "contrast",
    "create_model",
    "cross_fit",
    "explain",
    "export_onnx",
    "fold_table",
    "frequency_table",
    "is_on_card",
    "kept_table",
    "load_bundle",
    "measure_latency",
    "quarantined_in",
    "recipe_facts",
    "recipe_of",
    "samples_of",
    "save_bundle",
    "select_features",
    "space_of",
    "spec_on_card",
    "status_table",
    "stored_fold_models",
    "train",
    "tune",
    "without",
]
