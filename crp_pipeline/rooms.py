"""What each room makes of the rooms before it, for a night and for its replay alike: tables in, tables out, no files."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crp_pipeline.contracts import PROBABILITIES, DecisionSchema, LabelSchema, Samples, check_frame
from crp_pipeline.ensemble import Stack, fit_stack
from crp_pipeline.features import ready_rows
from crp_pipeline.gate.sentinels import feature_readings, quarantined
from crp_pipeline.labels import make_labels
from crp_pipeline.models import (
    MODEL_CLASSES,
    ModelSpec,
    Record,
    Trained,
    quarantined_in,
    samples_of,
    select_features,
    train,
    without,
)
from crp_pipeline.models.base import Progress
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.splits import fold_table, folds_of, recent_roles

GOLDEN_ROWS = 32
"""Latest forecast bars whose answers a bundle carries."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a run asked of a model beside its recipe; all of it stands on the model's card."""

    seed: int
    days_of_history: int | None = None
    """Only the last so many days of bars are learned from and tested."""
    all_features: bool = False
    """True: whatever was selected."""


def label_table(candles: pd.DataFrame, feeds: pd.DataFrame, settings: PipelineSettings) -> pd.DataFrame:
    """What a decision at each bar's close would have earned, by the coin's own costs; `candles.attrs` names the coin."""
    coin = candles.attrs["coin"]
    return check_frame(make_labels(candles, settings.of(coin).labels, feeds=feeds), LabelSchema, what=f"labels of {coin}")


def role_table(candles: pd.DataFrame, labels: pd.DataFrame, settings: PipelineSettings) -> pd.DataFrame:
    """What each bar is to each fold: a repaired bar, or one that still warms up, is nothing to any."""
    return fold_table(labels, ready_rows(candles) & ~candles["is_repaired"].to_numpy(), settings.walk_forward)


def roles_since(splits: pd.DataFrame, days_of_history: int | None, settings: PipelineSettings) -> pd.DataFrame:
    """The role table, of the last days only where a run asked for it."""
    if days_of_history is None:
        return splits
    return recent_roles(splits, days_of_history, fewest=settings.walk_forward.test_size)


def selection_table(
    features: pd.DataFrame,
    labels: pd.DataFrame,
    splits: pd.DataFrame,
    settings: PipelineSettings,
    *,
    progress: Progress | None = None,
    record: Record | None = None,
) -> pd.DataFrame:
    """The features of each fold and of the final models, without those that predict too well to be believed."""
    readings = feature_readings(features, labels, settings.sentinels)
    return select_features(
        features,
        labels,
        splits,
        config=settings.selection,
        seed=settings.seed,
        validation_share=settings.walk_forward.validation_share,
        n_threads=settings.threads,
        excluded=quarantined(readings) if settings.quarantines else (),
        progress=progress,
        record=record,
    )


def sees_every_feature(model_type: str, *, all_features: bool) -> bool:
    """Whether a model learns from the whole feature set, because it was asked for or because its type always does."""
    return all_features or MODEL_CLASSES[model_type].reads_every_feature


def trained_model(
    spec: ModelSpec,
    features: pd.DataFrame,
    labels: pd.DataFrame,
    splits: pd.DataFrame,
    selection: pd.DataFrame | None,
    settings: PipelineSettings,
    asked: Asked,
    *,
    progress: Progress | None = None,
    record: Record | None = None,
) -> Trained:
    """A model of the recipe, out of fold and final; `selection` is None for the one baseline that comes before it."""
    return train(
        spec,
        _shown(features, selection, spec.model_type),
        labels,
        roles_since(splits, asked.days_of_history, settings),
        seed=asked.seed,
        selection=None if sees_every_feature(spec.model_type, all_features=asked.all_features) else selection,
        validation_share=settings.walk_forward.validation_share,
        progress=progress,
        record=record,
    )


def golden_samples_of(trained: Trained, features: pd.DataFrame) -> Samples:
    """The latest bars that have a forecast, as the final model must be shown them."""
    latest = np.flatnonzero(trained.predictions[PROBABILITIES[0]].notna())[-GOLDEN_ROWS:]
    return samples_of(features[list(trained.features)]).take(latest)


def stacked(
    predictions: Mapping[str, pd.DataFrame],
    labels: pd.DataFrame,
    splits: pd.DataFrame,
    settings: PipelineSettings,
    *,
    coin: str,
) -> tuple[Stack, pd.DataFrame]:
    """The stack over these models in their order, and its decision at each bar: frame of `contracts.DecisionSchema`."""
    stack = fit_stack(predictions, labels, folds_of(splits), seed=settings.seed, config=settings.ensemble)
    return stack, check_frame(stack.decide(predictions), DecisionSchema, what=f"decisions of {coin}")


def _shown(features: pd.DataFrame, selection: pd.DataFrame | None, model_type: str) -> pd.DataFrame:
    """The feature table without what is quarantined.

    A baseline sees all of it: it is never promoted, and one that a leak flatters only raises the bar for the others.
    """
    if selection is None or MODEL_CLASSES[model_type].is_baseline:
        return features
    return without(features, quarantined_in(selection))
