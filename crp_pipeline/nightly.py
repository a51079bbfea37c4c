"""A whole night from the shell: `python -m crp_pipeline.nightly [--jobs 2] [--ray ADDRESS]`.

The phases of `automation`, recorded in the same history that the web UI shows: coins one after another in this process, several
at a time in processes of their own, or on a Ray cluster. One at a time is the default, since no program knows what memory and
which accelerator it may take. A coin that fails is named at the end and holds up nobody; the exit code is 1 when one failed. A
REJECT is not a failure. `DAGSTER_HOME` must name the folder of `dagster.yaml`; `make nightly` sees to that.
"""

import gc
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from time import perf_counter
from typing import Annotated

import dagster as dg
import typer

from crp_pipeline.candles.source import available_coins
from crp_pipeline.definitions import defs
from crp_pipeline.defs.automation import PHASES
from crp_pipeline.defs.dead_runs import end_dead_runs
from crp_pipeline.depot import Depot
from crp_pipeline.places import Places
from crp_pipeline.reporting.tables import to_blocks
from crp_pipeline.reporting.verdicts import where_to_look
from crp_pipeline.runners import Ended, RayCluster, Runner, ThisProcess, Workers
from crp_pipeline.runners.one_run import pinned
from crp_pipeline.settings import PipelineSettings, load_settings
from crp_pipeline.storage import read_parquet


def run_night(floor_plan: dg.Definitions, coins: Sequence[str], instance: dg.DagsterInstance) -> list[str]:
    """Run all phases for the coins in this process and return what failed: coins, `market`, `controls`, `summary`."""
    return run_phases(ThisProcess(floor_plan, instance), coins)


def run_phases(runner: Runner, coins: Sequence[str]) -> list[str]:
    """Run all phases for the coins and return what failed: coins, `market`, `controls`, `summary`.

    No coin trains on the market of an earlier night: when the market fails, so do all coins. Controls that fail stop nobody.
    """
    candles, market, controls, corridor, summary = (partial(_succeeded, runner, phase) for phase in PHASES)
    with_candles = candles(coins)
    has_market = bool(with_candles) and bool(market([None]))
    has_controls = not with_candles or bool(controls([None]))
    finished = corridor(with_candles) if has_market else []
    has_summary = bool(summary([None]))
    failed = [coin for coin in coins if coin not in finished]
    over_all = {"market": has_market or not with_candles, "controls": has_controls, "summary": has_summary}
    return failed + [phase for phase, is_done in over_all.items() if not is_done]


def _succeeded(runner: Runner, phase: str, coins: Sequence[str | None]) -> list[str | None]:
    """Run a phase, tell of each run as it ends, and return the coins that succeeded, in the given order."""
    ended = {it.task.coin for it in _told(runner.run(phase, coins), len(coins)) if it.succeeded}
    return [coin for coin in coins if coin in ended]


def _told(runs: Iterable[Ended], n_runs: int) -> Iterator[Ended]:
    started = perf_counter()
    for done, it in enumerate(runs, start=1):
        progress = progress_phrase(done, n_runs, perf_counter() - started)
        typer.echo(f"{it.task}: {'done' if it.succeeded else 'FAILED'} in {it.seconds:.1f} s{progress}")
        for error in it.errors:
            typer.echo(f"  {error}", err=True)
        yield it


def progress_phrase(done: int, n_coins: int, seconds: float) -> str:
    """How far a phase of several coins is, and how long the rest takes at the pace so far.

    >>> progress_phrase(3, 20, 42.0)
    ' (3 of 20 coins, about 4 min left)'
    >>> progress_phrase(19, 20, 95.0), progress_phrase(20, 20, 100.0), progress_phrase(1, 1, 5.0)
    (' (19 of 20 coins, about 5 s left)', ' (20 of 20 coins)', '')
    """
    if n_coins == 1:
        return ""
    left_s = seconds / done * (n_coins - done)
    left = f"{left_s / 60:.0f} min" if left_s >= 90 else f"{left_s:.0f} s"
    return f" ({done} of {n_coins} coins{f', about {left} left' if done < n_coins else ''})"


def runner_of(
    settings: PipelineSettings, instance: dg.DagsterInstance, *, jobs: int = 1, ray: str | None = None
) -> AbstractContextManager[Runner]:
    """Who executes the runs: the Ray cluster that is named, else processes where several are asked for, else this process."""
    if ray is not None:
        return RayCluster(settings, instance, address=ray)
    if jobs > 1:
        return Workers(settings, instance, jobs=jobs, tell=partial(typer.echo, err=True))
    return nullcontext(ThisProcess(defs, instance))


def verdicts_of_the_night(settings: PipelineSettings, places: Places) -> str:
    """The table of the summary, fetched first where another machine may have made it."""
    if settings.storage is not None:
        Depot(settings.storage).pull(places, None, stages=("summary",), lay_aside=True)
    return to_blocks(read_parquet(places.frame("summary"))) or "no coin has a verdict"


def main(
    coins: Annotated[list[str] | None, typer.Option("--coin", help="Only this coin; may be given again.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Coins at a time, each in a process of its own.")] = 1,
    ray: Annotated[str | None, typer.Option("--ray", help="Address of a Ray cluster that takes the coins, or `auto`.")] = None,
) -> None:
    """Materialize every asset of every configured coin and print the verdicts."""
    settings = load_settings()
    places, known = Places(settings.data_dir), available_coins(settings)
    strangers = sorted(set(coins or ()) - set(known))
    if strangers:
        raise typer.BadParameter(f"{strangers[0]} is not configured; there are {', '.join(known)}")
    with (
        dg.DagsterInstance.get() as instance,
        pinned(settings),
        runner_of(settings, instance, jobs=jobs, ray=ray) as runner,
    ):
        end_dead_runs(instance, log=typer.echo)
        failed = run_phases(runner, list(dict.fromkeys(coins or known)))
    if "summary" not in failed:
        typer.echo("\n" + verdicts_of_the_night(settings, places))
    typer.echo(f"\n{where_to_look(settings.data_dir)}")
    gc.freeze()  # else the interpreter looks through a whole night's objects, for seconds, before it leaves
    if failed:
        typer.echo(f"failed    {', '.join(failed)}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
