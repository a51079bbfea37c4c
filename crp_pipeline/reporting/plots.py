"""Interactive figures as values: what plotly draws in the reader's browser, without plotly in this process.

A figure names its colours by their role (`@good`), and the script of the page puts in those of the reader's theme; its title
stands above it as text, where it wraps on a phone. Numbers travel as packed arrays: four bytes each, times eight.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

INK, SOFT, GOOD, BAD, WARN, ACCENT, VIOLET = "@ink", "@soft", "@good", "@bad", "@warn", "@accent", "@violet"
BAD_FILL = "@badFill"
SEQUENCE = (INK, ACCENT, WARN, VIOLET, GOOD, BAD, SOFT)
"""Colours of lines that are ranked, the foremost first."""
Trace = dict[str, Any]
Axis = dict[str, Any]


@dataclass(frozen=True)
class Plot:
    """A figure: its title says the finding's number and n."""

    key: str
    """Name within its page."""
    title: str
    traces: Sequence[Trace]
    layout: Mapping[str, Any] = field(default_factory=dict)
    height: int = 320
    """Pixels."""
    note: str = ""
    """How to read it, below the figure."""
    is_square: bool = False
    """As wide as it is high, where the screen allows."""

    def to_json(self) -> str:
        """What the page's script reads; nothing in it can end a script element. Raises `ValueError` for a loose NaN."""
        document = json.dumps({"data": list(self.traces), "layout": dict(self.layout)}, allow_nan=False)
        return document.replace("<", "\\u003c")


def packed(values: ArrayLike, *, kind: str = "f4") -> Trace:
    """Numbers as plotly's packed array; NaN is a hole."""
    array = np.ascontiguousarray(np.asarray(values, dtype=f"<{kind}"))
    return {"dtype": kind, "bdata": base64.b64encode(array.tobytes()).decode()}


def moments(times: "pd.DatetimeIndex | pd.Index | pd.Series[pd.Timestamp]") -> Trace:
    """Times as milliseconds for an axis of dates; whole milliseconds need more than four bytes."""
    return packed(pd.DatetimeIndex(times).as_unit("ms").asi8, kind="f8")


def words(names: Sequence[object] | pd.Series) -> list[str]:
    """Names that plotly shows as they are: it reads a few HTML tags."""
    return [escape(str(name), quote=False) for name in names]


def line(x: Any, y: Any, name: str, color: str = INK, **more: Any) -> Trace:
    """A line; `width` and `dash` go to the line, the rest to the trace."""
    style = {"color": color, "width": more.pop("width", 1.6), "dash": more.pop("dash", "solid")}
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": escape(name, quote=False), "line": style, **more}


def points(x: Any, y: Any, name: str, color: str = INK, **more: Any) -> Trace:
    """Markers; `size`, `symbol` and `opacity` go to the marker, the rest to the trace."""
    marker: Trace = {"color": color}
    marker |= {key: more.pop(key) for key in ("size", "symbol", "opacity") if key in more}
    return {"type": "scatter", "mode": "markers", "x": x, "y": y, "name": escape(name, quote=False), "marker": marker, **more}


def columns(x: Any, y: Any, name: str, color: str | Sequence[str] = INK, **more: Any) -> Trace:
    """Bars."""
    return {"type": "bar", "x": x, "y": y, "name": escape(name, quote=False), "marker": {"color": color}, **more}


def ranges(low: ArrayLike, middle: ArrayLike, high: ArrayLike) -> Trace:
    """Horizontal whiskers from low to high around the middle, for `error_x`."""
    centre = np.asarray(middle, dtype=float)
    above, below = np.asarray(high, dtype=float) - centre, centre - np.asarray(low, dtype=float)
    return {
        "type": "data",
        "symmetric": False,
        "array": packed(above),
        "arrayminus": packed(below),
        "thickness": 1.4,
        "width": 3,
    }


def axis(title: str = "", **more: Any) -> Axis:
    """An axis with a title."""
    return {"title": {"text": escape(title, quote=False)}, **more}


def shares(title: str, **more: Any) -> Axis:
    """An axis of shares in per cent."""
    return axis(title, **{"tickformat": ".0%", **more})


def dates(**more: Any) -> Axis:
    """An axis of dates."""
    return {"type": "date", **more}


def named(names: Sequence[object] | pd.Series, **more: Any) -> Axis:
    """An axis of names, the first on top, where the traces count from 0."""
    ticks = words(names)
    return {
        "tickmode": "array",
        "tickvals": list(range(len(ticks))),
        "ticktext": ticks,
        "range": [len(ticks) - 0.5, -0.5],
        "automargin": True,
        "showgrid": False,
        **more,
    }


def level(at: float, name: str, color: str = SOFT, *, is_left: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """A dashed horizontal line across the figure and its label, for `shapes` and `annotations`."""
    shape = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": at, "y1": at, "line": {"color": color, "dash": "dash"}}
    label = {
        "xref": "paper", "x": 0 if is_left else 1, "y": at, "text": escape(name, quote=False), "showarrow": False,
        "xanchor": "left" if is_left else "right", "yanchor": "bottom", "font": {"color": color, "size": 11},
    }  # fmt: skip
    return shape, label


def thinned(n: int, most: int) -> np.ndarray:
    """Evenly spread positions, no more than `most` of `n`, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64)) if n else np.empty(0, np.int64)
