"""A fitted model as one ONNX file, with one door for every kind.

The input `history` is float32 (n, reach, k): raw features of the `reach` bars that end at each row, NaN where one is missing;
scaling happens inside. The output `outputs` is float32 (n, outputs), what `predict` gives: class probabilities, or returns in
their own units. `n` is free.
"""

from pathlib import Path
from typing import Any

import numpy as np

from crp_pipeline.contracts import Floats, Samples
from crp_pipeline.errors import BundleError
from crp_pipeline.models.base import Floats32, Model
from crp_pipeline.models.onnx_graph import HISTORY, OUTPUTS
from crp_pipeline.storage import write_bytes

TOLERANCE = 1e-5


def export_onnx(model: Model, path: str | Path, *, check: Samples | None = None) -> Path:
    """Write the fitted model as an ONNX file, whole or not at all.

    With `check`, the file's answers to these samples, one by one and all at once, must be the model's own to within 1e-5, or it
    is not written. Raises `BundleError` where they are not, or where the graph is none by ONNX's own rules, and
    `NotFittedError` before the fit.
    """
    from onnx import checker

    graph = model.to_onnx()
    try:
        checker.check_model(graph, full_check=True)
    except (checker.ValidationError, ValueError) as error:
        raise BundleError(f"{model.model_type} cannot be exported: {error}") from error
    content = graph.SerializeToString()
    if check is not None:
        _require_same_answers(model, content, check)
    write_bytes(Path(path), content)
    return Path(path)


class OnnxModel:
    """An exported model, answering on one thread."""

    def __init__(self, source: bytes | str | Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        content = source if isinstance(source, bytes) else str(source)
        self._session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def predict(self, windows: Floats32) -> Floats32:
        """(n, outputs) answers to (n, reach, k) windows of raw features."""
        (outputs,) = self._session.run([OUTPUTS], {HISTORY: windows})
        return np.asarray(outputs)


def _require_same_answers(model: Model, content: bytes, check: Samples) -> None:
    exported, windows = OnnxModel(content), check.windows(model.reach).astype(np.float32)
    native = model.predict(check)
    one_by_one = [exported.predict(windows[row : row + 1]) for row in range(len(check))]
    _require_close(model, native, exported.predict(windows), f"at batch {len(check)}")
    _require_close(model, native, np.concatenate([*one_by_one, np.empty((0, len(model.outputs)))]), "at batch 1")


def _require_close(model: Model, native: Floats, exported: np.ndarray, where: str) -> None:
    if native.shape != exported.shape:
        raise BundleError(f"{model.model_type} answers {native.shape}, its ONNX form {exported.shape} {where}")
    apart = np.abs(native - exported).max(axis=1, initial=0.0)
    if not (apart <= TOLERANCE).all():
        row = int(np.argmin(apart <= TOLERANCE))
        raise BundleError(
            f"{model.model_type} and its ONNX form are {apart[row]:.2g} apart {where} in row {row + 1} of {len(apart)}, "
            f"allowed are {TOLERANCE:g}"
        )
