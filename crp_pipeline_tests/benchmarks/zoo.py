"""Every model type on every coin with every seed: `python -m crp_pipeline_tests.benchmarks.zoo --to FOLDER [--model ...]`.

Each result is stored as it comes, in the layout of a data folder (`crp_pipeline.gate.scoreboard` says which), so that a run that
was cut off goes on where it was, further models and seeds join the stored ones, and `CRP_DATA_DIR=FOLDER crp compare` or
`crp evaluate` read it too. Features, labels, folds and the choice of features are made once per coin and shared by all models.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import typer

from crp_pipeline.candles import coin_files, market_closes, read_candles, repair_candles
from crp_pipeline.contracts import Samples, interval_length
from crp_pipeline.errors import CrpError, DataContractError
from crp_pipeline.features import CATALOG, compute_features, feature_set_id, ready_rows, warm_up_bars
from crp_pipeline.gate.scoreboard import result_name, stored_scoreboard
from crp_pipeline.labels import make_labels
from crp_pipeline.models import MODEL_TYPES, Model, ModelSpec, Trained, create_model, samples_of, select_features, train
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.models.latency import measure_latency
from crp_pipeline.models.parameters import Parameter
from crp_pipeline.models.pooled import PoolMember, train_pool
from crp_pipeline.reporting.scoreboard import scoreboard_table
from crp_pipeline.reporting.tables import to_markdown
from crp_pipeline.settings import LabelConfig, SelectionConfig, WalkForwardConfig
from crp_pipeline.splits import fold_table
from crp_pipeline.storage import read_parquet, write_json, write_parquet
from crp_pipeline_tests.benchmarks.market import real_hourly

INTERVAL, MAX_GAP, VALIDATION_SHARE = "1h", 4, 0.15
BARS_PER_DAY = 24
LATENCY_ROWS, LATENCY_CALLS = 32, 300
POOLED = "pooled_transformer"

Tell = Callable[[str], object]


@dataclass(frozen=True)
class Recipe:
    """What all results of one folder have in common: they could not be compared otherwise."""

    days: int
    """Latest days of candles, beyond the features' warm-up."""
    train_days: int
    """Before the first test block."""
    test_days: int
    """In each test block."""
    horizon: int
    features: str = field(default_factory=lambda: feature_set_id(CATALOG))

    @property
    def walk_forward(self) -> WalkForwardConfig:
        """Blocks in bars; the warm-up of the features is part of the first training block."""
        return WalkForwardConfig(
            train_size=warm_up_bars(CATALOG) + self.train_days * BARS_PER_DAY,
            test_size=self.test_days * BARS_PER_DAY,
            embargo=self.horizon,
            validation_share=VALIDATION_SHARE,
        )


class Job(NamedTuple):
    """One model to train on one coin."""

    coin: str
    model_type: str
    variant: str
    seed: int

    @property
    def name(self) -> str:
        """Of its files; a baseline is the same with every seed."""
        seed = None if MODEL_CLASSES[self.model_type].is_baseline else self.seed
        return result_name(self.model_type, variant=self.variant, seed=seed)


class Lesson(NamedTuple):
    """What all models of a coin learn from."""

    features: pd.DataFrame
    labels: pd.DataFrame
    roles: pd.DataFrame
    selection: pd.DataFrame


def jobs_of(coins: Sequence[str], models: Sequence[str], variant: str, seeds: Sequence[int]) -> list[Job]:
    """Coin by coin; baselines first and with the first seed only, whatever the variant."""
    ordered = sorted(models, key=lambda name: not MODEL_CLASSES[name].is_baseline)
    return [
        Job(coin, name, "default" if MODEL_CLASSES[name].is_baseline else variant, seed)
        for coin in coins
        for name in ordered
        for seed in (seeds[:1] if MODEL_CLASSES[name].is_baseline else seeds)
    ]


