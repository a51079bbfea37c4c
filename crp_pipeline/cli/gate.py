"""`crp feasibility`, `crp evaluate`: what is achievable, and whether a model is good enough."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from crp_pipeline.candles import coin_of, load_candles, repair_candles
from crp_pipeline.candles.contract import commonest_interval
from crp_pipeline.candles.volatility import causal_volatility
from crp_pipeline.cli.doors import Coin, app
from crp_pipeline.gate.evaluation import evaluate_forecast
from crp_pipeline.gate.feasibility import asked_coverage, feasibility
from crp_pipeline.gate.scoreboard import require_same_labels, stored_labels
from crp_pipeline.registry.card import checked_coin
from crp_pipeline.reporting.feasibility import feasibility_page
from crp_pipeline.reporting.scoreboard import evaluation_page
from crp_pipeline.settings import load_settings
from crp_pipeline.storage import read_parquet

BASELINE = "prior"
WHOLE_BPS = 10_000
"""A cost of a whole price."""


def _number(told: float | None) -> float | None:
    """What was told; raises `typer.BadParameter` for NaN, which lies outside of no range."""
    if told is not None and math.isnan(told):
        raise typer.BadParameter("nan is not a number")
    return told


WinRate = Annotated[float | None, typer.Option("--min-win-rate", min=0.01, max=0.99, callback=_number)]
CalibrationError = Annotated[float | None, typer.Option("--max-calibration-error", min=0.001, max=0.99, callback=_number)]


@app.command("feasibility")
def show_feasibility(
    candles: Annotated[Path, typer.Option("--csv", help="CSV or parquet file of candles, in any of the usual spellings.")],
    horizon: Annotated[int | None, typer.Option("--horizon", min=1, help="Bars; that of the settings unless given.")] = None,
    cost_bps: Annotated[
        float | None,
        typer.Option("--cost-bps", min=0, max=WHOLE_BPS, callback=_number, help="Of a round trip; else by the settings."),
    ] = None,
    min_win_rate: WinRate = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            "--coverage", min=0.001, max=1, callback=_number, help="Share of the bars that are acted on; as the gate asks."
        ),
    ] = None,
) -> None:
    """Print what win rate an oracle, a coin flip and always long would have; exit code 1 when the target is impossible.

    A file that is named after a coin is asked with that coin's own costs; settled funding and finer candles are not read.
    """
    coin = coin_of(candles)
    settings = load_settings().of(coin)
    bars = load_candles(candles)
    sound, _ = repair_candles(bars, commonest_interval(bars.index), max_gap=settings.max_gap)
    found = feasibility(
        sound,
        horizon=settings.horizon if horizon is None else horizon,
        costs=settings.execution if cost_bps is None else cost_bps,
        exits=settings.exits,
        volatility=causal_volatility(sound, settings.labels.volatility_window),
        target_win_rate=settings.gate.min_win_rate if min_win_rate is None else min_win_rate,
        coverage=asked_coverage(settings) if coverage is None else coverage,
        level=settings.gate.level,
    )
    typer.echo(feasibility_page(found, coin=coin))
    if found.refusal is not None:
        typer.echo(f"\n{found.refusal}")
        raise typer.Exit(1)


@app.command("evaluate")
def evaluate(
    coin: Coin,
    model: Annotated[str, typer.Option("--model", help="Name of its stored predictions, such as lightgbm or tcn@seed3.")],
    min_win_rate: WinRate = None,
    max_calibration_error: CalibrationError = None,
) -> None:
    """Hold a model's stored out-of-fold predictions against every criterion; exit code 1 when one fails."""
    settings = load_settings().of(checked_coin(coin))
    gate = settings.gate
    evaluation = evaluate_forecast(
        *_stored_forecasts(settings.data_dir, coin, model),
        horizon=settings.horizon,
        round_trip_cost_bps=settings.labels.round_trip_cost_bps,
        config=replace(
            gate,
            min_win_rate=gate.min_win_rate if min_win_rate is None else min_win_rate,
            max_calibration_error=gate.max_calibration_error if max_calibration_error is None else max_calibration_error,
        ),
        seed=settings.seed,
    )
    typer.echo(evaluation_page(evaluation, title=f"{coin} {model}"))
    if evaluation.verdict.first_failed is not None:
        raise typer.Exit(1)


def _stored_forecasts(data_dir: Path, coin: str, model: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Predictions of the model, those of the class prior, and the labels that both were made from."""
    labels = stored_labels(data_dir, coin)
    names = Path(model).name, BASELINE
    own, naive = (read_parquet(data_dir / "models" / coin / f"{name}.parquet") for name in names)
    for name, predictions in zip(names, (own, naive), strict=True):
        require_same_labels(predictions, labels, what=f"{coin}: {name}")
    return own, naive, labels
