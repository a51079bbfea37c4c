"""Gradient-boosted trees: XGBoost, LightGBM and CatBoost behind one door, through their native interfaces.

All three minimise three-class log-loss, see the raw features (trees need no scaling and split missing values on their own) and
are saved in the library's own portable format. The same rows, parameters, threads and seed give the same model.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from crp_pipeline.contracts import Floats, Samples
from crp_pipeline.models.base import Model, Validation, class_index, watched_class_index
from crp_pipeline.models.parameters import COUNT, NOT_NEGATIVE, POSITIVE, SHARE, ParameterRule, Parameters


@dataclass(frozen=True, kw_only=True)
class GbdtParams(Parameters):
    """What the three libraries have in common, under one name each; raises `ValueError` for a value out of its range."""

    rules: ClassVar[Mapping[str, ParameterRule]] = {
        **dict.fromkeys(("n_rounds", "max_depth", "min_leaf_rows", "patience", "n_threads"), COUNT),
        **dict.fromkeys(("row_share", "column_share"), SHARE),
        "learning_rate": POSITIVE,
        "l2": NOT_NEGATIVE,
    }

    n_rounds: int = 400
    """Most boosting rounds; early stopping usually ends sooner."""
    learning_rate: float = 0.05
    max_depth: int = 5
    row_share: float = 0.7
    column_share: float = 0.5
    l2: float = 5.0
    min_leaf_rows: int = 100
    patience: int = 40
    """Rounds without improvement on the validation slice before stopping."""
    n_threads: int = 1


VARIANTS: dict[str, GbdtParams] = {
    "default": GbdtParams(),
    "lightweight": GbdtParams(n_rounds=150, learning_rate=0.1, max_depth=3, patience=15),
    "deep": GbdtParams(n_rounds=1_000, learning_rate=0.02, max_depth=8, min_leaf_rows=50, patience=80),
}


class Booster(Model):
    """Shared manners of the three libraries; a subclass trains, predicts and stores."""

    file_name: ClassVar[str]
    variants = VARIANTS

    def __init__(self, params: GbdtParams) -> None:
        self.params = params

    def fit(
        self,
        X: Samples,
        y: Floats,
        *,
        weight: Floats | None = None,
        validation: Validation | None = None,
        seed: int = 0,
    ) -> Self:
        """Boost until the validation slice no longer improves, or for `n_rounds` without one."""
        self._learned, self.rounds = self._train((X.table(), class_index(y), weight), _table_of(validation), seed)
        return self

    @property
    def settled(self) -> Mapping[str, float]:
        """The rounds that early stopping chose."""
        return {"n_rounds": self.rounds}

    def predict(self, X: Samples) -> Floats:
        """Probability of short, neutral and long: (n, 3)."""
        self._require_fitted()
        if len(X) == 0:
            return np.empty((0, 3))
        return np.asarray(self._probabilities(X.table()), dtype=np.float64).reshape(-1, 3)

    def _write(self, folder: Path) -> None:
        self._learned.save_model(str(folder / self.file_name))

    @classmethod
    def _read(cls, folder: Path) -> Self:
        model = cls(GbdtParams())
        model._learned, model.rounds = cls._booster(str(folder / cls.file_name))
        return model

    @abstractmethod
    def _train(self, train: Table, validation: Table | None, seed: int) -> tuple[Any, int]:
        """The booster and the rounds it settled on."""

    @abstractmethod
    def _probabilities(self, table: Floats) -> Floats: ...

    @classmethod
    @abstractmethod
    def _booster(cls, path: str) -> tuple[Any, int]:
        """The stored booster and its rounds."""


Table = tuple[Floats, np.ndarray, Floats | None]


def _table_of(validation: Validation | None) -> Table | None:
    if validation is None:
        return None
    return validation.samples.table(), watched_class_index(validation.y), validation.weight


class XGBoost(Booster):
    """XGBoost with histogram trees."""

    model_type = "xgboost"
    file_name = "model.ubj"

    def _train(self, train: Table, validation: Table | None, seed: int) -> tuple[Any, int]:
        import xgboost as xgb

        p = self.params
        data = xgb.QuantileDMatrix(train[0], train[1], weight=train[2], nthread=p.n_threads)
        watch = []
        if validation is not None:
            watch = [
                (
                    xgb.QuantileDMatrix(validation[0], validation[1], weight=validation[2], ref=data, nthread=p.n_threads),
                    "later",
                )
            ]
        settings = {
            "objective": "multi:softprob",
            "num_class": 3,
            "eval_metric": "mlogloss",
            "tree_method": "hist",
            "eta": p.learning_rate,
            "max_depth": p.max_depth,
            "subsample": p.row_share,
            "colsample_bytree": p.column_share,
            "lambda": p.l2,
            # hessian of a three-class row is at most 1/2, 2/9 at even odds
            "min_child_weight": p.min_leaf_rows * 2 / 9,
            "nthread": p.n_threads,
            "seed": seed,
        }
        stop = p.patience if watch else None
        booster = xgb.train(settings, data, p.n_rounds, evals=watch, early_stopping_rounds=stop, verbose_eval=False)
        rounds = booster.best_iteration + 1 if watch else p.n_rounds
        return booster[:rounds], rounds

    def _probabilities(self, table: Floats) -> Floats:
        return np.asarray(self._learned.inplace_predict(table))

    @classmethod
    def _booster(cls, path: str) -> tuple[Any, int]:
        import xgboost as xgb

        booster = xgb.Booster(model_file=path)
        return booster, booster.num_boosted_rounds()


class LightGBM(Booster):
    """LightGBM with leaf-wise trees, deterministic on one machine type."""

    model_type = "lightgbm"
    file_name = "model.txt"

    def _train(self, train: Table, validation: Table | None, seed: int) -> tuple[Any, int]:
        import lightgbm as lgb

        p = self.params
        settings = {
            "objective": "multiclass",
            "num_class": 3,
            "learning_rate": p.learning_rate,
            "max_depth": p.max_depth,
            "num_leaves": 2**p.max_depth - 1,
            "bagging_fraction": p.row_share,
            "bagging_freq": 1,
            "feature_fraction": p.column_share,
            "lambda_l2": p.l2,
            "min_data_in_leaf": p.min_leaf_rows,
            "num_threads": p.n_threads,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        data = lgb.Dataset(train[0], train[1], weight=train[2], params={"verbosity": -1})
        if validation is None:
            booster = lgb.train(settings, data, p.n_rounds)
            return booster, booster.current_iteration()
        later = lgb.Dataset(validation[0], validation[1], weight=validation[2], reference=data, params={"verbosity": -1})
        stop = lgb.early_stopping(p.patience, verbose=False)
        booster = lgb.train(settings, data, p.n_rounds, valid_sets=[later], callbacks=[stop])
        return booster, booster.best_iteration or booster.current_iteration()

    def _probabilities(self, table: Floats) -> Floats:
        return np.asarray(self._learned.predict(table, num_threads=self.params.n_threads))

    @classmethod
    def _booster(cls, path: str) -> tuple[Any, int]:
        import lightgbm as lgb

        booster = lgb.Booster(model_file=path)
        return booster, booster.current_iteration()


class CatBoost(Booster):
    """CatBoost with symmetric trees."""

    model_type = "catboost"
    file_name = "model.cbm"

    def _train(self, train: Table, validation: Table | None, seed: int) -> tuple[Any, int]:
        import catboost as cb

        p = self.params
        booster = cb.CatBoost(
            {
                "loss_function": "MultiClass",
                "classes_count": 3,
                "iterations": p.n_rounds,
                "learning_rate": 2 * p.learning_rate,  # symmetric trees are weaker and need fewer, larger steps
                "depth": p.max_depth,
                "l2_leaf_reg": p.l2,
                "bootstrap_type": "Bernoulli",
                "subsample": p.row_share,
                "border_count": 64,
                "thread_count": p.n_threads,
                "random_seed": seed,
                "allow_writing_files": False,
                "logging_level": "Silent",
            }
        )
        data = cb.Pool(train[0], train[1], weight=train[2])
        if validation is None:
            return booster.fit(data), p.n_rounds
        later = cb.Pool(validation[0], validation[1], weight=validation[2])
        booster.fit(data, eval_set=later, early_stopping_rounds=p.patience, use_best_model=True)
        return booster, booster.tree_count_

    def _probabilities(self, table: Floats) -> Floats:
        return np.asarray(self._learned.predict(table, prediction_type="Probability", thread_count=self.params.n_threads))

    @classmethod
    def _booster(cls, path: str) -> tuple[Any, int]:
        import catboost as cb

        booster = cb.CatBoost().load_model(path)
        return booster, booster.tree_count_
