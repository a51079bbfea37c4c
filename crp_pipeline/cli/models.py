"""`crp train`, `crp export`, `crp compare`: models of a file, and those that a night left behind."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from crp_pipeline.candles import coin_of
from crp_pipeline.cli.doors import Coin, app
from crp_pipeline.gate.scoreboard import stored_scoreboard
from crp_pipeline.models import MODEL_TYPES, create_model, export_onnx, load_bundle
from crp_pipeline.models.bundle import golden_samples
from crp_pipeline.models.parameters import Parameter
from crp_pipeline.predictor import train_on_history
from crp_pipeline.registry.card import checked_coin
from crp_pipeline.reporting.scoreboard import score_table, scoreboard_table
from crp_pipeline.reporting.tables import to_markdown, to_text
from crp_pipeline.settings import load_settings

Candles = Annotated[Path, typer.Option("--csv", help="CSV or parquet file of candles, in any of the usual spellings.")]


@app.command("train")
def train(
    candles: Candles,
    model: Annotated[str, typer.Option("--model", help=f"One of {', '.join(MODEL_TYPES)}.")] = "hybrid",
    variant: Annotated[str, typer.Option("--variant", help="default, lightweight or deep.")] = "default",
    folder: Annotated[Path | None, typer.Option("--to", help="Where to save it; an earlier model there is replaced.")] = None,
    interval: Annotated[str | None, typer.Option("--interval", help="Such as 1h; the commonest step unless given.")] = None,
    horizon: Annotated[int | None, typer.Option("--horizon", min=1, help="Bars; that of the settings unless given.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    parameter: Annotated[list[str] | None, typer.Option("--param", help="Such as n_rounds=200; may be repeated.")] = None,
) -> None:
    """Train a model on a file of candles and print what it was worth out of fold, beside the baselines.

    A file that is named after a coin is labelled with that coin's own costs.
    """
    params, settings = _parameters(parameter or []), load_settings().of(coin_of(candles))
    _refuse_unknown(model, variant, params)
    labels = replace(settings.labels, horizon=settings.horizon if horizon is None else horizon)
    predictor = train_on_history(
        candles,
        model,
        variant=variant,
        interval=interval,
        params=params,
        labels=labels,
        max_gap=settings.max_gap,
        folder=folder,
        seed=seed,
        progress=typer.echo,
    )
    typer.echo(f"\n{to_text(score_table(predictor.scores))}\n\n{predictor}")
    typer.echo("not saved: name a folder with --to" if folder is None else f"saved in {folder}")


@app.command("export")
def export(
    coin: Coin,
    model: Annotated[str, typer.Option("--model", help="Type of a model that was trained for the coin.")],
    path: Annotated[Path, typer.Option("--to", help="An .onnx file; replaced when it exists.")],
) -> None:
    """Write a coin's stored model as one ONNX file, scaling included, and check its answers against the model's own."""
    folder = Path(load_settings().data_dir) / "models" / checked_coin(coin) / f"{model}.bundle"
    fitted, card = load_bundle(folder)
    exported = export_onnx(fitted, path, check=golden_samples(folder))
    typer.echo(f"{coin} {model}: {exported}")
    typer.echo(f"  in   history  (n, {fitted.reach}, {len(card['features'])}) float32: {', '.join(card['features'][:3])}, ...")
    typer.echo(f"  out  outputs  (n, {len(fitted.outputs)}) float32: {', '.join(fitted.outputs)}")


@app.command("compare")
def compare(
    coin: Annotated[list[str] | None, typer.Option("--coin", help="May be repeated; every coin, when none is named.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As a Markdown table.")] = False,  # noqa: FBT002
) -> None:
    """Print the scores of all stored models on all coins, each coin's on the bars that all its models forecast."""
    board = stored_scoreboard(load_settings().data_dir, [checked_coin(name) for name in coin or []])
    typer.echo((to_markdown if markdown else to_text)(scoreboard_table(board)))


def _parameters(told: list[str]) -> dict[str, Parameter]:
    """`n_rounds=200` as a name and a number; what is no JSON is text."""
    found: dict[str, Parameter] = {}
    for text in told:
        name, is_named, value = text.partition("=")
        if not is_named:
            raise typer.BadParameter(f"--param {text} must be NAME=VALUE")
        found[name] = _value(value)
    return found


def _value(text: str) -> Parameter:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float | str) else text


def _refuse_unknown(model: str, variant: str, params: dict[str, Parameter]) -> None:
    try:
        create_model(model, variant=variant, **params)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
