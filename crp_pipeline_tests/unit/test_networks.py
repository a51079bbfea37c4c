"""What each network learns, repeats, records, stores and refuses."""

import numpy as np
import pandas as pd
import pytest
import torch

from crp_pipeline.contracts import CLASSES, Samples
from crp_pipeline.errors import DataContractError, InsufficientHistoryError, TrainingError
from crp_pipeline.models import (
    VARIANTS,
    OnnxModel,
    Validation,
    create_model,
    export_onnx,
    load_bundle,
    save_bundle,
)
from crp_pipeline.models import network as network_module
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.models.nets.forecaster import Forecaster
from crp_pipeline.models.network import Network
from crp_pipeline.models.scaling import fit_scale
from crp_pipeline_tests.networks import NETWORKS, one_by_one, problem, skill, small, taught

LEARN, WATCH, LATER = np.arange(40, 700), np.arange(707, 850), np.arange(860, 1_200)
each_network = pytest.mark.parametrize("name", NETWORKS)
each_plain_network = pytest.mark.parametrize("name", [name for name in NETWORKS if issubclass(MODEL_CLASSES[name], Network)])


@pytest.fixture(scope="module")
def market():
    return problem()


@pytest.fixture(scope="module")
def learned(market):
    """Every network, fitted once."""
    return {name: taught(name, *market, rows=LEARN, watch=WATCH) for name in NETWORKS}


def test_there_is_a_network_for_every_name_of_the_zoo():
    asked = "mlp_regressor lstm stacked_lstm lstm_forecaster cnn_lstm attention_lstm tcn tcn_attention transformer"
    assert set(NETWORKS) == {*asked.split(), "pooled_transformer", "hybrid"}


@each_network
def test_a_planted_relation_is_learned_on_later_rows(name, market, learned):
    assert skill(learned[name], *market, LATER) > 0.8


@each_network
def test_classes_and_directions_sum_to_one(name, market, learned):
    found = learned[name].predict(market[0].take(LATER))
    assert found.shape == (len(LATER), len(learned[name].outputs))
    n_classes = sum(output in {*CLASSES, "down", "up"} for output in learned[name].outputs)
    if n_classes:
        np.testing.assert_allclose(found[:, :n_classes].sum(axis=1), 1, atol=1e-6)


@each_plain_network
def test_a_bar_asked_for_alone_is_answered_as_among_others(name, market, learned):
    X = market[0].take(LATER[::7])
    np.testing.assert_allclose(learned[name].predict(X), one_by_one(learned[name], X), atol=1e-5)


@each_network
def test_rows_are_answered_in_the_order_asked_for(name, market, learned):
    order = np.random.default_rng(0).permutation(LATER)[:50]
    shuffled = learned[name].predict(market[0].take(order))
    np.testing.assert_allclose(
        shuffled, learned[name].predict(market[0].take(np.sort(order)))[np.argsort(np.argsort(order))], atol=1e-6
    )
    assert learned[name].predict(market[0].take(np.array([], dtype=int))).shape == (0, len(learned[name].outputs))


@each_network
def test_the_same_seed_makes_the_same_network_bit_for_bit_and_another_seed_another(name, market, learned):
    torch.manual_seed(99)  # what the caller drew before does not matter
    again, other = (taught(name, *market, rows=LEARN, watch=WATCH, seed=seed) for seed in (1, 2))
    X = market[0].take(LATER)
    np.testing.assert_array_equal(again.predict(X), learned[name].predict(X))
    pd.testing.assert_frame_equal(again.history.drop(columns="seconds"), learned[name].history.drop(columns="seconds"))
    assert np.abs(other.predict(X) - again.predict(X)).max() > 1e-6


