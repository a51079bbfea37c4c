"""This coin against the others."""

import numpy as np
import pandas as pd

from crp_pipeline_tests.plain.bars import Plain, PlainBars, Series


def strength(bars: PlainBars, bars_back: int) -> Series:
    return (bars.change - bars.market_change).rolling(bars_back).sum()


def correlation(bars: PlainBars, window: int) -> Series:
    return bars.change.rolling(window).corr(bars.market_change)


def beta(bars: PlainBars, window: int) -> Series:
    return bars.change.rolling(window).cov(bars.market_change) / bars.market_change.rolling(window).var()


def spread_zscore(bars: PlainBars) -> Series:
    spread = strength(bars, 24)
    return (spread - spread.rolling(96).mean()) / spread.rolling(96).std(ddof=0)


def returns(bars: PlainBars) -> pd.DataFrame:
    return np.log(bars.market).diff()


def breadth(bars: PlainBars, window: int) -> Series:
    return (returns(bars) > 0).where(returns(bars).notna()).astype(float).mean(axis=1).rolling(window).mean()


def dispersion(bars: PlainBars) -> Series:
    return returns(bars).std(axis=1, ddof=0)


def return_rank(bars: PlainBars) -> Series:
    others = returns(bars).rolling(24).sum()
    return others.lt(bars.change.rolling(24).sum(), axis=0).where(others.notna()).astype(float).mean(axis=1)


def downside_beta(bars: PlainBars) -> Series:
    fall = bars.market_change.clip(upper=0)
    return (bars.change * fall).rolling(96).sum() / (fall**2).rolling(96).sum()


def residual_return(bars: PlainBars) -> Series:
    return bars.change.rolling(24).sum() - beta(bars, 96) * bars.market_change.rolling(24).sum()


def market_drawdown(bars: PlainBars) -> Series:
    level = bars.market_change.fillna(0.0).cumsum()
    return level - level.rolling(96).max()


def cohesion(bars: PlainBars) -> Series:
    return (bars.market_change**2).rolling(48).sum() / (returns(bars) ** 2).mean(axis=1).rolling(48).sum()


PLAIN: dict[str, Plain] = {
    "market_return_1": lambda bars: bars.market_change,
    "market_return_4": lambda bars: bars.market_change.rolling(4).sum(),
    "market_return_24": lambda bars: bars.market_change.rolling(24).sum(),
    "relative_strength_4": lambda bars: strength(bars, 4),
    "relative_strength_24": lambda bars: strength(bars, 24),
    "market_correlation_24": lambda bars: correlation(bars, 24),
    "market_correlation_96": lambda bars: correlation(bars, 96),
    "market_beta_24": lambda bars: beta(bars, 24),
    "market_beta_96": lambda bars: beta(bars, 96),
    "market_lead_96": lambda bars: bars.change.rolling(96).corr(bars.market_change.shift()),
    "spread_zscore_24_96": spread_zscore,
    "market_volatility_ratio_48": lambda bars: bars.change.rolling(48).std() / bars.market_change.rolling(48).std(),
    "market_breadth_12": lambda bars: breadth(bars, 12),
    "market_breadth_48": lambda bars: breadth(bars, 48),
    "market_dispersion_24": lambda bars: dispersion(bars).rolling(24).mean() / bars.change.rolling(24).std(ddof=0),
    "return_rank_24": return_rank,
    "residual_return_24_96": residual_return,
    "downside_beta_96": downside_beta,
    "market_lead_4_96": lambda bars: bars.change.rolling(96).corr(bars.market_change.rolling(4).sum().shift()),
    "market_drawdown_96": market_drawdown,
    "market_volatility_change_48_168": lambda bars: (
        bars.market_change.rolling(48).std(ddof=0) / bars.market_change.rolling(168).std(ddof=0)
    ),
    "market_dispersion_change_24_168": lambda bars: dispersion(bars).rolling(24).mean() / dispersion(bars).rolling(168).mean(),
    "market_cohesion_48": cohesion,
}
