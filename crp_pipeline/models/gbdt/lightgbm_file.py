"""LightGBM's model file, looked at before LightGBM does: a damaged tree would end the whole process, not raise."""

from collections.abc import Mapping

import numpy as np

from crp_pipeline.contracts import Floats
from crp_pipeline.errors import BundleError

TREES = "\n\nTree=0\n"
ENDS = ("end of trees", "\nparameters:", "\nend of parameters", "\npandas_categorical:null")
OF_SPLITS = ("split_feature", "threshold", "decision_type", "left_child", "right_child")


def require_whole(text: str) -> None:
    """Every tree that the header counts is there, made of numbers, and leads from each split down to leaves of its own.

    Raises `BundleError` naming the tree otherwise.
    """
    header, _, trees = text.partition(TREES)
    described = _entries(header)
    sizes = [int(size) for size in described.get("tree_sizes", "").split()]
    n_features, rest = int(described.get("max_feature_idx", -1)) + 1, TREES[2:] + trees
    for number, size in enumerate(sizes):
        tree, rest = rest[:size], rest[size:]
        if not tree.startswith(f"Tree={number}\n") or not _is_whole(_entries(tree), n_features):
            raise BundleError(f"LightGBM's model file is damaged in tree {number} of {len(sizes)}")
    places = [rest.find(end) for end in ENDS]
    if not sizes or places[0] != 0 or -1 in places or places != sorted(places):
        raise BundleError(
            f"LightGBM's model file does not end as it should after the {len(sizes)} trees that its header counts"
        )


def _entries(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _is_whole(tree: Mapping[str, str], n_features: int) -> bool:
    try:
        numbers = {name: np.array(values.split(), dtype=np.float64) for name, values in tree.items()}
        n_leaves = int(numbers["num_leaves"][0])
        if n_leaves == 1:
            return len(numbers["leaf_value"]) == 1
        is_complete = all(len(numbers[name]) == n_leaves - 1 for name in OF_SPLITS) and len(numbers["leaf_value"]) == n_leaves
        return is_complete and _leads_down(numbers, n_leaves, n_features)
    except (ValueError, KeyError, IndexError):
        return False


def _leads_down(numbers: Mapping[str, Floats], n_leaves: int, n_features: int) -> bool:
    """Each split is on a feature that there is and has a later split or a leaf, numbered -1, -2 ..., on either side."""
    feature, places = numbers["split_feature"], np.arange(n_leaves - 1)
    children = np.stack([numbers["left_child"], numbers["right_child"]])
    is_leaf = children < 0
    return bool(
        ((feature >= 0) & (feature < n_features)).all()
        and (np.where(is_leaf, -children <= n_leaves, (children > places) & (children < n_leaves - 1))).all()
    )
