"""`crp control`: whether this very code promotes what it must, and nothing else."""

from typing import Annotated

import typer

from crp_pipeline.cli.doors import app
from crp_pipeline.controls import ControlReport, keep_report, read_report, run_suite
from crp_pipeline.controls.report import report_path
from crp_pipeline.provenance import source_hash
from crp_pipeline.reporting.tables import to_text
from crp_pipeline.settings import load_settings

RATES = ["control", "what", "runs", "happened", "rate", "low", "high", "expected", "holds"]
"""What a control came to; the other columns of its table are numbers of the verdicts."""


@app.command("control")
def control(
    runs: Annotated[int, typer.Option("--runs", min=1, help="Null markets; a third as many of each planted edge.")] = 6,
    seed: Annotated[int, typer.Option("--seed", min=0, help="First seed; the same seeds give the same outcomes.")] = 0,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; one per core unless given.")] = None,
) -> None:
    """Run the control suite on this code and add it to its report; exit code 1 when a control does not come out as it must.

    The report holds every seed that this code was ever run on, each as it came out last: a red one stays until it is run again.
    """
    data_dir = load_settings().data_dir
    report = keep_report(run_suite(runs=runs, seed=seed, workers=workers, progress=typer.echo), data_dir, tell=typer.echo)
    typer.echo(f"\n{control_page(report)}\n\nkept in {report_path(data_dir, report.source)}")
    if not report.is_green:
        raise typer.Exit(1)


@app.command("control-report")
def control_report() -> None:
    """Print the last report of the control suite on this code."""
    report = read_report(load_settings().data_dir, source_hash(), tell=typer.echo)
    if report is None:
        typer.echo("the control suite has not run on this code: crp control")
        raise typer.Exit(1)
    typer.echo(control_page(report))


def control_page(report: ControlReport) -> str:
    """How often each control happened, the medians of its numbers, and in a sentence whether the report is green."""
    told = f"NOT as they must: {', '.join(report.failures)}" if report.failures else "every control came out as it must"
    told = "\n".join([told, *report.errors])
    head = f"code {report.source}, {report.at}, {report.seconds:.0f} s"
    table = report.table()
    medians = table.set_index("control").drop(columns=RATES[1:]).dropna(how="all").T.reset_index(names="median")
    return "\n\n".join([head, to_text(table[RATES]), to_text(medians), told])
