"""A candidate: the models and the stack that one verdict is about, in one folder.

models/<type>/       a sealed bundle per model
stack.json
decisions.parquet    what the stack decided out of fold, so that a later version can be compared with this one on the same bars
"""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from crp_pipeline.storage import MANIFEST, fresh_folder, named, sha256, verify

MODELS = "models"
STACK = "stack.json"
DECISIONS = "decisions.parquet"


def gather(models: Mapping[str, Path], stack: Path, target: Path, *, decisions: Path | None = None) -> Path:
    """Put a candidate together in one folder, laid out as this module says; every model is verified on the way.

    Without `decisions` no later version can be compared with this one on past bars.
    """
    with named(target):
        fresh_folder(target)
        for name, folder in models.items():
            verify(folder)
            shutil.copytree(folder, target / MODELS / name)
        shutil.copy(stack, target / STACK)
        if decisions is not None:
            shutil.copy(decisions, target / DECISIONS)
    return target


def fingerprint(models: Mapping[str, Path], stack: Path, *, decisions: Path | None = None) -> str:
    """Sixteen hex digits that change with any byte of the models, the stack or the decisions that a verdict is about.

    Raises `BundleError` for a model that was altered after it was sealed.
    """
    digest = hashlib.sha256(sha256(stack).encode())
    for name in sorted(models):
        verify(models[name])
        digest.update(f"{name}:{sha256(models[name] / MANIFEST)}".encode())
    if decisions is not None:
        digest.update(f"{DECISIONS}:{sha256(decisions)}".encode())
    return digest.hexdigest()[:16]


def fingerprint_of(folder: Path) -> str:
    """The `fingerprint` of a candidate that was gathered in one folder."""
    decisions = folder / DECISIONS
    models = {path.name: path for path in (folder / MODELS).iterdir()}
    return fingerprint(models, folder / STACK, decisions=decisions if decisions.exists() else None)


def is_candidate(folder: Path) -> bool:
    """True for a folder laid out as `gather` does."""
    return (folder / STACK).is_file() and (folder / MODELS).is_dir()
