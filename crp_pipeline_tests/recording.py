"""A learnable history, and models that write down what they were shown or that depend on every number of it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Ints
from crp_pipeline.models.base import Model, Validation, class_index
from crp_pipeline.models.baselines import Prior

HORIZON = 6
BARS_OF_A_LABEL = HORIZON + 1
"""A label ends at the open `HORIZON` bars after the entry, which is at the next open."""


def learnable_history(n_bars, *, seed=0, strength=2.0, unlabelled=()):
    """(features, labels): signals drawn from a softmax in `x0`; the last rows and `unlabelled` ones have no label.

    `noise` has nothing to do with the signal, `scale` is what a scaler would be wanted for.
    """
    rng = np.random.default_rng(seed)
    times = pd.date_range("2024-01-01", periods=n_bars, freq="h", tz="UTC", name="open_time", unit="ns")
    features = pd.DataFrame(
        {"x0": rng.normal(size=n_bars), "noise": rng.normal(size=n_bars), "scale": 5 + rng.exponential(9, n_bars)},
        index=times,
    )
    signal = (true_probabilities(features, strength).cumsum(axis=1) < rng.random((n_bars, 1))).sum(axis=1) - 1.0
    labels = pd.DataFrame(
        {
            "signal": signal,
            "forward_return": 0.01 * signal + rng.normal(0, 0.002, n_bars),
            "trend_strength": signal,
            "label_end": times + pd.Timedelta(hours=BARS_OF_A_LABEL),
            "weight": rng.uniform(0.2, 1.0, n_bars),
            "volatility": 0.01,
        },
        index=times,
    )
    missing = [*range(n_bars - BARS_OF_A_LABEL, n_bars), *unlabelled]
    labels.iloc[missing, labels.columns.get_indexer(["signal", "forward_return", "trend_strength", "weight"])] = np.nan
    labels.iloc[missing, labels.columns.get_loc("label_end")] = pd.NaT
    return features, labels


def wide_history(n_bars, *, seed=0, strength=2.0, n_noise=6):
    """(features, labels): one informative column among noise, and every kind of column that tells nothing more.

    In the order of the table: `x0`, `noise`, `scale`, `noise_0` ..., then `same` and `x0_again` (exact copies of `noise` and
    `x0`), `near` (x0 with a little noise), `falling` (a falling function of `scale`), `flat`, `nothing` (all missing), `seldom`
    (one value, mostly missing) and `late` (x0, missing in the first third).
    """
    features, labels = learnable_history(n_bars, seed=seed, strength=strength)
    rng = np.random.default_rng(seed + 1_000)
    for number in range(n_noise):
        features[f"noise_{number}"] = rng.normal(size=n_bars)
    features["same"], features["x0_again"] = features["noise"], features["x0"]
    features["near"] = features["x0"] + 0.05 * rng.normal(size=n_bars)
    features["falling"] = -np.log(features["scale"])
    features["flat"], features["nothing"] = 3.0, np.nan
    features["seldom"] = np.where(rng.random(n_bars) < 0.1, 1.0, np.nan)
    features["late"] = features["x0"].where(np.arange(n_bars) >= n_bars // 3)
    return features, labels


def true_probabilities(features, strength=2.0):
    """(n, 3) probabilities of short, neutral and long that the signals were drawn from."""
    pull = strength * features["x0"].to_numpy()
    odds = np.exp(np.column_stack([-pull, np.zeros(len(pull)), pull]))
    return odds / odds.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Fit:
    """What one fit was shown."""

    rows: Ints
    y: np.ndarray
    weight: np.ndarray | None
    validation: Validation | None
    seed: int
    columns: tuple[str, ...] = ()


class Recording(Prior):
    """The class prior, which keeps a record of every fit; `fits` is emptied by whoever registers it."""

    model_type = "recording"
    fits: ClassVar[list[Fit]] = []

    def fit(self, X, y, *, weight=None, validation=None, seed=0):
        self.fits.append(Fit(X.rows, y, weight, validation, seed, tuple(X.columns)))
        return super().fit(X, y, weight=weight, validation=validation, seed=seed)


class Shrunken(Model):
    """Ridge regression without intercept, stopped by nothing: any other number anywhere gives other predictions."""

    model_type = "shrunken"

    def fit(self, X, y, *, weight=None, validation=None, seed=0):
        del weight, seed
        tables, signals = [X.table()], [y]
        if validation is not None:
            # watched rows count half, so that they matter as they do in early stopping
            tables.append(validation.samples.table() / 2)
            signals.append(validation.y)
        table, came = np.vstack(tables), np.eye(3)[class_index(np.concatenate(signals))]
        self._slopes = np.linalg.solve(table.T @ table + 50 * np.eye(table.shape[1]), table.T @ came)
        return self

    def predict(self, X):
        odds = np.exp(np.clip(X.table() @ self._slopes, -5, 5))
        return odds / odds.sum(axis=1, keepdims=True)

    def _write(self, folder):
        raise NotImplementedError

    @classmethod
    def _read(cls, folder):
        raise NotImplementedError
