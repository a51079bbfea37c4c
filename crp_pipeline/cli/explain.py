"""`crp explain`: what a coin's models made their forecasts of, and why the latest signal."""

from typing import Annotated

import typer

from crp_pipeline.cli.doors import Coin, app
from crp_pipeline.explanation import load_explanation, stability_table
from crp_pipeline.places import Places
from crp_pipeline.registry.card import checked_coin
from crp_pipeline.reporting.explanation import explanation_page
from crp_pipeline.settings import load_settings


@app.command("explain")
def show_explanation(
    coin: Coin,
    model: Annotated[
        str | None, typer.Option("--model", help="Of the roster; the first that is explained unless given.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Features in the table.")] = 15,
) -> None:
    """Print what a stored model made its out-of-sample forecasts of, how far folds agree, and why the latest signal."""
    settings = load_settings()
    found = load_explanation(Places(settings.data_dir), checked_coin(coin))
    stability = stability_table(found.importances, found.nights, top=settings.explanation.top)
    typer.echo(explanation_page(found, found.explained[0] if model is None else model, stability, top=top))
