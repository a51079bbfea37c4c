"""How long one prediction takes, natively and as exported, on one thread."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np

from crp_pipeline.contracts import Floats, Samples
from crp_pipeline.metrics.latency import nearest_rank_percentile
from crp_pipeline.models.base import Model
from crp_pipeline.models.export import OnnxModel

Runtime = Literal["native", "onnx"]


@dataclass(frozen=True)
class Latency:
    """Mean and percentiles, by nearest rank, of the time of one prediction of one row, in milliseconds."""

    model_type: str
    runtime: Runtime
    n_calls: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float

    def row(self) -> dict[str, Any]:
        """A row of a table of latencies."""
        return asdict(self)


def measure_latency(
    model: Model,
    X: Samples,
    *,
    n_calls: int = 1_000,
    n_warm_up: int = 50,
    clock: Callable[[], float] = perf_counter,
) -> tuple[Latency, Latency]:
    """Latency of a fitted model and of its ONNX form at batch 1: the samples take turns, the first calls do not count.

    Both run on one thread, whatever the model was fitted with. `clock` gives seconds.
    """
    from threadpoolctl import threadpool_limits

    single, rows = model.on_one_thread(), [X.take(X.rows[i : i + 1]) for i in range(len(X))]
    exported = OnnxModel(model.to_onnx().SerializeToString())
    windows = [row.windows(model.reach).astype(np.float32) for row in rows]
    with threadpool_limits(limits=1):
        native = _seconds(single.predict, rows, n_calls, n_warm_up, clock)
        onnx = _seconds(exported.predict, windows, n_calls, n_warm_up, clock)
    return _latency(model, "native", native), _latency(model, "onnx", onnx)


def _seconds(
    predict: Callable[[Any], Any], shown: list[Any], n_calls: int, n_warm_up: int, clock: Callable[[], float]
) -> Floats:
    """Duration of each counted call: (n_calls,)."""
    found = np.empty(n_calls)
    for call in range(-n_warm_up, n_calls):
        row = shown[call % len(shown)]
        before = clock()
        predict(row)
        took = clock() - before
        if call >= 0:
            found[call] = took
    return found


def _latency(model: Model, runtime: Runtime, seconds: Floats) -> Latency:
    p50, p90, p99 = (1_000 * nearest_rank_percentile(seconds, percent) for percent in (50, 90, 99))
    return Latency(model.model_type, runtime, len(seconds), 1_000 * float(seconds.mean()), p50, p90, p99)
