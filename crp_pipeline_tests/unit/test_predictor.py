"""One call from candles to decisions: what it gives, what it refuses, and that nothing half-made is left behind."""

import json
from dataclasses import asdict
from inspect import signature

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from sklearn import metrics as sklearn_metrics

from crp_pipeline.candles import demo_candles, repair_candles
from crp_pipeline.contracts import OHLCV, PROBABILITIES
from crp_pipeline.errors import BundleError, DataContractError, DiskError, InsufficientHistoryError
from crp_pipeline.features import CATALOG, compute_features, warm_up_bars
from crp_pipeline.labels import make_labels
from crp_pipeline.models import MODEL_TYPES, samples_of, save_bundle
from crp_pipeline.models.base import Model
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.predictor import Predictor, load_predictor, train_on_history
from crp_pipeline.settings import DemoConfig, LabelConfig, WalkForwardConfig
from crp_pipeline.splits import fold_table, folds_of, overlaps
from crp_pipeline.storage import seal
from crp_pipeline_tests.quick import quick_params

HOUR = pd.Timedelta(hours=1)
CANDLES = demo_candles("EDGE-DEMO", DemoConfig(n_bars=1_000), "1h")
HORIZON = 6
QUICK = {"horizon": HORIZON, "params": {"n_rounds": 8, "min_leaf_rows": 20}}
TWO_FOLDS = WalkForwardConfig(train_size=600, test_size=200, embargo=HORIZON)
COLUMNS = ["signal", "confidence", *PROBABILITIES, "expected_change"]


def quick(candles=CANDLES, model_type="lightgbm", **changes):
    return train_on_history(candles, model_type, **{**QUICK, **changes})


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models") / "btc"


@pytest.fixture(scope="module")
def trained(folder, told):
    return quick(folder=folder, progress=told.append)


@pytest.fixture(scope="module")
def of_every_type():
    """A predictor of each model type, made when it is first asked for."""
    made = {}

    def get(model_type):
        if model_type not in made:
            params = quick_params(model_type)
            made[model_type] = quick(model_type=model_type, variant="lightweight", params=params, walk_forward=TWO_FOLDS)
        return made[model_type]

    return get


every_type = pytest.mark.parametrize("model_type", MODEL_TYPES)


# what one call gives


