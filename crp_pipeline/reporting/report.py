"""The report pages: one per coin and one of the fleet, written from stored results only."""

from collections.abc import Callable, Sequence
from pathlib import Path

from crp_pipeline.places import Places
from crp_pipeline.reporting.document import Page, Section, write_page
from crp_pipeline.reporting.results import CoinResults
from crp_pipeline.reporting.sections.data import folds_section, leaks_section, quality_section
from crp_pipeline.reporting.sections.explanation import explanation_section
from crp_pipeline.reporting.sections.feasibility import feasibility_section
from crp_pipeline.reporting.sections.forecasts import forecasts_section
from crp_pipeline.reporting.sections.lineage import cards_section, lineage_section, trials_section
from crp_pipeline.reporting.sections.live import live_section
from crp_pipeline.reporting.sections.models import comparison_section, selection_section
from crp_pipeline.reporting.sections.trades import trades_section
from crp_pipeline.reporting.sections.trading import groups_section, trading_section
from crp_pipeline.reporting.sections.tuning import tuning_section
from crp_pipeline.reporting.sections.verdict import findings, headline

SECTIONS: Sequence[Callable[[CoinResults], Section]] = (
    findings,
    feasibility_section,
    comparison_section,
    forecasts_section,
    selection_section,
    explanation_section,
    tuning_section,
    trading_section,
    trades_section,
    groups_section,
    live_section,
    folds_section,
    leaks_section,
    quality_section,
    lineage_section,
    trials_section,
    cards_section,
)
"""The chapters of a coin's page in their order, below the verdict."""


def coin_page(results: CoinResults) -> Page:
    """A coin's report: verdict first, then everything behind it."""
    return Page(headline(results), [section(results) for section in SECTIONS])


def write_coin_report(places: Places, coin: str) -> Path:
    """Write a coin's page and, in the folder beside it, its tables.

    Raises `DataContractError` for a coin that was never run.
    """
    return write_page(coin_page(CoinResults.load(places, coin)), places.report(coin), places.report_tables(coin))
