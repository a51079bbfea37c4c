"""Synthetic markets for the controls: one that nobody can forecast, and some whose best forecast is known."""

import pandas as pd
from scipy.optimize import brentq

from crp_pipeline.candles import demo_market, repair_candles
from crp_pipeline.candles.demo import CoinSpec, bayes_accuracy
from crp_pipeline.provenance import stamp

COIN = "CONTROL"
LARGEST_EDGE = 3.0
"""Kappa that no control exceeds: 0.90 at the next bar."""
HOURLY_VOLATILITY = 0.02
"""A bar moves 200 bps: an edge of 0.6 is worth 52 bps before costs, which pay."""


def planted_edge(accuracy: float, horizon: int = 1) -> float:
    """Kappa of a market on which the best forecast of the next bars' direction is right that often; 0 for a half.

    Beyond a bar the state fades: an edge of 0.75 six bars ahead is a larger one at the next.

    >>> round(planted_edge(0.75), 3)
    1.0
    """
    return float(brentq(lambda kappa: bayes_accuracy(kappa, horizon) - accuracy, 0.0, LARGEST_EDGE))


def control_candles(accuracy: float, *, n_bars: int, seed: int, horizon: int = 1) -> pd.DataFrame:
    """Hourly candles of one coin as the first room leaves them: repaired, stamped."""
    spec = CoinSpec(COIN, kappa=planted_edge(accuracy, horizon), hourly_volatility=HOURLY_VOLATILITY)
    candles, _ = repair_candles(demo_market(spec, n_bars=n_bars, seed=seed), "1h", max_gap=4)
    return stamp(candles, "candles", coin=COIN)
