"""Milliseconds of one live decision: `OMP_NUM_THREADS=1 python -m crp_pipeline_tests.benchmarks.signals [--data FOLDER]`.

A champion of the whole default roster decides the bars of a generated market one by one, warm, from candles in memory.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Annotated

import pandas as pd
import typer

from crp_pipeline.candles import demo_market
from crp_pipeline.features import CATALOG, Family
from crp_pipeline.features.blocks import BLOCK_BARS
from crp_pipeline.metrics import nearest_rank_percentile
from crp_pipeline.models import ModelSpec
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry
from crp_pipeline.reporting.tables import to_text
from crp_pipeline.settings import PipelineSettings, load_settings
from crp_pipeline.shadow import load_version
from crp_pipeline.signals import Champion, Inputs, Seat, Signal, SignalLog, decide, live_features, made_ready
from crp_pipeline_tests.live import LiveCoin, learned, repaired
from crp_pipeline_tests.shadows import COIN

OTHER, N_FEATURES, N_LEARNED, WARM = "ETH-USDT", 50, 2_000, 5
HOUR = pd.Timedelta("1h")
ONE_EPOCH = {"tcn": {"epochs": 1}, "attention_lstm": {"epochs": 1}}
Work = Callable[[Inputs], object]


def main(
    data: Annotated[Path | None, typer.Option("--data", help="A night's data folder; else a champion is trained.")] = None,
    coin: Annotated[str, typer.Option("--coin", help="Of that folder.")] = "EDGE-DEMO",
    calls: Annotated[int, typer.Option("--calls", min=10)] = 200,
    bars: Annotated[int, typer.Option("--bars", help="Since the clock's block began; 16,384 is the worst.")] = 8_192,
) -> None:
    """Print p50 and p90 of the features, of each model, of the stack, of the whole decision and of it and its line in the log."""
    settings = load_settings()
    with TemporaryDirectory() as folder:
        champion = _trained(Path(folder), settings) if data is None else _stored(data, coin)
        shown = list(_inputs(champion, bars, calls + WARM))
        log = SignalLog(Path(folder) / "log")
        whole = partial(_decide, champion, settings)
        parts = [
            *_parts(champion, shown, settings),
            ("whole decision", whole),
            ("and its line", lambda it: log.append(whole(it))),
        ]
        print(to_text(pd.DataFrame([_row(name, work, shown) for name, work in parts]).round(2)))
    print(f"\n{len(champion.features)} features, {champion.reach} bars looked at, {bars:,} bars in the block, {calls} calls")


def _trained(folder: Path, settings: PipelineSettings) -> Champion:
    """The default roster on a short history: trees are fewer than a night's, networks are of their full size."""
    known = [it for it in CATALOG if not it.name.startswith(("funding", "open_interest", "fear"))]
    features = tuple(known[:: len(known) // N_FEATURES][:N_FEATURES])
    models = [ModelSpec(name, params=ONE_EPOCH.get(name, {})) for name in settings.roster]
    raw = demo_market({COIN: 1.0, OTHER: 0.0}, n_bars=N_LEARNED, seed=11)
    live = LiveCoin(folder, learned(folder / "parts", *models, n_bars=N_LEARNED, raw=raw, features=features))
    return made_ready(load_version(live.book, COIN, live.version))


def _stored(data: Path, coin: str) -> Champion:
    found = Seat(Registry(Places(data).registry), coin).champion()
    assert isinstance(found, Champion), found
    return found


def _inputs(champion: Champion, n_bars: int, n: int) -> Iterator[Inputs]:
    """What is known at the close of each of the last bars before so many have passed of a block."""
    begin = (champion.version.knows_until + BLOCK_BARS * HOUR).value // (BLOCK_BARS * HOUR.value) * BLOCK_BARS * HOUR.value
    start = pd.Timestamp(begin, tz="UTC") - 600 * HOUR
    market = demo_market({COIN: 1.0, OTHER: 0.0}, n_bars=n_bars + 600, seed=11, start=start)
    candles, others = repaired(market[COIN]), market[OTHER][["close"]].set_axis([OTHER], axis=1)
    for last in range(len(candles) - n, len(candles)):
        yield Inputs(candles.iloc[: last + 1], others.iloc[: last + 1])


def _parts(champion: Champion, shown: list[Inputs], settings: PipelineSettings) -> Iterator[tuple[str, Work]]:
    """The parts of a decision by name, each from what the part before has made."""
    made = partial(live_features, champion, interval=settings.interval)
    yield f"features, {sum(it.family is Family.CROSS_MARKET for it in champion.features)} of the market", made
    tables = {it.candles.index[-1]: made(it) for it in shown}
    for name, model in champion.version.models.items():
        alone = type(champion.version)(**{**vars(champion.version), "models": {name: model}})
        yield name, lambda it, version=alone: version.forecasts(*_asked(tables, it))
    forecasts = {time: champion.version.forecasts(table, table.index[-1:]) for time, table in tables.items()}
    yield "stack", lambda it: champion.version.stack.decide(forecasts[it.candles.index[-1]])


def _asked(tables: dict[pd.Timestamp, pd.DataFrame], it: Inputs) -> tuple[pd.DataFrame, pd.DatetimeIndex]:
    table = tables[it.candles.index[-1]]
    return table, pd.DatetimeIndex(table.index[-1:])


def _decide(champion: Champion, settings: PipelineSettings, it: Inputs) -> Signal:
    now = (it.candles.index[-1] + HOUR).to_pydatetime() + timedelta(seconds=1)
    signal, _ = decide(champion, it, coin=COIN, settings=settings, clock=lambda: now)
    assert signal.is_decided, signal.reason
    return signal


def _row(name: str, work: Work, shown: list[Inputs]) -> dict[str, object]:
    """Wall and processor milliseconds; the first calls do not count."""
    walls, processor = [], []
    for it in shown:
        wall, cpu = perf_counter(), process_time()
        work(it)
        walls.append(1e3 * (perf_counter() - wall))
        processor.append(1e3 * (process_time() - cpu))
    timed = {"wall": walls[WARM:], "processor": processor[WARM:]}
    ranked = {f"{kind} p{q} ms": nearest_rank_percentile(times, q) for kind, times in timed.items() for q in (50, 90)}
    return {"part": name, **ranked}


if __name__ == "__main__":
    typer.run(main)
