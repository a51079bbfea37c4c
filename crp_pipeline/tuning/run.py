"""One model of one coin tuned: the study, its trials in the ledger, its best parameters in a file, and what they are worth."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from crp_pipeline.gate.costs import cost_data
from crp_pipeline.gate.sentinels import feature_readings, quarantined
from crp_pipeline.ledger import Ledger
from crp_pipeline.models import MODEL_CLASSES, ModelSpec, StudyConfig, Tuned, recipe_of, space_of, tune
from crp_pipeline.models.base import Progress
from crp_pipeline.models.inner import Objective, inner_history
from crp_pipeline.places import Places
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import write_json
from crp_pipeline.tuning.book import Book, Clock, CoinTables
from crp_pipeline.tuning.comparison import compare_tuned
from crp_pipeline.tuning.stored import read_document, stored_path

TUNABLE = tuple(name for name, kind in MODEL_CLASSES.items() if kind.search_space)
"""Model types with a search space."""
MOST_TRIALS = 100


@dataclass(frozen=True, kw_only=True)
class TuningRun:
    """What is asked of a study."""

    n_trials: int = MOST_TRIALS
    """Trials that the study has in the end, those of earlier runs included."""
    timeout_s: float | None = None
    objective: Objective = "log_loss"
    seed: int | None = None
    """That of the settings where it is left out."""
    n_jobs: int = 1
    variant: str = "default"
    compare: bool = True
    """True: tuned against default on the outer folds in the end."""


@dataclass(frozen=True)
class TunedModel:
    """A study that came to its end."""

    document: Mapping[str, Any]
    """What is stored."""
    found: Tuned


def tune_model(
    places: Places,
    settings: PipelineSettings,
    coin: str,
    model_type: str,
    asked: TuningRun,
    *,
    occasion: str,
    clock: Clock,
    progress: Progress,
) -> TunedModel:
    """Tune one model of one coin, go on with a study that was begun, and store the best parameters.

    `occasion` names the run in the ledger. Raises `TuningError` for a coin without its tables, a model that is not tuned and a
    study in which every trial failed, `LedgerError` where the coin's ledger is damaged: what is not counted is not tried.
    """
    space_of(model_type)
    tables, spec = CoinTables.load(places, coin), _spec_of(model_type, asked.variant, settings)
    seed, config = settings.seed if asked.seed is None else asked.seed, _study_config(tables, settings, asked)
    book = Book(Ledger(places.ledger), settings.of(coin), tables, cost_data(settings, coin), occasion, clock)
    path = stored_path(places, coin, model_type, "json")
    found = tune(
        spec,
        tables.features,
        tables.labels,
        tables.splits,
        n_trials=asked.n_trials,
        seed=seed,
        config=config,
        storage=path.with_suffix(".db"),
        progress=progress,
        on_trial=partial(book.append_inner, like=book.inner_trial(spec, seed=seed, n_folds=config.n_folds)),
    )
    document = _document(found, tables, settings.of(coin), asked, seed)
    write_json(path, {**document, "comparison": None})
    if asked.compare:
        document["comparison"] = compare_tuned(places, settings, tables, found, seed=seed, book=book, progress=progress)
        write_json(path, document)
    return TunedModel(read_document(path), found)


def _spec_of(model_type: str, variant: str, settings: PipelineSettings) -> ModelSpec:
    return recipe_of(model_type, variant, asked={}, params={}, n_threads=settings.threads, device="auto")


def _study_config(tables: CoinTables, settings: PipelineSettings, asked: TuningRun) -> StudyConfig:
    """The study as the settings have it, with the features quarantined that predict too well before the first test bar."""
    config = StudyConfig(
        objective=asked.objective,
        embargo=settings.walk_forward.embargo,
        validation_share=settings.walk_forward.validation_share,
        selection=settings.selection,
        n_jobs=asked.n_jobs,
        timeout_s=asked.timeout_s,
    )
    if not settings.quarantines:
        return config
    inner = inner_history(tables.features, tables.labels, tables.splits, n_folds=config.n_folds, embargo=config.embargo)
    return replace(config, excluded=quarantined(feature_readings(inner.features, inner.labels, settings.sentinels)))


def _document(found: Tuned, tables: CoinTables, own: PipelineSettings, asked: TuningRun, seed: int) -> dict[str, Any]:
    """What is stored; `own` are the coin's settings. Nothing in it tells how long it took: equal studies are equal files."""
    return {
        "coin": tables.coin,
        "model": found.spec.model_type,
        "variant": found.spec.variant,
        "params": dict(found.params),
        "objective": asked.objective,
        "score": found.score,
        "default_score": found.default_score,
        "trials": {state: found.count(state) for state in ("complete", "pruned", "failed")},
        "study": found.key,
        "learned_until": found.learned_until.isoformat(),
        "first_test": found.first_test.isoformat(),
        "seed": seed,
        "feature_set_id": tables.feature_set_id,
        "horizon": own.horizon,
        "labels": asdict(own.labels),
        "comparison": None,
    }
