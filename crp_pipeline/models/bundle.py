"""A fitted model as a folder: the library's own file, a manifest with the SHA-256 of each, and golden inputs to replay.

Nothing in a bundle can execute. It appears whole or not at all; loading verifies every file against the manifest and replays
the golden inputs. The manifest vouches for the files and nothing in the bundle for the manifest: whoever can write here can
seal another model. Only a hash of the manifest kept elsewhere, as in the registry's version names, proves the bundle unaltered.
"""

from pathlib import Path
from typing import Any

import numpy as np

from crp_pipeline.contracts import Floats, Samples
from crp_pipeline.errors import BundleError
from crp_pipeline.models.base import Model
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.storage import fresh_folder, replace_folder, seal, verify

GOLDEN = "golden.npz"
GOLDEN_TOLERANCE = 1e-6


def save_bundle(model: Model, folder: Path, *, card: dict[str, Any], golden: Samples) -> Path:
    """Write the model, its card and its answers to the golden samples; an earlier bundle there is replaced."""
    staging = fresh_folder(folder.with_name(f".{folder.name}.new"))
    model.save(staging)
    np.savez_compressed(staging / GOLDEN, inputs=golden.windows(model.reach), outputs=model.predict(golden))
    seal(staging, {"model_type": model.model_type, **card})
    return replace_folder(staging, folder)


def load_bundle(folder: Path, *, feature_set_id: str | None = None) -> tuple[Model, dict[str, Any]]:
    """The model and its card; raises `BundleError` for a file that is not the manifest's, another feature set or answer."""
    manifest = verify(folder)
    if feature_set_id is not None and manifest.get("feature_set_id") != feature_set_id:
        raise BundleError(
            f"{folder} was trained on feature set {manifest.get('feature_set_id')}, the table at hand is {feature_set_id}"
        )
    kind = MODEL_CLASSES.get(manifest.get("model_type", ""))
    if kind is None:
        raise BundleError(f"{folder} holds a {manifest.get('model_type')!r} model, which this version does not know")
    model = kind.load(folder)
    _replay(model, folder)
    return model, manifest


def _replay(model: Model, folder: Path) -> None:
    with np.load(folder / GOLDEN, allow_pickle=False) as stored:
        inputs, outputs = stored["inputs"], stored["outputs"]
    if inputs.ndim != 3 or inputs.shape[1] != model.reach:
        raise BundleError(f"{folder}: golden inputs are {inputs.shape}, the model looks at {model.reach} bars")
    answers = model.predict(_as_samples(inputs))
    if answers.shape != outputs.shape:
        raise BundleError(
            f"{folder} answers its golden inputs with {answers.shape[1]} outputs, it was stored with {outputs.shape[1]}"
        )
    worst = float(np.abs(answers - outputs).max(initial=0.0))
    if not worst <= GOLDEN_TOLERANCE:
        raise BundleError(f"{folder} answers its golden inputs differently, by up to {worst:.2g}")


def _as_samples(windows: Floats) -> Samples:
    """Windows (n, length, k) as samples of one history in which each is a stretch of its own."""
    n, length, k = windows.shape
    starts = np.repeat(np.arange(n) * length, length)
    return Samples(windows.reshape(-1, k), np.arange(1, n + 1) * length - 1, starts)
