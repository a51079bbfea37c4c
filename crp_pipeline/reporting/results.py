"""Everything that a coin's latest night stored, read from its files when it is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isnan, nan
from pathlib import Path
from typing import Any, Self

import pandas as pd

from crp_pipeline.backtest import BacktestResult
from crp_pipeline.backtest.files import load_result
from crp_pipeline.drift import read_history
from crp_pipeline.drift.outcomes import no_outcomes
from crp_pipeline.errors import DataContractError
from crp_pipeline.explanation import CoinExplanation, load_explanation
from crp_pipeline.gate import Verdict
from crp_pipeline.gate.verdict import read_verdict
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.places import Places
from crp_pipeline.settings import GateConfig
from crp_pipeline.storage import MANIFEST, read_manifest, read_parquet
from crp_pipeline.tuning import tuned_table

FRAMES = ("candles", "features", "labels", "splits", "ensemble", "comparison", "sentinels", "feasibility")
"""Stages whose table belongs to every finished night of a coin."""


@dataclass(frozen=True, eq=False)
class CoinResults:
    """What one coin's corridor left behind; each table is read once, when it is first asked for.

    All frames are as the stage stored them, with its `attrs`. A damaged file raises `DataContractError` or `BundleError`
    when it is read, naming the file.
    """

    places: Places
    coin: str

    @classmethod
    def load(cls, places: Places, coin: str) -> Self:
        """The results of a coin that went through the corridor; raises `DataContractError` for one that did not.

        The error names everything that is missing and what to materialize.
        """
        missing = [stage for stage, path in _required(places, coin).items() if not path.exists()]
        if missing:
            what = "was never run" if len(missing) == len(_required(places, coin)) else f"has no stored {', '.join(missing)}"
            cure = f"materialize {missing[0]} and what comes after it for {coin}, or run `python -m crp_pipeline.nightly`"
            raise DataContractError(f"{coin} {what} under {places.root}: {cure}")
        return cls(places, coin)

    @cached_property
    def verdict(self) -> Verdict:
        """The verdict on the night's candidate, with every number measured."""
        return read_verdict(self.places.verdict(self.coin))

    @property
    def level(self) -> float:
        """Confidence level of the night's intervals; the house's where no verdict tells it."""
        is_judged = self.places.verdict(self.coin).exists()
        told = self.verdict.evidence.get("confidence_level", nan) if is_judged else nan
        return GateConfig().level if isnan(told) else told

    @cached_property
    def candles(self) -> pd.DataFrame:
        """Repaired candles, indexed by `open_time`."""
        return self._frame("candles")

    @cached_property
    def features(self) -> pd.DataFrame:
        """One column per feature, one row per candle."""
        return self._frame("features")

    @cached_property
    def labels(self) -> pd.DataFrame:
        """`signal`, `forward_return`, `trend_strength`, `label_end`, `weight`, `volatility` per candle."""
        return self._frame("labels")

    @cached_property
    def splits(self) -> pd.DataFrame:
        """One column per fold: what every bar is to it (`splits.TRAIN`, `TEST`, `PURGED`)."""
        return self._frame("splits")

    @cached_property
    def selection(self) -> pd.DataFrame:
        """One row per fold and feature: kept or why not (`models.selection`)."""
        return self._frame("models", "selection")

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """The ensemble's decision on every bar, out of fold."""
        return self._frame("ensemble")

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """One row per candidate of the night, baselines on top."""
        return self._frame("comparison")

    @cached_property
    def sentinels(self) -> pd.DataFrame:
        """`name`, `value`, `limit`, `alarm`, `sentence` per reading."""
        return self._frame("sentinels")

    @cached_property
    def feasibility(self) -> pd.DataFrame:
        """One row per horizon and multiple of the costs (`gate.feasibility.feasibility_table`)."""
        return self._frame("feasibility")

    @cached_property
    def backtest(self) -> BacktestResult:
        """What the ensemble's decisions earned."""
        return load_result(self.places.value("backtest", coin=self.coin))

    @cached_property
    def ladder(self) -> pd.DataFrame | None:
        """What is left at multiples of the costs (`backtest.cost_ladder`); None where the backtest stored none."""
        return self._stressed("ladder")

    @cached_property
    def equity_by_cost(self) -> pd.DataFrame | None:
        """Equity at every close, a column per multiple of the costs; None where the backtest stored none."""
        return self._stressed("equity_by_cost")

    @cached_property
    def latency(self) -> pd.DataFrame | None:
        """What is left when every order is late (`backtest.latency_penalised`); None where the backtest stored none."""
        return self._stressed("latency")

    @cached_property
    def explanation(self) -> CoinExplanation | None:
        """What the forecasts are made of; None where nothing was explained."""
        is_there = self.places.frame("explanation", coin=self.coin).exists()
        return load_explanation(self.places, self.coin) if is_there else None

    @cached_property
    def drift(self) -> pd.DataFrame | None:
        """Every reading of every night (`drift.stored.COLUMNS`), oldest first; None where none was taken."""
        return read_history(self.places, self.coin)

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """What became of live decisions (`contracts.LiveOutcomeSchema`); empty where none was scored yet."""
        path = self.places.outcomes(self.coin)
        return read_parquet(path) if path.exists() else no_outcomes()

    @cached_property
    def tuned(self) -> pd.DataFrame:
        """One row per model that was tuned, against its default out of sample; empty where none was."""
        return tuned_table(self.places, self.coin)

    @cached_property
    def predictions(self) -> Mapping[str, pd.DataFrame]:
        """Out-of-fold forecasts by model, baselines first: `p_short`, `p_neutral`, `p_long` and `fold` (-1 where untested)."""
        order = [*sorted(self._stored(), key=lambda name: not _is_baseline(name))]
        return {name: self._frame("models", name) for name in order}

    @cached_property
    def cards(self) -> Mapping[str, dict[str, Any]]:
        """Manifest of every final model by name: features, seed, parameters, latency, hashes of its files."""
        folders = {name: self.places.bundle(self.coin, name) for name in self._stored()}
        return {name: read_manifest(folder) for name, folder in folders.items() if (folder / MANIFEST).exists()}

    def _stressed(self, name: str) -> pd.DataFrame | None:
        path = self.places.stress(self.coin, name)
        return read_parquet(path) if path.exists() else None

    def _stored(self) -> list[str]:
        """Models whose forecasts are stored, in the order of the catalogue, other names after it."""
        found = {path.stem for path in self.places.value("models", coin=self.coin).glob("*.parquet")} - {"selection"}
        known = [name for name in MODEL_CLASSES if name in found]
        return known + sorted(found - set(known))

    def _frame(self, *key: str) -> pd.DataFrame:
        return read_parquet(self.places.frame(*key, coin=self.coin))


def _is_baseline(name: str) -> bool:
    return name in MODEL_CLASSES and MODEL_CLASSES[name].is_baseline


def _required(places: Places, coin: str) -> dict[str, Path]:
    """Files that a finished night of a coin leaves, in the order in which they are made."""
    frames = {stage: places.frame(stage, coin=coin) for stage in FRAMES}
    selection = {"models/selection": places.frame("models", "selection", coin=coin)}
    backtest = {"backtest": places.value("backtest", coin=coin)}
    found = {**frames, **selection, **backtest, "gate": places.verdict(coin)}
    order = ("candles", "feasibility", "features", "labels", "splits", "models/selection", "ensemble", "backtest")
    return {stage: found[stage] for stage in (*order, "comparison", "sentinels", "gate")}
