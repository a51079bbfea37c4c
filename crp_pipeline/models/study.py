"""Tuning: a resumable study of a model's hyper-parameters inside the history that comes before every outer test block.

A trial is one set of hyper-parameters, fitted on purged folds of that history one after another and pruned after any of them
where it does worse than the median trial did there (`inner` makes the folds). The sampler is a tree-structured Parzen estimator
(Bergstra et al. 2011). The first trial is the variant's own parameters, so that the best trial is never worse than they are on
these folds.

Trials are kept in a SQLite file (`study_file`), and a study that was killed goes on where it was. What is tried next follows
from the seed and from the trials that ended, so that with one trial at a time the one that the kill cut off is tried again with
its very parameters, and a killed study ends with the trials of one that was not. Other ingredients (rows, labels, features,
space, code) are another study in the same file.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import RLock
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from crp_pipeline.errors import TuningError
from crp_pipeline.models.base import ModelSpec, Progress
from crp_pipeline.models.catalog import MODEL_CLASSES, from_spec
from crp_pipeline.models.forecast import FoldResult, prediction_frame
from crp_pipeline.models.ingredients import code, digest, recipe_facts
from crp_pipeline.models.inner import OBJECTIVES, InnerHistory, Lesson, Objective, inner_history, learned, lessons_of, score_of
from crp_pipeline.models.parameters import Parameter
from crp_pipeline.models.record import key_of
from crp_pipeline.models.search import SearchSpace, facts_of
from crp_pipeline.models.study_file import (
    COMPLETE,
    FAILED,
    IS_DEFAULT,
    PRUNED,
    REASON,
    SECONDS,
    KeptStudy,
    best_trial,
    ended_trials,
    is_default,
    line_up_default,
    only_study,
    opened,
    sampler,
    state_of,
    trial_table,
)
from crp_pipeline.provenance import library_versions
from crp_pipeline.settings import SelectionConfig


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """How trials are judged, beside how many there are."""

    objective: Objective = "log_loss"
    """`log_loss`, lower is better, or `accuracy`: 0.7 accuracy + 0.3 directional accuracy, higher is better."""
    n_folds: int = 3
    embargo: int = 24
    """Rows, as between the outer folds."""
    validation_share: float = 0.15
    selection: SelectionConfig | None = field(default_factory=SelectionConfig)
    """How features are chosen inside each inner fold; None: every feature."""
    excluded: tuple[str, ...] = ()
    """Features that are quarantined."""
    n_jobs: int = 1
    """Trials at a time. With more than one the order in which they end decides what is tried next."""
    timeout_s: float | None = None
    """No trial begins after so many seconds of this run; those that run are ended."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a value that is not allowed."""
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective = {self.objective!r} is not allowed: it must be one of {', '.join(OBJECTIVES)}")
        if self.n_folds < 2 or self.n_jobs < 1 or self.embargo < 0:
            raise ValueError(f"at least two folds, one job and an embargo from 0 on are needed, got {self}")

    @property
    def lowers(self) -> bool:
        """True where a lower score is better."""
        return self.objective == "log_loss"


@dataclass(frozen=True)
class Tried:
    """One trial that forecast something, as it is told before the study knows that it ended."""

    number: int
    spec: ModelSpec
    """The recipe with the trial's parameters."""
    predictions: pd.DataFrame
    """On the inner test bars of the folds that it came to, `contracts.PredictionSchema`."""
    state: str


@dataclass(frozen=True)
class Tuned:
    """What a study found."""

    spec: ModelSpec
    """The recipe that was tuned."""
    params: Mapping[str, Parameter]
    """Of the best trial, to be put over the variant's own; none where the variant's own were best."""
    score: float
    default_score: float | None
    """Of the variant's own parameters on the same folds; None where they could not be fitted."""
    trials: pd.DataFrame
    """One row per trial that ended: `trial`, `state`, `score`, `seconds`, `is_default`, `reason`, and its parameters."""
    key: str
    """Of the ingredients."""
    learned_until: pd.Timestamp
    """When the last label ended that the study looked at."""
    first_test: pd.Timestamp
    """Open time of the first bar that an outer fold tests; later than `learned_until`."""
    seconds: float
    """Of this run, features included."""
    training_s: float
    """Of these, fitting and forecasting."""

    def count(self, state: str) -> int:
        """How many trials ended so."""
        return int((self.trials["state"] == state).sum())


