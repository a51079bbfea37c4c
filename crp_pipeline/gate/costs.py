"""What trades cost beyond the settings: funding that was settled, and finer candles for a late order."""

from crp_pipeline.backtest import CostData, settled_rates
from crp_pipeline.candles import read_feeds
from crp_pipeline.candles.files import coin_files, load_candles
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import frame_hash, sha256

FUNDING = "funding_rate"
"""The feed column that is settled between longs and shorts."""
ABSENT = "none"
"""Costs without a source are costs of their own: tables that knew one do not belong to tables that did not."""


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


def cost_hashes(settings: PipelineSettings, coin: str, data: CostData) -> dict[str, str]:
    """Content hashes of what costs were taken from, by name in a lineage; `none` of what there is not."""
    sample = settings.of(coin).execution.slippage_file
    return {
        "costs.funding": ABSENT if data.funding is None else frame_hash(data.funding.to_frame()),
        "costs.finer": ABSENT if data.finer is None else frame_hash(data.finer),
        "costs.slippage": ABSENT if sample is None else sha256(sample),
    }
