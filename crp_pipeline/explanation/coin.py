"""What each model of a coin's roster made its out-of-sample forecasts of."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Floats, Fold, Ints, Samples
from crp_pipeline.errors import BundleError, DataContractError, InsufficientHistoryError
from crp_pipeline.explanation.rows import rule, spread
from crp_pipeline.explanation.stability import over_folds, with_tonight
from crp_pipeline.explanation.stored import BASE, CoinExplanation, nights_file
from crp_pipeline.explanation.why import why_frame
from crp_pipeline.models import (
    Explanation,
    FoldModel,
    Record,
    attention_of,
    explain,
    load_bundle,
    quarantined_in,
    samples_of,
    spec_on_card,
    stored_fold_models,
    without,
)
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.models.explain import scores_of
from crp_pipeline.models.gbdt import Booster
from crp_pipeline.places import Places
from crp_pipeline.settings import ExplanationConfig, PipelineSettings
from crp_pipeline.splits import folds_of, learnable_rows, recent_roles
from crp_pipeline.storage import read_if_sound, read_manifest

LAG_COLUMNS = ("model", "fold", "bars_back", "share", "attention")


@dataclass(frozen=True)
class Tables:
    """What the models of a coin were shown and what was decided on them."""

    features: pd.DataFrame
    labels: pd.DataFrame
    splits: pd.DataFrame
    selection: pd.DataFrame
    decisions: pd.DataFrame


@dataclass(frozen=True)
class _Part:
    """The explained rows of one fold."""

    fold: Fold
    X: Samples
    found: Explanation
    residual: float
    attention: Floats | None
    probabilities: Floats
    """(n, 3): the model's own."""


@dataclass(frozen=True)
class _OfModel:
    """Everything of one model."""

    importances: pd.DataFrame
    contributions: pd.DataFrame
    facts: dict[str, Any]
    lags: pd.DataFrame
    why: pd.DataFrame


@dataclass(frozen=True)
class _Coin:
    """What the explanations of all models of a coin have in common."""

    coin: str
    tables: Tables
    settings: PipelineSettings
    places: Places
    tell: Callable[[str], object]
    clock: Callable[[], float]

    @property
    def config(self) -> ExplanationConfig:
        return self.settings.explanation


def explain_coin(
    coin: str,
    tables: Tables,
    *,
    settings: PipelineSettings,
    places: Places,
    tell: Callable[[str], object],
    clock: Callable[[], float] = perf_counter,
) -> CoinExplanation:
    """Every model of the roster on its own out-of-sample rows; nothing is written.

    A model whose fold models are not kept, or that reaches no row, is refused in one sentence and holds up no other; raises
    `DataContractError` where that leaves nothing. `clock` counts the seconds of `ExplanationConfig.max_seconds`.
    """
    told = _Coin(coin, tables, settings, places, tell, clock)
    found: dict[str, _OfModel] = {}
    refused: list[dict[str, Any]] = []
    for model_type in settings.roster:
        try:
            found[model_type] = _of_model(told, model_type)
        except (BundleError, InsufficientHistoryError) as error:
            tell(f"{coin}: not explained: {error}")
            refused.append({"model": model_type, "refused": str(error)})
    if not found:
        raise DataContractError(f"{coin}: there is nothing to explain: {refused[0]['refused']}")
    return _together(told, found, refused)


def _together(told: _Coin, found: dict[str, _OfModel], refused: list[dict[str, Any]]) -> CoinExplanation:
    importances = pd.concat([it.importances for it in found.values()], ignore_index=True)
    earlier = read_if_sound(nights_file(told.places, told.coin), tell=told.tell)
    night = pd.Timestamp(told.tables.features.index[-1])
    models = pd.DataFrame([*(it.facts for it in found.values()), *refused])
    lags = [it.lags for it in found.values() if len(it.lags)]
    return CoinExplanation(
        coin=told.coin,
        importances=importances,
        contributions={model: it.contributions for model, it in found.items()},
        models=models,
        lags=pd.concat(lags, ignore_index=True) if lags else pd.DataFrame(columns=list(LAG_COLUMNS)),
        why=pd.concat([it.why for it in found.values()], ignore_index=True),
        nights=with_tonight(earlier, over_folds(importances), night),
    )