def run_zoo(
    jobs: Sequence[Job],
    candles: Mapping[str, pd.DataFrame],
    recipe: Recipe,
    folder: Path,
    *,
    params: Mapping[str, Parameter],
    tell: Tell = print,
) -> list[str]:
    """Do the jobs that are not stored yet; what could not be done, one sentence each.

    `candles` holds every coin's repaired bars: those of the others are its market. `params` reach the models that have them.
    Raises `DataContractError` for a folder with results of another recipe.
    """
    _claim(folder, recipe)
    left = [job for job in jobs if not _place(folder, job).exists()]
    tell(f"{len(jobs) - len(left)} of {len(jobs)} results are stored, {len(left)} to go")
    lesson, of_coin, failed, started = None, "", [], perf_counter()
    for done, job in enumerate(left, start=1):
        if job.coin != of_coin:
            lesson, of_coin = _lesson(candles, job.coin, recipe, folder, tell), job.coin
        try:
            _do(job, lesson, folder, params, tell)
        except CrpError as error:
            failed.append(f"{job.coin} {job.name}: {error}")
            tell(failed[-1])
        seconds = perf_counter() - started
        tell(
            f"{done} of {len(left)} done, {job.coin} {job.name}; {seconds:.0f} s gone, {seconds / done * (len(left) - done):.0f} s left"
        )
    return failed


def _claim(folder: Path, recipe: Recipe) -> None:
    path = folder / "zoo.json"
    if path.exists() and (stored := json.loads(path.read_text(encoding="utf-8"))) != asdict(recipe):
        other = next(name for name in asdict(recipe) if stored.get(name) != asdict(recipe)[name])
        told = f"{other} = {stored.get(other)}, not {asdict(recipe)[other]}"
        raise DataContractError(f"{folder} holds results with {told}: name another folder")
    write_json(path, asdict(recipe))


def _place(folder: Path, job: Job) -> Path:
    return folder / "models" / job.coin / f"{job.name}.parquet"


def _lesson(candles: Mapping[str, pd.DataFrame], coin: str, recipe: Recipe, folder: Path, tell: Tell) -> Lesson:
    bars = candles[coin].tail(recipe.days * BARS_PER_DAY + warm_up_bars(CATALOG))
    step = interval_length(INTERVAL)
    market = market_closes(dict(candles)).drop(columns=coin).reindex(bars.index)
    table = compute_features(bars, CATALOG, market=market, interval=step)
    features = table.loc[:, table.notna().any()]
    labels = make_labels(bars, LabelConfig(horizon=recipe.horizon))
    ready = ready_rows(bars, CATALOG, interval=step) & ~bars["is_repaired"].to_numpy()
    roles = fold_table(labels, ready, recipe.walk_forward)
    tell(f"{coin}: {len(bars):,} bars from {bars.index[0]:%Y-%m-%d}, {features.shape[1]} features, {roles.shape[1]} folds")
    write_parquet(folder / "labels" / f"{coin}.parquet", labels)
    return Lesson(
        features, labels, roles, _selection(features, labels, roles, folder / "models" / coin / "selection.parquet", tell)
    )


def _selection(features: pd.DataFrame, labels: pd.DataFrame, roles: pd.DataFrame, path: Path, tell: Tell) -> pd.DataFrame:
    if path.exists():
        return read_parquet(path)
    config, share = SelectionConfig(), VALIDATION_SHARE
    found = select_features(features, labels, roles, config=config, seed=0, validation_share=share, progress=tell)
    write_parquet(path, found)
    return found


def _do(job: Job, lesson: Lesson, folder: Path, params: Mapping[str, Parameter], tell: Tell) -> None:
    """Train one model and store its card, then its predictions: these say that the job is done."""
    spec = ModelSpec(job.model_type, job.variant, known_params(job.model_type, params))
    selection = None if MODEL_CLASSES[job.model_type].reads_every_feature else lesson.selection
    made_from = lesson.features, lesson.labels, lesson.roles
    trained = train(spec, *made_from, seed=job.seed, selection=selection, validation_share=VALIDATION_SHARE, progress=tell)
    _store(job, spec, trained, lesson.features, folder)


def _store(job: Job, spec: ModelSpec, trained: Trained, features: pd.DataFrame, folder: Path) -> None:
    place = _place(folder, job)
    write_json(place.with_suffix(".json"), _card(job, spec, trained, features))
    write_parquet(place, trained.predictions)


def run_pool(
    jobs: Sequence[Job],
    candles: Mapping[str, pd.DataFrame],
    recipe: Recipe,
    folder: Path,
    *,
    params: Mapping[str, Parameter],
    tell: Tell = print,
) -> None:
    """Do the jobs of the model that learns from all coins at once, unless all of them are stored."""
    _claim(folder, recipe)
    for name in dict.fromkeys(job.name for job in jobs):
        pool = {job.coin: job for job in jobs if job.name == name}
        if all(_place(folder, job).exists() for job in pool.values()):
            continue
        lessons = {coin: _lesson(candles, coin, recipe, folder, tell) for coin in pool}
        members = {coin: PoolMember(it.features, it.labels, it.roles, it.selection) for coin, it in lessons.items()}
        any_job = next(iter(pool.values()))
        spec = ModelSpec(POOLED, any_job.variant, known_params(POOLED, params))
        embargo = recipe.horizon * interval_length(INTERVAL)
        trained = train_pool(
            spec, members, seed=any_job.seed, embargo=embargo, validation_share=VALIDATION_SHARE, progress=tell
        )
        for coin, job in pool.items():
            _store(job, spec, trained[coin], lessons[coin].features, folder)
        tell(f"{name}: {len(pool)} coins done")


