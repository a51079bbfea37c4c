"""Seconds and megabytes of a coin's report and of a fleet's: `python -m crp_pipeline_tests.benchmarks.report --data data`.

`--data` holds finished nights. A fleet of `--coins` is made of copies of them: a page of the fleet reads verdicts and backtests.
Run it on one core: `OMP_NUM_THREADS=1 taskset -c 0 python -m ...`.
"""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import pandas as pd
import typer

from crp_pipeline.places import Places
from crp_pipeline.reporting.document import MEGABYTE, plotly_script
from crp_pipeline.reporting.fleet import write_fleet_report
from crp_pipeline.reporting.report import write_coin_report
from crp_pipeline.reporting.tables import to_text
from crp_pipeline.settings import GateConfig
from crp_pipeline_tests.benchmarks.timing import once

COIN_LIMIT_S, FLEET_LIMIT_S, LIMIT_MB = 15.0, 60.0, 6.0
"""What a report may take on one core, and how large it may be."""


def main(
    data: Annotated[Path, typer.Option("--data", help="Data folder with finished nights.")] = Path("data"),
    coins: Annotated[int, typer.Option("--coins", min=1, help="Coins of the fleet.")] = 20,
) -> None:
    """Print seconds and megabytes of each coin's page and of the fleet's, next to what they may take."""
    known = sorted(path.stem for path in (data / "gate").glob("*.json"))
    if not known:
        raise typer.BadParameter(f"{data} holds no finished night")
    script_mb = len(plotly_script().encode()) / MEGABYTE
    with TemporaryDirectory() as folder:
        places = Places(Path(folder))
        shutil.copytree(data, places.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*", "reports"))
        # the first page also compiles and imports: that is what a night pays
        rows = [_measured(coin, COIN_LIMIT_S, script_mb, lambda coin=coin: write_coin_report(places, coin)) for coin in known]
        fleet = [_copy(places, known[number % len(known)], number) for number in range(coins)]
        write = lambda: write_fleet_report(places, fleet, config=GateConfig())  # noqa: E731
        rows.append(_measured(f"fleet of {coins}", FLEET_LIMIT_S, script_mb, write))
    print(to_text(pd.DataFrame(rows)))


def _measured(name: str, limit_s: float, script_mb: float, write) -> dict[str, object]:
    pages: list[Path] = []
    wall_s, processor_s = once(lambda: pages.append(write()))
    size_mb = pages[0].stat().st_size / MEGABYTE
    sizes = {"page MB": f"{size_mb:.2f}", "script MB": f"{script_mb:.2f}", "data MB": f"{size_mb - script_mb:.2f}"}
    return {
        "page": name,
        "wall s": f"{wall_s:.2f}",
        "processor s": f"{processor_s:.2f}",
        "limit s": limit_s,
        **sizes,
        "limit MB": LIMIT_MB,
    }


def _copy(places: Places, coin: str, number: int) -> str:
    """A coin of another name with the verdict and the backtest of this one."""
    name = f"COPY{number}-{coin}"
    shutil.copytree(places.value("backtest", coin=coin), places.value("backtest", coin=name))
    verdict = json.loads(places.verdict(coin).read_text(encoding="utf-8"))
    verdict["subject"]["coin"] = name
    places.verdict(name).write_text(json.dumps(verdict), encoding="utf-8")
    return name


if __name__ == "__main__":
    typer.run(main)
