"""A coin's explanation as tables, written to and read from its files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from crp_pipeline.errors import DataContractError
from crp_pipeline.places import Places
from crp_pipeline.storage import read_parquet, write_parquet

BASE = "(base)"
"""Feature of the row that holds a bar's score where nothing is known of it."""
STAGE = "explanation"
BESIDE = ("models", "lags", "why", "nights")
IMPORTANCE_COLUMNS = ("model", "fold", "feature", "importance", "share", "n_rows", "method")


@dataclass(frozen=True)
class CoinExplanation:
    """What the models of a coin made their forecasts of."""

    coin: str
    importances: pd.DataFrame
    """`model, fold, feature, importance, share, n_rows, method`: mean size of the contributions over rows and classes, in the
    model's unit, and its share in those of all features of the fold."""
    contributions: Mapping[str, pd.DataFrame]
    """By model: `open_time, fold, feature, value`, then a column per output; what a bar's rows add up to is its score."""
    models: pd.DataFrame
    """`model, method, unit, outputs, n_rows, n_tested, folds, all_folds, seconds, residual, rule, refused`: `residual` is the
    mean distance between what contributions add up to and what was forecast, `refused` why there is nothing."""
    lags: pd.DataFrame
    """`model, fold, bars_back, share, attention`, of models that look at more than one bar; attention where there is any."""
    why: pd.DataFrame
    """`model, by, open_time, signal, confidence, tier, p_short, p_neutral, p_long, unit, base, feature, value, contribution`:
    what speaks for the decision's signal, in the model's unit; the probabilities are the model's own."""
    nights: pd.DataFrame
    """`night, model, feature, importance, share`; a night is told by its last bar."""

    @property
    def explained(self) -> list[str]:
        """Models that there is something of."""
        return self.models.loc[self.models["refused"] == "", "model"].tolist()

    def of(self, model: str) -> pd.Series:
        """The row of `models`; raises `DataContractError` for a model of which there is nothing."""
        rows = self.models[self.models["model"] == model]
        if rows.empty:
            known = ", ".join(self.models["model"])
            raise DataContractError(f"{self.coin}: {model!r} is not among the explained models, {known}")
        if rows.iloc[0]["refused"]:
            raise DataContractError(f"{self.coin}: {rows.iloc[0]['refused']}")
        return rows.iloc[0]


def save_explanation(places: Places, found: CoinExplanation) -> None:
    """Write every table, each whole or not at all."""
    folder = places.value(STAGE, coin=found.coin)
    for name in BESIDE:
        write_parquet(folder / f"{name}.parquet", getattr(found, name))
    for model, frame in found.contributions.items():
        write_parquet(folder / f"{model}.parquet", frame)
    write_parquet(places.frame(STAGE, coin=found.coin), found.importances)


def load_explanation(places: Places, coin: str) -> CoinExplanation:
    """What `save_explanation` wrote; raises `DataContractError` for a coin of which nothing was explained yet."""
    importances, folder = places.frame(STAGE, coin=coin), places.value(STAGE, coin=coin)
    if not importances.exists():
        raise DataContractError(f"{coin} has no explanation yet: materialize the asset explanation of {coin} first")
    beside = {name: read_parquet(folder / f"{name}.parquet") for name in BESIDE}
    models = beside["models"]
    explained = models.loc[models["refused"] == "", "model"]
    contributions = {model: read_parquet(folder / f"{model}.parquet") for model in explained}
    return CoinExplanation(coin, read_parquet(importances), contributions, **beside)


def nights_file(places: Places, coin: str) -> Path:
    """File of the importances of each night."""
    return places.value(STAGE, coin=coin) / "nights.parquet"
