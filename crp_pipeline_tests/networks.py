"""Networks small enough for tests, and the plain way of training and asking one."""

import numpy as np
import torch

from crp_pipeline.contracts import CLASSES, Samples
from crp_pipeline.models import MODEL_TYPES, Validation, create_model, samples_of
from crp_pipeline.models.block import target_table
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.models.hybrid import Hybrid
from crp_pipeline.models.network import Network
from crp_pipeline_tests.recording import learnable_history

NETWORKS = tuple(name for name in MODEL_TYPES if issubclass(MODEL_CLASSES[name], Network | Hybrid))
SMALL_WINDOW = {"window": 8}
SIZES = {
    "mlp_regressor": {"width": 8},
    "lstm": {"width": 8, "n_layers": 2, **SMALL_WINDOW},
    "stacked_lstm": {"width": 8, **SMALL_WINDOW},
    "lstm_forecaster": {"width": 12, "n_layers": 1, **SMALL_WINDOW},
    "cnn_lstm": {"width": 12, "kernel": 3, **SMALL_WINDOW},
    "attention_lstm": {"width": 16, "n_heads": 2, **SMALL_WINDOW},
    "tcn": {"width": 12, "levels": 2},
    "tcn_attention": {"width": 12, "levels": 1, "band": 4, "n_heads": 2},
    "transformer": {"width": 16, "n_heads": 2, **SMALL_WINDOW},
    "pooled_transformer": {"width": 16, "n_heads": 2, **SMALL_WINDOW},
    "hybrid": {"width": 16, "n_heads": 2, "n_layers": 1, **SMALL_WINDOW},
}
QUICK = {"epochs": 6, "learning_rate": 5e-3}


def small(name, **params):
    """An unfitted network of a few hundred weights."""
    chunk = {} if name == "lstm" else {"chunk": 32}
    return create_model(name, **{**SIZES[name], **QUICK, **chunk, **params})


def problem(n_bars=1_207, *, strength=2.0, seed=0):
    """(samples, label frame) of a market in which `x0` tells the signal."""
    features, labels = learnable_history(n_bars, seed=seed, strength=strength)
    return samples_of(features), labels


def taught(name, samples, labels, *, rows, watch=None, seed=1, **params):
    """A small network fitted on some rows."""
    model = small(name, **params)
    y, weight = target_table(labels, model.targets), labels["weight"].to_numpy()
    validation = None if watch is None else Validation(samples.take(watch), y[watch], weight[watch])
    return model.fit(samples.take(rows), y[rows], weight=weight[rows], validation=validation, seed=seed)


def one_by_one(model, X: Samples):
    """What a network says of each row when it is shown that row's window and nothing else: the plain way."""
    net, answers = model._learned, []
    with torch.inference_mode():
        for row in X.rows:
            window = X.history[row - model.reach + 1 : row + 1]
            answers.append(net(torch.tensor(window, dtype=torch.float32)[None]).numpy()[0])
    return np.array(answers)


def skill(model, samples, labels, rows):
    """Share of directed labels whose side the model has right."""
    outputs, signal = model.predict(samples.take(rows)), labels["signal"].to_numpy()[rows]
    if model.outputs[: len(CLASSES)] == CLASSES:
        lean = outputs[:, 2] - outputs[:, 0]
    else:
        lean = outputs[:, 1] - 0.5 if model.outputs == ("down", "up") else outputs[:, 0]
    return float(np.mean(np.sign(lean)[signal != 0] == signal[signal != 0]))
