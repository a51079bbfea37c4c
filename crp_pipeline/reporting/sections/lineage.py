"""Where the numbers come from: lineage, every trial counted, the cards of the models."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from crp_pipeline.errors import CrpError
from crp_pipeline.ledger import Ledger
from crp_pipeline.provenance import lineage_of
from crp_pipeline.reporting.document import Block, Section, Table, Words
from crp_pipeline.reporting.results import CoinResults
from crp_pipeline.reporting.tables import counted

LAST_ROWS = 40
MEANING: Mapping[str, str] = {
    "coin": "what was traded",
    "data_hash": "hash of every candle that the night saw",
    "feature_set_id": "hash of the definitions of all features",
    "settings": "hash of the settings that the numbers depend on",
    "recipe": "hash of how the candidate was made: the same recipe on later days is a refresh",
    "candidate": "fingerprint of models, stack and decisions",
    "ledger": "length and last hash of the trial ledger",
    "code": "revision of the code",
    "source": "hash of the source files",
    "champion": "who reigned when the verdict was reached",
}


def lineage_section(results: CoinResults) -> Section:
    """Hashes of data, features, settings and code, and which stored table was made from which."""
    subject = pd.DataFrame(
        [(name, value, MEANING.get(name, "")) for name, value in results.verdict.subject.items()],
        columns=["what", "which", "meaning"],
    )
    frames = {
        "features": results.features,
        "labels": results.labels,
        "splits": results.splits,
        "selection": results.selection,
        "ensemble": results.decisions,
        "comparison": results.comparison,
    }
    made_from = [
        (table, ingredient, ", ".join(map(str, hashes)))
        for table, frame in frames.items()
        for ingredient, hashes in lineage_of(frame).items()
    ]
    ingredients = pd.DataFrame(made_from, columns=["table", "made from", "hash"])
    blocks: list[Block] = [
        Table("lineage", "what the verdict is about", subject),
        Table("ingredients", f"{len(ingredients)} ingredients of {len(frames)} tables", ingredients, _by_ingredient),
    ]
    return Section("lineage", "Lineage", blocks)


def _by_ingredient(table: pd.DataFrame) -> pd.DataFrame:
    """One row per ingredient, with the tables that were made from it: two rows of one name are two versions of it."""
    grouped = table.groupby(["made from", "hash"], sort=False)["table"].agg(", ".join).rename("tables").reset_index()
    return grouped.sort_values("made from", kind="stable")


def trials_section(results: CoinResults) -> Section:
    """Everything that was ever tried on the coin: the deflated Sharpe ratio counts it all."""
    try:
        with Ledger(results.places.ledger).reading(results.coin) as book:
            count, events = book.count, book.events
    except CrpError as error:
        return Section("trials", "Trials counted", [Words(f"The trial ledger cannot be read: {error}.")])
    rows = [
        {
            "at": event.at,
            "occasion": event.occasion,
            "trial": look.name,
            "baseline": "yes" if look.is_baseline else "no",
            "first day": look.first_day,
            "last day": look.last_day,
            "days": look.n_days,
            "daily Sharpe": look.daily_sharpe,
        }
        for event in events
        for look in event.looks
    ]
    names = ["at", "occasion", "trial", "baseline", "first day", "last day", "days", "daily Sharpe"]
    table = pd.DataFrame(rows, columns=names)
    said = Words(f"{count:,} trials were counted on {results.coin}, in {counted(len(events), 'event')} of its ledger.")
    return Section("trials", "Trials counted", [said, _trials_table(table)])


def _trials_table(table: pd.DataFrame) -> Table:
    last = f"; the last {LAST_ROWS}" if len(table) > LAST_ROWS else ""
    return Table("trials", f"{counted(len(table), 'evaluation')}{last}", table, _trials_view)


def _trials_view(table: pd.DataFrame) -> pd.DataFrame:
    """The latest first, their time to the minute and the start of what occasioned them."""
    last = table.tail(LAST_ROWS).iloc[::-1]
    return last.assign(at=last["at"].str.slice(0, 16).str.replace("T", " "), occasion=last["occasion"].str.slice(0, 8))


def cards_section(results: CoinResults) -> Section:
    """How every final model was made."""
    cards = pd.DataFrame([card_row(name, card) for name, card in results.cards.items()])
    if cards.empty:
        return Section("cards", "Model cards", [Words(f"{results.coin} has no stored final model.")])
    blocks: list[Block] = [Table("cards", f"{len(cards)} final models", cards), Words(_intended(results), is_note=True)]
    return Section("cards", "Model cards", blocks)


def card_row(name: str, card: Mapping[str, Any]) -> dict[str, Any]:
    """One model's card in a row."""
    parameters = card.get("parameters") or {}
    native: Mapping[str, Any] = next((it for it in card.get("latency", []) if it["runtime"] == "native"), {})
    return {
        "model": name,
        "variant": card.get("variant", ""),
        "seed": card.get("seed"),
        "features": len(card.get("features", [])),
        "rounds": card.get("rounds"),
        "weights": card.get("n_parameters"),
        "training, s": round(float(card.get("seconds") or 0.0), 2),
        "one prediction, ms": native.get("p50_ms"),
        "parameters": ", ".join(f"{key} {value}" for key, value in parameters.items()) or "none",
        "made_from": card.get("made_from", ""),
    }


def _intended(results: CoinResults) -> str:
    """What the models may be used for, and what not."""
    subject = results.verdict.subject
    return (
        f"Made for {results.coin} candles of {results.candles.attrs.get('interval', 'unknown length')} and feature set "
        f"{subject.get('feature_set_id', 'unknown')} only. The verdict is on the ensemble of these models, not on one of them; "
        "it holds for the costs, exits and horizon of the settings above, and says nothing about another market."
    )
