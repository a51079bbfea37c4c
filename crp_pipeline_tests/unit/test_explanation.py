"""A coin's explanation: only rows that nobody learned from, by the models that forecast them, stored and drawn."""

from dataclasses import asdict, replace
from itertools import count

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from pandas.testing import assert_frame_equal

from crp_pipeline.candles import demo_market, repair_candles
from crp_pipeline.candles.demo import DEMO_COINS, visible_state
from crp_pipeline.contracts import FINAL
from crp_pipeline.errors import DataContractError
from crp_pipeline.explanation import (
    BASE,
    Tables,
    explain_coin,
    load_explanation,
    over_folds,
    save_explanation,
    stability_table,
)
from crp_pipeline.features import CATALOG, Family, compute_features
from crp_pipeline.labels import make_labels
from crp_pipeline.models import (
    ModelSpec,
    Record,
    create_model,
    explain,
    recipe_facts,
    samples_of,
    save_bundle,
    select_features,
    stored_fold_models,
    train,
)
from crp_pipeline.models.explain import scores_of
from crp_pipeline.places import Places
from crp_pipeline.provenance import recipe_hash
from crp_pipeline.reporting.explanation import (
    attention_figure,
    beeswarm_figure,
    dependence_figure,
    explanation_page,
    importance_figure,
    importance_table,
    stability_figure,
    waterfall_figure,
    why_sentence,
)
from crp_pipeline.settings import ExplanationConfig, LabelConfig, SelectionConfig, WalkForwardConfig, load_settings
from crp_pipeline.splits import PurgedWalkForward, folds_of, role_table
from crp_pipeline_tests.quick import quick_params
from crp_pipeline_tests.recording import learnable_history

COIN, SEED = "BTC-USDT", 3
ROSTER = ("lightgbm", "xgboost", "attention_lstm")
N_BARS, WARM_UP = 1_000, 20


@pytest.fixture(scope="module")
def settings():
    return load_settings(
        roster=ROSTER,
        horizon=6,
        walk_forward=WalkForwardConfig(train_size=400, test_size=200, embargo=6),
        explanation=ExplanationConfig(tree_rows=90, network_rows=30, starts=2, steps=3, max_seconds=1e9, top=3),
    )


def tables_of(unlabelled=()):
    """Features, labels, folds, selection and decisions of a market in which `x0` tells; `nothing` is missing throughout."""
    features, labels = learnable_history(N_BARS, unlabelled=unlabelled)
    features["nothing"] = np.nan
    features.attrs = {"coin": COIN, "feature_set_id": "a set"}
    folds = PurgedWalkForward(train_size=400, test_size=200, embargo=6).split(labels.index, labels["label_end"])
    roles = role_table(folds, labels.index, labels["label_end"])
    selection = select_features(features, labels, roles, config=SelectionConfig(enabled=False), seed=SEED)
    decisions = pd.DataFrame(
        {
            "signal": 1,
            "p_short": 0.2,
            "p_neutral": 0.2,
            "p_long": 0.6,
            "confidence": 0.6,
            "expected_return": 0.01,
            "tier": "high",
        },
        index=features.index,
    )
    return Tables(features, labels, roles, selection, decisions)


def record_of(places, model_type, settings, *, bundle=None):
    folder, labels = places.record(COIN, model_type), asdict(settings.labels)
    return Record(folder=folder, feature_set_id="a set", label_settings=labels, bundle=bundle)


def trained_coin(root, tables, settings):
    """What a night leaves of the models: records of folds, final bundles, predictions."""
    places, predictions = Places(root), {}
    for model_type in settings.roster:
        spec = ModelSpec(model_type, params=quick_params(model_type))
        record = record_of(places, model_type, settings, bundle=places.bundle(COIN, model_type))
        known = {"seed": SEED, "selection": tables.selection, "record": record}
        trained = train(spec, tables.features, tables.labels, tables.splits, **known)
        facts = {**recipe_facts(spec), "seed": SEED, "all_features": False, "days_of_history": None}
        golden = samples_of(tables.features[list(trained.features)]).take(np.arange(900, 910))
        card = {**facts, "features": list(trained.features)}
        save_bundle(trained.model, places.bundle(COIN, model_type), card=card, golden=golden)
        predictions[model_type] = trained.predictions
    return places, predictions


