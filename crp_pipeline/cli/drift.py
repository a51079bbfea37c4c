"""`crp drift`: the latest drift report of a coin, or of all."""

from typing import Annotated

import typer

from crp_pipeline.cli.doors import app, complain
from crp_pipeline.drift import measured_coins, read_report
from crp_pipeline.errors import CrpError, DataContractError
from crp_pipeline.places import Places
from crp_pipeline.registry.card import checked_coin
from crp_pipeline.reporting.drift import drift_page
from crp_pipeline.settings import load_settings


@app.command("drift")
def show_drift(
    coin: Annotated[str | None, typer.Option("--coin", help="Every coin that was measured, when none is named.")] = None,
    top: Annotated[int, typer.Option("--top", min=0, help="Single features in the table, the nearest to their limits.")] = 10,
) -> None:
    """Print the latest drift report: what is asked of the champion, in what state it is, and what follows.

    Retired coins have one as well. Exit code 1 when a report cannot be read; the others are printed.
    """
    places = Places(load_settings().data_dir)
    measured = measured_coins(places)
    asked = measured if coin is None else [name for name in [checked_coin(coin)] if name in measured]
    if not asked:
        raise DataContractError(f"there is no drift report of {coin or 'any coin'} yet: materialize the asset drift first")
    pages = [_page(places, name, top=top) for name in asked]
    if any(pages):
        typer.echo("\n\n".join(filter(None, pages)))
    if not all(pages):
        raise typer.Exit(1)


def _page(places: Places, coin: str, *, top: int) -> str:
    """A coin's latest report; empty where it cannot be read, which is told."""
    try:
        report = read_report(places, coin)
    except CrpError as error:
        complain(error)
        return ""
    return drift_page(report, top=top) if report else ""
