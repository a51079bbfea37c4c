"""`crp`: what is not a materialization."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from crp_pipeline.dataset import TABLES, export_dataset, import_dataset
from crp_pipeline.errors import CrpError, RegistryError
from crp_pipeline.features import CATALOG, feature_set_id
from crp_pipeline.registry import Registry
from crp_pipeline.reporting.catalog import catalog_page
from crp_pipeline.reporting.tables import to_text
from crp_pipeline.settings import load_settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
registry_app = typer.Typer(no_args_is_help=True, help="Versions and champions.")
app.add_typer(registry_app, name="registry")
dataset_app = typer.Typer(no_args_is_help=True, help="Prepared tables of a coin as one folder.")
app.add_typer(dataset_app, name="dataset")

Coin = Annotated[str, typer.Option("--coin", help="Such as BTC-USDT.")]


@app.command("settings")
def show_settings() -> None:
    """Print the settings in force as JSON."""
    typer.echo(load_settings().model_dump_json(indent=2))


@app.command("features")
def show_features() -> None:
    """Print the feature catalogue as a Markdown page."""
    typer.echo(catalog_page())


@registry_app.command("list")
def list_champions() -> None:
    """Print the champion of every coin."""
    registry = _registry()
    rows = [(coin, registry.champion(coin) or "none", len(registry.history(coin))) for coin in registry.coins()]
    typer.echo(to_text(pd.DataFrame(rows, columns=["coin", "champion", "journal entries"])))


@registry_app.command("history")
def show_history(coin: Coin) -> None:
    """Print a coin's journal, oldest first."""
    entries = [vars(entry) for entry in _registry().history(coin)]
    if not entries:
        raise RegistryError(f"{coin} has no versions")
    typer.echo(to_text(pd.DataFrame(entries, columns=["at", "action", "version", "reason"])))


@registry_app.command("verify")
def verify(coin: Annotated[str | None, typer.Option("--coin", help="Every coin, when none is named.")] = None) -> None:
    """Check every byte of the versions, the journal and the pointer, of one coin or of all."""
    registry = _registry()
    coins = registry.coins() if coin is None else [coin]
    if not coins:
        typer.echo("the registry has no coins")
    in_order = [_is_in_order(registry, name) for name in coins]
    if not all(in_order):
        raise typer.Exit(1)


@registry_app.command("rollback")
def rollback(coin: Coin, reason: Annotated[str, typer.Option("--reason", help="Kept in the journal.")] = "by hand") -> None:
    """Bring back the champion before the present one."""
    version = _registry().rollback(coin, reason=reason)
    typer.echo(f"{coin}: champion is {version} again")


@dataset_app.command("export")
def dataset_export(coin: Coin, folder: Annotated[Path, typer.Option("--to", help="Replaced when it exists.")]) -> None:
    """Copy a coin's candles, features, labels and splits into a sealed folder."""
    typer.echo(f"{coin}: {', '.join(TABLES)} in {export_dataset(load_settings().data_dir, coin, folder)}")


@dataset_app.command("import")
def dataset_import(folder: Annotated[Path, typer.Option("--from", help="What `crp dataset export` wrote.")]) -> None:
    """Check an exported folder byte by byte and put its tables in their places."""
    coin = import_dataset(folder, load_settings().data_dir, feature_set_id=feature_set_id(CATALOG))
    typer.echo(f"{coin}: {', '.join(TABLES)} imported from {folder}")


def _is_in_order(registry: Registry, coin: str) -> bool:
    try:
        registry.verify(coin)
    except CrpError as error:
        _complain(error)
        return False
    typer.echo(f"{coin}: every version and the journal are as they were written")
    return True


def _complain(error: CrpError) -> None:
    typer.echo(f"crp: {error}", err=True)


def _registry() -> Registry:
    return Registry(Path(load_settings().data_dir) / "registry")


def main() -> None:
    """Run `crp`; an error of this package is one line on stderr and exit code 1."""
    try:
        app()
    except CrpError as error:
        _complain(error)
        raise SystemExit(1) from error