@pytest.fixture(scope="module")
def night(tmp_path_factory, settings):
    """(places, tables, predictions, explanation) of one coin, stored."""
    tables = tables_of()
    places, predictions = trained_coin(tmp_path_factory.mktemp("night"), tables, settings)
    found = explain_coin(COIN, tables, settings=settings, places=places, tell=print)
    save_explanation(places, found)
    return places, tables, predictions, found


def fold_models(night, settings, model_type):
    places, tables, _, _ = night
    spec = ModelSpec(model_type, params=quick_params(model_type))
    record = record_of(places, model_type, settings)
    known = {"seed": SEED, "selection": tables.selection, "record": record, "tell": print}
    return {
        it.fold.number: it for it in stored_fold_models(spec, tables.features, tables.labels, folds_of(tables.splits), **known)
    }


@pytest.mark.parametrize("model", ROSTER)
def test_no_explained_row_was_learned_from_by_the_model_that_explains_it(night, settings, model):
    _, tables, _, found = night
    models, times = fold_models(night, settings, model), tables.features.index
    explained = found.contributions[model][["open_time", "fold"]].drop_duplicates()
    assert len(explained) == found.of(model)["n_rows"]
    assert set(explained["fold"]) == set(models)
    for fold, rows in explained.groupby("fold"):
        places = times.get_indexer(rows["open_time"])
        assert np.isin(places, models[fold].fold.test).all()
        assert not np.isin(places, models[fold].learned).any()
        # not even a label that was learned from reaches into the first explained row
        assert tables.labels["label_end"].iloc[models[fold].learned].max() < rows["open_time"].min()


@pytest.mark.parametrize("model", ROSTER)
def test_what_is_explained_is_what_was_forecast(night, model):
    _, _, predictions, found = night
    added = found.contributions[model].groupby("open_time")[["short", "neutral", "long"]].sum()
    forecast = predictions[model].loc[added.index, ["p_short", "p_neutral", "p_long"]].to_numpy()
    tolerance = 0.02 if model == "attention_lstm" else 1e-5
    np.testing.assert_allclose(added.to_numpy(), scores_of(forecast, ("short", "neutral", "long")), atol=tolerance)


def test_the_signal_leads_and_a_feature_without_a_value_adds_nothing_and_breaks_nothing(night):
    found = night[3]
    for model in ROSTER:
        means = over_folds(found.importances[found.importances["model"] == model]).set_index("feature")
        assert means.index[0] == "x0"
        assert means.loc["nothing", "importance"] == 0
        assert means["share"].sum() == pytest.approx(1)


def test_importances_have_the_columns_that_others_rely_on(night):
    importances = night[3].importances
    assert list(importances) == ["model", "fold", "feature", "importance", "share", "n_rows", "method"]
    assert not importances.duplicated(["model", "fold", "feature"]).any()
    np.testing.assert_allclose(importances.groupby(["model", "fold"])["share"].sum(), 1)


def test_the_same_night_explained_again_is_the_same(night, settings):
    places, tables, _, found = night
    again = explain_coin(COIN, tables, settings=settings, places=places, tell=print)
    assert_frame_equal(again.importances, found.importances)
    for model in ROSTER:
        assert_frame_equal(again.contributions[model], found.contributions[model])
    assert_frame_equal(again.nights.reset_index(drop=True), found.nights.reset_index(drop=True))


