"""Why a model said what it said: contributions of features that add up to its score, row by row.

Boosters by their libraries' own TreeSHAP, networks by expected gradients, a hybrid by those of its parts, any other model of
single bars by sampled Shapley values. What a contribution is *not*: a cause. It says what the model made of the value, on rows
that are as the model was shown them, and shares what correlated features know among them in a way of its own.
"""

from dataclasses import replace

import numpy as np

from crp_pipeline.contracts import Floats, Samples
from crp_pipeline.errors import DataContractError
from crp_pipeline.models.base import Model
from crp_pipeline.models.explain.explanation import (
    LOG_ODDS,
    Explanation,
    contrast,
    explained_outputs,
    scores_of,
    unit_of,
)
from crp_pipeline.models.explain.permutation import sampled_shapley
from crp_pipeline.models.gbdt import Booster
from crp_pipeline.models.gbdt.contributions import contributions
from crp_pipeline.models.hybrid import Hybrid
from crp_pipeline.models.network import Network

__all__ = ["LOG_ODDS", "Explanation", "attention_of", "contrast", "explain", "explained_outputs", "scores_of", "unit_of"]

TREE_METHODS = {"catboost": "TreeSHAP by CatBoost"}


def explain(
    model: Model,
    X: Samples,
    *,
    background: Samples | None = None,
    n_starts: int = 4,
    n_steps: int = 8,
    n_draws: int = 8,
    seed: int = 0,
) -> Explanation:
    """What each feature adds to the model's scores of each sample.

    Trees need no `background`; any other model's score is held against that of its rows (None: the samples themselves), of
    which expected gradients take `n_starts` and `n_steps` on the way from each, sampled Shapley values `n_draws` by the seed.
    Raises as `Model.predict` does, and `DataContractError` for no row, or for nothing to hold a single row against.
    """
    if len(X) == 0:
        raise DataContractError(f"{model.model_type}: there is no row to explain")
    model.predict(X.take(X.rows[:1]))  # refuses what the model would refuse: unfitted, other features, too few bars behind
    if isinstance(model, Booster):
        return _of_booster(model, X)
    others = _background(model, X, background)
    if isinstance(model, Network):
        return _of_network(model, X, others, n_starts, n_steps)
    if isinstance(model, Hybrid):
        return _of_hybrid(model, X, others, n_starts, n_steps)
    if model.reach > 1:
        raise DataContractError(f"{model.model_type} looks at {model.reach} bars and there is no way to explain such a model")
    values, base = sampled_shapley(model, X, others, n_draws=n_draws, seed=seed)
    return _explanation(model, X, values, base, f"sampled Shapley values, {n_draws} draws")


def _background(model: Model, X: Samples, background: Samples | None) -> Samples:
    others = X if background is None else background
    if len(others) == 0 or (len(X) == 1 and np.array_equal(others.rows, X.rows)):
        raise DataContractError(f"{model.model_type}: row {X.rows[0]} has no other row to be held against, name a background")
    return others


def attention_of(model: Model, X: Samples) -> Floats | None:
    """Share of its attention that each sample's bar gives to the bar so many bars back, itself first: (n, bars).

    Of a hybrid, that of its transformer; None for a model without attention.
    """
    if isinstance(model, Hybrid):
        return attention_of(model.components["transformer"], X)
    if not isinstance(model, Network):
        return None
    from crp_pipeline.models.explain.gradients import attention_by_lag

    return attention_by_lag(model, X)


def _of_booster(model: Booster, X: Samples) -> Explanation:
    values, base = contributions(model, X)
    if unit_of(explained_outputs(model)) == LOG_ODDS:
        values, base = values - values.mean(axis=2, keepdims=True), base - base.mean()
    return _explanation(model, X, values, base, TREE_METHODS.get(model.model_type, "exact TreeSHAP"))


def _of_network(model: Network, X: Samples, background: Samples, n_starts: int, n_steps: int) -> Explanation:
    from crp_pipeline.models.explain.gradients import expected_gradients

    values, base, lags = expected_gradients(model, X, background, n_starts=n_starts, n_steps=n_steps)
    found = _explanation(model, X, values, base, f"expected gradients, {n_starts} x {n_steps}")
    return found if model.reach == 1 else replace(found, lags=lags)


def _of_hybrid(model: Hybrid, X: Samples, background: Samples, n_starts: int, n_steps: int) -> Explanation:
    """The parts' contributions, weighted: the pool of log-probabilities is linear in them."""
    parts = [_of_network(_network(model, name), X, background, n_starts, n_steps) for name in ("lstm", "transformer")]
    weights = np.array([model.lstm_weight, 1 - model.lstm_weight])
    values, base, lags = (
        sum(weight * np.asarray(getattr(part, name)) for weight, part in zip(weights, parts, strict=True))
        for name in ("values", "base", "lags")
    )
    return replace(parts[0], values=np.asarray(values), base=np.asarray(base), lags=np.asarray(lags))


def _network(model: Hybrid, name: str) -> Network:
    part = model.components[name]
    assert isinstance(part, Network)
    return part


def _explanation(model: Model, X: Samples, values: Floats, base: Floats, method: str) -> Explanation:
    outputs = explained_outputs(model)
    columns = tuple(X.columns) or tuple(f"feature_{number}" for number in range(values.shape[1]))
    whole = np.broadcast_to(base, (len(X), len(outputs))).copy()
    return Explanation(values, whole, columns, outputs, method, unit_of(outputs))
