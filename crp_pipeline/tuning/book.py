"""The tables of a coin that a study is made from, and the ledger that its trials are written into."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

import pandas as pd

from crp_pipeline.backtest import CostData
from crp_pipeline.errors import TuningError
from crp_pipeline.gate.comparison import plain_net_returns
from crp_pipeline.ledger import Ledger, Trial, flat, model_trial
from crp_pipeline.models import MODEL_CLASSES, ModelSpec, Tried, recipe_facts
from crp_pipeline.places import Places
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import frame_hash, read_parquet
from crp_pipeline.tuning.stored import STAGE

NEEDED = ("candles", "features", "labels", "splits")
Clock = Callable[[], datetime]


@dataclass(frozen=True)
class CoinTables:
    """The stored tables of a coin that a study is made from."""

    coin: str
    candles: pd.DataFrame = field(repr=False)
    features: pd.DataFrame = field(repr=False)
    labels: pd.DataFrame = field(repr=False)
    splits: pd.DataFrame = field(repr=False)

    @classmethod
    def load(cls, places: Places, coin: str) -> Self:
        """Read them; raises `TuningError` naming the first that is not there."""
        missing = [name for name in NEEDED if not places.frame(name, coin=coin).exists()]
        if missing:
            raise TuningError(f"{coin} has no {missing[0]} yet: materialize {', '.join(NEEDED)} of it before it is tuned")
        return cls(coin, *(read_parquet(places.frame(name, coin=coin)) for name in NEEDED))

    @property
    def feature_set_id(self) -> str:
        """Identity of the features."""
        return str(self.features.attrs["feature_set_id"])


@dataclass(frozen=True)
class Book:
    """Writes what is tried into the ledger of the coin."""

    ledger: Ledger
    settings: PipelineSettings
    """The coin's own."""
    tables: CoinTables
    costs: CostData
    occasion: str
    clock: Clock

    def inner_trial(self, spec: ModelSpec, *, seed: int, n_folds: int) -> Trial:
        """What every trial of a study is like but for its parameters and its forecasts."""
        card = {**card_of(spec, self.tables, seed), "parameters": {}}
        return model_trial(f"{STAGE}/{spec.model_type}", card, self.settings, made="", inner_folds=n_folds)

    def append_inner(self, tried: Tried, *, like: Trial) -> None:
        """A trial of the study, by its forecasts of the inner test bars; no candle from the first outer test bar on is read."""
        own = flat({"model": {"parameters": recipe_facts(tried.spec)["parameters"]}})
        trial = replace(like, recipe={**like.recipe, **own}, made=frame_hash(tried.predictions))
        self._append(trial, tried.predictions, until=tried.predictions.index[-1])

    def append_outer(self, spec: ModelSpec, predictions: pd.DataFrame, *, seed: int) -> None:
        """A recipe's forecasts of the outer test bars: the very trial that the model's own asset makes of them."""
        card = card_of(spec, self.tables, seed)
        self._append(model_trial(spec.model_type, card, self.settings, made=frame_hash(predictions)), predictions)

    def _append(self, trial: Trial, predictions: pd.DataFrame, *, until: pd.Timestamp | None = None) -> None:
        candles, labels = self.tables.candles.loc[:until], self.tables.labels.loc[:until]
        earned = plain_net_returns({trial.name: predictions}, candles, labels, settings=self.settings, data=self.costs)
        self.ledger.append(self.tables.coin, self.occasion, [trial], earned, now=self.clock())


def card_of(spec: ModelSpec, tables: CoinTables, seed: int) -> dict[str, Any]:
    """What the card of a model of this recipe says of its making."""
    all_features = MODEL_CLASSES[spec.model_type].reads_every_feature
    own = {"seed": seed, "days_of_history": None, "all_features": all_features, "feature_set_id": tables.feature_set_id}
    return {**recipe_facts(spec), **own}
