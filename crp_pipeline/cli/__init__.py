"""`crp`: what is not a materialization.

`models` trains and compares, `signals` predicts and serves, `tune` searches hyper-parameters, `explain` says why a signal is
what it is, `drift` what has changed since, `gate` says what is achievable and whether a model is good enough, `control` asks
the same of the gate itself, `ledger` what was tried, `registry` and `dataset` keep what was made, `depot` shares it between
machines, `replay` makes a version again, `report` writes its pages, `catalog` lists what there is; `doors` holds the groups
that they all hang on.
"""

from crp_pipeline.cli import (
    catalog,
    control,
    dataset,
    depot,
    drift,
    explain,
    gate,
    ledger,
    models,
    registry,
    replay,
    report,
    signals,
    tune,
)
from crp_pipeline.cli.doors import app, complain
from crp_pipeline.errors import CrpError

__all__ = [
    "app",
    "catalog",
    "control",
    "dataset",
    "depot",
    "drift",
    "explain",
    "gate",
    "ledger",
    "main",
    "models",
    "registry",
    "replay",
    "report",
    "signals",
    "tune",
]


def main() -> None:
    """Run `crp`; an error of this package or of a file is one line on stderr and exit code 1."""
    try:
        app()
    except (CrpError, OSError) as error:
        complain(error)
        raise SystemExit(1) from error
