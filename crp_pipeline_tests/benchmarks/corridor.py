"""One coin through the whole corridor, by Dagster and by hand: `python -m crp_pipeline_tests.benchmarks.corridor [--quick]`.

Each side runs in a process of its own, in turns. Dagster's share is what its side takes longer, whole processes compared.
"""

from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import pandas as pd
import typer

from crp_pipeline.candles import repair_candles
from crp_pipeline.candles.source import available_coins, read_source
from crp_pipeline.reporting.tables import to_text
from crp_pipeline.storage import write_parquet
from crp_pipeline_tests.benchmarks.cases import settings_of
from crp_pipeline_tests.benchmarks.fresh import Outcome, fresh_call

BY_DAGSTER, BY_HAND = "crp_pipeline_tests.benchmarks.in_dagster:corridor", "crp_pipeline_tests.benchmarks.by_hand:corridor"
PREFERRED = "BTC-USDT"


def main(
    quick: Annotated[bool, typer.Option("--quick", help="The small market of the end-to-end tests.")] = False,
    times: Annotated[int, typer.Option("--times", min=1, help="Runs of each side; medians are shown.")] = 3,
) -> None:
    """Print seconds per stage of both sides, peak memory, Dagster's share and where it goes."""
    settings = settings_of(Path("unused"), quick=quick)
    coins = available_coins(settings)
    coin = PREFERRED if PREFERRED in coins else coins[0]
    # numba keeps what it compiled: the first run after a change pays for it
    with TemporaryDirectory() as home:
        _run(BY_HAND, coins[0] if quick else "EDGE-DEMO", Path(home), quick=True)
    sides: dict[str, list[Outcome]] = {BY_DAGSTER: [], BY_HAND: []}
    for _ in range(times):
        for side, outcomes in sides.items():
            with TemporaryDirectory() as home:
                outcomes.append(_run(side, coin, Path(home), quick=quick))
    _print(coin, sides[BY_DAGSTER], sides[BY_HAND])


def _run(side: str, coin: str, home: Path, *, quick: bool) -> Outcome:
    data_dir = home / "data"
    _prepare_others(data_dir, coin, quick=quick)
    return fresh_call(side, coin, str(data_dir), quick, DAGSTER_HOME=str(home))


def _prepare_others(data_dir: Path, coin: str, *, quick: bool) -> None:
    """Store the candles of every other coin, as the first phase of a night leaves them."""
    settings, now = settings_of(data_dir, quick=quick), pd.Timestamp(datetime.now(UTC))
    for other in available_coins(settings):
        if other != coin:
            bars, _ = repair_candles(read_source(settings, other), settings.interval, max_gap=settings.max_gap, now=now)
            bars.attrs = {"coin": other}
            write_parquet(data_dir / "candles" / f"{other}.parquet", bars)


def _print(coin: str, dagster: list[Outcome], hand: list[Outcome]) -> None:
    print(f"\n{coin} through the corridor, medians of {len(dagster)} runs of each side in turns\n")
    print(to_text(_stage_table(dagster, hand)))
    print("\nDagster's share: what its process takes longer\n")
    print(to_text(_share_table(dagster, hand)))
    print("\nwhere its seconds go; events are stored within the stages and between them\n")
    print(to_text(_part_table(dagster)))
    print(f"\nverdict by Dagster  {dagster[0].value['verdict']}\nverdict by hand     {hand[0].value['verdict']}")


def _stage_table(dagster: list[Outcome], hand: list[Outcome]) -> pd.DataFrame:
    """Wall seconds of each stage on both sides and its processor seconds by hand, then whole processes and their peak memory."""
    stages = dagster[0].value["stages"]
    ordered = [*hand[0].value["stages"], *(name for name in stages if name not in hand[0].value["stages"])]
    learning = [name for name in ordered if name.startswith("models/")]
    groups = {
        **{name: [name] for name in ordered},
        "all models": learning,
        "all other stages": [name for name in ordered if name not in learning],
        "all stages": ordered,
    }
    rows = [
        _row(what, _sum(dagster, "stages", names), _sum(hand, "stages", names), _sum(hand, "processor", names))
        for what, names in groups.items()
    ]
    ends = [("whole process", "wall_s"), ("its processor time", "processor_s"), ("its peak memory, MiB", "peak_mib")]
    return pd.DataFrame([*rows, *(_row(what, _median(dagster, name), _median(hand, name)) for what, name in ends)])


def _share_table(dagster: list[Outcome], hand: list[Outcome]) -> pd.DataFrame:
    """Of the wall time and, because other work on the machine stretches that, of the processor time."""
    rows = []
    for what, name in (("wall time", "wall_s"), ("processor time", "processor_s")):
        a, b = _median(dagster, name), _median(hand, name)
        pairs = [1 - getattr(y, name) / getattr(x, name) for x, y in zip(dagster, hand, strict=True)]
        spread = f"{min(pairs):.1%} to {max(pairs):.1%}"
        rows.append({"of": what, "share": f"{1 - b / a:.1%}", "pair by pair": spread, "seconds": f"{a - b:.1f}"})
    return pd.DataFrame(rows)


def _median(runs: list[Outcome], name: str) -> float:
    return median(getattr(run, name) for run in runs)


def _sum(runs: list[Outcome], clock: str, names: list[str]) -> float:
    return median(sum(run.value[clock].get(name, 0.0) for name in names) for run in runs)


def _row(name: str, dagster: float, hand: float, processor: float | None = None) -> dict[str, object]:
    decimals = 0 if "MiB" in name else 2
    numbers = {"by dagster, s": dagster, "by hand, s": hand, "difference": dagster - hand, "by hand, processor s": processor}
    return {"stage": name, **{column: None if value is None else f"{value:.{decimals}f}" for column, value in numbers.items()}}


def _part_table(dagster: list[Outcome]) -> pd.DataFrame:
    parts = {name: median(run.value["parts"][name] for run in dagster) for name in dagster[0].value["parts"]}
    return pd.DataFrame([(name, f"{value:.2f}") for name, value in parts.items()], columns=["part", "seconds"])


if __name__ == "__main__":
    typer.run(main)
