"""`crp settings`, `crp features`, `crp models`: what there is."""

import pandas as pd
import typer

from crp_pipeline.cli.doors import app
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.reporting.catalog import catalog_page
from crp_pipeline.reporting.tables import to_text
from crp_pipeline.settings import load_settings


@app.command("settings")
def show_settings() -> None:
    """Print the settings in force as JSON."""
    typer.echo(load_settings().model_dump_json(indent=2))


@app.command("features")
def show_features() -> None:
    """Print the feature catalogue as a Markdown page."""
    typer.echo(catalog_page())


@app.command("models")
def show_models() -> None:
    """Print every model type: its variants, what it learns from and what it forecasts."""
    rows = [
        {
            "type": name,
            "variants": ", ".join(kind.variants) or "-",
            "learns from": ", ".join(kind.targets),
            "forecasts": ", ".join(kind.outputs),
            "baseline": "yes" if kind.is_baseline else "",
        }
        for name, kind in MODEL_CLASSES.items()
    ]
    typer.echo(to_text(pd.DataFrame(rows)))