def tune(  # noqa: PLR0913 - one choice per keyword, most with a default
    spec: ModelSpec,
    history: pd.DataFrame,
    labels: pd.DataFrame,
    roles: pd.DataFrame,
    *,
    n_trials: int,
    seed: int,
    config: StudyConfig | None = None,
    storage: Path | None = None,
    progress: Progress | None = None,
    on_trial: Callable[[Tried], None] | None = None,
) -> Tuned:
    """Search the model's space until `n_trials` of the study were completed or pruned, earlier runs of it included.

    `roles` is the outer role table: nothing from its first test bar on is looked at. `storage` is the SQLite file; None:
    nothing is kept. `on_trial` is told of each trial that forecast something before the study counts it: after a kill in
    between it is told of the same forecasts again. A trial that cannot be fitted has failed, with its reason. Raises
    `TuningError` for a model without a search space, for a study that another process works on, and where every trial failed.
    """
    config, begun = config or StudyConfig(), perf_counter()
    _require_tunable(spec, n_trials, config)
    inner = inner_history(history, labels, roles, n_folds=config.n_folds, embargo=config.embargo)
    key, owner = _key(spec, inner, config, seed), f"{history.attrs.get('coin', 'a coin')}: {spec.model_type}"
    with only_study(storage, owner), opened(storage, key, lowers=config.lowers) as kept:
        study = kept.study
        line_up_default(study, _nearest_default(spec))
        lessons = _lessons(spec, inner, config, seed, progress)
        run = _Run(kept, spec, inner, lessons, config, n_trials, seed, progress, on_trial)
        run.to_the_end()
        best, trials = best_trial(study, lowers=config.lowers), trial_table(study)
    if best is None:
        raise TuningError(f"{owner}: every one of {len(trials)} trials failed, the first because of {trials[REASON].iloc[0]}")
    return Tuned(
        spec=spec,
        params={} if is_default(best) else dict(best.params),
        score=float(best.value),
        default_score=_default_score(trials),
        trials=trials,
        key=key,
        learned_until=inner.learned_until,
        first_test=inner.first_test,
        seconds=perf_counter() - begun,
        training_s=run.training_s,
    )


def space_of(model_type: str) -> SearchSpace:
    """Where a model type is searched; raises `TuningError` that says why for one that is not tuned."""
    kind = MODEL_CLASSES.get(model_type)
    if kind is None:
        raise TuningError(f"model_type = {model_type!r} does not exist; there are {', '.join(MODEL_CLASSES)}")
    if not kind.search_space:
        why = "a baseline has nothing to tune" if kind.is_baseline else "it is shared by all coins, and tuning is per coin"
        raise TuningError(f"{model_type} is not tuned: {why}")
    return kind.search_space


