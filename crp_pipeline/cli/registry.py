"""`crp registry`: champions, journals, rollbacks."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from crp_pipeline.cli.doors import Coin, complain, registry_app
from crp_pipeline.errors import CrpError, RegistryError
from crp_pipeline.registry import Registry
from crp_pipeline.reporting.model_card import card_page
from crp_pipeline.reporting.tables import to_text
from crp_pipeline.settings import load_settings


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


@registry_app.command("card")
def show_card(
    coin: Coin, version: Annotated[str | None, typer.Option("--version", help="The champion, when none is named.")] = None
) -> None:
    """Print the model card of a version as Markdown."""
    typer.echo(card_page(_registry(), coin, version))


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


def _is_in_order(registry: Registry, coin: str) -> bool:
    try:
        registry.verify(coin)
    except CrpError as error:
        complain(error)
        return False
    typer.echo(f"{coin}: every version and the journal are as they were written")
    return True


def _registry() -> Registry:
    return Registry(Path(load_settings().data_dir) / "registry")
