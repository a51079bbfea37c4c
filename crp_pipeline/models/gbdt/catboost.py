"""CatBoost with symmetric trees."""

from typing import Any

import numpy as np

from crp_pipeline.contracts import CLASSES
from crp_pipeline.models.base import Floats32
from crp_pipeline.models.gbdt.booster import Boosted, Classification, Table

LOSS = "MultiClass"


class CatBoost(Classification):
    """Probability of each class."""

    model_type = "catboost"
    file_name = "model.cbm"

    @property
    def step_size(self) -> float:
        """Share of each tree that is added: symmetric trees are weaker and need fewer, larger steps."""
        return 2 * self.params.learning_rate

    def _train(self, learned: Table, watched: Table | None, seed: int) -> Boosted:
        import catboost as cb

        booster = cb.CatBoost(self._settings(seed))
        data = cb.Pool(learned.features, learned.labels, weight=learned.weight)
        if watched is None:
            booster.fit(data)
            return Boosted(booster, self.params.n_rounds, booster.get_evals_result()["learn"][LOSS], [])
        later = cb.Pool(watched.features, watched.labels, weight=watched.weight)
        booster.fit(data, eval_set=later, early_stopping_rounds=self.params.patience, use_best_model=True)
        losses = booster.get_evals_result()
        return Boosted(booster, booster.tree_count_, losses["learn"][LOSS], losses["validation"][LOSS])

    def _settings(self, seed: int) -> dict[str, Any]:
        p = self.params
        return {
            "loss_function": LOSS,
            "classes_count": len(CLASSES),
            "iterations": p.n_rounds,
            "learning_rate": self.step_size,
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

    def _answers(self, features: Floats32) -> np.ndarray:
        return np.asarray(self._learned.predict(features, prediction_type="Probability", thread_count=self.params.n_threads))

    @classmethod
    def _booster(cls, path: str) -> tuple[Any, int]:
        import catboost as cb

        booster = cb.CatBoost().load_model(path)
        return booster, booster.tree_count_
