"""Synthetic markets for the controls: one that nobody can forecast, and some whose best forecast is known."""

from math import pi, tan

import pandas as pd

from crp_pipeline.candles import demo_market, repair_candles
from crp_pipeline.candles.demo import CoinSpec
from crp_pipeline.provenance import stamp

COIN = "CONTROL"
HOURLY_VOLATILITY = 0.02
"""A bar moves 200 bps: an edge of 0.6 is worth 52 bps before costs, which pay."""


def planted_edge(bayes_accuracy: float) -> float:
    """Kappa of a market on which the best forecast of a bar's direction is right that often; 0 for a half.

    >>> round(planted_edge(0.75), 3)
    1.0
    """
    return tan(pi * (bayes_accuracy - 0.5))


def control_candles(bayes_accuracy: float, *, n_bars: int, seed: int) -> pd.DataFrame:
    """Hourly candles of one coin as the first room leaves them: repaired, stamped."""
    spec = CoinSpec(COIN, kappa=planted_edge(bayes_accuracy), hourly_volatility=HOURLY_VOLATILITY)
    candles, _ = repair_candles(demo_market(spec, n_bars=n_bars, seed=seed), "1h", max_gap=4)
    return stamp(candles, "candles", coin=COIN)
