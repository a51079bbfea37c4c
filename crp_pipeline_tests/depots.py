"""Machines that share a depot: what they hold, and what one writes in a night."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace

from crp_pipeline.defs.sharing import Session
from crp_pipeline.defs.turn import PARTITION
from crp_pipeline.depot import SHARED, Depot
from crp_pipeline.depot.contents import paths_of
from crp_pipeline.places import Places
from crp_pipeline.settings import PipelineSettings

COIN = "EDGE-DEMO"
NOW = datetime(2024, 6, 3, tzinfo=UTC)

A_NIGHT = {
    f"candles/{COIN}.parquet": "candles",
    f"models/{COIN}/lightgbm.bundle/model.txt": "trees",
    f"models/{COIN}/.record/lightgbm/ab12/facts.json": "{}",
    f"backtest/{COIN}.ladder.parquet": "ladder",
    f"registry/{COIN}/journal.jsonl": "one\n",
    f"registry/{COIN}/journal.head": "1",
}


def write(places: Places, files: dict[str, str]) -> None:
    for path, text in files.items():
        (places.root / path).parent.mkdir(parents=True, exist_ok=True)
        (places.root / path).write_text(text)


def held(places: Places, coin: str | None = COIN) -> dict[str, str]:
    return {path.relative_to(places.root).as_posix(): path.read_text() for path in paths_of(places.root, coin or SHARED)}


def session_of(depot: Depot, places: Places, *, job: str, coin: str | None, tell: Callable[[str], None] = print) -> Session:
    """What a run of that job pulls and pushes; `tell` hears its warnings."""
    run = SimpleNamespace(job_name=job, run_id="a run", tags={PARTITION: coin} if coin else {})
    context = SimpleNamespace(run=run, log=SimpleNamespace(info=print, warning=tell))
    return Session(depot, PipelineSettings(data_dir=places.root), places, context)
