"""`crp replay`: whether a registered version would come out the same today."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from crp_pipeline.cli.doors import Coin, app
from crp_pipeline.places import Places
from crp_pipeline.registry.card import checked_coin
from crp_pipeline.replay import Replay, replay
from crp_pipeline.reporting.tables import to_text
from crp_pipeline.settings import load_settings


@app.command("replay")
def replay_version(
    coin: Coin,
    version: Annotated[str | None, typer.Option("--version", help="The champion, when none is named.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Keep what is made in this empty folder; else it is thrown away.")
    ] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Go on with what there is where an ingredient is gone.")] = False,  # noqa: FBT002
) -> None:
    """Make a version again from what it recorded, compare bit for bit and print every ingredient; exit code 1 on a difference.

    Nothing that is stored is changed. Of the present settings only `data_dir` counts.
    """
    places = Places(load_settings().data_dir)
    with TemporaryDirectory(prefix="crp-replay-") as temporary:
        told = replay(
            places,
            checked_coin(coin),
            version,
            folder=folder or Path(temporary),
            anyway=anyway,
            progress=partial(typer.echo, err=True),
        )
    typer.echo(replay_page(told))
    if not told.is_same:
        raise typer.Exit(1)


def replay_page(told: Replay) -> str:
    """The table of ingredients and results, a sentence on each that differs, and the outcome."""
    way_on = "" if told.made else "\n--anyway goes on with what there is"
    return "\n\n".join([to_text(told.table()), "\n".join(told.sentences())]) + way_on