class _Run:
    """The trials of one run of a study."""

    def __init__(
        self,
        kept: KeptStudy,
        spec: ModelSpec,
        inner: InnerHistory,
        lessons: list[Lesson],
        config: StudyConfig,
        n_trials: int,
        seed: int,
        progress: Progress | None,
        on_trial: Callable[[Tried], None] | None,
    ) -> None:
        self._kept, self._study, self._spec, self._inner = kept, kept.study, spec, inner
        self._lessons, self._config = lessons, config
        self._n_trials, self._seed, self._progress, self._on_trial = n_trials, seed, progress, on_trial
        self._space = space_of(spec.model_type)
        self._distributions = {name: it.distribution() for name, it in self._space.items()}
        self._lock, self._begun, self._at_work, self._ended, self.training_s = RLock(), perf_counter(), 0, 0, 0.0

    def to_the_end(self) -> None:
        """Try until there are enough trials, the time is over, or as many failed."""
        if self._config.n_jobs == 1:
            self._work()
            return
        with ThreadPoolExecutor(self._config.n_jobs) as pool:
            for job in [pool.submit(self._work) for _ in range(self._config.n_jobs)]:
                job.result()

    def _work(self) -> None:
        while (trial := self._next()) is not None:
            outcome = self._try(trial)
            with self._lock:
                self._at_work -= 1
                self._end(trial, outcome)

    def _next(self) -> Any:
        """The next trial; None where there is to be none."""
        with self._lock:
            states = [state_of(trial) for trial in ended_trials(self._study)]
            n_failed, limit = states.count(FAILED), self._config.timeout_s
            is_enough = len(states) - n_failed + self._at_work >= self._n_trials or n_failed >= self._n_trials
            is_late = limit is not None and self._ended > 0 and perf_counter() - self._begun >= limit
            if is_enough or is_late:
                return None
            self._study.sampler = sampler(self._seed, len(states) + self._at_work)
            self._at_work += 1
            return self._study.ask(self._distributions)

    def _try(self, trial: Any) -> "_Outcome":
        """Fit fold after fold, until all are done or one is enough to see that others do better."""
        spec, results, scores = _spec_of(self._spec, trial), [], []
        for step, lesson in enumerate(self._lessons, start=1):
            try:
                results.append(self._learned(spec, lesson))
            except Exception as error:  # noqa: BLE001 - whatever a library says of parameters is the trial's own failure
                return _Outcome(FAILED, results, reason=f"{type(error).__name__}: {error}")
            scores.append(score_of(results[-1], lesson, self._inner.labels, self._config.objective))
            mean = float(np.mean(scores))
            if not np.isfinite(mean):
                return _Outcome(FAILED, results, reason=f"its score in inner fold {lesson.fold.number} is {scores[-1]}")
            if self._is_hopeless(trial, mean, step) and step < len(self._lessons):
                return _Outcome(PRUNED, results, score=mean)
        return _Outcome(COMPLETE, results, score=mean)

    def _learned(self, spec: ModelSpec, lesson: Lesson) -> FoldResult:
        share = self._config.validation_share
        return learned(from_spec(spec), lesson, self._inner.labels, validation_share=share, seed=self._seed)

    def _is_hopeless(self, trial: Any, score: float, step: int) -> bool:
        """Whether the median trial did better by this fold; the default runs through all of them."""
        with self._lock:
            trial.report(score, step)
            return not is_default(trial) and bool(trial.should_prune())

    def _end(self, trial: Any, outcome: "_Outcome") -> None:
        """Tell whoever counts trials, then the study."""
        from optuna.trial import TrialState

        if outcome.results and self._on_trial is not None:
            predictions = prediction_frame(self._inner.features.index, outcome.results)
            self._on_trial(Tried(trial.number, _spec_of(self._spec, trial), predictions, outcome.state))
        seconds = sum(result.seconds for result in outcome.results)
        trial.set_user_attr(SECONDS, round(seconds, 3))
        if outcome.state == FAILED:
            trial.set_user_attr(REASON, outcome.reason)
        states = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}
        self._study.tell(trial, outcome.score if outcome.state == COMPLETE else None, state=states[outcome.state])
        self._kept.keep(trial)
        self._ended += 1
        self.training_s += seconds
        if self._progress is not None:
            self._progress(self._line(outcome))

    def _line(self, outcome: "_Outcome") -> str:
        states = [state_of(trial) for trial in ended_trials(self._study)]
        finished, gone = len(states) - states.count(FAILED), perf_counter() - self._begun
        told = f"{self._spec.model_type}: trial {finished} of {self._n_trials}"
        if outcome.state == FAILED:
            told = f"{self._spec.model_type}: a trial failed, {states.count(FAILED)} so far: {outcome.reason}"
        else:
            name = "log-loss" if self._config.lowers else "score"
            n_folds, all_folds = len(outcome.results), len(self._lessons)
            cut = f" on {n_folds} of {all_folds} folds, worse than the median there: pruned" if outcome.state == PRUNED else ""
            told += f": {name} {outcome.score:.4f}{cut}{self._best_so_far()}"
        left = gone / self._ended * max(self._n_trials - finished, 0)
        if self._config.timeout_s is not None:
            left = min(left, max(self._config.timeout_s - gone, 0.0))
        return f"{told}, {gone:.0f} s gone, {left:.0f} s left"

    def _best_so_far(self) -> str:
        best = best_trial(self._study, lowers=self._config.lowers)
        if best is None:
            return ""
        finished = [trial.number for trial in ended_trials(self._study) if state_of(trial) != FAILED]
        name = "the default" if is_default(best) else f"trial {finished.index(best.number) + 1}"
        return f" (best {best.value:.4f} of {name})"


