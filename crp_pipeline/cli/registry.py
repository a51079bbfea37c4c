"""`crp registry`: who has which role, now or then; journals, promotions and rollbacks by hand, pins, pruning."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from crp_pipeline.cli.doors import Coin, complain, registry_app
from crp_pipeline.depot import Depot
from crp_pipeline.errors import CrpError, RegistryError
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry
from crp_pipeline.registry.card import checked_coin, verdict_of
from crp_pipeline.registry.desk import stray
from crp_pipeline.registry.ingredients import cards_kept, prune_ingredients
from crp_pipeline.registry.mirror import mirror
from crp_pipeline.registry.pointers import ROLES
from crp_pipeline.reporting.model_card import card_page
from crp_pipeline.reporting.tables import to_text
from crp_pipeline.settings import PipelineSettings, load_settings
from crp_pipeline.signals import SignalLog, logged_coins

Version = Annotated[str, typer.Option("--version", help="Its sixteen hex digits, as `history` tells them.")]
AnyVersion = Annotated[str | None, typer.Option("--version", help="The champion, when none is named.")]
AnyCoin = Annotated[str | None, typer.Option("--coin", help="Every coin, when none is named.")]
Reason = Annotated[str, typer.Option("--reason", help="Kept in the journal.")]
MOMENTS = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M%z", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M", "%Y-%m-%d"]


@registry_app.command("list")
def list_roles() -> None:
    """Print champion, challenger and shadow of every coin, and since when the champion reigns."""
    registry = _registry()
    rows = [[coin, *registry.pointers(coin).by_role().values(), _since(registry, coin)] for coin in registry.coins()]
    typer.echo(to_text(pd.DataFrame(rows, columns=["coin", *ROLES, "since"])))


@registry_app.command("show")
def show_version(coin: Coin, version: AnyVersion = None) -> None:
    """Print what a version is: roles, verdict, recipe, data, code, libraries and size."""
    registry = _registry()
    chosen = version or registry.champion(coin)
    if chosen is None:
        raise RegistryError(f"{coin} has no champion: name the version that is asked for")
    card, state = registry.card_alone(coin, chosen), registry.state(coin)
    if chosen not in state.registered:
        raise stray(coin, chosen)
    held = [role for role, holder in registry.pointers(coin).by_role().items() if holder == chosen]
    verdict = verdict_of(card)
    facts = {
        "version": chosen,
        "roles": ", ".join(held) or "none",
        "registered": state.registered[chosen].at,
        "verdict": f"{verdict.outcome}: {verdict.reason}",
        **_made_from(card),
        "size": "pruned" if chosen in state.pruned else _size(registry, coin, chosen),
    }
    _print_pairs(facts)


@registry_app.command("history")
def show_history(
    coin: Coin,
    at: Annotated[
        datetime | None,
        typer.Option("--at", formats=MOMENTS, help="Who was champion then, made from what; UTC unless it says."),
    ] = None,
) -> None:
    """Print a coin's journal, oldest first, or who was champion at a moment."""
    registry = _known(_registry(), coin)
    if at is not None:
        _print_champion_at(registry, coin, at)
        return
    columns = ["at", "action", "version", "reason", "challenger", "shadow"]
    typer.echo(to_text(pd.DataFrame([vars(entry) for entry in registry.history(coin)], columns=columns)))


@registry_app.command("card")
def show_card(coin: Coin, version: AnyVersion = None) -> None:
    """Print the model card of a version as Markdown."""
    typer.echo(card_page(_registry(), coin, version))


@registry_app.command("verify")
def verify(coin: AnyCoin = None) -> None:
    """Check every byte of the versions, the journal, the pointers and the log of live decisions, of one coin or of all."""
    registry, signals = _registry(), _places(load_settings()).online.parent
    decided = set(logged_coins(signals))
    coins = sorted({*registry.coins(), *decided}) if coin is None else [coin]
    if coin is None and not registry.coins():
        typer.echo("the registry has no coins")
    of_versions = [_is_in_order(registry, name) for name in coins if name not in decided or name in registry.coins()]
    of_signals = [_is_log_in_order(signals / name) for name in coins if name in decided]
    if not all((*of_versions, *of_signals)):
        raise typer.Exit(1)


@registry_app.command("promote")
def promote(
    coin: Coin,
    version: Version,
    reason: Reason,
    *,
    again: Annotated[
        bool, typer.Option("--again", help="Although it was rolled back, or judged against another champion.")
    ] = False,
) -> None:
    """Make a version champion that carries a PROMOTE verdict."""
    with _writing(coin) as (registry, settings):
        verdict = verdict_of(registry.card(coin, version))
        registry.promote(coin, version, verdict, again=again, reason=reason, now=settings.present())
        typer.echo(f"{coin}: champion is {version}")


@registry_app.command("rollback")
def rollback(
    coin: Coin,
    reason: Reason,
    to: Annotated[str | None, typer.Option("--to", help="Any earlier champion; the one before, when none is named.")] = None,
    expected: Annotated[
        str | None, typer.Option("--expected", help="The champion that is to go: where another reigns, nothing moves.")
    ] = None,
) -> None:
    """Bring back an earlier champion."""
    with _writing(coin) as (registry, settings):
        version = registry.rollback(coin, to=to, expected=expected, reason=reason, now=settings.present())
        typer.echo(f"{coin}: champion is {version} again")


