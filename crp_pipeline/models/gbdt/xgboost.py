"""XGBoost with histogram trees."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from crp_pipeline.contracts import CLASSES
from crp_pipeline.models.base import Floats32
from crp_pipeline.models.gbdt.booster import Boosted, Booster, Classification, Regression, Table
from crp_pipeline.models.gbdt.forest import Forest, Tree

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
            self._settings(learned, seed),
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

    def _settings(self, learned: Table, seed: int) -> dict[str, Any]:
        p = self.params
        # a row counts as its weight, and weights of overlapping labels are small
        row = self.row_hessian * (1.0 if learned.weight is None else float(np.mean(learned.weight)))
        return {
            **self.objective,
            "tree_method": "hist",
            "eta": p.learning_rate,
            "max_depth": p.max_depth,
            "subsample": p.row_share,
            "colsample_bytree": p.column_share,
            "lambda": p.l2,
            "min_child_weight": p.min_leaf_rows * row,
            "nthread": p.n_threads,
            "seed": seed,
        }

    def _answers(self, features: Floats32) -> np.ndarray:
        return np.asarray(self._learned.inplace_predict(features))

    def _forest(self) -> Forest:
        learner = json.loads(self._learned.save_raw("json"))["learner"]
        stored = learner["gradient_booster"]["model"]
        base = np.atleast_1d(json.loads(learner["learner_model_param"]["base_score"])).astype(np.float64)
        trees = [_tree(tree, output) for tree, output in zip(stored["trees"], stored["tree_info"], strict=True)]
        return Forest(trees, base, is_strict=True)

    @classmethod
    def _booster(cls, path: str) -> tuple[Any, int]:
        import xgboost as xgb

        booster = xgb.Booster({"nthread": 1}, model_file=path)
        return booster, booster.num_boosted_rounds()


def _tree(stored: Mapping[str, Any], output: int) -> Tree:
    """A tree of XGBoost's JSON, where a leaf keeps its value in the place of the threshold."""
    conditions = np.array(stored["split_conditions"], dtype=np.float64)
    return Tree(
        feature=np.array(stored["split_indices"], dtype=np.int64),
        threshold=conditions.astype(np.float32),
        yes=np.array(stored["left_children"], dtype=np.int64),
        no=np.array(stored["right_children"], dtype=np.int64),
        missing_is_yes=np.array(stored["default_left"], dtype=bool),
        value=conditions[:, None],
        outputs=(output,),
    )


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