def test_what_was_stored_is_read_back(night):
    places, _, _, found = night
    stored = load_explanation(places, COIN)
    for name in ("importances", "models", "lags", "why", "nights"):
        assert_frame_equal(getattr(stored, name), getattr(found, name), check_dtype=False)
    assert_frame_equal(stored.contributions["lightgbm"], found.contributions["lightgbm"])


def test_another_night_is_added_and_nights_are_compared(night, settings):
    places, tables, _, found = night
    later = tables.features.index + pd.Timedelta(days=1)
    shifted = replace(found, nights=found.nights.assign(night=later[-1]))
    save_explanation(places, shifted)
    again = explain_coin(COIN, tables, settings=settings, places=places, tell=print)
    save_explanation(places, found)
    assert again.nights["night"].nunique() == 2
    over = stability_table(again.importances, again.nights, top=3)
    nights = over[over["over"] == "nights"]
    assert nights["n"].tolist() == [2] * len(ROSTER)
    np.testing.assert_allclose(nights["rank_correlation"], 1)
    np.testing.assert_allclose(nights["top_overlap"], 1)


def test_when_the_time_runs_out_the_newest_fold_is_done_and_the_rule_says_so(night, settings):
    places, tables, _, _ = night
    short = settings.model_copy(update={"roster": ("lightgbm",), "explanation": replace(settings.explanation, max_seconds=5)})
    ticks = count(step=10.0)
    found = explain_coin(COIN, tables, settings=short, places=places, tell=print, clock=lambda: next(ticks))
    newest = max(found.importances["fold"])
    assert set(found.importances["fold"]) == {newest}
    assert newest == len(tables.splits.columns) - 1
    assert "only the newest 1 of 3 folds, stopped after 5 s" in found.of("lightgbm")["rule"]
    assert "only the newest 1 of 3 folds" in text_of(importance_figure(found, "lightgbm"))


def test_the_latest_decision_is_explained_by_two_models_that_had_not_learned_from_its_bar(night):
    _, tables, _, found = night
    why = found.why[found.why["model"] == "lightgbm"]
    assert list(dict.fromkeys(why["by"])) == ["fold 2", "final"]
    assert (why["open_time"] == tables.features.index[-1]).all()
    assert np.isnan(tables.labels["signal"].iloc[-1])
    for _, rows in why.groupby("by"):
        first = rows.iloc[0]
        expected = np.log(first["p_long"] / first["p_short"])
        assert first["base"] + rows["contribution"].sum() == pytest.approx(expected, abs=1e-6)


def test_a_bar_that_the_final_model_has_learned_from_is_not_explained_by_it(night, settings):
    places, tables, _, _ = night
    labelled = tables.labels.copy()
    labelled.iloc[-1] = labelled.iloc[-20]
    labelled.loc[labelled.index[-1], "label_end"] = labelled.index[-1]
    told = []
    light = settings.model_copy(update={"roster": ("lightgbm",)})
    found = explain_coin(COIN, replace(tables, labels=labelled), settings=light, places=places, tell=told.append)
    assert "final" not in set(found.why["by"])
    assert "has learned from the last bar" in told[0]


def test_a_bar_without_a_decision_is_told_by_the_models_own_side(night, settings):
    places, tables, _, _ = night
    silent = tables.decisions.assign(confidence=np.nan, signal=0, tier="none")
    light = settings.model_copy(update={"roster": ("lightgbm",)})
    found = explain_coin(COIN, replace(tables, decisions=silent), settings=light, places=places, tell=print)
    assert why_sentence(found, "lightgbm").startswith("no decision on 2024-02-11 15:00, the model's own is ")


def test_a_model_whose_folds_are_not_kept_is_refused_in_a_sentence_and_holds_up_no_other(night, settings, tmp_path):
    places, tables, _, _ = night
    more = settings.model_copy(update={"roster": ("lightgbm", "catboost")})
    found = explain_coin(COIN, tables, settings=more, places=places, tell=print)
    assert found.explained == ["lightgbm"]
    sentence = "catboost was never trained: materialize models/catboost first"
    with pytest.raises(DataContractError, match=sentence):
        importance_figure(found, "catboost")
    stability = stability_table(found.importances, found.nights, top=3)
    assert sentence in explanation_page(found, "lightgbm", stability, top=3)


