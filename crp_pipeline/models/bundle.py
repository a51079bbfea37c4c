"""A fitted model as a folder: the library's own file, a manifest with the SHA-256 of each, and golden inputs to replay.

Nothing in a bundle can execute. It appears whole or not at all; loading verifies every file against the manifest, refuses
what is no data, and replays the golden inputs. The manifest vouches for the files and nothing in the bundle for the manifest:
whoever can write here can seal another model. Only a hash of the manifest kept elsewhere, as in the registry's version names,
proves the bundle unaltered.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from crp_pipeline.contracts import Floats, Samples
from crp_pipeline.errors import BundleError
from crp_pipeline.models.base import Model
from crp_pipeline.models.catalog import MODEL_CLASSES
from crp_pipeline.storage import seal, staged, verify

GOLDEN = "golden.npz"
GOLDEN_TOLERANCE = 1e-6
PICKLE_SUFFIXES = (".pkl", ".pickle", ".joblib", ".pt", ".pth")
PICKLE_START = re.compile(rb"\x80[\x02-\x05][\x28-\xff]")
"""Protocol, its version and an opcode, which a safetensors file, that begins with its header's length, does not have there."""


def save_bundle(model: Model, folder: Path, *, card: dict[str, Any], golden: Samples) -> Path:
    """Write the model, its card and its answers to the golden samples; an earlier bundle there is replaced.

    What the model says of itself goes on the card: type, parameters, reach, outputs, targets and, where it knows their names,
    the features it was fitted on. Raises `BundleError` for a card that names other features.
    """
    facts = {"model_type": model.model_type, **_facts(model)}
    if model.columns:
        _require_columns(folder, model.columns, card.get("features", model.columns))
        facts["features"] = list(model.columns)
    with staged(folder) as staging:
        model.save(staging)
        # what was stored answers, not what was trained: it may have been trained on another device
        answers = type(model).load(staging).predict(golden)
        np.savez_compressed(staging / GOLDEN, inputs=golden.windows(model.reach), outputs=answers)
        seal(staging, {**card, **facts})
    return folder


def load_bundle(
    folder: Path, *, feature_set_id: str | None = None, columns: Sequence[str] | None = None
) -> tuple[Model, dict[str, Any]]:
    """The model and its card; with `columns`, one that was fitted on these features in this order.

    Raises `BundleError` for a file that is not the manifest's or no data, another feature set or other columns, a model of an
    unknown type or other than its card says, and for other answers to the golden inputs.
    """
    manifest = verify(folder)
    _require_data_only(folder, manifest["files"])
    if feature_set_id is not None and manifest.get("feature_set_id") != feature_set_id:
        raise BundleError(
            f"{folder} was trained on feature set {manifest.get('feature_set_id')}, the table at hand is {feature_set_id}"
        )
    if columns is not None and manifest.get("features"):
        _require_columns(folder, manifest["features"], columns)
    kind = MODEL_CLASSES.get(str(manifest.get("model_type")))
    if kind is None:
        raise BundleError(f"{folder} holds a {manifest.get('model_type')!r} model, which this version does not know")
    with _every_fault_named(folder):
        model = kind.load(folder)
        _require_card_of(model, manifest, folder)
        _replay(model, folder)
    return model, manifest


def _facts(model: Model) -> dict[str, Any]:
    """What a card says of a model and loading can check."""
    return {
        "n_parameters": model.n_parameters,
        "reach": model.reach,
        "outputs": list(model.outputs),
        "targets": list(model.targets),
    }


def _require_columns(folder: Path, known: Sequence[str], shown: Sequence[str]) -> None:
    for place, (one, other) in enumerate(zip_longest(known, shown), start=1):
        if one != other:
            raise BundleError(f"{folder} was trained on {one!r} as feature {place}, the table at hand has {other!r} there")


def _require_card_of(model: Model, manifest: dict[str, Any], folder: Path) -> None:
    for name, fact in _facts(model).items():
        if manifest.get(name) != fact:
            raise BundleError(f"{folder}: the card says {name} = {manifest.get(name)}, of the model it is {fact}")
    if model.columns:
        _require_columns(folder, model.columns, manifest.get("features", ()))


def _require_data_only(folder: Path, names: Sequence[str]) -> None:
    for path in (folder / name for name in names):
        with path.open("rb") as file:
            start = file.read(3)
        if path.suffix.lower() in PICKLE_SUFFIXES or PICKLE_START.match(start):
            raise BundleError(f"{folder}: {path.name} is a pickle, which could execute; a bundle holds data only")
        if path.suffix.lower() == ".json":
            _require_json(path, folder)


def _require_json(path: Path, folder: Path) -> None:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    try:
        json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{folder}: {path.name} is not JSON: {error}") from error


@contextmanager
def _every_fault_named(folder: Path) -> Iterator[None]:
    """Whatever a library says of files that are sealed and still no model of its kind is a `BundleError`."""
    try:
        yield
    except BundleError:
        raise
    except Exception as error:
        raise BundleError(f"{folder} cannot be loaded: {type(error).__name__}: {error}") from error


def golden_samples(folder: Path) -> Samples:
    """The inputs that a bundle's model was asked about when it was stored; load the bundle first, which verifies them."""
    return _as_samples(_golden(folder)[0])


def golden_answers(folder: Path) -> Floats:
    """What a bundle's model answered to these inputs when it was stored: (n, outputs)."""
    return _golden(folder)[1]


def _golden(folder: Path) -> tuple[Floats, Floats]:
    """Inputs (n, reach, k) and outputs (n, outputs)."""
    with np.load(folder / GOLDEN, allow_pickle=False) as stored:
        return stored["inputs"], stored["outputs"]


def _replay(model: Model, folder: Path) -> None:
    inputs, outputs = _golden(folder)
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
