"""XGBoost with histogram trees."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from crp_pipeline.contracts import CLASSES
from crp_pipeline.models.base import Floats32
from crp_pipeline.models.gbdt.booster import Boosted, Booster, Classification, Regression, Table

LEARNED, WATCHED = "learned", "watched"


class XGBoostTrees(Booster):
    """What classifier and regressor share."""

    file_name = "model.ubj"
    objective: ClassVar[Mapping[str, Any]]
    row_hessian: ClassVar[float]
    """Second derivative of one row's loss, in which XGBoost counts the rows of a leaf."""

    def _train(self, learned: Table, watched: Table | None, seed: int) -> Boosted:
        import xgboost as xgb

        p = self.params
        data = xgb.QuantileDMatrix(learned.features, learned.labels, weight=learned.weight, nthread=p.n_threads)
        shown = [(data, LEARNED)]
        if watched is not None:
            later = xgb.QuantileDMatrix(watched.features, watched.labels, weight=watched.weight, ref=data, nthread=p.n_threads)
            shown.append((later, WATCHED))
        losses: dict[str, dict[str, list[float]]] = {}
        booster = xgb.train(
            self._settings(seed),
            data,
            p.n_rounds,
            evals=shown,
            early_stopping_rounds=None if watched is None else p.patience,
            evals_result=losses,
            verbose_eval=False,
        )
        rounds = p.n_rounds if watched is None else booster.best_iteration + 1
        of_rows = {name: next(iter(of_metric.values())) for name, of_metric in losses.items()}
        return Boosted(booster[:rounds], rounds, of_rows[LEARNED], of_rows.get(WATCHED, []))

    def _settings(self, seed: int) -> dict[str, Any]:
        p = self.params
        return {
            **self.objective,
            "tree_method": "hist",
            "eta": p.learning_rate,
            "max_depth": p.max_depth,
            "subsample": p.row_share,
            "colsample_bytree": p.column_share,
            "lambda": p.l2,
            "min_child_weight": p.min_leaf_rows * self.row_hessian,
            "nthread": p.n_threads,
            "seed": seed,
        }

    def _answers(self, features: Floats32) -> np.ndarray:
        return np.asarray(self._learned.inplace_predict(features))

    @classmethod
    def _booster(cls, path: str) -> tuple[Any, int]:
        import xgboost as xgb

        booster = xgb.Booster({"nthread": 1}, model_file=path)
        return booster, booster.num_boosted_rounds()


class XGBoost(Classification, XGBoostTrees):
    """Probability of each class."""

    model_type = "xgboost"
    objective: ClassVar[Mapping[str, Any]] = {
        "objective": "multi:softprob",
        "num_class": len(CLASSES),
        "eval_metric": "mlogloss",
    }
    # of a three-class row at most 1/2, at even odds 2/9
    row_hessian = 2 / 9


class XGBoostRegressor(Regression, XGBoostTrees):
    """Expected forward return."""

    model_type = "xgboost_regressor"
    objective: ClassVar[Mapping[str, Any]] = {"objective": "reg:squarederror", "eval_metric": "rmse"}
    row_hessian = 1.0
