"""`crp drift`: the latest drift report of a coin, or of all."""

from typing import Annotated

import typer

from crp_pipeline.candles.source import available_coins
from crp_pipeline.cli.doors import app
from crp_pipeline.drift import read_report
from crp_pipeline.errors import DataContractError
from crp_pipeline.places import Places
from crp_pipeline.registry.card import checked_coin
from crp_pipeline.reporting.drift import drift_page
from crp_pipeline.settings import load_settings


@app.command("drift")
def show_drift(
    coin: Annotated[str | None, typer.Option("--coin", help="Every coin that was measured, when none is named.")] = None,
    top: Annotated[int, typer.Option("--top", min=0, help="Single features in the table, the nearest to their limits.")] = 10,
) -> None:
    """Print the latest drift report: what is asked of the champion, in what state it is, and what follows."""
    settings = load_settings()
    places, asked = Places(settings.data_dir), available_coins(settings) if coin is None else [checked_coin(coin)]
    reports = [report for name in asked if (report := read_report(places, name)) is not None]
    if not reports:
        raise DataContractError(f"there is no drift report of {coin or 'any coin'} yet: materialize the asset drift first")
    typer.echo("\n\n".join(drift_page(report, top=top) for report in reports))
