"""`crp`: what is not a materialization.

`models` trains, predicts and compares, `gate` says what is achievable and whether a model is good enough, `control`
asks the same of the gate itself, `ledger` tells what was tried, `explain` why a signal is what it is, `registry` and `dataset`
keep what was made, `catalog` lists what there is; `doors` holds the groups that they all hang on.
"""

from crp_pipeline.cli import catalog, control, dataset, explain, gate, ledger, models, registry
from crp_pipeline.cli.doors import app, complain
from crp_pipeline.errors import CrpError

__all__ = ["app", "catalog", "control", "dataset", "explain", "gate", "ledger", "main", "models", "registry"]


def main() -> None:
    """Run `crp`; an error of this package or of a file is one line on stderr and exit code 1."""
    try:
        app()
    except (CrpError, OSError) as error:
        complain(error)
        raise SystemExit(1) from error
