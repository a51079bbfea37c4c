"""`crp depot`: where this machine and the shared storage stand, and both directions by hand."""

from typing import Annotated

import pandas as pd
import typer

from crp_pipeline.cli.doors import depot_app
from crp_pipeline.depot import SHARED, Depot
from crp_pipeline.depot.depot import KEPT_GENERATIONS
from crp_pipeline.errors import StorageError
from crp_pipeline.places import Places
from crp_pipeline.reporting.tables import to_text
from crp_pipeline.settings import PipelineSettings, load_settings

Subject = Annotated[
    str | None,
    typer.Option("--coin", help="Such as BTC-USDT, or `shared`: market, controls and summary. All, when none is named."),
]


@depot_app.command("status")
def status(coin: Subject = None) -> None:
    """Print the generation here and in the depot of every coin, and how many files were changed here since."""
    settings, depot, places = _opened()
    standings = [depot.standing(places, _named(subject)) for subject in _asked(coin, depot, places)]
    rows = [(it.subject, it.here, it.newest, it.by or "nobody", it.at or "never", len(it.unpushed)) for it in standings]
    typer.echo(f"{settings.storage}")
    typer.echo(to_text(pd.DataFrame(rows, columns=["coin", "here", "newest", "pushed by", "at", "unpushed files"])))


@depot_app.command("pull")
def pull(
    coin: Subject = None,
    *,
    lay_aside: Annotated[
        bool, typer.Option("--lay-aside", help="Files changed on both sides make way; journals never.")
    ] = False,
) -> None:
    """Bring this machine to the newest generation; only what differs is fetched."""
    _, depot, places = _opened()
    for subject in _asked(coin, depot, places):
        moved = depot.pull(places, _named(subject), lay_aside=lay_aside)
        typer.echo(f"{subject}: generation {moved.generation}, {moved.n_files} files fetched, {moved.n_bytes / 1e6:.1f} MB")
        for path in moved.laid_aside:
            typer.echo(f"  laid aside: {places.root / path}")


@depot_app.command("push")
def push(
    coin: Subject = None,
    *,
    restore: Annotated[
        bool, typer.Option("--restore", help="First put back what the storage has lost and this machine has.")
    ] = False,
) -> None:
    """Make what this machine has the newest generation."""
    settings, depot, places = _opened()
    for subject in _asked(coin, depot, places):
        if restore:
            back = depot.restore(places, _named(subject))
            typer.echo(f"{subject}: generation {back.generation}, {back.n_files} files put back, {back.n_bytes / 1e6:.1f} MB")
        moved = depot.push(places, _named(subject), now=settings.present())
        typer.echo(f"{subject}: generation {moved.generation}, {moved.n_files} files sent, {moved.n_bytes / 1e6:.1f} MB")


@depot_app.command("prune")
def prune(
    keep: Annotated[int, typer.Option("--keep", min=1, help="Newest generations of a coin that stay.")] = KEPT_GENERATIONS,
) -> None:
    """Forget old generations and what no other names; nothing younger than a day, and nothing that the registry keeps."""
    settings, depot, _ = _opened()
    n_generations, n_objects = depot.prune(keep=keep, now=settings.present())
    typer.echo(f"forgotten: generations {n_generations}, objects {n_objects}")


def _opened() -> tuple[PipelineSettings, Depot, Places]:
    settings = load_settings()
    if settings.storage is None:
        raise StorageError("there is no depot: CRP_STORAGE names none, such as s3://bucket/prefix")
    return settings, Depot(settings.storage), Places(settings.data_dir.resolve())


def _asked(coin: str | None, depot: Depot, places: Places) -> list[str]:
    known = depot.subjects(places)
    if coin is not None and coin not in known:
        raise StorageError(f"{coin} has no files, neither here nor in the depot")
    return known if coin is None else [coin]


def _named(subject: str) -> str | None:
    return None if subject == SHARED else subject
