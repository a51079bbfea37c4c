"""What made a result, beside the data: the code and the libraries."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("numpy", "pandas", "scikit-learn", "TA-Lib", "xgboost-cpu", "xgboost", "lightgbm", "catboost")


def code_revision() -> str:
    """The git commit of this code, `+changed` when files differ from it; the package version outside a checkout."""
    here = Path(__file__).parent
    try:
        commit = _git("rev-parse", "--short=12", "HEAD", cwd=here)
        return commit + ("+changed" if _git("status", "--porcelain", "--", ".", cwd=here) else "")
    except (OSError, subprocess.CalledProcessError):
        return f"crp-pipeline {version('crp-pipeline')}"


def library_versions() -> dict[str, str]:
    """Installed versions of the libraries whose numbers enter a model."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603, S607
