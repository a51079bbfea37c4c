"""Networks: dense against plain windowed training, and how fast every model answers: `python -m ...benchmarks.networks`.

Both kinds of training see the same 20,000 bars of 40 features, the same network and the same watched rows; the plain one shows
each labelled bar its own window, 256 of them a step, as a textbook loop does. Ratios count; seconds are those of this machine.
"""

import resource
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer

from crp_pipeline.candles import demo_market, repair_candles
from crp_pipeline.contracts import Samples
from crp_pipeline.features import CATALOG, compute_features, warm_up_bars
from crp_pipeline.labels import LabelConfig, make_labels
from crp_pipeline.models import MODEL_TYPES, Validation, create_model, measure_latency, samples_of
from crp_pipeline.models.batches import Batch, Windows, lesson_of
from crp_pipeline.models.block import target_table
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.models.network import Network
from crp_pipeline.reporting.tables import to_text

N_FEATURES, N_LEARN, N_WATCH, N_ASKED = 40, 20_000, 3_000, 35_000
DENSE = ("tcn", "attention_lstm", "lstm_forecaster", "transformer")
HORIZON = 24


@dataclass(frozen=True)
class Problem:
    """Bars to learn from, later ones to watch, and many to be asked about."""

    samples: Samples
    labels: pd.DataFrame
    learn: np.ndarray
    watch: np.ndarray
    asked: np.ndarray


def problem() -> Problem:
    """The demo market with an edge, and the first features that have a value everywhere."""
    candles, _ = repair_candles(demo_market(0.3, n_bars=N_ASKED + 1_000, seed=0), "1h", max_gap=4)
    candles.attrs = {"coin": "DEMO"}
    table = compute_features(candles, CATALOG)
    first = warm_up_bars(CATALOG) + 300
    whole = [name for name in table if np.isfinite(table[name].to_numpy()[first:]).all()]
    labels = make_labels(candles, LabelConfig(horizon=HORIZON))
    learn = np.arange(first, first + N_LEARN)
    watch = np.arange(learn[-1] + HORIZON + 2, learn[-1] + HORIZON + 2 + N_WATCH)
    return Problem(samples_of(table[whole[:N_FEATURES]]), labels, learn, watch, np.arange(first, first + N_ASKED))


class EveryWindow(Windows):
    """All rows in a drawn order, each with its own window: the plain way."""

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Weighted batches of all windows."""
        order = rng.permutation(self.lesson.rows)
        for first in range(0, len(order), self.windows_per_batch):
            yield self._batch(order[first : first + self.windows_per_batch], is_drawn=False)


def _every_window(model: Network, X: Samples, y: np.ndarray, weight: np.ndarray | None, device: torch.device) -> EveryWindow:
    return EveryWindow(lesson_of(X, y, weight, device), model.reach, 256, 1.0)


def train_once(name: str, it: Problem, *, epochs: int, windowed: bool, n_threads: int) -> pd.DataFrame:
    """The epochs of one fit."""
    model = create_model(name, epochs=epochs, n_threads=n_threads)
    assert isinstance(model, Network)
    if windowed:
        model._batches = partial(_every_window, model)  # type: ignore[method-assign]
    y, weight = target_table(it.labels, model.targets), it.labels["weight"].to_numpy()
    watched = Validation(it.samples.take(it.watch), y[it.watch], weight[it.watch])
    model.fit(it.samples.take(it.learn), y[it.learn], weight=weight[it.learn], validation=watched)
    return model.history


def training_table(it: Problem, *, windowed_epochs: int, n_threads: int) -> pd.DataFrame:
    """One row per network: seconds of an epoch and lowest watched loss, both ways."""
    rows = []
    for name in DENSE:
        dense = train_once(name, it, epochs=15, windowed=False, n_threads=n_threads)
        plain = train_once(name, it, epochs=windowed_epochs, windowed=True, n_threads=n_threads)
        slow, fast = plain["seconds"].min(), dense["seconds"].median()
        rows.append(
            {
                "network": name,
                "windowed, s/epoch": f"{slow:.1f}",
                "dense, s/epoch": f"{fast:.2f}",
                "times faster": f"{slow / fast:.0f}",
                "windowed, watched loss": f"{plain['validation_loss'].min():.4f} in {len(plain)}",
                "dense, watched loss": f"{dense['validation_loss'].min():.4f} in {len(dense)}",
                "to that loss, times faster": f"{_seconds_to_best(plain) / _seconds_to_best(dense):.0f}",
            }
        )
        print(to_text(pd.DataFrame(rows[-1:])), flush=True)
    return pd.DataFrame(rows)


def _seconds_to_best(history: pd.DataFrame) -> float:
    return float(history["seconds"].iloc[: int(history["validation_loss"].argmin()) + 1].sum())


def answer_table(it: Problem, names: list[str], *, n_threads: int) -> pd.DataFrame:
    """One row per model: seconds for 35,000 bars and milliseconds for one, natively and as ONNX."""
    rows = []
    for name in names:
        known = {field: value for field, value in (("epochs", 1), ("n_rounds", 50)) if field in _parameters(name)}
        threads = {"n_threads": n_threads} if "n_threads" in _parameters(name) else {}
        model = create_model(name, **known, **threads)
        y = target_table(it.labels, model.targets)
        learn = it.learn[:2_000]
        model.fit(it.samples.take(learn), y[learn], weight=it.labels["weight"].to_numpy()[learn])
        started = perf_counter()
        model.predict(it.samples.take(it.asked))
        seconds = perf_counter() - started
        native, onnx = measure_latency(model, it.samples.take(it.asked[:32]), n_calls=200)
        speed = {"native, ms p50 / p90 / p99": native, "onnx, ms p50 / p90 / p99": onnx}
        told = {what: f"{it.p50_ms:.2f} / {it.p90_ms:.2f} / {it.p99_ms:.2f}" for what, it in speed.items()}
        rows.append({"model": name, "35,000 bars, s": f"{seconds:.2f}", **told, "parameters": f"{model.n_parameters:,}"})
        print(to_text(pd.DataFrame(rows[-1:])), flush=True)
    return pd.DataFrame(rows)


def _parameters(name: str) -> set[str]:
    return set(vars(create_model(name).params)) if MODEL_CLASSES[name].variants else set()


def main(
    windowed_epochs: Annotated[int, typer.Option("--windowed-epochs", min=1)] = 3,
    n_threads: Annotated[int, typer.Option("--threads", min=1)] = 2,
    answers_only: Annotated[bool, typer.Option("--answers-only")] = False,
) -> None:
    """Print both tables and the peak memory of this process."""
    it = problem()
    tables = [] if answers_only else [training_table(it, windowed_epochs=windowed_epochs, n_threads=n_threads)]
    names = [name for name in MODEL_TYPES if name != "persistence"]
    tables.append(answer_table(it, names, n_threads=n_threads))
    for table in tables:
        print(f"\n{to_text(table)}")
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


if __name__ == "__main__":
    typer.run(main)