@every_type
def test_every_type_of_model_decides_every_bar_with_enough_history(model_type, of_every_type):
    predictor = of_every_type(model_type)
    made = predictor.predict(CANDLES)
    assert list(made.columns) == COLUMNS
    assert made.index.equals(CANDLES.index)
    assert made.index.name == "open_time"
    n_before = warm_up_bars(CATALOG) - 1 + predictor.model.reach - 1
    assert made.iloc[:n_before, 1:].isna().all(axis=None)
    assert set(made["signal"].iloc[:n_before]) == {"HOLD"}
    known = made.iloc[n_before:]
    assert known.notna().all(axis=None)
    np.testing.assert_allclose(known[list(PROBABILITIES)].sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(known["confidence"], known[list(PROBABILITIES)].max(axis=1))
    chosen = np.array(["SELL", "HOLD", "BUY"])[known[list(PROBABILITIES)].to_numpy().argmax(axis=1)]
    np.testing.assert_array_equal(known["signal"], chosen)


@every_type
def test_every_type_of_model_answers_the_same_every_time(model_type, of_every_type):
    assert_frame_equal(of_every_type(model_type).predict(CANDLES), of_every_type(model_type).predict(CANDLES.copy()))


def test_the_default_is_a_model_of_the_catalogue():
    assert signature(train_on_history).parameters["model_type"].default in MODEL_TYPES


def test_the_model_is_shown_the_columns_of_its_card_in_their_order(trained):
    table = compute_features(CANDLES, CATALOG)[trained.card["features"]]
    rows = np.arange(warm_up_bars(CATALOG) - 1, len(CANDLES))
    by_hand = trained.model.probabilities(samples_of(table).take(rows))
    np.testing.assert_array_equal(trained.predict(CANDLES)[list(PROBABILITIES)].iloc[rows], by_hand)


def test_what_is_expected_of_a_classifier_is_what_each_class_brought_out_of_fold(trained):
    labels, tested = make_labels(CANDLES, LabelConfig(horizon=HORIZON)), trained.predictions["p_short"].notna()
    known = labels[tested & labels["signal"].notna()]
    means = [known.loc[known["signal"] == side, "forward_return"].mean() for side in (-1, 0, 1)]
    np.testing.assert_allclose(trained.card["class_return"], means)
    made = trained.predict(CANDLES).dropna()
    np.testing.assert_allclose(made["expected_change"], made[list(PROBABILITIES)] @ np.array(means))


class Regressor(Model):
    """Forecasts the first feature as the return, and reads it out as certain."""

    model_type = "regressor"
    outputs = ("trend_strength", "forward_return")
    _learned = True

    def fit(self, X, y, *, weight=None, validation=None, seed=0):
        raise NotImplementedError

    def predict(self, X):
        return np.column_stack([np.full(len(X), 9.0), X.table()[:, 0]])

    def read(self, outputs):
        up = (outputs[:, 1] > 0).astype(float)
        return np.column_stack([1 - up, 0 * up, up])

    def _write(self, folder):
        raise NotImplementedError

    @classmethod
    def _read(cls, folder):
        raise NotImplementedError


def test_what_is_expected_of_a_regressor_is_its_own_forecast(trained):
    made = Predictor(Regressor(), trained.card).predict(CANDLES).dropna()
    first = compute_features(CANDLES, CATALOG)[trained.card["features"][0]].loc[made.index]
    np.testing.assert_array_equal(made["expected_change"], first)


class Looking(Regressor):
    """Looks at five bars."""

    reach = 5

    def predict(self, X):
        assert np.isfinite(X.windows(5)[..., 0]).all()
        return super().predict(X)


def test_a_model_that_looks_back_waits_until_every_bar_it_looks_at_has_its_features(trained):
    """In a longer table the same bar would otherwise be shown other numbers."""
    mended, _ = repair_candles(without(*range(400, 420)), "1h", max_gap=4)
    made = Predictor(Looking(), trained.card).predict(mended)
    n_before = warm_up_bars(CATALOG) - 1 + 4
    known = made["confidence"].notna().to_numpy()
    np.testing.assert_array_equal(known[:400], np.arange(400) >= n_before)
    np.testing.assert_array_equal(known[400:], np.arange(580) >= n_before)


def test_the_card_says_what_the_model_was_worth_out_of_fold(trained):
    labels = make_labels(CANDLES, LabelConfig(horizon=HORIZON))
    known = trained.predictions["p_short"].notna() & labels["signal"].notna()
    probability, came = trained.predictions.loc[known, list(PROBABILITIES)].to_numpy(), labels.loc[known, "signal"].to_numpy()
    went, lean = came != 0, probability[:, 2] - probability[:, 0]
    scores = trained.card["scores"]["lightgbm"]
    assert scores["n"] == known.sum() > 300
    assert scores["effective_n"] == pytest.approx(labels.loc[known, "weight"].sum())
    assert scores["log_loss"] == pytest.approx(sklearn_metrics.log_loss(came, probability, labels=[-1, 0, 1]))
    assert scores["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(came, probability.argmax(axis=1) - 1))
    assert scores["directional_accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(came[went], np.sign(lean[went])))
    assert scores["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(came[went] > 0, lean[went]))
    assert scores["brier"] == pytest.approx(
        sklearn_metrics.brier_score_loss(came, probability, labels=[-1, 0, 1], scale_by_half=False)
    )
    prior = trained.card["scores"]["prior"]
    assert scores["log_loss_gain"] == pytest.approx(prior["log_loss"] - scores["log_loss"])
    assert scores["log_loss_gain_low"] < scores["log_loss_gain"] < scores["log_loss_gain_high"]
    for name in ("accuracy", "directional_accuracy"):
        assert scores[f"{name}_low"] < scores[name] < scores[f"{name}_high"]


def test_the_scores_show_every_baseline_above_the_model(trained):
    names = list(trained.scores["model"])
    assert names[-1] == "lightgbm"
    assert names[:-1] == [name for name in MODEL_TYPES if MODEL_CLASSES[name].is_baseline]
    assert names[0] == "prior"
    assert len(set(trained.scores["n"])) == 1, "all on the same bars"


def test_a_predictor_says_in_one_line_what_it_was_worth(trained):
    scores = trained.card["scores"]["lightgbm"]
    assert str(trained).startswith("lightgbm of 1,000 bars of 1h, horizon 6; out of fold on ")
    for value in (scores["accuracy"], scores["accuracy_low"], scores["directional_accuracy"], scores["calibration_error"]):
        assert f"{value:.1%}" in str(trained)


def test_no_fold_learned_from_a_label_that_met_its_test_block(trained):
    labels = make_labels(CANDLES, LabelConfig(horizon=HORIZON))
    sizes = WalkForwardConfig(**trained.card["walk_forward"])
    roles = fold_table(labels, np.arange(len(CANDLES)) >= warm_up_bars(CATALOG) - 1, sizes)
    assert overlaps(folds_of(roles), labels.index, labels["label_end"]).empty
    tested = trained.predictions["fold"].to_numpy()
    for fold in folds_of(roles):
        np.testing.assert_array_equal(np.flatnonzero(tested == fold.number), fold.test)
    assert len(folds_of(roles)) == 5
    assert 0.45 < (len(CANDLES) - sizes.train_size) / (len(CANDLES) - warm_up_bars(CATALOG)) <= 0.5


def test_what_is_going_on_is_told(trained, told):
    assert "1000 bars of 1h" in told[0]
    assert any(line.startswith("selection for fold 0") for line in told)
    assert any(line.startswith("lightgbm: fold 5 of 5") for line in told)
    assert told[-1].startswith("saved in ")


def test_choices_reach_the_model(trained):
    other = quick(variant="deep", params={"n_rounds": 3, "min_leaf_rows": 20}, select=False, seed=4)
    assert (other.card["variant"], other.card["params"]["n_rounds"], other.card["seed"]) == ("deep", 3, 4)
    assert other.model.rounds <= 3
    assert len(other.card["features"]) > len(trained.card["features"]) == 50


def test_labels_and_walk_forward_can_be_given():
    labels = LabelConfig(horizon=4, round_trip_cost_bps=3)
    made = quick(labels=labels, horizon=None, walk_forward=WalkForwardConfig(train_size=600, test_size=200, embargo=4))
    assert made.card["labels"] == asdict(labels)
    assert made.card["horizon"] == 4
    assert sorted(made.predictions["fold"].unique()) == [-1, 0, 1]


# files and frames


def as_csv(candles, path):
    told = candles.reset_index().rename(columns={"open_time": "Timestamp", "volume": "Volume BTC"})
    told[["Timestamp", *OHLCV[:4], "Volume BTC"]].to_csv(path, index=False)
    return path


def test_a_file_says_the_same_as_the_frame(trained, tmp_path):
    path = as_csv(CANDLES[::-1], tmp_path / "BTC-USDT.csv")
    assert_frame_equal(trained.predict(path), trained.predict(CANDLES), rtol=1e-9)
    from_file = quick(path)
    assert from_file.card["history"]["source"] == "BTC-USDT.csv"
    assert_frame_equal(from_file.predictions, trained.predictions, rtol=1e-9)


def test_a_stored_predictor_answers_as_it_did(trained, folder):
    stored = load_predictor(folder)
    assert {name: stored.card[name] for name in trained.card} == dict(trained.card)
    assert_frame_equal(stored.scores, trained.scores)
    assert_frame_equal(stored.predict(CANDLES), trained.predict(CANDLES), check_exact=True)
    assert str(stored) == str(trained)


def test_a_folder_with_a_changed_byte_is_refused(trained, folder, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((copy / "manifest.json").read_text())
    name = next(iter(manifest["files"]))
    (copy / name).write_bytes((copy / name).read_bytes() + b" ")
    with pytest.raises(BundleError, match="has been altered"):
        load_predictor(copy)


def test_a_model_without_a_card_of_its_worth_is_refused(trained, tmp_path):
    golden = samples_of(compute_features(CANDLES, CATALOG)[trained.card["features"]].tail(5))
    save_bundle(trained.model, tmp_path / "bare", card={"feature_set_id": trained.card["feature_set_id"]}, golden=golden)
    with pytest.raises(BundleError, match="train_on_history did not save"):
        load_predictor(tmp_path / "bare")


def test_a_model_of_another_feature_set_is_refused(trained, tmp_path):
    golden = samples_of(compute_features(CANDLES, CATALOG)[trained.card["features"]].tail(5))
    save_bundle(trained.model, tmp_path / "old", card={**trained.card, "feature_set_id": "another"}, golden=golden)
    with pytest.raises(BundleError, match="feature set another"):
        load_predictor(tmp_path / "old")


# candles that cannot be asked about


def without(*rows):
    return CANDLES.drop(CANDLES.index[list(rows)])


def changed(row, **values):
    return CANDLES.assign(
        **{name: CANDLES[name].where(np.arange(len(CANDLES)) != row, value) for name, value in values.items()}
    )


BROKEN = {
    "a missing price": (changed(500, close=np.nan), r"row 501, at 2022-01-21 20:00:00\+00:00: close = nan must be finite"),
    "an infinite price": (changed(500, high=np.inf), "high = inf must be finite"),
    "a negative price": (changed(500, low=-1.0), "impossible_bar: 1 at 2022-01-21 20:00"),
    "a hole": (without(500), "gap: 1 at 2022-01-21 20:00"),
    "a long hole": (without(*range(500, 520)), "gap: 20 from"),
    "a bar twice": (pd.concat([CANDLES, CANDLES.tail(1)]), "duplicate: 1 at"),
    "disorder": (CANDLES.iloc[[*range(500), 501, 500, *range(502, 1000)]], "out_of_order: 1 at"),
    "another interval": (CANDLES[::4], "has bars of 4h, the model learned from bars of 1h"),
    "another clock": (CANDLES.set_axis(CANDLES.index + 0.5 * HOUR), "off_grid: 1000"),
}


@pytest.mark.parametrize(("candles", "sentence"), BROKEN.values(), ids=BROKEN)
def test_nothing_is_predicted_from_broken_candles(candles, sentence, trained):
    with pytest.raises(DataContractError, match=sentence):
        trained.predict(candles)


def test_candles_that_were_mended_in_the_open_are_taken_and_filled_bars_are_held(trained):
    mended, _ = repair_candles(without(500, *range(600, 620)), "1h", max_gap=4)
    made = trained.predict(mended)
    filled, after = mended.index[mended["is_repaired"]], mended.loc[CANDLES.index[620] :].index
    assert list(filled) == [CANDLES.index[500]]
    assert made.loc[filled].drop(columns="signal").isna().all(axis=None)
    assert (made.loc[filled, "signal"] == "HOLD").all()
    n_before = warm_up_bars(CATALOG) - 1
    assert made.loc[after[:n_before], "confidence"].isna().all(), "history begins anew after a hole"
    assert made.loc[after[n_before:], "confidence"].notna().all()


def test_too_few_bars_are_all_held(trained):
    for n_bars in (1, 2, warm_up_bars(CATALOG) - 1):
        made = trained.predict(CANDLES.tail(n_bars))
        assert len(made) == n_bars
        assert set(made["signal"]) == {"HOLD"}
        assert made["confidence"].isna().all()
    assert trained.predict(CANDLES.tail(warm_up_bars(CATALOG)))["confidence"].notna().sum() == 1


# histories that nothing can be learned from


def flat(n_bars=1_000):
    return CANDLES.head(n_bars).assign(**dict.fromkeys(OHLCV[:4], 100.0))


REFUSED = {
    "too short": ({"candles": CANDLES.head(700)}, InsufficientHistoryError, "700 bars are too few, at least 723 are needed"),
    "too short for its folds": (
        {"walk_forward": WalkForwardConfig(train_size=2_000, test_size=200, embargo=6)},
        InsufficientHistoryError,
        "1000 rows are too few for one fold of 2000 training",
    ),
    "nothing left to learn from": (
        {"walk_forward": WalkForwardConfig(train_size=300, test_size=200, embargo=6)},
        InsufficientHistoryError,
        "rows cannot be parted",
    ),
    "one class": (
        {"candles": flat()},
        InsufficientHistoryError,
        "all [0-9]+ labels are neutral: there is nothing to tell apart",
    ),
    "a missing price": ({"candles": changed(500, close=np.nan)}, DataContractError, "close = nan must be finite"),
    "an infinite price": ({"candles": changed(3, open=np.inf)}, DataContractError, "row 4, .* open = inf must be finite"),
    "no rows": ({"candles": CANDLES.head(0)}, DataContractError, "has no rows"),
    "no candles": ({"candles": CANDLES.drop(columns="close")}, DataContractError, "has no close column"),
    "no file": ({"candles": "nowhere.csv"}, DataContractError, r"nowhere\.csv does not exist"),
    "no interval of the house": ({"candles": CANDLES[::7]}, DataContractError, "a step of 0 days 07:00:00"),
    "another interval": ({"interval": "4h"}, DataContractError, "do not lie 4h apart"),
    "an unknown model": ({"model_type": "oracle"}, ValueError, "model_type = 'oracle' does not exist; there are prior"),
    "an unknown variant": ({"variant": "huge"}, ValueError, "variant = 'huge' does not exist"),
    "an unknown parameter": ({"params": {"epoch": 3}}, ValueError, "parameter 'epoch' does not exist"),
    "a parameter out of range": ({"params": {"n_rounds": 0}}, ValueError, "n_rounds = 0 is not allowed"),
    "two horizons": ({"labels": LabelConfig(horizon=4)}, ValueError, "horizon = 6 and labels.horizon = 4"),
}


@pytest.mark.parametrize(("choices", "kind", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_learned_is_one_sentence_and_leaves_nothing_behind(choices, kind, sentence, tmp_path):
    with pytest.raises(kind, match=sentence) as error:
        quick(**choices, folder=tmp_path / "model")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_else_is_left_alone_and_refused_before_the_work(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"no readable manifest\.json"):
        quick(folder=tmp_path, candles=None)
    (tmp_path / "sealed").mkdir()
    seal(tmp_path / "sealed", {"coin": "BTC-USDT"})
    with pytest.raises(BundleError, match="holds no model"):
        quick(folder=tmp_path / "sealed", candles=None)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("choices", [{"model_type": "oracle"}, {"variant": "huge"}, {"params": {"epoch": 3}}])
def test_a_model_that_does_not_exist_is_refused_before_the_work(choices):
    with pytest.raises(ValueError, match="does not exist"):
        quick(**{"candles": None, **choices})


def test_a_save_that_fails_leaves_the_earlier_model_in_place(trained, folder, monkeypatch):
    def full(self, folder):
        (folder / "half").write_text("half a model")
        raise OSError("disk full")

    monkeypatch.setattr(MODEL_CLASSES["lightgbm"], "_write", full)
    with pytest.raises(DiskError, match="disk full"):
        quick(folder=folder, seed=9)
    with pytest.raises(DiskError, match="disk full"):
        quick(folder=folder.with_name("other"))
    monkeypatch.undo()
    assert load_predictor(folder).card["seed"] == 0
    assert not folder.with_name("other").exists()


def test_a_later_model_takes_the_place_of_an_earlier_one(tmp_path):
    for seed in (1, 2):
        quick(folder=tmp_path / "model", model_type="prior", params=None, seed=seed)
    assert load_predictor(tmp_path / "model").card["seed"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


# repairs


def test_what_a_training_history_was_repaired_of_is_told_and_kept():
    told = []
    made = quick(without(500, 501), progress=told.append)
    assert made.card["history"]["issues"] == {"gap": 2}
    assert "gap: 2 from 2022-01-21 20:00:00+00:00" in told[0]
    assert made.predictions.index.equals(CANDLES.index), "the hole was filled"
