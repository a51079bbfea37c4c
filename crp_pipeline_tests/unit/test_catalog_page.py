"""The generated page of the feature catalogue."""

from pathlib import Path

import crp_pipeline
from crp_pipeline.features import CATALOG, Family
from crp_pipeline.reporting.catalog import catalog_page

PAGE = Path(crp_pipeline.__file__).parent / "features" / "CATALOG.md"


def test_the_page_in_the_tree_is_that_of_the_catalogue():
    assert PAGE.read_text(encoding="utf-8") == catalog_page() + "\n", "run: crp features > crp_pipeline/features/CATALOG.md"


def test_every_feature_has_a_line_with_its_lookback_under_its_family():
    sections = dict(zip(Family, catalog_page().split("\n## ")[1:], strict=True))
    for feature in CATALOG:
        line = f"| `{feature.name}` | {feature.lookback} | {feature.warm_up} | {feature.description} |"
        assert line in sections[feature.family].splitlines()


def test_a_part_of_the_catalogue_names_only_its_families():
    page = catalog_page([feature for feature in CATALOG if feature.family is Family.TREND])
    assert page.startswith("# ")
    assert page.count("\n## ") == 1
