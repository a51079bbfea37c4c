"""Features of funding, open interest and sentiment."""

import numpy as np

from crp_pipeline_tests.plain.bars import Plain, PlainBars, Series


def _funding_bps(bars: PlainBars) -> Series:
    return bars.feeds["funding_rate"] * 10_000


def _log_interest(bars: PlainBars) -> Series:
    return np.log(bars.feeds["open_interest"])


def _zscore(values: Series, window: int) -> Series:
    return (values - values.rolling(window).mean()) / values.rolling(window).std(ddof=0)


PLAIN: dict[str, Plain] = {
    "funding_bps": _funding_bps,
    "funding_bps_mean_72": lambda bars: _funding_bps(bars).rolling(72).mean(),
    "funding_bps_change_24": lambda bars: _funding_bps(bars).diff(24),
    "funding_zscore_168": lambda bars: _zscore(_funding_bps(bars), 168),
    "open_interest_change_24": lambda bars: _log_interest(bars).diff(24),
    "open_interest_zscore_168": lambda bars: _zscore(_log_interest(bars), 168),
    "open_interest_return_correlation_48": lambda bars: _log_interest(bars).diff().rolling(48).corr(bars.change),
    "fear_greed": lambda bars: bars.feeds["fear_greed"] / 100,
    "fear_greed_change_24": lambda bars: bars.feeds["fear_greed"].diff(24) / 100,
    "fear_greed_change_168": lambda bars: bars.feeds["fear_greed"].diff(168) / 100,
}
