"""A pool of coins: what one coin's model learns from another's past, and never from its future."""

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.contracts import PROBABILITIES, PredictionSchema, check_frame
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.models import ModelSpec, cross_fit, export_onnx, load_bundle, samples_of, save_bundle
from crp_pipeline.models.pooled import PoolMember, calendar, shared_features, train_pool
from crp_pipeline.models.pooled_transformer import PooledTransformer
from crp_pipeline.models.scoring import log_losses
from crp_pipeline.settings import WalkForwardConfig
from crp_pipeline.splits import fold_table, folds_of
from crp_pipeline_tests.recording import learnable_history

SPEC = ModelSpec(
    "pooled_transformer", params={"window": 8, "width": 16, "n_heads": 2, "epochs": 5, "learning_rate": 5e-3, "chunk": 32}
)
EMBARGO = pd.Timedelta(hours=6)
CONFIG = WalkForwardConfig(train_size=300, test_size=200, embargo=6)


def member(seed, *, n_bars=900, scale=1.0, drop=0):
    """A coin on its own scale; `drop` bars at its start are not there."""
    features, labels = learnable_history(n_bars, seed=seed)
    features, labels = scale * features.iloc[drop:], labels.iloc[drop:]
    return PoolMember(features, labels, fold_table(labels, np.ones(len(labels), dtype=bool), CONFIG))


@pytest.fixture(scope="module")
def pool():
    return {"AAA": member(1), "BBB": member(2, scale=100.0), "LATE": member(3, drop=350)}


@pytest.fixture(scope="module")
def trained(pool):
    return train_pool(SPEC, pool, seed=0, embargo=EMBARGO)


def test_every_coin_gets_its_predictions_and_its_model(pool, trained):
    assert set(trained) == set(pool)
    for coin, result in trained.items():
        check_frame(result.predictions, PredictionSchema, what=coin)
        assert result.predictions.index.equals(pool[coin].history.index)
        assert isinstance(result.model, PooledTransformer)
        assert result.features == tuple(pool[coin].history.columns)


def test_all_coins_are_tested_in_the_blocks_of_the_one_with_the_longest_past(pool, trained):
    first = folds_of(pool["AAA"].roles)
    blocks = calendar(pool)
    assert [block.begins for block in blocks] == [pool["AAA"].roles.index[fold.test[0]] for fold in first]
    for coin, result in trained.items():
        for fold in result.folds:
            times, block = pool[coin].history.index[fold.fold.test], blocks[fold.fold.number]
            assert (times >= block.begins).all()
            assert (times < block.ends).all()
    assert [it.fold.number for it in trained["LATE"].folds] == [0, 1, 2], (
        "it is tested from the first block that it has bars in"
    )


@pytest.mark.parametrize("coin", ["AAA", "BBB", "LATE"])
def test_the_pool_beats_each_coins_prior(coin, pool, trained):
    made = pool[coin]
    prior = cross_fit(ModelSpec("prior"), made.history, made.labels, folds_of(made.roles), seed=0)
    own, known = log_losses(trained[coin].predictions, made.labels), log_losses(prior, made.labels)
    common = own.index.intersection(known.index)
    assert known[common].mean() - own[common].mean() > 0.1


def test_a_coin_is_shown_on_its_own_scale(pool, trained):
    scales = {coin: result.model._scale for coin, result in trained.items()}
    np.testing.assert_allclose(scales["BBB"].spread / scales["AAA"].spread, 100, rtol=0.3)
    weights = [dict(result.model.network.named_parameters()) for result in trained.values()]
    for name, values in weights[0].items():
        assert all((values == other[name]).all() for other in weights[1:]), "one network"


def test_a_model_of_the_pool_comes_back_from_its_bundle(pool, trained, tmp_path):
    model, shown = trained["BBB"].model, samples_of(pool["BBB"].history)
    loaded, _ = load_bundle(save_bundle(model, tmp_path / "BBB", card={}, golden=shown.take(np.arange(500, 510))))
    rows = shown.take(np.arange(600, 700))
    np.testing.assert_array_equal(loaded.predict(rows), model.predict(rows))


def test_a_model_of_the_pool_knows_its_features_and_can_be_exported(pool, trained, tmp_path):
    model, shown = trained["BBB"].model, samples_of(pool["BBB"].history)
    export_onnx(model, tmp_path / "pool.onnx", check=shown.take(np.arange(500, 510)))
    with pytest.raises(DataContractError, match="pooled_transformer learned from 'x0' as feature 1 and was shown 'scale'"):
        model.predict(samples_of(pool["BBB"].history[["scale", "noise", "x0"]]).take(np.arange(500, 510)))


