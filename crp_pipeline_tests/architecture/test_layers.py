"""The house keeps its own rules."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import crp_pipeline

PACKAGE = Path(crp_pipeline.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))


def functions():
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                yield f"{file.relative_to(ROOT)}:{node.name}", (body[-1].end_lineno - body[0].lineno + 1) if body else 0


def test_imports_keep_the_layers():
    lint = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_fits_in_the_head(file):
    assert file.read_text().count("\n") <= 400


def test_functions_are_short():
    lengths = sorted(length for _, length in functions())
    assert lengths[len(lengths) // 2] < 12
    assert [name for name, length in functions() if length > 50] == []


def test_nothing_loads_a_pickle():
    loaders = ("pickle.load", "joblib.load", "torch.load", "allow_pickle=True")
    assert [file for file in FILES for loader in loaders if loader in file.read_text()] == []


def test_heavy_libraries_are_not_imported_with_the_definitions():
    code = (
        "import sys, crp_pipeline.definitions\n"
        "print([name for name in ('xgboost', 'lightgbm', 'catboost', 'torch', 'sklearn', 'numba') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
