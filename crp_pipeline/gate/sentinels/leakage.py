"""How far a project that shuffles its rows would have fooled itself tonight."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Floats, Ints, Samples
from crp_pipeline.models import create_model, samples_of
from crp_pipeline.settings import SentinelConfig
from crp_pipeline.splits import PurgedWalkForward

DEPTH, LEARNING_RATE = 4, 0.1


@dataclass(frozen=True)
class LeakReading:
    """Accuracy of one recipe on the same rows, shuffled and purged; NaN where there are too few rows."""

    shuffled_accuracy: float
    purged_accuracy: float
    n_rows: int
    """Rows that both have scored."""

    @property
    def gap(self) -> float:
        """Accuracy that is owed to test labels that overlap with training labels, and to training on the future."""
        return self.shuffled_accuracy - self.purged_accuracy


def leak_meter(
    features: pd.DataFrame, labels: pd.DataFrame, *, config: SentinelConfig, embargo: int, seed: int, n_threads: int
) -> LeakReading:
    """A small LightGBM that tells up from down, scored by shuffled K-fold and by a purged walk forward.

    Neighbouring labels share most of their life: shuffled, nearly every test row has a training row whose label is nearly its
    own, so that a random walk seems to be forecast. The latest labels with a direction count, without a gap between them,
    because drawing some of them would thin out the overlap that is measured. `embargo` is in rows. The purged
    folds also learn from fewer rows, so a market with an edge has some gap too: the meter is shown and judges nothing.
    """
    from sklearn.model_selection import KFold

    directed = np.flatnonzero(np.abs(labels["signal"].to_numpy()) == 1)[-config.leak_rows :]
    block = len(directed) // (config.leak_folds + 1)
    if block <= embargo + 1:
        return LeakReading(math.nan, math.nan, 0)
    lesson = _Lesson(samples_of(features.iloc[directed]), labels["signal"].to_numpy()[directed], config, seed, n_threads)
    walk = PurgedWalkForward(train_size=len(directed) - config.leak_folds * block, test_size=block, embargo=embargo)
    folds = walk.split(labels.index[directed], labels["label_end"].iloc[directed])
    purged = lesson.hits((fold.train, fold.test) for fold in folds)
    shuffled = lesson.hits(KFold(config.leak_folds, shuffle=True, random_state=seed).split(directed))
    both = ~np.isnan(purged) & ~np.isnan(shuffled)
    if not both.any():
        return LeakReading(math.nan, math.nan, 0)
    return LeakReading(float(shuffled[both].mean()), float(purged[both].mean()), int(both.sum()))


@dataclass(frozen=True)
class _Lesson:
    samples: Samples
    signal: Floats
    config: SentinelConfig
    seed: int
    n_threads: int

    def hits(self, folds: Iterable[tuple[Ints, Ints]]) -> Floats:
        """Whether the direction of each row was told by the model of its fold: (n,); NaN where no fold could."""
        hit = np.full(len(self.signal), np.nan)
        for train, test in folds:
            if len(np.unique(self.signal[train])) == 2:
                hit[test] = self._directions(train, test) == self.signal[test]
        return hit

    def _directions(self, train: Ints, test: Ints) -> Floats:
        model = create_model(
            "lightgbm",
            n_rounds=self.config.leak_rounds,
            max_depth=DEPTH,
            learning_rate=LEARNING_RATE,
            n_threads=self.n_threads,
        )
        model.fit(self.samples.take(train), self.signal[train], seed=self.seed)
        short, _, long = model.predict(self.samples.take(test)).T
        return np.where(long > short, 1.0, -1.0)