@dataclass(frozen=True)
class _Outcome:
    state: str
    results: list[FoldResult]
    score: float = float("nan")
    """Mean over the folds that it came to."""
    reason: str = ""


def _lessons(spec: ModelSpec, inner: InnerHistory, config: StudyConfig, seed: int, progress: Progress | None) -> list[Lesson]:
    return lessons_of(
        inner,
        selection=None if MODEL_CLASSES[spec.model_type].reads_every_feature else config.selection,
        longest_reach=_longest_reach(spec),
        validation_share=config.validation_share,
        excluded=config.excluded,
        seed=seed,
        n_threads=_n_threads(spec),
        progress=progress,
    )


def _require_tunable(spec: ModelSpec, n_trials: int, config: StudyConfig) -> None:
    """Raises `TuningError` for a model that is not tuned, no trials, or more threads than cores."""
    space_of(spec.model_type)
    from_spec(spec)
    if n_trials < 1:
        raise TuningError(f"{n_trials} trials were asked for: there must be one at least")
    if config.n_jobs == 1:
        return
    cores, threads = len(os.sched_getaffinity(0)), config.n_jobs * _n_threads(spec)
    if threads > cores:
        raise TuningError(
            f"{config.n_jobs} trials at a time with {_n_threads(spec)} threads each are {threads} threads on {cores} cores: "
            "they would wait for each other; ask for fewer"
        )
    if not MODEL_CLASSES[spec.model_type].fits_side_by_side:
        raise TuningError(
            f"{spec.model_type} draws from one stream of random numbers: only one trial at a time can be repeated"
        )


def _key(spec: ModelSpec, inner: InnerHistory, config: StudyConfig, seed: int) -> str:
    """Hash of everything that a trial's score is made from, but its parameters."""
    columns = inner.labels.select_dtypes("number")
    made_from = {
        "recipe": recipe_facts(spec),
        "space": facts_of(space_of(spec.model_type)),
        "columns": list(inner.features.columns),
        "values": digest(np.ascontiguousarray(inner.features.to_numpy(dtype=np.float64))),
        "times": digest(*(pd.DatetimeIndex(it).as_unit("ns").asi8 for it in (inner.features.index, inner.labels["label_end"]))),
        "labels": {name: digest(columns[name].to_numpy(dtype=np.float64)) for name in columns},
        "roles": digest(inner.roles.to_numpy().astype(np.int64)),
        "objective": config.objective,
        "validation_share": config.validation_share,
        "selection": None if config.selection is None else asdict(config.selection),
        "excluded": sorted(config.excluded),
        "seed": seed,
        "libraries": library_versions(),
        "code": code(MODEL_CLASSES[spec.model_type].__module__, __name__, "crp_pipeline.models.selection"),
    }
    return key_of(made_from)


def _spec_of(spec: ModelSpec, trial: Any) -> ModelSpec:
    """The recipe of a trial; the default's is the variant's own, wherever it lies in the space."""
    return spec if is_default(trial) else replace(spec, params={**spec.params, **trial.params})


def _nearest_default(spec: ModelSpec) -> dict[str, Parameter]:
    own = recipe_facts(spec)["parameters"]
    return {name: it.nearest(own[name]) for name, it in space_of(spec.model_type).items()}


def _longest_reach(spec: ModelSpec) -> int:
    """Most bars that any model of the study looks at: every parameter at its upper end."""
    highest = {name: it.ends[-1] for name, it in space_of(spec.model_type).items()}
    return max(from_spec(spec).reach, from_spec(spec, **highest).reach)


def _n_threads(spec: ModelSpec) -> int:
    return int(spec.params.get("n_threads", 1))


def _default_score(trials: pd.DataFrame) -> float | None:
    own = trials.loc[trials[IS_DEFAULT] & (trials["state"] == COMPLETE), "score"]
    return float(own.iloc[0]) if len(own) else None