@registry_app.command("pin")
def pin(coin: Coin, version: Version, reason: Reason) -> None:
    """Seat a version in the champion's shadow, until it reigns or is unpinned."""
    with _writing(coin) as (registry, settings):
        registry.pin(coin, version, reason=reason, now=settings.present())
        typer.echo(f"{coin}: {version} decides in the champion's shadow")


@registry_app.command("unpin")
def unpin(coin: Coin, reason: Reason) -> None:
    """Let the shadow follow the challenger again."""
    with _writing(coin) as (registry, settings):
        registry.unpin(coin, reason=reason, now=settings.present())
        typer.echo(f"{coin}: {registry.pointers(coin).shadow or 'no version'} decides in the champion's shadow")


@registry_app.command("prune")
def prune(
    coin: AnyCoin = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
) -> None:
    """Remove the files of old versions that nobody will ask for again, and the tables behind them; their cards stay."""
    here = _registry()
    for name in here.coins() if coin is None else [coin]:
        versions = _prunable(here, name) if dry_run else _pruned(name)
        typer.echo(
            f"{name}: {len(versions)} {'would be ' if dry_run else ''}pruned{': ' if versions else ''}{', '.join(versions)}"
        )


def _prunable(registry: Registry, coin: str) -> list[str]:
    settings = load_settings()
    return _known(registry, coin).prunable(coin, settings.retention, now=settings.present())


def _pruned(coin: str) -> list[str]:
    with _writing(coin) as (registry, settings):
        pruned = _known(registry, coin).prune(coin, settings.retention, now=settings.present())
        prune_ingredients(_places(settings), coin, cards_kept(registry, coin))
    return pruned


def _known(registry: Registry, coin: str) -> Registry:
    """The registry itself; raises `RegistryError` where it has nothing of the coin."""
    if not registry.state(coin).lines:
        raise RegistryError(f"{coin} has no versions")
    return registry


def _print_champion_at(registry: Registry, coin: str, at: datetime) -> None:
    reign = registry.reign_at(coin, at)
    if reign is None:
        typer.echo(f"{coin}: nobody was champion at {_told(at)}")
        return
    since = f"{reign.at} ({reign.action}: {reign.reason})"
    made_from = _made_from(registry.card_alone(coin, reign.version))
    _print_pairs({"asked for": _told(at), "champion": reign.version, "since": since, **made_from})


def _since(registry: Registry, coin: str) -> str:
    throne = registry.state(coin).throne
    return throne[-1].at if throne else ""


def _made_from(card: Mapping[str, Any]) -> dict[str, str]:
    """What the card says of the data, the settings, the code and the libraries."""
    libraries = ", ".join(f"{name} {number}" for name, number in card.get("libraries", {}).items())
    names = {"data hash": "data_hash", "features": "feature_set_id", "recipe": "recipe", "code": "code"}
    told = {title: str(card.get(name, "not told")) for title, name in names.items()}
    settings = card["verdict"]["subject"].get("settings", "not told")
    return {**told, "settings": settings, "libraries": libraries or "not told"}


def _size(registry: Registry, coin: str, version: str) -> str:
    files = [path for path in registry.folder(coin, version).rglob("*") if path.is_file()]
    return f"{sum(path.stat().st_size for path in files) / 1e6:.2f} MB in {len(files)} files"


def _print_pairs(facts: Mapping[str, str]) -> None:
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name.ljust(width)}  {value}")


def _told(at: datetime) -> str:
    return (at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)).isoformat(timespec="seconds")


def _is_in_order(registry: Registry, coin: str) -> bool:
    try:
        registry.verify(coin)
    except CrpError as error:
        complain(error)
        return False
    typer.echo(f"{coin}: every version and the journal are as they were written")
    return True


def _is_log_in_order(folder: Path) -> bool:
    try:
        lines = SignalLog(folder).read()
    except CrpError as error:
        complain(error)
        return False
    typer.echo(f"{folder.name}: the {len(lines):,} lines of the log of live decisions are as they were written")
    return True


def _registry() -> Registry:
    """The registry to look at, as this machine has it."""
    settings = load_settings()
    if settings.storage is not None:
        typer.echo("crp: this is what this machine has; `crp depot status` tells whether others have gone on", err=True)
    return Registry(_places(settings).registry)


def _places(settings: PipelineSettings) -> Places:
    return Places(settings.data_dir.resolve())


@contextmanager
def _writing(coin: str) -> Iterator[tuple[Registry, PipelineSettings]]:
    """The registry to write to: where machines share one, brought up to date before, and pushed and mirrored in the end."""
    settings = load_settings()
    registry, places = Registry(_places(settings).registry), _places(settings)
    depot = None if settings.storage is None else Depot(settings.storage)
    if depot is not None:
        depot.pull(places, checked_coin(coin), stages=("registry",))
    yield registry, settings
    if depot is not None:
        depot.push(places, coin, now=settings.present())
    problem = "" if settings.mlflow is None else mirror(registry, coin, settings.mlflow).problem
    if problem:
        typer.echo(f"crp: {problem}", err=True)
