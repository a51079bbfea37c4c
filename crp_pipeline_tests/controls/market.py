"""Synthetic markets through the rooms before the models: features, labels of the next bar's direction, folds."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crp_pipeline.candles import demo_market, repair_candles
from crp_pipeline.candles.demo import CoinSpec, visible_state
from crp_pipeline.contracts import Fold
from crp_pipeline.features import CATALOG, compute_features, ready_rows
from crp_pipeline.labels import make_labels
from crp_pipeline.models import select_features
from crp_pipeline.settings import LabelConfig, SelectionConfig, WalkForwardConfig
from crp_pipeline.splits import fold_table, folds_of

NEXT_BAR = LabelConfig(horizon=1, neutral_volatility_multiple=0.0, round_trip_cost_bps=0.0, volatility_window=50)
"""Up or down, with nothing between: what the market's Bayes accuracy is about."""


@dataclass(frozen=True)
class Control:
    """One synthetic market, ready to be learned from."""

    features: pd.DataFrame
    labels: pd.DataFrame
    folds: tuple[Fold, ...]
    roles: pd.DataFrame
    state_sign: np.ndarray
    """Sign of the hidden state at each bar: the call that no forecaster beats."""

    def selected(self, **settings) -> pd.DataFrame:
        """The features that each fold's models learn from."""
        return select_features(self.features, self.labels, self.roles, config=SelectionConfig(**settings), seed=0)

    def directed(self, predictions: pd.DataFrame) -> np.ndarray:
        """Bars with a forecast and a direction that came."""
        return ((predictions["fold"] >= 0) & predictions["p_long"].notna() & (self.labels["signal"].abs() == 1)).to_numpy()

    def hits(self, predictions: pd.DataFrame) -> np.ndarray:
        """Whether the more probable direction came, bar by bar."""
        rows, came = self.directed(predictions), self.labels["signal"].to_numpy()
        return np.sign((predictions["p_long"] - predictions["p_short"]).to_numpy())[rows] == came[rows]


def control(*, kappa: float, n_bars: int, seed: int, n_blocks: int = 2) -> Control:
    """A demo market of one coin, the first half to learn from and the rest tested in blocks."""
    spec = CoinSpec("CONTROL", kappa=kappa)
    candles, _ = repair_candles(demo_market(spec, n_bars=n_bars, seed=seed), "1h", max_gap=4)
    candles.attrs = {"coin": spec.name}
    features, labels = compute_features(candles, CATALOG), make_labels(candles, NEXT_BAR)
    config = WalkForwardConfig(train_size=n_bars // 2, test_size=n_bars // 2 // n_blocks, embargo=2)
    roles = fold_table(labels, ready_rows(candles), config)
    return Control(features, labels, tuple(folds_of(roles)), roles, np.sign(visible_state(candles, spec)))
