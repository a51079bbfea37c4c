"""A version of a small market in a registry, made room by room without Dagster, and everything a night leaves beside it."""

from pathlib import Path

from crp_pipeline.candles import demo_candles, market_closes, repair_candles
from crp_pipeline.features import CATALOG, Family, extend_features, feature_set_id
from crp_pipeline.gate import Criterion, judge
from crp_pipeline.models import recipe_facts, recipe_of, save_bundle
from crp_pipeline.places import Places
from crp_pipeline.provenance import PLACES, feeds_recipe, library_versions, made_by, source_hash, stamp
from crp_pipeline.registry import Registry, gather
from crp_pipeline.registry.ingredients import ingredients_told, keep_ingredients
from crp_pipeline.rooms import Asked, golden_samples_of, label_table, role_table, selection_table, stacked, trained_model
from crp_pipeline.settings import DemoConfig, LabelConfig, PipelineSettings, SelectionConfig, WalkForwardConfig, load_settings
from crp_pipeline.storage import read_parquet, write_parquet
from crp_pipeline_tests.quick import quick_params

COIN, OTHER = "EDGE-DEMO", "NOISE-DEMO"
SOME = {Family.TREND: 20, Family.VOLUME: 4, Family.CROSS_MARKET: 8}
FEW_FEATURES = tuple(it for family, count in SOME.items() for it in [it for it in CATALOG if it.family is family][:count])
"""Some that look at prices, at volume and at the other coin."""
ASKED = (Criterion("trades", ">=", 200),)


def version_settings(root: Path, **changes: object) -> PipelineSettings:
    """A market of a few hundred bars, one booster, three folds."""
    values = {
        "source": "demo",
        "coins": (),
        "data_dir": root,
        "horizon": 3,
        "roster": ("lightgbm",),
        "demo": DemoConfig(n_bars=900),
        "labels": LabelConfig(volatility_window=20),
        "walk_forward": WalkForwardConfig(train_size=500, test_size=150, embargo=3),
        "selection": SelectionConfig(keep=8, learn_rows=300, watch_rows=100, correlation_rows=200),
    }
    return load_settings(**{**values, **changes})


def store_market(places: Places, settings: PipelineSettings, n_bars: int, *, coins=(COIN, OTHER), changed=None) -> None:
    """Candles, market and feeds of a night on which so many bars had closed."""
    found = {}
    for coin in coins:
        raw = demo_candles(coin, settings.demo, settings.interval).iloc[:n_bars].copy()
        if changed is not None and coin == COIN:
            raw.iloc[changed, raw.columns.get_loc("volume")] *= 2
        found[coin], _ = repair_candles(raw, settings.interval, max_gap=settings.max_gap)
        write_parquet(places.candles(coin), stamp(found[coin], "candles", coin=coin, interval=settings.interval))
        feeds = stamp(found[coin][[]].copy(), "feeds", behind=[found[coin]], files=feeds_recipe(settings))
        write_parquet(places.frame("feeds", coin=coin), feeds)
    write_parquet(places.frame("market"), stamp(market_closes(found), "market", interval=settings.interval))


def train_version(places: Places, settings: PipelineSettings, *, trades: float = 300.0, seed: int | None = None) -> str:
    """Learn from the stored market as a night does, and register what comes out, as champion where the trades allow it."""
    candles, market, feeds = (
        read_parquet(path) for path in (places.candles(COIN), places.frame("market"), places.frame("feeds", coin=COIN))
    )
    files = made_by(settings, COIN)
    features = extend_features(None, candles, FEW_FEATURES, market=market.drop(columns=COIN), feeds=feeds)
    stamp(features, "features", behind=[candles, market, feeds], feature_set_id=feature_set_id(FEW_FEATURES))
    labels = stamp(label_table(candles, feeds, settings), "labels", behind=[candles, feeds], files=files)
    splits = stamp(role_table(candles, labels, settings), "splits", behind=[candles, labels], files=files)
    learned_from = [features, labels, splits]
    selection = stamp(selection_table(*learned_from, settings), "models/selection", behind=learned_from, files=files)
    predictions = {
        name: _model(name, places, settings, [*learned_from, selection], settings.seed if seed is None else seed)
        for name in settings.roster
    }
    stack, decisions = stacked(predictions, labels, splits, settings, coin=COIN)
    stack.save(places.stack(COIN))
    stamp(decisions, "ensemble", behind=[labels, splits, *predictions.values()], files={**places.stack_file(COIN), **files})
    write_parquet(places.decisions(COIN), decisions)
    return _registered(places, settings, trades)


def _model(name, places, settings, behind, seed):
    features = behind[0]
    small = {parameter: value for parameter, value in quick_params(name).items() if parameter != "n_threads"}
    spec = recipe_of(name, "lightweight", asked={}, params=small, n_threads=settings.threads)
    trained = trained_model(spec, *behind, settings, Asked(seed=seed))
    facts = {"seed": seed, "days_of_history": None, "all_features": False, "features": list(trained.features)}
    golden = golden_samples_of(trained, features)
    save_bundle(trained.model, places.bundle(COIN, name), card={**recipe_facts(spec), **facts}, golden=golden)
    files = {**places.model_file(COIN, name), **made_by(settings, COIN)}
    return stamp(trained.predictions, f"models/{name}", behind=behind, files=files)


def _registered(places, settings, trades):
    book = Registry(places.registry)
    verdict = judge({"trades": trades}, ASKED, subject={"coin": COIN, "source": source_hash()})
    models = {name: places.bundle(COIN, name) for name in settings.roster}
    candidate = gather(models, places.stack(COIN), places.candidate(COIN), decisions=places.decisions(COIN))
    card = {
        "coin": COIN,
        "verdict": verdict.to_dict(),
        "settings": settings.model_dump(mode="json", exclude=PLACES),
        "libraries": library_versions(),
        "ingredients": ingredients_told(places, COIN, settings),
        "data_hash": ingredients_told(places, COIN, settings)["candles"]["hash"],
        "feature_set_id": feature_set_id(FEW_FEATURES),
        "recipe": "r",
        "code": "0123456789ab",
    }
    version = book.register(candidate, card)
    keep_ingredients(places, COIN, card, settings)
    if trades >= 200:
        book.promote(COIN, version, verdict)
    return version
