"""`crp report`: the pages of what is stored, and the README's numbers."""

from pathlib import Path
from typing import Annotated

import typer

from crp_pipeline.candles.source import available_coins
from crp_pipeline.cli.doors import app, complain
from crp_pipeline.errors import CrpError
from crp_pipeline.places import Places
from crp_pipeline.registry.card import checked_coin
from crp_pipeline.reporting.fleet import write_fleet_report
from crp_pipeline.reporting.readme import KEPT_RUN, keep_night, update_readme
from crp_pipeline.reporting.report import write_coin_report
from crp_pipeline.reporting.results_document import write_results_document
from crp_pipeline.settings import PipelineSettings, load_settings


@app.command("report")
def report(
    *,
    coin: Annotated[str | None, typer.Option("--coin", help="Its page alone; all pages when none is named.")] = None,
    is_readme: Annotated[bool, typer.Option("--update-readme", help="Render the README's numbers instead.")] = False,
    is_from_night: Annotated[
        bool, typer.Option("--from-night", help="Of the stored night of the demo; else of the run that the repository keeps.")
    ] = False,
    readme: Annotated[Path, typer.Option("--readme", help="The README of a checkout.")] = Path("README.md"),
) -> None:
    """Write the pages of what is stored again, without Dagster, and print where they lie.

    Of all coins: a page each, the fleet's page and the results document. Exit code 1 when a coin has no page.
    """
    settings = load_settings()
    if is_from_night and not is_readme:
        raise typer.BadParameter("--from-night belongs to --update-readme")
    if is_readme:
        _update(readme, Places(settings.data_dir) if is_from_night else None)
    elif coin is not None:
        typer.echo(write_coin_report(Places(settings.data_dir), checked_coin(coin)))
    else:
        _write_all(settings)


def _update(readme: Path, night: Places | None) -> None:
    folder = readme.parent / KEPT_RUN
    if night is not None:
        keep_night(night, folder)
    typer.echo(f"{readme}: {'rendered anew' if update_readme(readme, folder) else 'is as the kept run has it'}")


def _write_all(settings: PipelineSettings) -> None:
    places, coins = Places(settings.data_dir), available_coins(settings)
    missing = [coin for coin in coins if not _is_written(places, coin)]
    typer.echo(write_results_document(places, coins, settings.gate))
    if len(missing) < len(coins):
        typer.echo(write_fleet_report(places, coins, config=settings.gate, retired=settings.retired))
    if missing:
        raise typer.Exit(1)


def _is_written(places: Places, coin: str) -> bool:
    """Write a coin's page and tell where it lies, or what is wrong with it."""
    try:
        typer.echo(write_coin_report(places, coin))
    except CrpError as error:
        complain(error)
        return False
    return True