def _of_model(told: _Coin, model_type: str) -> _OfModel:
    bundle = told.places.bundle(told.coin, model_type)
    if not bundle.exists():
        raise BundleError(f"{told.coin}: {model_type} was never trained: materialize models/{model_type} first")
    card, started = read_manifest(bundle), told.clock()
    folds = folds_of(_roles(told, card))
    is_tree = issubclass(MODEL_CLASSES[model_type], Booster)
    rows_of = spread(folds, told.config.tree_rows if is_tree else told.config.network_rows)
    parts: list[_Part] = []
    n_begun = 0
    for stored in _newest_first(told, card, folds):
        n_begun += 1
        part = _of_fold(stored, rows_of[stored.fold.number], told.config)
        parts += [] if part is None else [part]
        if told.clock() - started > told.config.max_seconds:
            break
    if not parts:
        raise InsufficientHistoryError(f"{told.coin}: {model_type} reaches none of the out-of-sample rows")
    seconds = told.clock() - started
    return _OfModel(
        importances=_importances(model_type, parts),
        contributions=pd.concat(
            [_contributions(part, told.tables.features.index) for part in reversed(parts)], ignore_index=True
        ),
        facts=_facts(told, model_type, parts, folds, n_begun, seconds),
        lags=_lags(model_type, parts),
        why=_why(told, model_type, parts[0]),
    )


def _roles(told: _Coin, card: dict[str, Any]) -> pd.DataFrame:
    """The role table that the model was trained on."""
    days = card["days_of_history"]
    fewest = told.settings.walk_forward.test_size
    return told.tables.splits if days is None else recent_roles(told.tables.splits, days, fewest=fewest)


def _newest_first(told: _Coin, card: dict[str, Any], folds: Sequence[Fold]) -> Iterator[FoldModel]:
    """The models of all folds, as the run kept them that the card tells of."""
    tables, spec = told.tables, spec_on_card(card)
    features = tables.features
    return stored_fold_models(
        spec,
        without(features, quarantined_in(tables.selection)),
        tables.labels,
        sorted(folds, key=lambda fold: -int(fold.test[-1])),
        seed=int(card["seed"]),
        record=Record(
            folder=told.places.record(told.coin, spec.model_type),
            feature_set_id=features.attrs["feature_set_id"],
            label_settings=asdict(told.settings.labels),
        ),
        selection=None if card["all_features"] else tables.selection,
        validation_share=told.settings.walk_forward.validation_share,
        tell=told.tell,
    )


def _of_fold(stored: FoldModel, rows: Ints, config: ExplanationConfig) -> _Part | None:
    """The fold's chosen rows, as far as its model reaches them; None where it reaches none of them."""
    X = stored.tested.take(np.intersect1d(rows, stored.tested.rows))
    if len(X) == 0:
        return None
    background = stored.tested.take(_some(stored.tested.rows, config.starts))
    found = explain(stored.model, X, background=background, n_starts=config.starts, n_steps=config.steps)
    answers = stored.model.predict(X)
    residual = float(np.abs(found.scores - scores_of(answers, found.outputs)).mean())
    return _Part(stored.fold, X, found, residual, attention_of(stored.model, X), stored.model.read(answers))


def _some(rows: Ints, n: int) -> Ints:
    """The middles of `n` stretches of the rows."""
    places = ((np.arange(n) + 0.5) * len(rows) / n).astype(np.int64)
    return rows[np.unique(places)]


