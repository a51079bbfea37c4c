"""The command groups, and what several commands ask for alike."""

from typing import Annotated

import typer

from crp_pipeline.errors import CrpError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="What is not a materialization.")
registry_app = typer.Typer(no_args_is_help=True, help="Versions and champions.")
app.add_typer(registry_app, name="registry")
dataset_app = typer.Typer(no_args_is_help=True, help="Prepared tables of a coin as one folder.")
app.add_typer(dataset_app, name="dataset")
depot_app = typer.Typer(no_args_is_help=True, help="Files that several machines share.")
app.add_typer(depot_app, name="depot")

Coin = Annotated[str, typer.Option("--coin", help="Such as BTC-USDT.")]


def complain(error: CrpError | OSError) -> None:
    """Tell what is wrong in one line on stderr."""
    typer.echo(f"crp: {error}", err=True)
