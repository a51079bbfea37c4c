"""One transformer trained over all coins, which each coin shows on its own scale.

The pool has one calendar: the test blocks of the coin with the longest past. A block's model learns from the rows of every coin
whose labels had ended, embargo included, before the block begins: coins move together, so another coin's later label would tell
on this one's test.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import pandas as pd

from crp_pipeline.contracts import FINAL, Fold, Ints, PredictionSchema, Samples, check_frame
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.models.base import ModelSpec, Progress, Validation, samples_of
from crp_pipeline.models.block import target_table
from crp_pipeline.models.catalog import from_spec
from crp_pipeline.models.cross_fit import Trained, typical
from crp_pipeline.models.forecast import FoldResult, forecast, prediction_frame
from crp_pipeline.models.pooled_transformer import PooledTransformer
from crp_pipeline.models.selection import columns_of, narrowed, quarantined_in
from crp_pipeline.splits import UNUSED, folds_of, learnable_rows


@dataclass(frozen=True)
class PoolMember:
    """What one coin brings: frames over the same bars."""

    history: pd.DataFrame
    labels: pd.DataFrame
    roles: pd.DataFrame
    selection: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        if not self.history.index.equals(self.labels.index) or not self.history.index.equals(self.roles.index):
            raise DataContractError("features, labels and splits of a pool's coin must be about the same bars")


@dataclass(frozen=True)
class PoolBlock:
    """A test block of the pool's calendar."""

    number: int
    begins: pd.Timestamp
    ends: pd.Timestamp
    """Opening time of the bar after it."""


def train_pool(
    spec: ModelSpec,
    members: Mapping[str, PoolMember],
    *,
    seed: int,
    embargo: pd.Timedelta,
    validation_share: float = 0.15,
    progress: Progress | None = None,
) -> dict[str, Trained]:
    """Out-of-fold predictions and the final model of every coin, from networks that learned from all of them.

    `spec` is of a `pooled_transformer`. Raises `InsufficientHistoryError` when no coin has a row to learn from.
    """
    if spec.model_type != PooledTransformer.model_type:
        raise ValueError(f"a pool trains a {PooledTransformer.model_type}, not a {spec.model_type}")
    if not any(_test_starts(member) for member in members.values()):
        raise InsufficientHistoryError(f"no coin of {', '.join(members) or 'the pool, which has none,'} has a fold to test")
    samples = {coin: samples_of(member.history) for coin, member in members.items()}
    results: dict[str, list[FoldResult]] = {coin: [] for coin in members}
    for block in calendar(members):
        rows = {coin: _ended_before(member, block.begins - embargo) for coin, member in members.items()}
        names = shared_features(members, block.begins)
        fitted = _fit(spec, members, samples, rows, names, seed, validation_share, progress)
        for coin, member in members.items():
            test = _tested_in(member, block)
            if len(test):
                results[coin].append(
                    _result(fitted[coin], _named(coin, samples[coin], names), Fold(block.number, rows[coin], test))
                )
    return _final(spec, members, samples, results, seed, progress)


def calendar(members: Mapping[str, PoolMember]) -> list[PoolBlock]:
    """The test blocks of the coin that is tested first."""
    starts = {coin: found for coin, member in members.items() if (found := _test_starts(member))}
    first = min(starts, key=lambda coin: starts[coin][0])
    ends = [*starts[first][1:], max(member.history.index[-1] for member in members.values()) + pd.Timedelta(1, "ns")]
    return [PoolBlock(number, *pair) for number, pair in enumerate(zip(starts[first], ends, strict=True))]


def shared_features(members: Mapping[str, PoolMember], known_at: pd.Timestamp | None) -> list[str]:
    """Features that most coins' selections kept, in the order of the table and as many as one coin keeps.

    Of each coin the latest selection counts that was made before `known_at`, None for the final one. All features where no
    coin has a selection by then. What one coin's selection has quarantined no coin shows.
    """
    selections = [member.selection for member in members.values() if member.selection is not None]
    hidden = {name for selection in selections for name in quarantined_in(selection)}
    table = [name for name in next(iter(members.values())).history.columns if name not in hidden]
    chosen_by = [[name for name in _kept(member, known_at) if name not in hidden] for member in members.values()]
    kept = [names for names in chosen_by if names]
    if not kept:
        return table
    votes = Counter(name for names in kept for name in names)
    most = max(len(names) for names in kept)
    chosen = set(sorted(votes, key=lambda name: (-votes[name], table.index(name)))[:most])
    return [name for name in table if name in chosen]


def _kept(member: PoolMember, known_at: pd.Timestamp | None) -> list[str]:
    if member.selection is None:
        return []
    if known_at is None:
        return columns_of(member.selection, FINAL)
    made = [fold.number for fold in folds_of(member.roles) if member.roles.index[fold.test[0]] <= known_at]
    return columns_of(member.selection, made[-1]) if made else []


