"""What a coin's trades cost beyond its settings: funding that was settled, and finer candles to fill a delayed order at."""

from crp_pipeline.backtest import CostData, settled_rates
from crp_pipeline.candles import read_feeds
from crp_pipeline.candles.files import coin_files, load_candles
from crp_pipeline.settings import PipelineSettings

FUNDING = "funding_rate"
"""The feed column that is settled between longs and shorts."""


def cost_data(settings: PipelineSettings, coin: str) -> CostData:
    """The coin's settled funding, from its feed of that name, and its candles of a shorter interval, where there are such.

    Funding is a cost of what was held, charged at its stamp: no decision sees it, so its publication does not matter here.
    """
    columns = [feed.rows[FUNDING] for feed in read_feeds(settings.feeds, coin) if FUNDING in feed.rows]
    files = {} if settings.finer_dir is None else coin_files(settings.finer_dir)
    finer = load_candles(files[coin]) if coin in files else None
    return CostData(
        funding=settled_rates(columns[0]) if columns else None,
        finer=None if finer is None else finer[~finer.index.duplicated()],
    )
