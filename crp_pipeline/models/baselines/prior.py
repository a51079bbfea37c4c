"""The class frequencies: what is known without any feature."""

import json
from pathlib import Path
from typing import Any, Self

import numpy as np

from crp_pipeline.contracts import CLASSES, Floats, Samples
from crp_pipeline.models.base import Model, Validation, class_index
from crp_pipeline.models.onnx_graph import FEATURES, OUTPUTS, node, table_model
from crp_pipeline.storage import write_json


class Prior(Model):
    """The class frequencies of the training block, for every row."""

    model_type = "prior"
    is_baseline = True
    file_name = "prior.json"

    def fit(
        self,
        X: Samples,
        y: Floats,
        *,
        weight: Floats | None = None,
        validation: Validation | None = None,
        seed: int = 0,
    ) -> Self:
        """Count the classes, weighted; validation rows count too, since nothing is tuned on them."""
        if validation is not None:
            weight = None if weight is None or validation.weight is None else np.append(weight, validation.weight)
            y = np.append(y, validation.y)
        self._learned = class_shares(y, weight)
        return self

    @property
    def n_parameters(self) -> int:
        """One share per class."""
        return 0 if self._learned is None else len(self._learned)

    def predict(self, X: Samples) -> Floats:
        """The same shares for every sample: (n, 3)."""
        self._require_fitted()
        return np.tile(self._learned, (len(X), 1))

    def _write(self, folder: Path) -> None:
        write_json(folder / self.file_name, dict(zip(CLASSES, self._learned.tolist(), strict=True)))

    @classmethod
    def _read(cls, folder: Path) -> Self:
        model = cls()
        stored = json.loads((folder / cls.file_name).read_text(encoding="utf-8"))
        model._learned = np.array([stored[name] for name in CLASSES], dtype=np.float64)
        return model

    def _to_onnx(self) -> Any:
        nodes = [
            node("Shape", [FEATURES], "n_rows", start=0, end=1),
            node("Concat", ["n_rows", "n_classes"], "shape", axis=0),
            node("Expand", ["shares", "shape"], OUTPUTS),
        ]
        constants = {"shares": self._learned[None].astype(np.float32), "n_classes": np.array([len(CLASSES)])}
        return table_model(nodes, constants, n_features=self.n_features, n_outputs=len(CLASSES))


def class_shares(y: Floats, weight: Floats | None) -> Floats:
    """Weighted share of each class, (3,); Laplace's rule keeps a class that was never seen possible."""
    counts = np.bincount(class_index(y), weights=weight, minlength=len(CLASSES)).astype(np.float64)
    return np.asarray((counts + 1) / (counts + 1).sum())
