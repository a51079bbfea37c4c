"""Figures, tables and numbers as Dagster metadata.

The page shows entries in the order in which they are told: verdicts and pictures come before long rows of numbers.
"""

from collections.abc import Mapping

import dagster as dg
import pandas as pd
from matplotlib.figure import Figure

from crp_pipeline.reporting.figures import inline
from crp_pipeline.reporting.tables import to_markdown


def picture(figure: Figure) -> dg.MetadataValue:
    """A figure inside the page."""
    return dg.MetadataValue.md(f"![picture]({inline(figure)})")


def numbers(values: Mapping[str, float]) -> dict[str, float]:
    """Six significant digits of each, which the page plots night by night."""
    return {name: float(f"{value:.6g}") for name, value in values.items()}


def table(frame: pd.DataFrame) -> dg.MetadataValue:
    """A small table inside the page."""
    return dg.MetadataValue.md(to_markdown(frame))
