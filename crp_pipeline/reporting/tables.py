"""Small tables as text: Markdown for Dagster and documents, aligned columns for the terminal, HTML for the report."""

import math
from collections.abc import Mapping
from html import escape

import pandas as pd


def to_markdown(frame: pd.DataFrame) -> str:
    """A Markdown table without the index."""
    rows = [[str(name) for name in frame.columns], ["---"] * frame.shape[1], *_cells(frame)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def to_text(frame: pd.DataFrame) -> str:
    """Aligned columns for a terminal, without the index."""
    rows = [[str(name) for name in frame.columns], *_cells(frame)]
    widths = [max(len(row[column]) for row in rows) for column in range(frame.shape[1])]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def to_blocks(frame: pd.DataFrame, *, head: int = 2) -> str:
    """One paragraph per row for a terminal: the first `head` values as its title, then a line per other column."""
    names = [str(name) for name in frame.columns[head:]]
    width = max((len(name) for name in names), default=0)
    blocks = [
        "\n".join(
            ["  ".join(row[:head]), *(f"  {name.ljust(width)}  {cell}" for name, cell in zip(names, row[head:], strict=True))]
        )
        for row in _cells(frame)
    ]
    return "\n\n".join(blocks)


def to_html(frame: pd.DataFrame, *, links: Mapping[str, str] | None = None) -> str:
    """An HTML table without the index; every cell is escaped, numbers stand to the right and sentences may wrap.

    `links` are addresses by the words of a row's first cell.
    """
    of_numbers = [pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind) for kind in frame.dtypes]
    classes = ["number" if is_number else "" for is_number in of_numbers]
    head = "".join(_cell("th", str(name), kind) for name, kind in zip(frame.columns, classes, strict=True))
    rows = (
        "".join(_cell("td", cell, kind, (links or {}).get(cell, "") if place == 0 else "")
                for place, (cell, kind) in enumerate(zip(row, classes, strict=True)))
        for row in _cells(frame)
    )  # fmt: skip
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def percent(value: float, digits: int = 1) -> str:
    """A share in per cent; a dash for what is missing."""
    return "-" if math.isnan(value) else f"{value:.{digits}%}"


def percent_with_interval(frame: pd.DataFrame, name: str) -> "pd.Series[str]":
    """`name` of every row in per cent with the interval from `<name>_low` to `<name>_high`."""
    triples = zip(frame[name], frame[f"{name}_low"], frame[f"{name}_high"], strict=True)
    told = ["-" if math.isnan(it) else f"{percent(it)} ({percent(low)} to {percent(high)})" for it, low, high in triples]
    return pd.Series(told, index=frame.index, dtype="object")


def counted(n: int, one: str, many: str = "") -> str:
    """`1 coin`, `3 coins`: a number with its noun."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


LONG, WORDS = 48, 14
"""Characters from which on a cell may wrap: anywhere, and on a phone."""
STATES = ("holds", "FAILS")
COLOURED = frozenset({*STATES, "PROMOTE", "SHADOW", "REJECT", "INSUFFICIENT_EVIDENCE", "IMPOSSIBLE"})
"""Cells that have a colour of their own, whose class is their text."""


def _cell(tag: str, text: str, kind: str, address: str = "") -> str:
    told = text if text in COLOURED else kind
    if tag == "td" and not told:
        told = "long" if len(text) > LONG else "words" if len(text) > WORDS else ""
    said = f'<a href="{escape(address)}">{escape(text)}</a>' if address else escape(text)
    return f"<{tag}{f' class={told}' if told else ''}>{said}</{tag}>"


def _cells(frame: pd.DataFrame) -> list[list[str]]:
    return [[shown(value) for value in row] for row in frame.itertuples(index=False)]


def shown(value: object) -> str:
    """A value as a person writes it: four significant digits, all before the point; a dash for what is missing."""
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        is_whole = abs(value) < 1e15 and (value.is_integer() or abs(value) >= 1e4)
        return f"{value:,.0f}" if is_whole else f"{value:.4g}"
    if isinstance(value, pd.Timestamp):
        return value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, tuple):
        return " .. ".join(shown(part) for part in value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
