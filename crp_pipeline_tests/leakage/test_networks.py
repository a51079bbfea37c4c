"""No network sees past its row, learns from bars that it was not given, or lets a hole pass for the past."""

import numpy as np
import pytest
import torch

from crp_pipeline.contracts import Samples
from crp_pipeline.models import Validation
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.models.nets.convolution import CausalConv
from crp_pipeline.models.nets.tcn import Tcn
from crp_pipeline.models.scaling import fit_scale
from crp_pipeline_tests.networks import NETWORKS, problem, small, taught

LEARN, WATCH = np.arange(40, 500), np.arange(507, 600)
each_network = pytest.mark.parametrize("name", NETWORKS)


@pytest.fixture(scope="module")
def market():
    return problem(907)


@pytest.fixture(scope="module")
def learned(market):
    return {name: taught(name, *market, rows=LEARN, watch=WATCH, epochs=2) for name in NETWORKS}


def with_noise_after(samples, row, *, seed=0):
    """The same history with every later bar another, of another size, and some of them missing or infinite."""
    history = samples.history.copy()
    later = history[row + 1 :]
    rng = np.random.default_rng(seed)
    later[:] = rng.normal(0, 1e6, later.shape)
    later[rng.random(later.shape) < 0.2] = np.nan
    later[rng.random(later.shape) < 0.1] = np.inf
    return Samples(history, samples.rows, samples.segment_start, samples.columns)


@each_network
def test_a_prediction_stands_when_every_later_bar_becomes_noise(name, market, learned):
    samples, model = market[0], learned[name]
    for row in (610, 655, 731, 800):
        rows = np.arange(600, row + 1)
        then = model.predict(with_noise_after(samples, row, seed=row).take(rows))
        np.testing.assert_allclose(then, model.predict(samples.take(np.arange(600, 880)))[: len(rows)], atol=1e-6)


@each_network
def test_a_prediction_changes_with_the_last_bar_of_its_window(name, market, learned):
    """Without this, the test above could not fail."""
    samples, row = market[0], np.array([700])
    moved = samples.history.copy()
    moved[700] += 3.0
    now, then = (learned[name].predict(it.take(row)) for it in (samples, Samples(moved, samples.rows, samples.segment_start)))
    assert np.abs(now - then).max() > 1e-6


@each_network
def test_a_fit_does_not_see_bars_outside_the_windows_of_its_rows(name, market):
    samples, labels = market
    model = taught(name, samples, labels, rows=LEARN, watch=WATCH, epochs=2)
    elsewhere = np.ones(len(samples.history), dtype=bool)
    for row in np.concatenate([LEARN, WATCH]):
        elsewhere[row - model.reach + 1 : row + 1] = False
    # between the last window and its row a chunk passes over bars that no row's window holds
    elsewhere[LEARN[0] : WATCH[-1]] = False
    history = samples.history.copy()
    history[elsewhere] = np.random.default_rng(1).normal(50, 500, history[elsewhere].shape)
    again = taught(name, Samples(history, samples.rows, samples.segment_start), labels, rows=LEARN, watch=WATCH, epochs=2)
    X = samples.take(np.arange(700, 800))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


@each_network
def test_a_scale_is_learned_from_the_rows_to_learn_and_not_from_the_watched_ones(name, market):
    samples, labels = market
    history = samples.history.copy()
    history[WATCH[0] :] *= 1_000.0
    there = taught(name, Samples(history, samples.rows, samples.segment_start), labels, rows=LEARN, watch=WATCH, epochs=1)
    here = taught(name, samples, labels, rows=LEARN, watch=WATCH, epochs=1)
    scales = [[part._scale for part in (model.components.values() if name == "hybrid" else [model])] for model in (here, there)]
    for one, other in zip(*scales, strict=True):
        np.testing.assert_array_equal(one.center, other.center)
        np.testing.assert_array_equal(one.spread, other.spread)


@each_network
def test_what_lies_before_a_hole_is_no_past_of_what_lies_behind_it(name, market, learned):
    samples, model = market[0], learned[name]
    starts = np.where(np.arange(len(samples.history)) < 700, 0, 700)
    rows = np.arange(700 + model.reach - 1, 800)
    before = samples.history.copy()
    before[:700] = np.random.default_rng(0).normal(0, 1e3, before[:700].shape)
    now, then = (model.predict(Samples(it, rows, starts)) for it in (samples.history, before))
    np.testing.assert_array_equal(now, then)


@each_network
def test_a_fit_does_not_look_over_a_hole(name, market):
    samples, labels = market
    starts = np.where(np.arange(len(samples.history)) < 300, 0, 300)
    reach = small(name).reach
    rows = np.arange(300 + reach - 1, 700)
    y = labels[small(name).targets[0]].to_numpy()[rows]
    before = samples.history.copy()
    before[:300] = np.random.default_rng(0).normal(0, 1e3, before[:300].shape)
    fits = [small(name, epochs=2).fit(Samples(it, rows, starts), y, seed=1) for it in (samples.history, before)]
    X = Samples(samples.history, np.arange(710, 800), starts)
    np.testing.assert_array_equal(*(fit.predict(X) for fit in fits))


# planted leaks


class Peeking(CausalConv):
    """Padded on both sides, as convolutions are by default."""

    def forward(self, x):
        ahead = torch.cat([x[:, 1:], x[:, -1:]], dim=1)
        return super().forward(ahead)


def test_a_convolution_that_looks_one_bar_ahead_is_caught(market, monkeypatch):
    def body(self, n_features):
        net = Tcn(n_features, width=12, levels=2, dropout=0.0)
        net.blocks[0].layers[1] = Peeking(12, 12, kernel=3)
        torch.nn.init.normal_(net.blocks[0].layers[4].mix.weight)
        return net

    monkeypatch.setattr(MODEL_CLASSES["tcn"], "body", body)
    model = taught("tcn", *market, rows=LEARN, epochs=1)
    with pytest.raises(AssertionError):
        test_a_prediction_stands_when_every_later_bar_becomes_noise("tcn", market, {"tcn": model})


def test_a_scale_that_knows_the_watched_bars_is_caught(market, monkeypatch):
    def of_all_bars(self, scale, X, *rest):
        return fit_scaled(self, fit_scale(X.history), X, *rest)

    fit_scaled = MODEL_CLASSES["tcn"]._fit_scaled
    monkeypatch.setattr(MODEL_CLASSES["tcn"], "_fit_scaled", of_all_bars)
    with pytest.raises(AssertionError):
        test_a_scale_is_learned_from_the_rows_to_learn_and_not_from_the_watched_ones("tcn", market)


def test_watching_the_learned_rows_is_no_validation(market):
    """A network stopped on what it learned from runs on: the watched loss falls with the learned one."""
    samples, labels = problem(907, strength=0.0)
    y = labels["signal"].to_numpy()
    own = small("tcn", epochs=12, patience=3).fit(
        samples.take(LEARN), y[LEARN], validation=Validation(samples.take(LEARN), y[LEARN]), seed=1
    )
    later = small("tcn", epochs=12, patience=3).fit(
        samples.take(LEARN), y[LEARN], validation=Validation(samples.take(WATCH), y[WATCH]), seed=1
    )
    assert own.rounds > later.rounds
