"""`crp dataset`: prepared tables as one sealed folder."""

from pathlib import Path
from typing import Annotated

import typer

from crp_pipeline.cli.doors import Coin, dataset_app
from crp_pipeline.dataset import TABLES, export_dataset, import_dataset
from crp_pipeline.features import CATALOG, feature_set_id
from crp_pipeline.settings import load_settings


@dataset_app.command("export")
def dataset_export(coin: Coin, folder: Annotated[Path, typer.Option("--to", help="Replaced when it exists.")]) -> None:
    """Copy a coin's candles, features, labels and splits into a sealed folder."""
    typer.echo(f"{coin}: {', '.join(TABLES)} in {export_dataset(load_settings().data_dir, coin, folder)}")


@dataset_app.command("import")
def dataset_import(folder: Annotated[Path, typer.Option("--from", help="What `crp dataset export` wrote.")]) -> None:
    """Check an exported folder byte by byte and put its tables in their places."""
    coin = import_dataset(folder, load_settings().data_dir, feature_set_id=feature_set_id(CATALOG))
    typer.echo(f"{coin}: {', '.join(TABLES)} imported from {folder}")