def with_another_future(it, since):
    """The same coin, where every feature from a moment on is another, and every label that had not ended by then."""
    features, labels = it.history.copy(), it.labels.copy()
    later = features.index >= since
    features.loc[later] = np.random.default_rng(0).normal(50, 500, features.loc[later].shape)
    open_then = (labels["label_end"] >= since).to_numpy()
    labels.loc[open_then, "signal"] = (labels["signal"] + 2) % 3 - 1
    return PoolMember(features, labels, it.roles)


@pytest.mark.parametrize(
    "changed", [pytest.param("AAA", marks=pytest.mark.slow), pytest.param("BBB", marks=pytest.mark.slow), "LATE"]
)
def test_no_coins_prediction_changes_with_what_came_after_its_block_for_any_coin(changed, pool, trained):
    blocks = calendar(pool)
    for block in blocks[:-1]:
        there = {**pool, changed: with_another_future(pool[changed], block.ends)}
        then = train_pool(SPEC, there, seed=0, embargo=EMBARGO)
        for coin, result in trained.items():
            known = pool[coin].history.index < block.ends
            np.testing.assert_allclose(
                then[coin].predictions.loc[known, list(PROBABILITIES)],
                result.predictions.loc[known, list(PROBABILITIES)],
                atol=1e-6,
            )


def test_a_label_of_another_coin_that_had_not_ended_teaches_nothing(pool, monkeypatch):
    seen = []

    def keep(self, learn, watch, *, seed):
        seen.append({**{coin: part.samples.rows for coin, part in learn.items()}, "watch": watch})
        return fit_pool(self, learn, watch, seed=seed)

    fit_pool = PooledTransformer.fit_pool
    monkeypatch.setattr(PooledTransformer, "fit_pool", keep)
    train_pool(SPEC, pool, seed=0, embargo=EMBARGO)
    blocks = calendar(pool)
    for block, shown in zip(blocks, seen, strict=False):
        watch = shown.pop("watch")
        starts = [pool[coin].history.index[part.samples.rows].min() for coin, part in watch.items() if len(part.samples)]
        for coin, rows in shown.items():
            ends = pool[coin].labels["label_end"].iloc[rows]
            assert (ends < block.begins - EMBARGO).all()
            assert (ends < min(starts)).all(), "purged from every coin's watched rows"
        for coin, part in watch.items():
            assert (pool[coin].labels["label_end"].iloc[part.samples.rows] < block.begins - EMBARGO).all()


def selection_of(names_by_fold, table):
    rows = [
        {
            "fold": fold,
            "feature": name,
            "status": "kept" if name in kept else "outranked",
            "representative": "",
            "importance": 0.0,
            "rank": 1,
        }
        for fold, kept in names_by_fold.items()
        for name in table
    ]
    return pd.DataFrame(rows)


def test_features_are_those_that_most_coins_had_chosen_by_then(pool):
    table = list(pool["AAA"].history.columns)
    chosen = {
        "AAA": {0: ["x0"], 1: ["noise"], 2: ["noise"], -1: ["scale"]},
        "BBB": {0: ["x0"], 1: ["scale"], 2: ["x0"], -1: ["scale"]},
    }
    members = {
        coin: PoolMember(pool[coin].history, pool[coin].labels, pool[coin].roles, selection_of(found, table))
        for coin, found in chosen.items()
    }
    begins = [block.begins for block in calendar(members)]
    assert shared_features(members, begins[0]) == ["x0"]
    assert shared_features(members, begins[0] - pd.Timedelta(hours=1)) == table, "nobody had chosen yet"
    assert shared_features(members, begins[1]) == ["noise"], "a tie goes to the first in the table"
    assert shared_features(members, None) == ["scale"]


def test_a_coin_without_a_feature_of_the_others_is_named(pool):
    poor = PoolMember(pool["BBB"].history.drop(columns="x0"), pool["BBB"].labels, pool["BBB"].roles)
    with pytest.raises(DataContractError, match="BBB has no feature x0"):
        train_pool(SPEC, {"AAA": pool["AAA"], "BBB": poor}, seed=0, embargo=EMBARGO)


def test_a_pool_without_rows_says_so(pool):
    with pytest.raises(InsufficientHistoryError, match="no coin of AAA has a row to learn from"):
        train_pool(SPEC, {"AAA": pool["AAA"]}, seed=0, embargo=pd.Timedelta(days=99))


def test_a_pool_of_nobody_and_a_pool_of_another_model_are_refused(pool):
    with pytest.raises(InsufficientHistoryError, match="no coin of the pool, which has none, has a fold to test"):
        train_pool(SPEC, {}, seed=0, embargo=EMBARGO)
    with pytest.raises(ValueError, match="a pool trains a pooled_transformer, not a tcn"):
        train_pool(ModelSpec("tcn"), pool, seed=0, embargo=EMBARGO)


def test_tables_of_other_bars_are_refused(pool):
    with pytest.raises(DataContractError, match="must be about the same bars"):
        PoolMember(pool["AAA"].history.iloc[1:], pool["AAA"].labels, pool["AAA"].roles)
