"""`crp tune`: hyper-parameters of a coin's models, searched before the first bar that is ever tested."""

from datetime import UTC, datetime
from typing import Annotated

import pandas as pd
import typer

from crp_pipeline.candles.source import available_coins
from crp_pipeline.cli.doors import app, complain
from crp_pipeline.errors import CrpError
from crp_pipeline.models.inner import OBJECTIVES
from crp_pipeline.places import Places
from crp_pipeline.registry.card import checked_coin
from crp_pipeline.reporting.tables import to_text
from crp_pipeline.settings import PipelineSettings, load_settings
from crp_pipeline.tuning import MOST_TRIALS, TUNABLE, TuningRun, table_row, tune_model

SHOWN = (
    "coin",
    "model",
    "trials",
    "failed",
    "default_log_loss",
    "tuned_log_loss",
    "gain",
    "gain_low",
    "gain_high",
    "effective_n",
)


@app.command("tune")
def tune(  # noqa: PLR0913, PLR0917 - one choice per option
    coin: Annotated[list[str] | None, typer.Option("--coin", help="Such as BTC-USDT; may be repeated.")] = None,
    model: Annotated[list[str] | None, typer.Option("--model", help=f"One of {', '.join(TUNABLE)}; may be repeated.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every coin, and every model of the roster.")] = False,  # noqa: FBT002
    trials: Annotated[
        int, typer.Option("--trials", min=1, help="Of each study in the end, earlier runs included.")
    ] = MOST_TRIALS,
    timeout_s: Annotated[float | None, typer.Option("--timeout-s", min=0, help="Per study; no trial begins later.")] = None,
    objective: Annotated[str, typer.Option("--objective", help=f"{' or '.join(OBJECTIVES)}.")] = OBJECTIVES[0],
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Trials at a time; with one the study can be repeated.")] = 1,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="That of the settings unless given.")] = None,
    variant: Annotated[str, typer.Option("--variant", help="default, lightweight or deep.")] = "default",
    compare: Annotated[bool, typer.Option("--compare/--no-compare", help="Tuned against default on the outer folds.")] = True,  # noqa: FBT002
) -> None:
    """Search hyper-parameters, go on with a study that was begun, and print tuned against default out of sample.

    Every trial is counted in the coin's ledger. A coin or model that fails is named and holds up no other; exit code 1 then.
    """
    settings = load_settings()
    coins = [checked_coin(name) for name in coin or (available_coins(settings) if everything else ())]
    models = model or ([name for name in settings.roster if name in TUNABLE] if everything else [])
    if not coins or not models:
        raise typer.BadParameter("name a --coin and a --model, or ask for --all")
    if objective not in OBJECTIVES:
        raise typer.BadParameter(f"--objective {objective} must be one of {', '.join(OBJECTIVES)}")
    asked = TuningRun(
        n_trials=trials,
        timeout_s=timeout_s,
        objective=objective,  # type: ignore[arg-type]
        seed=seed,
        n_jobs=jobs,
        variant=variant,
        compare=compare,
    )
    rows = [row for name in coins for model_type in models if (row := _tuned(settings, name, model_type, asked)) is not None]
    if rows:
        typer.echo(
            f"\n{to_text(pd.DataFrame(rows)[list(SHOWN)])}\nout of sample, in nats per bar; a gain above 0 speaks for the tuned"
        )
    if len(rows) < len(coins) * len(models):
        raise typer.Exit(1)


def _tuned(settings: PipelineSettings, coin: str, model_type: str, asked: TuningRun) -> dict[str, object] | None:
    """The row of a study in the table; None where it failed, which is told."""
    occasion = f"crp tune {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    try:
        found = tune_model(
            Places(settings.data_dir),
            settings,
            coin,
            model_type,
            asked,
            occasion=occasion,
            clock=lambda: datetime.now(UTC),
            progress=lambda line: typer.echo(f"{coin} {line}"),
        )
    except CrpError as error:
        complain(error)
        return None
    return table_row(found.document)
