"""One call from a file of candles to a model that decides, and one from a folder to the same model.

>>> predictor = train_on_history("BTC-USDT.csv", "lightgbm", folder="btc")    # doctest: +SKIP
>>> print(predictor.scores)                                                   # doctest: +SKIP
>>> load_predictor("btc").predict("BTC-USDT.csv").tail()                      # doctest: +SKIP

A predictor carries what it was worth: its `card` holds the out-of-fold scores beside those of the baselines. Asked about bars
that it has learned from, it answers from memory: only the card, and bars after `card["history"]["last"]`, say what it can do.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crp_pipeline.candles import (
    CandleReport,
    any_candles,
    commonest_interval,
    repair_candles,
    require_history,
    validate_candles,
)
from crp_pipeline.candles.contract import WARNINGS, is_repaired
from crp_pipeline.contracts import (
    CLASSES,
    PROBABILITIES,
    Bools,
    Floats,
    LabelSchema,
    Samples,
    check_frame,
    interval_length,
)
from crp_pipeline.errors import BundleError, DataContractError, InsufficientHistoryError
from crp_pipeline.features import CATALOG, compute_features, feature_set_id, ready_rows, warm_up_bars
from crp_pipeline.labels import make_labels
from crp_pipeline.models import (
    MODEL_TYPES,
    Model,
    ModelSpec,
    Trained,
    create_model,
    cross_fit,
    load_bundle,
    samples_of,
    save_bundle,
    select_features,
    train,
)
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.models.parameters import Parameter
from crp_pipeline.models.scoring import SCORES_AGAINST_PRIOR, class_returns, scores_side_by_side
from crp_pipeline.provenance import code_revision, library_versions
from crp_pipeline.settings import LabelConfig, SelectionConfig, WalkForwardConfig
from crp_pipeline.splits import fold_table, folds_of
from crp_pipeline.storage import frame_hash, read_manifest

History = str | PathLike[str] | pd.DataFrame
"""A parquet or CSV file of candles, or such a table, in any of the usual spellings."""
Progress = Callable[[str], None]

SIGNALS = ("SELL", "HOLD", "BUY")
"""What is done for each of `contracts.CLASSES`."""
KIND = "predictor"
PRIOR = "prior"
RETURN = "forward_return"
GOLDEN_ROWS = 32
FEWEST_ROWS = 200
"""Rows that the first fold learns from at least."""
N_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model with everything that it takes to ask it about candles."""

    model: Model
    card: Mapping[str, Any] = field(repr=False)
    """What it learned from, how, and its out-of-fold `scores`; JSON values."""
    predictions: pd.DataFrame | None = field(default=None, repr=False)
    """Out of fold, `contracts.PredictionSchema`; None for a predictor from a folder."""

    @property
    def scores(self) -> pd.DataFrame:
        """Out-of-fold scores, one row per model, baselines on top: `models.scoring.SCORES_AGAINST_PRIOR`."""
        scores, own = self.card["scores"], self.model.model_type
        others = [name for name in dict.fromkeys((*MODEL_TYPES, *scores)) if name in scores and name != own]
        table = pd.DataFrame([scores[name] for name in (*others, own)], columns=list(SCORES_AGAINST_PRIOR), dtype=np.float64)
        table.insert(0, "model", [*others, own])
        return table

    def __str__(self) -> str:
        own = self.scores.iloc[-1]
        return (
            f"{own['model']} of {self.card['history']['bars']:,} bars of {self.card['interval']}, "
            f"horizon {self.card['horizon']}; out of fold on {own['n']:,.0f} bars ({own['effective_n']:,.0f} independent): "
            f"log-loss {own['log_loss']:.4f}, {own['log_loss_gain']:+.4f} nats saved against the class prior "
            f"({own['log_loss_gain_low']:+.4f} to {own['log_loss_gain_high']:+.4f}), {_share(own, 'accuracy')}, "
            f"{_share(own, 'directional_accuracy')}, calibration error {own['calibration_error']:.1%}"
        )

    def predict(self, history: History) -> pd.DataFrame:
        """One row per bar, by `open_time`: `signal`, `confidence`, `p_short`, `p_neutral`, `p_long`, `expected_change`.

        `signal` is BUY, SELL or HOLD, taken at the bar's close to be held for `card["horizon"]` bars from the next open on;
        `confidence` is its probability; `expected_change` the forward return that is expected (0.01 is 1 %). The last bar is
        taken as closed: leave out the running one. A bar that was filled in, or without enough history behind it in the
        table, is HOLD with NaN. What comes later in the table changes no earlier row.

        Nothing is repaired: raises `DataContractError` for candles that break the contract (`candles.repair_candles` mends
        them in the open) or are of another interval than those learned from.
        """
        candles = _sound_candles(history, self.card["interval"])
        samples = self._samples(candles)
        is_known = _has_history(candles, samples, self.card["interval"], self.model.reach) & ~is_repaired(candles)
        rows = np.flatnonzero(is_known)
        decisions = pd.DataFrame(np.nan, index=candles.index, columns=["confidence", *PROBABILITIES, "expected_change"])
        decisions.insert(0, "signal", "HOLD")
        if len(rows):
            outputs = self.model.predict(samples.take(rows))
            probability = self.model.read(outputs)
            values = [probability.max(axis=1), *probability.T, self._expected_change(outputs, probability)]
            decisions.iloc[rows, 1:] = np.column_stack(values)
            decisions.iloc[rows, 0] = np.array(SIGNALS)[probability.argmax(axis=1)]
        return decisions

    def _samples(self, candles: pd.DataFrame) -> Samples:
        """Every bar of the candles, with the columns that the model learned from, in their order."""
        table = compute_features(candles, CATALOG, interval=interval_length(self.card["interval"]))
        return samples_of(table[list(self.card["features"])])

    def _expected_change(self, outputs: Floats, probability: Floats) -> Floats:
        """The model's own forecast of the return where it makes one, else what each class brought in the past: (n,)."""
        if RETURN in self.model.outputs:
            return outputs[:, self.model.outputs.index(RETURN)]
        # a matrix product rounds a row differently in tables of different length
        return np.asarray((probability * np.asarray(self.card["class_return"], dtype=np.float64)).sum(axis=1))


