"""Latency, by a clock of the test's own."""

from itertools import count

import numpy as np
import pytest

import crp_pipeline.defs.costs as costs_room
from crp_pipeline.contracts import Samples
from crp_pipeline.defs.costs import latencies_ms
from crp_pipeline.errors import NotFittedError
from crp_pipeline.models import Latency, create_model, measure_latency
from crp_pipeline.models.baselines import Prior
from crp_pipeline.models.gbdt import XGBoost
from crp_pipeline.places import Places
from crp_pipeline.settings import load_settings


class Clock:
    """Each call of a runtime takes one millisecond longer than the one before, and the warm-up an hour."""

    def __init__(self, n_warm_up, n_calls):
        durations = [*[3_600.0] * n_warm_up, *(milliseconds / 1_000 for milliseconds in range(1, n_calls + 1))]
        self.steps, self.now = iter(durations * 2), 0.0
        self.reads = count()

    def __call__(self):
        if next(self.reads) % 2:
            self.now += next(self.steps)
        return self.now


class Asked(Prior):
    """Writes down what it is asked."""

    model_type = "asked"
    rows = ()

    def predict(self, X):
        self.rows = (*self.rows, *X.rows.tolist())
        type(self).seen = self.rows
        return super().predict(X)


def samples(n=5):
    return Samples(np.random.default_rng(0).normal(size=(n, 2)), np.arange(n))


def test_percentiles_are_those_of_the_counted_calls_in_milliseconds():
    model = Prior().fit(samples(), np.array([-1.0, 0, 1, 0, 1]))
    native, onnx = measure_latency(model, samples(), n_calls=101, n_warm_up=3, clock=Clock(3, 101))
    # 1 to 101 ms: the middle one is 51
    assert (native.p50_ms, native.p90_ms, native.p99_ms) == pytest.approx((51, 91, 100))
    assert native.mean_ms == pytest.approx(51)
    assert (onnx.p50_ms, onnx.n_calls) == (pytest.approx(51), 101)
    assert list(native.row()) == ["model_type", "runtime", "n_calls", "mean_ms", "p50_ms", "p90_ms", "p99_ms"]
    assert [latency.runtime for latency in (native, onnx)] == ["native", "onnx"]
    assert native == Latency(**native.row())


def test_every_sample_takes_its_turn_alone():
    model = Asked().fit(samples(3), np.array([-1.0, 0, 1]))
    measure_latency(model, samples(3), n_calls=4, n_warm_up=2, clock=Clock(2, 4))
    assert Asked.seen == (1, 2, 0, 1, 2, 0)


def test_a_model_of_many_threads_is_measured_on_one_and_keeps_its_threads(monkeypatch):
    model = create_model("xgboost", n_rounds=2, n_threads=2, min_leaf_rows=1).fit(samples(), np.array([-1.0, 0, 1, 0, 1]))
    used = set()
    predict = XGBoost.predict

    def noting(self, X):
        used.add(self.params.n_threads)
        return predict(self, X)

    monkeypatch.setattr(XGBoost, "predict", noting)
    measure_latency(model, samples(), n_calls=3, n_warm_up=0)
    assert used == {1}
    assert model.params.n_threads == 2


def test_an_unfitted_model_has_no_latency():
    with pytest.raises(NotFittedError):
        measure_latency(Prior(), samples())


def test_the_models_of_a_roster_answer_one_after_the_other_and_a_card_without_a_mean_counts_at_its_slowest_tenth(
    tmp_path, monkeypatch
):
    native = {"runtime": "native", "p90_ms": 3.0}
    cards = {
        "lightgbm": [native | {"mean_ms": 2.0}, {"runtime": "onnx", "mean_ms": 50.0, "p90_ms": 60.0}],
        "catboost": [native | {"p90_ms": 5.0}],
    }
    monkeypatch.setattr(costs_room, "read_manifest", lambda folder: {"latency": cards[folder.stem]})
    settings = load_settings(roster=("lightgbm", "catboost"), data_dir=tmp_path)
    assert latencies_ms("BTC-USDT", settings, Places(tmp_path)) == {"mean_ms": 7.0, "p90_ms": 8.0}
