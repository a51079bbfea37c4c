"""Machines that share a depot: what they hold, and what one writes in a night."""

from datetime import UTC, datetime

from crp_pipeline.depot import SHARED
from crp_pipeline.depot.contents import paths_of
from crp_pipeline.places import Places

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
