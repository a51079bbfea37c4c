"""The SQLite file in which a study's trials are kept, one study at a time, and the trials as a table.

A trial is written when it ended: completed, pruned, or failed with its reason. One that a kill cut off is not in the file and
never happened. The study at work lies in memory, since a commit for each parameter of each trial would take longer than a small
model's training.
"""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from crp_pipeline.errors import DiskError, TuningError
from crp_pipeline.models.parameters import Parameter
from crp_pipeline.storage import named

STARTUP_TRIALS = 10
"""Trials that are drawn blindly before the sampler learns from them."""
UNPRUNED_TRIALS = 5
"""Trials that must have run through all folds before one is pruned."""
COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
"""What became of a trial that ended."""
IS_DEFAULT, REASON, SECONDS = "is_default", "reason", "seconds"
"""Facts that a trial of the file carries beside its parameters."""


@contextmanager
def only_study(storage: Path | None, owner: str) -> Iterator[None]:
    """Nobody else works on the file meanwhile; raises `TuningError` where somebody does."""
    if storage is None:
        yield
        return
    with named(storage):
        storage.parent.mkdir(parents=True, exist_ok=True)
        file = storage.with_name(f".{storage.name}.lock").open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TuningError(f"{owner} is being tuned by another process, which alone may write {storage}") from error
        yield


@dataclass(frozen=True)
class KeptStudy:
    """A study at work in memory, and its copy in a file, into which a trial is written whole or not at all when it ends."""

    study: Any
    file: Any
    """The study in SQLite; None where nothing is kept."""
    path: Path | None = None
    """Of the file."""

    def keep(self, trial: Any) -> None:
        """Write a trial that ended into the file."""
        if self.file is not None:
            with _named(self.path):
                self.file.add_trial(self.study.get_trials(deepcopy=False)[trial.number])


@contextmanager
def opened(storage: Path | None, key: str, *, lowers: bool) -> Iterator[KeptStudy]:
    """The study of this key with every trial that ever ended; Optuna itself says nothing meanwhile."""
    import optuna

    loudness = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    direction = "minimize" if lowers else "maximize"
    pruner = optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED_TRIALS, n_warmup_steps=0)
    study = optuna.create_study(study_name=key, direction=direction, pruner=pruner)
    with _named(storage):
        kept = None if storage is None else optuna.storages.RDBStorage(f"sqlite:///{storage}")
    try:
        with _named(storage):
            file = None if kept is None else _stored_study(kept, key, direction)
        study.add_trials([] if file is None else file.trials)
        yield KeptStudy(study, file, storage)
    finally:
        optuna.logging.set_verbosity(loudness)
        if kept is not None:
            kept.remove_session()
            kept.engine.dispose()


@contextmanager
def _named(path: Path | None) -> Iterator[None]:
    """What SQLite says of a file that it cannot write becomes one sentence that names the file."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        why = getattr(error.__cause__ or error, "orig", error)
        raise DiskError(f"{path} cannot be written: {why}; the trials in it stay") from error


def _stored_study(storage: Any, key: str, direction: str) -> Any:
    import optuna

    return optuna.create_study(storage=storage, study_name=key, load_if_exists=True, direction=direction)


def line_up_default(study: Any, nearest: Mapping[str, Parameter]) -> None:
    """Have the variant's own parameters tried next, unless they were; `nearest` is the point of the space nearest to them."""
    if not any(is_default(trial) for trial in study.trials):
        study.enqueue_trial(dict(nearest), user_attrs={IS_DEFAULT: True})


def sampler(seed: int, n_ended: int) -> Any:
    """What suggests the trial after so many that ended: the same one whether or not the study was killed before."""
    import numpy as np
    from optuna.samplers import TPESampler

    own_seed = int(np.random.SeedSequence([seed, n_ended]).generate_state(1)[0])
    return TPESampler(seed=own_seed, n_startup_trials=STARTUP_TRIALS)


def ended_trials(study: Any) -> list[Any]:
    """The trials that ended, in the order in which they began."""
    return [trial for trial in study.get_trials(deepcopy=False) if has_ended(trial)]


def state_of(trial: Any) -> str:
    """What became of a trial that ended."""
    return {"COMPLETE": COMPLETE, "PRUNED": PRUNED}.get(trial.state.name, FAILED)


def has_ended(trial: Any) -> bool:
    """True for a trial that is neither running nor waiting."""
    return bool(trial.state.is_finished())


def is_default(trial: Any) -> bool:
    """True for the trial of the variant's own parameters."""
    return bool(trial.user_attrs.get(IS_DEFAULT, False))


def best_trial(study: Any, *, lowers: bool) -> Any:
    """The completed trial with the best score, the earliest of equals; None where none was completed."""
    completed = [trial for trial in ended_trials(study) if state_of(trial) == COMPLETE]
    if not completed:
        return None
    return min(completed, key=lambda trial: (trial.value if lowers else -trial.value, trial.number))


def trial_table(study: Any) -> pd.DataFrame:
    """One row per trial that ended: `trial`, `state`, `score`, `folds`, `seconds`, `is_default`, `reason`, its parameters.

    Trials are numbered from 1 on in the order in which they began. The default trial's parameters are those of the space that
    are nearest to the variant's own.
    """
    return pd.DataFrame([_row(trial, number) for number, trial in enumerate(ended_trials(study), start=1)])


def _row(trial: Any, number: int) -> dict[str, Any]:
    return {
        "trial": number,
        "state": state_of(trial),
        "score": float("nan") if trial.value is None or state_of(trial) == FAILED else float(trial.value),
        "folds": len(trial.intermediate_values),
        "seconds": float(trial.user_attrs.get(SECONDS, 0.0)),
        IS_DEFAULT: is_default(trial),
        REASON: str(trial.user_attrs.get(REASON, "")),
        **trial.params,
    }
