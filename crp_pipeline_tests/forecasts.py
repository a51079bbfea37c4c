"""Out-of-fold predictions of made-up models over a history whose true probabilities are known."""

import numpy as np
import pandas as pd

from crp_pipeline.contracts import PROBABILITIES
from crp_pipeline.splits import PurgedWalkForward
from crp_pipeline_tests.recording import learnable_history, true_probabilities


def sharpened(probabilities, power):
    """The same ranking with more (power > 1) or less confidence; 0 knows nothing."""
    odds = probabilities**power
    return odds / odds.sum(axis=1, keepdims=True)


def guesses(n_bars, *, seed):
    """Probabilities that have nothing to do with anything."""
    return np.random.default_rng(seed).dirichlet([2, 2, 2], n_bars)


def prediction_frame(probabilities, folds, index):
    """The frame that cross-fitting would give."""
    frame = pd.DataFrame(np.nan, index=index, columns=list(PROBABILITIES)).assign(fold=-1, rounds=0)
    for fold in folds:
        frame.loc[index[fold.test], list(PROBABILITIES)] = probabilities[fold.test]
        frame.loc[index[fold.test], "fold"] = fold.number
    return frame


def stacking_problem(n_bars=1_500, *, train_size=300, test_size=300, models=None, seed=0, strength=1.0, unlabelled=()):
    """(predictions, labels, folds); `models` maps names to functions of the true probabilities."""
    features, labels = learnable_history(n_bars, seed=seed, strength=strength, unlabelled=unlabelled)
    folds = PurgedWalkForward(train_size=train_size, test_size=test_size).split(labels.index, labels["label_end"])
    truth = true_probabilities(features, strength)
    models = models or {"good": lambda p: p, "noise": lambda p: guesses(len(p), seed=seed + 99)}
    frames = {name: prediction_frame(make(truth), folds, labels.index) for name, make in models.items()}
    return frames, labels, folds