def test_the_random_numbers_and_threads_of_the_caller_are_left_alone(market):
    torch.manual_seed(5)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    taught("tcn", *market, rows=LEARN, epochs=1, n_threads=threads + 1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads


@each_network
def test_every_epoch_leaves_its_loss_accuracy_and_learning_rate(name, learned):
    history = learned[name].history
    assert {"epoch", "loss", "validation_loss", "validation_accuracy", "learning_rate", "gradient_norm", "seconds"} <= set(
        history
    )
    assert np.isfinite(history.drop(columns="component", errors="ignore")).all(axis=None)
    if name != "hybrid":
        assert history["epoch"].tolist() == list(range(1, len(history) + 1))
        assert learned[name].rounds == history["epoch"][history["validation_loss"].argmin()]


@each_network
def test_progress_is_told_once_an_epoch_with_the_time_left(name, market):
    told = []
    model = small(name, epochs=2)
    model.progress = told.append
    signal = market[1]["signal"].to_numpy() if model.targets[0] == "signal" else market[1][model.targets[0]].to_numpy()
    model.fit(market[0].take(LEARN), signal[LEARN])
    assert [line.split(",")[0].split(": ")[1] for line in told] == ["epoch 1 of at most 2", "epoch 2 of at most 2"] * (
        2 if name == "hybrid" else 1
    )
    assert all(line.endswith("s left") for line in told)


@each_network
def test_a_network_comes_back_from_a_bundle_exactly(name, market, learned, tmp_path):
    model, X = learned[name], market[0].take(LATER)
    folder = save_bundle(model, tmp_path / name, card={}, golden=market[0].take(LATER[:5]))
    loaded, _ = load_bundle(folder)
    assert type(loaded) is type(model)
    assert (loaded.rounds, loaded.settled, loaded.n_parameters) == (model.rounds, model.settled, model.n_parameters)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    pd.testing.assert_frame_equal(loaded.history, model.history, check_dtype=False)


@each_network
def test_parameters_are_counted_by_hand(name, learned):
    def numbers(model):
        return sum(np.prod(values.shape) for values in model._learned.parameters())

    if name == "hybrid":
        assert learned[name].n_parameters == 1 + sum(numbers(model) for model in learned[name].components.values())
    else:
        assert learned[name].n_parameters == numbers(learned[name]) > 100


@each_network
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_can_be_made_and_the_deep_one_is_larger(name, variant):
    model = create_model(name, variant=variant)
    assert model.reach >= 1
    assert model.n_parameters == 0


def test_the_sizes_are_those_of_the_catalogue():
    lstm, light = create_model("lstm").params, create_model("lstm", variant="lightweight").params
    assert (lstm.n_layers, lstm.width, lstm.dropout, lstm.window) == (3, 128, 0.35, 60)
    assert (lstm.learning_rate, lstm.weight_decay, lstm.schedule, lstm.patience) == (1e-3, 1e-5, "cosine", 7)
    assert (light.n_layers, light.width) == (2, 64)
    forecaster = create_model("lstm_forecaster").params
    assert (forecaster.n_layers, forecaster.width, forecaster.window) == (2, 64, 50)
    transformer = create_model("transformer").params
    assert (transformer.n_heads, transformer.n_layers, transformer.window) == (4, 2, 100)
    assert create_model("tcn").reach >= 125
    assert create_model("mlp_regressor").params.schedule == create_model("stacked_lstm").params.schedule == "plateau"


# stopping, schedules, weights


def test_the_best_epoch_is_gone_back_to(market):
    samples, labels = market
    contradicting = labels.assign(signal=labels["signal"].where(~labels.index.isin(labels.index[WATCH]), -labels["signal"]))
    model = taught("tcn", samples, contradicting, rows=LEARN, watch=WATCH, epochs=8, patience=3, learning_rate=5e-4)
    assert model.rounds == 1
    assert len(model.history) == 4, "stopped after three epochs without improvement"
    again = taught("tcn", samples, labels, rows=LEARN, epochs=1, learning_rate=5e-4)
    np.testing.assert_array_equal(model.predict(samples.take(LATER)), again.predict(samples.take(LATER)))


def test_the_cosine_restarts_after_ten_epochs_and_the_plateau_steps_down(market):
    history = taught("mlp_regressor", *market, rows=LEARN, watch=WATCH, epochs=12, patience=99, schedule="cosine").history
    rate = history["learning_rate"]
    assert (rate.iloc[:10].diff().dropna() < 0).all()
    assert rate.iloc[10] == rate.iloc[0] == 5e-3
    samples, labels = market
    y = labels["forward_return"].to_numpy()
    watched = Validation(samples.take(WATCH), -y[WATCH])
    model = small("mlp_regressor", epochs=12, patience=99, schedule="plateau", learning_rate=0.05)
    history = model.fit(samples.take(LEARN), y[LEARN], validation=watched, seed=1).history
    assert set(np.round(history["learning_rate"] / 0.05, 6)) >= {1.0, 0.5}


def test_class_weights_leave_the_probabilities_calibrated(market):
    samples, labels = market
    rare = labels.copy()
    rare.loc[(labels["signal"] == 1) & (np.arange(len(labels)) % 4 > 0), "signal"] = 0.0
    share = (rare["signal"].to_numpy()[LATER] == 1).mean()
    model = taught("transformer", samples, rare, rows=LEARN, watch=WATCH, class_weighting=True, epochs=10)
    assert model.predict(samples.take(LATER))[:, 2].mean() == pytest.approx(share, abs=0.05)


def test_a_network_without_the_second_target_learns_the_first(market):
    samples, labels = market
    model = small("lstm_forecaster").fit(samples.take(LEARN), labels["forward_return"].to_numpy()[LEARN])
    both = np.column_stack([labels["forward_return"], labels["forward_return"] * 3])[LEARN]
    with_second = small("lstm_forecaster").fit(samples.take(LEARN), both)
    assert skill(model, samples, labels, LATER) > 0.8
    answers = with_second.predict(samples.take(LATER))
    assert np.corrcoef(answers.T)[0, 1] > 0.8
    assert np.abs(model.predict(samples.take(LATER))[:, 1]).max() < 1.0


def test_missing_features_do_not_spoil_a_network(market):
    samples, labels = market
    holed = samples.history.copy()
    holed[::3, 1] = np.nan
    holed[:, 2] = np.nan
    model = taught("tcn", Samples(holed, samples.rows, samples.segment_start), labels, rows=LEARN)
    found = model.predict(Samples(holed, LATER, samples.segment_start))
    assert np.isfinite(found).all()


# attention


def test_attention_can_be_looked_at(market, learned):
    shares = learned["attention_lstm"].attention_weights(market[0].take(LATER[:20]))
    assert shares.shape == (20, 2, 8)
    np.testing.assert_allclose(shares.sum(axis=2), 1, atol=1e-5)


# the hybrid


def test_the_hybrids_weight_is_that_of_the_better_component(market):
    samples, labels = market
    hybrid = taught("hybrid", samples, labels, rows=LEARN, watch=WATCH, transformer_epochs=1, learning_rate=2e-3, epochs=10)
    losses = {
        name: -np.log(
            model.probabilities(samples.take(LATER))[np.arange(len(LATER)), labels["signal"].to_numpy()[LATER].astype(int) + 1]
        ).mean()
        for name, model in hybrid.components.items()
    }
    assert losses["lstm"] < losses["transformer"]
    assert hybrid.lstm_weight > 0.5
    assert set(hybrid.settled) == {"lstm_epochs", "transformer_epochs", "lstm_weight"}
    assert set(hybrid.history["component"]) == {"lstm", "transformer"}


def test_a_hybrid_without_watched_rows_takes_the_weight_it_is_told(market):
    assert taught("hybrid", *market, rows=LEARN, lstm_weight=0.25, epochs=1).lstm_weight == 0.25


# what is refused


@each_network
def test_a_window_longer_than_the_history_is_refused(name, market):
    model = small(name)
    if model.reach == 1:
        return
    rows = np.arange(model.reach - 2, 700)
    y = market[1][model.targets[0]].to_numpy()[rows]
    with pytest.raises(
        InsufficientHistoryError, match=f"row {rows[0]} has {rows[0]} bars behind it, a window of {model.reach}"
    ):
        model.fit(market[0].take(rows), y)


@each_network
def test_a_row_behind_a_hole_is_refused(name, market, learned):
    samples = market[0]
    starts = np.where(np.arange(len(samples.history)) < 900, 0, 900)
    holed = Samples(samples.history, np.array([902]), starts, samples.columns)
    if learned[name].reach == 1:
        return
    with pytest.raises(InsufficientHistoryError, match="row 902 has 2 bars behind it"):
        learned[name].predict(holed)


@each_network
@pytest.mark.parametrize("label", [np.nan, np.inf])
def test_a_missing_label_is_refused(name, label, market):
    y = market[1][small(name).targets[0]].to_numpy()[LEARN].copy()
    y[3] = label
    with pytest.raises(DataContractError, match=f"got {label} in row 4 of {len(LEARN)}"):
        small(name).fit(market[0].take(LEARN), y)


def test_a_direction_needs_both_sides(market):
    y = np.where(market[1]["signal"].to_numpy()[LEARN] > 0, 1.0, 0.0)
    with pytest.raises(InsufficientHistoryError, match="lstm tells up from down"):
        small("lstm").fit(market[0].take(LEARN), y)


def test_a_loss_that_is_not_a_number_stops_with_what_to_lower(market, monkeypatch):
    def broken(self, x, y, weight):
        return torch.full((1,), torch.nan, requires_grad=True), torch.ones(1), torch.ones(1)

    monkeypatch.setattr(Forecaster, "losses", broken)
    with pytest.raises(
        TrainingError, match=r"^tcn: the loss is nan at a learning rate of 0.005: lower learning_rate or clip_norm$"
    ):
        taught("tcn", *market, rows=LEARN)


def test_a_batch_that_does_not_fit_says_what_to_lower(market, monkeypatch):
    def too_large(self, x, y, weight):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 999 bytes")

    monkeypatch.setattr(Forecaster, "losses", too_large)
    told = r"^tcn: a batch does not fit in memory: lower batch_size \(1024\) or chunk \(32\) or width \(12\)$"
    with pytest.raises(TrainingError, match=told):
        taught("tcn", *market, rows=LEARN)


def test_another_runtime_error_is_not_taken_for_a_lack_of_memory(market, monkeypatch):
    def other(self, x, y, weight):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(Forecaster, "losses", other)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        taught("tcn", *market, rows=LEARN)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an accelerator")
def test_an_accelerator_that_is_not_there_is_an_error(market):
    with pytest.raises(TrainingError, match="device = 'cuda' was asked for and there is no accelerator"):
        taught("tcn", *market, rows=LEARN, device="cuda")


@pytest.mark.parametrize(
    ("name", "params", "told"),
    [
        ("tcn", {"window": 60}, "parameter 'window' does not exist; there are epochs, .*levels"),
        ("transformer", {"n_heads": 3}, "width = 64 is not allowed: 3 heads need a multiple of 6"),
        ("lstm", {"schedule": "sine"}, "schedule = 'sine' is not allowed: it must be one of cosine, plateau, constant"),
        ("lstm", {"dropout": 1.0}, "dropout = 1.0 is not allowed: it must be a number from 0 on, below 1"),
        ("lstm", {"class_weighting": 1}, "class_weighting = 1 is not allowed: it must be True or False"),
        ("hybrid", {"lstm_weight": 1.5}, "lstm_weight = 1.5 is not allowed: it must be a number from 0 to 1"),
    ],
)
def test_a_parameter_out_of_its_range_is_named(name, params, told):
    with pytest.raises(ValueError, match=told):
        create_model(name, **params)


# the scale


def test_a_scale_is_median_and_interquartile_range_of_what_is_there():
    rng = np.random.default_rng(0)
    table = np.column_stack(
        [rng.normal(5, 2, 4_001), np.full(4_001, 3.0), np.where(np.arange(4_001) % 9, 0.0, 1.0), rng.random(4_001)]
    )
    table[::2, 3] = np.nan
    scale = fit_scale(np.column_stack([table, np.full(4_001, np.nan)]))
    np.testing.assert_allclose(scale.center[:2], [5, 3], atol=0.1)
    np.testing.assert_allclose(scale.spread[:2], [2, 1], rtol=0.05)
    assert scale.spread[2] == pytest.approx(np.std(table[:, 2])), "its middle half is one value"
    assert scale.center[3] == pytest.approx(np.nanmedian(table[:, 3]))
    assert (scale.center[4], scale.spread[4]) == (0.0, 1.0)


def test_the_device_is_the_accelerator_only_where_there_is_one(monkeypatch):
    for there, expected in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert network_module._device("auto").type == expected
        assert network_module._device("cpu").type == "cpu"


def test_validation_rows_without_enough_history_are_refused(market):
    samples, labels = market
    y = labels["signal"].to_numpy()
    with pytest.raises(InsufficientHistoryError, match="row 3 has 3 bars behind it"):
        small("tcn").fit(samples.take(LEARN), y[LEARN], validation=Validation(samples.take(np.arange(3, 9)), y[3:9]))


# ONNX


@each_network
def test_an_exported_network_answers_as_it_does_alone_and_in_batches(name, market, learned, tmp_path):
    holed = market[0].history.copy()
    holed[::5, 1] = np.nan
    samples = Samples(holed, LATER[:40], market[0].segment_start)
    path = export_onnx(learned[name], tmp_path / "model.onnx", check=samples)
    exported = OnnxModel(path)
    windows = samples.windows(learned[name].reach).astype(np.float32)
    for rows in (slice(0, 1), slice(0, 40)):
        np.testing.assert_allclose(exported.predict(windows[rows]), learned[name].predict(samples)[rows], atol=1e-5)


# edges


def test_a_hybrid_refuses_sizes_that_its_components_cannot_have_before_it_trains():
    with pytest.raises(ValueError, match="width = 30 is not allowed: 4 heads need a multiple of 8"):
        create_model("hybrid", width=30)


def test_a_hybrid_trains_its_components_for_as_many_epochs_as_told(market):
    model = taught("hybrid", *market, rows=LEARN, epochs=3)
    assert {name: len(it.history) for name, it in model.components.items()} == {"lstm": 3, "transformer": 3}
    model = taught("hybrid", *market, rows=LEARN, epochs=3, lstm_epochs=1)
    assert {name: len(it.history) for name, it in model.components.items()} == {"lstm": 1, "transformer": 3}
    assert create_model("hybrid", epochs=100)._unfitted()["lstm"].params.epochs == 100


def test_one_thread_is_one_thread_for_every_component(market):
    hybrid = taught("hybrid", *market, rows=LEARN, epochs=1, n_threads=2)
    single = hybrid.on_one_thread()
    assert [it.params.n_threads for it in (single, *single.components.values())] == [1, 1, 1]
    assert [it.params.n_threads for it in (hybrid, *hybrid.components.values())] == [2, 2, 2]


@pytest.mark.parametrize("name", ["tcn", "lstm"])
def test_the_order_in_which_rows_are_given_does_not_matter(name, market):
    samples, labels = market
    y, backwards = labels["signal"].to_numpy(), LEARN[::-1].copy()
    there, here = (small(name, epochs=1).fit(samples.take(rows), y[rows], seed=1) for rows in (backwards, LEARN))
    X = samples.take(LATER)
    np.testing.assert_allclose(there.predict(X), here.predict(X), atol=1e-6)


def test_loading_draws_no_random_number_of_the_caller(market, learned, tmp_path):
    folder = save_bundle(learned["tcn"], tmp_path / "tcn", card={}, golden=market[0].take(LATER[:5]))
    before = torch.random.get_rng_state()
    load_bundle(folder)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_chunks_of_one_bar_are_refused():
    with pytest.raises(ValueError, match="chunk = 1 is not allowed: it must be a whole number from 2 on"):
        create_model("mlp_regressor", chunk=1)
