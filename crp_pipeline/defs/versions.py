"""Data versions: what an asset stored, by its content, so that whoever is downstream can tell whether anything changed."""

import hashlib

import dagster as dg
import pandas as pd

from crp_pipeline.provenance import lineage_of


def version_of(stamped: pd.DataFrame, *names: str) -> dg.DataVersion:
    """Of a stamped frame: its own content hash, by its name in its lineage, and that of each file that was stored beside it."""
    lineage = lineage_of(stamped)
    contents = [found for name in names for found in lineage[name]]
    return dg.DataVersion(contents[0]) if len(contents) == 1 else version_from(*contents)


def version_from(*contents: str) -> dg.DataVersion:
    """Of whatever tells all that was stored."""
    return dg.DataVersion(hashlib.sha256("\n".join(contents).encode()).hexdigest()[:16])