def known_params(model_type: str, params: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Those of the parameters that the model has."""
    variants = MODEL_CLASSES[model_type].variants
    known = {parameter.name for parameter in fields(variants["default"])} if variants else set()
    return {name: value for name, value in params.items() if name in known}


def _card(job: Job, spec: ModelSpec, trained: Trained, features: pd.DataFrame) -> dict[str, Any]:
    samples = samples_of(features[list(trained.features)])
    is_tested = (trained.predictions["fold"] >= 0).to_numpy() & (samples.behind() >= trained.model.reach - 1)
    return {
        **asdict(spec),
        "coin": job.coin,
        "seed": job.seed,
        "rounds": trained.rounds,
        "learned_rows": trained.n_learned,
        "features": len(trained.features),
        "n_parameters": trained.model.n_parameters,
        "seconds": trained.seconds + sum(fold.seconds for fold in trained.folds),
        "latency": latency_of(trained.model, samples.take(np.flatnonzero(is_tested)[-LATENCY_ROWS:])),
    }


def latency_of(model: Model, samples: Samples) -> list[dict[str, Any]]:
    """One row per runtime; nothing for a model without an ONNX form."""
    try:
        return [latency.row() for latency in measure_latency(model, samples, n_calls=LATENCY_CALLS)]
    except NotImplementedError:
        return []


def real_candles() -> dict[str, pd.DataFrame]:
    """Repaired hourly candles of every real coin."""
    folder = real_hourly()
    if folder is None:
        raise typer.BadParameter("no real candles: set CRP_MARKET_DATA or put them in ../shared/market")
    return dict(_repaired(folder))


def _repaired(folder: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    for coin, path in coin_files(folder).items():
        yield coin, repair_candles(read_candles(path), INTERVAL, max_gap=MAX_GAP, source=coin)[0]


def markdown(folder: Path) -> str:
    """The table of everything that is stored in the folder."""
    return to_markdown(scoreboard_table(stored_scoreboard(folder)))


def main(
    *,
    folder: Annotated[Path, typer.Option("--to", help="Where results are kept, and looked for.")],
    model: Annotated[list[str] | None, typer.Option("--model", help="May be repeated; every type when none is named.")] = None,
    coin: Annotated[list[str] | None, typer.Option("--coin", help="May be repeated; every coin when none is named.")] = None,
    seed: Annotated[list[int] | None, typer.Option("--seed", help="May be repeated; 0 when none is named.")] = None,
    variant: Annotated[str, typer.Option("--variant")] = "default",
    days: Annotated[int, typer.Option("--days", help="Latest days of candles.")] = 730,
    train_days: Annotated[int, typer.Option("--train-days", help="Before the first test block.")] = 365,
    test_days: Annotated[int, typer.Option("--test-days", help="In each test block.")] = 73,
    horizon: Annotated[int, typer.Option("--horizon", help="Bars.")] = 24,
    parameter: Annotated[
        list[str] | None, typer.Option("--param", help="Such as n_threads=2, for models that have it.")
    ] = None,
    table_only: Annotated[bool, typer.Option("--table-only", help="Print what is stored and train nothing.")] = False,
) -> None:
    """Train what is not stored yet and print the table of all that is, as Markdown."""
    failed: list[str] = []
    if not table_only:
        candles, models = real_candles(), model or list(MODEL_TYPES)
        for name in models:
            create_model(name, variant=variant)
        params = {name: json.loads(value) for name, _, value in (text.partition("=") for text in parameter or [])}
        jobs = jobs_of(coin or list(candles), models, variant, seed or [0])
        recipe = Recipe(days, train_days, test_days, horizon)
        failed = run_zoo([job for job in jobs if job.model_type != POOLED], candles, recipe, folder, params=params)
        run_pool([job for job in jobs if job.model_type == POOLED], candles, recipe, folder, params=params)
    print(f"\n{markdown(folder)}")
    if failed:
        print("\nnot done:\n" + "\n".join(failed))
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
