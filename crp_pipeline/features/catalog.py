"""Every feature of the house, in the order of the table's columns."""

from crp_pipeline.features.calendar import CALENDAR
from crp_pipeline.features.candlesticks import CANDLESTICKS
from crp_pipeline.features.cross_market import CROSS_MARKET
from crp_pipeline.features.feature import Feature
from crp_pipeline.features.feeds import FEEDS
from crp_pipeline.features.liquidity import LIQUIDITY
from crp_pipeline.features.momentum import MOMENTUM
from crp_pipeline.features.price_action import PRICE_ACTION
from crp_pipeline.features.statistical import STATISTICAL
from crp_pipeline.features.timeframe import TIMEFRAMES
from crp_pipeline.features.trend import TREND
from crp_pipeline.features.volatility import VOLATILITY
from crp_pipeline.features.volume import VOLUME

CATALOG: tuple[Feature, ...] = (
    *TREND,
    *MOMENTUM,
    *VOLATILITY,
    *VOLUME,
    *LIQUIDITY,
    *PRICE_ACTION,
    *CANDLESTICKS,
    *STATISTICAL,
    *CALENDAR,
    *CROSS_MARKET,
    *TIMEFRAMES,
    *FEEDS,
)
"""A row needs fewer than 300 bars: see `warm_up_bars`."""
