"""The page: blocks of words, tables and figures as one HTML file that fetches nothing, and every table beside it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path

import pandas as pd

from crp_pipeline.errors import DataContractError
from crp_pipeline.reporting.plots import Plot
from crp_pipeline.reporting.tables import to_html
from crp_pipeline.storage import write_text

MOST_BYTES = 6_000_000
"""A page that a mail takes; plotly's script is most of it."""
MEGABYTE = 1e6
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""The browser itself refuses every request of the page."""
NO_SCRIPT = (  # stands until the script runs, so that it is also seen where a script is refused
    "The pictures need JavaScript. Every number is in the tables below and, as CSV and JSON, in the folder beside this page."
)


@dataclass(frozen=True)
class Grid:
    """Small figures side by side."""

    plots: Sequence[Plot]
    is_wide: bool = False
    """Two in a row at most, where small ones are four."""


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    text: str
    is_note: bool = False
    """In a softer colour: how to read what follows."""


@dataclass(frozen=True, eq=False)
class Table:
    """A table on the page, and the same as CSV and JSON beside it."""

    key: str
    """Name of its file."""
    title: str
    frame: pd.DataFrame
    """Every number as it was stored, without index."""
    view: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame
    """What a person reads of it: rates as percentages, an interval beside its number, the last rows alone."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Address by the words of a first cell."""


Block = Words | Table | Plot | Grid


@dataclass(frozen=True)
class Section:
    """A chapter of the page."""

    key: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Fact:
    """A key number with what it must be read with."""

    name: str
    value: str
    beside: str = ""


@dataclass(frozen=True)
class Headline:
    """What a trader reads in ten seconds."""

    subject: str
    outcome: str
    tone: str
    """Class of the outcome's colour: an outcome of the gate, `holds` or `FAILS`."""
    sentences: Sequence[str]
    facts: Sequence[Fact]
    about: str
    """Span of the data, night, version."""


@dataclass(frozen=True)
class Page:
    """A whole report."""

    headline: Headline
    sections: Sequence[Section]

    def tables(self) -> Iterator[Table]:
        """Every table in the order of the page."""
        return (block for section in self.sections for block in section.blocks if isinstance(block, Table))

    def plots(self) -> Iterator[Plot]:
        """Every figure in the order of the page."""
        for section in self.sections:
            for block in section.blocks:
                yield from block.plots if isinstance(block, Grid) else [block] if isinstance(block, Plot) else []


def write_page(page: Page, path: Path, tables: Path) -> Path:
    """The page at `path` and its tables in the folder `tables`, each file whole or not at all.

    Raises `DataContractError` for a page above `MOST_BYTES` and for two tables or figures of one name.
    """
    for kind, keys in (("tables", [it.key for it in page.tables()]), ("figures", [it.key for it in page.plots()])):
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise DataContractError(f"{page.headline.subject}: two {kind} of the report are called {twice[0]}")
    text, script = html_of(page), plotly_script()
    if (size := len(text.encode())) > MOST_BYTES:
        rest = f"{len(script) / MEGABYTE:.2f} MB of them plotly's script, {(size - len(script)) / MEGABYTE:.2f} MB data"
        raise DataContractError(
            f"{page.headline.subject}: the report would have {size / MEGABYTE:.2f} MB, {rest}: 6 MB at most"
        )
    write_tables(page, tables)
    write_text(path, text)
    return path


def write_tables(page: Page, folder: Path) -> None:
    """`<table>.csv` of every table and all of them in `tables.json`; a file of a table that is no more is removed."""
    told = list(page.tables())
    for table in told:
        write_text(folder / f"{table.key}.csv", table.frame.to_csv(index=False))
    documents = {table.key: {"title": table.title, "rows": _rows(table.frame)} for table in told}
    write_text(folder / "tables.json", json.dumps(documents, indent=1, allow_nan=False))
    for path in folder.glob("*.csv"):
        if path.stem not in documents:
            path.unlink()


def plotly_script() -> str:
    """Plotly's own script, as the installed version brings it."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _own(name: str) -> str:
    """A file that lies beside this module."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def html_of(page: Page) -> str:
    """The page as HTML text; everything in it is inside."""
    head = page.headline
    body = "\n".join([_headline(head), _contents(page.sections), *map(_section, page.sections)])
    has_plots = any(page.plots())
    warning = f'<p id="without-script">{NO_SCRIPT}</p>\n' if has_plots else ""
    script = f"<script>{plotly_script()}</script>\n<script>{_own('page.js')}</script>" if has_plots else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(head.subject)}: {escape(head.outcome)}</title><style>{_own('page.css')}</style></head>\n"
        f"<body><main>\n{warning}{body}\n</main>\n{script}\n</body></html>\n"
    )


def _headline(head: Headline) -> str:
    facts = "".join(
        f'<div class="fact"><dt>{escape(it.name)}</dt><dd>{escape(it.value)}</dd><p>{escape(it.beside)}</p></div>'
        for it in head.facts
    )
    first, *others = head.sentences
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in others)
    return (
        f'<header><h1>{escape(head.subject)}: <span class="{escape(head.tone)}">{escape(head.outcome)}</span></h1>'
        f'<p class="reason">{escape(first)}</p>{said}<dl class="facts">{facts}</dl>'
        f'<p class="note">{escape(head.about)}</p></header>'
    )


def _contents(sections: Sequence[Section]) -> str:
    links = "".join(f'<li><a href="#{escape(it.key)}">{escape(it.title)}</a></li>' for it in sections)
    return f'<nav aria-label="contents"><ol>{links}</ol></nav>'


def _section(section: Section) -> str:
    body = "\n".join(map(_block, section.blocks))
    return f'<section id="{escape(section.key)}"><h2>{escape(section.title)}</h2>\n{body}\n</section>'


def _block(block: Block) -> str:
    match block:
        case Words():
            return f"<p{' class=note' if block.is_note else ''}>{escape(block.text)}</p>"
        case Table():
            return _table(block)
        case Grid():
            width = " wide" if block.is_wide else ""
            return f'<div class="grid{width}">{"".join(map(_plot, block.plots))}</div>'
        case Plot():
            return _plot(block)


def _table(table: Table) -> str:
    key = escape(table.key)
    title = f'<figcaption>{escape(table.title)} <span class="file">{key}.csv</span></figcaption>'
    return f'<figure class="table" id="table-{key}">{title}{to_html(table.view(table.frame), links=table.links)}</figure>'


def _plot(plot: Plot) -> str:
    note = f'<p class="note">{escape(plot.note)}</p>' if plot.note else ""
    key, title, shape = escape(plot.key), escape(plot.title), " square" if plot.is_square else ""
    return (
        f'<figure class="plot{shape}"><figcaption>{title}</figcaption>'
        f'<div class="canvas" id="plot-{key}" style="height:{plot.height}px" role="img" aria-label="{title}"></div>'
        f'<script type="application/json" id="plot-{key}-data">{plot.to_json()}</script>{note}</figure>'
    )


def _rows(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Rows as JSON values: what is missing or infinite becomes null, a time its ISO text."""
    return list(json.loads(frame.to_json(orient="records", date_format="iso", double_precision=15)))