def test_another_feature_set_than_the_models_were_made_from_is_refused(night, settings):
    places, tables, _, _ = night
    other = tables.features.assign(x0=-tables.features["x0"])
    other.attrs = dict(tables.features.attrs)
    with pytest.raises(DataContractError, match=r"no model of fold 2 is kept .* materialize models/lightgbm again"):
        explain_coin(COIN, replace(tables, features=other), settings=settings, places=places, tell=print)


def test_a_coin_with_nothing_trained_and_one_never_explained_are_told_in_a_sentence(night, settings, tmp_path):
    with pytest.raises(DataContractError, match="BTC-USDT: there is nothing to explain: BTC-USDT: lightgbm was never trained"):
        explain_coin(COIN, night[1], settings=settings, places=Places(tmp_path), tell=print)
    with pytest.raises(DataContractError, match="ETH-USDT has no explanation yet: materialize the asset explanation"):
        load_explanation(night[0], "ETH-USDT")
    with pytest.raises(DataContractError, match="'tcn' is not among the explained models, lightgbm, xgboost, attention_lstm"):
        why_sentence(night[3], "tcn")


def test_a_tested_fold_of_one_class_is_explained_like_any_other(tmp_path, settings):
    """No outcome is asked for: what a forecast was made of does not depend on what came."""
    light = settings.model_copy(update={"roster": ("lightgbm",)})
    tables = tables_of()
    labels = tables.labels.copy()
    in_last = labels.index >= labels.index[800]
    labels.loc[in_last & labels["signal"].notna(), "signal"] = 1.0
    one_class = replace(tables, labels=labels)
    places, _ = trained_coin(tmp_path, one_class, light)
    found = explain_coin(COIN, one_class, settings=light, places=places, tell=print)
    assert found.importances.groupby("fold")["importance"].sum().gt(0).all()


def text_of(figure: Figure) -> str:
    parts = [figure._suptitle.get_text(), figure._supxlabel.get_text()]
    return " ".join(" ".join(parts).split())


@pytest.mark.parametrize("model", ROSTER)
def test_every_picture_says_what_it_found_and_by_which_rule_its_rows_were_chosen(night, model):
    found = night[3]
    rule = found.of(model)["rule"]
    pictures = [importance_figure, beeswarm_figure, stability_figure, lambda it, name: dependence_figure(it, name, "x0")]
    for draw in pictures:
        text = text_of(draw(found, model))
        assert text.startswith(f"{COIN} ")
        assert rule in text
    assert "BUY at 0.60 (high) on 2024-02-11 15:00" in text_of(waterfall_figure(found, model))
    assert "had not learned from this bar" in text_of(waterfall_figure(found, model))
    assert "its label is still to come" in text_of(waterfall_figure(found, model, by="final"))
    assert "x0 speaks for long where it is high" in text_of(beeswarm_figure(found, model))


def test_when_a_network_looked_is_drawn_and_for_a_tree_refused(night):
    found = night[3]
    assert "half of what it says comes from the latest" in text_of(attention_figure(found, "attention_lstm"))
    assert found.lags.groupby("fold")["share"].sum().to_numpy() == pytest.approx(1)
    assert found.lags.groupby("fold")["attention"].sum().to_numpy() == pytest.approx(1, abs=1e-5)
    with pytest.raises(DataContractError, match="lightgbm looks at one bar at a time"):
        attention_figure(found, "lightgbm")
    with pytest.raises(DataContractError, match="nothing is missing on all 90 bars explained of lightgbm"):
        dependence_figure(found, "lightgbm", "nothing")
    with pytest.raises(DataContractError, match="colour was not shown to lightgbm"):
        dependence_figure(found, "lightgbm", "colour")


