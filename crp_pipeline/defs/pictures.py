"""Figures and tables as Dagster metadata."""

import dagster as dg
import pandas as pd
from matplotlib.figure import Figure

from crp_pipeline.reporting.figures import inline
from crp_pipeline.reporting.tables import to_markdown


def picture(figure: Figure) -> dg.MetadataValue:
    """A figure inside the page."""
    return dg.MetadataValue.md(f"![picture]({inline(figure)})")


def table(frame: pd.DataFrame) -> dg.MetadataValue:
    """A small table inside the page."""
    return dg.MetadataValue.md(to_markdown(frame))
