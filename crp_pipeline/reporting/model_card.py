"""A version's model card for people: Markdown, generated from the card that the registry keeps."""

import json

import pandas as pd

from crp_pipeline.errors import RegistryError
from crp_pipeline.registry import Registry
from crp_pipeline.registry.card import verdict_of, without_secrets
from crp_pipeline.reporting.recipe_changes import flat
from crp_pipeline.reporting.results_document import version_table
from crp_pipeline.reporting.tables import to_markdown
from crp_pipeline.reporting.verdicts import findings_table

HASHES = ("data_hash", "feature_set_id", "recipe", "code", "columns_id")
"""What a card says of the world that it was made in, beside settings and libraries."""


def card_page(book: Registry, coin: str, version: str | None = None) -> str:
    """The card of a version, or of the champion where none is named; every byte of the version is checked.

    Raises `RegistryError` for a version that is not kept, and for a coin without a champion where none is named.
    """
    chosen = version or book.champion(coin)
    if chosen is None:
        raise RegistryError(f"{coin} has no champion: name the version whose card is asked for")
    card = without_secrets(book.card(coin, chosen))
    made_from = {name: card[name] for name in HASHES if name in card} | flat(card.get("libraries", {}))
    sections = {
        "How it did when it was judged": version_table(book, coin, chosen),
        "Every criterion": to_markdown(findings_table(verdict_of(card))),
        "Settings": _pairs(flat(card.get("settings", {}))),
        "Made from": _pairs(made_from),
    }
    told = [f"## {title}\n\n{body}" for title, body in sections.items()]
    return "\n\n".join([f"# {coin} {chosen}", *told])


def _pairs(values: dict[str, object]) -> str:
    """One row per name, each value as JSON has it."""
    rows = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in values.items()]
    return to_markdown(pd.DataFrame(rows, columns=["what", "value"])) if rows else "Its card tells none."
