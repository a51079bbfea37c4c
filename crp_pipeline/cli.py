"""`crp`: what is not a materialization."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from crp_pipeline.dataset import TABLES, export_dataset, import_dataset
from crp_pipeline.errors import CrpError, RegistryError
from crp_pipeline.features import CATALOG, feature_set_id
from crp_pipeline.gate.evaluation import evaluate_forecast
from crp_pipeline.gate.scoreboard import require_same_labels, stored_labels, stored_scoreboard
from crp_pipeline.models import MODEL_TYPES, create_model, export_onnx, load_bundle
from crp_pipeline.models.bundle import golden_samples
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.models.parameters import Parameter
from crp_pipeline.predictor import load_predictor, train_on_history
from crp_pipeline.registry import Registry
from crp_pipeline.registry.card import checked_coin
from crp_pipeline.reporting.catalog import catalog_page
from crp_pipeline.reporting.scoreboard import evaluation_page, score_table, scoreboard_table
from crp_pipeline.reporting.tables import to_markdown, to_text
from crp_pipeline.settings import load_settings
from crp_pipeline.storage import read_parquet

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
registry_app = typer.Typer(no_args_is_help=True, help="Versions and champions.")
app.add_typer(registry_app, name="registry")
dataset_app = typer.Typer(no_args_is_help=True, help="Prepared tables of a coin as one folder.")
app.add_typer(dataset_app, name="dataset")

Coin = Annotated[str, typer.Option("--coin", help="Such as BTC-USDT.")]
Candles = Annotated[Path, typer.Option("--csv", help="CSV or parquet file of candles, in any of the usual spellings.")]
BASELINE = "prior"


@app.command("settings")
def show_settings() -> None:
    """Print the settings in force as JSON."""
    typer.echo(load_settings().model_dump_json(indent=2))


@app.command("features")
def show_features() -> None:
    """Print the feature catalogue as a Markdown page."""
    typer.echo(catalog_page())


@app.command("models")
def show_models() -> None:
    """Print every model type: its variants, what it learns from and what it forecasts."""
    rows = [
        {
            "type": name,
            "variants": ", ".join(kind.variants) or "-",
            "learns from": ", ".join(kind.targets),
            "forecasts": ", ".join(kind.outputs),
            "baseline": "yes" if kind.is_baseline else "",
        }
        for name, kind in MODEL_CLASSES.items()
    ]
    typer.echo(to_text(pd.DataFrame(rows)))


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
    """Train a model on a file of candles and print what it was worth out of fold, beside the baselines."""
    params, settings = _parameters(parameter or []), load_settings()
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


@app.command("predict")
def predict(
    folder: Annotated[Path, typer.Option("--from", help="What `crp train --to` saved.")],
    candles: Candles,
    last: Annotated[int, typer.Option("--last", min=1, help="How many bars to print.")] = 1,
) -> None:
    """Print what a saved model decides at the close of the last bars; the last bar of the file is taken as closed."""
    predictor = load_predictor(folder)
    typer.echo(f"{predictor}\n")
    typer.echo(to_text(predictor.predict(candles).tail(last).reset_index()))


@app.command("evaluate")
def evaluate(
    coin: Coin,
    model: Annotated[str, typer.Option("--model", help="Name of its stored predictions, such as lightgbm or tcn@seed3.")],
    min_win_rate: Annotated[float | None, typer.Option("--min-win-rate", min=0.01, max=0.99)] = None,
    max_calibration_error: Annotated[float | None, typer.Option("--max-calibration-error", min=0.001, max=0.99)] = None,
) -> None:
    """Hold a model's stored out-of-fold predictions against every criterion; exit code 1 when one fails."""
    settings, gate = load_settings(), load_settings().gate
    evaluation = evaluate_forecast(
        *_stored_forecasts(settings.data_dir, checked_coin(coin), model),
        horizon=settings.horizon,
        round_trip_cost_bps=settings.labels.round_trip_cost_bps,
        config=replace(
            gate,
            min_high_tier_win_rate=gate.min_high_tier_win_rate if min_win_rate is None else min_win_rate,
            max_calibration_error=gate.max_calibration_error if max_calibration_error is None else max_calibration_error,
        ),
        seed=settings.seed,
    )
    typer.echo(evaluation_page(evaluation, title=f"{coin} {model}"))
    if evaluation.verdict.first_failed is not None:
        raise typer.Exit(1)


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


def _stored_forecasts(data_dir: Path, coin: str, model: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Predictions of the model, those of the class prior, and the labels that both were made from."""
    labels = stored_labels(data_dir, coin)
    names = Path(model).name, BASELINE
    own, naive = (read_parquet(data_dir / "models" / coin / f"{name}.parquet") for name in names)
    for name, predictions in zip(names, (own, naive), strict=True):
        require_same_labels(predictions, labels, what=f"{coin}: {name}")
    return own, naive, labels


def _is_in_order(registry: Registry, coin: str) -> bool:
    try:
        registry.verify(coin)
    except CrpError as error:
        _complain(error)
        return False
    typer.echo(f"{coin}: every version and the journal are as they were written")
    return True


def _complain(error: CrpError | OSError) -> None:
    typer.echo(f"crp: {error}", err=True)


def _registry() -> Registry:
    return Registry(Path(load_settings().data_dir) / "registry")


def main() -> None:
    """Run `crp`; an error of this package or of a file is one line on stderr and exit code 1."""
    try:
        app()
    except (CrpError, OSError) as error:
        _complain(error)
        raise SystemExit(1) from error
