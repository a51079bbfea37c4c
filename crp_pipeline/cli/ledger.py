"""`crp ledger`: everything that was tried on a coin, and a way on where that was lost."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from crp_pipeline.cli.doors import Coin, app
from crp_pipeline.errors import LedgerError
from crp_pipeline.gate.trials import ledger_faults
from crp_pipeline.ledger import Ledger, counted
from crp_pipeline.metrics.performance import DAYS_PER_YEAR
from crp_pipeline.registry import Registry, ledger_head_of
from crp_pipeline.registry.card import checked_coin
from crp_pipeline.reporting.tables import to_text
from crp_pipeline.settings import load_settings
from crp_pipeline.storage import read_parquet


@app.command("ledger")
def show_ledger(
    coin: Coin,
    start_anew: Annotated[  # noqa: FBT002
        bool, typer.Option("--start-anew", help="Lay a damaged ledger aside and begin another; its trials count on.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands in the first line of the other ledger.")] = "",
) -> None:
    """Check a coin's trial ledger and print every trial with its latest Sharpe ratio; exit code 1 when it is damaged.

    One that no longer holds what the latest version or the latest comparison was told of is damaged as well.
    """
    data_dir, coin = load_settings().data_dir, checked_coin(coin)
    ledger, heads = Ledger(data_dir / "ledger"), list(_heads(data_dir, coin))
    faults, sentence = ledger_faults(ledger, coin, earlier_heads=heads)
    if start_anew:
        if not faults:
            raise LedgerError(f"{coin}: nothing is wrong with the ledger, which goes on as it is")
        known = _trials_told(Registry(data_dir / "registry"), coin)
        ledger.start_anew(coin, reason=reason, heads=heads, n_trials=known, now=datetime.now(UTC))
    elif faults:
        raise LedgerError(
            f"{sentence}; crp ledger --coin {coin} --start-anew --reason ... lays it aside, and its trials count on"
        )
    typer.echo(_page(ledger, coin))


def _page(ledger: Ledger, coin: str) -> str:
    """Every trial as it came out last, what is known of those before, and how many they are together."""
    with ledger.reading(coin) as book:
        events, n_trials = book.events, book.count
    rows = [
        {
            "at": trial.event.at,
            "occasion": trial.event.occasion,
            "trial": trial.look.name,
            "baseline": "yes" if trial.look.is_baseline else "",
            "key": trial.look.key[:8],
            "days": trial.look.n_days,
            "until": trial.look.last_day,
            "sharpe": math.nan if trial.look.daily_sharpe is None else trial.look.daily_sharpe * math.sqrt(DAYS_PER_YEAR),
        }
        for trial in counted(events)
    ]
    begun = [
        f"begun anew at {event.at} after {event.anew.n_trials} trials: {event.anew.reason}" for event in events if event.anew
    ]
    table = to_text(pd.DataFrame(rows)) if rows else "nothing was tried yet"
    whole = f"\n{coin}: {n_trials} trials, every line and file as it was written"
    return "\n".join([*begun, table, whole])


def _heads(data_dir: Path, coin: str) -> Iterator[str]:
    """What others were told of the ledger: the latest version's verdict, and the latest comparison."""
    registered = ledger_head_of(Registry(data_dir / "registry"), coin)
    compared = data_dir / "comparison" / f"{coin}.parquet"
    if registered is not None:
        yield registered
    if compared.exists() and (told := read_parquet(compared).attrs.get("ledger")) is not None:
        yield told


def _trials_told(book: Registry, coin: str) -> int:
    """The most trials that a registered verdict counted."""
    versions = [entry.version for entry in book.history(coin) if entry.action == "register"]
    told = [book.card_alone(coin, version)["verdict"]["evidence"].get("trials") for version in versions]
    return max((int(count) for count in told if count is not None and math.isfinite(count)), default=0)
