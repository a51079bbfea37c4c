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


EXECUTABLE_FORMATS = {"pickle", "cPickle", "_pickle", "pickletools", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
LOADERS = {
    *("torch.load", "torch.save", "pd.read_pickle", "pandas.read_pickle", "eval", "exec", "compile", "__import__"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "yaml.unsafe_load_all"),
}


def executable_formats_in(source):
    """Imports of libraries that store code with their data, calls that read, write or run it, and libraries told to allow it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            yield from (name for name in names if name.split(".")[0] in EXECUTABLE_FORMATS)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            yield from [called] if called in LOADERS or called.endswith(".to_pickle") else []
            allowed = [keyword for keyword in node.keywords if keyword.arg in {"allow_pickle", "shell"}]
            yield from (keyword.arg for keyword in allowed if ast.unparse(keyword.value) != "False")


def test_nothing_stores_or_loads_what_could_execute():
    assert [(str(file), found) for file in FILES for found in executable_formats_in(file.read_text())] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def read():\n    from joblib import load",
        "import os, cloudpickle as c",
        "torch.load(path)",
        "torch.load(path, weights_only=True)",
        "pd.read_pickle(path)",
        "frame.to_pickle(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "joblib.load(path)\nimport joblib",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "eval(formula)",
        "exec(source)",
        "os.system(line)",
        "subprocess.run(line, shell=True)",
        "subprocess.run(line, shell=flag)",
    ],
)
def test_what_could_execute_is_found(source):
    assert list(executable_formats_in(source))


def test_heavy_libraries_are_not_imported_with_the_definitions():
    code = (
        "import sys, crp_pipeline.definitions\n"
        "print([name for name in ('xgboost', 'lightgbm', 'catboost', 'torch', 'sklearn', 'numba') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
