"""A candidate: the models and the stack that one verdict is about, in one folder.

models/<type>/   a sealed bundle per model
stack.json
"""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from crp_pipeline.storage import MANIFEST, fresh_folder, sha256, verify

MODELS = "models"
STACK = "stack.json"


def gather(models: Mapping[str, Path], stack: Path, target: Path) -> Path:
    """Put a candidate together in one folder: `models/<type>/...` and `stack.json`; every model is verified on the way."""
    fresh_folder(target)
    for name, folder in models.items():
        verify(folder)
        shutil.copytree(folder, target / MODELS / name)
    shutil.copy(stack, target / STACK)
    return target


def fingerprint(models: Mapping[str, Path], stack: Path) -> str:
    """Sixteen hex digits that change with any byte of the models or the stack that a verdict is about.

    Raises `BundleError` for a model that was altered after it was sealed.
    """
    digest = hashlib.sha256(sha256(stack).encode())
    for name in sorted(models):
        verify(models[name])
        digest.update(f"{name}:{sha256(models[name] / MANIFEST)}".encode())
    return digest.hexdigest()[:16]


def fingerprint_of(folder: Path) -> str:
    """The `fingerprint` of a candidate that was gathered in one folder."""
    return fingerprint({path.name: path for path in (folder / MODELS).iterdir()}, folder / STACK)


def is_candidate(folder: Path) -> bool:
    """True for a folder laid out as `gather` does."""
    return (folder / STACK).is_file() and (folder / MODELS).is_dir()
