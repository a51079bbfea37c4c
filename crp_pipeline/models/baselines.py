"""What a model must beat before anybody looks at it."""

import json
from pathlib import Path
from typing import Self

import numpy as np

from crp_pipeline.contracts import CLASSES, Floats, Samples
from crp_pipeline.models.base import Model, Validation, class_index


class Prior(Model):
    """The class frequencies of the training block, for every row: what is known without any feature."""

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
        counts = np.bincount(class_index(y), weights=weight, minlength=len(CLASSES)).astype(np.float64)
        # Laplace's rule keeps a class that was never seen possible
        self._learned = (counts + 1) / (counts + 1).sum()
        return self

    def predict(self, X: Samples) -> Floats:
        """The same shares for every sample: (n, 3)."""
        self._require_fitted()
        return np.tile(self._learned, (len(X), 1))

    def _write(self, folder: Path) -> None:
        shares = self._learned.tolist()
        (folder / self.file_name).write_text(json.dumps(dict(zip(CLASSES, shares, strict=True))))

    @classmethod
    def _read(cls, folder: Path) -> Self:
        model = cls()
        stored = json.loads((folder / cls.file_name).read_text())
        model._learned = np.array([stored[name] for name in CLASSES])
        return model
