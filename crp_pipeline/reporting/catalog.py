"""The feature catalogue as a page: `crp features > crp_pipeline/features/CATALOG.md`."""

from collections.abc import Sequence

import pandas as pd

from crp_pipeline.features import CATALOG, Family, Feature, warm_up_bars
from crp_pipeline.reporting.tables import to_markdown

COLUMNS = ["feature", "lookback", "warm-up", "what it is"]


def catalog_page(features: Sequence[Feature] = CATALOG) -> str:
    """Markdown: every feature with its lookback and warm-up in bars and one line, family by family."""
    families = [family for family in Family if any(feature.family is family for feature in features)]
    head = (
        f"# {len(features)} features in {len(families)} families\n\n"
        "Printed by `crp features`. Each value is known at its bar's close and missing until lookback and warm-up, in bars, "
        f"have passed: {warm_up_bars(features)} bars for the slowest. The warm-up is what a recursive indicator needs to "
        "forget where it started. A name that ends in `_x4` or `_x24` is about bars four or twenty-four times as long.\n"
    )
    return "\n".join([head, *(_section(family, features) for family in families)])


def _section(family: Family, features: Sequence[Feature]) -> str:
    own = [feature for feature in features if feature.family is family]
    rows = [(f"`{it.name}`", it.lookback, it.warm_up, it.description) for it in own]
    title = str(family).replace("_", " ")
    return f"## {title}: {len(own)}\n\n{to_markdown(pd.DataFrame(rows, columns=COLUMNS))}\n"
