"""What each feature adds to a booster's raw score of a row: TreeSHAP, by each library's own implementation.

XGBoost's and LightGBM's are exact. CatBoost's adds up exactly as well, but where one tree asks of a feature several times it
parts the sum among the features of that tree a little otherwise: by less than 1% of the largest contribution in our tests.

Apart from the boosters' classes, whose code is an ingredient of every fold model that is kept: another way of explaining is no
reason to fit anything again. Source: Lundberg et al. (2020), "From local explanations to global understanding with explainable
AI for trees"; path-dependent, so that no background data is needed.
"""

from typing import Any

import numpy as np

from crp_pipeline.contracts import Floats, Samples
from crp_pipeline.errors import NotFittedError
from crp_pipeline.models.base import Floats32, table_of
from crp_pipeline.models.gbdt.booster import Booster, Regression
from crp_pipeline.models.gbdt.catboost import CatBoost
from crp_pipeline.models.gbdt.xgboost import XGBoostTrees


def contributions(model: Booster, X: Samples) -> tuple[Floats, Floats]:
    """Contributions (n, k, outputs) and the score without any feature (outputs,); together they are the raw score of each row.

    The raw score of a classifier is a number per class whose softmax is the forecast, that of a regressor the forecast itself.
    """
    library = model._learned  # noqa: SLF001 - a property of the class would be part of what a fit is made from
    if library is None:
        raise NotFittedError(f"{model.model_type} can only be explained after fit()")
    table = table_of(X)
    if isinstance(model, CatBoost):
        found = _of_catboost(library, table, model.params.n_threads)
    elif isinstance(model, XGBoostTrees):
        found = _of_xgboost(library, table, model.params.n_threads)
    else:
        found = library.predict(table, pred_contrib=True, num_threads=model.params.n_threads)
    # the last column of each output is the score without any feature
    parts = np.asarray(found, dtype=np.float64).reshape(len(table), len(model.outputs), table.shape[1] + 1)
    unit = model.spread if isinstance(model, Regression) else 1.0
    return unit * parts[:, :, :-1].transpose(0, 2, 1), unit * parts[0, :, -1]


def _of_catboost(library: Any, table: Floats32, n_threads: int) -> np.ndarray:
    import catboost as cb

    return np.asarray(library.get_feature_importance(cb.Pool(table), type="ShapValues", thread_count=n_threads))


def _of_xgboost(library: Any, table: Floats32, n_threads: int) -> np.ndarray:
    import xgboost as xgb

    return np.asarray(library.predict(xgb.DMatrix(table, nthread=n_threads), pred_contribs=True, strict_shape=True))
