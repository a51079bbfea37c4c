"""LightGBM with leaf-wise trees, deterministic on one machine type."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from crp_pipeline.contracts import CLASSES, Floats
from crp_pipeline.models.base import Floats32
from crp_pipeline.models.gbdt.booster import (
    SEARCH_SPACE,
    VARIANTS,
    Boosted,
    Booster,
    Classification,
    GbdtParams,
    Regression,
    Table,
)
from crp_pipeline.models.gbdt.forest import NO_CHILD, Forest, Tree, float32_at_or_below
from crp_pipeline.models.gbdt.lightgbm_file import require_whole
from crp_pipeline.models.parameters import ParameterRule
from crp_pipeline.models.search import IntRange, SearchSpace

LEARNED, WATCHED = "learned", "watched"
QUIET = {"verbosity": -1}
ZERO = np.float32(1e-35)
"""LightGBM's `kZeroThreshold`."""


@dataclass(frozen=True, kw_only=True)
class LightGBMParams(GbdtParams):
    """Trees that grow leaf by leaf are bounded by their leaves before their depth."""

    n_leaves: int = 0
    """Most leaves of a tree; 0: one less than its depth allows."""

    rules: ClassVar[Mapping[str, ParameterRule]] = {
        **GbdtParams.rules,
        "n_leaves": ParameterRule("0 or a whole number from 2 on", Integral, lambda value: value == 0 or value >= 2),
    }

    @property
    def most_leaves(self) -> int:
        """Leaves that a tree may have."""
        return self.n_leaves or 2**self.max_depth - 1


class LightGBMTrees(Booster):
    """What classifier and regressor share."""

    file_name = "model.txt"
    params: LightGBMParams
    variants: ClassVar[Mapping[str, Any]] = {name: LightGBMParams(**asdict(params)) for name, params in VARIANTS.items()}
    search_space: ClassVar[SearchSpace] = {**SEARCH_SPACE, "n_leaves": IntRange(20, 100)}
    objective: ClassVar[Mapping[str, Any]]

    def _train(self, learned: Table, watched: Table | None, seed: int) -> Boosted:
        import lightgbm as lgb

        data = lgb.Dataset(learned.features, learned.labels, weight=learned.weight, params=QUIET)
        shown, names = [data], [LEARNED]
        losses: dict[str, dict[str, list[float]]] = {}
        callbacks = [lgb.record_evaluation(losses)]
        if watched is not None:
            shown.append(lgb.Dataset(watched.features, watched.labels, weight=watched.weight, reference=data, params=QUIET))
            names.append(WATCHED)
            callbacks.append(lgb.early_stopping(self.params.patience, verbose=False))
        booster = lgb.train(
            self._settings(seed), data, self.params.n_rounds, valid_sets=shown, valid_names=names, callbacks=callbacks
        )
        rounds = booster.current_iteration() if watched is None else booster.best_iteration or booster.current_iteration()
        of_rows = {name: next(iter(of_metric.values())) for name, of_metric in losses.items()}
        return Boosted(booster, rounds, of_rows[LEARNED], of_rows.get(WATCHED, []))

    def _settings(self, seed: int) -> dict[str, Any]:
        p = self.params
        return {
            **self.objective,
            **QUIET,
            "learning_rate": p.learning_rate,
            "max_depth": p.max_depth,
            "num_leaves": p.most_leaves,
            "bagging_fraction": p.row_share,
            "bagging_freq": 1,
            "feature_fraction": p.column_share,
            "lambda_l2": p.l2,
            "min_data_in_leaf": p.min_leaf_rows,
            "num_threads": p.n_threads,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
        }

    def _answers(self, features: Floats32) -> np.ndarray:
        return np.asarray(self._learned.predict(features, num_threads=self.params.n_threads))

    def _forest(self) -> Forest:
        stored = self._learned.dump_model(num_iteration=self.rounds)
        n_outputs = stored["num_tree_per_iteration"]
        trees = [_tree(tree["tree_structure"], number % n_outputs) for number, tree in enumerate(stored["tree_info"])]
        return Forest(trees, np.zeros(n_outputs), is_strict=False)

    @classmethod
    def _booster(cls, path: str) -> tuple[Any, int]:
        import lightgbm as lgb

        text = Path(path).read_text(encoding="ascii")
        require_whole(text)
        booster = lgb.Booster(model_str=text)
        return booster, booster.current_iteration()


def _tree(root: Mapping[str, Any], output: int) -> Tree:
    """A tree of LightGBM's JSON: nested splits, thresholds in double precision."""
    nodes, children = [root], []
    for node in nodes:  # grows while it is walked
        splits = "threshold" in node
        children.append((len(nodes), len(nodes) + 1) if splits else (NO_CHILD, NO_CHILD))
        nodes.extend((node["left_child"], node["right_child"]) if splits else ())
    return Tree(
        feature=np.array([node.get("split_feature", 0) for node in nodes]),
        threshold=_thresholds(np.array([node.get("threshold", 0.0) for node in nodes])),
        yes=np.array([yes for yes, _ in children]),
        no=np.array([no for _, no in children]),
        missing_is_yes=np.array([_missing_is_yes(node) for node in nodes]),
        value=np.array([[node.get("leaf_value", 0.0)] for node in nodes]),
        outputs=(output,),
    )


def _thresholds(stored: Floats) -> Floats32:
    """Thresholds that part float32 numbers as LightGBM does, which reads all from -`ZERO` to `ZERO` as 0."""
    is_zero_above = (stored >= -ZERO) & (stored < 0)
    return np.where(is_zero_above, np.nextafter(-ZERO, np.float32(-np.inf)), float32_at_or_below(stored))


def _missing_is_yes(node: Mapping[str, Any]) -> bool:
    """Where a missing value goes; a feature that was never missing in training is then read as 0."""
    if "threshold" not in node:
        return False
    return bool(node["default_left"] if node["missing_type"] == "NaN" else node["threshold"] >= 0)


class LightGBM(Classification, LightGBMTrees):
    """Probability of each class."""

    model_type = "lightgbm"
    objective: ClassVar[Mapping[str, Any]] = {"objective": "multiclass", "num_class": len(CLASSES)}


class LightGBMRegressor(Regression, LightGBMTrees):
    """Expected forward return."""

    model_type = "lightgbm_regressor"
    objective: ClassVar[Mapping[str, Any]] = {"objective": "regression", "metric": "rmse"}
