"""`crp predict`, `crp serve`: what a saved model or a coin's champion decides, on the shell and over HTTP."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from crp_pipeline.candles.source import available_coins
from crp_pipeline.cli.doors import app
from crp_pipeline.errors import DataContractError
from crp_pipeline.places import Places
from crp_pipeline.predictor import load_predictor
from crp_pipeline.registry import Registry
from crp_pipeline.registry.card import checked_coin
from crp_pipeline.reporting.tables import to_text
from crp_pipeline.settings import PipelineSettings, load_settings
from crp_pipeline.signals import Desk, Follower, Signal, Visit, has_champion, until_asked_to_end
from crp_pipeline.signals.signal import told

SIDES = {-1: "short", 0: "no side", 1: "long"}


@app.command("predict")
def predict(
    coin: Annotated[str | None, typer.Option("--coin", help="Such as BTC-USDT: ask its champion.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --coin: the value that `crp serve` gives.")] = False,  # noqa: FBT002
    folder: Annotated[Path | None, typer.Option("--from", help="What `crp train --to` saved.")] = None,
    candles: Annotated[
        Path | None, typer.Option("--csv", help="With --from: a CSV or parquet file of candles, in any of the usual spellings.")
    ] = None,
    last: Annotated[
        int | None, typer.Option("--last", min=1, help="With --from: how many bars to print, by default 1.")
    ] = None,
    follows: Annotated[  # noqa: FBT002
        bool,
        typer.Option(
            "--follow", help="Of --coin, or of every coin that has a champion: bar after bar, until it is asked to end."
        ),
    ] = False,
) -> None:
    """Print what a coin's champion decides at the close of the newest bar, or what a saved model decides on a file's last bars.

    A decision of a champion is made and written down once; who asks again is told the same. The last bar of a file is taken as
    closed. With --follow the champions stay loaded, and each bar is decided as soon as it has closed.
    """
    if as_json and coin is None and not follows:
        raise typer.BadParameter("--json goes with --coin or --follow")
    if last is not None and folder is None:
        raise typer.BadParameter("--last goes with --from and --csv")
    if follows:
        _follow(coin, folder or candles, as_json=as_json)
        return
    match (coin, folder, candles):
        case (str(), None, None):
            _champions(coin, as_json=as_json)
        case (None, Path(), Path()):
            _saved_models(folder, candles, last or 1)
        case _:
            raise typer.BadParameter("name either --coin, or --from and --csv")


@app.command("serve")
def serve(
    host: Annotated[str, typer.Option("--host", help="Any but this machine's own asks for a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65_535)] = 8_000,
) -> None:
    """Serve the newest decisions over HTTP, for reading only; with CRP_SERVE_TOKEN set, to who sends it as a bearer token."""
    from crp_pipeline.signals import server

    server.serve(load_settings(), host=host, port=port, token=os.environ.get(server.TOKEN_VARIABLE))


def _champions(coin: str, *, as_json: bool) -> None:
    settings = load_settings()
    _refuse_stranger(settings, coin)
    desk = Desk(settings, tell=_complain)
    now = settings.present()
    signal = desk.decide(coin).signal.as_of(now)
    typer.echo(json.dumps(signal.to_dict()) if as_json else _in_words(signal, age_s=signal.age_s(now)))


def _refuse_stranger(settings: PipelineSettings, coin: str) -> None:
    """Raises `CrpError` for what is no name of a coin, is retired or is none of the coins that there are."""
    if checked_coin(coin) in settings.retired:
        raise DataContractError(f"{coin} is retired and decides nothing")
    known = available_coins(settings)
    if coin not in known:
        raise DataContractError(f"{coin} is not configured; there are {', '.join(known)}")


def _follow(coin: str | None, of_saved: Path | None, *, as_json: bool) -> None:
    settings = load_settings()
    if of_saved is not None:
        raise typer.BadParameter("--follow is of champions: name neither --from nor --csv")
    if settings.clock is not None:
        raise typer.BadParameter("--follow needs the machine's clock, and the setting clock stands still")
    if coin is not None:
        _refuse_stranger(settings, coin)
    coins, book = available_coins(settings), Registry(Places(settings.data_dir).registry)
    with until_asked_to_end() as wait:
        Follower(
            Desk(settings, tell=_complain),
            lambda: [coin] if coin else [it for it in coins if has_champion(book, it)],
            settings,
            say=lambda visit: typer.echo(json.dumps(visit.signal.to_dict()) if as_json else _in_one_line(visit)),
            tell=_complain,
            clock=settings.present,
            wait=wait,
        ).run()


def _complain(sentence: str) -> None:
    typer.echo(f"crp: {sentence}", err=True)


def _in_one_line(visit: Visit) -> str:
    """`2026-03-03T05:00:00Z BTC-USDT long, confidence 0.62, stop 63,000, target 66,000, version 0e37, 41 ms after the bar`."""
    made = visit.signal
    beginning = f"{told(made.closed_at)} {made.coin}"
    if made.signal is None:
        return f"{beginning} no decision: {made.reason}"
    exits = f", stop {made.stop:,.6g}, target {made.target:,.6g}" if made.stop and made.target else ""
    took = "was decided already" if visit.recorded_ms is None else f"{visit.recorded_ms:,.0f} ms after the bar was known"
    return f"{beginning} {SIDES[made.signal]}, confidence {made.confidence:.3f}{exits}, version {made.version}, {took}"


def _in_words(signal: Signal, *, age_s: float) -> str:
    """One line per value that is known."""
    known = {name: value for name, value in signal.to_dict().items() if value not in {None, ""}}
    return "\n".join(f"{name:<16} {value}" for name, value in {**known, "age_s": f"{age_s:.0f}"}.items())


def _saved_models(folder: Path, candles: Path, last: int) -> None:
    predictor = load_predictor(folder)
    typer.echo(f"{predictor}\n")
    typer.echo(to_text(predictor.predict(candles).tail(last).reset_index()))
