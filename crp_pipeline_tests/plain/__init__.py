"""Every feature once more, as a notebook writes it: pandas, slow and plain, from the feature's description alone.

One file per family, `PLAIN` in each: name of the feature -> the same from `PlainBars`. It is the oracle of the fast catalogue and the
other side of its benchmark, so nothing here may call the catalogue's own code.
"""

from crp_pipeline_tests.plain import (
    calendar,
    cross_market,
    feeds,
    momentum,
    price_action,
    statistical,
    timeframe,
    trend,
    volatility,
    volume,
)
from crp_pipeline_tests.plain.bars import Plain

FAMILIES = (trend, momentum, volatility, volume, price_action, statistical, calendar, cross_market, feeds, timeframe)
PLAIN: dict[str, Plain] = {name: formula for family in FAMILIES for name, formula in family.PLAIN.items()}
