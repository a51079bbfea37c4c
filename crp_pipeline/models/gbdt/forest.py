"""A booster's trees in one form, whichever library grew them, and that form in ONNX."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from crp_pipeline.contracts import Bools, Floats, Ints
from crp_pipeline.models.base import Floats32
from crp_pipeline.models.onnx_graph import FEATURES, ML_DOMAIN, OUTPUTS, node, table_model

NO_CHILD = -1


@dataclass(frozen=True)
class Tree:
    """One array entry per node, the root first. A node without children is a leaf."""

    feature: Ints
    threshold: Floats32
    yes: Ints
    """Node taken where the feature is on the lower side of the threshold; `NO_CHILD` at a leaf."""
    no: Ints
    missing_is_yes: Bools
    value: Floats
    """(nodes, outputs of this tree); what a leaf adds."""
    outputs: tuple[int, ...]
    """Positions of the outputs that the tree adds to."""

    @property
    def is_leaf(self) -> Bools:
        """Which nodes are leaves: (nodes,)."""
        return np.asarray(self.yes == NO_CHILD)


@dataclass(frozen=True)
class Forest:
    """Trees whose leaves add up, on top of a base, to each output."""

    trees: Sequence[Tree]
    base: Floats
    """(outputs,)"""
    is_strict: bool
    """True: yes is below the threshold; False: at or below it."""

    @property
    def n_parameters(self) -> int:
        """Thresholds and leaf values."""
        return sum(int((~tree.is_leaf).sum() + tree.is_leaf.sum() * len(tree.outputs)) for tree in self.trees)

    def scaled(self, factor: float) -> "Forest":
        """The forest of outputs that are so many times as large."""
        return replace(self, trees=[replace(tree, value=tree.value * factor) for tree in self.trees], base=self.base * factor)


def float32_at_or_below(values: Floats) -> Floats32:
    """The largest float32 not above each value: for a float32 x, `x <= value` holds just where `x <= float32` does."""
    with np.errstate(over="ignore"):  # beyond float32 lies infinity, and the number below it is the largest there is
        rounded = values.astype(np.float32)
        return np.where(rounded > values, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def forest_model(forest: Forest, *, n_features: int, is_softmax: bool) -> Any:
    """The forest in ONNX; with `is_softmax` the sums become probabilities."""
    ensemble = node(
        "TreeEnsembleRegressor",
        [FEATURES],
        "sums" if is_softmax else OUTPUTS,
        domain=ML_DOMAIN,
        n_targets=len(forest.base),
        aggregate_function="SUM",
        post_transform="NONE",
        base_values=forest.base.astype(np.float32).tolist(),
        **_node_attributes(forest),
        **_leaf_attributes(forest.trees),
    )
    softmax = [node("Softmax", ["sums"], OUTPUTS, axis=1)] if is_softmax else []
    return table_model([ensemble, *softmax], {}, n_features=n_features, n_outputs=len(forest.base))


def _node_attributes(forest: Forest) -> dict[str, list[Any]]:
    trees, mode = forest.trees, "BRANCH_LT" if forest.is_strict else "BRANCH_LEQ"
    sizes = [len(tree.feature) for tree in trees]
    is_leaf = np.concatenate([tree.is_leaf for tree in trees])

    def of_inner_nodes(name: str) -> list[Any]:
        return list(np.where(is_leaf, 0, np.concatenate([getattr(tree, name) for tree in trees])).tolist())

    return {
        "nodes_treeids": np.repeat(np.arange(len(trees)), sizes).tolist(),
        "nodes_nodeids": np.concatenate([np.arange(size) for size in sizes]).tolist(),
        "nodes_modes": np.where(is_leaf, "LEAF", mode).tolist(),
        "nodes_featureids": of_inner_nodes("feature"),
        "nodes_values": of_inner_nodes("threshold"),
        "nodes_truenodeids": of_inner_nodes("yes"),
        "nodes_falsenodeids": of_inner_nodes("no"),
        "nodes_missing_value_tracks_true": of_inner_nodes("missing_is_yes"),
    }


def _leaf_attributes(trees: Sequence[Tree]) -> dict[str, list[Any]]:
    leaves = [np.flatnonzero(tree.is_leaf) for tree in trees]
    numbered = list(enumerate(zip(trees, leaves, strict=True)))
    return {
        "target_treeids": np.concatenate(
            [np.full(len(of_tree) * len(tree.outputs), i) for i, (tree, of_tree) in numbered]
        ).tolist(),
        "target_nodeids": np.concatenate([np.repeat(of_tree, len(tree.outputs)) for _, (tree, of_tree) in numbered]).tolist(),
        "target_ids": np.concatenate([np.tile(tree.outputs, len(of_tree)) for _, (tree, of_tree) in numbered]).tolist(),
        "target_weights": np.concatenate([tree.value[of_tree].ravel() for _, (tree, of_tree) in numbered])
        .astype(np.float32)
        .tolist(),
    }
