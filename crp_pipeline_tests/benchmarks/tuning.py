"""What a study costs beside its training: `python -m crp_pipeline_tests.benchmarks.tuning --data FOLDER --coin EDGE-DEMO`.

The coin's tables are those of a finished night, copied into a folder of its own with an empty ledger. Wall seconds of one study:
fits and forecasts, the choice of features (once), and the machinery: suggestions, the ledger (backtests of plain decisions
included) and the SQLite file. The shares within one run count.
"""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import optuna
import pandas as pd
import typer

from crp_pipeline.models import study
from crp_pipeline.models.study_file import KeptStudy
from crp_pipeline.places import Places
from crp_pipeline.reporting.tables import to_text
from crp_pipeline.settings import load_settings
from crp_pipeline.tuning import TuningRun, tune_model
from crp_pipeline.tuning.book import NEEDED, Book
from crp_pipeline_tests.benchmarks.timing import Meter

TRAINING, FEATURES = "fits and forecasts", "choice of features"
MACHINERY = ("suggestions", "ledger", "file")


def main(
    data: Annotated[Path, typer.Option("--data", help="Data folder of a finished night.")],
    coin: Annotated[str, typer.Option("--coin")] = "EDGE-DEMO",
    model: Annotated[str, typer.Option("--model")] = "lightgbm",
    trials: Annotated[int, typer.Option("--trials", min=2)] = 30,
    threads: Annotated[int, typer.Option("--threads", min=1)] = 1,
) -> None:
    """Tune one model and print where the time went."""
    with TemporaryDirectory() as folder:
        places = Places(Path(folder))
        for name in NEEDED:
            places.frame(name, coin=coin).parent.mkdir(parents=True)
            shutil.copy(Places(data).frame(name, coin=coin), places.frame(name, coin=coin))
        settings = load_settings(data_dir=places.root, threads=threads)
        asked = TuningRun(n_trials=2, compare=False, seed=1)
        tune(places, settings, coin, model, asked)  # compiles the engine, in a study of another seed
        meter = metered()
        tune(places, settings, coin, model, TuningRun(n_trials=trials, compare=False))
    typer.echo(to_text(table(meter, trials)))


def tune(places: Places, settings: object, coin: str, model: str, asked: TuningRun) -> None:
    tune_model(places, settings, coin, model, asked, occasion="benchmark", clock=lambda: datetime.now(UTC), progress=typer.echo)


def metered() -> Meter:
    meter = Meter()
    for owner, name, part in (
        (study, "learned", TRAINING),
        (study, "lessons_of", FEATURES),
        (optuna.study.Study, "ask", MACHINERY[0]),
        (Book, "append_inner", MACHINERY[1]),
        (KeptStudy, "keep", MACHINERY[2]),
    ):
        meter.watch(owner, name, as_part=part)
    return meter


def table(meter: Meter, trials: int) -> pd.DataFrame:
    """One row per part: seconds, milliseconds per trial, and percent of the training."""
    training, own = meter.seconds[TRAINING], dict(meter.seconds)
    own["all machinery"] = sum(meter.seconds[part] for part in MACHINERY)
    rows = [
        {
            "part": part,
            "seconds": round(it, 2),
            "ms_per_trial": round(1_000 * it / trials, 1),
            "of_training_%": 100 * it / training,
        }
        for part, it in own.items()
    ]
    return pd.DataFrame(rows).round(1)


if __name__ == "__main__":
    typer.run(main)
