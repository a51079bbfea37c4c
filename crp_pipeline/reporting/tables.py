"""Small tables as text: Markdown for Dagster and documents, aligned columns for the terminal, HTML for the report."""

import math
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


def to_html(frame: pd.DataFrame) -> str:
    """An HTML table without the index; every cell is escaped."""
    head = "".join(f"<th>{escape(str(name))}</th>" for name in frame.columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in _cells(frame))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cells(frame: pd.DataFrame) -> list[list[str]]:
    return [[shown(value) for value in row] for row in frame.itertuples(index=False)]


def shown(value: object) -> str:
    """A value as a person writes it: four significant digits, a dash for what is missing."""
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"
    if isinstance(value, pd.Timestamp):
        return value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, tuple):
        return " .. ".join(shown(part) for part in value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
