"""A small market, real versions that learned a part of it, and a registry to put them in."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from crp_pipeline.ensemble import fit_stack
from crp_pipeline.gate import Criterion, Outcome, Stage, Verdict, judge
from crp_pipeline.labels import make_labels
from crp_pipeline.models import ModelSpec, samples_of, save_bundle, train
from crp_pipeline.provenance import stamp
from crp_pipeline.registry import gather
from crp_pipeline.settings import LabelConfig, WalkForwardConfig
from crp_pipeline.splits import fold_table, folds_of
from crp_pipeline.storage import write_parquet

COIN = "BTC-USDT"
HORIZON = 6
NIGHT = 24
"""Bars that a night adds."""
NOW = datetime(2024, 1, 31, 0, 15, tzinfo=UTC)
"""A quarter of an hour after the last bar of the first 720."""
SIZES = WalkForwardConfig(train_size=300, test_size=100, embargo=HORIZON)
LABELS = LabelConfig(horizon=HORIZON, volatility_window=20, round_trip_cost_bps=14)


@dataclass(frozen=True)
class Market:
    candles: pd.DataFrame
    features: pd.DataFrame

    def until(self, n_bars):
        """What was known after so many bars."""
        features = self.features.iloc[:n_bars].copy()
        return Market(self.candles.iloc[:n_bars], stamp(features, "features", coin=COIN, feature_set_id="set-1"))

    @property
    def labels(self):
        return make_labels(self.candles, LABELS)

    @property
    def ready(self):
        return np.ones(len(self.features), dtype=bool)


def market(n_bars, *, seed=0, strength=0.5, scale=0.01):
    """Hourly bars whose next moves lean on `x0`, which is known at each close; `x1` tells nothing."""
    rng = np.random.default_rng(seed)
    pull, noise = np.zeros(n_bars), rng.standard_normal((2, n_bars))
    for bar in range(1, n_bars):
        pull[bar] = 0.7 * pull[bar - 1] + noise[0, bar]
    moves = scale * (strength * np.concatenate([[0.0], pull[:-1]]) + rng.standard_normal(n_bars))
    times = pd.date_range("2024-01-01", periods=n_bars, freq="h", tz="UTC", name="open_time", unit="ns")
    close = 100 * np.exp(np.cumsum(moves))
    opening = np.concatenate([[100.0], close[:-1]])
    prices = {"open": opening, "high": np.maximum(opening, close), "low": np.minimum(opening, close), "close": close}
    candles = pd.DataFrame(prices, index=times).assign(volume=1.0, is_repaired=False, segment=0)
    return Market(candles, pd.DataFrame({"x0": pull, "x1": noise[1]}, index=times))


def candidate(known, folder, *models, seed=0, sizes=SIZES):
    """(models, stack, decisions) of a night on this market, as `gather` takes them."""
    labels, features = known.labels, known.features
    roles = fold_table(labels, known.ready, sizes)
    bundles, forecasts = {}, {}
    for spec in models:
        made = train(spec, features, labels, roles, seed=seed)
        card = {"feature_set_id": features.attrs["feature_set_id"], "features": list(made.features)}
        golden = samples_of(features).take(np.arange(len(features) - 4, len(features)))
        bundles[spec.model_type] = save_bundle(made.model, folder / f"{spec.model_type}.bundle", card=card, golden=golden)
        forecasts[spec.model_type] = made.predictions
    stack = fit_stack(forecasts, labels, folds_of(roles), seed=seed)
    stack.save(folder / "stack.json")
    write_parquet(folder / "decisions.parquet", stack.decide(forecasts))
    return bundles, folder / "stack.json", folder / "decisions.parquet"


KNOWS_NOTHING = (ModelSpec("prior"),)
KNOWS_SOME = (ModelSpec("logistic"), ModelSpec("lightgbm", "lightweight", {"n_rounds": 8, "max_depth": 3, "n_threads": 1}))


def verdict(outcome):
    """A verdict of this outcome; `shadows_exist` must be in force for SHADOW."""
    margin = {Outcome.PROMOTE: 1.0, Outcome.SHADOW: -19.0}.get(outcome, 1.0)
    trades = 10.0 if outcome is Outcome.REJECT else 300.0
    asked = (Criterion("trades", ">=", 200, Stage.SKILL), Criterion("champion_margin", ">=", 0, Stage.THRESHOLDS))
    made = judge({"trades": trades, "champion_margin": margin}, asked, subject={"coin": COIN})
    assert made.outcome is outcome
    return made


def outcome_with_shadows(made):
    """A candidate that fails at the champion alone is a shadow."""
    if made.first_failed is None:
        return Outcome.PROMOTE
    return Outcome.SHADOW if made.first_failed.criterion.name == "champion_margin" else Outcome.REJECT


def shadows_exist(patch):
    patch.setattr(Verdict, "outcome", property(outcome_with_shadows))


def register(book, parts, outcome, *, recipe, now=NOW, feature_set_id="set-1", **card):
    """Put a candidate into the registry, and on the throne where its verdict says so."""
    models, stack, decisions = parts
    folder = gather(models, stack, Path(book.root).parent / "gathered", decisions=decisions)
    found = verdict(outcome)
    told = {"coin": COIN, "verdict": found.to_dict(), "recipe": recipe, "feature_set_id": feature_set_id, **card}
    version = book.register(folder, told, now=now)
    if outcome is Outcome.PROMOTE:
        book.promote(COIN, version, found, now=now)
    return version
