"""CatBoost with symmetric trees."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np

from crp_pipeline.contracts import CLASSES
from crp_pipeline.models.base import Floats32
from crp_pipeline.models.gbdt.booster import SEARCH_SPACE, Boosted, Classification, Table
from crp_pipeline.models.gbdt.forest import NO_CHILD, Forest, Tree
from crp_pipeline.models.search import FloatRange, IntRange, SearchSpace

LOSS = "MultiClass"


class CatBoost(Classification):
    """Probability of each class."""

    model_type = "catboost"
    file_name = "model.cbm"
    search_space: ClassVar[SearchSpace] = {
        **{name: SEARCH_SPACE[name] for name in ("n_rounds", "row_share", "l2")},
        "max_depth": IntRange(4, 10),
        # steps are twice as large, 0.01 to 0.3
        "learning_rate": FloatRange(0.005, 0.15, log=True),
    }

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

    @property
    def n_parameters(self) -> int:
        """Thresholds, one for all nodes of a level, and leaf values of all trees."""
        if self._learned is None:
            return 0
        n_leaves = self._learned.get_tree_leaf_counts()
        return int(np.log2(n_leaves).sum() + len(CLASSES) * n_leaves.sum())

    def _forest(self) -> Forest:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.json"
            self._learned.save_model(str(path), format="json")
            stored = json.loads(path.read_text(encoding="utf-8"))
        scale, bias = stored["scale_and_bias"]
        features = stored["features_info"]["float_features"]
        trees = [_tree(tree, features) for tree in stored["oblivious_trees"]]
        return Forest([replace(tree, value=scale * tree.value) for tree in trees], np.array(bias), is_strict=False)

    @classmethod
    def _booster(cls, path: str) -> tuple[Any, int]:
        import catboost as cb

        booster = cb.CatBoost().load_model(path)
        return booster, booster.tree_count_


def _tree(stored: Mapping[str, Any], features: Sequence[Mapping[str, Any]]) -> Tree:
    """A tree of CatBoost's JSON: one split per level, and leaf i where the levels' answers are the bits of i.

    Nodes are numbered level by level; the one that answers so far led to as bits p is the p-th of its level.
    """
    splits, value = stored["splits"], np.array(stored["leaf_values"]).reshape(-1, len(CLASSES))
    infos = [features[split["float_feature_index"]] for split in splits]
    widths = 2 ** np.arange(len(splits))
    first = 2 * widths - 1  # of the next level
    below = [start + np.arange(width) for start, width in zip(first, widths, strict=True)]
    n_inner = len(value) - 1

    def by_level(of_level: Sequence[Any], at_leaf: Any) -> np.ndarray:
        return np.append(np.repeat(of_level, widths), np.full(len(value), at_leaf))

    return Tree(
        feature=by_level([info["flat_feature_index"] for info in infos], 0).astype(np.int64),
        threshold=by_level([split["border"] for split in splits], 0.0).astype(np.float32),
        yes=np.concatenate([*below, np.full(len(value), NO_CHILD)]).astype(np.int64),
        no=np.concatenate([*(nodes + len(nodes) for nodes in below), np.full(len(value), NO_CHILD)]).astype(np.int64),
        # a missing value answers the question "above the border?" with no, unless told otherwise
        missing_is_yes=by_level([info["nan_value_treatment"] != "AsTrue" for info in infos], False).astype(bool),
        value=np.concatenate([np.zeros((n_inner, len(CLASSES))), value]),
        outputs=tuple(range(len(CLASSES))),
    )
