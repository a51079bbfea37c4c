"""The models of past folds, read back from their record, each beside the rows that it tested and those it had learned from.

Nothing is fitted here: who asks what a forecast was made of must be answered by the very model that made it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from crp_pipeline.contracts import Fold, Ints, Samples
from crp_pipeline.errors import BundleError
from crp_pipeline.models.base import Model, ModelSpec, samples_of
from crp_pipeline.models.block import training_block
from crp_pipeline.models.catalog import from_spec
from crp_pipeline.models.cross_fit import entry_of, selected
from crp_pipeline.models.recall import stored_fold_model
from crp_pipeline.models.record import Record


@dataclass(frozen=True)
class FoldModel:
    """The fitted model of a fold, the test rows that it reaches, and the rows that it learned from or watched."""

    fold: Fold
    model: Model
    tested: Samples
    """With the features that were selected for the fold."""
    learned: Ints


def spec_on_card(card: Mapping[str, Any]) -> ModelSpec:
    """The recipe of a stored model, as its card tells it."""
    return ModelSpec(str(card["model_type"]), str(card["variant"]), dict(card["parameters"]))


def stored_fold_models(
    spec: ModelSpec,
    history: pd.DataFrame,
    labels: pd.DataFrame,
    folds: Sequence[Fold],
    *,
    seed: int,
    record: Record,
    selection: pd.DataFrame | None = None,
    validation_share: float = 0.15,
    tell: Callable[[str], object],
) -> Iterator[FoldModel]:
    """The models that `cross_fit` kept in the record when it was called with the same, one after another.

    Raises `BundleError` for a fold of which the record holds no model made from these features, labels and settings.
    """
    samples = samples_of(history)
    for fold in folds:
        unfitted, shown = from_spec(spec), selected(samples, selection, fold.number)
        block = training_block(unfitted, shown, labels, fold.train, validation_share=validation_share)
        entry = entry_of(record, spec, block, unfitted, seed=seed, validation_share=validation_share)
        model = None if entry is None else stored_fold_model(entry, type(unfitted), tell=tell)
        if model is None:
            raise BundleError(
                f"{spec.model_type}: no model of fold {fold.number} is kept that was made from these features, labels, "
                f"settings and code: materialize models/{spec.model_type} again"
            )
        tested = shown.take(fold.test)
        reached = tested.rows[tested.behind() >= model.reach - 1]
        yield FoldModel(fold, model, shown.take(reached), block.rows)