def test_the_sentence_names_what_spoke_for_and_against(night):
    found = night[3]
    sentence = why_sentence(found, "lightgbm")
    assert sentence.startswith("BUY at 0.60 (high) on 2024-02-11 15:00. lightgbm (fold 2) gives short ")
    own = found.why[(found.why["model"] == "lightgbm") & (found.why["by"] == "fold 2")]
    largest = own.iloc[0]
    side = "for" if largest["contribution"] > 0 else "against"
    assert f"{side}: {largest['feature']} {largest['contribution']:+.2g}" in sentence


def test_the_base_row_of_each_bar_is_told_apart_from_its_features(night):
    contributions = night[3].contributions["lightgbm"]
    assert (contributions["feature"] == BASE).sum() == contributions["open_time"].nunique() == 90
    table = importance_table(night[3], "lightgbm")
    assert BASE not in set(table["feature"])


def test_how_much_is_explained_is_no_part_of_a_recipe():
    """Or a verdict would fall with a wish to see more."""
    first, other = (load_settings(explanation=ExplanationConfig(tree_rows=rows)) for rows in (100, 200))
    assert recipe_hash(first, COIN) == recipe_hash(other, COIN)


def test_the_final_model_is_in_no_importance(night):
    assert FINAL not in set(night[3].importances["fold"])


@pytest.fixture(scope="module")
def planted():
    """(samples, signals, weights, oracle) of the demo market's edge; the oracle is each feature's rank correlation with the
    hidden state that drives the next bar, on fresh rows."""
    spec = DEMO_COINS["EDGE-DEMO"]
    bars, _ = repair_candles(demo_market(spec, n_bars=3_000, seed=7), "1h", max_gap=4)
    kept = [it for it in CATALOG if it.family in {Family.VOLUME, Family.MOMENTUM} and "_x" not in it.name]
    features = compute_features(bars, kept)
    features = features.loc[:, features.iloc[FRESH].std() > 0]
    labels = make_labels(bars, LabelConfig(horizon=6, volatility_window=50))
    state = pd.Series(visible_state(bars, spec), index=bars.index)
    oracle = features.iloc[FRESH].corrwith(state.iloc[FRESH], method="spearman").abs().sort_values(ascending=False)
    return samples_of(features), labels, oracle


LEARN, FRESH = np.arange(500, 2_100), np.arange(2_150, 2_950)


def most_important(planted, model_type, signal):
    samples, labels, _ = planted
    model = create_model(model_type, n_rounds=60, learning_rate=0.1, max_depth=4, min_leaf_rows=50)
    model.fit(samples.take(LEARN), signal[LEARN], weight=labels["weight"].to_numpy()[LEARN], seed=1)
    found = explain(model, samples.take(FRESH))
    return pd.Series(found.importance(), index=found.columns).sort_values(ascending=False)


@pytest.mark.parametrize("model_type", ["lightgbm", "xgboost", "catboost"])
def test_on_the_demo_market_the_feature_that_carries_the_planted_signal_ranks_first(planted, model_type):
    """Which one carries it is not asked of any model: the demo knows its hidden state."""
    _, labels, oracle = planted
    importance = most_important(planted, model_type, labels["signal"].to_numpy())
    assert oracle.iloc[0] > 0.9
    assert importance.index[0] == oracle.index[0]
    assert importance.iloc[0] > 1.5 * importance.iloc[1]


def test_without_the_planted_signal_its_feature_does_not_rank_first_by_as_much(planted):
    """The control of the test above: labels of other times leave the same features and nothing to find."""
    _, labels, oracle = planted
    elsewhere = np.roll(labels["signal"].to_numpy(), 1_000)
    elsewhere[np.isnan(elsewhere)] = 0.0
    importance = most_important(planted, "lightgbm", elsewhere)
    assert importance[oracle.index[0]] < 1.5 * importance.drop(oracle.index[0]).iloc[0]
