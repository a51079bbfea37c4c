"""Each rule of the house, broken once on purpose in a copy: the linter must name it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import crp_pipeline

ROOT = Path(crp_pipeline.__file__).parents[1]

BREAKS = [
    ("candles/market.py", "import crp_pipeline.features", "Imports point back towards the raw data"),
    ("metrics/forecast.py", "import crp_pipeline.candles", "Imports point back towards the raw data"),
    ("ledger/count.py", "import crp_pipeline.models", "Imports point back towards the raw data"),
    ("chain.py", "import crp_pipeline.ledger", "Imports point back towards the raw data"),
    ("ledger/ledger.py", "import dagster", "The domain does not know Dagster"),
    ("labels.py", "import dagster", "The domain does not know Dagster"),
    ("models/base.py", "import crp_pipeline.labels", "Models see arrays, not market tables"),
    ("ensemble.py", "import crp_pipeline.features", "Models see arrays, not market tables"),
    ("backtest/engine.py", "import crp_pipeline.models", "The backtest does not know where a decision came from"),
    ("ensemble.py", "import lightgbm", "Boosters only in models.gbdt"),
    ("models/selection.py", "import xgboost", "Boosters only in models.gbdt"),
    ("predictor.py", "import torch", "torch only below models"),
    ("models/gbdt/booster.py", "import torch", "torch only below models"),
    ("gate/evidence.py", "import matplotlib", "Plotting only in reporting"),
    ("registry/registry.py", "import mlflow", "MLflow only in registry.mirror"),
]


def lint(root: Path) -> str:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False).stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    root = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "crp_pipeline", root / "crp_pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


@pytest.mark.parametrize(("file", "line", "rule"), BREAKS, ids=[f"{file}: {line}" for file, line, _ in BREAKS])
def test_a_broken_rule_is_named(copy, file, line, rule):
    path = copy / "crp_pipeline" / file
    original = path.read_text()
    path.write_text(f"{original}\n{line}\n")
    try:
        assert f"{rule} BROKEN" in lint(copy)
    finally:
        path.write_text(original)


def test_a_new_room_must_be_given_its_place(copy):
    room = copy / "crp_pipeline" / "attic.py"
    room.write_text('"""A module that no layer names."""\n')
    try:
        assert "attic" in lint(copy)
    finally:
        room.unlink()


def test_the_copy_as_it_is_keeps_every_rule(copy):
    assert "0 broken" in lint(copy)