@dataclass(frozen=True, eq=False)
class _Lesson:
    """Everything that a model is to learn from, made of one table of candles."""

    source: str
    interval: str
    report: CandleReport
    candles: pd.DataFrame
    features: pd.DataFrame
    labels: pd.DataFrame
    roles: pd.DataFrame
    selection: pd.DataFrame
    label_config: LabelConfig
    walk_forward: WalkForwardConfig

    def selection_for(self, model_type: str) -> pd.DataFrame | None:
        """What was selected; None for the model that looks for the last move among all features."""
        return None if MODEL_CLASSES[model_type].reads_every_feature else self.selection


def train_on_history(  # noqa: PLR0913 - the front door: one call, every choice by keyword
    history: History,
    model_type: str = "hybrid",
    *,
    variant: str = "default",
    horizon: int | None = None,
    interval: str | None = None,
    params: Mapping[str, Parameter] | None = None,
    labels: LabelConfig | None = None,
    walk_forward: WalkForwardConfig | None = None,
    select: bool = True,
    max_gap: int = 4,
    folder: str | PathLike[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Predictor:
    """A model of the candles' next moves with its out-of-fold scores, saved into `folder` if one is named.

    Candles are repaired as the pipeline repairs them, and what was found is told and kept in the card. Features are those of
    one coin alone. The scores come from purged walk-forward folds, with features chosen inside each block if `select`; then a
    final model learns from every labelled bar. `interval` is the commonest step unless given, `horizon` that of `labels`, in
    bars; without `walk_forward` the first half is learned from and the rest tested in five blocks. `params` are the model's
    own parameters, such as `n_rounds` or `epochs`; `progress` is told a line now and then.

    Raises `ValueError` for an unknown model type, variant or parameter, `DataContractError` for candles that cannot be used,
    `InsufficientHistoryError` for too few bars or labels of one class, and `BundleError` for a folder that holds something
    else than a model. The folder is written last, whole or not at all.
    """
    spec, tell = ModelSpec(model_type, variant, dict(params or {})), progress or _nobody
    create_model(model_type, variant=variant, **spec.params)
    place = None if folder is None else _replaceable(folder)
    label_config = _label_config(labels, horizon)
    lesson = _lesson(history, interval, label_config, walk_forward, SelectionConfig(enabled=select), max_gap, seed, tell)
    share = lesson.walk_forward.validation_share
    made_from = lesson.features, lesson.labels, lesson.roles
    chosen = lesson.selection_for(model_type)
    trained = train(spec, *made_from, seed=seed, selection=chosen, validation_share=share, progress=progress)
    card = _card(spec, trained, lesson, _scores(spec, trained, lesson, seed), seed)
    if place is not None:
        save_bundle(trained.model, place, card=card, golden=_golden(trained, lesson))
        tell(f"saved in {place}")
    return Predictor(trained.model, card, trained.predictions)


def load_predictor(folder: str | PathLike[str]) -> Predictor:
    """The predictor that `train_on_history` saved, after every file has been verified and the golden inputs replayed.

    Raises `BundleError` for a folder that was altered, is of another feature set, or holds a model without a predictor's card.
    """
    model, card = load_bundle(Path(folder), feature_set_id=feature_set_id(CATALOG))
    if card.get("kind") != KIND:
        raise BundleError(f"{folder} holds a {model.model_type} model that train_on_history did not save: it has no scores")
    return Predictor(model, card)


# ---- candles --------------------------------------------------------------------------------------------------------


def _source(history: History) -> str:
    return "the table of candles" if isinstance(history, pd.DataFrame) else Path(history).name


def _sound_candles(history: History, interval: str) -> pd.DataFrame:
    """Candles in time order, as they are; raises `DataContractError` where they break the contract."""
    source = _source(history)
    candles = any_candles(history, source=source)
    if len(candles) > 1 and (step := commonest_interval(candles.index)) != interval:
        raise DataContractError(f"{source} has bars of {step}, the model learned from bars of {interval}")
    report = validate_candles(candles, interval, source=source)
    broken = next((issue for issue in report.issues if issue.kind not in WARNINGS), None)
    if broken is not None:
        raise DataContractError(f"{source}: {broken}; nothing is repaired here: use candles.repair_candles first")
    return candles.sort_index()


def _has_history(candles: pd.DataFrame, samples: Samples, interval: str, reach: int) -> Bools:
    """(n,) bars before which every feature has a value on each bar that the model looks at."""
    is_ready = ready_rows(candles, CATALOG, interval=interval_length(interval))
    return np.asarray(is_ready & (samples.behind() >= warm_up_bars(CATALOG) + reach - 2))


# ---- training -------------------------------------------------------------------------------------------------------


def _nobody(_: str) -> None:
    """Who listens when nobody does."""


def _label_config(labels: LabelConfig | None, horizon: int | None) -> LabelConfig:
    if labels is None:
        return LabelConfig() if horizon is None else LabelConfig(horizon=horizon)
    if horizon is not None and horizon != labels.horizon:
        raise ValueError(f"horizon = {horizon} and labels.horizon = {labels.horizon} are not the same: give one of them")
    return labels


def _replaceable(folder: str | PathLike[str]) -> Path:
    """The folder, if nothing or an earlier model is there: whatever else it is would be lost."""
    place = Path(folder).resolve()
    is_free = not place.exists() or (place.is_dir() and not any(place.iterdir()))
    if not is_free and "model_type" not in read_manifest(place):
        raise BundleError(f"{folder} is there already and holds no model: name a folder that may be replaced")
    return place


def _lesson(
    history: History,
    interval: str | None,
    label_config: LabelConfig,
    walk_forward: WalkForwardConfig | None,
    selection: SelectionConfig,
    max_gap: int,
    seed: int,
    tell: Progress,
) -> _Lesson:
    source = _source(history)
    raw = any_candles(history, source=source)
    step = commonest_interval(raw.index) if interval is None else interval
    candles, report = repair_candles(raw, step, max_gap=max_gap, source=source)
    tell(f"{source}: {report}")
    config = walk_forward or _halves(candles, label_config.horizon, source)
    table = compute_features(candles, CATALOG, interval=interval_length(step))
    # features of other coins and of feeds have no value anywhere
    features = table.loc[:, table.notna().any()]
    labels = check_frame(make_labels(candles, label_config), LabelSchema, what=f"labels of {source}")
    ready = ready_rows(candles, CATALOG, interval=interval_length(step)) & ~is_repaired(candles)
    _require_classes(labels.loc[ready, "signal"].dropna(), source)
    roles = fold_table(labels, ready, config)
    tell(f"{features.shape[1]} features, {int(labels['signal'].notna().sum()):,} labelled bars, {roles.shape[1]} folds")
    chosen = select_features(
        features, labels, roles, config=selection, seed=seed, validation_share=config.validation_share, progress=tell
    )
    return _Lesson(source, step, report, candles, features, labels, roles, chosen, label_config, config)


def _halves(candles: pd.DataFrame, horizon: int, source: str) -> WalkForwardConfig:
    """The first half of the bars past the features' warm-up to learn from, then five test blocks; the embargo is a horizon."""
    warm_up, kept_free = warm_up_bars(CATALOG), 2 * horizon + 1
    needed = warm_up + 2 * (FEWEST_ROWS + kept_free)
    require_history(candles, needed, source=source, setting=f"{warm_up} for the features, the rest to learn and to test")
    test_size = (len(candles) - warm_up) // (2 * N_FOLDS)
    return WalkForwardConfig(train_size=len(candles) - N_FOLDS * test_size, test_size=test_size, embargo=horizon)


def _require_classes(signal: "pd.Series[float]", source: str) -> None:
    came = signal.unique()
    if len(came) == 0:
        raise InsufficientHistoryError(f"{source}: no bar has both features and a label")
    if len(came) == 1:
        only = CLASSES[int(came[0]) + 1]
        raise InsufficientHistoryError(f"{source}: all {len(signal):,} labels are {only}: there is nothing to tell apart")


def _golden(trained: Trained, lesson: _Lesson) -> Samples:
    """The latest tested bars that the model has enough history for."""
    samples = samples_of(lesson.features[list(trained.features)])
    is_tested = (trained.predictions["fold"] >= 0).to_numpy() & (samples.behind() >= trained.model.reach - 1)
    return samples.take(np.flatnonzero(is_tested)[-GOLDEN_ROWS:])


# ---- card -----------------------------------------------------------------------------------------------------------


def _scores(spec: ModelSpec, trained: Trained, lesson: _Lesson, seed: int) -> dict[str, dict[str, float]]:
    """Out-of-fold scores of the baselines and the model, on the bars that all of them forecast."""
    share, folds = lesson.walk_forward.validation_share, folds_of(lesson.roles)
    names = [name for name, kind in MODEL_CLASSES.items() if kind.is_baseline and name != spec.model_type]
    made_from = lesson.features, lesson.labels, folds
    forecasts = {
        name: cross_fit(ModelSpec(name), *made_from, seed=seed, selection=lesson.selection_for(name), validation_share=share)
        for name in names
    }
    forecasts[spec.model_type] = trained.predictions
    return scores_side_by_side(forecasts, lesson.labels, prior=PRIOR, block=lesson.label_config.horizon + 1, seed=seed)


def _card(
    spec: ModelSpec, trained: Trained, lesson: _Lesson, scores: Mapping[str, Mapping[str, float]], seed: int
) -> dict[str, Any]:
    facts = {
        "kind": KIND,
        **asdict(spec),
        "seed": seed,
        "interval": lesson.interval,
        "horizon": lesson.label_config.horizon,
        "labels": asdict(lesson.label_config),
        "walk_forward": asdict(lesson.walk_forward),
        "feature_set_id": feature_set_id(CATALOG),
        "features": trained.features,
        "outputs": trained.model.outputs,
        "rounds": trained.rounds,
        "learned_rows": trained.n_learned,
        "n_parameters": trained.model.n_parameters,
        "seconds": round(trained.seconds + sum(fold.seconds for fold in trained.folds), 3),
        "class_return": class_returns(trained.predictions, lesson.labels),
        "history": _history_facts(lesson),
        "scores": scores,
        "libraries": library_versions(),
        "code": code_revision(),
    }
    as_json: dict[str, Any] = json.loads(json.dumps(_without_nan(facts)))
    return as_json


def _history_facts(lesson: _Lesson) -> dict[str, Any]:
    times = lesson.candles.index
    return {
        "source": lesson.source,
        "bars": len(times),
        "first": times[0].isoformat(),
        "last": times[-1].isoformat(),
        "hash": frame_hash(lesson.candles),
        "issues": {str(issue.kind): issue.count for issue in lesson.report.issues},
    }


def _share(scores: "pd.Series[Any]", name: str) -> str:
    """`accuracy 41.2% (39.0% to 43.4%)`."""
    told = name.replace("_", " ")
    return f"{told} {scores[name]:.1%} ({scores[f'{name}_low']:.1%} to {scores[f'{name}_high']:.1%})"


def _without_nan(value: Any) -> Any:
    """The same with None for every number that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and not isfinite(value) else value
