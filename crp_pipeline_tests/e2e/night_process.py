"""A night in a process of its own, from the shell, in a folder of its own: what a user of `make nightly` gets."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from shutil import copy

from crp_pipeline.controls import keep_report
from crp_pipeline.settings import PipelineSettings
from crp_pipeline_tests.e2e.corridor import green_report
from crp_pipeline_tests.e2e.web_server import environment_of

ROOT = Path(__file__).parents[2]


def home_of_a_night(folder: Path, settings: PipelineSettings, **environment: str) -> dict[str, str]:
    """Lay out a project folder, with a control report of this code and moment, and return the environment of its processes."""
    folder.mkdir(parents=True, exist_ok=True)
    copy(ROOT / "dagster.yaml", folder)
    report = replace(green_report(), at=settings.present().isoformat())
    keep_report(report, settings.data_dir, tell=print)
    return {**environment_of(folder, settings), **environment}


def start_night(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.Popen:
    """Start `python -m crp_pipeline.nightly` in the folder; what it says goes to `night.log` there."""
    command = [sys.executable, "-m", "crp_pipeline.nightly", *arguments]
    with (folder / "night.log").open("w") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