def _importances(model_type: str, parts: Sequence[_Part]) -> pd.DataFrame:
    frames = []
    for part in sorted(parts, key=lambda part: part.fold.number):
        importance = part.found.importance()
        total = importance.sum()
        frames.append(
            pd.DataFrame(
                {
                    "model": model_type,
                    "fold": part.fold.number,
                    "feature": part.found.columns,
                    "importance": importance,
                    "share": importance / total if total > 0 else importance,
                    "n_rows": len(part.X),
                    "method": part.found.method,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _contributions(part: _Part, times: pd.Index) -> pd.DataFrame:
    """One row per bar and feature, the base of each bar first."""
    found, (n, k, n_outputs) = part.found, part.found.values.shape
    whole = np.concatenate([found.base[:, None, :], found.values], axis=1).reshape(n * (k + 1), n_outputs)
    values = np.concatenate([np.full((n, 1), np.nan), part.X.table()], axis=1).ravel()
    frame = pd.DataFrame(whole, columns=list(found.outputs))
    frame.insert(0, "value", values)
    frame.insert(0, "feature", np.tile([BASE, *found.columns], n))
    frame.insert(0, "fold", part.fold.number)
    frame.insert(0, "open_time", times[part.X.rows].repeat(k + 1))
    return frame


def _facts(
    told: _Coin, model_type: str, parts: Sequence[_Part], folds: Sequence[Fold], n_begun: int, seconds: float
) -> dict[str, Any]:
    found, n_rows = parts[0].found, sum(len(part.X) for part in parts)
    n_tested = sum(len(fold.test) for fold in folds)
    return {
        "model": model_type,
        "method": found.method,
        "unit": found.unit,
        "outputs": ", ".join(found.outputs),
        "n_rows": n_rows,
        "n_tested": n_tested,
        "folds": n_begun,
        "all_folds": len(folds),
        "seconds": seconds,
        "residual": float(np.average([part.residual for part in parts], weights=[len(part.X) for part in parts])),
        "rule": rule(n_rows, n_tested, n_begun, len(folds), told.config.max_seconds),
        "refused": "",
    }


def _lags(model_type: str, parts: Sequence[_Part]) -> pd.DataFrame:
    frames = []
    for part in sorted(parts, key=lambda part: part.fold.number):
        if part.found.lags is None:
            continue
        sizes = part.found.lags.sum(axis=1)
        attention = np.full(len(sizes), np.nan) if part.attention is None else part.attention.mean(axis=0)
        columns = (model_type, part.fold.number, np.arange(len(sizes)), sizes / max(sizes.sum(), 1e-300), attention)
        frames.append(pd.DataFrame(dict(zip(LAG_COLUMNS, columns, strict=True))))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(LAG_COLUMNS))


def _why(told: _Coin, model_type: str, newest: _Part) -> pd.DataFrame:
    """The latest out-of-sample bar by its fold's model, and the last bar by the final model."""
    by_fold = why_frame(
        newest.found,
        newest.X,
        newest.probabilities,
        told.tables.decisions,
        model=model_type,
        by=f"fold {newest.fold.number}",
    )
    by_final = _by_final_model(told, model_type, newest)
    return by_fold if by_final is None else pd.concat([by_fold, by_final], ignore_index=True)


def _by_final_model(told: _Coin, model_type: str, newest: _Part) -> pd.DataFrame | None:
    """The last bar by the model that goes to production; None, which is told, where that has learned from the bar."""
    tables, last = told.tables, len(told.tables.features) - 1
    if last in learnable_rows(tables.splits, tables.labels["label_end"]):
        told.tell(f"{told.coin}: the final {model_type} has learned from the last bar and does not explain it")
        return None
    model, card = load_bundle(told.places.bundle(told.coin, model_type))
    samples = samples_of(tables.features[card["features"]])
    X = samples.take(np.array([last]))
    if X.behind()[0] < model.reach - 1:
        told.tell(f"{told.coin}: the last bar has too few bars behind it for the final {model_type}")
        return None
    background = samples.take(newest.X.rows[newest.X.rows != last])
    if len(background) == 0:
        return None
    found = explain(model, X, background=background, n_starts=told.config.starts, n_steps=told.config.steps)
    return why_frame(found, X, model.probabilities(X), tables.decisions, model=model_type, by="final")
