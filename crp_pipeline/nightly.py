"""A whole night from the shell: `python -m crp_pipeline.nightly`.

The phases of `automation`, one coin after another in this process, recorded in the same history that the web UI shows. A coin
that fails is named at the end and holds up nobody; the exit code is 1 when one failed. A REJECT is not a failure.
`DAGSTER_HOME` must name the folder of `dagster.yaml`; `make nightly` sees to that.
"""

import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Annotated

import dagster as dg
import typer

from crp_pipeline.candles.source import available_coins
from crp_pipeline.definitions import defs
from crp_pipeline.defs.automation import PHASES
from crp_pipeline.defs.dead_runs import end_dead_runs, host_tag
from crp_pipeline.places import Places
from crp_pipeline.reporting.tables import to_blocks
from crp_pipeline.reporting.verdicts import where_to_look
from crp_pipeline.settings import load_settings
from crp_pipeline.storage import read_parquet


def run_night(floor_plan: dg.Definitions, coins: Sequence[str], instance: dg.DagsterInstance) -> list[str]:
    """Run all phases for the coins and return what failed: coins, `market`, `controls`, `summary`.

    No coin trains on the market of an earlier night: when the market fails, so do all coins. Controls that fail stop nobody.
    """
    candles, market, controls, corridor, summary = (floor_plan.resolve_job_def(name) for name in PHASES)
    with_candles = [coin for coin in coins if _run(candles, instance, coin)]
    has_market = bool(with_candles) and _run(market, instance, None)
    has_controls = not with_candles or _run(controls, instance, None)
    finished = [coin for coin in with_candles if has_market and _run(corridor, instance, coin)]
    has_summary = _run(summary, instance, None)
    failed = [coin for coin in coins if coin not in finished]
    over_all = {"market": has_market or not with_candles, "controls": has_controls, "summary": has_summary}
    return failed + [phase for phase, is_done in over_all.items() if not is_done]


def _run(job: dg.JobDefinition, instance: dg.DagsterInstance, coin: str | None) -> bool:
    started = perf_counter()
    result = job.execute_in_process(partition_key=coin, instance=instance, raise_on_error=False, tags=host_tag())
    outcome = "done" if result.success else "FAILED"
    typer.echo(f"{job.name}{' ' + coin if coin else ''}: {outcome} in {perf_counter() - started:.1f} s")
    for event in result.all_events:
        if event.is_step_failure and (error := event.step_failure_data.error) is not None:
            cause = error.cause or error
            typer.echo(f"  {event.step_key}: {cause.message.strip()}", err=True)
    return bool(result.success)


def main(
    coins: Annotated[list[str] | None, typer.Option("--coin", help="Only this coin; may be given again.")] = None,
) -> None:
    """Materialize every asset of every configured coin and print the verdicts."""
    settings = load_settings()
    places, known = Places(settings.data_dir), available_coins(settings)
    strangers = sorted(set(coins or ()) - set(known))
    if strangers:
        raise typer.BadParameter(f"{strangers[0]} is not configured; there are {', '.join(known)}")
    with dg.DagsterInstance.get() as instance:
        end_dead_runs(instance, log=typer.echo)
        failed = run_night(defs, coins or known, instance)
    if "summary" not in failed:
        verdicts = read_parquet(places.frame("summary"))
        typer.echo("\n" + (to_blocks(verdicts) or "no coin has a verdict"))
    typer.echo(f"\n{where_to_look(settings.data_dir)}")
    if failed:
        typer.echo(f"failed    {', '.join(failed)}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