def _fit(
    spec: ModelSpec,
    members: Mapping[str, PoolMember],
    samples: Mapping[str, Samples],
    rows: Mapping[str, Ints],
    names: Sequence[str],
    seed: int,
    validation_share: float,
    progress: Progress | None,
    **settled: float,
) -> dict[str, PooledTransformer]:
    """A network of all coins' rows, as one model per coin."""
    model = from_spec(spec, **settled)
    assert isinstance(model, PooledTransformer)
    model.progress = progress
    reached = {coin: found[samples[coin].behind()[found] >= model.reach - 1] for coin, found in rows.items()}
    if not any(len(found) for found in reached.values()):
        raise InsufficientHistoryError(f"no coin of {', '.join(members)} has a row to learn from with {model.reach} bars")
    since = None if settled else _watched_since(members, reached, validation_share)
    learn, watch = {}, {}
    for coin, member in members.items():
        shown = _named(coin, samples[coin], names)
        ended = np.full(len(reached[coin]), True) if since is None else _ends(member, reached[coin]) < since
        learn[coin] = _lesson(shown, member, reached[coin][ended], model)
        if since is not None:
            watch[coin] = _lesson(shown, member, reached[coin][_times(member, reached[coin]) >= since], model)
    return model.fit_pool(learn, watch, seed=seed)


def _named(coin: str, samples: Samples, names: Sequence[str]) -> Samples:
    """The samples with only these columns."""
    place = {name: column for column, name in enumerate(samples.columns)}
    missing = [name for name in names if name not in place]
    if missing:
        raise DataContractError(f"{coin} has no feature {missing[0]}, which the pool learns from")
    return narrowed(samples, np.array([place[name] for name in names]))


def _lesson(shown: Samples, member: PoolMember, rows: Ints, model: PooledTransformer) -> Validation:
    y, weight = target_table(member.labels, model.targets), member.labels["weight"].to_numpy()
    return Validation(shown.take(rows), y[rows], weight[rows])


def _watched_since(members: Mapping[str, PoolMember], rows: Mapping[str, Ints], share: float) -> pd.Timestamp:
    """The moment after which the latest share of all coins' rows lies."""
    times = np.sort(np.concatenate([_times(member, rows[coin]).asi8 for coin, member in members.items()]))
    return pd.Timestamp(times[int(len(times) * (1 - share))], tz="UTC")


def _times(member: PoolMember, rows: Ints) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(member.history.index[rows]).as_unit("ns")


def _ends(member: PoolMember, rows: Ints) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(member.labels["label_end"].iloc[rows])


def _ended_before(member: PoolMember, moment: pd.Timestamp) -> Ints:
    """Labelled rows whose label had ended before a moment."""
    rows = learnable_rows(member.roles, member.labels["label_end"])
    return rows[_ends(member, rows) < moment]


def _tested_in(member: PoolMember, block: PoolBlock) -> Ints:
    """Rows of a block that play a role in the coin's own splits."""
    plays = (member.roles != UNUSED).any(axis=1).to_numpy()
    times = member.history.index
    return np.flatnonzero(plays & (times >= block.begins) & (times < block.ends))


def _test_starts(member: PoolMember) -> list[pd.Timestamp]:
    return [member.roles.index[fold.test[0]] for fold in folds_of(member.roles)]


def _result(model: PooledTransformer, shown: Samples, fold: Fold) -> FoldResult:
    started = perf_counter()
    outputs, probabilities = forecast(model, shown.take(fold.test))
    return FoldResult(
        fold=fold,
        outputs=outputs,
        probabilities=probabilities,
        names=model.outputs,
        rounds=model.rounds,
        settled=model.settled,
        history=model.history,
        n_learned=len(fold.train),
        seconds=float(model.history["seconds"].sum()) + perf_counter() - started,
    )


def _final(
    spec: ModelSpec,
    members: Mapping[str, PoolMember],
    samples: Mapping[str, Samples],
    results: Mapping[str, Sequence[FoldResult]],
    seed: int,
    progress: Progress | None,
) -> dict[str, Trained]:
    """The network of all labelled rows, trained for as long as the blocks settled on, with each coin's past."""
    started, names = perf_counter(), shared_features(members, None)
    rows = {coin: learnable_rows(member.roles, member.labels["label_end"]) for coin, member in members.items()}
    longest = max(results.values(), key=len)
    fitted = _fit(spec, members, samples, rows, names, seed, 0.0, progress, **typical(longest))
    seconds = perf_counter() - started
    return {
        coin: Trained(
            predictions=check_frame(prediction_frame(member.history.index, results[coin]), PredictionSchema, what=coin),
            model=fitted[coin],
            features=tuple(names),
            rounds=fitted[coin].rounds,
            n_learned=len(rows[coin]),
            folds=tuple(results[coin]),
            seconds=seconds,
        )
        for coin, member in members.items()
    }
